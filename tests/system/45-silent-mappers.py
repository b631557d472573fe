# SPDX-License-Identifier: MIT
"""50 workers that hold memory, through the library, and are silent: neither the daemon nor any mapper thread wakes up."""
import os
import select

from box import Daemon, until

SECONDS = 10 if os.environ.get("KVP_LONG") else 3


def switches(pids):
    """Times that a thread went to sleep, each thread of each process."""
    counts = {}
    for pid in pids:
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/status" % (pid, thread)) as f:
                counts[pid, thread] = next(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
    return counts


daemon = Daemon(capacity="256M", page_size="64K")
workers = [daemon.worker() for _ in range(50)]
for worker in workers:
    worker.create(rows=2, tokens=4096)
    worker.grow(worker.acquire(1000), 1000)
    worker.ok("settle")
# The last grants are acknowledged when the daemon asks for it; after that there is nothing left to do.
until(lambda: all(w["unacknowledged_bytes"] == 0 for w in daemon.ctl("workers")["workers"]), "all is acknowledged")
pids = [daemon.pid] + [worker.pid for worker in workers]
assert len(os.listdir("/proc/%d/task" % workers[0].pid)) == 2, "a worker has its mapper thread"
state = [switches(pids)]


def settled():
    state.append(switches(pids))
    select.select([], [], [], 0.2)  # the measure itself: nothing may happen in this time
    return state[-1] == switches(pids)


until(settled, "the last timers have passed")
before = switches(pids)
select.select([], [], [], SECONDS)
after = switches(pids)
assert after == before, {k: (before[k], after[k]) for k in before if before[k] != after[k]}
for worker in workers:
    worker.quit()
daemon.stop()
