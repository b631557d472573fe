# SPDX-License-Identifier: MIT
"""kill -9 of a worker: its memory is free again, its neighbour undisturbed. kill -9 of the daemon: an error
code, and what is mapped stays."""
import os
import signal

from box import Daemon, MIB, until

daemon = Daemon(capacity="128M", page_size="64K")
fds = daemon.fds()
victim, other = daemon.worker(), daemon.worker()
for worker in (victim, other):
    worker.create()
    worker.seq = worker.acquire(16000)
    worker.grow(worker.seq, 16000)
    worker.ok("fill", worker.seq, 9, 0, 16000)
for signal_number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
    victim.kill(signal_number)
    until(lambda: daemon.tenant()["workers"] == 1, "the daemon knows of the death")
    until(lambda: daemon.tenant()["current_bytes"] < 34 * MIB, "the dead worker's memory came back")
    victim = daemon.worker()
    victim.create()
    victim.seq = victim.acquire(16000)
    victim.grow(victim.seq, 16000)
    victim.ok("check", victim.seq, 0, 0, 16000)
    victim.ok("fill", victim.seq, 7, 0, 16000)
    other.ok("check", other.seq, 9, 0, 16000)
daemon.check()

os.kill(daemon.pid, signal.SIGKILL)
daemon.process.wait(10)
for worker, byte in ((victim, 7), (other, 9)):
    worker.ok("check", worker.seq, byte, 0, 16000)  # computes on
    rc, rows = worker.step((worker.seq, 16000))
    assert rc == "0", (rc, rows)  # needs nothing
    rc, rows = worker.step((worker.seq, 60000))
    assert rc == "ENOTCONN" and rows[0][1] >= 16000, (rc, rows)
    worker.ok("check", worker.seq, byte, 0, 16000)
    worker.ok("release", worker.seq)
    worker.ok("destroy")
    assert worker.tell("create", 1, 1024, 2, 1, 1, 64, 16) == "error ENOTCONN"
    worker.quit()

daemon.start()  # over the socket that was left behind
worker = daemon.worker()
worker.quit()
until(lambda: daemon.fds() <= fds + 300, "fds")  # virgin extents aside, nothing stays open
daemon.stop()
