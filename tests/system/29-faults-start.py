# SPDX-License-Identifier: MIT
"""Every system call of the daemon's start and stop fails in turn, in every way that it can: see faults.py.

A start that fails ends with status 1 and a sentence, and leaves no socket behind; one that succeeds serves. Whatever fails
while it stops, it ends in time. Allocations fail in between too, at their first: later there may be room already.
"""
import signal
import socket
import subprocess
import tempfile
import time

import faults
from box import *
from raw import *

ALLOCATIONS = {b"malloc", b"calloc", b"realloc"}
folder = tempfile.mkdtemp(prefix="kvp-")
path = folder + "/s"
with open(folder + "/conf", "w") as f:
    f.write(faults.CONFIG)
area = faults.Area(folder + "/area")
env = dict(os.environ, KVPAGER_SOCKET=path, **area.environment(faults.DAEMON))


def leave_stale_socket():
    """As a daemon that was killed does."""
    if not os.path.exists(path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.bind(path)


def serves(process):
    """Whether it serves, or has ended."""
    try:
        Raw(path, timeout=3).close()
        return True
    except (ConnectionError, FileNotFoundError, AssertionError):
        return process.poll() is not None


def crowd():
    """More peers than ever before, with their timers and their memory."""
    peers = [Raw(path, timeout=3) for _ in range(20)]
    cache = peers[0].cache()
    for grant in peers[0].grow(cache, need=4, timeout_usec=1000000):
        os.close(grant.fd)
    for peer in peers:
        peer.close()


def environment(fault):
    """A device that does not end is left alone, with what it has: no leak."""
    if fault and fault.function == "pthread_timedjoin_np":
        return dict(env, ASAN_OPTIONS=env["ASAN_OPTIONS"] + ":detect_leaks=0")
    return env


class Life:
    """A daemon from its start to its end; `calls` at the time it served, when it was told to stop, and at the end."""

    def __init__(self, fault=None):
        self.fault, self.calls, self.noticed = fault, [], None
        leave_stale_socket()
        area.clear()
        if fault:
            area.arm(fault)
        with open(folder + "/log", "w+") as self.log:
            self.process = subprocess.Popen([BIN + "/kvpagerd", "--config", folder + "/conf"], env=environment(fault),
                                            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
            until(lambda: serves(self.process), "a start or an end")
            if self.process.poll() is None:
                self.serve()
                self.ended(0)
            else:
                self.ended(1)

    def text(self):
        with open(folder + "/log") as log:
            return log.read()

    def serve(self):
        self.calls.append(area.calls())
        try:
            crowd()
        except (ConnectionError, AssertionError) as error:  # who meets the fault may notice
            self.noticed = repr(error)
            area.disarm()
            crowd()
        self.calls.append(area.calls())
        self.process.send_signal(signal.SIGTERM)

    def ended(self, expected):
        status = self.process.wait(10)
        self.calls.append(area.calls())
        function, harmless = (self.fault.function, self.fault.harmless) if self.fault else ("", False)
        assert status == expected, "ended with %s, not %s: %s" % (status, expected, self.text())
        assert expected == 0 or "kvpagerd: error: " in self.text() or function == "write", "ended without a word: " + self.text()
        assert expected == 0 or not harmless, "did not start: " + self.text()
        assert self.noticed is None or not harmless, self.noticed
        for file in (path, path + ".lock"):
            assert function == "unlink" or status == 1 or not os.path.exists(file), file + " was left behind"


Life()
life = Life()
started, served, ended = life.calls


def pick(key, n):
    """First and last calls of the start and of the stop; of allocations the first in between."""
    a, b = started.get(key, 0), served.get(key, 0)
    picks = {0, a - 1} if a else set()
    if n > b:
        picks |= {b, n - 1}
    if area.function_of(key).name in ALLOCATIONS and b > a:
        picks |= {a, b - 1}
    return picks


def ways(key):
    """The harmless ones, and one that is not: the code mostly does not tell them apart."""
    names = {error: faults.way_name(error) for error in area.ways(key)}
    hard = [error for error in names if names[error] not in faults.HARMLESS]
    return [error for error in names if names[error] in faults.HARMLESS] + hard[:1]


ran = met = refused = failed = 0
for fault in area.faults(ended, pick, ways):
    ran += 1
    try:
        life = Life(fault)
        met += area.a.fired > 0
        refused += life.process.returncode != 0
    except Exception as error:
        failed += 1
        say("%s: %r" % (fault, error))
        life.process.kill()
        assert failed < 20, "enough"
print("%d faults, %d met, %d starts refused" % (ran, met, refused))
assert not failed
