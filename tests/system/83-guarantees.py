# SPDX-License-Identifier: MIT
"""memory.min holds whatever the neighbours do: a greedy one fills the rest of the device, and not a page more."""
from box import Daemon, MIB, until

CONFIG = """
[device d]
capacity = 64M
page-size = 64K
[tenant kept]
match = any
memory.min = 16M
[tenant greedy]
match = any
weight = 10000
[tenant late]
match = any
memory.min = 8M
"""
daemon = Daemon(config=CONFIG)
greedy = [daemon.worker("greedy") for _ in range(2)]
for worker in greedy:
    worker.create(rows=64, tokens=4096)  # 2 KiB a token

# It takes what it can get, in rows that it holds and never gives back.
full = False
while not full:
    for worker in greedy:
        row = worker.acquire(512)
        error, _ = worker.step((row, 512), timeout=500000)
        full |= error != "0"
has = daemon.tenant("greedy")["current_bytes"]
assert 36 * MIB <= has <= 40 * MIB, "all but what is guaranteed to others: %d" % has

# Those who are guaranteed something get it at once, to the last page, and without anybody's help.
for name, mib in (("kept", 16), ("late", 8)):
    worker = daemon.worker(name)
    worker.create(rows=1, tokens=65536)
    row = worker.acquire(mib * 512)
    revokes = daemon.counter("revokes")
    worker.grow(row, mib * 512, timeout=5000000)
    assert daemon.tenant(name)["current_bytes"] == mib * MIB, daemon.tenant(name)
    assert daemon.tenant("greedy")["current_bytes"] <= has
    error, _ = worker.step((row, mib * 512 + 1024), timeout=0)
    assert error != "0", "beyond its guarantee it has to wait like anybody"
    greedy.append(worker)
assert sum(t["current_bytes"] for t in daemon.ctl("tenants")["tenants"]) <= 64 * MIB
daemon.check()
for worker in greedy:
    worker.quit()
until(daemon.empty, "nothing is left")
daemon.stop()
