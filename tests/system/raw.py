# SPDX-License-Identifier: MIT
"""A peer that speaks the protocol byte by byte, so that it can also speak it wrongly.

The numbers stand here once more on purpose: what is tested is what goes over the socket. Every wait is bounded.
"""

import array
import os
import re
import socket
import struct

HELLO, DEVICE_GET, CACHE_CREATE, CACHE_DESTROY, GROW, RETURN, ROWS, REVOKED, ACK = range(1, 10)
LIST_DEVICES, LIST_TENANTS, LIST_WORKERS, LIST_CACHES, LIST_COUNTERS, STATUS_GET, CHECK, SETTLED = range(16, 24)
TENANT_SET, RELOAD, EVENTS_GET, ENDED, UNBROKERED = range(24, 29)
RESUME, HOLDS, RESUMED = range(32, 35)
WELCOME, ERROR, OK, DEVICE, CACHE, GRANT, GROW_FAILED = range(64, 71)
LIMITS, EVENTS = 87, 88
REVOKE, SYNC = 96, 97
WORKER, ADMIN = 1, 2
OPTIONAL = 1
HEADER = struct.Struct("<HHIIIQ")

with open(os.path.join(os.environ["KVP_TOP"], "client/proto/errors.h")) as f:
    ERRORS = re.findall(r'^\s+X\((\w+), \w+, "', f.read(), re.MULTILINE)


def packet(opcode, body=b"", request=0, ack=0, size=None, reserved=0, reserved2=0):
    return HEADER.pack(opcode, reserved, HEADER.size + len(body) if size is None else size, request, reserved2, ack) + body


def hello(role=WORKER, tenant=b"", version=1, features=0):
    return struct.pack("<IIQ64s", version, role, features, tenant)


def grow_item(cache, row=0, plane_class=0, flags=0, first=0, need=1, most=None):
    return struct.pack("<IIHHIII", cache, row, plane_class, flags, first, need, need if most is None else most)


def daemons_fds(daemon):
    """(fds that are no extents, bytes of memory behind those that are), by the kernel's count. An extent that was being made for somebody
    who left stays as a virgin one, so the number of extents tells nothing."""
    others = memory = 0
    for fd in os.listdir("/proc/%d/fd" % daemon.pid):
        link = "/proc/%d/fd/%s" % (daemon.pid, fd)
        try:
            if os.readlink(link).startswith("/memfd:"):
                memory += os.stat(link).st_blocks * 512
            else:
                others += 1
        except FileNotFoundError:
            pass
    return others, memory


class Grant:
    def __init__(self, item, fd):
        (self.extent, self.request, self.entry, self.plane, self.first, self.order, self.flags) = struct.unpack("<QIHHIHH", item)
        self.fd = fd


class Event:
    def __init__(self, item):
        (self.sequence, self.time_usec, self.pid, self.bytes, self.worker, self.uid, self.count, _, *texts) = struct.unpack(
            "<QQQQIIII32s64s64s160s", item)
        self.event, self.tenant, self.device, self.text = (t.rstrip(b"\0").decode() for t in texts)

    def __repr__(self):
        return "%d %s %s %s pid %d, %d bytes, %d times: %s" % (self.sequence, self.event, self.tenant, self.device, self.pid, self.bytes,
                                                               self.count, self.text)


class Raw:
    """A connection. `acked` counts the grants read; it goes out in every header unless told otherwise."""

    def __init__(self, path, greet=WORKER, tenant=b"", timeout=10.0):
        self.events = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.request = 0
        self.acked = 0
        if greet:
            self.greet(greet, tenant)

    def greet(self, role=WORKER, tenant=b""):
        opcode, _, body, fds = self.call(HELLO, hello(role, tenant))
        assert opcode == WELCOME and len(fds) == 1, (opcode, body)
        self.version, self.worker, self.features, low, high, name = struct.unpack("<IIQQQ64s", body)
        self.token = (low, high)
        self.tenant = name.rstrip(b"\0").decode()
        self.events = socket.socket(fileno=fds[0])
        self.events.settimeout(10.0)
        return self

    def send_bytes(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)

    def send(self, opcode, body=b"", request=None, ack=None, fds=()):
        if request is None:
            self.request += 1
            request = self.request
        self.send_bytes(packet(opcode, body, request, self.acked if ack is None else ack), fds)
        return request

    def receive(self):
        """(opcode, request, body, fds), or None at the end of the connection."""
        try:
            data, control, flags, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(4 * 253), socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        if not data:
            return None
        fds = array.array("i")
        for level, kind, content in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(content)
        opcode, reserved, size, request, reserved2, ack = HEADER.unpack(data[:HEADER.size])
        assert size == len(data) and reserved == reserved2 == ack == 0
        return opcode, request, data[HEADER.size:], list(fds)

    def call(self, opcode, body=b"", **how):
        request = self.send(opcode, body, **how)
        reply = self.receive()
        assert reply and reply[1] == request, reply
        return reply

    def receive_error(self, name):
        """The next packet is that error; returns its text."""
        reply = self.receive()
        assert reply and reply[0] == ERROR, (name, reply)
        code, status, text = struct.unpack("<Ii240s", reply[2])
        assert ERRORS[code] == name, "%s instead of %s" % (ERRORS[code], name)
        assert status < 0
        text = text.rstrip(b"\0").decode()
        assert text
        return text

    def expect_end(self):
        reply = self.receive()
        assert reply is None, reply

    def cache(self, rows=4, row_pages=64, planes=1, device=0):
        plane_class = struct.pack("<IIII", 0, planes, row_pages, 0)
        opcode, _, body, _ = self.call(CACHE_CREATE, struct.pack("<IIII", 1, device, rows, 0) + plane_class)
        assert opcode == CACHE, (opcode, body)
        return struct.unpack("<II", body)[0]

    def ask(self, *items, timeout_usec=0, ack=None):
        return self.send(GROW, struct.pack("<IIQ", len(items), 0, timeout_usec) + b"".join(items), ack=ack)

    def take_grants(self, reply):
        opcode, _, body, fds = reply
        assert opcode == GRANT, (opcode, body)
        n = struct.unpack("<II", body[:8])[0]
        assert n == len(fds) and len(body) == 8 + 24 * n
        self.acked += n
        return [Grant(body[8 + 24 * i:32 + 24 * i], fds[i]) for i in range(n)]

    def grow(self, cache, row=0, first=0, need=1, timeout_usec=5000000):
        """Grants of one entry, complete; fds are the caller's."""
        self.ask(grow_item(cache, row, 0, 0, first, need), timeout_usec=timeout_usec)
        grants = []
        while not grants or not grants[-1].flags & 1:
            reply = self.receive()
            assert reply, "the daemon hung up"
            grants += self.take_grants(reply)
        return grants

    def receive_failed(self):
        """[(request, entry, error name, status)] of a GROW_FAILED."""
        reply = self.receive()
        assert reply and reply[0] == GROW_FAILED, reply
        body = reply[2]
        items = [struct.unpack("<IHHIi", body[8 + 16 * i:24 + 16 * i]) for i in range(struct.unpack("<I", body[:4])[0])]
        return [(request, entry, ERRORS[error], status) for request, entry, _, error, status in items]

    def give_back(self, extents, reason=0):
        self.send(RETURN, struct.pack("<II", len(extents), reason) + b"".join(struct.pack("<Q", e) for e in extents), request=0)

    def set(self, tenant, *pairs):
        """Of an operator: "applied", "deferred", or the error's name and its text."""
        items = b"".join(struct.pack("<32s64s", *(w.encode() for w in pair.split("=", 1))) for pair in pairs)
        opcode, _, body, _ = self.call(TENANT_SET, struct.pack("<II64s", len(pairs), 0, tenant.encode()) + items)
        if opcode == LIMITS:
            return "deferred" if struct.unpack("<II", body)[0] else "applied"
        return self.error_of(opcode, body)

    def reload(self):
        opcode, _, body, _ = self.call(RELOAD)
        return "ok" if opcode == OK else self.error_of(opcode, body)

    def error_of(self, opcode, body):
        assert opcode == ERROR, opcode
        code, _, text = struct.unpack("<Ii240s", body)
        return ERRORS[code] + ": " + text.rstrip(b"\0").decode()

    def events_of(self, reply):
        """(events, more, next)"""
        opcode, _, body, _ = reply
        assert opcode == EVENTS, self.error_of(opcode, body)
        n, more, following = struct.unpack("<IIQ", body[:16])
        assert len(body) == 16 + 368 * n
        return [Event(body[16 + 368 * i:384 + 368 * i]) for i in range(n)], more, following

    def past_events(self, begin=0):
        """All that are remembered, from number `begin` on."""
        found, more = [], 1
        while more:
            page, more, begin = self.events_of(self.call(EVENTS_GET, struct.pack("<QII", begin, 0, 0)))
            found += page
        return found

    def follow(self, begin=0):
        """The first packet of a follower; the next ones are events_of(receive())."""
        return self.events_of(self.call(EVENTS_GET, struct.pack("<QII", begin, 1, 0)))

    def round_trip(self):
        """Everything sent before has been read by the daemon once this returns."""
        assert self.call(DEVICE_GET, struct.pack("<II", 0, 0))[0] == DEVICE

    def close(self):
        if self.events:
            self.events.close()
        self.socket.close()


class Bystander:
    """A worker that does nothing wrong and must never notice what others do."""

    def __init__(self, path):
        self.raw = Raw(path)
        self.cache = self.raw.cache()
        self.kept = self.raw.grow(self.cache, row=0)[0]
        os.pwrite(self.kept.fd, b"mine", 0)

    def check(self):
        grant = self.raw.grow(self.cache, row=1)[0]
        os.close(grant.fd)
        self.raw.give_back([grant.extent])
        self.raw.round_trip()
        assert os.pread(self.kept.fd, 4, 0) == b"mine"

    def close(self):
        os.close(self.kept.fd)
        self.raw.close()
