# SPDX-License-Identifier: MIT
"""kvpagerctl metrics against a real daemon whose tenants have odd names: the text is OpenMetrics to the letter and its
figures are those of the lists; the manual and the dashboard name what is there; one request of HTTP gets one answer."""
import http.client
import json
import math
import os
import re
import signal
import socket
import subprocess

from box import BIN, Daemon, MIB, suspend, until
from openmetrics import Text, Wrong

TOP = os.environ["KVP_TOP"]
NAMES = ["a", "A", "a.b-c_d@e", "-", "@@", "..", "0", "x" * 63]
CONFIG = """
[device main]
capacity = 128M
page-size = 64K
[device second.dev-1@x]
capacity = 64M
page-size = 128K
""" + "".join("[tenant %s]\nmatch = any\nweight = %d\n" % (name, 100 + i) for i, name in enumerate(NAMES))
CONFIG += "memory.max = 32M\nmemory.low = 1M\nreclaim-deadline = 1500ms\n"  # of the last one

daemon = Daemon(CONFIG)
env = dict(os.environ, KVPAGER_SOCKET=daemon.socket)


def metrics(*options):
    done = subprocess.run([BIN + "/kvpagerctl", "metrics", *options], env=env, capture_output=True, timeout=20)
    assert done.returncode == 0 and done.stderr == b"", done
    return done.stdout


# A daemon with nothing in it, and one with workers.
Text(metrics("--format=openmetrics"))
worker, other = daemon.worker("a.b-c_d@e"), daemon.worker("x" * 63)
for w in (worker, other):
    w.create(rows=4, tokens=16384, layout=2)
    row = w.acquire(3000)
    w.grow(row, 3000)
    gone = w.acquire(500)
    w.grow(gone, 500)
    w.ok("release", gone)
    w.ok("settle")
row = other.acquire(16384)
other.step((row, 16384), timeout=50000)  # 32 MiB, which it may not have: fails
data = metrics("--format=openmetrics")
text = Text(data)

# The figures are those of the lists.
FIELDS = {  # in JSON: (metric, its unit in JSON's)
    "reclaim_deadline_usec": ("reclaim_deadline_seconds", 1e-6), "wait_usec": ("wait_seconds_total", 1e-6),
    "stall_usec": ("stall_seconds_total", 1e-6), "waiting": ("waiting_requests", 1), "overdue": ("overdue_workers", 1),
    "kills": ("on_overdue_kill", 1)}
COUNTS = ("extents_granted", "pages_granted", "requests", "requests_waited", "requests_failed", "revokes", "pages_revoked",
          "revokes_overdue")
tenants = daemon.ctl("tenants")["tenants"]
assert [t["name"] for t in tenants] == NAMES
for tenant in tenants:
    for key, value in tenant.items():
        metric, scale = FIELDS.get(key, (key + "_total" if key in COUNTS else key, 1))
        if key != "name":
            got = text.value("kvpager_tenant_" + metric, tenant=tenant["name"])
            assert math.isclose(got, math.inf if value is None else value * scale), (tenant["name"], key, value, got)
assert len(text.families["kvpager_tenant_weight"].samples) == len(NAMES)
for device in daemon.ctl("devices")["devices"]:
    for key, value in device.items():
        if key not in ("name", "backend", "uuid"):
            metric = "page_size_bytes" if key == "page_size" else key
            assert text.value("kvpager_device_" + metric, device=device["name"]) == value, (device, key)
    assert text.value("kvpager_device_info", device=device["name"], backend="host", uuid="") == 1
for counter in daemon.ctl("counters")["counters"]:
    got = text.value("kvpager_%s_total" % counter["name"])
    assert got <= counter["value"] and (got == counter["value"] or re.match("connections|messages|fds", counter["name"])), counter
version, = (dict(labels)["version"] for _, labels in text.families["kvpager_build_info"].samples)
assert version == daemon.ctl("version")["version"] and text.value("kvpager_build_info", version=version, protocol="1") == 1
assert text.value("kvpager_workers") == 2 and text.value("kvpager_caches") == 2
assert text.value("kvpager_tenant_requests_failed_total", tenant="x" * 63) > 0
assert 0 < text.value("kvpager_uptime_seconds") < 300
assert text.value("kvpager_tenant_live_bytes", tenant="a.b-c_d@e") > 5 * MIB > text.value("kvpager_tenant_live_bytes", tenant="a") == 0

# The older format has the same series, and counters by their whole name.
older = Text(metrics("--format=text"), openmetrics=False)
assert older.series.keys() == text.series.keys() and b"EOF" not in metrics("--format=text")

# What is printed without being asked for a format is OpenMetrics too, and no less for readers of the older one, who take
# no counter by the name of its family.
common = metrics()
assert Text(common, typed=False).series.keys() == text.series.keys()
assert not [line for line in common.splitlines() if line.startswith(b"# TYPE") and line.endswith(b"counter")]
lines = [line for line in common.splitlines() if not line.startswith((b"# UNIT", b"# EOF"))]
assert Text(b"\n".join(lines) + b"\n", openmetrics=False, typed=False).series.keys() == text.series.keys()

# The reader would have seen it: each of these makes the text wrong.
BREAKS = [(b"# EOF\n", b""), (b"# EOF\n", b"# EOF\n\n"), (b"# EOF\n", b"\n# EOF\n"), (b"kvpager_workers 2\n", b"kvpager_workers 2\r\n"),
          (b"kvpager_workers 2\n", b"kvpager_workers 2\nkvpager_workers 2\n"), (b"kvpager_workers 2\n", b"kvpager_workers  2\n"),
          (b"kvpager_workers 2\n", b"kvpager_workers two\n"), (b"kvpager_workers 2\n", b"kvpager_workers_total 2\n"),
          (b"kvpager_revokes_total ", b"kvpager_revokes "), (b"kvpager_revokes_total ", b"kvpager_revokes_total -"),
          (b"# TYPE kvpager_revokes counter", b"# TYPE kvpager_revokes gauge"),
          (b"# TYPE kvpager_revokes ", b"# TYPE kvpager_revokes_total "),
          (b"# UNIT kvpager_uptime_seconds seconds", b"# UNIT kvpager_uptime_seconds bytes"),
          (b"# UNIT kvpager_uptime_seconds seconds\n", b""), (b"# HELP kvpager_workers ", b"# HELP kvpager_worker "),
          (b"# HELP kvpager_workers ", b"# HELP kvpager_workers a \"quote\" "), (b'tenant="A"', b'tenant="a"'),
          (b'tenant="A"', b'tenant="\\A"'), (b'tenant="A"', b'tenant="A'), (b'tenant="A"', b'tenant="A",tenant="A"'),
          (b'tenant="A"', b'0="A"'), (b'tenant="A"', b'tenant="A" '), (b'{tenant="A"}', b""), (b"kvpager_caches", b"kvpager_workers"),
          (b"kvpager_revokes", b"kvpager_workers_connected")]
for old, new in BREAKS:
    assert old in data, old
    try:
        Text(data.replace(old, new))
    except Wrong:
        continue
    raise AssertionError("%r for %r is not seen" % (new, old))

# What is printed stands in the manual, and nothing else does; what the dashboard asks for is there.
names = {name for name, _ in text.series} | {name for name, _ in older.series}
with open(os.path.join(BIN, "..", "man", "kvpager-metrics.7")) as f:
    listed = re.findall(r"^\.It Sy (kvpager_\w+)$", f.read(), re.MULTILINE)
assert set(listed) == names and len(listed) == len(names), set(listed) ^ names
with open(os.path.join(TOP, "docs", "kvpager-dashboard.json")) as f:
    dashboard = json.load(f)
asked = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", [])]
asked += [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
used = set(re.findall(r"kvpager_\w+", " ".join(asked)))
assert used <= names and len(asked) > 30, used - names
for name in names:
    if name.startswith(("kvpager_tenant_", "kvpager_device_")) and not re.search("requests_total|weight|deadline|kill|page_size", name):
        assert name in used, "the dashboard does not show " + name
ids = [p["id"] for p in dashboard["panels"]]
assert len(ids) == len(set(ids)) and all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in dashboard["panels"])

# ---- HTTP, as socket activation does it: a process a connection, which is its standard input and output. ----
listener = socket.create_server(("127.0.0.1", 0))
listener.settimeout(20)
with open(os.path.join(TOP, "systemd", "kvpager-metrics.socket")) as f:
    port = re.search(r"^ListenStream=127\.0\.0\.1:(\d+)$", f.read(), re.MULTILINE)[1]
with open(os.path.join(TOP, "man", "kvpager-metrics.7.in")) as f:
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", f.read())) == {port}
with open(os.path.join(TOP, "systemd", "kvpager-metrics@.service")) as f:
    command = re.search(r"^ExecStart=@BINDIR@/(.*)$", f.read(), re.MULTILINE)[1].split()
assert command == ["kvpagerctl", "metrics", "--http"]


def serve(*options):
    """(the client's end, the process that serves it)"""
    client = socket.create_connection(listener.getsockname(), timeout=20)
    connection, _ = listener.accept()
    process = subprocess.Popen([BIN + "/" + command[0], *command[1:], *options], env=env, stdin=connection, stdout=connection,
                               stderr=subprocess.PIPE)
    connection.close()
    return client, process


def ended(process, rc=0, err=b""):
    _, got = process.communicate(timeout=20)
    assert process.returncode == rc and err in got and bool(got) == bool(err), (process.returncode, got)


def request(method="GET", path="/metrics", accept=None, options=()):
    client, process = serve(*options)
    connection = http.client.HTTPConnection("127.0.0.1")
    connection.sock = client
    connection.request(method, path, headers={"Accept": accept} if accept else {})
    answer = connection.getresponse()
    body = answer.read()
    client.close()
    ended(process)
    assert answer.getheader("Connection") == "close" and int(answer.getheader("Content-Length")) >= len(body)
    return answer, body


def raw(data, options=(), closes=False):
    client, process = serve(*options)
    client.sendall(data)
    if closes:
        client.shutdown(socket.SHUT_WR)
    got = b""
    while chunk := client.recv(65536):
        got += chunk
    client.close()
    ended(process)
    return got


PROMETHEUS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
              "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
answer, body = request(accept=PROMETHEUS)
assert answer.status == 200 and answer.getheader("Content-Type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
assert Text(body).series.keys() == text.series.keys() and int(answer.getheader("Content-Length")) == len(body)
for accept in (None, "*/*", "text/plain", "application/openmetrics-text;q=0"):
    answer, body = request(accept=accept)
    assert answer.status == 200 and answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8", accept
    assert Text(body, openmetrics=False).series.keys() == text.series.keys()
answer, body = request("HEAD", accept=PROMETHEUS)
assert answer.status == 200 and body == b"" and int(answer.getheader("Content-Length")) > 1000
assert request(path="/metrics?name=x")[0].status == 200
for path in ("/", "/metrics/", "/metric", "/../metrics", "*"):
    answer, body = request(path=path)
    assert answer.status == 404 and b"/metrics" in body, path
for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
    answer, body = request(method)
    assert answer.status == 405 and answer.getheader("Allow") == "GET, HEAD", method
assert raw(b"GET /metrics HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
assert raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 200000).count(b"HTTP/1.1 ") == 1
assert raw(b"\x16\x03\x01\x02\x00\x01\x00\n\n").startswith(b"HTTP/1.1 400 ")
assert raw(b"GET /metrics HTTP/2.0\r\n\r\n").startswith(b"HTTP/1.1 505 ")
assert raw(b"GET /metr", closes=True).startswith(b"HTTP/1.1 400 ")
assert raw(b"GET /metr", options=["--timeout=100ms"]).startswith(b"HTTP/1.1 408 ")
assert raw(b"", options=["--timeout=100ms"]).startswith(b"HTTP/1.1 408 ")
assert raw(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100000).startswith(b"HTTP/1.1 431 ")
assert raw(b"", closes=True) == b"", "who leaves without a word is told nothing"
assert b"/metr<script>" not in raw(b"GET /metr<script> HTTP/1.1\r\n\r\n"), "nothing is repeated"

# Somebody who asks and does not read makes it wait no longer than it says. (A small window, so that it has to wait at all.)
small = socket.socket()
small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
small.connect(listener.getsockname())
connection, _ = listener.accept()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
small.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
process = subprocess.Popen([BIN + "/kvpagerctl", "metrics", "--http", "--timeout=300ms"], env=env, stdin=connection, stdout=connection,
                           stderr=subprocess.PIPE)
connection.close()
ended(process, rc=1, err=b"timed out")
small.close()

# Many at once.
several = [serve() for _ in range(20)]
for client, _ in several:
    client.sendall(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n")
for client, process in several:
    got = b""
    while chunk := client.recv(65536):
        got += chunk
    Text(got.split(b"\r\n\r\n", 1)[1])
    client.close()
    ended(process)

# A daemon that hangs, and one that is gone, are answers.
suspend(daemon.pid)
answer, body = request(options=["--timeout=100ms"])
assert answer.status == 503 and b"did not answer in time" in body and answer.getheader("Content-Type").startswith("text/plain"), body
os.kill(daemon.pid, signal.SIGCONT)
until(lambda: request()[0].status == 200, "it is there again")
worker.quit()
other.quit()
daemon.check()
daemon.stop()
answer, body = request()
assert answer.status == 503 and b"no kvpagerd at" in body, body
