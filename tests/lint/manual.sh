#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The manual is well-formed mdoc and complete: every function of kvpager.h, every message, error and counter of the
# protocol's tables, every option that the programs' own help names has its line in a page.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}

pages=(man/*.[1-8])
[ -e "${pages[0]}" ] || {
        echo "no page in man/"
        exit 1
}
mandoc -T lint -W warning "${pages[@]}" || fail "mandoc warns"
mandoc -T utf8 -O width=200 "${pages[@]}" | sed 's/.\x08//g' >"$TMPDIR/manual"

words() { # WHAT: reads words, complains of those that the manual lacks
        local what=$1 word n=0
        while read -r word; do
                n=$((n + 1))
                grep -qF -w -e "$word" "$TMPDIR/manual" || fail "no page has $what $word"
        done
        [ "$n" -gt 0 ] || fail "found no $what at all"
}
table() { # HEADER MACRO: the first column of an X-macro table
        printf '#include "%s"\n#define FIRST(name, ...) @name@\n%s(FIRST)\n' "$1" "$2" | gcc -E -P -Iclient/proto -x c - |
                grep -oE '@ ?[A-Za-z0-9_]+ ?@' | tr -d '@ '
}

words function < <(sed -nE 's/^[[:space:]]*(kvp_[a-z0-9_]+);.*/\1/p' client/lib/libkvpager.map)
words message < <(table messages.h WIRE_MESSAGES)
words error < <(table errors.h WIRE_ERRORS)
words counter < <(table counters.h WIRE_COUNTERS)
for program in "$KVP_BIN"/*; do
        words "option of ${program##*/}" < <("$program" --help 2>&1 | grep -oE -- '--[a-z][a-z0-9-]+' | sort -u)
done
exit $bad
