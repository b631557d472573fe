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
capacity = 1G
page-size = 64K
[tenant t0]
match = any
[tenant t1]
match = any
"""
ENV = {"KVPAGER_SOCKET": SOCKET}


def pid_of(box, unit):
    return int(box.show(unit, "MainPID"))


def again(box, before):
    """Until another daemon serves than that one."""
    until(lambda: pid_of(box, "kvpagerd.service") not in (0, before) and box.show("kvpagerd.service", "ActiveState") == "active",
          "kvpagerd does not come back", 20)


def replays_on(box, how, times):
    holder = pid_of(box, "kvpager-holder.service")
    replay = box.popen("kvpager-replay", "--verify", "--tenants", "2", "--requests", "20" if not LONG else "400", "--seed", "5", "--json",
                       user="nobody", env=ENV, stdout=subprocess.PIPE, text=True)
    done = 0
    while replay.poll() is None and done < times:
        before = pid_of(box, "kvpagerd.service")
        how(box, before)
        again(box, before)
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


def answers_soon(box):
    """The first answer to a worker that has 10,000 pages, beside what an empty unit takes; a step that needs no page meanwhile."""
    worker = box.worker("t0", user="nobody")
    worker.create(rows=64, tokens=65536, layers=4, heads=4, dim=64)
    seqs = []
    while worker.stats()["live_bytes"] < 10000 * 65536:
        seqs.append(worker.acquire(50000))
        worker.grow(seqs[-1], 40000)
    worker.ok("settle")
    held = worker.stats()["live_bytes"]
    empty, ours, stalls = [], [], []
    for _ in range(3 if not LONG else 11):
        empty.append(time_of_restart(box, "empty.service"))
        began = time.monotonic()
        restarting = box.popen("systemctl", "restart", "kvpagerd.service")
        time.sleep(0.01)
        stall = time.monotonic()
        assert worker.step((seqs[0], 40000), timeout=0)[0] == "0"
        stalls.append(time.monotonic() - stall)
        assert restarting.wait(20) == 0
        ours.append(time.monotonic() - began)
        until(lambda: any(w["pid"] for w in box.ctl("workers")["workers"]), "the worker is not there")
    seq = worker.acquire(1000)
    worker.grow(seq, 1000)
    worker.ok("settle")
    assert worker.stats()["live_bytes"] > held
    box.check()
    print("%d pages: empty unit %.0f ms, kvpagerd %.0f ms, a step meanwhile %.2f ms at most" %
          (held // 65536, 1e3 * statistics.median(empty), 1e3 * statistics.median(ours), 1e3 * max(stalls)))
    # Both are mostly systemd's; on a busy machine either may be late.
    assert min(ours) < 4 * statistics.median(empty), (ours, empty)
    assert min(stalls) < 0.01, stalls
    worker.quit()


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
    answers_soon(box)
    ends_when_stopped(box)
