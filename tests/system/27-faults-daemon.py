# SPDX-License-Identifier: MIT
"""Every system call of the daemon fails in turn, in every way that it can: see faults.py.

Whatever fails, the daemon goes on, whoever was served meanwhile gets an answer, an error or the end of his connection, and
never waits; an idle bystander notices nothing; and when all have left, descriptors, mappings, allocations and bytes are
what they were. What is harmless (EINTR and its like) nobody notices. A start that fails ends with a sentence and status 1.
"""
import collections
import errno
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import time
import traceback

import faults
from box import *
from raw import *

PATIENCE = 8.0  # more than anything takes on a busy machine, less than what waits for good
GROW_USEC = 5000000
SETTLED = 23
STRAY = "taken for one whose cgroup is not known"
Tenant = collections.namedtuple("Tenant", "name current max")


class Ended(Exception):
    """The daemon ended the connection."""


class Refused(Exception):
    """The daemon answered with an error."""


class Account(Raw):
    """Somebody who can ask for the daemon's own account."""

    def items(self, opcode, size_of_name):
        """(numbers of 64 bits that come first, name that comes last) of each item of a list."""
        body = self.call(opcode, struct.pack("<II", 0, 0))[2]
        n = struct.unpack("<I", body[:4])[0]
        size = (len(body) - 8) // n
        for item in (body[8 + i * size:8 + (i + 1) * size] for i in range(n)):
            numbers = struct.unpack_from("<%dQ" % ((size - size_of_name) // 8), item)
            yield numbers, item[size - size_of_name:].rstrip(b"\0").decode()

    def tenants(self):
        return [Tenant(name, numbers[0], numbers[6]) for numbers, name in self.items(LIST_TENANTS, 64)]

    def reloads(self):
        counters = {name: numbers[0] for numbers, name in self.items(LIST_COUNTERS, 56)}
        return counters["reloads"], counters["reloads_failed"]

    def allocated(self):
        return sum(numbers[2] for numbers, _ in self.items(LIST_DEVICES, 64 + 16 + 48))

    def settled(self):
        return self.call(SETTLED)[0] == OK

    def check(self):
        body = self.call(CHECK)[2]
        assert struct.unpack("<i", body[:4])[0] == 0, body[8:].rstrip(b"\0")


class Victim(Account):
    """A peer that must not be left waiting."""

    def __init__(self, stage, greet=WORKER, tenant=b""):
        self.fds = []
        stage.victims.append(self)
        super().__init__(daemon.socket, greet=greet, tenant=tenant, timeout=stage.patience)
        stage.strays += self.tenant == "stray"

    def receive(self):
        reply = super().receive()
        if reply is None:
            raise Ended
        self.fds += reply[3]
        if reply[0] == ERROR:
            raise Refused(ERRORS[struct.unpack("<I", reply[2][:4])[0]])
        if reply[0] == GROW_FAILED:
            raise Refused("GROW_FAILED")
        return reply

    def leave(self):
        for fd in self.fds:
            if not self.events or fd != self.events.fileno():
                os.close(fd)
        if hasattr(self, "socket"):
            self.close()


class Onlooker(Bystander):
    """Has nothing to do with it, and answers when it is asked for memory: it has none to give."""

    def check(self):
        while select.select([self.raw.events], [], [], 0)[0]:
            event = self.raw.events.recv(4096)
            assert event, "the bystander was dropped"
            if HEADER.unpack(event[:HEADER.size])[0] == REVOKE:
                self.raw.send(REVOKED, event[HEADER.size:HEADER.size + 4] + bytes(4), request=0)
        super().check()


class Stage:
    """What a scenario uses, and leaves behind."""

    def __init__(self, patience=PATIENCE):
        self.victims, self.children, self.patience, self.strays = [], [], patience, 0

    def worker(self, tenant=b""):
        return Victim(self, tenant=tenant)

    def process(self, body):
        """Runs body(stage) in a process of its own, until it is killed, at the end of the stage if nobody did before."""
        child = os.fork()
        if child == 0:
            try:
                body(Stage(self.patience))
            finally:
                os._exit(0)
        self.children.append(child)
        return child

    def leave(self):
        for victim in self.victims:
            victim.leave()
        for child in self.children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


# ---- Scenarios ----

def growth(stage):
    """A worker comes, grows, shrinks, and leaves in good order; another dies with all it has."""
    one, two = stage.worker(), stage.worker()
    cache = one.cache(planes=2)
    grants = one.grow(cache, need=8, timeout_usec=GROW_USEC)
    for grant in grants:
        assert os.pread(grant.fd, 4, 0) == b"\0\0\0\0"
        os.pwrite(grant.fd, b"mine", 0)
    one.round_trip()
    one.give_back([grant.extent for grant in grants if grant.first >= 4])
    one.grow(cache, first=4, need=4, timeout_usec=GROW_USEC)
    two.grow(two.cache(), need=4, timeout_usec=GROW_USEC)
    assert one.call(CACHE_DESTROY, struct.pack("<II", cache, 0))[0] == OK


def revoke(stage):
    """The device is full of idle rows, which somebody else wants."""
    one, two = stage.worker(), stage.worker()
    cache, other = one.cache(), two.cache()
    extents = [g.extent for row in range(2) for g in one.grow(cache, row, need=16, timeout_usec=GROW_USEC)]
    one.send(ROWS, struct.pack("<II", 2, 0) + b"".join(struct.pack("<IIII", cache, row, 0, 0) for row in range(2)), request=0)
    one.round_trip()
    two.ask(grow_item(other, need=40), timeout_usec=GROW_USEC)
    while extents:
        ready = select.select([one.events, two.socket], [], [], stage.patience)[0]
        if not ready:
            raise TimeoutError("neither revoke nor answer")
        if one.events not in ready:
            two.take_grants(two.receive())  # and not all of them, but for an error
            continue
        event = one.events.recv(4096)
        if not event:
            raise Ended
        opcode = HEADER.unpack(event[:HEADER.size])[0]
        if opcode == SYNC:
            one.send(ACK, request=0)
            continue
        assert opcode == REVOKE
        one.give_back(extents)
        extents = []
        one.send(REVOKED, struct.pack("<II", struct.unpack("<I", event[24:28])[0], 0), request=0)
    while not two.take_grants(two.receive())[-1].flags & 1:
        pass


def overdue(stage):
    """Who does not give back idle rows in time is killed, where the configuration says so."""
    def miser(stage):
        os.setgroups([faults.STRICT_GROUP])
        peer = stage.worker(b"strict")
        cache = peer.cache()
        peer.grow(cache, need=32, timeout_usec=GROW_USEC)
        peer.send(ROWS, struct.pack("<II", 1, 0) + struct.pack("<IIII", cache, 0, 0, 0), request=0)
        peer.round_trip()
        os.write(writing, b"x")
        signal.pause()

    reading, writing = os.pipe()
    try:
        child = stage.process(miser)
        os.close(writing)
        if not os.read(reading, 1):
            raise Ended
        two = stage.worker()
        two.grow(two.cache(), need=40, timeout_usec=2000000)  # in vain where the kill fails
        assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT).si_status == signal.SIGKILL
    finally:
        os.close(reading)


def admin(stage):
    """Somebody asks for all that there is to be told."""
    peer = Victim(stage, ADMIN)
    for opcode in (LIST_DEVICES, LIST_TENANTS, LIST_WORKERS, LIST_CACHES, LIST_COUNTERS):
        peer.call(opcode, struct.pack("<II", 0, 0))
    peer.call(STATUS_GET)
    assert struct.unpack("<i", peer.call(CHECK)[2][:4])[0] == 0


def junk(stage):
    """Peers that send fds, nothing, or nonsense; each is told why it has to leave, and the fds are closed."""
    reading, writing = os.pipe()
    try:
        for data, fds, name in ((packet(ACK), (reading,) * 3, "BAD_FDS"), (packet(ACK), (reading,) * 20, "BAD_FDS"),
                                (b"", (), "TOO_SHORT"), (packet(99), (), "BAD_OPCODE")):
            peer = stage.worker()
            peer.send_bytes(data, fds)
            try:
                peer.receive()
                raise AssertionError("%s went unnoticed" % name)
            except Ended:  # it is told if its socket takes it
                pass
            except Refused as error:
                if error.args[0] != name:
                    raise
    finally:
        os.close(reading)
        os.close(writing)


def backlog(stage):
    """A worker reads its replies late, so that they queue up, and grants behind them."""
    peer = stage.worker()
    cache = peer.cache()
    asked = 0
    while asked < 300 and select.select([], [peer.socket], [], 0)[1]:
        peer.send(LIST_COUNTERS, struct.pack("<II", 0, 0))
        asked += 1
    for _ in range(asked):
        assert peer.receive()[0] == 84
    peer.grow(cache, timeout_usec=GROW_USEC)


def reload(stage):
    """The configuration is read again; it is taken as a whole or not at all."""
    peer = Victim(stage, ADMIN)
    before = peer.reloads()
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: sum(peer.reloads()) > sum(before), "a reload that ends", stage.patience)
    tenants = {t.name: t.max for t in peer.tenants()}
    assert set(tenants) == set(re.findall("tenant (\\w+)", faults.CONFIG)) and tenants["named"] == 2 << 20, tenants
    if peer.reloads()[1] > before[1]:
        raise Refused("reload")


SCENARIOS = (growth, revoke, admin, junk, backlog, reload) + ((overdue,) if faults.MAY_KILL else ())


# ---- What must hold afterwards ----

def descriptors():
    """(those that are no extents, bytes of those that are)"""
    others = extents = 0
    for fd in os.listdir("/proc/%d/fd" % daemon.pid):
        path = "/proc/%d/fd/%s" % (daemon.pid, fd)
        try:
            if os.readlink(path).startswith("/memfd:"):
                extents += os.stat(path).st_size
            else:
                others += 1
        except FileNotFoundError:
            pass
    return others, extents


def figures():
    others, extents = descriptors()
    return dict(descriptors=others, unaccounted=extents - keeper.allocated(), current=sum(t.current for t in keeper.tenants()),
                mappings=faults.mappings(daemon.pid), allocations=area.a.allocations)


def calm(late=False):
    """Until all that the scenario left behind is gone; the bystander is served at once, or (late) as soon as the device works again."""
    assert daemon.process.poll() is None, "the daemon ended with %s:\n%s" % (daemon.process.returncode, daemon.text()[-2000:])
    if late:
        until(keeper.settled, "the daemon to settle")
    began = time.monotonic()
    bystander.check()
    took = time.monotonic() - began
    assert took < 5.0, "the bystander waited for %.1f s" % took
    until(lambda: keeper.settled() and figures() == before, lambda: "figures %s, were %s" % (figures(), before))
    keeper.check()


def play(scenario, patience=PATIENCE, forgive=()):
    """What the victims noticed, or None."""
    stage = Stage(patience)
    try:
        scenario(stage)
        return STRAY if stage.strays else None
    except (Ended, Refused, ConnectionError, *forgive) as error:
        return "%s %s" % (type(error).__name__, error)
    finally:
        area.disarm()
        stage.leave()


def begin():
    """A new daemon, everything in it used once."""
    global daemon, keeper, bystander, before
    area.clear()
    daemon = OpenDaemon(config=faults.CONFIG, wrap=area.wrap(faults.DAEMON))
    keeper = Account(daemon.socket, greet=ADMIN)
    bystander = Onlooker(daemon.socket)
    bystander.check()
    alone = descriptors()[0]
    for _ in range(2):
        for scenario in SCENARIOS:
            noticed = play(scenario)
            assert noticed is None, (scenario, noticed)
    until(lambda: keeper.settled() and descriptors()[0] == alone, "the daemon to settle")
    before = figures()


def run(scenario, fault):
    """True: the fault was met."""
    area.arm(fault)
    noticed = play(scenario)
    met = area.a.fired > 0
    # An event channel that takes nothing is that of a worker which does not read.
    assert (noticed is None or not fault.harmless or
            (scenario, fault.function, fault.way) == (revoke, "sendmsg", "EAGAIN")), "noticed: " + noticed
    # Where /proc does not let us look, that is as it is.
    assert noticed != STRAY or fault.way == "EACCES", "charged to the wrong tenant"
    calm()
    return met


def report(what, error):
    """Counts a failure; what was to be seen is in the log."""
    global failed
    failed += 1
    say("%s: %s" % (what, "".join(traceback.format_exception(error))))
    assert failed < 20, "enough"
    daemon.process.kill()
    begin()


def each_in_turn():
    """Each site that a scenario reaches, in each way."""
    seen = set()
    ran = met = 0
    for scenario in SCENARIOS:
        calls = area.calls()
        noticed = play(scenario)
        assert noticed is None, noticed
        calls = {k: n for k, n in faults.difference(area.calls(), calls).items() if k not in seen}
        seen |= set(calls)
        calm()
        for fault in area.faults(calls):
            ran += 1
            try:
                met += run(scenario, fault)
            except Exception as error:
                report("%s: %s" % (scenario.__name__, fault), error)
    say("%d sites, %d faults, %d met" % (len(seen), ran, met))
    assert len(seen) > 40 and met >= ran / 2, "the faults miss the daemon"


def all_the_time():
    """A function fails for as long as a scenario lasts. Waiting is all right then, but for others, and without a frenzy."""
    for name, error in (("accept4", errno.EMFILE), ("accept4", errno.EPERM), ("memfd_create", errno.ENFILE),
                        ("ftruncate", errno.EIO), ("truncate", errno.EIO), ("sendmsg", errno.ETOOMANYREFS), ("sendmsg", errno.ENOMEM),
                        ("recvmsg", errno.ENOMEM), ("epoll_ctl", errno.ENOSPC), ("socketpair", errno.EMFILE),
                        ("malloc", errno.ENOMEM), ("calloc", errno.ENOMEM), ("realloc", errno.ENOMEM)):
        for scenario in (growth, revoke, backlog):
            what = "%s: %s %s all the time" % (scenario.__name__, name, errno.errorcode[error])
            if any(word not in what for word in faults.ONLY):
                continue
            try:
                area.arm_function(name, error)
                play(scenario, 0.2, (TimeoutError,))
                assert area.a.fired < 1000, "%d calls failed" % area.a.fired
                calm(late=True)
            except Exception as why:
                report(what, why)


def at_the_limit():
    """The daemon may open so many files more, and no others."""
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    for more in range(0, 12):
        for scenario in (growth, junk):
            try:
                resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (daemon.fds() + more, before[1]))
                play(scenario, 0.2, (TimeoutError,))
                resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
                calm(late=True)
            except Exception as why:
                report("%s: %d descriptors left" % (scenario.__name__, more), why)


def storm(seed, one_in):
    """Anything fails now and then, whoever is served."""
    global keeper, bystander
    try:
        for i in range(8):
            area.arm_random(seed * 100 + i, one_in)
            play((growth, revoke, admin, junk, backlog, hang_up)[i % 6], 3 * PATIENCE)
        keeper.close()
        bystander.close()
        keeper = Account(daemon.socket, greet=ADMIN)
        bystander = Onlooker(daemon.socket)
        calm(late=True)
    except Exception as why:
        report("storm %d, one in %d" % (seed, one_in), why)


def hang_up(stage):
    stage.worker()
    daemon.process.send_signal(signal.SIGHUP)


failed = 0
area = faults.Area(os.environ["TMPDIR"] + "/area")
begin()
each_in_turn()
all_the_time()
if not faults.ONLY:
    at_the_limit()
    for seed in range(400 if faults.LONG else 8):
        storm(seed, (10, 30, 100)[seed % 3])
assert failed == 0, "%d failed" % failed
daemon.stop()
