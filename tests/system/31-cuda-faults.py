# SPDX-License-Identifier: MIT
"""Each call of the CUDA driver fails in turn, in the worker and in the daemon: an error that can be repeated, and nothing is lost."""
import os
import subprocess

from box import BIN, Daemon, MIB, temporary_folder, until
from standin import Count, SYMBOLS, setup

setup(memory=256 * MIB)
CONFIG = "[device gpu]\nbackend = cuda\ncapacity = 128M\nvirgin-pages = 4\n"
TOKENS = 5000  # 2 KiB each: 5 pages


def live(worker):
    """One life of a sequence; returns the errors on the way."""
    errors = []
    for _ in range(12):
        answer = worker.tell("create", 4, 65536, 2, 4, 2, 64, 16)
        if answer == "ok":
            break
        errors.append(answer)
    assert answer == "ok", errors
    seq = worker.acquire(TOKENS)
    for _ in range(12):
        rc, rows = worker.step((seq, TOKENS))
        if rc == "0":
            break
        errors.append(rc)
        assert rc in ("ENOMEM", "ETIMEDOUT"), errors
    assert rc == "0" and rows[0][1] >= TOKENS, (errors, rows)
    worker.ok("fill", seq, 7, 0, TOKENS)
    worker.ok("check", seq, 7, 0, TOKENS)
    worker.ok("release", seq)
    worker.ok("settle")
    return errors


# What a worker's life and a daemon's take without a failure.
count = Count()
daemon = Daemon(CONFIG)
until(lambda: daemon.ctl("devices")["devices"][0]["virgin_bytes"] > 0, "it is ready")
in_daemon = Count()
worker = daemon.worker()
assert live(worker) == []
worker.quit()
until(daemon.empty, "everything came back")
DAEMONS = ("cuMemCreate", "cuMemExportToShareableHandle")
in_worker = {s: in_daemon(s) for s in SYMBOLS if in_daemon(s) > 0 and s not in DAEMONS}
at_start = {s: in_daemon.before[s] - count.before[s] for s in SYMBOLS if in_daemon.before[s] > count.before[s]}
assert {"cuInit", "cuMemMap", "cuMemImportFromShareableHandle", "cuMemSetAccess", "cuMemUnmap", "cuMemRelease", "cuMemAddressFree",
        "cuCtxSynchronize"} <= set(in_worker), in_worker

# Each of a worker's calls fails, the first and the last time.
seen = set()
for symbol, n in in_worker.items():
    for nth, result in sorted({1: 2, n: 999}.items()):
        os.environ["KVP_STANDIN_FAULT"] = "%s:%d:%d" % (symbol, nth, result)
        worker = daemon.worker()
        if live(worker):
            seen.add(symbol)
        worker.quit()
        until(daemon.empty, "everything came back after %s failed" % symbol)
assert seen >= {"cuInit", "cuMemAddressReserve", "cuMemMap", "cuMemImportFromShareableHandle", "cuMemSetAccess"}, seen
del os.environ["KVP_STANDIN_FAULT"]
daemon.check()
daemon.stop()



def mapped(pid):
    """Bytes of the stand-in's memory that a process has mapped."""
    with open("/proc/%d/maps" % pid) as f:
        ends = [[int(x, 16) for x in line.split()[0].split("-")] for line in f if "kvpager-standin" in line]
    return sum(end - start for start, end in ends)


# What the driver does not let go of stays the daemon's, and is given back once it does.
daemon = Daemon(CONFIG)
for layout, fault in ((2, "cuMemUnmap:1:999"), (1, "cuMemUnmap:2:2"), (0, "cuMemUnmap:4:700")):
    os.environ["KVP_STANDIN_FAULT"] = fault
    worker = daemon.worker()
    worker.ok("create", 4, 65536, layout, 4, 2, 64, 16)
    seq, other = worker.acquire(TOKENS), worker.acquire(TOKENS)
    for row in (seq, other):
        worker.grow(row, TOKENS)
        worker.ok("fill", row, 7, 0, TOKENS)
    worker.ok("settle")
    worker.ok("trim", seq, 0)
    worker.ok("settle")
    stuck = daemon.tenant()["current_bytes"]
    assert stuck == mapped(worker.pid) == worker.stats()["live_bytes"], (fault, stuck, mapped(worker.pid), worker.stats())
    worker.ok("trim", other, 0)
    worker.ok("settle")
    assert 0 < daemon.tenant()["current_bytes"] == mapped(worker.pid) < stuck, fault
    rc, rows = worker.step((seq, TOKENS))
    assert rc == "ENOMEM", "a row grew over what is still mapped: " + rc
    worker.grow(other, TOKENS)
    worker.ok("check", other, 0, 0, TOKENS)
    # The row's next holder can use it. While it is stuck, others are taken first.
    worker.ok("release", seq)
    assert worker.acquire(TOKENS) not in (seq, other)
    worker.acquire(TOKENS)
    assert worker.acquire(TOKENS) == seq
    worker.ok("settle")
    worker.grow(seq, TOKENS)
    worker.ok("check", seq, 0, 0, TOKENS)
    worker.ok("destroy")
    assert mapped(worker.pid) == 0, fault
    until(daemon.empty, "everything came back after %s" % fault)
    worker.quit()

# Where it never does, revokes go on to other rows, and the cache stays with the process.
os.environ["KVP_STANDIN_FAULT"] = "cuMemUnmap:0:700"
worker = daemon.worker()
worker.ok("create", 4, 65536, 2, 4, 2, 64, 16)
held = [worker.acquire(20000) for _ in range(2)]
for row in held:
    worker.grow(row, 20000)
for row in held:
    worker.ok("release", row)
worker.ok("settle")
before = daemon.tenant()["current_bytes"]
del os.environ["KVP_STANDIN_FAULT"]
hungry = daemon.worker()
hungry.ok("create", 4, 65536, 2, 4, 2, 64, 16)
seq = hungry.acquire(50000)
assert hungry.step((seq, 50000), timeout=1000000)[0] in ("ENOMEM", "ETIMEDOUT")
assert daemon.tenant()["current_bytes"] >= before == mapped(worker.pid)
worker.ok("destroy")
assert daemon.tenant()["current_bytes"] >= before == mapped(worker.pid)
worker.quit()
hungry.grow(seq, 50000)
hungry.quit()
until(daemon.empty, "everything came back with the process")
daemon.check()
daemon.stop()

# Each of the daemon's, while it starts: it says so and ends, or it goes on.
for symbol in sorted(set(at_start) - set(DAEMONS)):
    os.environ["KVP_STANDIN_FAULT"] = symbol + ":1:999"
    path = os.path.join(temporary_folder(), "conf")
    with open(path, "w") as f:
        f.write(CONFIG)
    done = subprocess.run([BIN + "/kvpagerd", "--config", path], capture_output=True, text=True, timeout=20,
                          env=dict(os.environ, KVPAGER_SOCKET=path + ".sock"))
    assert done.returncode == 1 and "[device gpu]" in done.stderr, (symbol, done)
    del os.environ["KVP_STANDIN_FAULT"]

for fault in ("cuMemCreate:1:2", "cuMemCreate:3:999", "cuMemExportToShareableHandle:2:304", "cuMemRelease:1:999"):
    os.environ["KVP_STANDIN_FAULT"] = fault
    daemon = Daemon(CONFIG)
    del os.environ["KVP_STANDIN_FAULT"]
    worker = daemon.worker()
    live(worker)
    worker.quit()
    until(daemon.empty, "everything came back although %s" % fault)
    worker = daemon.worker()
    assert live(worker) == [], fault
    worker.quit()
    daemon.check()
    daemon.stop()
