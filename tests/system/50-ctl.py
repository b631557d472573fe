# SPDX-License-Identifier: MIT
"""kvpagerctl says what is there: devices, two tenants, one worker and its cache, as JSON and as tables."""
import os
import re
import subprocess

from box import BIN, Daemon, MIB, until

CONFIG = """
[device main]
capacity = 256M
page-size = 64K
virgin-pages = 64

[tenant chat]
match = any
memory.max = 128M
weight = 200

[tenant code]
match = any
memory.max = 50%
"""

daemon = Daemon(CONFIG)
socket = dict(os.environ, KVPAGER_SOCKET=daemon.socket)


def text(*words):
    done = subprocess.run([BIN + "/kvpagerctl", *words], env=socket, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stderr == "", (words, done)
    return done.stdout


# An empty daemon.
assert daemon.ctl("workers") == {"workers": []} and daemon.ctl("caches") == {"caches": []}
assert text("workers") == "0 workers.\n" and text("caches", "--no-legend") == ""
device, = daemon.ctl("devices")["devices"]
assert (device["name"], device["backend"], device["page_size"], device["capacity_bytes"]) == ("main", "host", 65536, 256 * MIB)
assert device["missing_bytes"] == 0

# One worker of chat holds a row, and has released another.
worker = daemon.worker("chat")
worker.create(rows=8, tokens=16384, layout=2)  # 2 KiB a token: a row of 32 MiB
kept, gone = worker.acquire(3000), worker.acquire(1000)
worker.grow(kept, 3000)
worker.grow(gone, 1000)
worker.ok("release", gone)
worker.ok("settle")
stats = worker.stats()


def agrees():
    cache, = daemon.ctl("caches")["caches"]
    return cache["live_bytes"] == stats["live_bytes"] and cache["idle_bytes"] == stats["idle_bytes"] > 0


until(agrees, lambda: "the cache's bytes are the worker's own: %s, %s" % (daemon.ctl("caches"), stats))
cache, = daemon.ctl("caches")["caches"]
assert (cache["pid"], cache["tenant"], cache["rows"], cache["held_rows"]) == (worker.pid, "chat", 8, 1), cache
assert cache["virtual_bytes"] == stats["virtual_bytes"] >= 8 * 32 * MIB and cache["planes"] == 1, cache
listed, = daemon.ctl("workers")["workers"]
assert (listed["pid"], listed["tenant"], listed["uid"], listed["caches"]) == (worker.pid, "chat", os.getuid(), 1), listed
assert listed["current_bytes"] >= listed["live_bytes"] + listed["idle_bytes"] > 0 and listed["worker"] == cache["worker"]
chat, code = daemon.tenant("chat"), daemon.tenant("code")
assert (chat["workers"], chat["max_bytes"], chat["weight"], chat["high_bytes"]) == (1, 128 * MIB, 200, None), chat
assert chat["extents_granted"] == stats["grants"] <= chat["pages_granted"] and chat["requests"] > 0, (chat, stats)
assert (chat["waiting"], chat["overdue"], chat["kills"], chat["reclaim_deadline_usec"]) == (0, 0, 0, 1000000), chat
assert (code["workers"], code["max_bytes"], code["current_bytes"], code["min_bytes"]) == (0, 128 * MIB, 0, 0), code
assert chat["current_bytes"] == listed["current_bytes"] and chat["live_bytes"] == stats["live_bytes"]
device, = daemon.ctl("devices")["devices"]
assert device["allocated_bytes"] == chat["current_bytes"] + device["virgin_bytes"], (device, chat)

# All of it in one object.
status = daemon.ctl("status")
assert sorted(status) == ["caches", "counters", "daemon", "devices", "tenants", "workers"]
assert status["daemon"]["pid"] == daemon.pid and status["daemon"]["socket"] == daemon.socket
assert status["daemon"]["config"] == daemon.config and status["caches"] == [cache] and status["workers"] == [listed]
counters = {c["name"]: c["value"] for c in status["counters"]}
assert counters["workers_connected"] == 1 and counters["extents_granted"] >= stats["grants"] > 0, counters
assert daemon.ctl("check") == {"ok": True, "broken": None} and text("check") == "ok\n"

# The tables say the same, in columns that stand below their titles.
row, = [line for line in text("tenants").splitlines() if line.startswith("chat")]
assert row.split()[0] == "chat" and row.split()[-5:] == ["128M", "200", "1", "0", "0"], row
row = text("tenants", "--bytes", "--no-legend").splitlines()[0].split()
assert row[:4] == ["chat", str(chat["current_bytes"]), str(chat["live_bytes"]), str(chat["idle_bytes"])], row
for command in ("devices", "tenants", "workers", "caches"):
    title, *rows = text(command).splitlines()
    rows = rows[:-2]  # a blank line and the count
    assert len(rows) == len(daemon.ctl(command)[command]) and title == title.upper()
    ends = [m.end() for m in re.finditer(r"\S+", title)]
    assert all(len(r) == len(title) for r in rows) and len(ends) == len(title.split()), (title, rows)
    assert all("\x1b" not in line for line in rows + [title])
first, *rest = text().splitlines()
assert first.startswith("kvpagerd ") and "pid %d" % daemon.pid in first and any(r.startswith("chat") for r in rest)

# A worker that goes is gone from every list.
worker.quit()
until(daemon.empty, "chat has nothing left")
assert daemon.ctl("workers") == {"workers": []} and daemon.ctl("caches") == {"caches": []}
assert daemon.tenant("chat")["workers"] == 0
daemon.check()
daemon.stop()
