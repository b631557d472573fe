# SPDX-License-Identifier: MIT
"""A machine that was booted with systemd, for a test alone: booted.sh says what it is made of.

    with Box() as box:                                  # boots in half a second; gone when the block ends, or the test dies
        box.install_tree(folder)                        # what `make install DESTDIR=folder PREFIX=/usr` put there
        box.systemctl("start", "kvpagerd.socket")
        box.run("kvpagerctl", "status", user="nobody")  # a finished process: .stdout, .stderr, .returncode
        box.show("kvpagerd.service", "MainPID")         # one property
        box.journal("-u", "kvpagerd")                   # entries as dictionaries
        process = box.popen("kvpager-replay", ...)      # a running one, for whoever wants to talk to it
        worker = box.worker(user="nobody", run=("--unit=chat", "--slice=pool"))  # a box.Worker, here as a unit by itself
        box.ctl("status"), box.check()                  # kvpagerctl, its JSON
        box.path("/etc/kvpager")                        # where a path of the inside is outside, to read and write it

installed_tree() makes such a folder of the programs that are tested. Inside is an overlay of the machine's own root file system, so its
programs and packages are there; what is enabled on it is not. `box.share` is a folder of outside that is /share inside. Every call is
bounded: what takes longer than `seconds` is killed and fails.
"""

import atexit
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time

from box import TESTS, Worker, temporary_folder, until

HERE = os.path.dirname(os.path.abspath(__file__))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 30
SOCKET = "/run/kvpager/kvpager.sock"


def make(*words):
    """make, for the build that is tested: it is up to date, so nothing is compiled. Of an outer make it has the words, and nothing else."""
    words = [*shlex.split(os.environ.get("KVP_OVERRIDES", "")), *words]
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", "-s", "-C", os.environ["KVP_TOP"], "CC=gcc", "VARIANT=release", "PREFIX=/usr", *words],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stdout


def installed_tree():
    tree = temporary_folder()
    os.chmod(tree, 0o755)
    make("DESTDIR=" + tree, "install")
    return tree


class Box:
    def __init__(self):
        self.folder = temporary_folder()
        os.chmod(self.folder, 0o755)
        self.share = os.path.join(self.folder, "share")
        self.keeper = None
        self.socket = SOCKET
        atexit.register(self.end)

    def __enter__(self):
        os.mkdir(self.share)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.bind(os.path.join(self.share, "notify"))
            notify.settimeout(0.5)
            # In a session of its own, so that it outlives the test by what it takes to clear up.
            self.keeper = subprocess.Popen([os.path.join(HERE, "booted.sh"), self.folder], stdin=subprocess.PIPE,
                                           start_new_session=True)
            self._wait_until_booted(notify)
        self.pid1 = int(self._read("pid1"))
        self.cgroup = self._read("cgroup").strip()
        self.systemctl("log-target", "journal")  # until here what it says is in the file console
        return self

    def _read(self, name):
        with open(os.path.join(self.folder, name), errors="replace") as f:
            return f.read()

    def _wait_until_booted(self, notify):
        end = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                if b"READY=1" in notify.recv(4096):
                    return
            except socket.timeout:
                assert self.keeper.poll() is None and time.monotonic() < end, "the box does not boot:\n" + self._read("console")

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.keeper:
            self.keeper.stdin.close()
            self.keeper.wait(20)
            self.keeper = None

    # ---- processes inside ----

    def command(self, words, user=None, env=None):
        """What runs `words` inside."""
        inside = ["env", "-i", "PATH=" + PATH, "TERM=dumb", "HOME=/"] + ["%s=%s" % pair for pair in (env or {}).items()]
        if user:
            inside = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] + inside if user != "nobody" else [
                "setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] + inside
        # It becomes part of the box's cgroups before it enters their namespace, from where it could not.
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', os.path.join(self.cgroup, "enter"), "nsenter",
                "--target", str(self.pid1), "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--net", "--root", "--wd"
                ] + inside + list(words)

    def popen(self, *words, user=None, env=None, **options):
        return subprocess.Popen(self.command(words, user, env), **options)

    def run(self, *words, user=None, env=None, check=True, seconds=30, **options):
        done = subprocess.run(self.command(words, user, env), stdin=None if "input" in options else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds, **options)
        assert not check or done.returncode == 0, "%s: %s\n%s%s" % (" ".join(words), done.returncode, done.stdout, done.stderr)
        return done

    # ---- systemd ----

    def systemctl(self, *words, **options):
        return self.run("systemctl", "--no-pager", "--no-ask-password", *words, **options)

    def show(self, unit, name):
        return self.systemctl("show", "--value", "--property", name, unit).stdout.strip()

    def until(self, unit, name, value, seconds=10.0):
        """Waits until a property of a unit has that value, or fails with what it has and the unit's last words."""
        def complaint():
            return "%s has %s=%s, not %s\n%s" % (unit, name, self.show(unit, name), value, self.run(
                "journalctl", "-u", unit, "-n", "20", "--no-pager", check=False).stdout)
        until(lambda: self.show(unit, name) == value, complaint, seconds)

    def journal(self, *words):
        text = self.run("journalctl", "--sync", check=False) and self.run("journalctl", "-o", "json", "--no-pager", *words).stdout
        return [json.loads(line) for line in text.splitlines()]

    # ---- kvpager inside ----

    def ctl(self, *words, **options):
        done = self.run("kvpagerctl", *words, "--json", **options)
        return json.loads(done.stdout) if done.stdout else {}

    def check(self):
        self.run("kvpagerctl", "check")

    def worker(self, tenant=None, user=None, run=None, program=("/share/worker",), expect="connected"):
        """One that obeys. `run`: options of systemd-run, which makes it a unit of its own; --uid= is among them, not `user`.
        `program` becomes it: its first argument is nothing to it, others are test-worker's."""
        if not os.path.exists(os.path.join(self.share, "worker")):
            shutil.copy(os.path.join(TESTS, "test-worker"), self.share)
            self.write("/share/worker", '#!/bin/sh\nshift\nexec /share/test-worker "$@"\n', 0o755)
        pipe = [] if "--scope" in (run or ()) else ["--pipe"]
        words = ["systemd-run", "--quiet", "--collect", *pipe, *run] if run is not None else []
        return Worker(self, tenant, self.command([*words, *program], user), expect)

    # ---- files ----

    def path(self, inside):
        return "/proc/%d/root%s" % (self.pid1, inside)

    def write(self, inside, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(inside)), exist_ok=True)
        with open(self.path(inside), "w") as f:
            os.fchmod(f.fileno(), mode)
            f.write(text)

    def install_tree(self, tree):
        """What packages do with a tree of files: it is laid over /, users and folders are made, units are read."""
        copy = os.path.join(self.share, "tree")
        shutil.copytree(tree, copy, symlinks=True)
        self.run("cp", "-a", "--no-preserve=ownership", "/share/tree/.", "/")
        shutil.rmtree(copy)
        self.run("ldconfig")
        self.run("systemd-sysusers")
        self.run("systemd-tmpfiles", "--create", "--prefix=/run", "--prefix=/var/lib")
        self.systemctl("daemon-reload")
