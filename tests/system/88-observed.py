# SPDX-License-Identifier: MIT
"""What kvpager-observe tells the daemon, byte by byte: for operators alone, bounded, and forgotten with whoever told it."""
import os
import struct

from box import Daemon, MIB, until
from raw import ADMIN, ENDED, OK, Raw, UNBROKERED

daemon = Daemon(capacity="64M", page_size="64K", tenants=("chat",))
UNKNOWN = 0xffffffff


def ended(*items):
    return struct.pack("<II", len(items), 0) + b"".join(struct.pack("<QIIII", *item, 0) for item in items)


def unbrokered(*items, cgroup=b"/x.service"):
    return struct.pack("<II", len(items), 0) + b"".join(
        struct.pack("<QQIIII256s", pid, size, uid, 0, device, 0, cgroup) for pid, size, uid, device in items)


def told():
    follower = Raw(daemon.socket, greet=ADMIN)
    events, more, _ = follower.follow()
    assert not more
    follower.close()
    return [e for e in events if e.event == "worker_ended"]


def tenant_bytes():
    return daemon.tenant("chat")["unbrokered_bytes"]


admin = Raw(daemon.socket, greet=ADMIN)
worker = Raw(daemon.socket, tenant=b"chat")
number = worker.worker

# Ends: joined to whoever is or was that worker by number and pid; of anybody else nothing is said.
assert admin.call(ENDED, ended((os.getpid(), number, 9, 0)))[0] == OK
worker.close()
until(lambda: not daemon.ctl("workers")["workers"], "it is gone")
for item in ((os.getpid(), number, 0x8b, 0), (os.getpid(), number, 7 << 8, 0), (os.getpid(), number, 9, 1), (os.getpid(), number, 0, 0),
             (os.getpid() + 1, number, 9, 0), (os.getpid(), number + 1, 9, 0), (0, 0, 0, 0), ((1 << 64) - 1, UNKNOWN, 0xffff, 1)):
    assert admin.call(ENDED, ended(item))[0] == OK
begin = "worker %d of tenant chat " % os.getpid()
assert [(e.text, e.tenant, e.pid, e.worker) for e in told()] == [
    (begin + text, "chat", os.getpid(), number) for text in (
        "was killed by signal 9 (Killed)", "was killed by signal 11 (Segmentation fault), core dumped", "exited with status 7",
        "was killed by the kernel, which was out of memory (signal 9)", "exited with status 0")], told()
assert begin + "was killed by signal 9 (Killed)" in daemon.text()

# Memory: a figure takes the place of the one before, by process and device; what there is no room for is left out.
assert admin.call(UNBROKERED, unbrokered((100, 5 * MIB, 0, 0), (100, 3 * MIB, 0, UNKNOWN), (101, MIB, 12345, 7)))[0] == OK
assert tenant_bytes() == 9 * MIB
assert admin.call(UNBROKERED, unbrokered((100, 4 * MIB, 0, 0), (101, 0, 0, 7), (102, 0, 0, 0)))[0] == OK
assert tenant_bytes() == 7 * MIB
second = Raw(daemon.socket, greet=ADMIN)
for first in range(1000, 6000, 25):
    assert second.call(UNBROKERED, unbrokered(*((pid, MIB, 0, 0) for pid in range(first, first + 25))))[0] == OK
assert tenant_bytes() == 7 * MIB + 4094 * MIB, tenant_bytes() // MIB
assert second.call(UNBROKERED, unbrokered((daemon.pid, 1 << 40, 0, 0)))[0] == OK
assert tenant_bytes() == 7 * MIB + 4094 * MIB, "what the daemon has is what it gives out"
assert daemon.ctl("devices")["devices"][0]["missing_bytes"] == 0, "nobody takes of the host's memory by libcuda"
second.close()
until(lambda: tenant_bytes() == 7 * MIB, "it is forgotten with whoever told it")
daemon.check()

# What is no such message ends the connection; who is no operator is told so, and stays.
for body, error in ((ended((1, 1, 0x10000, 0)), "BAD_VALUE"), (ended((1, 1, 9, 2)), "BAD_VALUE"), (struct.pack("<II", 0, 0), "BAD_COUNT")):
    wrong = Raw(daemon.socket, greet=ADMIN)
    wrong.send(ENDED, body)
    wrong.receive_error(error)
    wrong.expect_end()
wrong = Raw(daemon.socket, greet=ADMIN)
wrong.send(UNBROKERED, unbrokered((1, 1, 1, 1), cgroup=b"/a\nb"))
wrong.receive_error("BAD_TEXT")
wrong.expect_end()
worker = Raw(daemon.socket, tenant=b"chat")
for opcode, body in ((ENDED, ended((1, 1, 9, 0))), (UNBROKERED, unbrokered((1, 1, 1, 1)))):
    worker.send(opcode, body)
    worker.receive_error("NO_PRIVILEGE")
worker.cache()
worker.close()
assert tenant_bytes() == 7 * MIB

# However many others connect, it keeps its place: whoever has shown to be no operator, or nothing yet, goes first.
crowd = [Raw(daemon.socket, greet=ADMIN) for _ in range(100)]
crowd[-1].round_trip()
crowd[0].receive_error("TOO_MANY_WORKERS")
assert tenant_bytes() == 7 * MIB
assert admin.call(UNBROKERED, unbrokered((102, 0, 0, 0)))[0] == OK
for raw in crowd:
    raw.close()

# What was told of a tenant that is gone is not that of another one, which came in its place.
def reload(*tenants):
    with open(daemon.config, "w") as f:
        f.write(config + "".join("[tenant %s]\nmatch = any\n" % t for t in tenants))
    assert admin.reload() == "ok"


with open(daemon.config) as f:
    config = f.read().partition("[tenant")[0]
reload("other")
reload("other", "newer")
assert [t["unbrokered_bytes"] for t in daemon.ctl("tenants")["tenants"]] == [0, 0], daemon.ctl("tenants")
assert admin.call(UNBROKERED, unbrokered((100, 4 * MIB, 0, 0)))[0] == OK
assert sorted(t["unbrokered_bytes"] for t in daemon.ctl("tenants")["tenants"]) == [0, 4 * MIB]
admin.close()
until(lambda: all(t["unbrokered_bytes"] == 0 for t in daemon.ctl("tenants")["tenants"]), "nothing is left of it")
daemon.stop()
