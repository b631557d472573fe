# SPDX-License-Identifier: MIT
"""A worker is killed, and a child that it forked keeps its socket: its memory is free all the same. A worker hangs where its tenant
says kill: it is killed after its deadline, the journal says so, and who waited for its memory gets it."""
import os
import signal
import socket
import time

from box import Daemon, MIB, suspend, until
from raw import Raw, daemons_fds

CONFIG = """
[device d]
capacity = 16M
page-size = 64K
virgin-pages = 0
[tenant forks]
match = any
[tenant hangs]
match = any
weight = 1
on-overdue = kill
reclaim-deadline = 300ms
[tenant waits]
match = any
weight = 10
"""
daemon = Daemon(config=CONFIG)
bystander = daemon.worker("waits")
bystander.create(rows=16, tokens=4096)  # 2 KiB a token
kept = bystander.acquire(512)
bystander.grow(kept, 512)
bystander.ok("fill", kept, 9, 0, 512)
before = daemons_fds(daemon)

# The connection outlives the worker, in a process that never said HELLO.
ours, theirs = socket.socketpair()
parent = os.fork()
if parent == 0:
    worker = Raw(daemon.socket, tenant=b"forks")
    for grant in worker.grow(worker.cache(row_pages=256), need=32):
        os.pwrite(grant.fd, b"x" * (65536 << grant.order), 0)
    child = os.fork()
    if child == 0:
        ours.close()
        theirs.recv(1)  # until the test ends, however that is; the socket and the fds stay open
        os._exit(0)
    worker.round_trip()  # all of it is acknowledged
    theirs.send(b"%d" % child)
    signal.pause()
theirs.close()
child = int(ours.recv(16))
assert daemon.tenant("forks")["current_bytes"] >= 2 * MIB
os.kill(parent, signal.SIGKILL)
assert os.WTERMSIG(os.waitpid(parent, 0)[1]) == signal.SIGKILL
began = time.monotonic()
until(lambda: daemon.tenant("forks")["workers"] == 0, "the worker is dead, whoever has its socket")
until(lambda: daemon.tenant("forks")["current_bytes"] == 0, "its memory is free")
until(lambda: daemons_fds(daemon) == before, lambda: "fds and memory: %s, were %s" % (daemons_fds(daemon), before))
print("a worker whose socket lives on: free after %.1f ms" % (1000 * (time.monotonic() - began)))
os.kill(child, 0)  # it still has the socket
bystander.ok("check", kept, 9, 0, 512)
ours.close()

# It has more than its share, is asked for some, and does not move.
hung = daemon.worker("hangs")
hung.create(rows=16, tokens=4096)
rows = [hung.acquire(1024) for _ in range(7)]
for row in rows:
    hung.grow(row, 1024)
hung.ok("release", rows.pop())
hung.ok("settle")
assert daemon.tenant("hangs")["current_bytes"] >= 14 * MIB
suspend(hung.pid)
began = time.monotonic()
more = bystander.acquire(4096)
answer = bystander.step((more, 3000), timeout=10000000)
assert answer[0] == "0", "who waits gets the memory of one who hangs, without asking again: %s" % answer
took = time.monotonic() - began
bystander.ok("fill", more, 9, 0, 3000)
assert hung.process.wait(20) == -signal.SIGKILL, hung.process.returncode
assert took >= 0.25, "before its deadline it is given time: %.3f s" % took
until(lambda: daemon.tenant("hangs")["current_bytes"] == 0, "its memory is free")
line = next((l for l in daemon.text().splitlines() if "pid %d" % hung.pid in l and "kill" in l), None)
assert line and "hangs" in line, daemon.text()
print("%s (who waited got it after %.0f ms)" % (line, 1000 * took))
bystander.ok("check", kept, 9, 0, 512)
bystander.ok("check", more, 9, 0, 3000)
daemon.check()
bystander.quit()
until(daemon.empty, "everything came back")
daemon.stop()
