# SPDX-License-Identifier: MIT
"""What tests on the stand-in for NVIDIA's driver share: its environment, and how often each function was called."""
import os
import re
import struct

from box import MIB, TESTS, temporary_folder

FOLDER = TESTS + "/standin"
STATE = os.path.join(temporary_folder(), "state")

with open(os.path.join(os.environ["KVP_TOP"], "client/proto/cuda.h")) as f:
    SYMBOLS = re.findall(r"^ +X\(\w+, (cu\w+),", f.read(), re.MULTILINE)


def setup(memory=512 * MIB, **settings):
    """From here on every process that is started finds the stand-in, with so many bytes of memory."""
    os.environ.update(KVP_STANDIN_STATE=STATE, KVP_STANDIN_MEMORY=str(memory), **settings)
    with open(STATE, "ab") as f:
        f.truncate(max(f.tell(), 8 * len(SYMBOLS)))
    if FOLDER not in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [FOLDER, os.environ.get("LD_LIBRARY_PATH")]))


def calls(symbol=None):
    with open(STATE, "rb") as f:
        counts = dict(zip(SYMBOLS, struct.unpack("<%dQ" % len(SYMBOLS), f.read(8 * len(SYMBOLS)))))
    return counts if symbol is None else counts[symbol]


class Count:
    """Calls since it was made."""

    def __init__(self):
        self.before = calls()

    def __call__(self, symbol):
        return calls(symbol) - self.before[symbol]
