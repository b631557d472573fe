# SPDX-License-Identifier: MIT
"""Peers that never read, never acknowledge, never greet, or never stop: they are dropped in time, and others are served meanwhile."""
import os
import select
import socket
import struct
import time

from box import Daemon, until
from raw import *

daemon = Daemon(capacity="64M", page_size="64K",
                extra="virgin-pages = 0\n[daemon]\nslow-reader-deadline = 300ms\n")
good = Bystander(daemon.socket)
fds = daemons_fds(daemon)


def flood(raw, data):
    """Sends without reading until nothing more is taken at the moment; False once the daemon has hung up."""
    raw.socket.setblocking(False)
    for _ in range(100000):
        try:
            raw.socket.send(data)
        except BlockingIOError:
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False
    raise AssertionError("the daemon takes whatever comes")


def wait_hangup(raw, data=None, seconds=20):
    """Until the daemon has ended the connection; nothing is read, and `data` is sent all the while. The bystander is served."""
    poll = select.poll()
    poll.register(raw.socket, 0)
    end = time.monotonic() + seconds
    while not any(event & select.POLLHUP for _, event in poll.poll(5)):
        assert time.monotonic() < end, "the daemon holds on to it: " + daemon.text()[-400:]
        if data:
            flood(raw, data)
        good.check()


# Both of these take the core's own deadline of five seconds: begun now, looked at later.
silent = Raw(daemon.socket, greet=None)
unacked = Raw(daemon.socket)
unacked_cache = unacked.cache(rows=4, row_pages=256)
unacked.ask(*[grow_item(unacked_cache, row, first=page) for row in range(4) for page in range(0, 64)], timeout_usec=5000000)
mute = Raw(daemon.socket)
mute_cache = mute.cache()
mute.ask(grow_item(mute_cache), timeout_usec=5000000, ack=0)
assert mute.receive()[0] == GRANT
assert Raw.receive and HEADER.unpack(mute.events.recv(4096)[:24])[0] == SYNC, "it is asked to acknowledge"

# Asks and never reads: an admin with lists, a worker with lists and with errors.
for role, data in ((ADMIN, packet(LIST_COUNTERS, struct.pack("<II", 0, 0), request=1)),
                   (WORKER, packet(LIST_TENANTS, struct.pack("<II", 0, 0), request=1)),
                   (WORKER, packet(RETURN, struct.pack("<II", 512, 0) + b"\xff" * 8 * 512))):
    before = daemon.counter("slow_readers")
    bad = Raw(daemon.socket, greet=role)
    wait_hangup(bad, data)
    assert daemon.counter("slow_readers") == before + 1
    bad.close()

# Never stops: messages that need no reply, as fast as they go, in several connections. Others get their turn.
noisy = [Raw(daemon.socket) for _ in range(4)]
caches = [raw.cache(rows=64) for raw in noisy]
rows = [packet(ROWS, struct.pack("<II", 512, 0) + b"".join(struct.pack("<IIII", cache, i % 64, i // 64 % 2, 0) for i in range(512)))
        for cache in caches]
end = time.monotonic() + 1.0
slowest = 0.0
while time.monotonic() < end:
    for raw, data in zip(noisy, rows):
        assert flood(raw, data)
        flood(raw, packet(ACK))
    begin = time.monotonic()
    good.check()
    slowest = max(slowest, time.monotonic() - begin)
print("slowest round of the bystander during the flood: %.1f ms" % (slowest * 1000))
assert slowest < 5.0
for raw in noisy:
    raw.close()

# Opens connections and says nothing: the oldest of them make room, and who greets is welcome.
crowd = [Raw(daemon.socket, greet=None) for _ in range(200)]
good.check()
late = Raw(daemon.socket)
late.round_trip()
gone = sum(1 for raw in crowd if select.select([raw.socket], [], [], 0)[0])
assert gone >= 200 - 64 - 1, gone
crowd[0].receive_error("NOT_GREETED")
late.close()
for raw in crowd:
    raw.close()
admins = [Raw(daemon.socket, greet=ADMIN) for _ in range(150)]
admins[-1].round_trip()
for raw in admins:
    raw.close()

# As many workers as there may be is another matter: 200 at once are served.
many = [Raw(daemon.socket) for _ in range(200)]
for raw in many:
    raw.round_trip()
for raw in many:
    raw.close()
good.check()

# Closes its event channel: it cannot be asked for anything, so it goes when it has to be.
deaf = Raw(daemon.socket)
deaf_cache = deaf.cache()
deaf.events.close()
deaf.events = None
deaf.ask(grow_item(deaf_cache), timeout_usec=5000000, ack=0)
wait_hangup(deaf)
deaf.close()

# The event channel is a one-way street, for fds too.
talker = Raw(daemon.socket)
for control in ([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))]):
    try:
        talker.events.sendmsg([b"hello"], control)
        raise AssertionError("the daemon lets itself be written to")
    except BrokenPipeError:
        pass
talker.round_trip()
talker.close()

# Now the deadlines: never acknowledged, never read, never greeted.
wait_hangup(mute)
while True:
    reply = mute.receive()
    if reply is None or reply[0] == ERROR:
        break
assert reply and ERRORS[struct.unpack("<I", reply[2][:4])[0]] == "OVERDUE", reply
wait_hangup(unacked)
unacked.close()
mute.close()
wait_hangup(silent)
assert "HELLO" in silent.receive_error("NOT_GREETED")
silent.close()

good.check()
until(lambda: daemons_fds(daemon) == fds, lambda: "fds and memory: %s, were %s" % (daemons_fds(daemon), fds))
good.close()
until(daemon.empty, "empty")
daemon.check()
daemon.stop()
