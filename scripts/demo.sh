#!/bin/bash
# SPDX-License-Identifier: MIT
#
# demo.sh BUILD: replays a serving load of two tenants on a private daemon of this build, attention computed in full and
# compared bit for bit with the same kernel over plain memory. Prints the table and leaves demo.svg. The load is a seeded
# one, or the trace in $KVPAGER_TRACE; KVPAGER_DEMO_REQUESTS says how many of its requests.
set -euo pipefail
build=${1:?usage: demo.sh BUILD}
svg=demo.svg

arguments=(--tenants 2 --workers 1 --geometry tiny --layout token-major-fused --page-size 64K --capacity 30528K
        --requests "${KVPAGER_DEMO_REQUESTS:-200}" --verify --plot "$svg")
if [ -n "${KVPAGER_TRACE:-}" ]; then
        arguments+=(--trace "$KVPAGER_TRACE")
fi

echo "kvpager-replay ${arguments[*]}"
"$build/bin/kvpager-replay" "${arguments[@]}"
echo
echo "memory over time: $PWD/$svg"
