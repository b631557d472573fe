# SPDX-License-Identifier: MIT
"""Two tenants' workers grow rows; nobody sees another's bytes; what one gives back is not what the other gets."""
from box import Daemon, MIB, shmem_kib, until

before = shmem_kib()
daemon = Daemon(capacity="256M", page_size="64K", tenants=("chat", "code"))
chat, code = daemon.worker("chat"), daemon.worker("code")
assert (chat.greeting, code.greeting) == ("connected chat", "connected code")
for worker, byte in ((chat, 17), (code, 34)):
    worker.create()
    seq = worker.acquire(20000)
    worker.grow(seq, 20000)  # 2 KiB a token: 40 MB
    worker.ok("check", seq, 0, 0, 20000)  # fresh pages are zero
    worker.ok("fill", seq, byte, 0, 20000)
    worker.seq = seq
chat.ok("check", chat.seq, 17, 0, 20000)
code.ok("check", code.seq, 34, 0, 20000)
chat.ok("settle")
code.ok("settle")

def told_apart():
    live = {t["name"]: t["live_bytes"] for t in daemon.ctl("tenants")["tenants"]}
    return live == {"chat": chat.stats()["live_bytes"], "code": code.stats()["live_bytes"]}

until(told_apart, lambda: "live bytes of the daemon are the workers' own: %s" % daemon.ctl("tenants"))
device = daemon.ctl("devices")["devices"][0]
current = sum(t["current_bytes"] for t in daemon.ctl("tenants")["tenants"])
assert device["allocated_bytes"] == current + device["virgin_bytes"] <= device["capacity_bytes"], device

# chat's row goes idle, then away; code grows over it and finds zeroes only.
chat.ok("release", chat.seq)
until(lambda: daemon.tenant("chat")["idle_bytes"] > 39 * MIB and daemon.tenant("chat")["live_bytes"] == 0, "chat is idle")
big = code.acquire(60000)
for tokens in range(20000, 60001, 8000):
    code.grow(big, tokens)  # together more than the device has beside chat's idle row
code.ok("check", big, 0, 0, 60000)
code.ok("check", code.seq, 34, 0, 20000)
daemon.check()
chat.quit()
code.quit()
until(daemon.empty, "everything came back")
assert daemon.counter("extents_granted") == daemon.counter("extents_returned")
daemon.stop()
assert shmem_kib() - before < 4096, "the kernel still holds %d KiB" % (shmem_kib() - before)
