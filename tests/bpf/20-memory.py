# SPDX-License-Identifier: MIT
"""Calls and bytes by cgroup are those that libcuda itself counted: 100,000 calls of 8 processes in 3 cgroups, 3 of them killed midway."""
import os
import random
import time

from observer import Observer, until
from cuda import LIBRARY, Program, Truth
import cgroups

CALLS = 100000
COUNTED = ("cuMemCreate", "cuMemRelease", "cuMemMap", "cuMemUnmap", "cuMemSetAccess", "cuMemAlloc_v2", "cuMemFree_v2",
           "cuMemAllocAsync", "cuMemFreeAsync")
GROUPS = tuple(g % os.getpid() for g in ("chat-%d.service", "code-%d.service", "other.slice/batch-%d.service"))
truths = {g: Truth() for g in GROUPS}
observer = Observer(None, "--libcuda", LIBRARY, "--slow")

# Attached before anybody calls; that which begins badly says what that costs.
probes = {(p["name"], p["kind"]): p for p in observer.json()["probes"] if p["target"] == LIBRARY}
for name in COUNTED:
    assert probes[name, "uprobe"]["attached"] and probes[name, "uretprobe"]["attached"], probes[name, "uprobe"]
    assert probes[name, "uprobe"]["hits"] == 0
if os.uname().machine == "x86_64":
    assert probes["cuMemAllocAsync", "uprobe"]["instruction"] == "endbr64"
missing = probes["cuMemAllocPitch_v2", "uprobe"]
assert not missing["attached"] and missing["hits"] is None and "no such function" in missing["why"], missing



def groups():
    """Ours: whoever else calls a libcuda on this machine is seen as well."""
    return {g["cgroup"]: g for g in observer.json()["cudamem"]["cgroups"] if g["cgroup"] and g["cgroup"][1:] in GROUPS}


def processes():
    ours = {p.pid for p in programs}
    return {p["pid"]: p for p in observer.json()["cudamem"]["processes"] if p["pid"] in ours}


random.seed(7)
programs, killed = [], {g: 0 for g in GROUPS}
for i in range(8):
    group = GROUPS[i % 3]
    program = Program(truths[group], cgroups.wrap(group))
    program.group = group
    program.send("run", CALLS // 5 if i < 5 else CALLS, i + 1)
    programs.append(program)
for program in programs[5:]:
    until(lambda: sum(truths[program.group].read()[n][0] for n in COUNTED) > CALLS // 20, "it calls")
    time.sleep(random.random() / 10)  # somewhere in the middle: that is the point
    program.kill()
    killed[program.group] += 1
for program in programs[:5]:
    program.wait()

snapshot = observer.json()
seen = groups()
total = 0
for group in GROUPS:
    truth, found = truths[group].read(), seen["/" + group]
    assert found["name"] == group.split("/")[-1]
    off = {"calls": 0, "bytes": 0}
    for name in COUNTED:
        calls, moved = truth[name]
        got = found["calls"][name]
        total += calls
        off["calls"] += got["calls"] != calls and abs(got["calls"] - calls)
        off["bytes"] += got["bytes"] != moved
        assert got["calls"] - got["returned"] <= killed[group], (group, name, got)
        assert sum(got["nsec"]) == got["returned"], (group, name, got)
    assert off["calls"] <= killed[group] and off["bytes"] <= killed[group], (group, off, killed, found, truth)
    assert found["calls"]["cuMemFree_v2"]["failed"] > 0 and found["calls"]["cuMemMap"]["failed"] == 0
assert total >= CALLS, total
assert snapshot["cudamem"]["untracked"] == 0 and snapshot["ring"]["lost"] == 0, snapshot["ring"]

# What the living still have is what they were given, whatever order they gave the rest back in; the dead have nothing.
assert not any(p.pid in processes() for p in programs[5:])
for program in programs[:5]:
    program.tell("drop")
    program.tell("take", 5 << 20)
    program.tell("create", 2 << 20)
by_pid = processes()
for program in programs[:5]:
    p = by_pid[program.pid]
    assert (p["bytes"], p["cgroup"], p["program"]) == (7 << 20, "/" + program.group, "test-cuda-calls"), p
    assert sorted((d["device"] is None, d["bytes"]) for d in p["devices"]) == [(False, 2 << 20), (True, 5 << 20)], p
assert {path: g["unbrokered_bytes"] for path, g in groups().items()} == {
    "/" + g: (7 << 20) * sum(p.group == g for p in programs[:5]) for g in GROUPS}

# With exec all of it goes; what comes after is counted anew.
programs[0].tell("exec")
assert programs[0].pid not in processes()
programs[0].tell("take", 1 << 20)
assert processes()[programs[0].pid]["bytes"] == 1 << 20

# A cgroup that vanishes leaves its figures.
for program in programs[:5]:
    program.end()
for group in GROUPS:
    os.rmdir(cgroups.ROOT + "/" + group)
    cgroups.made.remove(cgroups.ROOT + "/" + group)
after = groups()
assert set(after) == {"/" + g for g in GROUPS}
assert all(g["unbrokered_bytes"] == 0 and g["calls"]["cuMemCreate"]["calls"] > 0 for g in after.values()), after
assert processes() == {}
for shown in (observer.show("--once"), observer.show("--hist")):
    assert "/" + GROUPS[0] in shown and "cuMemCreate" in shown, shown
observer.stop()
