#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A page costs the core as much in a table of a million pages as in one of a thousand, and as much while 30,000 requests of
# another tenant wait in vain as while 300 do; nor does a deadline that passes meanwhile cost more: instructions, counted by
# callgrind, at most 1.05 to 1.
set -euo pipefail

top=${KVP_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
bench=${KVP_TESTS:-$top/build/release/tests}/bench-core-scale
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

instructions() { # PAGES ORDER, or "waiting" or "passing" N
        valgrind --quiet --tool=callgrind --instr-atstart=no --callgrind-out-file="$scratch/out" "$bench" "$1" "$2"
        sed -n 's/^totals: //p' "$scratch/out"
}

for order in 0 2 4; do
        few=$(instructions $((1000 << order)) "$order")
        many=$(instructions 1000000 "$order")
        echo "extents of $((1 << order)) pages: $((few / 1000)) instructions among $((1000 << order)) pages," \
             "$((many / 1000)) among 1000000: $((many * 1000 / few)) to 1000"
        [ "$few" -gt 100000 ] || { echo "nothing was measured"; exit 1; }
        [ $((many * 100)) -le $((few * 105)) ] || { echo "FAILED: more than 1.05 to 1"; exit 1; }
done
for what in waiting passing; do
        few=$(instructions $what 300)
        many=$(instructions $what 30000)
        [ $what = waiting ] && of="a page of who waits for nobody" || of="a deadline that passes"
        echo "$of: $((few / 100)) instructions beside 300 that wait, $((many / 100)) beside 30000: $((many * 1000 / few)) to 1000"
        [ "$few" -gt 100000 ] || { echo "nothing was measured"; exit 1; }
        [ $((many * 100)) -le $((few * 105)) ] || { echo "FAILED: more than 1.05 to 1"; exit 1; }
done
