# SPDX-License-Identifier: MIT
"""The daemon does not run for a while: what was sent to it meanwhile was sent in time, though it is read after what was due."""
import os
import signal
import struct
import time

from box import Daemon, suspend, until
from raw import *

CONFIG = "[device d]\nbackend = host\ncapacity = 16M\npage-size = 64K\nvirgin-pages = 0\n"


def begin(text=""):
    daemon = Daemon(config=CONFIG + "".join("[tenant %s]\nmatch = any\n%s" % (t, text) for t in "ab"))
    a, b = daemon.worker("a"), daemon.worker("b")
    for worker in (a, b):
        worker.create(rows=8, tokens=16384)
    a.seq = a.acquire(300)
    a.grow(a.seq, 300)
    a.ok("fill", a.seq, 5, 0, 300)
    b.seq = b.acquire(100)
    b.grow(b.seq, 100)
    return daemon, a, b


def end(daemon, a, b):
    a.ok("check", a.seq, 5, 0, 300)
    a.quit()
    b.quit()
    until(daemon.empty, "everything came back")
    daemon.check()
    daemon.stop()


def asks(worker):
    """Until its step, which needs memory, sleeps: not before its order any more, and not at work."""
    def sleeps():
        with open("/proc/%d/wchan" % worker.pid) as f:
            where = f.read()
        return where != "0" and "pipe" not in where
    until(sleeps, "%s asks for nothing" % worker.pid)


def resume(*processes):
    for process in processes:
        os.kill(process.pid, signal.SIGCONT)


# A worker gives back what it was asked for in time, or as soon as both run again, and is neither killed nor called overdue.
for how in ("kill", "deny"):
    for frozen in (False, True):
        daemon, a, b = begin("on-overdue = %s\nreclaim-deadline = 1s\n" % how)
        idle = [a.acquire(1000) for _ in range(6)]
        for seq in idle:
            a.grow(seq, 1000)
        for seq in idle:
            a.ok("release", seq)
        a.ok("settle")
        b.ok("settle")
        suspend(a.pid)
        b.send("step", 8000000, b.seq, 5000)  # into what a has idle
        until(lambda: [t for t in daemon.ctl("tenants")["tenants"] if t["name"] == "a"][0]["revokes"] > 0, "nobody is asked")
        suspend(daemon.pid)
        if not frozen:
            resume(a)
        time.sleep(1.5)
        resume(a, daemon)
        answer = b.read()
        assert answer.startswith("step 0"), answer
        assert a.process.poll() is None and "overdue" not in daemon.text() and "in time" not in daemon.text(), daemon.text()
        end(daemon, a, b)

# A worker has acknowledged what it was granted, and another one's message is read before that.
daemon, a, b = begin()
suspend(daemon.pid)
a.send("step", 20000000, a.seq, 900)
asks(a)
suspend(a.pid)
resume(daemon)
time.sleep(0.5)  # it is granted, and asked to acknowledge
suspend(daemon.pid)
b.send("step", 20000000, b.seq, 2000)
asks(b)
resume(a)
answer = a.read()
assert answer.startswith("step 0"), answer
time.sleep(5.5)  # beyond the deadline of an acknowledgement
resume(daemon)
answer = b.read()
assert answer.startswith("step 0"), answer
a.grow(a.seq, 3000)
assert "disconnected" not in daemon.text(), daemon.text()
end(daemon, a, b)

# Who is asked for memory right after that has his whole time to give it, and who asks for some his whole time to wait.
daemon = Daemon(config=CONFIG + "[tenant a]\nmatch = any\nreclaim-deadline = 3s\n[tenant b]\nmatch = any\n")
idle, silent, asking = Raw(daemon.socket, tenant=b"a"), Raw(daemon.socket, tenant=b"b"), Raw(daemon.socket, tenant=b"b")
cache = idle.cache(row_pages=256)
grants = idle.grow(cache, need=240)
idle.send(ROWS, struct.pack("<IIIIII", 1, 0, cache, 0, 0, 0), request=0)
idle.round_trip()
caches = silent.cache(), asking.cache()
silent.grow(caches[0], need=1)  # it is about to be asked to acknowledge
suspend(daemon.pid)
time.sleep(4)
asking.ask(grow_item(caches[1], need=32), timeout_usec=5000000)
resume(daemon)
revoke, level, _, _, pages, deadline = struct.unpack("<IIIIQQ", idle.events.recv(4096)[24:])
assert pages == 17 and deadline == 3000000, (pages, deadline)
time.sleep(0.5)  # beyond what the others are heard first
idle.give_back([g.extent for g in grants])
idle.send(REVOKED, struct.pack("<II", revoke, 0), request=0)
assert asking.take_grants(asking.receive())
assert "overdue" not in daemon.text(), daemon.text()
for raw in (idle, silent, asking):
    raw.close()
until(daemon.empty, "everything came back")
daemon.check()
daemon.stop()
