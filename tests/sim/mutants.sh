#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The mutants of the core (tests/mutants): the simulator must catch every one of them.
exec "$(dirname "$0")/../mutants/run.sh" "$@"
