# SPDX-License-Identifier: MIT
"""One worker floods the daemon, asks and never reads, sits on all the fds that it may have in flight, and opens connections by the
thousand: the others go on, and none of them waits for it."""
import os
import signal
import socket
import statistics
import struct
import time

from box import Daemon, until
from raw import *

LONG = bool(os.environ.get("KVP_LONG"))
CONNECTIONS = 10000

daemon = Daemon(config="[device d]\ncapacity = 32M\npage-size = 64K\n[tenant noisy]\nmatch = any\nmemory.max = 4M\n" +
                "[tenant t0]\nmatch = any\n[tenant t1]\nmatch = any\n[daemon]\nslow-reader-deadline = 2s\n")
others = [daemon.worker(tenant) for tenant in ("t0", "t1")]
for worker in others:
    worker.create(rows=32, tokens=2048)


def load(seconds, seed):
    for i, worker in enumerate(others):
        worker.begin_load(seconds, rows=12, tokens=1200, timeout=10000000, seed=seed + i, pause=500)
    results = [worker.end_load() for worker in others]
    for result in results:
        assert result["steps"] > 10 and result["completed"] > 0, ("no progress", results)
        assert result["max"] < 5e6, ("half of the timeout", results)
    return statistics.median(result["p99"] for result in results)


def floods():
    """Rows that come and go, as fast as they are taken, in four connections."""
    raws = [Raw(daemon.socket, tenant=b"noisy") for _ in range(4)]
    packets = [packet(ROWS, struct.pack("<II", 512, 0) + b"".join(struct.pack("<IIII", cache, i % 64, i // 64 % 2, 0) for i in range(512)))
               for cache in [raw.cache(rows=64) for raw in raws]]
    for raw in raws:
        raw.socket.setblocking(False)
    while True:
        for raw, data in zip(raws, packets):
            try:
                raw.socket.send(data)
            except BlockingIOError:
                time.sleep(0.0005)


def never_reads():
    while True:
        raw = Raw(daemon.socket, tenant=b"noisy")
        try:
            while True:
                raw.send(LIST_TENANTS, struct.pack("<II", 0, 0))
        except OSError:
            raw.close()  # it was dropped, or its socket is full: another one


def holds_fds():
    """All that may be unacknowledged: the daemon drops it in the end, and it comes again."""
    while True:
        raw = Raw(daemon.socket, tenant=b"noisy")
        cache = raw.cache(rows=4, row_pages=256)
        try:
            for row in range(4):
                raw.ask(*[grow_item(cache, row, first=2 * page) for page in range(64)], timeout_usec=1000000, ack=0)
            while raw.receive():
                pass
        except OSError:
            pass
        raw.close()


def connects():
    crowd = []
    for i in range(CONNECTIONS):
        try:
            crowd.append(Raw(daemon.socket, greet=None))
        except OSError:
            time.sleep(0.001)
        if len(crowd) > 500:
            crowd.pop(0).close()
    os.write(done[1], b"x")
    signal.pause()


def noise(*kinds):
    pids = []
    for kind in kinds:
        pid = os.fork()
        if pid == 0:
            try:
                kind()
            except BaseException as failure:
                print("%s: %r" % (kind.__name__, failure), flush=True)
            os._exit(1)
        pids.append(pid)
    return pids


def quiet(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    until(lambda: daemon.tenant("noisy")["current_bytes"] == 0 == daemon.tenant("noisy")["workers"], "what was the noisy one's is free")


done = os.pipe()
seconds = 2 if LONG else 0.5
calm = statistics.median(load(seconds, 10 * i) for i in range(3 if LONG else 1))
for kinds in ((floods,), (never_reads,), (holds_fds,), (connects,), (floods, never_reads, holds_fds, connects)):
    pids = noise(*kinds)
    loud = statistics.median(load(seconds, 10 * i) for i in range(3 if LONG else 1))
    print("%s: p99 of the others' waits %.0f us, %.2f times as long" % (" ".join(k.__name__ for k in kinds), loud, loud / calm), flush=True)
    if connects in kinds:  # all of them, however long that takes
        assert os.read(done[0], 1) == b"x"
    quiet(pids)
daemon.check()
for worker in others:
    worker.quit()
until(daemon.empty, "everything came back")
daemon.stop()
