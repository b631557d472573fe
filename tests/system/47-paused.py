# SPDX-License-Identifier: MIT
"""Who makes noise, is paused for it, and goes away before its turn takes nobody's turn with it."""
import struct

from box import Daemon
from raw import *

daemon = Daemon(capacity="16M", page_size="64K")
admin = Raw(daemon.socket, greet=ADMIN)


def pauses():
    opcode, _, body, _ = admin.call(LIST_COUNTERS, struct.pack("<II", 0, 0))
    items = [struct.unpack("<Q56s", body[8 + 64 * i:72 + 64 * i]) for i in range(struct.unpack("<I", body[:4])[0])]
    return next(value for value, name in items if name.rstrip(b"\0") == b"pauses")


def flood(n):
    raw = Raw(daemon.socket)
    cache = raw.cache(rows=64)
    rows = packet(ROWS, struct.pack("<II", 512, 0) + b"".join(struct.pack("<IIII", cache, i % 64, i // 64 % 2, 0) for i in range(512)))
    for _ in range(n):
        raw.send_bytes(rows)
    return raw


for _ in range(20):
    before = pauses()
    raw = flood(300)
    raw.close()  # with much of it unread
    assert pauses() > before, "nobody was paused"
raw = flood(300)
raw.round_trip()  # it has its turns, and an answer after all of it
raw.close()
daemon.stop()
