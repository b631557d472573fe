# SPDX-License-Identifier: MIT
"""How 500 workers end, in six ways, as the kernel tells: all right and none missing, though the observer sleeps meanwhile."""
import os
import resource
import signal

from observer import Observer, until
from box import Daemon, MIB, suspend
from raw import ADMIN, Raw

WAYS = ("status 0", "status 7", "signal 9", "signal 11, core", "signal 15", "out of memory")
N = 500
CORES = "/proc/sys/kernel/core_pattern"

# Cores go to the folder of each process, which is the test's own and is deleted; where that cannot be set nothing is dumped.
resource.setrlimit(resource.RLIMIT_CORE, (16 * MIB, resource.getrlimit(resource.RLIMIT_CORE)[1]))
with open(CORES) as f:
    dumps = not f.read().startswith("|/bin/false") and resource.getrlimit(resource.RLIMIT_CORE)[0] > 0


def memory_group():
    """A cgroup in which 24 MiB are too much, with either kind of hierarchy."""
    for top, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        path = "%s/kvp-test-%d" % (top, os.getpid())
        try:
            os.mkdir(path)
            with open(path + "/" + limit, "w") as f:
                f.write(str(24 * MIB))
            return path
        except OSError:
            if os.path.isdir(path):
                os.rmdir(path)
    raise AssertionError("no cgroup can bound memory here")


daemon = Daemon(capacity="64M", page_size="64K", extra="", tenants=("chat", "code"))
observer = Observer(daemon)
group = memory_group()


def child(way, tenant):
    """A worker that ends in this way as soon as it is one. Forked, so that 500 take seconds."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.chdir(daemon.folder)
        worker = Raw(daemon.socket, tenant=tenant)  # noqa: F841: it is to live as long as the process
        if way == 0 or way == 1:
            os._exit(7 * way)
        if way == 5:
            with open(group + "/cgroup.procs", "w") as f:
                f.write("0")
            hog = bytearray()
            while True:
                hog += b"\1" * MIB
        if way != 3:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = (0, 0, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)[way]
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
        os._exit(99)
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(98)


truth = {}
for first in range(0, N, 50):
    if first == 200:  # it hears of the next hundred late
        suspend(observer.pid)
    if first == 300:
        observer.process.send_signal(signal.SIGCONT)
    pids = {child(i % 6, (b"chat", b"code")[i % 2]): i for i in range(first, first + 50)}
    for pid, i in pids.items():
        _, status = os.waitpid(pid, 0)
        want = (0, 7 << 8, 9, 11, 15, 9)[i % 6]
        assert status & ~0x80 == want, (WAYS[i % 6], status)
        truth[pid] = (("chat", "code")[i % 2], status, i % 6 == 5)
os.rmdir(group)
assert len(truth) == N


def ended():
    """pid: (tenant, text), by the daemon's own events."""
    follower = Raw(daemon.socket, greet=ADMIN)
    events, more, following = follower.follow(0)
    while more:
        page, more, following = follower.events_of(follower.receive())
        events += page
    follower.close()
    return {e.pid: (e.tenant, e.text) for e in events if e.event == "worker_ended"}, events


def told():
    return sum(1 for e in observer.json()["exits"] if e["told"])


until(lambda: told() >= N, lambda: "the observer told of %d" % told(), 30)
seen = observer.json()["exits"]
assert len(seen) == N, len(seen)
by_pid = {e["pid"]: e for e in seen}
for pid, (tenant, status, oom) in truth.items():
    e = by_pid[pid]
    assert e["tenant"] == tenant and e["out_of_memory"] == oom, (e, status)
    assert e["status"] == (os.WEXITSTATUS(status) if os.WIFEXITED(status) else None), (e, status)
    assert e["signal"] == (os.WTERMSIG(status) if os.WIFSIGNALED(status) else None), (e, status)
    assert e["core_dumped"] == bool(os.WIFSIGNALED(status) and os.WCOREDUMP(status)), (e, status)
if dumps:
    assert any(e["core_dumped"] for e in seen), "not one core was dumped"

# The daemon says it, to whoever follows and in its log. Of its 1024 last events not all are of the first workers.
events, _ = ended()
assert len(events) >= min(N, 300), len(events)
for pid, (tenant, text) in events.items():
    status, oom = truth[pid][1:]
    begin = "worker %d of tenant %s " % (pid, truth[pid][0])
    if oom:
        assert text == begin + "was killed by the kernel, which was out of memory (signal 9)", text
    elif os.WIFEXITED(status):
        assert text == begin + "exited with status %d" % os.WEXITSTATUS(status), text
    else:
        assert text.startswith(begin + "was killed by signal %d (" % os.WTERMSIG(status)), text
        assert text.endswith(", core dumped") == bool(os.WCOREDUMP(status)), text
    assert tenant == truth[pid][0]
log = daemon.text()
for pid in truth:
    if truth[pid][1] != 0:
        assert "worker %d of tenant %s was killed by" % (pid, truth[pid][0]) in log or os.WIFEXITED(truth[pid][1]), pid
killed = next(pid for pid in truth if truth[pid][1] == 9 and not truth[pid][2])
assert "worker %d of tenant %s was killed by signal 9" % (killed, truth[killed][0]) in log

# A worker that has hung up and lives on is told of when it ends; an operator sees it.
worker = daemon.worker("chat")
worker.kill(signal.SIGTERM)
until(lambda: "worker %d of tenant chat was killed by signal 15" % worker.pid in daemon.text(), "its end is in the log")
shown = observer.show("--once")
assert "worker %d of tenant chat (test-worker) was killed by signal 15" % worker.pid in shown, shown
daemon.check()

# A daemon that comes back knows what it is told of workers of its own, and nothing of others.
daemon.stop()
daemon.start()
until(lambda: observer.json()["kvpagerd"]["connected"], "it is connected again")
worker = daemon.worker("code")
worker.kill()
until(lambda: "worker %d of tenant code was killed by signal 9" % worker.pid in daemon.text(), "its end is in the log")
observer.stop()
daemon.stop()
