# SPDX-License-Identifier: MIT
"""System calls that fail on demand, in the real programs: the other end of tests/faults.

Area is the memory that a program under faults.so shares with the test. A *site* is a function and the place that calls it.
A run without faults counts the calls of each site; then each site fails, in each way that its function has, at its first
call, at its last and at some in between (all of them in `make check-long`).

One fault alone: KVP_FAULT='sendmsg daemon/shell/outbox.c:78 ETOOMANYREFS' in the environment of the test runs only what
contains these words.
"""

import ctypes
import errno
import mmap
import os
import random
import re
import subprocess

TESTS = os.environ["KVP_TESTS"]
SANITIZED = "asan" in TESTS
LONG = bool(os.environ.get("KVP_LONG"))
ONLY = os.environ.get("KVP_FAULT", "").split()
MAGIC = 0x6b767066
OFF, SITE, FUNCTION, RANDOM = range(4)
SPURIOUS, SHORT, CTRUNC, TRUNC, DIE = range(1000, 1005)
WAYS = {1000: "SPURIOUS", 1001: "SHORT", 1002: "CTRUNC", 1003: "TRUNC", 1004: "DIE"}
SITES = 4096

# The modules of the daemon whose calls count, and a configuration that makes it call all that it can.
DAEMON = "kvpagerd libsystemd libinih"
CONFIG = """[daemon]
socket-group = root
[device d]
capacity = 4M
page-size = 64K
virgin-pages = 8
populate = yes
[tenant named]
match = uid:nobody gid:nogroup unit:nobody.service
memory.max = 50%
[tenant t]
match = cgroup:/
[tenant stray]
match = any
"""
# Whoever may kill may set groups too: what `strict` is matched by.
STRICT_GROUP = 64444
with open("/proc/self/status") as f:
    CAPABILITIES = int(re.search("CapEff:\\s*(\\w+)", f.read()).group(1), 16)
MAY_KILL = CAPABILITIES >> 5 & CAPABILITIES >> 6 & 1
if MAY_KILL:
    CONFIG = CONFIG.replace("[tenant t]", "[tenant strict]\nmatch = gid:%d\nreclaim-deadline = 100ms\non-overdue = kill\n"
                                          "[tenant t]" % STRICT_GROUP)

# What nobody may notice, for the call is to be made again, or later; where EAGAIN says something else.
HARMLESS = {"EINTR", "EAGAIN", "ECONNABORTED", "ETOOMANYREFS", "SPURIOUS"}
NOT_AGAIN = {"mmap", "connect", "pthread_create", "flock"}


class _Function(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 32), ("errors", ctypes.c_uint16 * 12)]


class _Site(ctypes.Structure):
    _fields_ = [("key", ctypes.c_uint64), ("calls", ctypes.c_uint64)]


class _Fired(ctypes.Structure):
    _fields_ = [("key", ctypes.c_uint64), ("error", ctypes.c_uint64)]


class _Area(ctypes.Structure):
    _fields_ = [("magic", ctypes.c_uint32), ("n_functions", ctypes.c_uint32), ("n_modules", ctypes.c_uint32),
                ("armed", ctypes.c_uint32), ("site", ctypes.c_uint64), ("function", ctypes.c_uint32),
                ("error", ctypes.c_uint32), ("seed", ctypes.c_uint64), ("one_in", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32), ("skip", ctypes.c_int64), ("times", ctypes.c_int64),
                ("matched", ctypes.c_uint64), ("fired", ctypes.c_uint64), ("allocations", ctypes.c_int64),
                ("log", _Fired * 256), ("functions", _Function * 96), ("modules", (ctypes.c_char * 64) * 32),
                ("sites", _Site * SITES)]


def way_name(error):
    return WAYS.get(error) or errno.errorcode[error]


def source_places(path, offsets):
    """For each address that a call returns to: file:line of our own code that called, what is inlined from headers aside."""
    said = subprocess.run(["addr2line", "-a", "-i", "-e", path] + ["0x%x" % (o - 1) for o in offsets], capture_output=True,
                          text=True, timeout=60).stdout
    places = []
    for block in said.split("0x")[1:]:
        lines = [os.path.normpath(line.split(" ")[0]) for line in block.split("\n")[1:] if ":" in line and "?" not in line]
        places.append(next((line for line in lines if ".h:" not in line), lines[0] if lines else None))
    return places


class Fault:
    """`key`'s `index`-th call (from 0), or every one (index None), fails with `error`."""

    def __init__(self, area, key, error, index):
        self.key, self.error, self.index, self.way = key, error, index, way_name(error)
        self.function = area.function_of(key).name.decode()
        self.harmless = self.way in HARMLESS and not (self.way == "EAGAIN" and self.function in NOT_AGAIN)
        self.text = "%s %s %s" % (area.site_name(key), self.way, "always" if index is None else "call %d" % (index + 1))

    def __str__(self):
        return self.text


class Area:
    def __init__(self, path):
        with open(path, "w+b") as f:
            f.truncate(ctypes.sizeof(_Area))
            self.memory = mmap.mmap(f.fileno(), 0)
        self.a = _Area.from_buffer(self.memory)
        self.path = path
        self.names = {}

    def environment(self, modules):
        return dict(LD_PRELOAD=TESTS + "/faults.so", KVP_FAULTS=self.path, KVP_FAULTS_IN=modules,
                    ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")

    def wrap(self, modules):
        return ["env"] + ["%s=%s" % pair for pair in self.environment(modules).items()]

    def clear(self):
        """Before another program starts with it."""
        self.memory[:] = bytes(len(self.memory))

    def loaded(self):
        return self.a.magic == MAGIC

    # ---- sites ----

    def calls(self):
        return {s.key: s.calls for s in self.a.sites if s.key}

    def function_of(self, key):
        return self.a.functions[key >> 48 & 0xff]

    def ways(self, key):
        return [e for e in self.function_of(key).errors if e]

    def module_of(self, key):
        return self.a.modules[(key >> 56) - 1].value.decode()

    def site_name(self, key):
        if key not in self.names:
            self.resolve([key])
        return self.names[key]

    def resolve(self, keys):
        """Names for sites, from the programs' debug information; a module at a time."""
        modules = {}
        for key in keys:
            if key not in self.names:
                modules.setdefault(self.module_of(key), []).append(key)
        for module, of_module in modules.items():
            ours = [os.environ[place] + "/" + module for place in ("KVP_BIN", "KVP_LIB")]
            path = next((p for p in ours if os.path.exists(p)), None)
            offsets = [key & 0xffffffffffff for key in of_module]
            places = ["%s+0x%x" % (module, offset) for offset in offsets]
            if path:
                places = [place or fallback for place, fallback in zip(source_places(path, offsets), places)]
            for key, place in zip(of_module, places):
                self.names[key] = "%s %s" % (self.function_of(key).name.decode(), place)

    # ---- arming ----

    def arm(self, fault):
        self.a.site, self.a.error = fault.key, fault.error
        self.a.skip, self.a.times = fault.index or 0, 1 if fault.index is not None else 1 << 60
        self.a.matched = self.a.fired = 0
        self.a.armed = SITE

    def arm_function(self, name, error):
        self.a.function = next(i for i in range(self.a.n_functions) if self.a.functions[i].name == name.encode())
        self.a.error, self.a.skip, self.a.times, self.a.matched, self.a.fired = error, 0, 1 << 60, 0, 0
        self.a.armed = FUNCTION

    def arm_random(self, seed, one_in):
        self.a.seed, self.a.one_in, self.a.skip, self.a.matched, self.a.fired = seed << 32, one_in, 0, 0, 0
        self.a.armed = RANDOM

    def disarm(self):
        self.a.armed = OFF
        return self.a.fired

    def log(self):
        """What failed since it was armed, the last ones."""
        n = self.a.fired
        last = [self.a.log[i % 256] for i in range(max(0, n - 256), n)]
        return ["%s %s" % (self.site_name(fired.key), way_name(fired.error)) for fired in last]

    def faults(self, calls, pick=None, ways=None):
        """What can fail of these {site: calls}: each way, or those that ways(site) names, at the first, the last and a few
        calls in between, or at those that pick(site, calls) names."""
        assert self.loaded(), "the program runs without faults.so"
        self.resolve(calls)
        for key, n in sorted(calls.items(), key=lambda item: self.site_name(item[0])):
            if LONG:
                picks = range(n) if n <= 64 else {0, n - 1, *random.Random(key).sample(range(n), 62)}
            else:
                picks = pick(key, n) if pick else {0, n // 2, n - 1}
            for error in ways(key) if ways and not LONG else self.ways(key):
                for index in sorted(picks):
                    fault = Fault(self, key, error, index)
                    if all(word in str(fault) for word in ONLY):
                        yield fault


def difference(after, before):
    return {key: n - before.get(key, 0) for key, n in after.items() if n > before.get(key, 0)}


def mappings(pid):
    """A sanitizer maps and unmaps as it likes; then those of extents alone."""
    with open("/proc/%d/maps" % pid) as f:
        return sum(1 for line in f if not SANITIZED or "/memfd:" in line)
