#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each example in section 3 of the manual compiles by itself, with both compilers and warnings as errors, as C17 and against nothing but
# kvpager.h; one that is a whole program links as well.
set -euo pipefail
cd "$KVP_TOP"
bad=0
n=0

for page in man/*.3; do
        # The literal blocks of EXAMPLES, without what mdoc needs in them.
        awk -v out="$TMPDIR/$(basename "$page" .3)" '
                /^\.Sh/ { examples = $2 == "EXAMPLES" }
                /^\.Ed/ { inside = 0 }
                inside { gsub(/\\e/, "\\"); gsub(/\\&/, ""); print >file }
                /^\.Bd -literal/ && examples { inside = 1; file = out "-" ++n ".c" }
        ' "$page"
        grep -q '^\.Sh EXAMPLES' "$page" || {
                echo "$page: no example"
                bad=1
        }
done
for file in "$TMPDIR"/*.c; do
        n=$((n + 1))
        for compiler in gcc clang; do
                "$compiler" -std=c17 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Iclient/include -c -o "$file.o" "$file" || {
                        echo "an example in man/$(basename "${file%-*}").3 does not compile with $compiler"
                        bad=1
                }
        done
        if grep -q '^int main' "$file"; then
                gcc -o "$file.out" "$file.o" -L"$KVP_LIB" -lkvpager || bad=1
        fi
done
echo "$n examples"
[ "$n" -gt 0 ] || bad=1
exit $bad
