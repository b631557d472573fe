# SPDX-License-Identifier: MIT
"""Operators change tenants and have the configuration read again, and nobody else; limits hold at once or once memory was reclaimed."""
import json
import os
import subprocess

import cgroups
from box import BIN, Daemon, MIB, until
from raw import ADMIN, EVENTS_GET, RELOAD, TENANT_SET, WORKER, Raw

NOBODY, GROUP = 65534, 4242
with open("/etc/group") as f:
    groups = "".join(line for line in f if not line.startswith("kvpager:"))
cgroups.replace("/etc/group", groups + "kvpager:x:%d:\n" % GROUP)

FILE = """[device d]
capacity = 64M
page-size = 64K
[tenant chat]
match = any
memory.max = 32M
[tenant batch]
match = any
memory.min = 25%
"""
daemon = Daemon(config=FILE)
os.chmod(daemon.folder, 0o755)
os.chmod(os.environ["TMPDIR"], 0o755)
admin = Raw(daemon.socket, greet=ADMIN)


# ---- Who may ----
def answers(uid, gid, groups, role):
    """What somebody else is answered to the three messages, and whether he may look."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            raw = Raw(daemon.socket, greet=role)
            said = [raw.set("chat", "weight=100"), raw.reload()]
            opcode, _, body, _ = raw.call(EVENTS_GET, b"\1" + bytes(15))
            said.append(raw.error_of(opcode, body) if opcode == 65 else "ok")
            raw.round_trip()
            os.write(writing, "\n".join(said).encode())
        finally:
            os._exit(0)
    os.close(writing)
    text = os.fdopen(reading).read().split("\n")
    os.waitpid(child, 0)
    return text


REFUSED = ["NO_PRIVILEGE: this message needs a role that the connection does not have: "
           "it is for administrators who are root or in the group kvpager"] * 3
ALLOWED = ["applied", "ok", "ok"]
assert answers(NOBODY, NOBODY, [], ADMIN) == REFUSED
assert answers(NOBODY, NOBODY, [GROUP + 1, GROUP - 1], ADMIN) == REFUSED
assert answers(0, 0, [], WORKER) == REFUSED, "a worker's connection is none of an administrator"
assert answers(NOBODY, NOBODY, [7, GROUP, 9], ADMIN) == ALLOWED
assert answers(NOBODY, GROUP, [], ADMIN) == ALLOWED
assert answers(0, 0, [], ADMIN) == ALLOWED


# ---- What is refused, and changes nothing ----
def limits(name):
    t = daemon.tenant(name)
    return t["min_bytes"], t["low_bytes"], t["high_bytes"], t["max_bytes"], t["weight"]


before = limits("chat"), limits("batch")
assert before == ((0, 0, None, 32 * MIB, 100), (16 * MIB, 0, None, None, 100)), before
A_SIZE = "expected a size (bytes, 512M, 2G), a share (50%) or max"
KEYS = "memory.min, memory.low, memory.high, memory.max, weight, reclaim-deadline, on-overdue"
for pairs, expected in (
        (["memory.max=4GG"], "memory.max = 4GG: not valid; " + A_SIZE),
        (["weight=0"], "weight = 0: out of range; expected a number from 1 to 10000"),
        (["memory.maximum=1G"], "unknown key memory.maximum: there are " + KEYS),
        (["match=any"], "unknown key match: there are " + KEYS),
        (["weight=7", "weight=8"], "weight stands a second time"),
        (["weight=7", "memory.max=16M", "memory.low=x"], "memory.low = x: not valid; " + A_SIZE),
        (["memory.min=33M"], "memory.min: it is more than memory.max"),
        (["memory.min=75%"], "memory.min: it is more than memory.max"),
        (["memory.max=max", "memory.min=49M"],
         "memory.min of all tenants together is 65M (chat 49M, batch 16M), and [device d] has 64M")):
    assert admin.set("chat", *pairs) == "BAD_SETTING: nothing was changed: " + expected, admin.set("chat", *pairs)
    assert (limits("chat"), limits("batch")) == before
assert admin.set("nobody", "weight=1") == "UNKNOWN_TENANT: the configuration has no tenant of that name: nobody"

# ---- What holds at once; until the file is read again ----
assert admin.set("chat", "memory.min=8M", "memory.low=10M", "memory.high=50%", "memory.max=48M", "weight=300") == "applied"
assert limits("chat") == (8 * MIB, 10 * MIB, 32 * MIB, 48 * MIB, 300)
with open(daemon.config, "a") as f:
    f.write("nonsense = 1\n")
assert admin.reload() == ("BAD_CONFIG: the configuration stays as it was: %s:10: unknown key nonsense in [tenant batch]: "
                          "there are match, %s" % (daemon.config, KEYS))
assert limits("chat") == (8 * MIB, 10 * MIB, 32 * MIB, 48 * MIB, 300), "what was set holds on"
with open(daemon.config, "w") as f:
    f.write(FILE)
assert admin.reload() == "ok" and limits("chat") == before[0], "the file is the truth again"

# ---- A memory.max below what is in use is deferred until it was reclaimed ----
chat = daemon.worker("chat")
chat.create(rows=4, tokens=16384)  # 2 KiB a token
kept, idle = chat.acquire(4096), chat.acquire(8192)
chat.grow(kept, 4096)   # 8 MiB
chat.grow(idle, 8192)   # 16 MiB
held = daemon.tenant("chat")["current_bytes"]
assert 24 * MIB <= held <= 32 * MIB, held
start = admin.past_events()[-1].sequence + 1
assert admin.set("chat", "memory.max=12M") == "deferred"
assert daemon.tenant("chat")["max_bytes"] == 12 * MIB and daemon.tenant("chat")["current_bytes"] >= 24 * MIB, "held rows stay"
error, _ = chat.step((kept, 8192), timeout=1000000)
assert error == "EDQUOT", "and nothing more is granted: " + error
assert [e.event for e in admin.past_events(start) if e.tenant == "chat"][:2] == ["tenant_set", "limits_deferred"]
chat.ok("release", idle)
until(lambda: [e for e in admin.past_events(start) if e.event == "limits_applied"], "applied once reclaimed")
assert daemon.tenant("chat")["current_bytes"] <= 12 * MIB
assert len([e for e in admin.past_events(start) if e.event == "limits_applied"]) == 1
assert admin.set("chat", "memory.max=32M") == "applied"
chat.grow(kept, 8192)

# ---- A memory.min that others hold is deferred as well ----
batch = daemon.worker("batch")
batch.create(rows=4, tokens=32768)
rows = [batch.acquire(8000) for _ in range(2)]
for row in rows:
    batch.grow(row, 8000)
assert admin.set("batch", "memory.min=0") == "applied"
start = admin.past_events()[-1].sequence + 1
free = 64 * MIB - daemon.tenant("chat")["current_bytes"] - daemon.tenant("batch")["current_bytes"]
chat_has = daemon.tenant("chat")["current_bytes"]
assert admin.set("chat", "memory.max=max", "memory.min=%d" % (chat_has + free + 4 * MIB)) == "deferred"
batch.ok("release", rows[0])
until(lambda: [e for e in admin.past_events(start) if e.event == "limits_applied"], "what is lacking was reclaimed")

# ---- A tenant that leaves the configuration while it is in use ----
with open(daemon.config, "w") as f:
    f.write(FILE.replace("[tenant batch]", "[tenant other]"))
assert admin.reload() == "ok"
assert sorted(t["name"] for t in daemon.ctl("tenants")["tenants"]) == ["batch", "chat", "other"]
assert admin.set("batch", "weight=1").startswith("UNKNOWN_TENANT: ")
batch.grow(rows[1], 8100)
refused = Raw(daemon.socket, greet=None)
refused.send(1, b"\1\0\0\0\1\0\0\0" + bytes(8) + b"batch" + bytes(59))
assert refused.receive_error("WRONG_TENANT").startswith("no [tenant] of that name matches this process: batch, pid %d" % os.getpid())
removed, = [e for e in admin.past_events(start) if e.event == "tenant_removed"]
assert removed.tenant == "batch" and removed.bytes > 0
batch.quit()
until(lambda: sorted(t["name"] for t in daemon.ctl("tenants")["tenants"]) == ["chat", "other"], "it went with its last worker")
chat.quit()
daemon.check()

# ---- on-overdue = kill takes the capability, also when it is set ----
daemon.stop()
daemon = Daemon(config=FILE, wrap=("setpriv", "--bounding-set=-kill", "--inh-caps=-kill"))
admin = Raw(daemon.socket, greet=ADMIN)
answer = admin.set("chat", "on-overdue=kill")
assert answer.startswith("BAD_SETTING: nothing was changed: on-overdue: kill needs the capability CAP_KILL"), answer
daemon.stop()
daemon = Daemon(config=FILE)
admin = Raw(daemon.socket, greet=ADMIN)
assert admin.set("chat", "on-overdue=kill", "reclaim-deadline=20ms") == "applied"
daemon.stop()


# ---- The same by kvpagerctl ----
daemon = Daemon(config=FILE)


def ctl(*words, rc=0):
    done = subprocess.run([BIN + "/kvpagerctl", *words], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket), capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == rc, (words, done)
    return done.stdout if rc == 0 else done.stderr


assert ctl("set", "chat", "memory.max=16M", "weight=7") == "applied; holds until the configuration is read again or kvpagerd is restarted\n"
assert limits("chat") == (0, 0, None, 16 * MIB, 7)
assert daemon.ctl("set", "chat", "memory.min=1M") == {"tenant": "chat", "result": "applied"}
assert "refused: nothing was changed: memory.max = 4GG: not valid; " in ctl("set", "chat", "memory.max=4GG", "weight=8", rc=1)
assert "refused: nothing was changed: unknown key size: there are " in ctl("set", "chat", "size=1", rc=1)
assert limits("chat") == (1 * MIB, 0, None, 16 * MIB, 7)
with open(daemon.config, "a") as f:
    f.write("[tenant chat]\n")
assert "%s:10: [tenant chat] stands a second time; the first is in line 4." % daemon.config in ctl("reload", rc=1)
with open(daemon.config, "w") as f:
    f.write(FILE)
assert ctl("reload") == "the configuration is in force, and what was set by hand is not\n"
assert limits("chat") == (0, 0, None, 32 * MIB, 100)
names = [line.split()[2] for line in ctl("events").splitlines()]
assert names == ["tenant_set", "tenant_set", "daemon_started", "tenant_set", "limits_applied", "tenant_set", "limits_applied",
                 "reload_failed", "tenant_set", "limits_applied", "reloaded"], names
follower = subprocess.Popen([BIN + "/kvpagerctl", "events", "--follow", "--json"], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=dict(os.environ, KVPAGER_SOCKET=daemon.socket))
assert [json.loads(follower.stdout.readline())["event"] for _ in names] == names
worker = daemon.worker("chat")
event = json.loads(follower.stdout.readline())
assert (event["event"], event["tenant"], event["pid"]) == ("worker_connected", "chat", worker.pid), event
worker.quit()
assert json.loads(follower.stdout.readline())["event"] == "worker_gone"
daemon.stop()
assert json.loads(follower.stdout.readline())["event"] == "daemon_stopping"
rest, complaint = follower.communicate(timeout=20)
assert follower.returncode == 1 and rest == "" and "the daemon is stopping" in complaint, (rest, complaint)
