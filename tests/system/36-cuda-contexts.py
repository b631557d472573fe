# SPDX-License-Identifier: MIT
"""The library in a process that has CUDA contexts of its own, several of them and several threads; a kernel that still runs when memory
is to be unmapped; a context that goes; a fork. By ctypes, as tests/gpu does it on a GPU."""
import ctypes
import errno
import os
import subprocess
import sys
import threading

from box import Daemon, MIB, until
from standin import FOLDER, setup

LIB = os.environ["KVP_LIB"] + "/libkvpager.so.0"
if "KVP_INSIDE" not in os.environ:  # the loader reads its environment when a program starts
    setup(memory=512 * MIB, KVP_STANDIN_DEVICES="2", KVP_INSIDE="1")
    # An interpreter that was built without sanitizers; and leaks much by itself.
    needed = ["libasan.so", "libubsan.so"] if "asan" in LIB else ["libtsan.so"] if "tsan" in LIB else []
    paths = [subprocess.run(["gcc", "-print-file-name=" + name], capture_output=True, text=True, check=True).stdout.strip()
             for name in needed]
    env = dict(os.environ, LD_PRELOAD=":".join(paths), ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")
    sys.exit(subprocess.run([sys.executable, __file__], env=env).returncode)

os.environ["LD_PRELOAD"] = ""
sys.path.insert(0, os.path.join(os.environ["KVP_TOP"], "tests/gpu"))
from kvpager import K, V, Cache, Connection, Error, Library, TOKEN_MAJOR_FUSED  # noqa: E402

cu = ctypes.CDLL(FOLDER + "/libcuda.so.1")
TOKENS = 6000


def call(name, *arguments):
    r = getattr(cu, name)(*arguments)
    assert r == 0, (name, r)


def context(device):
    """A new one, current in this thread."""
    made = ctypes.c_void_p()
    call("cuCtxCreate_v2", ctypes.byref(made), 0, device)
    return made


def current():
    found = ctypes.c_void_p()
    call("cuCtxGetCurrent", ctypes.byref(found))
    return found.value


def pop():
    call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


def cache_on(conn, device=0, rows=4):
    return Cache(conn, layers=4, kv_heads=2, head_dim=64, max_seqs=rows, max_tokens=65536, layout=TOKEN_MAJOR_FUSED, device=device)


def span(cache, row):
    """Address and bytes of a row up to TOKENS."""
    t = cache.where(0, K)
    return t.data + row * t.stride[0] * 2, TOKENS * t.stride[1] * 2


def mapped():
    """Bytes of GPUs' memory that this process has mapped."""
    with open("/proc/self/maps") as f:
        ends = [[int(x, 16) for x in line.split()[0].split("-")] for line in f if "kvpager-standin" in line]
    return sum(end - start for start, end in ends)


def live(cache, byte, times=2):
    for _ in range(times):
        row = cache.acquire(TOKENS)
        assert cache.step({row: TOKENS})[row] >= TOKENS
        at, size = span(cache, row)
        ctypes.memset(at, byte, size)
        assert ctypes.string_at(at, size) == bytes([byte]) * size
        cache.trim(row, 0)
        cache.settle()
        cache.release(row)


daemon = Daemon("[device a]\nbackend = cuda\nuuid = 0\ncapacity = 384M\n[device b]\nbackend = cuda\nuuid = 1\ncapacity = 384M\n")
lib = Library(LIB)
conn = Connection(lib, daemon.socket)
call("cuInit", 0)

# No context: the primary one is taken, and none is left behind.
assert current() is None
cache = cache_on(conn)
live(cache, 1)
assert current() is None
cache.destroy()

# Whatever the daemon calls a device, a tensor is on the one that has that number here.
for first in (0, 1):
    os.environ["KVP_STANDIN_FIRST"] = str(first)
    for device in (0, 1):
        cache = cache_on(conn, device)
        assert cache.where(0, K).device == device ^ first, (device, first)
        assert cache.tensor(0, V).__dlpack_device__() == (2, device ^ first)
        live(cache, 6)
        cache.destroy()
del os.environ["KVP_STANDIN_FIRST"]

# One of the caller's: it stays current, and on top.
mine = context(0)
cache = cache_on(conn)
live(cache, 2)
assert current() == mine.value
# Of another device it is of no use; with none the primary one of that device is.
try:
    cache_on(conn, device=1)
    raise AssertionError("a cache of device b in a context of device a")
except Error as e:
    assert e.errno == errno.EXDEV, e
pop()
other = cache_on(conn, device=1)
live(other, 3)
assert current() is None

# Several threads, each with its own current context or none, on caches of two contexts of two devices.
second = context(0)
third = cache_on(conn)
pop()
errors = []


def thread(which, own):
    try:
        if own is not None:
            call("cuCtxPushCurrent_v2", own)
        live(which, 4 + id(which) % 100, times=3)
        assert current() == (own.value if own is not None else None)
    except BaseException as e:  # said by the thread that waits
        errors.append(repr(e))


threads = [threading.Thread(target=thread, args=pair) for pair in ((cache, None), (cache, second), (other, mine), (other, None),
                                                                   (third, second), (third, mine))]
for t in threads:
    t.start()
for t in threads:
    t.join(60)
assert not errors and not any(t.is_alive() for t in threads), errors


class Part(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("data", "row_stride", "token_stride", "head_stride")] + [("dim", ctypes.c_uint64)]


class Contents(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("parts", "shadow", "report", "first", "to", "most", "keep", "base")] + [
        (n, ctypes.c_uint32) for n in ("n_parts", "heads", "head_bytes", "element_bytes", "row", "request", "worker", "first_part")]


def launch(which, row):
    """A kernel that writes all of the row, and is still at it when this returns."""
    t = which.where(0, K)
    part = Part(t.data, t.stride[0] * 2, t.stride[1] * 2, t.stride[2] * 2, 64)
    report = (ctypes.c_uint64 * 8)()
    keep.append((part, report))
    contents = Contents(ctypes.addressof(part), 0, ctypes.addressof(report), 0, TOKENS, TOKENS, 0, 0x3000300030003000, 1, 2, 128, 2, row,
                        1, 1, 0)
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    call("cuModuleLoadData", ctypes.byref(module), b"kvpager: built without kernels")
    call("cuModuleGetFunction", ctypes.byref(function), module, b"kvp_fill")
    blocks = min(2048, (TOKENS * 2 * 16 + 127) // 128)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(contents))
    call("cuLaunchKernel", function, blocks, 1, 1, 128, 1, 1, 0, None, parameters, None)


# A kernel still runs when its memory is given back: the context is synchronised first.
keep = []
call("cuCtxPushCurrent_v2", mine)
row = cache.acquire(TOKENS)
cache.step({row: TOKENS})
launch(cache, row)
assert keep[0][1][0] == 0
cache.trim(row, 0)
cache.settle()
cache.release(row)
assert cu.cuCtxSynchronize() == 0, "memory was unmapped under a kernel"

# While a stream is captured into a graph, in the mode that prohibits most, caches of its context and of others go on: the capture is
# not spoilt, with a fence of the engine's own, and what would need to wait stays mapped until after it.
stream, graph = ctypes.c_void_p(), ctypes.c_void_p()
call("cuStreamCreate", ctypes.byref(stream), 1)
FENCE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
busy = FENCE(lambda *_: -errno.EBUSY)
set_fence = cache.lib.so.kvp_cache_set_fence
set_fence.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
assert set_fence(cache.handle, ctypes.cast(busy, ctypes.c_void_p), None) == 0
call("cuStreamBeginCapture_v2", stream, 0)
live(other, 5)
row = cache.acquire(TOKENS)
cache.step({row: TOKENS})
cache.settle()
had = mapped()
cache.trim(row, 0)
cache.settle()
assert mapped() == had, "memory was unmapped that the graph may use"
assert cu.cuStreamEndCapture(stream, ctypes.byref(graph)) == 0, "a capture was spoilt"
# The fence that waits for all of the context spoils it, and then too nothing is unmapped.
assert set_fence(cache.handle, None, None) == 0
call("cuStreamBeginCapture_v2", stream, 0)
cache.trim(row, 0)
cache.settle()
assert mapped() == had, "memory was unmapped that the graph may use"
assert cu.cuStreamEndCapture(stream, ctypes.byref(graph)) == 901
cache.trim(row, 0)
cache.settle()
assert mapped() < had
cache.release(row)
# Whose thread is not exempt spoils it: the check above can fail.
call("cuStreamBeginCapture_v2", stream, 0)
spoils = threading.Thread(target=lambda: (cu.cuCtxPushCurrent_v2(mine), cu.cuCtxSynchronize()))
spoils.start()
spoils.join(60)
assert cu.cuStreamEndCapture(stream, ctypes.byref(graph)) == 901

# A context that goes takes its cache along, and nothing else.
doomed = context(0)
lost = cache_on(conn)
row = lost.acquire(TOKENS)
lost.step({row: TOKENS})
call("cuCtxDestroy_v2", doomed)
try:
    lost.step({row: 60000}, timeout=300000)
    raise AssertionError("memory was mapped in a context that is gone")
except Error as e:
    assert e.errno in (errno.ENOMEM, errno.ENODEV, errno.ETIMEDOUT), e
caches, had = len(daemon.ctl("caches")["caches"]), mapped()
lost.trim(row, 0)
lost.settle()
assert mapped() == daemon.tenant()["current_bytes"] < had, "what a lost context had came back"
lost.destroy()
assert len(daemon.ctl("caches")["caches"]) == caches - 1, "nothing stands in the way of its end"
live(third, 9)

# A child has neither the connection nor the driver.
child = os.fork()
if child == 0:
    try:
        cache.step({0: 1})
    except Error as e:
        os._exit(0 if e.errno == errno.ECHILD else 2)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0

# An engine's own fence that does not wait: the same kernel meets memory that is gone, so the check above can fail.
FENCE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
careless = FENCE(lambda *_: 0)
lib.so.kvp_cache_set_fence(cache.handle, careless, None)
row = cache.acquire(TOKENS)
cache.step({row: TOKENS})
launch(cache, row)
cache.trim(row, 0)
cache.settle()
assert cu.cuCtxSynchronize() == 700, "a kernel wrote to memory that was unmapped, and nothing was said"

# From then on nothing computes in that context, nor ever will: what others of its caches had comes back.
row = other.acquire(TOKENS)
other.step({row: TOKENS})
other.settle()
had = mapped()
other.trim(row, 0)
other.settle()
assert mapped() == daemon.tenant()["current_bytes"] < had, "what a failed context had came back"

daemon.check()
conn.close()
until(daemon.empty, "everything came back")
daemon.stop()
os._exit(0)  # the interpreter's end would unload what the stand-in's faults left
