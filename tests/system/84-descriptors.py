# SPDX-License-Identifier: MIT
"""Descriptors that nobody asked for: the kernel keeps them out, or, where it cannot, their connection ends without them being looked at.
Closing one may take as long as its sender likes: nobody waits for that, whoever it was sent to and whether it was read or not."""
import os
import signal
import socket
import struct

from box import Daemon, OpenDaemon, suspend, until
from raw import *

CONFIG = {"capacity": "16M", "page_size": "64K", "extra": "virgin-pages = 0\n"}


class Sticky:
    """A TCP socket with data that nobody reads: whoever closes it last sleeps for an hour, or until end()."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.socket = socket.create_connection(listener.getsockname())
        self.other = listener.accept()[0]
        listener.close()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.send(b"x" * 65536)
        except BlockingIOError:
            pass
        self.socket.setblocking(True)

    def send(self, raw, data):
        """In one packet with data. The last one is the daemon's then, which must not read it meanwhile."""
        raw.send_bytes(data, (self.socket.fileno(),))
        self.socket.close()

    def end(self):
        self.other.close()


def refused(daemon):
    """By the kernel, and nothing comes of it."""
    raw = Raw(daemon.socket)
    try:
        raw.send_bytes(packet(ACK), (0,))
        return False
    except PermissionError:
        raw.round_trip()
        raw.close()
        return True


def has_option():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        try:
            return s.getsockopt(socket.SOL_SOCKET, OpenDaemon.PASSRIGHTS) == 1
        except OSError:
            return False


# ---- Where the kernel can, it lets none in: with a socket of the daemon's own, and with systemd's ----
if has_option():
    daemon = Daemon(**CONFIG)
    assert refused(daemon)
    daemon.stop()

    class Closed(OpenDaemon):
        PASSRIGHTS = 82  # something else

    daemon = Closed(**CONFIG)
    assert refused(daemon)
    daemon.stop()

# ---- Where it cannot ----


class EarlyDaemon(OpenDaemon):
    """Somebody was there before it."""

    def before_start(self):
        self.sticky = Sticky()
        self.early = Raw(self.socket, greet=None)
        self.sticky.send(self.early, b"hello")


daemon = EarlyDaemon(**CONFIG)
good = Bystander(daemon.socket)
good.check()
assert daemon.early.receive_error("BAD_FDS")
daemon.early.expect_end()
stuck = [daemon.sticky]
for role in (None, ADMIN, WORKER):
    # Read; behind a packet that ends the connection, so never read; behind a hang-up; and in as many packets as there is room for.
    for way in range(4):
        raw = Raw(daemon.socket, greet=role)
        stuck.append(Sticky())
        suspend(daemon.pid)
        if way == 1:
            raw.send_bytes(b"junk")
        for _ in range(20 if way == 3 else 0):
            raw.send_bytes(b"")
        stuck[-1].send(raw, b"hello")
        if way == 2:
            raw.socket.shutdown(socket.SHUT_RDWR)
        os.kill(daemon.pid, signal.SIGCONT)
        good.check()
        if way == 0:
            raw.receive_error("BAD_FDS")
        raw.close()
        good.check()
worker = daemon.worker()  # others come and go
worker.create()
worker.grow(worker.acquire(1000), 1000)
worker.quit()
for sticky in stuck:
    sticky.end()
good.check()
good.close()
until(daemon.empty, "empty")
daemon.check()

# ---- It stops as ever while one sticks ----
last = Sticky()
worker = Raw(daemon.socket)
raw = Raw(daemon.socket)
suspend(daemon.pid)
last.send(raw, b"hello")
os.kill(daemon.pid, signal.SIGCONT)
raw.receive_error("BAD_FDS")
daemon.process.terminate()
worker.receive_error("SHUTTING_DOWN")
worker.expect_end()
last.end()  # else the kernel keeps the process that long
assert daemon.process.wait(20) == 0, daemon.text()
