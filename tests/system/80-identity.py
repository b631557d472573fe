# SPDX-License-Identifier: MIT
"""Processes in real cgroups belong to the tenant of their unit, slice or group, by what they were when they connected."""
import os
import signal
import struct

import cgroups
from box import Daemon, suspend, until
from raw import ADMIN, ERROR, ERRORS, HELLO, Raw, hello

NAME = "kvpt%d" % os.getpid()
SLICE = "/%s.slice/%s-in.slice" % (NAME, NAME)
USER = "/user.slice/user-4711.slice/user@4711.service"
CONFIG = """
[device d]
capacity = 4M
page-size = 64K
[tenant unit]
match = unit:{0}-chat
[tenant template]
match = unit:{0}-serve@*.service
[tenant slice]
match = slice:{0}
[tenant group]
match = cgroup:/{0}.own/a
[tenant user]
match = unit:4711/{0}-chat.service
[tenant nobody]
match = uid:65534
""".format(NAME)

daemon = Daemon(config=CONFIG)
os.chmod(daemon.folder, 0o755)
os.chmod(os.environ["TMPDIR"], 0o755)


def greet(raw, wanted=b""):
    """The tenant, or the error's name and text."""
    raw.send(HELLO, hello(tenant=wanted))
    opcode, _, body, _ = raw.receive()
    if opcode == ERROR:
        code, _, text = struct.unpack("<Ii240s", body)
        return ERRORS[code] + ": " + text.rstrip(b"\0").decode()
    return body[32:].rstrip(b"\0").decode()


class Process:
    """A process in a cgroup that connects, and does the rest when told to."""

    def __init__(self, cgroup, uid=0):
        self.go, self.told = os.pipe(), os.pipe()
        cgroups.make(cgroup)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.run(cgroup, uid)
            finally:
                os._exit(1)
        os.close(self.go[0])
        os.close(self.told[1])
        self.answers = os.fdopen(self.told[0])
        assert self.answers.readline() == "connected\n"

    def run(self, cgroup, uid):
        cgroups.move(cgroup)
        os.setgroups([])
        os.setuid(uid)
        raw = Raw(daemon.socket, greet=None)
        os.write(self.told[1], b"connected\n")
        wanted = os.read(self.go[0], 64)
        os.write(self.told[1], greet(raw, wanted.strip()).encode() + b"\n")
        os.read(self.go[0], 64)
        os._exit(0)

    def tenant(self, wanted=""):
        os.write(self.go[1], wanted.encode() + b"\n")
        return self.answers.readline().strip()

    def end(self):
        os.write(self.go[1], b"end")
        assert os.waitpid(self.pid, 0)[1] == 0
        os.close(self.go[1])
        self.answers.close()


def tenant_of(cgroup, uid=0, wanted=""):
    process = Process(cgroup, uid)
    answer = process.tenant(wanted)
    process.end()
    return answer, process.pid


# ---- Each kind of match ----
CHAT = "/system.slice/%s-chat.service" % NAME
for cgroup, tenant in ((CHAT, "unit"), (CHAT + "/worker/3", "unit"),
                       ("/system.slice/system-x.slice/%s-serve@gpu0.service" % NAME, "template"),
                       (SLICE + "/other.service", "slice"), (SLICE, "slice"),
                       ("/%s.own/a" % NAME, "group"), ("/%s.own/a/b/c" % NAME, "group"),
                       (USER + "/app.slice/%s-chat.service" % NAME, "user")):
    answer, _ = tenant_of(cgroup)
    assert answer == tenant, (cgroup, answer)
answer, _ = tenant_of(SLICE + "/%s-chat.service" % NAME)
assert answer == "unit", "the first that matches: " + answer
answer, _ = tenant_of(SLICE + "/%s-chat.service" % NAME, wanted="slice")
assert answer == "slice", "by name among those that match: " + answer

# ---- What is not theirs: the sentence says who it is and what to add ----
other = "/system.slice/%s-other.service" % NAME
for cgroup, uid, place in ((other, 0, "unit:%s-other.service" % NAME),
                           (other + "/%s-chat.service" % NAME, 1234, "unit:%s-other.service" % NAME),
                           ("/%s.own/ab" % NAME, 0, "cgroup:/%s.own/ab" % NAME),
                           (USER.replace("4711", "9") + "/app.slice/%s-chat.service" % NAME, 9, "unit:9/%s-chat.service" % NAME)):
    answer, pid = tenant_of(cgroup, uid)
    assert answer == ("NO_TENANT: no [tenant] of the configuration matches this process: pid %d, uid %d, %s: add uid:%d or %s "
                      "to a match of %s" % (pid, uid, place, uid, place, daemon.config))[:250], answer
    assert daemon.config[:40] in answer
answer, _ = tenant_of(other, wanted="unit")
assert answer.startswith("WRONG_TENANT: no [tenant] of that name matches this process: unit, pid "), answer
answer, _ = tenant_of(other, uid=65534)
assert answer == "nobody", answer

# ---- It is charged where it was when it connected ----
first, second = Process(CHAT), Process(SLICE + "/other.service")
Raw(daemon.socket, greet=ADMIN).close()  # by now both are accepted
cgroups.move(SLICE + "/other.service", first.pid)
cgroups.move(CHAT, second.pid)
assert first.tenant() == "unit" and second.tenant() == "slice"
cgroups.move(other, first.pid)
assert sorted((w["pid"], w["tenant"]) for w in daemon.ctl("workers")["workers"]) == sorted(
    [(first.pid, "unit"), (second.pid, "slice")])
first.end()
second.end()

# ---- In pid and cgroup namespaces of its own it is still the same unit's ----
worker = daemon.worker(wrap=cgroups.wrap(CHAT) + ("unshare", "--pid", "--fork", "--kill-child", "--cgroup", "--mount", "--mount-proc"))
listed, = daemon.ctl("workers")["workers"]
assert listed["tenant"] == "unit" and listed["pid"] != worker.pid, (listed, worker.pid)
with open("/proc/%d/status" % listed["pid"]) as f:
    assert next(line.split()[-1] for line in f if line.startswith("NSpid")) == "1", "its first process there"
worker.create()
worker.grow(worker.acquire(100), 100)
worker.quit()

# ---- The process that connected has ended, its child keeps the socket ----
held, holder = os.pipe()
connected, say = os.pipe()
child = os.fork()
if child == 0:
    os.close(holder)
    cgroups.move(CHAT)
    raw = Raw(daemon.socket, greet=None)
    if os.fork() > 0:
        os._exit(0)
    os.read(held, 1)  # until the parent of ours is gone
    os.write(say, greet(raw).encode())
    os._exit(0)
os.close(say)
assert os.waitpid(child, 0)[1] == 0
os.close(holder)
answer = os.read(connected, 300).decode()
# Accepted while it lived, it is known; else nobody can say where it was. Never is it taken for somebody else.
assert answer == "unit" or answer.startswith("NO_TENANT: "), answer
until(lambda: not daemon.ctl("workers")["workers"], "all are gone")

# ---- The same, with a process that had ended before it was accepted: it is not taken for one in no group, who would be nobody's ----
asked, answered = os.pipe(), os.pipe()
suspend(daemon.pid)
child = os.fork()
if child == 0:
    cgroups.move(CHAT)
    os.setgroups([])
    os.setuid(65534)
    raw = Raw(daemon.socket, greet=None)
    if os.fork() > 0:
        os._exit(0)
    os.read(asked[0], 1)
    os.write(answered[1], greet(raw).encode())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
os.kill(daemon.pid, signal.SIGCONT)
os.write(asked[1], b"x")
answer = os.read(answered[0], 300).decode()
assert answer == ("NO_TENANT: no [tenant] of the configuration matches this process: the cgroup of pid %d cannot be told "
                  "(No such process): try again" % child), answer

# ---- Who moves all the while is in one of his groups all the same, and never nowhere ----
# His tenant's groups or none; without them he would be nobody's, who comes later.
HERE, THERE = SLICE + "/here.service", SLICE + "/there.service"
for cgroup in (HERE, THERE):
    cgroups.make(cgroup)
parent = os.getpid()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    cgroups.move(HERE)
    os.setgroups([])
    os.setuid(65534)
    answers = set()
    for _ in range(1000):
        raw = Raw(daemon.socket, greet=None)
        answers.add(greet(raw).split(":")[0])
        raw.close()
    os.write(writing, " ".join(sorted(answers)).encode())
    os._exit(0)
os.close(writing)
mover = os.fork()
if mover == 0:
    groups = [os.open(cgroups.ROOT + cgroup + "/cgroup.procs", os.O_WRONLY) for cgroup in (THERE, HERE)]
    while os.getppid() == parent:
        for group in groups:
            os.write(group, b"%d" % child)
answers = os.read(reading, 300).decode()
os.kill(mover, signal.SIGKILL)
os.waitpid(mover, 0)
assert os.waitpid(child, 0)[1] == 0
assert answers in ("slice", "NO_TENANT slice"), answers
os.close(reading)

# ---- A reload that brings the first match by cgroup counts for who connected before as well ----
daemon.stop()
daemon = Daemon(config="[device d]\ncapacity = 4M\npage-size = 64K\n[tenant nobody]\nmatch = uid:65534\n")
early = Process(CHAT)
admin = Raw(daemon.socket, greet=ADMIN)
with open(daemon.config, "a") as f:
    f.write("[tenant unit]\nmatch = unit:%s-chat\n" % NAME)
assert admin.reload() == "ok"
assert early.tenant() == "unit"
early.end()
with open(daemon.config, "w") as f:
    f.write("[device d]\ncapacity = 4M\npage-size = 64K\n[tenant rest]\nmatch = any\n")
assert admin.reload() == "ok"
early = Process(CHAT)
Raw(daemon.socket, greet=ADMIN).close()
with open(daemon.config, "w") as f:
    f.write("[device d]\ncapacity = 4M\npage-size = 64K\n[tenant unit]\nmatch = unit:%s-chat\n[tenant rest]\nmatch = any\n" % NAME)
assert admin.reload() == "ok"
assert early.tenant() == "unit", "and not that of who is in none"
early.end()
admin.close()
daemon.check()
daemon.stop()
