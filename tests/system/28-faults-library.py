# SPDX-License-Identifier: MIT
"""Every system call of the library fails in turn, in every way that it can, in a worker that uses it: see faults.py.

Whatever fails, each call of the worker returns in time, with success or an error that kvpager.h names, and can be repeated;
where the connection was lost by it, a new one does. What was written stays. When the worker has disconnected, its
descriptors, mappings and allocations are what they were, and the daemon has everything back. What is harmless (EINTR and
its like) nobody notices.
"""
import errno
import resource
import struct
import time
import traceback

import faults
from box import *
from raw import *

SECONDS = 8.0  # less than the library's patience with a daemon that does not answer
GEOMETRY = (4, 4096, 0, 2, 2, 64, 16)  # 4 planes, 256 tokens a page

# What each command may fail with, as kvpager.h has it.
LOCAL = {"ENOMEM", "EMFILE", "ENFILE", "EAGAIN"}
ERRORS_OF = {
    "connect": LOCAL | {"ECONNREFUSED", "EACCES", "EPROTO", "ETIMEDOUT"},
    "create": {"ENOMEM", "ENOTCONN"},
    "acquire": set(),
    "step": {"ENOMEM", "EMFILE", "ENOTCONN", "ETIMEDOUT", "EPROTO"},
    "settle": {"ENOTCONN"},
    "fill": {"EFAULT"},
    "check": {"EFAULT"},
}


LOST = {"ENOTCONN", "EPROTO", "EFAULT"}  # the connection, and with it the memory


class Failed(Exception):
    """A command failed as it may."""


class FaultyWorker(Worker):
    storming = False

    def tell(self, *words):
        self.send(*words)
        return self.read(SECONDS)

    def attempt(self, *words):
        """(error, answer)"""
        answer = self.tell(*words)
        error = answer.split()[1] if answer.split()[0] in ("error", "step") else "0"
        allowed = ERRORS_OF.get(words[0], ())
        assert error == "0" or error in allowed, "%s: %s" % (" ".join(map(str, words)), answer)
        return error, answer

    def do(self, *words):
        """The command's answer. One that failed as it may is repeated without faults, and succeeds; Failed: the connection
        is lost."""
        error, answer = self.attempt(*words)
        if error != "0":
            self.noticed.append("%s: %s" % (words[0], error))
            if self.storming or error in LOST and words[0] != "connect":
                raise Failed(error)
            area.disarm()
            error, answer = self.attempt(*words)
            if error in LOST:  # meanwhile
                raise Failed(error)
            assert error == "0", "%s, repeated: %s" % (" ".join(map(str, words)), answer)
        return answer

    def session(self):
        """All that a worker does, from connecting to disconnecting."""
        self.do("connect")
        self.do("create", *GEOMETRY)
        a = int(self.do("acquire", 300)[4:])
        self.do("step", 5000000, a, 300)
        self.do("fill", a, 1, 0, 300)
        for tokens in range(500, 524):
            self.do("step", 5000000, a, tokens)
        self.do("settle")
        self.do("fill", a, 2, 300, 523)
        b = int(self.do("acquire", 100)[4:])
        self.do("step", 5000000, a, 523, b, 1500)
        self.do("fork")
        self.do("check", a, 1, 0, 300)
        self.do("trim", a, 300)
        self.do("settle")
        self.do("release", b)
        self.do("settle")
        self.pressed()
        answer = self.tell("step", 0, a, 1200)
        self.do("settle")
        self.do("step", 5000000, a, 1200)
        self.do("check", a, 1, 0, 300)
        self.do("stats")
        self.do("destroy")
        self.do("create", *GEOMETRY)
        c = int(self.do("acquire", 0)[4:])
        self.do("step", 5000000, c, 100)
        self.do("disconnect")

    def pressed(self):
        """Somebody else wants what the device has: idle rows go back. He gives it back in good order."""
        other = Raw(daemon.socket, timeout=SECONDS)
        try:
            other.ask(grow_item(other.cache(), need=56), timeout_usec=5000000)
            grants = []
            while not grants or not grants[-1].flags & 1:
                grants += other.take_grants(other.receive())
            for grant in grants:
                os.close(grant.fd)
            other.give_back([grant.extent for grant in grants])
            other.round_trip()
        finally:
            other.close()


def figures():
    return dict(descriptors=len(os.listdir("/proc/%d/fd" % worker.pid)), mappings=faults.mappings(worker.pid),
                allocations=area.a.allocations)


def play():
    """What the worker noticed, a list."""
    worker.noticed = []
    try:
        worker.session()
    except Failed:
        area.disarm()
        worker.tell("disconnect")
        until(daemon.empty, "the daemon to have all back")
        worker.session()
    finally:
        area.disarm()
    return worker.noticed


def run(fault):
    global before
    area.arm(fault)
    noticed = play()
    met = area.a.fired > 0
    # A daemon that takes no HELLO within the patience of a connect is one that does not answer.
    assert not noticed or not fault.harmless or (fault.function, noticed) == ("send", ["connect: ETIMEDOUT"]), noticed
    if fault.function == "munmap":  # addresses that the kernel does not take back cannot be given back
        before["mappings"] = figures()["mappings"]
    calm()
    return met


def calm():
    assert figures() == before, "figures %s, were %s" % (figures(), before)
    until(daemon.empty, "the daemon to have all back")


def begin():
    global worker, before
    area.clear()
    worker = FaultyWorker(daemon, None, area.wrap("libkvpager") + ["MALLOC_ARENA_MAX=1"], "connected")
    worker.tell("disconnect")
    for _ in range(3):
        noticed = play()
        assert not noticed, noticed
    before = figures()


def report(what, error):
    global failed
    failed += 1
    say("%s: %s" % (what, "".join(traceback.format_exception(error))))
    assert failed < 20, "enough"
    worker.kill()
    begin()


def each_in_turn():
    """Each site that a session reaches, in each way."""
    calls = area.calls()
    noticed = play()
    assert not noticed, noticed
    calls = faults.difference(area.calls(), calls)
    calm()
    ran = met = 0
    for fault in area.faults(calls):
        ran += 1
        try:
            met += run(fault)
        except Exception as error:
            report(fault, error)
    say("%d sites, %d faults, %d met" % (len(calls), ran, met))
    assert len(calls) >= 20 and met >= ran / 2, "the faults miss the library"


def under(hardship, relief):
    """Memory is wanted while something fails all the time: a step returns within its timeout. Then all is well again."""
    worker.noticed = []
    worker.do("connect")
    worker.do("create", *GEOMETRY)
    a = int(worker.do("acquire", 300)[4:])
    worker.do("step", 5000000, a, 2000)
    worker.do("fill", a, 1, 0, 300)
    hardship()
    began = time.monotonic()
    worker.do("trim", a, 300)
    lost = False
    for tokens in (800, 3000):
        lost |= worker.attempt("step", 200000, a, tokens)[0] in LOST
    worker.do("trim", a, 300)
    assert time.monotonic() - began < 5.0, "two steps of 0.2 s took %.1f s" % (time.monotonic() - began)
    relief()
    worker.do("check", a, 1, 0, 300)
    if not lost:
        lost = worker.attempt("step", 5000000, a, 2000)[0] in LOST
    worker.do("check", a, 1, 0, 300)
    worker.do("disconnect")
    calm()


def all_the_time():
    """A function fails for as long as it is asked."""
    for name, error in (("mmap", errno.ENOMEM), ("realloc", errno.ENOMEM), ("calloc", errno.ENOMEM), ("send", errno.ENOBUFS),
                        ("send", errno.EAGAIN), ("recvmsg", errno.ENOMEM), ("recvmsg", faults.CTRUNC), ("ppoll", errno.ENOMEM),
                        ("setsockopt", errno.ENOMEM), ("close_range", errno.ENOSYS), ("pthread_cond_timedwait", faults.SPURIOUS)):
        what = "%s %s all the time" % (name, faults.way_name(error))
        if all(word in what for word in faults.ONLY):
            try:
                under(lambda: area.arm_function(name, error), area.disarm)
            except Exception as why:
                report(what, why)


def no_memory_to_ask_with():
    """Nothing can be allocated as the first row grows, and nobody waits for it: the mapper gets to it even so."""
    worker.noticed = []
    worker.do("connect")
    worker.do("create", *GEOMETRY)
    a = int(worker.do("acquire", 300)[4:])
    area.arm_function("calloc", errno.ENOMEM)
    worker.attempt("step", 0, a, 300)
    worker.do("settle")
    area.disarm()
    until(lambda: worker.attempt("step", 0, a, 300)[0] == "0", "the mapper to ask")
    worker.do("disconnect")
    calm()


def at_the_limit():
    """The worker may open so many files more, and no others, when it connects and when it grows; or map no more at all."""
    def limit(which, bound):
        resource.prlimit(worker.pid, which, (bound, limits[which][1]))

    limits = {which: resource.prlimit(worker.pid, which) for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)}
    usual = limits[resource.RLIMIT_NOFILE][0]
    for more in range(8):
        try:
            limit(resource.RLIMIT_NOFILE, before["descriptors"] + more)
            error = worker.attempt("connect")[0]
            assert (error == "EMFILE") == (more < 4), "connect: %s" % error
            limit(resource.RLIMIT_NOFILE, usual)
            if error == "0":
                worker.do("disconnect")
            calm()
            under(lambda: limit(resource.RLIMIT_NOFILE, before["descriptors"] + 4 + more),
                  lambda: limit(resource.RLIMIT_NOFILE, usual))
        except Exception as why:
            report("%d descriptors left" % more, why)
    if not faults.SANITIZED:
        without_addresses(limit, limits[resource.RLIMIT_AS][0])


def without_addresses(limit, usual):
    """(A sanitizer could not do with so few.)"""
    try:
        worker.do("connect")
        limit(resource.RLIMIT_AS, 1 << 20)
        assert worker.attempt("create", *GEOMETRY)[0] == "ENOMEM"
        limit(resource.RLIMIT_AS, usual)
        worker.do("create", *GEOMETRY)
        worker.do("disconnect")
        calm()
    except Exception as why:
        report("no address space", why)


def storm(seed, one_in):
    """Anything fails now and then. Addresses may stay lost then: see run()."""
    global before
    try:
        for i in range(8):
            area.arm_random(seed * 100 + i, one_in)
            worker.storming = True
            try:
                worker.session()
            except Failed:
                pass
            area.disarm()
            worker.storming = False
            worker.tell("disconnect")
        noticed = play()
        assert not noticed, noticed
        before["mappings"] = figures()["mappings"]
        calm()
    except Exception as why:
        report("storm %d, one in %d" % (seed, one_in), why)


failed = 0
area = faults.Area(os.environ["TMPDIR"] + "/area")
daemon = Daemon(config=faults.CONFIG)
begin()
each_in_turn()
all_the_time()
if not faults.ONLY:
    no_memory_to_ask_with()
    at_the_limit()
    for seed in range(300 if faults.LONG else 6):
        storm(seed, (30, 100, 300)[seed % 3])
assert failed == 0, "%d failed" % failed
worker.quit()
daemon.check()
daemon.stop()
