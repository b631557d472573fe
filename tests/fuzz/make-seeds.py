#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the inputs that the fuzzers of connections, library and traces start from: tests/fuzz/{conn,lib,trace}/NAME.

Run it after a change of what the bytes mean (script.h, packet.h and the fuzz-*.c). Inputs named crash-* are what broke something
once; nothing makes them anew.
"""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "../../client/proto/messages.h")) as table:
    EVERY = re.findall(r"^ *X\((\w+), \d+,", table.read(), re.M)

# ---- packets (packet.c) ----


def number(n):
    """As script_number() reads it."""
    return bytes([n]) if n < 0xC0 else bytes([0xF0]) + n.to_bytes(8, "little")


def bend(*fields, request=None, ack=None, size=None, flip=None, fds=None, honest_size=False):
    """What is done to a packet. A field is (part, index, number or text): part 0 is the fixed part, 1... an item, 255 all items."""
    how, rest = len(fields), b""
    if request is not None:
        how |= 0x40
        rest += number(request)
    if ack is not None:
        how |= 0x80
        rest += number(ack)
    for part, index, value in fields:
        rest += bytes([part, index]) + (number(len(value)) + value if isinstance(value, bytes) else number(value))
    if size is not None:  # so many bytes more, or fewer; 127: twice the packet
        how |= 0x04
        rest += bytes([2 * size if size >= 0 else -2 * size + 1])
    if honest_size:
        how |= 0x20
    if flip is not None:
        how |= 0x08
        rest += number(flip[0]) + bytes([flip[1]])
    if fds is not None:
        how |= 0x10
        rest += bytes(fds)
    return bytes([how]) + rest


# ---- what hostile workers do (fuzz-conn.c) ----

MESSAGES = ["HELLO", "DEVICE_GET", "CACHE_CREATE", "CACHE_DESTROY", "GROW", "RETURN", "ROWS", "REVOKED", "ACK", "LIST_DEVICES",
            "LIST_TENANTS", "LIST_WORKERS", "LIST_CACHES", "LIST_COUNTERS", "STATUS_GET", "CHECK", "SETTLED"]
WITH_ITEMS = {"CACHE_CREATE", "GROW", "RETURN", "ROWS"}
OTHERS = {"any": 17, "raw": 18, "connect": 19, "close": 20, "shutdown": 21, "close_events": 22, "deaf": 23, "pass": 24,
          "device": 25, "seal": 26, "begin": 27, "repeat": 28, "honest": 29, "strangers": 30, "read": 31}
HOLD = 0x80  # the daemon does not notice yet


def do(what, *more, who=0, hold=False, items=1, bent=b"\0"):
    first = OTHERS[what] if what in OTHERS else MESSAGES.index(what)
    out = bytes([first | who << 5 | (HOLD if hold else 0)])
    if what in OTHERS:
        return out + b"".join(m if isinstance(m, bytes) else bytes([m]) for m in more)
    return out + (bytes([items]) if what in WITH_ITEMS else b"") + bent


def do_any(name, bent=b"\0", who=0):
    return do("any", EVERY.index(name), bent, who=who)


def tenant_set(tenant, key, value):
    return do_any("TENANT_SET", bend((0, 2, tenant), (1, 0, key), (1, 1, value)))


SECOND = 20  # 2^20 microseconds
ADMIN = do("HELLO", bent=bend((0, 1, 2)))


def take(who, pages):
    """A worker that takes so many pages, one a row, then the next of each."""
    return do("CACHE_CREATE", who=who, bent=bend((0, 2, 60))) + b"".join(
        do("GROW", who=who, items=min(60, pages - at), bent=bend((255, 4, at // 60))) for at in range(0, pages, 60))


CONN = {
    "hello": do("HELLO"),
    "admin-asks": ADMIN + b"".join(do(m) for m in MESSAGES[9:]) + do("DEVICE_GET"),
    "operator-sets": ADMIN + tenant_set(b"small", b"memory.max", b"1M") + do("HELLO", who=2) + take(2, 20) +
    tenant_set(b"small", b"memory.max", b"256K") + tenant_set(b"default", b"memory.min", b"1M") + do("honest"),
    "operator-sets-nonsense": ADMIN + tenant_set(b"nobody", b"weight", b"1") + tenant_set(b"small", b"weight", b"0") +
    tenant_set(b"small", b"match", b"any") + tenant_set(b"small", b"on-overdue", b"kill") + tenant_set(b"small", b"x", b"\x01"),
    "operator-reloads": ADMIN + do_any("RELOAD"),
    "operator-follows": ADMIN + do_any("EVENTS_GET", bend((0, 1, 1))) + do("begin", 3, who=1) + do("close", who=1) +
    do_any("EVENTS_GET"),
    "operator-follows-and-is-deaf": ADMIN + do_any("EVENTS_GET", bend((0, 1, 1))) + do("deaf", 1) +
    (do("begin", 0, who=1) + do("raw", 1, b"x", who=1)) * 12 + do("pass", SECOND),
    "worker-follows": do("begin", 0) + do_any("EVENTS_GET") + do_any("RELOAD") + do_any("TENANT_SET"),
    "worker-runs": do("begin", 3) + do("ROWS", items=4) + do("RETURN", items=4) + do("CACHE_DESTROY") + do("close"),
    "other-tenant-takes-all": do("HELLO", who=2) + take(2, 64) + do("honest") + do("begin", 3) + do("honest") + do("RETURN", who=2),
    "guarantee-and-revokes": do("HELLO", who=2) + take(2, 30) + do("HELLO", who=3) + take(3, 40) + do("honest") +
    do("pass", SECOND) + do("REVOKED", who=2) + do("RETURN", who=2, items=30) + do("honest"),
    "two-hellos": do("HELLO") + do("HELLO"),
    "no-hello": do("STATUS_GET"),
    "admin-acts-as-worker": ADMIN + do("GROW"),
    "other-version": do("HELLO", bent=bend((0, 0, 2))),
    "unknown-tenant": do("HELLO", bent=bend((0, 3, b"nobody"))),
    "wrong-direction": do("HELLO") + b"".join(do_any(m) for m in EVERY if m not in MESSAGES),
    "cut-header": do("HELLO", bent=bend(size=-100)),
    "cut": do("begin", 0) + do("GROW", items=3, bent=bend(size=-5)),
    "longer": do("begin", 0) + do("GROW", items=3, bent=bend(size=40, honest_size=True)),
    "two-in-one": do("begin", 0) + do("GROW", bent=bend(size=127)),
    "empty-packet": do("begin", 0) + do("raw", 0),
    "raw": do("raw", 24, bytes([1, 0, 0, 0, 24]) + bytes(19)),
    "reserved-set": do("begin", 0) + do("REVOKED", bent=bend((0, 1, 1))),
    "fds": do("begin", 0) + do("GROW", bent=bend(fds=(3, 0x80))),
    "fds-too-many": do("HELLO", bent=bend(fds=(0xFF, 0x80))),
    "fds-with-empty-packet": do("HELLO", bent=bend(size=-104, fds=(2, 0x80))),
    "ack-ahead": do("begin", 0) + do("ACK", bent=bend(ack=99)),
    "return-twice": do("begin", 0) + do("RETURN") + do("RETURN") + do("RETURN", bent=bend((1, 0, 12345))),
    "return-held-back": do("begin", 0) + do("GROW", hold=True) + do("RETURN", hold=True) + do("close"),
    "rows-and-refusals": do("begin", 5) + do("ROWS", items=6, bent=bend((255, 2, 1))) +
    do("RETURN", items=6, bent=bend((0, 1, 1))),
    "grow-twice": do("begin", 0) + do("GROW"),
    "grow-far": do("begin", 0) + do("GROW", bent=bend((1, 4, 63), (1, 5, 60))),
    "grow-large": do("begin", 0) + do("GROW", bent=bend((1, 1, 1), (1, 5, 16), (1, 6, 64))),
    "look-ahead": do("begin", 0) + do("GROW", bent=bend((1, 1, 1), (1, 3, 1))),
    "many-planes": do("HELLO") + do("CACHE_CREATE", items=64, bent=bend((255, 1, 64))) + do("GROW"),
    "huge-cache": do("HELLO") + do("CACHE_CREATE", items=64, bent=bend((0, 2, 0xFFFFFFFF), (255, 2, 0xFFFFFFFF))),
    "deaf": do("begin", 0) + do("deaf", 1) + do("LIST_COUNTERS", hold=True) + do("repeat", 63) + do("honest") +
    do("pass", SECOND) + do("pass", SECOND),
    "deaf-then-reads": do("begin", 0) + do("deaf", 1) + do("LIST_COUNTERS", hold=True) + do("repeat", 40) + do("deaf", 0) +
    do("pass", 4),
    "unacknowledged": do("begin", 63) + do("GROW", bent=bend((1, 4, 1))) + do("pass", SECOND) * 4,
    "memory-is-short": do("HELLO") + take(0, 60) + do("HELLO", who=1) + take(1, 30) + do("honest") +
    do("REVOKED") + do("RETURN", items=20) + do("pass", SECOND),
    "revoke-unanswered": do("HELLO") + take(0, 60) + do("honest") + do("pass", SECOND) + do("honest") + do("pass", 24),
    "event-channel-closed": do("HELLO") + do("close_events") + take(0, 60) + do("honest"),
    "half-closed": do("begin", 0) + do("shutdown", 0) + do("GROW") + do("begin", 0, who=1) + do("shutdown", 1, who=1) +
    do("begin", 0, who=2) + do("shutdown", 2, who=2),
    "sealed": do("begin", 0) + do("seal", 0) + do("RETURN") + do("begin", 0) + do("seal", 3) + do("close"),
    "slow-device": do("device", 0x01) + do("begin", 20) + do("honest") + do("device", 0xE1) + do("close") + do("pass", SECOND),
    "stuck-device": do("device", 0x01) + do("begin", 36) + do("CACHE_CREATE", items=3, bent=bend((0, 2, 64))) +
    do("GROW", items=60) + do("honest"),
    "failing-device": do("device", 0xF8) + do("begin", 20) + do("RETURN", items=10) + do("device", 0x30) + do("close"),
    "strangers": do("strangers", 15) * 5 + do("HELLO") + do("pass", 23),
    "more-workers-than-allowed": b"".join(do("begin", 0, who=i) for i in range(4)) + do("connect") + do("HELLO"),
    "dies-with-requests": do("HELLO") + take(0, 60) + do("HELLO", who=1) + take(1, 60) + do("close", who=1) + do("close"),
    "come-and-go": (do("begin", 1) + do("close", hold=True)) * 6,
}

# ---- what the application calls, and how the daemon answers (fuzz-lib.c, hostile-daemon.c) ----

FUSED, PER_LAYER, TWO_GROUPS, MANY_PLANES = range(4)


def create(kind, which=0):
    return bytes([which << 7, kind])


def step(rows, timeout, *tokens, advance=True):
    """timeout: an index of 0, 50, 200, 1000 us."""
    return bytes([11, rows | timeout << 4 | (0 if advance else 0x40)]) + b"".join(number(t) for t in tokens)


ACQUIRE, NAP, DESTROY = bytes([7, 32]), bytes([4]), bytes([5])
SETTLE, ASK = bytes([6, 250]), bytes([1, 0x80])


def release(row):
    return bytes([9, row])


def trim(row, tokens):
    return bytes([9, 0x80 | row]) + number(tokens)


def pressure(rows):
    return bytes([2, rows])


def unasked(opcode, bent=b"\0", four=False):
    return bytes([opcode | (0x10 if four else 0)]) + bent


OK, SWALLOW, ERROR, HANG_UP, UNASKED, TWICE, BEND = 0, 8, 9, 10, 11, 12, 13
REVOKE, SYNC, GRANT, GROW_FAILED = range(4)
BEGIN = create(FUSED) + ACQUIRE + step(1, 3, 20)
OPENED = bytes([OK] * 3)  # HELLO, DEVICE_GET, CACHE_CREATE


def beside(calls):
    """By another thread, which has the second cache."""
    return bytes([10, len(calls)]) + calls


def lib(calls, answers=b"", patient=False):
    assert len(calls) < 0xFF
    return bytes([0xFF if patient else len(calls)]) + calls + (bytes(254 - len(calls) + 1) if patient else b"") + answers


LIB = {
    "honest": lib(BEGIN + step(1, 3, 30) * 4 + ASK + SETTLE + trim(0, 3) + NAP + release(0) + DESTROY),
    "honest-per-layer": lib(create(PER_LAYER) + ACQUIRE * 3 + step(7, 3, 40, 3, 100) + step(7, 0, 1, 1, 1) * 3 + release(1)),
    "honest-two-groups": lib(create(TWO_GROUPS | 4) + ACQUIRE + step(1, 3, 100) * 3),
    "honest-many-planes": lib(create(MANY_PLANES) + ACQUIRE + step(1, 3, 60)),
    "two-caches": lib(BEGIN + create(PER_LAYER, 1) + bytes([0x87, 9, 0x8B, 0x31, 50]) + DESTROY),
    "two-threads": lib(create(FUSED) + ACQUIRE + beside(BEGIN + step(1, 3, 60) * 3 + SETTLE) + step(1, 3, 50) * 4 + release(0)),
    "two-threads-and-a-hang-up": lib(create(FUSED) + ACQUIRE + beside(BEGIN + step(1, 3, 60) * 3) + step(1, 3, 50) * 4,
                                     bytes([OK] * 7 + [HANG_UP])),
    "two-threads-and-silence": lib(create(FUSED) + ACQUIRE + beside(BEGIN + step(1, 3, 60) * 3) + step(1, 3, 50) * 4,
                                   bytes([OK] * 7 + [SWALLOW, SWALLOW])),
    "step-without-waiting": lib(create(FUSED) + ACQUIRE + (step(1, 0, 20) + NAP) * 4),
    "hangs-up-at-once": lib(BEGIN, bytes([HANG_UP])),
    "hangs-up-in-a-step": lib(BEGIN * 2, OPENED + bytes([HANG_UP])),
    "refuses-hello": lib(BEGIN, bytes([ERROR, 13])),
    "refuses-a-cache": lib(BEGIN, bytes([OK, OK, ERROR, 18])),
    "welcome-without-a-channel": lib(BEGIN, bytes([BEND]) + bend(fds=(0, 0))),
    "welcome-with-a-memfd": lib(BEGIN + NAP, bytes([BEND]) + bend(fds=(1, 0))),
    "welcome-with-two": lib(BEGIN, bytes([BEND]) + bend(fds=(2, 0x80))),
    "welcome-bent": lib(BEGIN, bytes([BEND]) + bend((0, 0, 7))),
    "device-of-odd-pages": lib(BEGIN, bytes([OK, BEND]) + bend((0, 0, 12345))),
    "device-of-huge-pages": lib(BEGIN, bytes([OK, BEND]) + bend((0, 0, 1 << 40))),
    "device-of-another-backend": lib(BEGIN, bytes([OK, BEND]) + bend((0, 3, b"cuda"))),
    "grow-fails": lib(BEGIN + step(1, 3, 9), OPENED + bytes([0x20, 27, 0x20, 28, 0x20, 29])),
    "grow-later": lib(BEGIN + step(1, 3, 9) * 3, OPENED + bytes([0x20, 26, 0x20, 25, 0x20, 26])),
    "grow-timed-out": lib(BEGIN + step(1, 3, 9) * 3, OPENED + bytes([0x20, 29] * 3)),
    "grow-fails-with-nonsense": lib(BEGIN, OPENED + bytes([0x20, 250])),
    "short-of-memory": lib(BEGIN + release(0) + ACQUIRE + step(1, 3, 5), OPENED + bytes([0x10])),
    "small-extents-one-by-one": lib(create(PER_LAYER) + ACQUIRE + step(1, 3, 190), OPENED + bytes([0xC0])),
    "grants-of-a-pipe": lib(BEGIN, OPENED + bytes([BEND]) + bend(fds=(1, 3))),
    "grants-of-a-small-file": lib(BEGIN, OPENED + bytes([BEND]) + bend(fds=(1, 1))),
    "grants-of-a-sealed-file": lib(BEGIN, OPENED + bytes([BEND]) + bend(fds=(1, 2))),
    "grants-without-fds": lib(BEGIN, OPENED + bytes([BEND]) + bend(fds=(0, 0))),
    "grants-with-too-many-fds": lib(BEGIN, OPENED + bytes([BEND]) + bend(fds=(0xFF, 0x80))),
    "grants-another-plane": lib(BEGIN, OPENED + bytes([BEND]) + bend((1, 3, 1))),
    "grants-another-page": lib(BEGIN, OPENED + bytes([BEND]) + bend((1, 4, 7))),
    "grants-another-size": lib(BEGIN, OPENED + bytes([BEND]) + bend((1, 5, 6))),
    "grants-to-another-request": lib(BEGIN, OPENED + bytes([BEND]) + bend((1, 1, 3))),
    "grants-twice": lib(BEGIN, OPENED + bytes([TWICE])),
    "grants-cut": lib(BEGIN, OPENED + bytes([BEND]) + bend(size=-9)),
    "grants-unasked": lib(BEGIN, OPENED + bytes([UNASKED]) + unasked(GRANT, four=True)),
    "revokes": lib(pressure(1) + BEGIN + release(0) + NAP + BEGIN + NAP * 4, OPENED + bytes([OK]) + unasked(REVOKE) * 4),
    "revokes-beyond-a-fence": lib(bytes([3, 1]) + BEGIN + release(0) + NAP * 4, OPENED + bytes([OK]) + unasked(REVOKE) * 4),
    "revokes-from-a-held-row": lib(pressure(0x1F) + BEGIN + NAP * 6 + step(1, 3, 50), OPENED + bytes([OK]) + unasked(REVOKE) * 2),
    "syncs": lib(BEGIN + NAP * 4, OPENED + bytes([OK]) + unasked(SYNC) * 3),
    "event-cut": lib(BEGIN + NAP * 4, OPENED + bytes([OK]) + unasked(REVOKE, bend(size=-3))),
    "event-with-fds": lib(BEGIN + NAP * 4, OPENED + bytes([OK]) + unasked(REVOKE, bend(fds=(3, 0x80)))),
    "swallows": lib(BEGIN, OPENED + bytes([SWALLOW])),
    "silent": lib(BEGIN, OPENED + bytes([SWALLOW]), patient=True),
}

# ---- traces (fuzz-trace.c): the first byte is how many requests are wanted ----

AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
MOONCAKE = b'{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
TRACE = {
    "azure": b"\0" + AZURE + b"2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n",
    "azure-crlf": b"\0" + AZURE.replace(b"\n", b"\r\n") + b"2023-11-16 18:17:03.97,4808,10\r\n\r\n",
    "azure-offsets": b"\0\xef\xbb\xbfGeneratedTokens,extra,ContextTokens,TIMESTAMP\n"
    b'7,x,20,2024-02-29T23:59:59.5+00:00\n8,"a,b",30,2024-03-01 02:00:00-02:00\n9,,40,2024-03-01 02:00:00Z\n',
    "azure-before-1970": b"\0" + AZURE + b"1970-01-01 00:00:00+23:59,1,1\n",
    "azure-row-cut": b"\0" + AZURE + b"2023-11-16 18:17:03.9799600,4808",
    "azure-negative": b"\0" + AZURE + b"2023-11-16 18:17:03,-1,10\n",
    "azure-too-large": b"\0" + AZURE + b"2023-11-16 18:17:03,99999999999999999999,10\n",
    "burstgpt": b"\0" + BURST + b"5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n",
    "burstgpt-new": b"\2Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    b"0.5,,1.2,ChatGPT,10,20,30,API log\n2,7,,GPT-4,11,21,32,Conversation log\n",
    "burstgpt-failures-alone": b"\0" + BURST + b"45,ChatGPT,1087,0,1087,Conversation log\n",
    "quote-without-end": b"\0" + BURST + b'5,"Chat,472,18,490,x\n',
    "mooncake": b"\1" + MOONCAKE + b'{"timestamp": 27000.5, "input_length": 0, "output_length": 3}',
    "mooncake-cut": b"\0" + MOONCAKE[:-20],
    "mooncake-wrong-types": b'\0{"timestamp": "1", "input_length": 1.5, "output_length": null}\n',
    "mooncake-huge": b'\0{"timestamp": 1e300, "input_length": 1, "output_length": 1}\n',
    "no-requests": b"\0" + AZURE,
    "nul": b"\0" + AZURE + b"2023\0",
    "unknown": b"\0a,b,c\n1,2,3\n",
}


def main():
    for name, seeds in (("conn", CONN), ("lib", LIB), ("trace", TRACE)):
        os.makedirs(os.path.join(HERE, name), exist_ok=True)
        for old in os.listdir(os.path.join(HERE, name)):
            if not old.startswith("crash-"):
                os.unlink(os.path.join(HERE, name, old))
        for seed, content in seeds.items():
            with open(os.path.join(HERE, name, seed), "wb") as file:
                file.write(content)


main()
