# SPDX-License-Identifier: MIT
"""Programs that call the stand-in for libcuda by themselves, and what it has counted."""

import os
import struct
import subprocess

from observer import TESTS, temporary_folder

STANDIN = TESTS + "/standin"
LIBRARY = STANDIN + "/libcuda.so.1"

with open(os.path.join(os.environ["KVP_TOP"], "client/proto/cuda.h")) as f:
    SYMBOLS = [line.split(",")[1].strip() for line in f if line.strip().startswith("X(") and " cu" in line]


class Truth:
    """One file of counts, for the programs that are started with it."""

    def __init__(self):
        self.path = temporary_folder() + "/state"
        self.env = dict(os.environ, KVP_STANDIN_STATE=self.path, KVP_STANDIN_MEMORY=str(1 << 40))
        self.env["LD_LIBRARY_PATH"] = ":".join(filter(None, [STANDIN, os.environ.get("LD_LIBRARY_PATH")]))

    def read(self):
        """symbol: (calls, bytes)"""
        n = len(SYMBOLS)
        with open(self.path, "rb") as f:
            words = struct.unpack("<%dQ" % (2 * n + 36), f.read(8 * (2 * n + 36)))
        calls, moved = words[:n], words[n + 32:2 * n + 32]
        truth = {s: (calls[i], moved[i]) for i, s in enumerate(SYMBOLS)}
        truth["cuMemAllocAsync"] = (words[-4], words[-2])
        truth["cuMemFreeAsync"] = (words[-3], words[-1])
        return truth


class Program:
    def __init__(self, truth, wrap=(), env=None, program=TESTS + "/test-cuda-calls"):
        self.process = subprocess.Popen([*wrap, program], env=dict(truth.env, **(env or {})), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        self.pid = self.process.pid
        self.wait()

    def wait(self):
        answer = self.process.stdout.readline()
        assert answer == "ok\n", (answer, self.process.wait(10))

    def send(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")

    def tell(self, *words):
        self.send(*words)
        self.wait()

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
