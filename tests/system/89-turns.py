# SPDX-License-Identifier: MIT
"""Peers whose packets take long are served in turns of some milliseconds: signals, timers and the watchdog come in between."""
import os
import signal
import struct
import time

from box import Daemon, suspend
from raw import *

daemon = Daemon(config="[device d]\ncapacity = 1G\npage-size = 64K\n[tenant t]\nmatch = any\n")
worker = Raw(daemon.socket)
cache = worker.cache(rows=32, row_pages=1024)
for turn in range(60):  # so many extents that proving them takes its time
    worker.ask(*[grow_item(cache, turn // 2, first=2 * (200 * (turn % 2) + i)) for i in range(200)], timeout_usec=5000000)
    n = 0
    while n < 200:
        grants = worker.take_grants(worker.receive())
        n += len(grants)
        for grant in grants:
            os.close(grant.fd)
    worker.send(ACK, request=0)
admins = [Raw(daemon.socket, greet=ADMIN, timeout=60) for _ in range(60)]
tell = admins[::6]


def reloads(reply):
    opcode, _, body, _ = reply
    items = [struct.unpack("<Q56s", body[8 + 64 * i:72 + 64 * i]) for i in range(struct.unpack("<I", body[:4])[0])]
    return next(value for value, name in items if name.rstrip(b"\0") == b"reloads")


# All of them are ready at once, and so is a signal. Whoever is served last can tell that it was seen to before.
suspend(daemon.pid)
for raw in admins:
    if raw in tell:
        raw.send(LIST_COUNTERS, struct.pack("<II", 0, 0))
    else:
        raw.send(CHECK)
os.kill(daemon.pid, signal.SIGHUP)
os.kill(daemon.pid, signal.SIGCONT)
replies = [raw.receive() for raw in admins]
assert any(reloads(reply) for raw, reply in zip(admins, replies) if raw in tell)
assert all(struct.unpack("<i", reply[2][:4])[0] == 0 for raw, reply in zip(admins, replies) if raw not in tell)

# ---- Who asks for such things without end has a small share of the loop's time, however long each takes ----


def cpu():
    """Seconds of the loop's thread."""
    with open("/proc/%d/task/%d/schedstat" % (daemon.pid, daemon.pid)) as f:
        return int(f.read().split()[0]) / 1e9


greedy = admins[1]
for _ in range(30):
    greedy.send(CHECK)
began, used = time.monotonic(), cpu()
for _ in range(60):
    greedy.send(CHECK)
    greedy.receive()
share = (cpu() - used) / (time.monotonic() - began)
print("share of a CPU: %.3f" % share)
assert share < 0.2
daemon.check()
daemon.stop()
