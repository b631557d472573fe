# SPDX-License-Identifier: MIT
"""Real cgroups, and files of /etc with other contents, for this test alone: in a mount namespace of its own."""

import atexit
import ctypes
import os
import subprocess
import time

from box import temporary_folder

assert os.geteuid() == 0, "only root can make cgroups"
CLONE_NEWNS = 0x20000
assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
subprocess.run(["mount", "--make-rprivate", "/"], check=True)

ROOT = temporary_folder()
subprocess.run(["mount", "-t", "cgroup2", "none", ROOT], check=True)
atexit.register(subprocess.run, ["umount", "-l", ROOT])
made = []


def _end():
    """A group can go once the last of its processes is reaped."""
    for path in reversed(made):
        for _ in range(200):
            try:
                os.rmdir(path)
                break
            except OSError:
                time.sleep(0.01)


atexit.register(_end)


def make(path):
    """The folder of a cgroup, with those above it. It goes with the process that made it."""
    where = ROOT
    for name in path.strip("/").split("/"):
        where = os.path.join(where, name)
        if not os.path.isdir(where):
            os.mkdir(where)
            made.append(where)
    return where


def move(path, pid=0):
    """Moves a process there; 0: this one."""
    with open(os.path.join(make(path), "cgroup.procs"), "w") as f:
        f.write("%d" % pid)


def wrap(path):
    """What runs a program in that cgroup."""
    return ("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', make(path))


def replace(file, text):
    """For what is started from here on `file` has this text."""
    copy = os.path.join(temporary_folder(), "copy")
    with open(copy, "w") as f:
        f.write(text)
    subprocess.run(["mount", "--bind", copy, file], check=True)
