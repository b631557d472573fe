#!/bin/bash
# SPDX-License-Identifier: MIT
#
# All C looks as clang-format and .clang-format have them (`make format`), so that a change shows what
# it changes and nothing else.
set -euo pipefail
cd "$KVP_TOP"
find bpf client daemon kernels man tests -name '*.[ch]' -exec clang-format --dry-run -Werror {} +
