# SPDX-License-Identifier: MIT
"""Workers that keep what they gave back, want to seal it, give back what they never saw, or die with it: the memory is free anyway."""
import fcntl
import mmap
import os
import signal
import struct

from box import Daemon, until
from raw import *

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_EXEC = 1, 2, 4, 8, 32

daemon = Daemon(capacity="16M", page_size="64K", extra="virgin-pages = 0\n")
good = Bystander(daemon.socket)


before = daemons_fds(daemon)

# What a worker gets is sealed against growing and against more seals.
liar = Raw(daemon.socket)
cache = liar.cache()
grant = liar.grow(cache, need=16)[0]
assert os.fstat(grant.fd).st_size == 16 << 16 and grant.order == 4
assert fcntl.fcntl(grant.fd, F_GET_SEALS) & ~F_SEAL_EXEC == F_SEAL_GROW | F_SEAL_SEAL
assert fcntl.fcntl(grant.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC

# It keeps fd and mapping: the memory is gone from under it.
mapping = mmap.mmap(grant.fd, 16 << 16)
mapping[:] = b"x" * (16 << 16)
assert daemons_fds(daemon)[1] >= before[1] + (16 << 16)
liar.give_back([grant.extent])
until(lambda: os.fstat(grant.fd).st_size == 0, "truncated")
until(lambda: os.fstat(grant.fd).st_blocks == 0, "no memory behind it")  # the size goes first
child = os.fork()
if child == 0:
    signal.signal(signal.SIGBUS, signal.SIG_DFL)
    mapping[0:1] = b"y"
    os._exit(0)
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGBUS
try:
    os.ftruncate(grant.fd, 4096)
    raise AssertionError("a returned extent could be grown again")
except PermissionError:
    pass
mapping.close()
os.close(grant.fd)
good.check()

# It cannot seal what it was lent, which would keep the memory its own.
grant = liar.grow(cache)[0]
os.pwrite(grant.fd, b"x" * 65536, 0)
for seal in (F_SEAL_SHRINK, F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_WRITE):
    try:
        fcntl.fcntl(grant.fd, F_ADD_SEALS, seal)
        raise AssertionError("an extent could be sealed")
    except PermissionError:
        pass
liar.give_back([grant.extent])
until(lambda: os.fstat(grant.fd).st_size == 0 and os.fstat(grant.fd).st_blocks == 0, "truncated")
os.close(grant.fd)
liar.close()
until(lambda: daemons_fds(daemon) == before, "nothing is left of it")
good.check()

# It gives an extent back before it could have read the grant, guessing its id from the last one.
for attempt in range(8):
    liar = Raw(daemon.socket)
    cache = liar.cache()
    grant = liar.grow(cache)[0]
    os.close(grant.fd)
    liar.give_back([grant.extent])
    liar.ask(grow_item(cache), timeout_usec=1000000)
    liar.give_back([grant.extent + (generation << 32) for generation in range(4)])
    while True:  # errors, a grant or not: the daemon decides, and lives
        reply = liar.receive()
        if reply is None or (reply[0] == ERROR and reply[1] == 0 and struct.unpack("<I", reply[2][:4])[0] == ERRORS.index("BAD_EXTENT")):
            break
        for fd in reply[3]:
            os.close(fd)
    liar.close()
good.check()

# It is killed in the middle of everything.
for attempt in range(8):
    child = os.fork()
    if child == 0:
        worker = Raw(daemon.socket)
        cache = worker.cache(rows=8, row_pages=16)
        for row in range(8):
            for grant in worker.grow(cache, row=row, need=1 + attempt):
                os.pwrite(grant.fd, b"z", 0)
        worker.ask(*[grow_item(cache, row, first=8, need=8) for row in range(8)], timeout_usec=1000000)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    good.check()
until(lambda: daemons_fds(daemon) == before, lambda: "fds and memory: %s, were %s" % (daemons_fds(daemon), before))
assert os.pread(good.kept.fd, 4, 0) == b"mine"
good.close()
until(daemon.empty, "empty")
until(lambda: daemons_fds(daemon)[1] == 0, "all memory is free")
daemon.check()
daemon.stop()
