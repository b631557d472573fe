# SPDX-License-Identifier: MIT
"""Ids and ranges that are stale, foreign, out of range or made up: an error each, and what belongs to others stays theirs."""
import os
import struct

from box import Daemon, until
from raw import *

daemon = Daemon(capacity="64M", page_size="64K", extra="virgin-pages = 0\n")
good = Bystander(daemon.socket)
fds = daemons_fds(daemon)
bad = Raw(daemon.socket)
cache = bad.cache(rows=4, row_pages=64)


def refused(error, *items):
    request = bad.ask(*items)
    for i, failed in enumerate(bad.receive_failed()):
        assert failed[:3] == (request, i, error) and failed[3] < 0, (failed, error)


# Caches: none, of another worker, of another generation.
for wrong in (0, 0xffffffff, good.cache, cache + 0x10000, cache ^ 0x8000):
    refused("NO_CACHE", grow_item(wrong))
    bad.send(CACHE_DESTROY, struct.pack("<II", wrong, 0))
    bad.receive_error("NO_CACHE")
    bad.send(ROWS, struct.pack("<IIIIII", 1, 0, wrong, 0, 1, 0), request=0)
    bad.receive_error("NO_CACHE")

# Ranges.
refused("BAD_RANGE", grow_item(cache, row=4), grow_item(cache, row=0xffffffff), grow_item(cache, plane_class=1),
        grow_item(cache, plane_class=0xffff), grow_item(cache, first=64), grow_item(cache, first=0xffffffff, need=2),
        grow_item(cache, first=60, need=5), grow_item(cache, need=0xffffffff), grow_item(cache, need=0),
        grow_item(cache, need=2, most=1))
bad.send(ROWS, struct.pack("<IIIIII", 1, 0, cache, 4, 1, 0), request=0)
bad.receive_error("BAD_RANGE")

# Geometries.
for rows, planes, row_pages, device, error in ((0, 1, 1, 0, "BAD_GEOMETRY"), (1, 0, 1, 0, "BAD_GEOMETRY"), (1, 65, 1, 0, "BAD_GEOMETRY"),
                                               (1, 1, 0, 0, "BAD_GEOMETRY"), (0xffffffff, 64, 0xffffffff, 0, "BAD_GEOMETRY"),
                                               (1, 1, 1, 1, "NO_DEVICE"), (1, 1, 1, 0xffffffff, "NO_DEVICE")):
    bad.send(CACHE_CREATE, struct.pack("<IIII", 1, device, rows, 0) + struct.pack("<IIII", 0, planes, row_pages, 0))
    bad.receive_error(error)
for device in (1, 0xffffffff):
    bad.send(DEVICE_GET, struct.pack("<II", device, 0))
    bad.receive_error("NO_DEVICE")

# Pages that are there already.
grant = bad.grow(cache, row=0)[0]
refused("ALREADY_MAPPED", grow_item(cache))

# Extents: never there, another generation, another worker's, given back already; in a batch the good one counts.
for wrong in (0, 0xffffffffffffffff, grant.extent + (1 << 32), grant.extent ^ 0x4000, good.kept.extent):
    for reason in (0, 1):
        bad.give_back([wrong], reason)
        bad.receive_error("BAD_EXTENT")
good.check()
bad.give_back([grant.extent, grant.extent])
bad.receive_error("BAD_EXTENT")
until(lambda: os.fstat(grant.fd).st_size == 0, "what was given back is truncated")
os.close(grant.fd)

# Caches: as many as a worker may have.
caches = [cache]
while True:
    bad.send(CACHE_CREATE, struct.pack("<IIII", 1, 0, 1, 0) + struct.pack("<IIII", 0, 1, 1, 0))
    reply = bad.receive()
    if reply[0] == ERROR:
        assert ERRORS[struct.unpack("<I", reply[2][:4])[0]] == "TOO_MANY_CACHES"
        break
    caches.append(struct.unpack("<I", reply[2][:4])[0])
    assert len(caches) < 70000
for cache in caches:
    assert bad.call(CACHE_DESTROY, struct.pack("<II", cache, 0))[0] == OK
bad.round_trip()
bad.close()

# Answers to what was never asked end the connection: the account could not be kept.
for opcode, body, ack, error in ((ACK, b"", 1, "BAD_ACK"), (ACK, b"", (1 << 64) - 1, "BAD_ACK"),
                                 (REVOKED, struct.pack("<II", 1, 0), 0, "BAD_REVOKE"),
                                 (REVOKED, struct.pack("<II", 0, 0), 0, "BAD_REVOKE")):
    bad = Raw(daemon.socket)
    bad.send(opcode, body, request=0, ack=ack)
    bad.receive_error(error)
    bad.expect_end()
    bad.close()

good.check()
until(lambda: daemons_fds(daemon) == fds, lambda: "fds and memory: %s, were %s" % (daemons_fds(daemon), fds))
good.close()
until(daemon.empty, "empty")
daemon.check()
daemon.stop()
