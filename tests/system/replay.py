# SPDX-License-Identifier: MIT
"""What the tests of kvpager-replay share."""

import json
import os
import subprocess

from box import BIN, shmem_kib

LONG = bool(os.environ.get("KVP_LONG"))
TRACES = os.environ.get("KVPAGER_TRACES") or "/nonexistent"


def leftovers():
    """KiB of shared memory that the kernel holds for anybody."""
    return shmem_kib()


def replay(*arguments, seconds=600 if LONG else 120):
    done = subprocess.run([BIN + "/kvpager-replay", *arguments, "--json"], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, "kvpager-replay %r: %d: %s" % (arguments, done.returncode, done.stderr)
    return json.loads(done.stdout)
