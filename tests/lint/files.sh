#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each source file says its licence at the top, is at most 700 lines of at most 140 characters (120 is what we write), and names
# no place of the machine it was written on; each script parses. The version stands in three places and is the same in all.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}

find . \( -path ./.git -o -path ./build -o -path ./debian/.debhelper -o -name __pycache__ \) -prune -o -type f -print |
        sed 's|^\./||' | sort >"$TMPDIR/all"
grep -E '\.(c|h|sh|py|cu)$|(^|/)(Makefile|run)$|^\.ci/|^debian/rules$' "$TMPDIR/all" >"$TMPDIR/sources"

while read -r file; do
        head -n 2 "$file" | grep -q 'SPDX-License-Identifier: ' || fail "$file: no SPDX line at the top"
        lines=$(wc -l <"$file")
        [ "$lines" -le 700 ] || fail "$file: $lines lines"
done <"$TMPDIR/sources"

# The tables are rows of X macros, where a line is a row; URLs and golden texts cannot be broken either.
xargs -a "$TMPDIR/sources" awk '
        length($0) > 140 && !/^ *X\(/ && !/https?:/ { print FILENAME ":" FNR ": " length($0) " characters"; n++ }
        END { exit n > 0 }' || fail "lines over 140 characters"
xargs -a "$TMPDIR/sources" grep -nE '[[:space:]]+$' && fail "white space at the end of lines"
grep -E '\.[ch]$' "$TMPDIR/sources" | xargs -r grep -nP '\t' && fail "tabs in C files"

# A function of more than 100 lines wants to be two. Ours begin and end with a brace in the first column.
grep -E '\.c$' "$TMPDIR/sources" | xargs -r awk '
        /^\{/ { start = FNR }
        /^\}/ && start {
                if (FNR - start > 100) { print FILENAME ":" start ": a function of " FNR - start " lines"; n++ }
                start = 0
        }
        END { exit n > 0 }' || fail "functions over 100 lines"

grep -E '\.sh$|(^|/)run$' "$TMPDIR/all" | while read -r file; do
        head -n 1 "$file" | grep -q python || bash -n "$file" || echo "$file" >>"$TMPDIR/unparsed"
done
[ ! -e "$TMPDIR/unparsed" ] || fail "scripts that do not parse"

# Absolute places of somebody's machine, and hosts that a build has no business with.
places='(^|[^A-Za-z0-9_.$}"/-])/(home|root|work|farm|Users|build)/[a-z]'
hosts='deb\.debian\.org|pypi\.org|registry\.npmjs|proxy\.golang|static\.crates'
xargs -a "$TMPDIR/all" grep -nIE "$places|$hosts" -- | grep -v '^tests/lint/files\.sh:' && fail "names of places and hosts"

make=$(sed -nE 's/^VERSION := (.*)/\1/p' Makefile)
header=$(sed -nE 's/^#define KVP_VERSION_(MAJOR|MINOR) ([0-9]+).*/\2/p' client/include/kvpager.h | paste -sd.)
changelog=$(sed -nE '1s/^kvpager \(([^)]*)\).*/\1/p' debian/changelog)
case "$make" in "$header".*) ;; *) fail "version: $make in Makefile, $header in kvpager.h" ;; esac
[ "$make" = "$changelog" ] || fail "version: $make in Makefile, $changelog in debian/changelog"
exit $bad
