# SPDX-License-Identifier: MIT
"""A worker keeps all that it was ever lent, fds and their duplicates and mappings, opens and maps them anew, and shares them with another
process: once they are given back it can touch none of it, and in nothing that it can read is ever a byte of another tenant's."""
import ctypes
import os
import random
import signal
import socket
import struct

from box import Daemon, until
from raw import *

PAGE = 65536
MARK = 0xB7  # what the other tenant writes, everywhere
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
READ, READ_WRITE, SHARED, PRIVATE, FAILED = 1, 3, 1, 2, ctypes.c_void_p(-1).value

daemon = Daemon(capacity="16M", page_size="64K", tenants=("liar", "other"), extra="virgin-pages = 16\n")
liar = Raw(daemon.socket, tenant=b"liar")
cache = liar.cache(rows=8, row_pages=256)
other = daemon.worker("other")
other.create(rows=16, tokens=2048)  # 2 KiB a token
random.seed(1)


def other_writes():
    """All of the device that it can get, in memory that was made for it."""
    rows = []
    for _ in range(16):
        row = other.acquire(400)
        if other.step((row, 400), timeout=100000)[0] != "0":
            other.ok("release", row)
            break
        other.ok("check", row, 0, 0, 400)
        other.ok("fill", row, MARK, 0, 400)
        rows.append(row)
    assert len(rows) > 8, rows
    return rows


def other_lets_go(rows):
    for row in rows:
        other.ok("trim", row, 0)
    other.ok("settle")
    for row in rows:
        other.ok("release", row)


def map_again(fd, size, how):
    return libc.mmap(None, size, READ if how == PRIVATE else READ_WRITE, how, fd, 0)


class Loot:
    """One extent, and every way to it."""

    def __init__(self, grant):
        self.extent, self.size = grant.extent, PAGE << grant.order
        self.fds = [grant.fd, os.dup(grant.fd), os.open("/proc/self/fd/%d" % grant.fd, os.O_RDWR),
                    os.open("/proc/self/fd/%d" % grant.fd, os.O_RDONLY)]
        self.maps = [map_again(grant.fd, self.size, SHARED), map_again(grant.fd, self.size, PRIVATE)]
        assert FAILED not in self.maps
        assert ctypes.string_at(self.maps[0], self.size) == b"\0" * self.size, "what is granted is fresh"
        ctypes.memset(self.maps[0], 0x11, self.size)

    def drop(self):
        for fd in self.fds:
            os.close(fd)
        for address in self.maps:
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(self.size))


def touches(address, write):
    """Whether a byte there can be read, or written, at the price of a child's life."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        if write:
            ctypes.memset(address, 0x22, 1)
        else:
            ctypes.string_at(address, 1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGBUS, status
    return status == 0


def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return True
    return False


def try_everything(loot):
    """In whichever process it is called. Returns what could be read."""
    found = b""
    for fd in loot.fds:
        assert os.fstat(fd).st_size == 0 and os.fstat(fd).st_blocks == 0
        found += os.pread(fd, loot.size, 0)
        assert refused(os.pwrite, fd, b"x", 0) and refused(os.ftruncate, fd, loot.size)
        assert refused(os.posix_fallocate, fd, 0, loot.size)
        for how in (SHARED, PRIVATE):
            address = map_again(fd, loot.size, how)
            if address != FAILED:
                assert not touches(address, False) and not touches(address + loot.size - 1, False)
                libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(loot.size))
    for address in loot.maps:
        for offset in (0, PAGE - 1, loot.size - 1):
            assert not touches(address + offset, False), "it still reads what it gave back"
        assert address == loot.maps[1] or not touches(address, True)
    return found


def accomplice(end):
    """A process that is no worker at all, to which the fds were sent."""
    while True:
        data, fds, _, _ = socket.recv_fds(end, 64, 8)
        if not data:
            os._exit(0)
        size = struct.unpack("<Q", data)[0]
        loot = Loot.__new__(Loot)
        loot.size, loot.fds = size, fds + fds[:4 - len(fds)]
        loot.maps = [map_again(fds[0], size, SHARED), map_again(fds[0], size, PRIVATE)]
        end.send(b"mapped")
        end.recv(16)  # it has been given back
        end.send(b"nothing" if try_everything(loot) == b"" else b"something")


ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
pid = os.fork()
if pid == 0:
    ours.close()
    try:
        accomplice(theirs)
    finally:
        os._exit(1)
theirs.close()

rows = other_writes()
for turn in range(4):
    other_lets_go(rows)
    # What was the other's is virgin memory again, for whoever comes next.
    grants = []
    for row in range(8):
        grants += liar.grow(cache, row=row, need=random.choice((1, 4, 16, 22)))
    loots = [Loot(grant) for grant in grants]
    for loot in loots[:3]:
        socket.send_fds(ours, [struct.pack("<Q", loot.size)], loot.fds)
        assert ours.recv(16) == b"mapped"
        liar.give_back([loot.extent])
        until(lambda: os.fstat(loot.fds[0]).st_blocks == 0 and os.fstat(loot.fds[0]).st_size == 0, "it is not taken away")
        ours.send(b"now")
        assert ours.recv(16) == b"nothing", "the accomplice reads what was given back"
    liar.give_back([loot.extent for loot in loots[3:]])
    liar.round_trip()
    rows = other_writes()  # into the memory that became free
    until(lambda: all(os.fstat(loot.fds[0]).st_size == 0 for loot in loots), "it is not taken away")
    for loot in loots if turn == 0 else random.sample(loots, 1):
        assert try_everything(loot) == b""
    for loot in loots:
        loot.drop()
    for row in rows:
        other.ok("check", row, MARK, 0, 400)
ours.close()
assert os.waitpid(pid, 0)[1] == 0
liar.close()
other.quit()
until(daemon.empty, "empty")
until(lambda: daemons_fds(daemon)[1] == 0, "all memory is free")
daemon.check()
daemon.stop()
