# SPDX-License-Identifier: MIT
"""What the machine itself makes workers wait for: a mapper's time without a CPU is the kernel's own, to the nanosecond; all of its
waits are as long as it did not run; where it is blocked, and pages that come from a disk, are told apart; pressure is what the
kernel's files say."""
import atexit
import json
import mmap
import os
import subprocess
import sys
import time

from observer import PROGRAM, Observer, mounted, until
from box import Daemon, temporary_folder
import cgroups

NAME = "kvp-%d-machine" % os.getpid()
MAJOR = """
import mmap, os, resource, sys
before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
with open(sys.argv[1], "rb") as f:
    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    pages = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
pages.madvise(mmap.MADV_RANDOM)
began = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
for at in range(0, len(pages), mmap.PAGESIZE):
    pages[at]
print(began - before, resource.getrusage(resource.RUSAGE_SELF).ru_majflt - began)
"""


def group():
    found = [g for g in observer.json()["machine"]["cgroups"] if g["name"] == NAME]
    assert len(found) <= 1, found
    return found[0] if found else None


def mapper_of(pid):
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, task)) as f:
            if f.read() == "kvp-mapper\n":
                return "/proc/%d/task/%s/" % (pid, task)


def truth(task):
    """(nanoseconds on a CPU, and without one, times that it left one by itself, times that it had to)"""
    with open(task + "schedstat") as f:
        ran, delay = map(int, f.read().split()[:2])
    with open(task + "status") as f:
        lines = dict(line.split(":", 1) for line in f)
    return ran, delay, int(lines["voluntary_ctxt_switches"]), int(lines["nonvoluntary_ctxt_switches"])


def both(task):
    """What the observer and the kernel say, while the thread does nothing."""
    while True:
        before = truth(task)
        seen = group()
        if truth(task) == before:
            return seen, before


observer = Observer(None)
row = observer.probe("sched_switch")
assert len(row) == 1 and row[0]["attached"] and row[0]["hits"] > 0, row
daemon = Daemon(capacity="64M", page_size="64K", tenants=("chat",))
CPUS = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(CPUS)})  # all of them on one CPU, with somebody who wants it as well
hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
worker = daemon.worker("chat", wrap=cgroups.wrap(NAME))
worker.create(rows=4, tokens=65536)  # 2 KiB a token
seq = worker.acquire(4000)
for tokens in range(100, 4000, 100):
    worker.grow(seq, tokens)
worker.ok("settle")
first = time.monotonic_ns()  # it does nothing from now on
task = mapper_of(worker.pid)
seen, began = both(task)
for i in range(4):
    seq = worker.acquire(7000)
    for tokens in range(64, 7000, 64):
        worker.grow(seq, tokens)
    worker.ok("release", seq)
worker.ok("settle")
last = time.monotonic_ns()
now, ended = both(task)
hog.kill()
hog.wait()
delta = {k: now["mapper"][k]["count"] - seen["mapper"][k]["count"] for k in now["mapper"]}
ran, delay, left, had_to = (e - b for e, b in zip(ended, began))
assert left > 100 and delay > 0, (left, had_to, delay)
assert delta["cpu"] == left + had_to and left >= delta["asleep"] + delta["blocked"] >= left - had_to, (delta, left, had_to)
assert now["mapper"]["cpu"]["nsec"] - seen["mapper"]["cpu"]["nsec"] == delay, (now, seen, delay)
waited = sum(now["mapper"][k]["nsec"] - seen["mapper"][k]["nsec"] for k in now["mapper"])
assert abs(waited + ran - (last - first)) < 0.1 * (last - first) + 20e6, (waited, ran, last - first)
for wait in now["mapper"].values():
    assert sum(wait["histogram"]) == wait["count"], wait

# In the kernel, where no signal wakes it.
os.sched_setaffinity(worker.pid, CPUS)
worker.ok("block", 2, 1000)  # the thread is known from here on
before = group()["mapper"]["blocked"]
worker.ok("block", 20, 20000)
blocked = group()["mapper"]["blocked"]
assert 20 <= blocked["count"] - before["count"] <= 22, (blocked, before)
assert 20 * 19e6 <= blocked["nsec"] - before["nsec"] <= 20 * 40e6, (blocked, before)

# Pages that have to be read, by another process of that cgroup.
path = os.environ["KVP_BIN"] + "/../pages-%d" % os.getpid()  # temporary folders may have no disk
with open(path, "wb") as f:
    atexit.register(os.unlink, path)
    f.write(os.urandom(200 * mmap.PAGESIZE))
    f.flush()
    os.fsync(f.fileno())
for cpu in CPUS:
    os.sched_setaffinity(0, {cpu})
    was, hits = group()["major_faults"], observer.probe("major-faults")
    assert len(hits) == 1 and hits[0]["attached"], hits
    done = subprocess.run([*cgroups.wrap(NAME), sys.executable, "-c", MAJOR, path], capture_output=True, text=True, check=True)
    before, faults = map(int, done.stdout.split())
    assert faults > 0, "the disk of this machine reads nothing"
    counted = group()["major_faults"] - was
    assert faults <= counted <= faults + before + 50, (cpu, counted, faults, before)
    assert observer.probe("major-faults")[0]["hits"] - hits[0]["hits"] >= counted, hits
os.sched_setaffinity(0, CPUS)


# Pressure is what the kernel's files say at that time.
def pressure(path):
    with open(path) as f:
        return {line.split()[0]: (int(line.rsplit("total=", 1)[1]), float(line.split()[1][6:])) for line in f}


for resource in ("cpu", "memory", "io"):
    for path, of in (("/proc/pressure/" + resource, lambda j: j["machine"]["pressure"]),
                     (cgroups.ROOT + "/" + NAME + "/%s.pressure" % resource,
                      lambda j: [g for g in j["machine"]["cgroups"] if g["name"] == NAME][0]["pressure"])):
        low = pressure(path)
        said = of(observer.json())[resource]
        high = pressure(path)
        assert set(said) == set(low) and all(low[k][0] <= said[k]["usec"] <= high[k][0] for k in low), (path, low, said, high)
        assert all(said[k]["percent"] in (low[k][1], high[k][1]) for k in low), (path, low, said, high)

# Groups come and go, more than there is room for: those that live have their figures.
WANDERS = """
import os, sys, time
open("/proc/self/comm", "w").write("kvp-mapper")
for i in range(int(sys.argv[2])):
    group = "%s/kvp-%d-%d" % (sys.argv[1], os.getpid(), i)
    os.mkdir(group)
    open(group + "/cgroup.procs", "w").write("0")
    for _ in range(3):
        time.sleep(0.0001)
    open(sys.argv[1] + "/cgroup.procs", "w").write("0")
    os.rmdir(group)
"""
for _ in range(3):
    subprocess.run([sys.executable, "-c", WANDERS, cgroups.ROOT, "600"], check=True)
    until(lambda: len(observer.json()["machine"]["cgroups"]) < 520, "those that are gone are forgotten")
machine = observer.json()["machine"]
assert machine["untracked"] == 0 and NAME in [g["name"] for g in machine["cgroups"]], machine["untracked"]
worker.ok("block", 2, 1000)
assert group()["mapper"]["blocked"]["count"] > blocked["count"]

text = observer.show("--once")
assert "mapper cpu" in text and "mapper blocked" in text and "pressure: some waited for cpu" in text, text
assert "mapper threads, cpu" in observer.show("--hist")
worker.quit()
observer.stop()

# A kernel that keeps no account of it.
done = subprocess.run([*mounted("mount -t tmpfs none /proc/pressure || mount --bind %s /proc/pressure" % temporary_folder()),
                       PROGRAM, "--json", "--own", "--for", "50ms"], capture_output=True, text=True, timeout=60)
said = json.loads(done.stdout)
assert said["machine"]["pressure"] == {"cpu": None, "memory": None, "io": None}, said["machine"]
rows = [p for p in said["probes"] if p["program"] == "machine" and p["kind"] == "file"]
assert len(rows) == 3 and all("keeps no account of pressure" in p["why"] and not p["attached"] for p in rows), rows
assert done.stderr.count("keeps no account of pressure") == 1, done.stderr
daemon.stop()
