# SPDX-License-Identifier: MIT
"""A full device, a tenant at memory.max: retryable errors at once, nothing lost, and room again when somebody gives back."""
import time

from box import Daemon, MIB, until

config = """[device host0]
backend = host
capacity = 64M
page-size = 64K
[tenant small]
match = any
memory.max = 16M
[tenant large]
match = any
"""
daemon = Daemon(config)
small, large = daemon.worker("small"), daemon.worker("large")
small.create()
large.create()
s = small.acquire(1000)
small.grow(s, 8000)  # 16,384,000 bytes: 250 of 256 pages
small.ok("fill", s, 1, 0, 8000)
began = time.monotonic()
rc, rows = small.step((s, 9000))
assert rc == "EDQUOT" and rows[0][0] == "EDQUOT" and rows[0][1] >= 8000, (rc, rows)
rc, rows = small.step((s, 60000))
assert rc == "EDQUOT", (rc, rows)  # more than memory.max ever allows
a, b = large.acquire(20000), large.acquire(20000)
large.grow(a, 20000)
large.ok("fill", a, 2, 0, 20000)
rc, rows = large.step((a, 20000), (b, 20000))
assert rc == "ENOMEM" and rows[0][0] == "0" and rows[1][0] == "ENOMEM", (rc, rows)
assert time.monotonic() - began < 4, "an error that can be told at once is told at once"
large.ok("check", a, 2, 0, 20000)
small.ok("check", s, 1, 0, 8000)
assert daemon.tenant("small")["current_bytes"] <= 16 * MIB
daemon.check()

large.ok("release", a)  # idle now, and wanted
large.grow(b, 20000)
large.ok("fill", b, 3, 0, 20000)
small.ok("trim", s, 100)
small.grow(s, 8000)
small.ok("check", s, 1, 0, 100)
rc, rows = large.step((b, 31000))
assert rc == "ENOMEM", (rc, rows)
large.ok("check", b, 3, 0, 20000)
small.ok("release", s)
until(lambda: daemon.tenant("small")["idle_bytes"] > 0, "the daemon has heard of it")
large.grow(b, 29000)  # the other tenant's idle row gives way
large.ok("check", b, 3, 0, 20000)
daemon.check()
small.quit()
large.quit()
until(daemon.empty, "everything came back")
daemon.stop()
