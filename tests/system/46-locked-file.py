# SPDX-License-Identifier: MIT
"""A worker gives back an extent whose file it keeps locked: it writes to it from memory that does not come (userfaultfd), and the kernel
lets nobody truncate the file meanwhile. It is charged for that extent and stops nobody else; the daemon can be
stopped and killed, and another one starts."""
import ctypes
import fcntl
import mmap
import platform
import re
import struct
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
USERFAULTFD = {"x86_64": 323, "aarch64": 282}[platform.machine()]
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04


def write(fd):
    """Of the process that writes: says so once it is at it, and comes to its end when it is told to."""
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    faults = LIBC.syscall(USERFAULTFD, os.O_CLOEXEC)
    assert faults >= 0, os.strerror(ctypes.get_errno())
    fcntl.ioctl(faults, UFFDIO_API, struct.pack("<QQQ", 0xAA, 0, 0))
    fcntl.ioctl(faults, UFFDIO_REGISTER, struct.pack("<QQQQ", at, 4096, 1, 0))
    writer = threading.Thread(target=lambda: LIBC.pwrite(fd, ctypes.c_void_p(at), ctypes.c_size_t(4096), ctypes.c_long(0)))
    writer.start()
    os.read(faults, 32)
    print("writes", flush=True)
    sys.stdin.readline()
    fcntl.ioctl(faults, UFFDIO_ZEROPAGE, struct.pack("<QQQq", at, 4096, 0, 0))
    writer.join()


class Lock:
    def __init__(self, fd):
        self.process = subprocess.Popen([sys.executable, __file__, "write", str(fd)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        pass_fds=[fd], text=True)
        atexit.register(self.process.kill)
        assert self.process.stdout.readline() == "writes\n"

    def release(self):
        self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0


def threads(pid):
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
                yield int(task), f.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            pass


def is_stuck(pid):
    return "D" in (state for _, state in threads(pid))


def has_ended(process):
    """All of it, or all but threads that sleep."""
    return process.poll() is not None or dict(threads(process.pid)).get(process.pid) == "Z"


def lock_and_return(daemon, dies=False):
    """The worker, and the lock that it has on what it gave back."""
    bad = Raw(daemon.socket, tenant=b"bad")
    grant = bad.grow(bad.cache())[0]
    lock = Lock(grant.fd)
    os.close(grant.fd)
    if dies:
        bad.close()
    else:
        bad.give_back([grant.extent])
    until(lambda: is_stuck(daemon.pid), "nothing of the daemon sleeps in the kernel")
    return bad, lock


def others_get_memory(daemon):
    """All of their guarantee, and what they give back comes free."""
    good = Raw(daemon.socket, tenant=b"good", timeout=20.0)
    cache = good.cache(row_pages=128)
    for _ in range(3):
        grants = good.grow(cache, need=128)
        for grant in grants:
            os.close(grant.fd)
        assert daemon.tenant("good")["current_bytes"] == 8 * MIB
        good.give_back([grant.extent for grant in grants])
        until(lambda: daemon.tenant("good")["current_bytes"] == 0, "what was given back does not come free")
    daemon.check()
    return good


def comes_back(daemon):
    until(lambda: daemon.tenant("bad")["current_bytes"] == 0, "what was locked does not come free")
    until(lambda: not is_stuck(daemon.pid), "a thread still sleeps")
    daemon.check()


def told(daemon):
    """What is known of the workers of which the log tells."""
    return re.findall(r"worker \d+ \((.*)\) of tenant bad, which is charged for it, cannot be destroyed", daemon.text())


def stops_nobody():
    daemon = Daemon(config=CONFIG)
    for dies in (False, True):
        bad, lock = lock_and_return(daemon, dies)
        good = others_get_memory(daemon)
        assert daemon.tenant("bad")["current_bytes"] == PAGE, "it is charged for what cannot be taken away"
        until(lambda: told(daemon) == ["process %d" % os.getpid(), "gone"][:1 + dies],
              lambda: "nobody is told, or otherwise: " + daemon.text())
        others_get_memory(daemon).close()
        lock.release()
        comes_back(daemon)
        good.close()
        bad.close()
    until(daemon.empty, "somebody is charged for what nobody has")
    daemon.stop()


def another_one_starts(make):
    """Where the kernel does not even let a thread be killed that waits for a file (older ones) the process is there until the lock
    is not, but it has let go of all that another one needs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon = make(config=CONFIG)
        bad, lock = lock_and_return(daemon)
        good = others_get_memory(daemon)
        old = daemon.process
        old.send_signal(number)
        until(lambda: has_ended(old), "it goes on", 20)
        while good.receive():
            pass
        daemon.start()
        others_get_memory(daemon).close()
        lock.release()
        assert old.wait(20) == (0 if number == signal.SIGTERM else -number), old.returncode
        good.close()
        bad.close()
        if make is HeldDaemon:
            until(lambda: not is_stuck(daemon.pid), "a thread still sleeps")
            daemon.check()
        daemon.stop()


def virgin_ones_are_nobodys():
    """Those that another daemon made are in no way of what cannot be taken away from somebody."""
    daemon = HeldDaemon(config=CONFIG.replace("virgin-pages = 0", "virgin-pages = 256"))
    bad, lock = lock_and_return(daemon)
    daemon.process.kill()
    until(lambda: has_ended(daemon.process), "it goes on", 20)
    daemon.start()
    until(lambda: is_stuck(daemon.pid), "nothing of the daemon sleeps in the kernel")
    others_get_memory(daemon).close()  # in larger extents than there are
    lock.release()
    bad.close()
    until(daemon.empty, "somebody is charged for what nobody has")
    daemon.stop()


if __name__ == "__main__":
    import os
    if sys.argv[1:2] == ["write"]:
        write(int(sys.argv[2]))
        sys.exit()

    from holding import *
    from raw import *

    PAGE = 65536
    CONFIG = "[device d]\ncapacity = 16M\npage-size = 64K\nvirgin-pages = 0\n" \
             "[tenant bad]\nmatch = any\nmemory.max = 1M\n[tenant good]\nmatch = any\nmemory.min = 8M\n"
    stops_nobody()
    another_one_starts(Daemon)
    another_one_starts(HeldDaemon)
    virgin_ones_are_nobodys()
