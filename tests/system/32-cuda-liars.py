# SPDX-License-Identifier: MIT
"""Who keeps memory of a GPU that he gave back: what is missing is counted and sold to nobody, and he is named and denied."""
import os

from box import Daemon, MIB, until
from raw import *
from standin import Count, setup

setup(memory=128 * MIB)
daemon = Daemon("[device gpu]\nbackend = cuda\ncapacity = 128M\nvirgin-pages = 0\n"
                "[tenant liar]\nmatch = any\n[tenant honest]\nmatch = any\n")
operator = Raw(daemon.socket, greet=ADMIN)


def missing():
    return daemon.ctl("devices")["devices"][0]["missing_bytes"]


def events(kind):
    return [e for e in operator.past_events() if e.event == kind]


def take(size):
    """Memory of the GPU that somebody has who has nothing to do with us."""
    fd = os.memfd_create("kvpager-standin-%d-0-%d" % (os.stat(os.environ["KVP_STANDIN_STATE"]).st_ino, size))
    os.ftruncate(fd, size)
    return fd


honest = daemon.worker("honest")
honest.create(tokens=200000)
honest.seq = honest.acquire(20000)
honest.grow(honest.seq, 20000)  # 40 MB
honest.ok("fill", honest.seq, 3, 0, 20000)
assert missing() == 0

liar = Raw(daemon.socket, tenant=b"liar")
cache = liar.cache(rows=4, row_pages=64)
grants = liar.grow(cache, need=16)
assert sum(1 << g.order for g in grants) == 16
liar.round_trip()
liar.give_back([grant.extent for grant in grants])  # and kept
until(lambda: missing() == 32 * MIB, lambda: "what he keeps is missing: %d" % missing())
until(lambda: events("worker_suspect"), "he is named")
suspect = events("worker_suspect")[0]
assert suspect.tenant == "liar" and suspect.pid == os.getpid(), suspect
assert daemon.tenant("liar")["current_bytes"] == 0
liar.ask(grow_item(cache, row=1), timeout_usec=1000000)
assert liar.receive_failed()[0][2] == "DENIED"

# Nobody is sold what is not there, and what was another's was never his.
device = daemon.ctl("devices")["devices"][0]
honest.grow(honest.seq, 40000)
rc, _ = honest.step((honest.seq, 60000), timeout=200000)
assert rc == "ENOMEM", rc
honest.ok("check", honest.seq, 3, 0, 20000)
daemon.check()

# He lets go: all of it is there again, and he is served again.
for grant in grants:
    os.close(grant.fd)
until(lambda: missing() == 0, "it is back", seconds=20)
os.close(liar.grow(cache, row=1)[0].fd)
honest.grow(honest.seq, 50000)
liar.close()
operator.close()
honest.quit()
until(daemon.empty, "everything came back")
daemon.check()
daemon.stop()

# Somebody who has nothing to do with us takes memory of the GPU: it is missing, and when it was needed for guarantees, that is said.
daemon = Daemon("[device gpu]\nbackend = cuda\ncapacity = 112M\nvirgin-pages = 0\n[tenant honest]\nmatch = any\nmemory.min = 80M\n")
operator = Raw(daemon.socket, greet=ADMIN)
worker = daemon.worker("honest")
worker.create(tokens=65536)
seq = worker.acquire(1)
foreign = take(100 * MIB)
rc, _ = worker.step((seq, 20000), timeout=200000)  # 40 MB, of which 28 are there: a create fails, and the daemon looks why
assert rc in ("ENOMEM", "ETIMEDOUT"), rc
until(lambda: missing() >= 80 * MIB, lambda: "what others use is missing: %d" % missing(), seconds=20)
assert any("does not cover" in e.text and e.device == "gpu" for e in events("memory_missing")), "guarantees have lost their backing"
assert not events("worker_suspect"), "nobody gave anything back"
os.close(foreign)
worker.quit()
operator.close()
until(daemon.empty, "everything came back")
daemon.stop()

# Who gives memory back just after somebody else took some is not blamed for that.
daemon = Daemon("[device gpu]\nbackend = cuda\ncapacity = 128M\nvirgin-pages = 0\n[tenant honest]\nmatch = any\non-overdue = deny\n")
operator = Raw(daemon.socket, greet=ADMIN)
honest = Raw(daemon.socket, tenant=b"honest")
cache = honest.cache(rows=4, row_pages=64)
for turn in range(3):
    grants = honest.grow(cache, need=4)
    honest.round_trip()
    foreign = take(64 * MIB)
    for grant in grants:
        os.close(grant.fd)
    honest.give_back([grant.extent for grant in grants])
    until(lambda: missing() == 64 * MIB, lambda: "what others use is missing: %d" % missing())
    os.close(foreign)
    until(lambda: missing() == 0, lambda: "it is back: %d" % missing(), seconds=20)

# Nor for memory that comes free a little later, as that of a process which was killed may.
for row in (1, 2):
    grants = honest.grow(cache, row=row, need=4)
    honest.round_trip()
    late = [os.dup(grant.fd) for grant in grants]
    for grant in grants:
        os.close(grant.fd)
    honest.give_back([grant.extent for grant in grants])
    until(lambda: missing() == 8 * MIB, lambda: "not free yet: %d" % missing())
    for fd in late:
        os.close(fd)
    until(lambda: missing() == 0, lambda: "it is free: %d" % missing())
assert not events("worker_suspect"), events("worker_suspect")
honest.close()
operator.close()
until(daemon.empty, "everything came back")
daemon.stop()

# Nor where somebody takes memory at the very moment that others give some back, be it more than that at once or bit by bit; but who
# keeps what he gave back is named all the same, and though he goes on with it.
os.environ["KVP_STANDIN_DELAY"] = "cuMemRelease:100000"  # that moment is a long one
daemon = Daemon("[device gpu]\nbackend = cuda\ncapacity = 128M\nvirgin-pages = 0\n"
                "[tenant liar]\nmatch = any\n[tenant honest]\nmatch = any\n")
del os.environ["KVP_STANDIN_DELAY"]
operator = Raw(daemon.socket, greet=ADMIN)
for turn, (at_once, later) in enumerate(((32, 0), (4, 28))):
    honest = Raw(daemon.socket, tenant=b"honest")
    liar = Raw(daemon.socket, tenant=b"liar")
    caches = honest.cache(rows=4, row_pages=64), liar.cache(rows=4, row_pages=64)
    grants = honest.grow(caches[0], need=4)
    kept = liar.grow(caches[1], need=4), liar.grow(caches[1], row=1, need=4)
    for peer in (honest, liar):
        peer.round_trip()
    for grant in grants:
        os.close(grant.fd)
    released = Count()
    honest.give_back([grant.extent for grant in grants])
    until(lambda: released("cuMemRelease") > 0, "it is destroyed")
    foreign = [take(at_once * MIB)]
    until(lambda: missing() == at_once * MIB, lambda: "what others use is missing: %d" % missing())
    foreign += [take(later * MIB)] if later else []
    until(lambda: missing() == 32 * MIB, lambda: "what others use is missing: %d" % missing())
    for n, given in enumerate(kept):
        liar.give_back([grant.extent for grant in given])
        until(lambda: missing() == (40 + 8 * n) * MIB, lambda: "what he keeps is missing: %d" % missing())
    until(lambda: len(events("worker_suspect")) > turn, "somebody is named")
    assert [e.tenant for e in events("worker_suspect")] == ["liar"] * (turn + 1), events("worker_suspect")
    os.close(honest.grow(caches[0], row=1)[0].fd)
    liar.ask(grow_item(caches[1], row=2), timeout_usec=1000000)
    assert liar.receive_failed()[0][2] == "DENIED"
    for fd in foreign + [grant.fd for given in kept for grant in given]:
        os.close(fd)
    liar.close()
    honest.close()
    until(daemon.empty, "everything came back")
    until(lambda: missing() == 0, lambda: "all of it is back: %d" % missing(), seconds=20)
operator.close()
daemon.stop()
