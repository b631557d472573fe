# SPDX-License-Identifier: MIT
"""A daemon with a holder: it can be killed and go on."""

import os
import re
import signal
import subprocess

from box import *


def memfds(pid, name):
    """{fd: inode} of a process's memfds of that name."""
    found = {}
    try:
        fds = os.listdir("/proc/%d/fd" % pid)
    except FileNotFoundError:  # it has just ended, and another one is being started
        return found
    for fd in fds:
        try:
            target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
            if target.startswith("/memfd:" + name + " "):
                found[int(fd)] = os.stat("/proc/%d/fd/%s" % (pid, fd)).st_ino
        except FileNotFoundError:
            pass
    return found


class HeldDaemon(Daemon):
    def __init__(self, *args, **named):
        self.holder = None
        super().__init__(*args, **named)

    def start(self, program=None, wrap=()):
        if not self.holder:
            self.start_holder()
        super().start(program, wrap)

    def start_holder(self):
        path = os.path.join(self.folder, "holder.sock")
        self.holder = subprocess.Popen([BIN + "/kvpager-holder", "--socket", path], stdin=subprocess.DEVNULL)
        atexit.register(self.end_holder)
        until(lambda: os.path.exists(path), "the holder does not listen")

    def end_holder(self):
        if self.holder and self.holder.poll() is None:
            self.holder.kill()
            self.holder.wait()

    def ctl(self, *args, check=True):
        """Once more where the daemon was killed meanwhile."""
        end = time.monotonic() + 10
        while True:
            try:
                return super().ctl(*args, check=check)
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self, wrap=()):
        """As if it had crashed."""
        self.kill()
        self.start(wrap=wrap)

    def resumed(self, n):
        """Until so many workers are back, counted by the events since the last start."""
        def back():
            done = subprocess.run([BIN + "/kvpagerctl", "events", "--json"], env=dict(os.environ, KVPAGER_SOCKET=self.socket),
                                  capture_output=True, text=True, timeout=20)
            return [line for line in done.stdout.splitlines() if json.loads(line)["event"] == "worker_resumed"]
        until(lambda: len(back()) >= n, lambda: "%d of %d workers are back:\n%s" % (len(back()), n, self.text()[-2000:]))

    def agree(self, workers):
        """The page table, what the workers have mapped, and what the holder has are the same; nothing is under way."""
        def same():
            caches = {c["pid"]: c for c in self.ctl("caches")["caches"]}
            for worker in workers:
                stats = worker.stats()
                cache = caches.get(worker.pid)
                if not cache or cache["live_bytes"] != stats["live_bytes"] or cache["idle_bytes"] != stats["idle_bytes"]:
                    return False
            return sorted(memfds(self.pid, "kvpager").values()) == sorted(memfds(self.holder.pid, "kvpager").values())
        def complaint():
            return "daemon: %s\nworkers: %s\n%d extents in the daemon, %d in the holder" % (
                self.ctl("caches"), [w.stats() for w in workers], *(len(memfds(pid, "kvpager")) for pid in (self.pid, self.holder.pid)))
        until(same, complaint)
        until(self.is_sound, "the invariants do not hold")

    def is_sound(self):
        """False where it was killed meanwhile."""
        done = subprocess.run([BIN + "/kvpagerctl", "check"], env=dict(os.environ, KVPAGER_SOCKET=self.socket), capture_output=True,
                              text=True, timeout=20)
        killed = any(words in done.stderr for words in ("ended the connection", "refused", "o kvpagerd"))
        assert done.returncode == 0 or killed, done.stdout + done.stderr
        return done.returncode == 0
