#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The golden traces: what the core does in a few short stories, compared to the line. After a change that is meant to show
# there: `tests/sim/golden.sh --update`, and read the difference.
set -euo pipefail

top=${KVP_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
sim=${KVP_TESTS:-$top/build/release/tests}/sim

"$sim" --golden "$top"/tests/golden/*.txt "$@"
# Every scenario has its trace: a new one is not forgotten.
"$sim" --scenarios | while read -r name; do
        test -f "$top/tests/golden/$name.txt" || { echo "no tests/golden/$name.txt"; exit 1; }
done
