# SPDX-License-Identifier: MIT
"""What the system tests share: a private daemon, workers that obey (test-worker), kvpagerctl, and the kernel's own count.

Every wait is bounded and ends in an assertion; nothing sleeps where it can wait for an event.
"""

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = os.environ["KVP_BIN"]
TESTS = os.environ["KVP_TESTS"]
MIB = 1 << 20


def until(condition, what, seconds=10.0):
    """Polls what no event tells of (another process's state); fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "timed out: %s" % (what() if callable(what) else what)
        time.sleep(0.002)


def suspend(pid):
    """Sends SIGSTOP and waits until no thread of it runs any more: a signal is on its way for a while."""
    os.kill(pid, signal.SIGSTOP)

    def states():
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
                yield f.read().rpartition(")")[2].split()[0]
    until(lambda: set(states()) == {"T"}, "%d does not stop" % pid)


def shmem_kib():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Shmem:"))


def temporary_folder():
    """One that is gone when the test is."""
    folder = tempfile.mkdtemp(prefix="kvp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Daemon:
    """kvpagerd with a configuration of its own, ready when this returns."""

    pass_fds = ()

    def __init__(self, config=None, capacity="512M", page_size="2M", tenants=("default",), extra="", program=None, wrap=()):
        self.folder = temporary_folder()
        self.process = None
        atexit.register(self.end)
        self.socket = os.path.join(self.folder, "s")
        if config is None:
            config = "[device host0]\nbackend = host\ncapacity = %s\npage-size = %s\n%s" % (capacity, page_size, extra)
            config += "".join("[tenant %s]\nmatch = any\n" % t for t in tenants)
        self.config = os.path.join(self.folder, "kvpagerd.conf")
        with open(self.config, "w") as f:
            f.write(config)
        self.start(program, wrap)

    def start(self, program=None, wrap=()):
        import socket

        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        path = os.path.join(self.folder, "notify")
        if os.path.exists(path):
            os.unlink(path)
        notify.bind(path)
        notify.settimeout(10)
        self.log = open(os.path.join(self.folder, "log"), "a+")
        env = dict(os.environ, KVPAGER_SOCKET=self.socket, NOTIFY_SOCKET=path)
        self.process = subprocess.Popen(list(wrap) + [program or BIN + "/kvpagerd", "--config", self.config], env=env,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, pass_fds=self.pass_fds)
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
        except socket.timeout:
            raise AssertionError("kvpagerd did not become ready:\n" + self.text())
        finally:
            notify.close()
        self.pid = self.process.pid

    def end(self):
        """Outlives no test, however that ends."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def text(self):
        with open(os.path.join(self.folder, "log")) as f:
            return f.read()

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def ctl(self, *args, check=True):
        done = subprocess.run([BIN + "/kvpagerctl", *args, "--json"], env=dict(os.environ, KVPAGER_SOCKET=self.socket),
                              capture_output=True, text=True, timeout=20)
        assert not check or done.returncode == 0, "kvpagerctl %s: %s" % (args, done.stderr)
        return json.loads(done.stdout) if done.stdout else {}

    def tenant(self, name="default"):
        return next(t for t in self.ctl("tenants")["tenants"] if t["name"] == name)

    def counter(self, name):
        return next(c["value"] for c in self.ctl("counters")["counters"] if c["name"] == name)

    def check(self):
        done = subprocess.run([BIN + "/kvpagerctl", "check"], env=dict(os.environ, KVPAGER_SOCKET=self.socket),
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stdout + done.stderr

    def worker(self, tenant=None, wrap=(), expect="connected"):
        return Worker(self, tenant, wrap, expect)

    def empty(self):
        """Nobody holds anything, by our count."""
        return all(t["current_bytes"] == 0 for t in self.ctl("tenants")["tenants"])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, "kvpagerd ended with %s:\n%s" % (self.process.returncode, self.text())


class OpenDaemon(Daemon):
    """One whose socket lets descriptors in, as all did before Linux 6.16: it is activated with a socket that stays ours too."""

    PASSRIGHTS = 83
    ACTIVATE = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
                "os.execvp(sys.argv[2], sys.argv[2:])")

    def start(self, program=None, wrap=()):
        import socket

        if os.path.exists(self.socket):
            os.unlink(self.socket)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.socket)
            listener.listen(512)
            self.before_start()
            self.pass_fds = (listener.fileno(),)
            super().start(program, [sys.executable, "-c", self.ACTIVATE, str(listener.fileno()), *wrap])
            try:
                listener.setsockopt(socket.SOL_SOCKET, self.PASSRIGHTS, 1)
            except OSError:
                pass  # this kernel always does

    def before_start(self):
        pass


class Worker:
    def __init__(self, daemon, tenant, wrap, expect):
        env = dict(os.environ, KVPAGER_SOCKET=daemon.socket)
        self.process = subprocess.Popen(list(wrap) + [TESTS + "/test-worker"] + ([tenant] if tenant else []), env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.pid = self.process.pid
        self.buffer = b""
        self.greeting = self.read()
        assert self.greeting.startswith(expect), self.greeting

    def read(self, seconds=30.0):
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            assert ready, "worker %d does not answer" % self.pid
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "worker %d ended with %s" % (self.pid, self.process.wait(5))
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def send(self, *words):
        self.process.stdin.write((" ".join(str(w) for w in words) + "\n").encode())

    def tell(self, *words):
        self.send(*words)
        return self.read()

    def ok(self, *words):
        answer = self.tell(*words)
        assert answer == "ok", "%s: %s" % (words, answer)

    def create(self, rows=8, tokens=65536, layout=2, layers=4, heads=2, dim=64, bits=16):
        self.ok("create", rows, tokens, layout, layers, heads, dim, bits)

    def acquire(self, expected):
        answer = self.tell("acquire", expected)
        assert answer.startswith("seq "), answer
        return int(answer[4:])

    def step(self, *pairs, timeout=5000000):
        """Returns (error name or "0", [(status, ready), ...])."""
        words = self.tell("step", timeout, *(x for pair in pairs for x in pair)).split()
        assert words[0] == "step", words
        return words[1], [(words[i], int(words[i + 1])) for i in range(2, len(words), 2)]

    def grow(self, seq, tokens, timeout=5000000):
        rc, rows = self.step((seq, tokens), timeout=timeout)
        assert rc == "0" and rows[0][1] >= tokens, (rc, rows)

    def stats(self):
        words = self.tell("stats").split()
        assert words[0] == "stats", words
        return {k: int(v) for k, v in (w.split("=") for w in words[1:])}

    def begin_load(self, seconds, rows, tokens, timeout=5000000, seed=1, pause=0, fresh=False):
        self.send("load", int(seconds * 1e6), rows, tokens, timeout, seed, pause, int(fresh))

    def end_load(self, seconds=60.0):
        """What came of it: steps, failed, completed, and how long steps took, in microseconds: p50, p90, p99, max."""
        words = self.read(seconds).split()
        assert words[0] == "load", words
        return {k: float(v) for k, v in (w.split("=") for w in words[1:])}

    def quit(self):
        self.send("quit")
        assert self.process.wait(20) == 0
        self.process.stdin.close()
        self.process.stdout.close()

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(20)
        self.process.stdin.close()
        self.process.stdout.close()


def say(text):
    print(text)
    sys.stdout.flush()
