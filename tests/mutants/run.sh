#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Does the simulator see what it should? Each patch here breaks the core in one way; the seed that SEEDS names for it must then
# fail, and must pass without it. A mutant that survives, or a patch that does not apply any more, is a failure of the tests.
#
#      run.sh              all of them, in a temporary folder
#      run.sh --find       looks for the first seed that catches each, and rewrites SEEDS
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
events=2000
export here events

build() { # OBJECT-FOLDER SOURCES...: compiles in the current folder
        local objects=$1
        shift
        printf '%s\n' "$@" | OBJECTS=$objects xargs -P "${JOBS:-2}" -I {} sh -c \
                '${CC:-gcc} -std=gnu17 -D_GNU_SOURCE= -O1 -Idaemon/base -Idaemon/core -Itests/sim \
                        -c -o "$OBJECTS/$(echo {} | tr / _).o" {}'
}
export -f build

# Runs seeds $2..$3 of the simulator $1; prints what it found, and fails if it found nothing.
catches() {
        local said
        if said=$(timeout 60 "$1" --seeds "$2-$3" --events "$events" 2>&1); then
                return 1
        fi
        printf '%s\n' "$said" | sed -n 's/^sim: \(seed .*, event .*\|ended by .*\)/\1/p' | tail -n 1 | cut -c 1-110
}
export -f catches

mutant() { # NAME SEED-OR-find: one of them, in a copy of its own
        local name=$1 seed=$2 work=$WORK/$1 changed found
        mkdir -p "$work/objects"
        cp -r "$WORK/tree/." "$work"
        cp "$WORK/objects/"*.o "$work/objects"
        cd "$work"
        if ! patch --quiet --forward --fuzz=1 -p1 <"$here/$name.patch"; then
                echo "FAILED $name: the patch does not apply any more"
                return 1
        fi
        changed=$(sed -n 's|^+++ b/||p' "$here/$name.patch")
        case $changed in
        *.h*) changed=$(find daemon tests/sim -name '*.c') ;; # any of them may include it
        esac
        { JOBS=1 build objects $changed && ${CC:-gcc} -o sim objects/*.o; } || { echo "FAILED $name: does not compile"; return 1; }
        if [ "$seed" = find ]; then
                for seed in $(seq 1 1000); do
                        found=$(catches ./sim "$seed" "$seed") && { echo "$name $seed" >>"$WORK/found"; break; }
                done
        fi
        if found=$(catches ./sim "$seed" "$seed"); then
                echo "caught $name by $found"
        else
                echo "FAILED $name: seed $seed does not see it"
                return 1
        fi
}
export -f mutant

WORK=$(mktemp -d)
export WORK
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$WORK/tree/daemon" "$WORK/tree/tests" "$WORK/objects"
cp -r "$top/daemon/base" "$top/daemon/core" "$WORK/tree/daemon"
cp -r "$top/tests/sim" "$WORK/tree/tests"
cd "$WORK/tree"
shopt -s nullglob
build "$WORK/objects" daemon/base/*.c daemon/core/*.c tests/sim/*.c
${CC:-gcc} -o "$WORK/sim" "$WORK/objects"/*.o

cd "$here"
names=(*.patch)
names=("${names[@]%.patch}")
if [ "${1:-}" = --find ]; then
        printf '%s find\n' "${names[@]}" | xargs -P 2 -L 1 bash -c 'mutant "$@"' mutant || true
        { sed -n '/^#/p' SEEDS; sort "$WORK/found"; } >"$WORK/seeds" && cp "$WORK/seeds" SEEDS
        exit
fi

listed=$(sed '/^#/d' SEEDS)
[ "$(cut -d' ' -f1 <<<"$listed" | sort)" = "$(printf '%s\n' "${names[@]}" | sort)" ] || {
        echo "SEEDS and the patches do not name the same mutants"
        exit 1
}
for seed in $(cut -d' ' -f2 <<<"$listed" | sort -un); do
        ! catches "$WORK/sim" "$seed" "$seed" || { echo "FAILED: seed $seed fails without any mutant"; exit 1; }
done
xargs -P 2 -L 1 bash -c 'mutant "$@"' mutant <<<"$listed" || { echo "FAILED: mutants survive"; exit 1; }
echo "all ${#names[@]} mutants caught"
