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
