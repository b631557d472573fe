#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a step, a page's life in the core and the codec cost in instructions, counted by callgrind, is what stands in
# tests/bench/instructions.txt, to 2 %. Only our own code is counted, not libc's, which differs by processor. Another
# compiler than the one that the file names makes other code: then the counts are shown and not compared.
#
#      bash tests/lint/instructions.sh --write      writes the file anew, after a change that is meant
set -euo pipefail

top=${KVP_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
tests=${KVP_TESTS:-$top/build/release/tests}
file=$top/tests/bench/instructions.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

count() { # PROGRAM ARGUMENTS...
        local program=$1
        shift
        valgrind --quiet --tool=callgrind --instr-atstart=no --callgrind-out-file="$scratch/out" "$tests/$program" "$@" >&2
        callgrind_annotate --threshold=100 --auto=no "$scratch/out" |
                awk -v object="/$program]" 'index($0, object) { gsub(",", "", $1); sum += $1 } END { print sum + 0 }'
}

compiler=$(head -n 1 "$(dirname "$tests")/flags")
{
        echo "compiler $compiler"
        for what in step_256_rows step_1_row codec_grow codec_grant_64; do
                echo "$what $(count bench-instructions "$what")"
        done
        echo "core_page_life $(count bench-core-scale 1000 0)"
} >"$scratch/now"

if [ "${1:-}" = --write ]; then
        { sed -n '/^#/p' "$file" 2>/dev/null || true; cat "$scratch/now"; } >"$scratch/new"
        mv "$scratch/new" "$file"
        exit 0
fi
expected=$(sed -n 's/^compiler //p' "$file")
bad=0
while read -r what now; do
        [ "$what" != compiler ] || continue
        [ "$now" -gt 1000 ] || { echo "$what: nothing was counted"; bad=1; }
        before=$(awk -v what="$what" '$1 == what { print $2 }' "$file")
        echo "$what: $now instructions, $before expected"
        [ "$compiler" = "$expected" ] || continue
        if [ -z "$before" ] || [ $((now * 100)) -gt $((before * 102)) ] || [ $((now * 100)) -lt $((before * 98)) ]; then
                echo "FAILED: more than 2 % off; if that is meant: tests/lint/instructions.sh --write"
                bad=1
        fi
done <"$scratch/now"
[ "$compiler" = "$expected" ] || echo "not compared: built by $compiler, counted for $expected"
exit $bad
