# SPDX-License-Identifier: MIT
"""What the daemon tells systemd: entries with fields, how things are in words, that its loop turns, and for how long it waits where it
cannot start. Whoever does not listen, the journal or process 1, makes nobody wait."""
import os
import re
import signal
import time

from booted import Box, installed_tree
from box import suspend, until

CONFIG = """
[device d]
capacity = 8M
page-size = 64K
[tenant chat]
match = unit:chat-*.service
reclaim-deadline = 150ms
[tenant other]
match = any
memory.min = 4M
"""
FAST = "[Service]\nWatchdogSec=1500ms\n"


def kinds():
    with open(os.path.join(os.environ["KVP_TOP"], "daemon/shell/log-kinds.h")) as f:
        return dict(re.findall(r"^ +X\((\w+), \w+, (\w{32}),", f.read(), re.MULTILINE))


def entries(box, kind, *words):
    found = box.journal("MESSAGE_ID=" + KINDS[kind], *words)
    assert all(e["KVPAGER_EVENT"] == kind for e in found)
    return found


def has_fields(box):
    """A worker comes, does not give memory back when asked, and goes."""
    worker = box.worker(run=("--unit=chat-1", "--uid=daemon"))
    worker.create(rows=32, tokens=2048)
    for _ in range(12):
        worker.step((worker.acquire(300), 300), timeout=0)
    worker.ok("settle")
    box.systemctl("kill", "--signal=STOP", "chat-1.service")
    other = box.worker()
    other.create(rows=32, tokens=2048)
    for _ in range(12):
        other.step((other.acquire(300), 300), timeout=2000000)
    came, = entries(box, "worker_connected", "KVPAGER_TENANT=chat")
    assert came["KVPAGER_UNIT"] == "chat-1.service" and came["KVPAGER_CGROUP"] == "/system.slice/chat-1.service", came
    assert came["PRIORITY"] == "6" and came["SYSLOG_IDENTIFIER"] == "kvpagerd" and came["_SYSTEMD_UNIT"] == "kvpagerd.service"
    row = next(w for w in box.ctl("workers")["workers"] if w["tenant"] == "chat")
    assert came["KVPAGER_WORKER"] == str(row["worker"]) and came["OBJECT_PID"] == str(row["pid"])
    assert came["KVPAGER_UID"] == box.run("id", "-u", "daemon").stdout.strip()
    late, = entries(box, "revoke_overdue")
    assert late["KVPAGER_WORKER"] == came["KVPAGER_WORKER"] and late["KVPAGER_DEADLINE_USEC"] == "150000", late
    assert int(late["KVPAGER_BYTES"]) > 0 and late["KVPAGER_DEVICE"] == "d" and late["PRIORITY"] == "4"
    assert late["MESSAGE"].startswith("pid %s (uid " % row["pid"])
    box.systemctl("kill", "--signal=KILL", "chat-1.service")
    until(lambda: entries(box, "worker_gone", "KVPAGER_TENANT=chat"), "it is gone")
    # Some seconds old at most.
    until(lambda: re.match(r"Serves 1 worker of 1 tenant, \d+M of 8M in use", box.show("kvpagerd.service", "StatusText")),
          lambda: box.show("kvpagerd.service", "StatusText"))
    other.quit()


def reloads(box):
    box.systemctl("reload", "kvpagerd.service")
    assert entries(box, "reloaded")
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG + "nonsense = 1\n")
    done = box.systemctl("reload", "kvpagerd.service", check=False)
    assert done.returncode != 0
    complaint, = entries(box, "configuration_invalid")
    assert "kvpagerd.conf:11: unknown key nonsense" in complaint["MESSAGE"], complaint
    assert entries(box, "reload_failed")[0]["PRIORITY"] == "3"
    box.until("kvpagerd.service", "ActiveState", "active")
    until(lambda: "the configuration was refused" in box.show("kvpagerd.service", "StatusText"), "the status says so")
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG)
    box.systemctl("reload", "kvpagerd.service")


def waits_for_nobody(box, what, stop, go):
    """Messages and more messages, of which nobody takes any."""
    worker = box.worker()
    stop()
    try:
        began = time.monotonic()
        for _ in range(60):
            worker.ok("disconnect")
            worker.ok("connect")
        worker.create()
        worker.grow(worker.acquire(100), 100)
        assert time.monotonic() - began < 5, "it waits for " + what
    finally:
        go()
    worker.quit()


def says_what_was_lost(box):
    """And then it goes on; the daemon has nothing to do before, so somebody comes."""
    def lost():
        box.worker().quit()
        return entries(box, "lines_lost")
    entry = until(lost, "it is not said that lines were left out")[0]
    assert int(entry["KVPAGER_COUNT"]) > 10, entry


def is_back_at_once(box):
    """However it ends, the next one serves, and there is no delay and no limit for one that served. A worker goes on with what it has."""
    worker = box.worker()
    worker.create()
    row = worker.acquire(2000)
    worker.grow(row, 200)
    worker.ok("fill", row, 77, 0, 200)
    for _ in range(3):
        before = box.show("kvpagerd.service", "MainPID")
        box.run("kill", "-KILL", before)
        until(lambda: box.show("kvpagerd.service", "MainPID") not in ("0", before), "it was not started again")
        box.worker().quit()
    worker.grow(row, 2000)
    worker.ok("check", row, 77, 0, 200)
    worker.quit()
    box.check()
    assert not entries(box, "start_delayed")


def is_watched(box):
    """A loop that does not turn is not fed by anything else."""
    before = box.show("kvpagerd.service", "MainPID")
    box.run("kill", "-STOP", before)
    until(lambda: box.show("kvpagerd.service", "MainPID") not in ("0", before), "it was not started again")
    until(lambda: box.show("kvpagerd.service", "ActiveState") == "active", "it does not serve again")
    assert any("Watchdog timeout" in e["MESSAGE"] for e in box.journal("UNIT=kvpagerd.service"))
    box.worker().quit()


def backs_off(box):
    """Starts that fail follow each other more and more slowly; once there is nothing wrong, the next one is at once."""
    box.write("/etc/kvpager/kvpagerd.conf", "nonsense\n")
    box.systemctl("restart", "kvpagerd.service", check=False)
    until(lambda: len(entries(box, "start_delayed")) >= 4, "it is tried again")
    counts = [int(e["KVPAGER_COUNT"]) for e in entries(box, "start_delayed")]
    assert counts == list(range(1, len(counts) + 1)), counts
    assert any("neither KEY = VALUE" in e["MESSAGE"] for e in box.journal("-u", "kvpagerd.service"))
    assert int(box.show("kvpagerd.service", "NRestarts")) <= len(counts) + 1
    assert box.show("kvpagerd.socket", "ActiveState") == "active"
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG)
    began = time.monotonic()
    until(lambda: box.show("kvpagerd.service", "StatusText").startswith("Waits"), "it waits, in words")
    box.systemctl("restart", "kvpagerd.service")
    box.worker().quit()
    assert len(entries(box, "start_delayed")) <= len(counts) + 2
    assert not os.path.exists(box.path("/run/kvpagerd/failed-starts")), began


KINDS = kinds()
assert len(KINDS) > 20
with Box() as box:
    box.install_tree(installed_tree())
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG)
    box.write("/etc/systemd/system/kvpagerd.service.d/fast.conf", FAST)
    box.systemctl("daemon-reload")
    box.systemctl("start", "kvpagerd.socket")
    has_fields(box)
    reloads(box)
    journald = int(box.show("systemd-journald.service", "MainPID"))
    waits_for_nobody(box, "the journal", lambda: box.run("kill", "-STOP", str(journald)), lambda: box.run("kill", "-CONT", str(journald)))
    says_what_was_lost(box)
    # Who watches it is stopped too, and must not find that it was not fed.
    waits_for_nobody(box, "process 1", lambda: suspend(box.pid1), lambda: os.kill(box.pid1, signal.SIGCONT))
    is_back_at_once(box)
    is_watched(box)
    backs_off(box)
