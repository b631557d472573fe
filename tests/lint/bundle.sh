#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `make gpu-bundle` packs all that `run` calls, and every library that those programs need beyond libc's, so that it starts on a machine on
# which nothing can be installed.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}

make --no-print-directory gpu-bundle BUNDLE="$TMPDIR/gpu-bundle" >"$TMPDIR/said" 2>&1 || { cat "$TMPDIR/said"; exit 1; }
mkdir "$TMPDIR/there"
tar -C "$TMPDIR/there" -xzf "$TMPDIR/gpu-bundle.tar.gz"
cd "$TMPDIR/there/gpu-bundle"
for file in run kvpager.py torch_kernels.py README.md LICENSE kernels/kernels.cu kernels/kernels.h kernels/attention.cu; do
        [ -e "$file" ] || fail "no $file"
done
grep -oE 'command\("[a-z-]+"' run | cut -d'"' -f2 | sort -u >"$TMPDIR/called"
[ "$(wc -l <"$TMPDIR/called")" -ge 6 ] || fail "found no programs that run calls"
while read -r program; do
        [ -x "bin/$program" ] || fail "run calls $program, which is not there"
done <"$TMPDIR/called"
LD_LIBRARY_PATH=$PWD/lib ldd bin/* >"$TMPDIR/needed"
! grep -F 'not found' "$TMPDIR/needed" || fail "libraries are missing"
grep '=>' "$TMPDIR/needed" | grep -vE "=> $PWD/|^[[:space:]]*lib(c|m)\.so" && fail "these are taken from this machine"
# A machine with a GPU may be older than this one.
newest=$(objdump -T bin/* lib/* 2>/dev/null | grep -oE 'GLIBC_2\.[0-9]+' | sort -uV | tail -n 1)
[ "$(printf '%s\n' GLIBC_2.35 "$newest" | sort -V | tail -n 1)" = GLIBC_2.35 ] || fail "needs $newest"
exit $bad
