# SPDX-License-Identifier: MIT
"""Packets that are short, long, cut, of another version, unknown, or have reserved bits set: each is named, and nobody else notices."""
import os
import socket
import struct

from box import OpenDaemon, until
from raw import *

daemon = OpenDaemon(capacity="16M", page_size="64K", extra="virgin-pages = 0\n")
good = Bystander(daemon.socket)
fds = daemons_fds(daemon)

class_item = struct.pack("<IIII", 0, 1, 64, 0)
grow = struct.pack("<IIQ", 1, 0, 0) + grow_item(1)
null = os.open("/dev/null", os.O_RDONLY)

# What goes wrong, the packet, its fds, the error.
always = [
    ("an empty packet", b"", (), "TOO_SHORT"),
    ("half a header", packet(HELLO, hello())[:12], (), "TOO_SHORT"),
    ("a header that announces more", packet(HELLO, hello(), size=4096), (), "TOO_SHORT"),
    ("a header that announces less", packet(HELLO, hello(), size=24), (), "TOO_LONG"),
    ("more than any packet has", packet(HELLO, b"x" * 20000), (), "TRUNCATED"),
    ("opcode 0", packet(0), (), "BAD_OPCODE"),
    ("an opcode that does not exist", packet(63), (), "BAD_OPCODE"),
    ("the highest opcode", packet(0xffff), (), "BAD_OPCODE"),
    ("a reply", packet(OK), (), "BAD_OPCODE"),
    ("an event", packet(SYNC), (), "BAD_OPCODE"),
    ("a reserved header field", packet(HELLO, hello(), reserved=1), (), "BAD_RESERVED"),
    ("the other reserved header field", packet(HELLO, hello(), reserved2=1 << 31), (), "BAD_RESERVED"),
    ("a request number where none belongs", packet(ACK, request=1), (), "BAD_RESERVED"),
    ("another version", packet(HELLO, hello(version=2)), (), "BAD_VERSION"),
    ("version 0", packet(HELLO, hello(version=0)), (), "BAD_VERSION"),
    ("another version of another size", packet(HELLO, hello(version=9) + b"more"), (), "BAD_VERSION"),
    ("a role that does not exist", packet(HELLO, hello(role=3)), (), "BAD_VALUE"),
    ("a tenant without end", packet(HELLO, hello(tenant=b"x" * 64)), (), "BAD_TEXT"),
    ("a tenant with something behind its end", packet(HELLO, hello(tenant=b"a\0b")), (), "BAD_TEXT"),
    ("a tenant with a control character", packet(HELLO, hello(tenant=b"a\nb")), (), "BAD_TEXT"),
    ("a cut CACHE_CREATE", packet(CACHE_CREATE, struct.pack("<IIII", 1, 0, 1, 0) + class_item[:8]), (), "TOO_SHORT"),
    ("too few items", packet(GROW, struct.pack("<IIQ", 2, 0, 0) + grow_item(1)), (), "TOO_SHORT"),
    ("too many items", packet(GROW, struct.pack("<IIQ", 1, 0, 0) + grow_item(1) * 2), (), "TOO_LONG"),
    ("no items", packet(GROW, struct.pack("<IIQ", 0, 0, 0)), (), "BAD_COUNT"),
    ("more items than there may be", packet(RETURN, struct.pack("<II", 513, 0) + b"\0" * 8 * 513), (), "BAD_COUNT"),
    ("a number of items that overflows", packet(RETURN, struct.pack("<II", 0x20000001, 0) + b"\0" * 8), (), "BAD_COUNT"),
    ("a reserved field", packet(DEVICE_GET, struct.pack("<II", 0, 1)), (), "BAD_RESERVED"),
    ("a reserved field of an item", packet(CACHE_CREATE, struct.pack("<IIII", 1, 0, 1, 0) + class_item[:12] + b"\1\0\0\0"), (),
     "BAD_RESERVED"),
    ("a flag that does not exist", packet(GROW, struct.pack("<IIQ", 1, 0, 0) + grow_item(1, flags=2)), (), "BAD_RESERVED"),
    ("a reason that does not exist", packet(RETURN, struct.pack("<IIQ", 1, 2, 0)), (), "BAD_VALUE"),
    ("a row neither held nor idle", packet(ROWS, struct.pack("<IIIIII", 1, 0, 0, 0, 2, 0)), (), "BAD_VALUE"),
    ("an fd that nobody asked for", packet(HELLO, hello()), (null,), "BAD_FDS"),
    ("a few of them", packet(ACK), (null,) * 8, "BAD_FDS"),
    ("as many as there can be", packet(ACK), (null,) * 253, "BAD_FDS"),
    ("nothing else", b"", (null,), "BAD_FDS"),
]

# A connection that has not said HELLO, one of an admin, one of a worker: the codec is the same for all of them.
for role in (None, ADMIN, WORKER):
    for what, data, extra, error in always:
        bad = Raw(daemon.socket, greet=role)
        bad.send_bytes(data, extra)
        try:
            bad.receive_error(error)
            bad.expect_end()
        except AssertionError:
            raise AssertionError("%s: %s" % (what, daemon.text()[-500:]))
        bad.close()
    good.check()

# What is well-formed but out of turn.
for data in (packet(GROW, grow, request=1), packet(ACK), packet(STATUS_GET, request=1)):
    bad = Raw(daemon.socket, greet=None)
    bad.send_bytes(data)
    bad.receive_error("NOT_GREETED")
    bad.expect_end()
    bad.close()
for role in (ADMIN, WORKER):
    bad = Raw(daemon.socket, greet=role)
    bad.send(HELLO, hello(role))
    bad.receive_error("NOT_GREETED")
    bad.expect_end()
    bad.close()
bad = Raw(daemon.socket, greet=None)
bad.send(HELLO, hello(tenant=b"nobody"))
assert "nobody" in bad.receive_error("WRONG_TENANT")
bad.expect_end()
bad.close()

# What needs a role is refused, and the connection goes on.
admin = Raw(daemon.socket, greet=ADMIN)
for opcode, body in ((GROW, grow), (CACHE_DESTROY, struct.pack("<II", 1, 0))):
    admin.send(opcode, body)
    assert "GROW" in admin.receive_error("NO_PRIVILEGE") or opcode != GROW
admin.send(ACK, request=0)
admin.receive_error("NO_PRIVILEGE")
admin.round_trip()
admin.close()

good.check()
os.close(null)
until(lambda: daemons_fds(daemon) == fds, lambda: "fds and memory: %s, were %s" % (daemons_fds(daemon), fds))
assert daemon.counter("protocol_errors") == 3 * len(always) + 5
good.close()
until(daemon.empty, "empty")
daemon.check()
daemon.stop()
