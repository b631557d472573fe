# SPDX-License-Identifier: MIT
"""The real programs under valgrind: the daemon, the library in workers, and kvpagerctl touch nothing they should not,
read nothing unset, and lose nothing. (The unit tests run under it in `make check-long`.)"""
import os
import subprocess

from box import BIN, Daemon, until

VALGRIND = ("valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect",
            "--trace-children=yes")

# Two workers share less than they want, so that grants, revokes, refusals for want of memory and returns all happen.
daemon = Daemon(capacity="32M", page_size="64K", wrap=VALGRIND)
one, two = daemon.worker(wrap=VALGRIND), daemon.worker(wrap=VALGRIND)
for worker in (one, two):
    worker.create(rows=4, tokens=8192)
    worker.seq = worker.acquire(4000)
    worker.grow(worker.seq, 4000)
    worker.ok("fill", worker.seq, 17, 0, 64)
    worker.ok("check", worker.seq, 17, 0, 64)
one.ok("release", one.seq)
big = two.acquire(8192)
two.grow(big, 8192)
two.ok("trim", big, 100)
one.ok("settle")
for command in ("status", "devices", "tenants", "workers", "caches", "check"):
    done = subprocess.run([*VALGRIND, BIN + "/kvpagerctl", command, "--json"], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, KVPAGER_SOCKET=daemon.socket))
    assert done.returncode == 0, "kvpagerctl %s: %s%s" % (command, done.stdout, done.stderr)
two.process.kill()  # one leaves as it should, the other does not
assert two.process.wait(20) is not None
one.quit()
assert one.process.wait(20) == 0, "a worker ended with %s" % one.process.returncode
until(daemon.empty, "everything is back")
daemon.stop()
