# SPDX-License-Identifier: MIT
"""50 connected workers that hold memory and are silent: no thread of the daemon wakes up."""
import os
import time

from box import Daemon, until
from raw import *

daemon = Daemon(capacity="64M", page_size="64K")
workers = [Raw(daemon.socket) for _ in range(50)]
for worker in workers:
    grant = worker.grow(worker.cache())[0]
    os.close(grant.fd)
    worker.send(ACK, request=0)
    worker.round_trip()


def wakeups():
    """Times that each thread went to sleep by itself, which is as often as it woke up."""
    switches = {}
    for thread in os.listdir("/proc/%d/task" % daemon.pid):
        with open("/proc/%d/task/%s/status" % (daemon.pid, thread)) as f:
            switches[thread] = next(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
    return switches


# What was begun (virgin extents, a timer set for an acknowledgement that has come since) settles within a second or so.
seconds = 10 if os.environ.get("KVP_LONG") else 3
quiet = None


def is_quiet():
    global quiet
    before = wakeups()
    time.sleep(0.25)
    quiet = wakeups()
    return quiet == before


until(is_quiet, "it never comes to rest")
time.sleep(seconds)
assert wakeups() == quiet, (quiet, wakeups())
for worker in workers:
    worker.round_trip()
    worker.close()
until(daemon.empty, "empty")
daemon.stop()
