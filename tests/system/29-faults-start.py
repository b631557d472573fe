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
area = faults.Area(folder + "/area")


def leave_stale_socket():
    """As a daemon that was killed does."""
    if not os.path.exists(path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.bind(path)


def serves(process):
    """Whether it serves, or has ended."""
    try:
        Raw(path, timeout=10).close()
        return True
    except (ConnectionError, FileNotFoundError, AssertionError):
        return process.poll() is not None


def crowd():
    """More peers than ever before, with their timers and their memory."""
    peers = [Raw(path, timeout=10) for _ in range(20)]
    cache = peers[0].cache()
    for grant in peers[0].grow(cache, need=4, timeout_usec=5000000):
        os.close(grant.fd)
    for peer in peers:
        peer.close()


class Kind:
    """A way to start, what it is to come to, and the sites that it reaches and earlier ones do not."""

    def __init__(self, name, config=faults.CONFIG, serves=True, **variables):
        self.name, self.config, self.serves, self.variables = name, config, serves, variables

    def command(self):
        if self.config:
            with open(folder + "/conf", "w") as f:
                f.write(self.config)
        return [BIN + "/kvpagerd"] + (["--config", folder + "/conf"] if self.config else [])

    def environment(self, fault):
        return dict(os.environ, KVPAGER_SOCKET=path, **area.environment(faults.DAEMON), **self.variables)

    def start(self, fault, log):
        return subprocess.Popen(self.command(), env=self.environment(fault), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


class Activated(Kind):
    """With the socket that systemd holds."""

    def start(self, fault, log):
        if os.path.exists(path):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen(64)
            env = {k: v for k, v in self.environment(fault).items() if k != "LD_PRELOAD"}
            script = 'exec 3<&%d; export LD_PRELOAD="$0"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"' % listener.fileno()
            return subprocess.Popen(["sh", "-c", script, TESTS + "/faults.so", *self.command()], env=env, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, pass_fds=(listener.fileno(),))


class Second(Kind):
    """Another one serves already: it stays."""

    def start(self, fault, log):
        if not os.path.exists(path + ".lock"):
            self.first = subprocess.Popen(self.command(), env=dict(os.environ, KVPAGER_SOCKET=path), stderr=subprocess.DEVNULL)
            until(lambda: serves(self.first), "the first one")
        return super().start(fault, log)


class Life:
    """A daemon from its start to its end; `calls` at the time it served, when it was told to stop, and at the end."""

    def __init__(self, kind, fault=None):
        self.kind, self.fault, self.calls, self.noticed = kind, fault, [], None
        leave_stale_socket()
        area.clear()
        if fault:
            area.arm(fault)
        with open(folder + "/log", "w+") as log:
            self.process = kind.start(fault, log)
            if kind.serves:
                until(lambda: serves(self.process), "a start or an end")
            else:
                self.process.wait(10)
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
        function, harmless = (self.fault.function, self.fault.harmless) if self.fault else ("", False)
        self.calls.append(area.calls())
        assert status == expected, "ended with %s, not %s: %s" % (status, expected, self.text())
        if expected != 0:
            assert "kvpagerd: error: " in self.text() or function == "write", "ended without a word: " + self.text()
            assert not harmless or not self.kind.serves, "did not start: " + self.text()
            return
        assert self.noticed is None or not harmless, self.noticed
        if not isinstance(self.kind, Activated):
            for file in (path, path + ".lock"):
                assert function == "unlink" or not os.path.exists(file), file + " was left behind"


def pick_of(life):
    """First and last calls of the start and of the stop; of allocations the first in between."""
    def pick(key, n):
        a, b = (calls.get(key, 0) for calls in (life.calls[0], life.calls[-2] if len(life.calls) > 1 else {}))
        picks = {0, a - 1} if a else set()
        if n > b:
            picks |= {b, n - 1}
        if area.function_of(key).name in ALLOCATIONS and b > a:
            picks |= {a, b - 1}
        return picks

    return pick


def ways(key):
    """The harmless ones, and one that is not: the code mostly does not tell them apart."""
    names = {error: faults.way_name(error) for error in area.ways(key)}
    hard = [error for error in names if names[error] not in faults.HARMLESS]
    return [error for error in names if names[error] in faults.HARMLESS] + hard[:1]


def run(kind):
    global seen, failed
    Life(kind)
    life = Life(kind)
    new = {key: n for key, n in life.calls[-1].items() if key not in seen}
    seen |= set(new)
    ran = met = refused = 0
    for fault in area.faults(new, pick_of(life), ways):
        ran += 1
        try:
            life = Life(kind, fault)
            met += area.a.fired > 0
            refused += life.process.returncode != 0
        except Exception as error:
            failed += 1
            say("%s: %s: %r" % (kind.name, fault, error))
            assert failed < 20, "enough"
    say("%s: %d sites, %d faults, %d met, %d starts refused" % (kind.name, len(new), ran, met, refused))


seen, failed = set(), 0
second = Second("second", serves=False)
for kind in (Kind("usual"), Kind("journal", JOURNAL_STREAM="1:1"), Kind("without configuration", config=None),
             Activated("activated"), Kind("huge pages", "[device d]\npage-size = 128K\nhugepages = yes\n", serves=False), second):
    run(kind)
second.first.terminate()
assert second.first.wait(10) == 0
assert not failed
