#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What client/proto/cuda.h says of the driver's ABI is what NVIDIA's own header says: every constant, the size and members of every
# struct, and that each function is one. Where that header is not installed there is nothing to compare with: then the table is only
# looked at for functions that stand twice.
set -euo pipefail
cd "$KVP_TOP"
ours=client/proto/cuda.h
functions=$(grep -oE '^ +X\([a-z_]+, cu[A-Za-z0-9_]+,' "$ours" | sed 's/.*, //; s/,//')
[ "$(wc -w <<<"$functions")" -gt 40 ] || { echo "found no table of functions in $ours"; exit 1; }
twice=$(sort <<<"$functions" | uniq -d)
[ -z "$twice" ] || { echo "in the table twice: $twice"; exit 1; }

theirs=
for folder in ${CUDA_HOME:+"$CUDA_HOME/include"} /usr/local/cuda/include /usr/include; do
        [ ! -e "$folder/cuda.h" ] || { theirs=$folder; break; }
done
[ -n "$theirs" ] || { echo "no cuda.h of NVIDIA's: not compared"; exit 0; }

# All constants of ours, as a program that prints them, built once with each header.
constants=$(grep -oE '\b(CUDA_[A-Z_]+|CU_[A-Z_]+) = ' "$ours" | sed 's/ = //' | sort -u)
{
        echo '#include <stdio.h>'
        echo '#include <stddef.h>'
        echo 'int main(void) {'
        for name in $constants; do
                echo "printf(\"%s %d\\n\", \"$name\", (int)$name);"
        done
        for type in CUdevice CUdeviceptr CUmemGenericAllocationHandle CUuuid CUmemLocation CUmemAllocationProp CUmemAccessDesc; do
                echo "printf(\"%s %zu\\n\", \"$type\", sizeof($type));"
        done
        for member in CUmemLocation.type CUmemLocation.id CUmemAllocationProp.type CUmemAllocationProp.requestedHandleTypes \
                CUmemAllocationProp.location CUmemAllocationProp.win32HandleMetaData CUmemAllocationProp.allocFlags \
                CUmemAccessDesc.location CUmemAccessDesc.flags; do
                echo "printf(\"%s %zu\\n\", \"$member\", offsetof(${member%.*}, ${member#*.}));"
        done
        echo 'return 0; }'
} >"$TMPDIR/print.c"
gcc -include "$ours" -o "$TMPDIR/ours" "$TMPDIR/print.c"
gcc -include "$theirs/cuda.h" -o "$TMPDIR/theirs" "$TMPDIR/print.c"
"$TMPDIR/ours" >"$TMPDIR/ours.txt"
"$TMPDIR/theirs" >"$TMPDIR/theirs.txt"
[ "$(wc -l <"$TMPDIR/ours.txt")" -gt 40 ] || { echo "found no constants in $ours"; exit 1; }
diff "$TMPDIR/ours.txt" "$TMPDIR/theirs.txt" || { echo "client/proto/cuda.h differs from $theirs/cuda.h"; exit 1; }

# Each function is declared there (their macros give some another version: the name before it will do), with as many parameters.
gcc -E -P -include "$theirs/cuda.h" -x c /dev/null | tr -s ' \n' '  ' | grep -oE '\bcu[A-Za-z0-9_]+ ?\([^()]*\);' >"$TMPDIR/declared"
bad=0
while IFS='|' read -r name parameters; do
        found=$(grep -E "^${name}(_v[0-9]+)? ?\(" "$TMPDIR/declared" | head -n 1 || true)
        [ -n "$found" ] || found=$(grep -E "^${name%_v[0-9]} ?\(" "$TMPDIR/declared" | head -n 1 || true)
        [ -n "$found" ] || { echo "$theirs/cuda.h declares no $name"; bad=1; continue; }
        [ "$(tr -cd ',' <<<"$found" | wc -c)" = "$(tr -cd ',' <<<"$parameters" | wc -c)" ] ||
                { echo "$name has other parameters there: $found"; bad=1; }
done < <(sed -nE 's/^ +X\([a-z_]+, (cu[A-Za-z0-9_]+), \((.*)\)\).*/\1|\2/p' "$ours")
exit $bad
