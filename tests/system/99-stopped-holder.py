# SPDX-License-Identifier: MIT
"""The holder is stopped while the daemon has much to give it: it is given up once, and looked for again in a way that keeps nobody waiting.
Nor does a daemon start without it then, and lose what it holds."""
from holding import *
from raw import *

EXTENTS = 3000  # more than a socket takes
daemon = HeldDaemon(capacity="1G", page_size="64K", extra="virgin-pages = 0\n")
raw = Raw(daemon.socket)
cache = raw.cache(row_pages=16384)
for first in range(EXTENTS):
    os.close(raw.grow(cache, first=first, need=1)[0].fd)


def step():
    began = time.monotonic()
    grant = raw.grow(cache, first=2 * EXTENTS, need=1)[0]
    os.close(grant.fd)
    raw.give_back([grant.extent])
    raw.round_trip()
    return time.monotonic() - began


suspend(daemon.holder.pid)
until(lambda: step() and "is given up" in daemon.text(), "nobody notices", 60)
given_up = daemon.text().count("would lose")
seconds = 20 if os.environ.get("KVP_LONG") else 4
end, slow = time.monotonic() + seconds, 0
while time.monotonic() < end:
    slow += step() > 0.19  # it would sleep for 200 ms
assert slow <= 1, "%d steps of %d s waited for the holder" % (slow, seconds)
assert daemon.text().count("would lose") == given_up, daemon.text()
os.kill(daemon.holder.pid, signal.SIGCONT)
until(lambda: "another holder has all" in daemon.text(), "it is not found again")
assert len(memfds(daemon.holder.pid, "kvpager")) >= EXTENTS
# While it takes no connections, nobody starts without it.
suspend(daemon.holder.pid)
waiting = []
try:
    while True:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(0)
        s.connect(daemon.folder + "/holder.sock")
        waiting.append(s)
except BlockingIOError:
    pass
daemon.kill()
started = subprocess.run([BIN + "/kvpagerd", "--config", daemon.config], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket),
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
assert started.returncode == 1 and "does not take connections" in started.stderr, (started.returncode, started.stderr)
for s in waiting:
    s.close()
os.kill(daemon.holder.pid, signal.SIGCONT)
daemon.start()
assert "goes on: 1 workers" in daemon.text(), daemon.text()
daemon.stop()
daemon.end_holder()
