# SPDX-License-Identifier: MIT
"""What happens is told by number, to whoever follows, and nobody waits for one that does not read."""
import os
import resource
import signal
import socket

from box import Daemon, MIB, suspend, until
from raw import ADMIN, EVENTS_GET, HELLO, REVOKED, ROWS, Raw, grow_item, hello

import struct

CONFIG = """[daemon]
slow-reader-deadline = 300ms
[device d]
capacity = 4M
page-size = 64K
virgin-pages = 0
[tenant a]
match = any
memory.max = 3M
reclaim-deadline = 50ms
[tenant b]
match = any
"""
daemon = Daemon(config=CONFIG)
admin = Raw(daemon.socket, greet=ADMIN)
follower = Raw(daemon.socket, greet=ADMIN)
told, more, following = follower.follow()
assert [e.event for e in told] == ["tenant_set", "tenant_set", "daemon_started"] and not more and following == 4, told
assert [e.tenant for e in told] == ["a", "b", ""] and daemon.socket in told[2].text
assert told[0].text == ("memory.min=0 memory.low=0 memory.high=max memory.max=3M weight=100 reclaim-deadline=50ms on-overdue=deny")
assert 0 <= told[2].time_usec - told[0].time_usec < 60000000 and told[0].time_usec > 1700000000000000


waiting = []


def following_events(*names):
    """The next events, which must be those, in this order."""
    while len(waiting) < len(names):
        page, _, following = follower.events_of(follower.receive())
        waiting.extend(page)
        assert page and following == page[-1].sequence + 1
    found = waiting[:len(names)]
    del waiting[:len(names)]
    assert [e.event for e in found] == list(names), (found, waiting)
    told.extend(found)
    return found


# ---- A worker's life ----
worker = Raw(daemon.socket, tenant=b"a")
connected, = following_events("worker_connected")
assert (connected.pid, connected.uid, connected.tenant, connected.worker) == (os.getpid(), os.getuid(), "a", worker.worker)
cache = worker.cache(rows=8)
grants = worker.grow(cache, need=40)
worker.close()
gone, = following_events("worker_gone")
assert (gone.pid, gone.worker, gone.bytes, gone.text) == (os.getpid(), worker.worker, 40 * 65536, "it hung up"), gone
for g in grants:
    os.close(g.fd)

worker = Raw(daemon.socket, tenant=b"a")
worker.send_bytes(b"nonsense")
following_events("worker_connected")
gone, = following_events("worker_gone")
assert gone.text == "the packet is shorter than its message", gone

# ---- Who was not welcomed; floods are summed up ----
Raw(daemon.socket, greet=None).send(HELLO, hello(tenant=b"nobody"))
refused, = following_events("peer_refused")
assert (refused.pid, refused.count, refused.tenant) == (os.getpid(), 1, "")
assert refused.text.startswith("no [tenant] of that name matches this process: nobody, pid %d, uid 0" % os.getpid()), refused

# ---- Requests that fail: the first at once, the rest together ----
worker = Raw(daemon.socket, tenant=b"a")
following_events("worker_connected")
cache = worker.cache(rows=8)
for i in range(30):
    worker.ask(grow_item(cache, row=i % 8, need=64))
    assert worker.receive_failed()[0][2] == "TENANT_FULL"
failed = following_events("requests_failed", "requests_failed")
assert [f.count for f in failed] == [1, 29] and failed[0].text == "the tenant is at its memory.max" and failed[1].tenant == "a", failed
assert failed[1].time_usec - failed[0].time_usec > 900000

# ---- A revoke that is overdue, then answered ----
kept = worker.grow(cache, row=0, need=48)  # 3 MiB
other = Raw(daemon.socket, tenant=b"b")
worker.send(ROWS, struct.pack("<II", 1, 0) + struct.pack("<IIII", cache, 0, 0, 0), request=0)
others = other.cache()
other.ask(grow_item(others, need=20), timeout_usec=2000000)
revoke = struct.unpack("<IIIIQQ", worker.events.recv(4096)[24:])
_, overdue = following_events("worker_connected", "revoke_overdue")
assert (overdue.worker, overdue.tenant, overdue.device, overdue.bytes) == (worker.worker, "a", "d", revoke[4] * 65536), (overdue, revoke)
assert other.receive_failed()[0][2] == "DEVICE_FULL"
failed, = following_events("requests_failed")
assert (failed.tenant, failed.count) == ("b", 1)
worker.send(REVOKED, struct.pack("<II", revoke[0], 0), request=0)
late, = following_events("revoke_answered_late")
assert late.worker == worker.worker

# ---- Limits; a reload; a tenant that goes ----
assert admin.set("a", "on-overdue=kill", "memory.max=1M") == "deferred"
changed, deferred = following_events("tenant_set", "limits_deferred")
assert (changed.pid, changed.tenant) == (os.getpid(), "a") and "memory.max=1M" in changed.text and changed.text.endswith("on-overdue=kill")
assert deferred.bytes == 3 * MIB
os.kill(daemon.pid, signal.SIGHUP)
changed, applied, done = following_events("tenant_set", "limits_applied", "reloaded")
assert "memory.max=3M" in changed.text and (changed.pid, done.pid) == (0, 0) and done.text == daemon.config
with open(daemon.config, "a") as f:
    f.write("weight = 0\n")
assert admin.reload().startswith("BAD_CONFIG: ")
failed, = following_events("reload_failed")
assert failed.text == "%s:13: [tenant b] weight = 0: out of range; expected a number from 1 to 10000" % daemon.config
assert failed.pid == os.getpid()

# ---- A device that fails, and recovers ----
limit = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (daemon.fds(), limit[1]))
other.ask(grow_item(others, row=1, need=1), timeout_usec=5000000)
failing, failed = following_events("device_failing", "requests_failed")
assert other.receive_failed()[0][2] == "DEVICE_FAILED" and failed.text == "the device could not create memory"
assert failing.device == "d" and failing.text == "an extent could not be created: Too many open files", failing
resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limit)
for g in kept + other.grow(others, row=1):
    os.close(g.fd)
recovered, = following_events("device_recovered")
assert recovered.device == "d" and recovered.text == "an extent was created"
numbers = [e.sequence for e in told]
assert numbers == list(range(1, len(told) + 1)), "none is left out, none comes twice"
assert [repr(e) for e in admin.past_events()] == [repr(e) for e in told], "and they are remembered"
assert admin.past_events(told[-1].sequence + 1) == [] and admin.past_events(1 << 60) == []
assert [e.sequence for e in admin.past_events(3)] == numbers[2:]

# ---- A worker that is killed, as its tenant says ----
worker.close()
other.close()
following_events("worker_gone", "worker_gone")
assert admin.set("a", "on-overdue=kill") == "applied"
stopped = daemon.worker("a")
other = daemon.worker("b")
for worker in stopped, other:
    worker.create(rows=2, tokens=2048, layers=1)  # 512 bytes a token
row = stopped.acquire(2048)
stopped.grow(row, 2048)
mine = other.acquire(2048)
others = other.acquire(2048)
other.grow(mine, 2048)
stopped.ok("release", row)
until(lambda: daemon.tenant("a")["idle_bytes"] >= MIB, "what it was granted is acknowledged")
suspend(stopped.pid)
following_events("tenant_set", "limits_applied", "worker_connected", "worker_connected")
assert admin.set("b", "memory.min=2M") == "applied"
assert admin.set("a", "memory.max=256K") == "deferred"
_, _, _, _, overdue, killed, gone = following_events("tenant_set", "limits_applied", "tenant_set", "limits_deferred", "revoke_overdue",
                                                     "worker_killed", "worker_gone")
assert overdue.pid == killed.pid == gone.pid == stopped.pid and gone.bytes >= MIB and gone.text == "it was killed, as on-overdue says"
assert stopped.process.wait(10) == -signal.SIGKILL
applied, = following_events("limits_applied")
assert applied.tenant == "a" and applied.bytes <= 256 << 10, applied
other.quit()
other = Raw(daemon.socket, tenant=b"b")
following_events("worker_gone", "worker_connected")

# ---- A hundred connections of others do not drive a silent follower away ----
crowd = [Raw(daemon.socket, greet=ADMIN) for _ in range(100)]
other.close()
gone, = following_events("worker_gone")
crowd[0].receive_error("TOO_MANY_WORKERS")  # one that only asks has made room, and no operator
admin.round_trip()
for raw in crowd:
    raw.close()

# ---- So many may follow, and no more ----
crowd = [Raw(daemon.socket, greet=ADMIN) for _ in range(16)]
for raw in crowd[:15]:
    assert raw.follow(1 << 40)[0] == []
crowd[0].follow(1 << 40)  # again
crowd[15].send(EVENTS_GET, struct.pack("<QII", 1, 1, 0))
crowd[15].receive_error("TOO_MANY_FOLLOWERS")
crowd[15].round_trip()
for raw in crowd:
    raw.close()

# ---- One that does not read is dropped; the others have all, or know what they missed ----
deaf = Raw(daemon.socket, greet=None)
deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
deaf.greet(ADMIN)
deaf.follow()
slow = daemon.counter("slow_readers")
n = 0
while daemon.counter("slow_readers") == slow:
    for _ in range(64):
        assert admin.set("b", "weight=%d" % (1 + n % 1000)) == "applied"
        n += 1
        following_events("tenant_set", "limits_applied")
    assert n < 20000, "nobody notices that it does not read"
last = told[-1].sequence
assert [e.sequence for e in told] == list(range(1, last + 1))
remembered = admin.past_events()
assert len(remembered) == min(last, 1024) and remembered[-1].sequence == last
assert Raw(daemon.socket, greet=ADMIN).follow(1)[0][0].sequence == remembered[0].sequence, "from the oldest that there is"

# ---- The end ----
daemon.process.send_signal(signal.SIGTERM)
following_events("daemon_stopping")
follower.receive_error("SHUTTING_DOWN")
assert daemon.process.wait(20) == 0

# ---- One that is slow is not dropped: it finds numbers missing where it came too late ----
daemon = Daemon(config=CONFIG.replace("300ms", "30s"))
admin = Raw(daemon.socket, greet=ADMIN)
slow = Raw(daemon.socket, greet=ADMIN)
told, _, _ = slow.follow()
for n in range(2000):
    assert admin.set("b", "weight=%d" % (1 + n)) == "applied"
last = admin.past_events()[-1].sequence
while told[-1].sequence < last:
    told += slow.events_of(slow.receive())[0]
numbers = [e.sequence for e in told]
gaps = [b - a - 1 for a, b in zip(numbers, numbers[1:]) if b != a + 1]
assert last == 4003 and numbers[0] == 1 and numbers == sorted(set(numbers)) and len(gaps) == 1, (last, gaps)
assert len(numbers) + gaps[0] == last and len(numbers) >= 1024
daemon.check()
daemon.stop()
