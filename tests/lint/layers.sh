#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The layers are what they say. base and core call nothing but the functions listed here (so: no clock, no fd, no log, no
# malloc) and hold no variable that outlives a call. No file includes what lies to its right, and no two archives define
# the same name.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}

# 1. What base and core take from outside, fortified variants included. snprintf writes into a buffer of ours: the trace.
allowed='^(mem(cpy|move|set|cmp)|strlen|v?snprintf|__(mem(cpy|move|set)|v?snprintf)_chk|__stack_chk_fail|__assert_fail)$'
allowed="$allowed|^_GLOBAL_OFFSET_TABLE_\$"
archives=()
for name in base core; do
        [ ! -e "$KVP_LIB/lib$name.a" ] || archives+=("$KVP_LIB/lib$name.a")
done
[ ${#archives[@]} -gt 0 ] || fail "no libbase.a, no libcore.a in $KVP_LIB"
nm --defined-only -g "${archives[@]}" | awk 'NF == 3 { print $3 }' | sort -u >"$TMPDIR/defined"
nm -u "${archives[@]}" | awk '$1 == "U" { print $2 }' | sort -u | comm -23 - "$TMPDIR/defined" >"$TMPDIR/outside"
if grep -vE "$allowed" "$TMPDIR/outside"; then
        fail "base or core call these from outside (the list of what they may is in tests/lint/layers.sh)"
fi
# snprintf belongs to the trace and to the checker's sentences: nothing else formats text.
for archive in "${archives[@]}"; do
        nm -A -u "$archive" | awk -F: '/snprintf/ { print $2 }' | sort -u | while read -r object; do
                case "$object" in
                trace.o | check*.o) ;;
                *) echo "$object" ;;
                esac
        done
done >"$TMPDIR/formatters"
if [ -s "$TMPDIR/formatters" ]; then
        cat "$TMPDIR/formatters"
        fail "only trace.c and check*.c may format text"
fi

# 2. No mutable global in base and core.
nm -f sysv "${archives[@]}" | awk -F'|' '
        $7 ~ /^(\.bss|\.data|\.tbss|\.tdata|\*COM\*)/ && $7 !~ /^\.data\.rel\.ro/ { print $1 $7 }' >"$TMPDIR/globals"
if [ -s "$TMPDIR/globals" ]; then
        cat "$TMPDIR/globals"
        fail "base and core must hold no mutable global"
fi

# 3. Includes: plain names, found in the folder itself or to its left.
includes() { # FOLDER ALLOWED...
        local folder=$1 file name dir found
        shift
        for file in "$folder"/*.[ch]; do
                [ -e "$file" ] || continue
                while read -r name; do
                        found=
                        for dir in "$folder" "$@"; do
                                [ ! -e "$dir/$name" ] || found=1
                        done
                        case "$name" in */*) found= ;; esac
                        [ -n "$found" ] || fail "$file: includes \"$name\", which is not in: $folder $*"
                done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*)".*/\1/p' "$file")
        done
}
B=daemon/base C=daemon/core D=daemon/dev P=client/proto H=client/include
includes $B
includes $C $B
includes $D $C $B $P
includes daemon/holder $D
includes daemon/shell daemon/holder $D $C $B $P
includes $P
includes client/lib $P $H
includes client/cli $P $H
includes client/replay client/cli $P $H kernels kernels/ref
includes kernels
includes kernels/ref kernels
includes bpf client/cli $P "$KVP_LIB/../bpf"

# 4. base and core include of the system's headers only those that bring no system call.
headers='assert|errno|inttypes|limits|stdalign|stdarg|stdbool|stddef|stdint|stdio|stdnoreturn|string'
if grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<' daemon/base/*.[ch] daemon/core/*.[ch] |
        grep -vE "<($headers)\.h>"; then
        fail "base and core include no other system headers than: $headers"
fi

# 5. A name is defined once, but for what is made to be (the base of probes, client/proto/probe.h). Tests link all archives, and would
#    get the wrong one without a word.
for archive in base core dev shell proto kvpager cli replay; do
        [ ! -e "$KVP_LIB/lib$archive.a" ] || nm --defined-only -g "$KVP_LIB/lib$archive.a" | awk 'NF == 3 && $2 !~ "[VW]" { print $3 }'
done | sort | uniq -d >"$TMPDIR/twice"
if [ -s "$TMPDIR/twice" ]; then
        cat "$TMPDIR/twice"
        fail "these are defined in more than one folder"
fi
exit $bad
