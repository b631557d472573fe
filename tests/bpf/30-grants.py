# SPDX-License-Identifier: MIT
"""Where a grant's time goes and what a step waits for: each stage is made slow in turn, and found; probes miss nothing."""
import os
import signal
import threading

from observer import Observer, until
from box import Daemon, MIB, suspend
from cuda import Truth
import cgroups

SLOW_USEC = 60000
truth = Truth()
os.environ.update({k: truth.env[k] for k in ("KVP_STANDIN_STATE", "LD_LIBRARY_PATH")})
CONFIG = """[device gpu]
backend = cuda
capacity = 64M
virgin-pages = %d
[tenant chat]
match = any
reclaim-deadline = 10s
[tenant code]
match = any
reclaim-deadline = 10s
"""
NAMES = {}


def start(virgin, **env):
    os.environ.update(env)
    daemon = Daemon(CONFIG % virgin)
    for name in env:
        del os.environ[name]
    return daemon


def worker(daemon, name, tenant="chat", **env):
    path = "kvp-%d-%s" % (os.getpid(), name)
    NAMES[name] = os.path.basename(path)
    os.environ.update(env)
    w = daemon.worker(tenant, wrap=cgroups.wrap(path))
    for key in env:
        del os.environ[key]
    w.create(rows=4, tokens=65536)  # 2 KiB a token
    return w


def pager(name):
    found = [g for g in observer.json()["pager"]["cgroups"] if g["name"] == NAMES[name]]
    assert len(found) == 1, (name, observer.json()["pager"])
    return found[0]


def ours(probe):
    """Of this build: others may be running."""
    found = [p for p in observer.json()["probes"] if p["name"] == probe and p["kind"] == "usdt" and
             p["target"].startswith(os.environ["KVP_BIN"].rsplit("/", 1)[0])]
    return found[0] if found else None


def hits(probe):
    return ours(probe)["hits"]


def stalls(name, cause, n=1):
    """That worker's steps waited n times, all because of that, and mostly there."""
    g = pager(name)
    counts = {k: s["count"] for k, s in g["stalls"].items() if s["count"]}
    assert counts == {cause: n}, (name, counts, g)
    if cause != "other":
        assert g["grants"][cause]["nsec"] >= 0.5 * g["stalls"][cause]["nsec"] > 0, (name, g)
        assert g["stalls"][cause]["nsec"] >= 0.9 * SLOW_USEC * 1000, g
    assert sum(g["stalls"][cause]["histogram"]) == n


# Attached once somebody has daemon and library: there is nothing to be attached to before.
observer = Observer(None)
daemon = start(8)
first = worker(daemon, "first")
until(lambda: ours("map_done") and ours("grant"), "both are attached")
for probe in ("ask", "granted", "import_done", "map_done", "access_done", "ended", "step_miss", "step_done", "grow", "grant", "revoke",
              "reclaim"):
    assert ours(probe)["attached"] and ours(probe)["hits"] == 0, ours(probe)

# Counts are those of library and daemon themselves.
before = daemon.tenant("chat")
names = ("grant", "map_done", "import_done", "step_miss", "step_done", "ask", "ended")
was = {n: hits(n) for n in names}
worked = worker(daemon, "worked")
for i in range(3):
    seq = worked.acquire(8000)
    for tokens in range(1000, 9000, 1000):
        worked.grow(seq, tokens)
    worked.ok("settle")
    worked.ok("release", seq)
stats = worked.stats()
now = {n: hits(n) - was[n] for n in names}
granted = daemon.tenant("chat")["extents_granted"] - before["extents_granted"]
assert now["grant"] == now["map_done"] == now["import_done"] == granted > 0, (now, granted)
assert now["step_miss"] == now["step_done"] == stats["steps_waited"] > 0, (now, stats)
assert now["ask"] == now["ended"] == stats["requests"], (now, stats)
g = pager("worked")
assert g["grants"]["map"]["count"] == granted and g["grants"]["socket"]["count"] == stats["requests"], (g, granted, stats)
assert g["grants"]["queue"]["count"] + g["grants"]["reclaim"]["count"] == stats["requests"], g
assert sum(s["count"] for s in g["stalls"].values()) == stats["steps_waited"], g
worked.quit()

# One stage is slow, and the step that waits is put down to it.
for stage, symbol in (("import", "cuMemImportFromShareableHandle"), ("map", "cuMemMap"), ("access", "cuMemSetAccess")):
    w = worker(daemon, stage, KVP_STANDIN_DELAY="%s:%d" % (symbol, SLOW_USEC))
    w.grow(w.acquire(100), 100)
    stalls(stage, stage)
    w.quit()

w = worker(daemon, "socket")
suspend(daemon.pid)
again = threading.Timer(1.5 * SLOW_USEC / 1e6, os.kill, (daemon.pid, signal.SIGCONT))
again.start()
w.grow(w.acquire(100), 100)
again.join()
stalls("socket", "socket")
w.quit()

# Memory has to be taken from another, who takes his time.
hog = daemon.worker("code")
hog.create(rows=4, tokens=65536)
seq = hog.acquire(28000)
hog.grow(seq, 28000)  # 54 MiB of 64
hog.ok("release", seq)
until(lambda: daemon.tenant("code")["idle_bytes"] > 50 * MIB, "it is idle")
w = worker(daemon, "reclaim")
suspend(hog.pid)
again = threading.Timer(1.5 * SLOW_USEC / 1e6, os.kill, (hog.pid, signal.SIGCONT))
again.start()
w.grow(w.acquire(16000), 16000)
again.join()
stalls("reclaim", "reclaim")
j = observer.json()["pager"]
assert j["revoked_pages"] > 0 and j["reclaimed_extents"] > 0 and j["granted_pages"] >= granted, j
hog.quit()
w.quit()
first.quit()
daemon.stop()

# Nothing is made ahead, and making it is slow: the request waits in the daemon's queue.
daemon = start(0, KVP_STANDIN_DELAY="cuMemCreate:%d" % SLOW_USEC)
w = worker(daemon, "queue")
w.grow(w.acquire(100), 100)
stalls("queue", "queue")
w.quit()
daemon.stop()
assert "mostly for queue" in observer.show("--hist") and "stall queue" in observer.show("--once")
observer.stop()
