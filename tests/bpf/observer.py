# SPDX-License-Identifier: MIT
"""kvpager-observe as a service of one test: loaded and attached for real, asked by its own socket."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["KVP_TOP"], "tests", "system"))
from box import BIN, TESTS, temporary_folder, until  # noqa: E402,F401

PROGRAM = BIN + "/kvpager-observe"


def mounted(command):
    """A prefix that runs a program after `command`, in mounts of its own."""
    return ["unshare", "--mount", "sh", "-ec", command + '; exec "$@"', "sh"]


class Observer:
    """Serves when this returns: what it can attach to is attached."""

    def __init__(self, daemon=None, *arguments, env=None, wrap=()):
        self.folder = temporary_folder()
        self.socket = self.folder + "/observe"
        self.env = {**os.environ, "KVPAGER_OBSERVE_SOCKET": self.socket, **(env or {})}
        self.env["KVPAGER_SOCKET"] = daemon.socket if daemon else self.folder + "/nobody"
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        ready.bind(self.folder + "/notify")
        ready.settimeout(30)
        self.log = open(self.folder + "/log", "w+")
        self.process = subprocess.Popen([*wrap, PROGRAM, *arguments], env=dict(self.env, NOTIFY_SOCKET=self.folder + "/notify"),
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        atexit.register(self.end)
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
        except socket.timeout:
            raise AssertionError("kvpager-observe did not become ready:\n" + self.text())
        self.pid = self.process.pid

    def text(self):
        with open(self.folder + "/log") as f:
            return f.read()

    def show(self, *arguments):
        done = subprocess.run([PROGRAM, *arguments], env=self.env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self):
        return json.loads(self.show("--json"))

    def probe(self, name, kind=None, target=""):
        return [p for p in self.json()["probes"] if p["name"] == name and kind in (None, p["kind"]) and target in p["target"]]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.text()
