# SPDX-License-Identifier: MIT
"""The box that the tests from 91 on boot systemd in: it runs what it is told, and however it ends, nothing of it is left and nothing
outside has changed."""
import os
import signal
import socket
import subprocess
import sys

from booted import Box
from box import until

SYSCTLS = ("fs/file-max", "fs/protected_regular", "kernel/pid_max", "kernel/hostname", "kernel/core_pattern", "vm/max_map_count")


def outside():
    values = [socket.gethostname()]
    for name in SYSCTLS:
        with open("/proc/sys/" + name) as f:
            values.append(f.read())
    return values


def gone(pid):
    """It has ended, whether its parent took note or not."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_what_it_says():
    before = outside()
    with Box() as box:
        assert box.systemctl("is-system-running").stdout.strip() == "running", box.systemctl("list-units", "--failed").stdout
        assert box.run("cat", "/proc/1/comm").stdout == "systemd\n"
        assert box.run("id", "-un", user="nobody").stdout == "nobody\n"
        assert box.run("sh", "-c", "echo 1 >/proc/sys/fs/file-max", check=False).returncode != 0
        box.write("/etc/systemd/system/hello.service", "[Service]\nType=oneshot\nExecStart=echo hello\n")
        box.systemctl("daemon-reload")
        box.systemctl("start", "hello.service")
        assert [e["MESSAGE"] for e in box.journal("-u", "hello", "SYSLOG_IDENTIFIER=echo")] == ["hello"]
        assert not os.path.exists("/etc/systemd/system/hello.service")
        pid1, cgroup = box.pid1, box.cgroup
        sleeper = box.popen("sh", "-c", "echo here; exec sleep 1000", stdout=subprocess.PIPE)
        assert sleeper.stdout.readline() == b"here\n"
    assert gone(pid1) and not os.path.exists(cgroup)
    assert sleeper.wait(10) == -signal.SIGKILL
    assert outside() == before


def dies_with(whom):
    """With the test that wanted it, and with its keeper: then the next box takes the groups away."""
    code = ("import time; from booted import Box; b = Box().__enter__(); "
            "print(b.pid1, b.keeper.pid, b.cgroup, flush=True); time.sleep(99)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))) as test:
        words = test.stdout.readline().split()
        pid1, keeper, cgroup = int(words[0]), int(words[1]), words[2]
        assert not gone(pid1)
        os.kill(test.pid if whom == "test" else keeper, signal.SIGKILL)
        until(lambda: gone(pid1), "process 1 of the box lives on without its " + whom)
        if whom == "test":
            until(lambda: not os.path.exists(cgroup), cgroup + " is still there")
        test.kill()
    return cgroup


assert os.geteuid() == 0, "only root can boot a box"
left = dies_with("keeper")
dies_with("test")
is_what_it_says()
assert not os.path.exists(left), left
