# SPDX-License-Identifier: MIT
"""However a replay ends, its private daemon and its workers end too, and no folder, socket or shared memory is left."""
import os
import resource
import signal
import subprocess

from box import BIN, until
from replay import leftovers

before = leftovers()
os.environ.pop("KVPAGER_SOCKET", None)


def children(pid):
    """Processes that `pid` started, by name."""
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            found = [int(word) for word in f.read().split()]
        return {child: open("/proc/%d/comm" % child).read().strip() for child in found}
    except (FileNotFoundError, ProcessLookupError):
        return {}


def gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"  # whoever adopted it has not looked yet
    except (FileNotFoundError, ProcessLookupError):
        return True


for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)):
    process = subprocess.Popen([BIN + "/kvpager-replay", "--requests", "2000", "--tenants", "2", "--page-size", "64K"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    until(lambda: sorted(children(process.pid).values()) == ["kvpager-replay", "kvpager-replay", "kvpagerd"], "it runs")
    descendants = children(process.pid)
    assert os.listdir(os.environ["TMPDIR"]) == [], os.listdir(os.environ["TMPDIR"])
    process.send_signal(number)
    assert process.wait(20) == status, (number, process.returncode, process.stderr.read())
    for pid, name in descendants.items():
        until(lambda: gone(pid), "%s outlives its replay after signal %d" % (name, number), 20)

# A daemon that cannot start: its own last words are what is said.
done = subprocess.run([BIN + "/kvpager-replay", "--requests", "1", "--mins", "1G,1G", "--capacity", "1G"], capture_output=True,
                      text=True, timeout=60)
assert done.returncode == 1 and "memory.min of all tenants together is 2G" in done.stderr, done.stderr
assert "[device host] has 1G" in done.stderr, done.stderr  # called what it is: the host's memory
# So are those of one that finds too few open files to be run at all.
for n in range(6, 13):
    done = subprocess.run([BIN + "/kvpager-replay", "--requests", "1", "--no-compute"], capture_output=True, text=True, timeout=60,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
    assert done.returncode in (0, 1) and "it said nothing" not in done.stderr, (n, done.stderr)
assert os.listdir(os.environ["TMPDIR"]) == []
until(lambda: leftovers() <= before + 4096, "the kernel holds more shared memory than before", 20)
