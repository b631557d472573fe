#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The core and its simulation look as clang-format and .clang-format have them (`make format`), so that a change shows what
# it changes and nothing else.
set -euo pipefail
cd "$KVP_TOP"
clang-format --dry-run -Werror daemon/core/*.[ch] tests/sim/*.[ch]
