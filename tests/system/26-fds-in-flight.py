# SPDX-License-Identifier: MIT
"""Another process of the daemon's user holds so many fds in flight that nothing more may be sent: grants wait until it is gone.

Root may send as many as it likes, so the daemon and that process run as nobody where the test runs as root."""
import fcntl
import os
import select
import socket
import struct

from box import Daemon, until
from raw import *

LIMIT = 400  # open files of the daemon, and so fds of its user in flight
HOG = 900


def become_nobody():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


class Hog:
    """Sends fds to a socket that nobody reads, until it is ended."""

    def __init__(self):
        reading, writing = os.pipe()
        self.stop, stop = os.pipe()[::-1]
        self.pid = os.fork()
        if self.pid == 0:
            become_nobody()
            pairs = []
            for _ in range(HOG // 100):
                pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                socket.send_fds(pair[0], [b"x"], [0] * 100)
                pairs.append(pair)
            os.write(writing, b"x")
            os.close(self.stop)
            os.read(stop, 1)
            os._exit(0)
        os.close(writing)
        os.close(stop)
        assert os.read(reading, 1) == b"x", "the hog could not get its fds into flight"
        os.close(reading)

    def end(self):
        os.close(self.stop)
        assert os.waitpid(self.pid, 0)[1] == 0


os.chmod(os.environ["TMPDIR"], 0o755)
os.umask(0)  # nobody writes to our notify socket
config = ("[device d]\ncapacity = 4M\npage-size = 64K\nvirgin-pages = 8\n[tenant t]\nmatch = any\n"
          "[daemon]\nmax-workers = 16\nslow-reader-deadline = %s\n")
wrap = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
wrap += ["prlimit", "--nofile=%d" % LIMIT]


class NobodysDaemon(Daemon):
    def start(self, program=None, wrap=()):
        os.chmod(self.folder, 0o777)
        super().start(program, wrap)


for deadline, patient in (("5s", True), ("300ms", False)):
    daemon = NobodysDaemon(config=config % deadline, wrap=wrap)
    early, other = Raw(daemon.socket), Raw(daemon.socket)
    cache = early.cache()
    grant = early.grow(cache)[0]
    os.close(grant.fd)

    hog = Hog()
    request = early.ask(grow_item(cache, row=1), timeout_usec=5000000)
    # Also for longer than it takes to drop a worker that does not acknowledge: it cannot, for it was sent nothing.
    early.socket.settimeout(5.5 if patient else 0.3)
    try:
        reply = early.receive()
        raise AssertionError("sent although too many are in flight: %s" % (reply,))
    except TimeoutError:
        pass
    early.socket.settimeout(10)
    other.round_trip()  # what needs no fd goes to others as ever
    if patient:
        hog.end()
        grants = early.take_grants(early.receive())
        assert grants[0].request == request and os.fstat(grants[0].fd).st_size == 65536
        os.close(grants[0].fd)
        early.round_trip()
    else:
        early.expect_end()  # it was not to blame, but every wait has an end
        hog.end()
        late = Raw(daemon.socket)
        late.round_trip()
        late.close()
    early.close()
    other.close()
    daemon.check()
    daemon.stop()

# ---- Who ends without having read his grants has them in flight for as long as he likes; by and by he is not welcome ----
MOST = LIMIT // 4  # of a user


def unread(raw):
    return int.from_bytes(fcntl.ioctl(raw.socket, 0x541b, b"\0" * 4), "little")  # FIONREAD


def end_unread(daemon, n):
    """A worker that is sent n grants, reads none, and is dropped; or the text with which it is refused."""
    raw = Raw(daemon.socket, greet=None)
    opcode, _, body, fds = raw.call(HELLO, hello())
    if opcode == ERROR:
        return raw.error_of(opcode, body)
    raw.events = socket.socket(fileno=fds[0])
    cache = raw.cache(rows=4, row_pages=256)
    raw.ask(*[grow_item(cache, first=2 * i) for i in range(n)], timeout_usec=5000000)
    until(lambda: unread(raw) >= 24 * n, "its grants")
    raw.send_bytes(b"junk")
    poll = select.poll()
    poll.register(raw.socket, 0)
    until(lambda: any(event & select.POLLHUP for _, event in poll.poll(100)), "its end")
    return raw


daemon = NobodysDaemon(config=config % "5s", wrap=wrap)
worker, admin = Raw(daemon.socket), Raw(daemon.socket, greet=ADMIN)
cache = worker.cache()
for close in (True, False):
    ended = [end_unread(daemon, 30) for _ in range(MOST // 30 + 1)]
    assert all(isinstance(raw, Raw) for raw in ended), ended
    refused = end_unread(daemon, 30)
    assert isinstance(refused, str) and refused.startswith("TOO_MANY_WORKERS: "), refused
    assert "uid %d that ended have not read %d descriptors" % (os.getuid(), MOST) in refused, refused
    admin.round_trip()  # who is there is served on
    os.close(worker.grow(cache, row=close)[0].fd)
    for raw in ended[:2]:
        while not close:
            reply = raw.receive()
            for fd in reply[3] if reply else ():
                os.close(fd)
            if not reply:
                break
        if close:
            raw.close()
    late = Raw(daemon.socket)
    late.round_trip()
    for raw in ended + [late]:
        raw.close()
daemon.check()
daemon.stop()
