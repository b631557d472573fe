# SPDX-License-Identifier: MIT
"""The whole CUDA path on a stand-in for the driver: two tenants grow, are revoked, share a full GPU; and what is wrong is said."""
import os
import struct
import subprocess

from box import BIN, Daemon, MIB, TESTS, temporary_folder, until

STANDIN = TESTS + "/standin"
state = os.path.join(temporary_folder(), "state")
os.environ.update(KVP_STANDIN_STATE=state, KVP_STANDIN_MEMORY=str(512 * MIB))
os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [STANDIN, os.environ.get("LD_LIBRARY_PATH")]))

with open(os.path.join(os.environ["KVP_TOP"], "client/proto/cuda.h")) as f:
    SYMBOLS = [line.split(",")[1].strip() for line in f if line.strip().startswith("X(") and "cu" in line]


def calls(symbol=None):
    with open(state, "rb") as f:
        counts = struct.unpack("<%dQ" % len(SYMBOLS), f.read(8 * len(SYMBOLS)))
    return dict(zip(SYMBOLS, counts)) if symbol is None else dict(zip(SYMBOLS, counts))[symbol]


CONFIG = "[device gpu]\nbackend = cuda\ncapacity = %s\n%s[tenant chat]\nmatch = any\n[tenant code]\nmatch = any\n"
daemon = Daemon(CONFIG % ("256M", ""))
device = daemon.ctl("devices")["devices"][0]
assert (device["backend"], device["page_size"], device["capacity_bytes"]) == ("cuda", 2 * MIB, 256 * MIB), device
assert device["uuid"].startswith("GPU-105a5a5a-"), device

chat, code = daemon.worker("chat"), daemon.worker("code")
for worker, byte in ((chat, 17), (code, 34)):
    worker.create(tokens=200000)
    worker.seq = worker.acquire(40000)
    worker.grow(worker.seq, 40000)  # 2 KiB a token: 80 MB
    worker.ok("check", worker.seq, 0, 0, 40000)
    worker.ok("fill", worker.seq, byte, 0, 40000)
for worker, byte in ((chat, 17), (code, 34)):
    worker.ok("check", worker.seq, byte, 0, 40000)
    worker.ok("settle")

# A growth of 64 pages that are there: a map an extent, one set-access, and nobody waits for a create.
chat.ok("release", chat.seq)
until(lambda: daemon.tenant("chat")["idle_bytes"] > 70 * MIB, "chat is idle")
before = calls()
seq = code.acquire(65536)
code.grow(seq, 65536)  # 128 MiB: more than is left beside chat's idle row
code.ok("check", seq, 0, 0, 65536)
code.ok("settle")
after = calls()
maps = after["cuMemMap"] - before["cuMemMap"]
assert after["cuMemImportFromShareableHandle"] - before["cuMemImportFromShareableHandle"] == maps
assert after["cuMemSetAccess"] - before["cuMemSetAccess"] <= maps <= 8, (before, after)
assert after["cuCtxSynchronize"] > before["cuCtxSynchronize"], "nothing is unmapped before the GPU is done with it"
assert daemon.tenant("chat")["idle_bytes"] < 70 * MIB
code.ok("check", code.seq, 34, 0, 40000)
daemon.check()

# A worker dies: what it had comes free for others.
code.kill()
until(lambda: daemon.tenant("code")["current_bytes"] == 0, "the dead worker's memory is back")
chat.seq = chat.acquire(100000)
chat.grow(chat.seq, 100000)
chat.ok("fill", chat.seq, 51, 0, 100000)
chat.ok("check", chat.seq, 51, 0, 100000)
chat.quit()
until(daemon.empty, "everything came back")
assert calls("cuMemCreate") >= calls("cuMemRelease") - calls("cuMemImportFromShareableHandle") > 0
daemon.stop()


def refused(config, *words, **env):
    path = os.path.join(temporary_folder(), "conf")
    with open(path, "w") as f:
        f.write(config)
    done = subprocess.run([BIN + "/kvpagerd", "--config", path], capture_output=True, text=True, timeout=20,
                          env=dict(os.environ, KVPAGER_SOCKET=path + ".sock", **env))
    assert done.returncode != 0, done
    for word in words:
        assert word in done.stderr, (word, done.stderr)


refused(CONFIG % ("256M", "uuid = GPU-77\n"), "no GPU is called GPU-77", "nvidia-smi")
refused(CONFIG % ("256M", "uuid = 3\n"), "no GPU is called 3")
refused(CONFIG % ("256M", "uuid = beef\n"), "uuid", "conf:4")
refused(CONFIG % ("256M", "page-size = 64K\n"), "page-size", "conf:4")
refused(CONFIG % ("256M", "populate = yes\n"), "populate")
refused(CONFIG % ("1G", ""), "capacity", "are free")
refused(CONFIG % ("256M", ""), "units of", KVP_STANDIN_GRANULARITY=str(16 * MIB))
refused(CONFIG % ("256M", ""), "no GPU", KVP_STANDIN_DEVICES="0")
refused(CONFIG % ("256M", ""), "GPUs are meant", KVP_STANDIN_DEVICES="2")
refused(CONFIG % ("256M", ""), "driver is not installed", LD_LIBRARY_PATH="")

# Numbers differ between the worker and the daemon, the device is the same.
os.environ["KVP_STANDIN_DEVICES"] = "2"
daemon = Daemon(CONFIG % ("256M", "uuid = GPU-115a\n"))
os.environ["KVP_STANDIN_FIRST"] = "1"
worker = daemon.worker("chat")
worker.create()
seq = worker.acquire(20000)
worker.grow(seq, 20000)
worker.ok("check", seq, 0, 0, 20000)
worker.quit()
until(daemon.empty, "everything came back")
daemon.stop()
