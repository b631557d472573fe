# SPDX-License-Identifier: MIT
"""Where vm.memfd_noexec = 2 lets nobody make memory that can be executed, as Linux 6.3 to 6.5 do for whoever does not say which he
wants, the daemon starts, serves, and goes on after a restart. A filter stands for such a kernel."""
import sys

from holding import *

# memfd_create() without MFD_NOEXEC_SEAL is EINVAL.
STRICT = """
import ctypes, os, struct, sys
number = {"x86_64": 319, "aarch64": 279}[os.uname().machine]
code = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 24), (0x45, 1, 0, 8), (0x06, 0, 0, 0x50000 | 22), (0x06, 0, 0, 0x7fff0000)]
program = b"".join(struct.pack("=HBBI", *step) for step in code)
buffer = ctypes.create_string_buffer(program, len(program))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 4
header = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(buffer)))
assert libc.prctl(38, 1, None, None, None) == 0 and libc.prctl(22, 2, ctypes.addressof(header), None, None) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
"""
wrap = (sys.executable, "-c", STRICT)
daemon = HeldDaemon(capacity="16M", page_size="64K", extra="virgin-pages = 0\n", wrap=wrap)
worker = daemon.worker()
worker.create(rows=2, tokens=4096)
seq = worker.acquire(1000)
worker.grow(seq, 1000)
daemon.restart(wrap=wrap)
daemon.resumed(1)
worker.grow(seq, 2000)
worker.quit()
daemon.check()
daemon.stop()
daemon.end_holder()
os.environ.pop("KVPAGER_SOCKET", None)
done = subprocess.run([*wrap, BIN + "/kvpager-replay", "--requests", "4", "--no-compute"], stdin=subprocess.DEVNULL, capture_output=True,
                      text=True, timeout=60)
assert done.returncode == 0, done.stderr
