# SPDX-License-Identifier: MIT
"""A worker would run a program that it wrote into what it was granted: the kernel lets nobody open or truncate by its name what
runs. What it gives back is free at once all the same."""
import os
import signal

from box import *
from raw import *

daemon = Daemon(capacity="16M", page_size="64K", tenants="ab", extra="virgin-pages = 0\n")
thief, other = Raw(daemon.socket, tenant=b"a"), Raw(daemon.socket, tenant=b"b")
grant, = thief.grow(thief.cache(), need=64)
with open("/bin/sleep", "rb") as f:
    os.pwrite(grant.fd, f.read(), 0)
try:
    os.fchmod(grant.fd, 0o777)
except PermissionError:
    pass  # so it should be
try:
    child = os.posix_spawn("/proc/self/fd/%d" % grant.fd, ["sleep", "60"], {})
except PermissionError:
    child = None
thief.give_back([grant.extent])
until(lambda: daemon.tenant("a")["current_bytes"] == 0, lambda: "what was given back is not free:\n" + daemon.text())
assert os.fstat(grant.fd).st_blocks == 0
for g in other.grow(other.cache(row_pages=256), need=256):
    os.close(g.fd)
if child:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
daemon.check()
daemon.stop()
