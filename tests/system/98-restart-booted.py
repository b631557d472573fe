# SPDX-License-Identifier: MIT
"""Restarts under systemd: a verified replay goes on over systemctl restart, kill -9 and the watchdog; how long an answer takes, beside a
unit of the same settings that does nothing; and what a stop for good leaves."""
import json
import os
import re
import statistics
import subprocess
import time

from booted import Box, SOCKET, installed_tree
from box import BIN, Worker, until

LONG = bool(os.environ.get("KVP_LONG"))
CONFIG = """[device d]
capacity = 4G
page-size = 64K
[tenant t0]
match = any
[tenant t1]
match = any
"""
ENV = {"KVPAGER_SOCKET": SOCKET}


def pid_of(box, unit):
    return int(box.show(unit, "MainPID"))


def replays_on(box, how, times):
    holder = pid_of(box, "kvpager-holder.service")
    replay = box.popen("kvpager-replay", "--verify", "--tenants", "2", "--requests", "20" if not LONG else "400", "--seed", "5", "--json",
                       user="nobody", env=ENV, stdout=subprocess.PIPE, text=True)
    done = 0
    while replay.poll() is None and done < times:
        before = pid_of(box, "kvpagerd.service")
        how(box, before)
        until_active(box, "kvpagerd.service", before)
        done += 1
        time.sleep(0.1)
    result = json.loads(replay.stdout.read())
    assert replay.wait(60) == 0 and result["verify_mismatches"] == 0, result
    assert result["requests_completed"] == result["requests"] and done > 1, (done, result)
    assert pid_of(box, "kvpager-holder.service") == holder
    box.check()
    print("%s: %d requests verified over %d restarts" % (how.__name__, result["requests"], done))


def restart(box, pid):
    box.systemctl("restart", "kvpagerd.service")


def kill(box, pid):
    box.run("kill", "-9", str(pid))


def hang(box, pid):
    box.run("kill", "-STOP", str(pid))  # the watchdog's to find


# ---- how long it takes ----

def empty_unit(box):
    """A unit of the same settings, which is ready at once."""
    with open(box.path("/lib/systemd/system/kvpagerd.service")) as f:
        text = f.read()
    text = re.sub(r"(?m)^(Requires|After|Wants|ExecReload|Also|WatchdogSec|RuntimeDirectory\w*)=.*\n", "", text)
    text = re.sub(r"(?m)^ExecStart=.*", "ExecStart=/share/empty", text)
    text = text.replace("NotifyAccess=main", "NotifyAccess=all")
    box.write("/etc/systemd/system/empty.service", text)
    box.write("/share/empty", "#!/bin/sh\nsystemd-notify --ready\nexec sleep 1000\n", 0o755)
    box.systemctl("daemon-reload")
    box.systemctl("start", "empty.service")


def time_of_restart(box, unit):
    """systemctl restart, which returns when the unit is ready."""
    began = time.monotonic()
    box.systemctl("restart", unit)
    return time.monotonic() - began


def until_active(box, unit, before):
    until(lambda: pid_of(box, unit) not in (0, before) and box.show(unit, "ActiveState") == "active", unit + " does not come back", 20)


def time_of_kill(box, unit, served):
    """From kill -9 until served(pid of before) returns."""
    before = pid_of(box, unit)
    began = time.monotonic()
    kill(box, before)
    served(before)
    taken = time.monotonic() - began
    until_active(box, unit, before)
    return taken


def extents_of(worker):
    stats = worker.stats()
    return stats["live_bytes"] // 65536, stats["grants"] - stats["returns"] - stats["refusals"]


# How a worker comes to so many pages: layers, tokens that it grows by, until it has them. Nothing of it is touched.
SHAPES = [(4, 40000, 10000)] if not LONG else [(4, 40000, 10000), (1, 200000, 40960)]


def answers_soon(box, layers, tokens, pages):
    """systemctl restart with a worker that has so many pages, beside an empty unit's; how soon the worker is granted a page then; and how
    long a step takes meanwhile that needs none."""
    worker = box.worker("t0", user="nobody")
    worker.create(rows=64, tokens=262144, layout=0, layers=layers, heads=4, dim=64)
    lengths = {}
    seq = worker.acquire(tokens)
    while extents_of(worker)[0] < pages:
        if lengths.get(seq, 0) + tokens > 200000:
            seq = worker.acquire(tokens)
        lengths[seq] = lengths.get(seq, 0) + tokens
        worker.grow(seq, lengths[seq])
    worker.ok("settle")
    had = extents_of(worker)
    empty, ours, first, stalls = [], [], [], []
    for _ in range(3 if not LONG else 11):
        empty.append(time_of_restart(box, "empty.service"))
        began = time.monotonic()
        restarting = box.popen("systemctl", "restart", "kvpagerd.service")
        time.sleep(0.01)
        stall = time.monotonic()
        assert worker.step((seq, lengths[seq]), timeout=0)[0] == "0"
        stalls.append(time.monotonic() - stall)
        assert restarting.wait(20) == 0
        ours.append(time.monotonic() - began)
        lengths[seq] += 2500
        worker.grow(seq, lengths[seq])
        first.append(time.monotonic() - began)
    killed, dead = [], []
    for _ in range(3 if not LONG else 11):
        dead.append(time_of_kill(box, "empty.service", lambda before: until_active(box, "empty.service", before)))
        lengths[seq] += 2500
        killed.append(time_of_kill(box, "kvpagerd.service", lambda _: worker.grow(seq, lengths[seq])))
    worker.ok("settle")
    assert extents_of(worker)[0] > had[0]
    box.check()
    with open(box.path("/proc/%d/status" % pid_of(box, "kvpagerd.service"))) as f:
        resident = next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
    print("kill -9: empty unit active after %.0f ms, kvpagerd's first grant after %.0f ms, %.0f ms at most" %
          (1e3 * statistics.median(dead), 1e3 * statistics.median(killed), 1e3 * max(killed)))
    print("%d pages in %d extents: empty unit %.0f ms, kvpagerd %.0f ms, its first grant after %.0f ms, a step meanwhile %.2f ms at most; "
          "%.1f MiB resident" % (*had, *(1e3 * statistics.median(x) for x in (empty, ours, first)), 1e3 * max(stalls), resident / 1024))
    # Both are mostly systemd's; on a busy machine either may be late.
    assert min(ours) < 4 * statistics.median(empty), (ours, empty)
    assert min(stalls) < 0.01, stalls
    assert resident < 32 * 1024, resident
    worker.quit()
    until(lambda: all(t["current_bytes"] == 0 for t in box.ctl("tenants")["tenants"]), "the worker's memory is not free")


def ends_when_stopped(box):
    """A stop for good frees what no process has mapped, the holder included; a worker goes on computing, and the next client is served."""
    worker = box.worker("t0", user="nobody")
    worker.create(rows=4, tokens=4096)
    seq = worker.acquire(1000)
    worker.grow(seq, 1000)
    worker.ok("fill", seq, 9, 0, 1000)
    box.systemctl("stop", "kvpagerd.socket", "kvpagerd.service")
    box.until("kvpager-holder.service", "ActiveState", "inactive")
    worker.ok("check", seq, 9, 0, 1000)
    assert worker.tell("step", 100000, seq, 4000).split()[1] in ("ETIMEDOUT", "ENOTCONN")
    worker.kill()
    box.systemctl("start", "kvpagerd.socket")
    assert box.ctl("status")
    assert box.ctl("tenants")["tenants"][0]["current_bytes"] == 0


with Box() as box:
    box.install_tree(installed_tree())
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG)
    box.write("/etc/systemd/system/kvpagerd.service.d/test.conf", "[Service]\nWatchdogSec=1s\n")
    box.systemctl("daemon-reload")
    box.systemctl("start", "kvpagerd.socket")
    assert "devices" in box.ctl("status")
    box.until("kvpager-holder.service", "ActiveState", "active")
    empty_unit(box)
    replays_on(box, restart, 20)
    replays_on(box, kill, 30 if not LONG else 200)
    replays_on(box, hang, 2)
    for shape in SHAPES:
        answers_soon(box, *shape)
    ends_when_stopped(box)
