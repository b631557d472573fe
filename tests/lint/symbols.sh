#!/bin/bash
# SPDX-License-Identifier: MIT
#
# libkvpager.so exports what kvpager.h declares, under the version that libkvpager.map gives it, and nothing else; it is
# named libkvpager.so.0 and needs no library beyond libc. Programs are position-independent and bound at start.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}

# Declarations end in ";" and name a function kvp_...( ; comments aside.
gcc -fpreprocessed -dD -E -P client/include/kvpager.h 2>/dev/null | tr '\n' ' ' | tr ';{}' '\n\n\n' |
        grep -v typedef | grep -oE '\bkvp_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$TMPDIR/header"
sed -nE 's/^[[:space:]]*(kvp_[a-z0-9_]+);.*/\1/p' client/lib/libkvpager.map | sort -u >"$TMPDIR/map"
nm -D --defined-only "$KVP_LIB/libkvpager.so.0" | awk '$2 != "A" { print $3 }' | sort -u >"$TMPDIR/exported"
sed 's/$/@@KVPAGER_0/' "$TMPDIR/header" >"$TMPDIR/expected"

[ -s "$TMPDIR/header" ] || fail "found no declaration in kvpager.h"
diff "$TMPDIR/header" "$TMPDIR/map" || fail "kvpager.h (<) and libkvpager.map (>) differ"
diff "$TMPDIR/expected" "$TMPDIR/exported" || fail "kvpager.h (<) and what libkvpager.so.0 exports (>) differ"

soname=$(readelf -d "$KVP_LIB/libkvpager.so.0" | sed -nE 's/.*SONAME.*\[(.*)\]/\1/p')
[ "$soname" = libkvpager.so.0 ] || fail "soname is $soname"
readelf -d "$KVP_LIB/libkvpager.so.0" | sed -nE 's/.*NEEDED.*\[(.*)\]/\1/p' | grep -vE '^(libc\.so|ld-linux)' &&
        fail "libkvpager.so.0 needs these"

for file in "$KVP_LIB/libkvpager.so.0" "$KVP_BIN"/*; do
        readelf -h "$file" | grep -q 'Type: *DYN' || fail "$file is not position-independent"
        readelf -d "$file" | grep -qE 'BIND_NOW|NOW' || fail "$file is not bound at start"
        readelf -lW "$file" | grep -q GNU_RELRO || fail "$file has no RELRO"
        readelf -lW "$file" | grep GNU_STACK | grep -q RWE && fail "$file has an executable stack"
done
exit $bad
