# SPDX-License-Identifier: MIT
"""Memory that somebody takes without kvpager: seen by tenant, and taken off the capacity before others run out; never twice, and
never off another GPU's."""
import json
import os
import shutil
import subprocess

from observer import BIN, Observer, temporary_folder, until
from box import Daemon, MIB
from cuda import LIBRARY, STANDIN, Program, Truth

TOTAL, CAPACITY = 1024 * MIB, 768 * MIB
CONFIG = """[device gpu]
backend = cuda
capacity = 768M
[tenant chat]
match = uid:0
[tenant code]
match = uid:12345
"""
truth = Truth()
truth.env["KVP_STANDIN_MEMORY"] = str(TOTAL)


def missing():
    return daemon.ctl("devices")["devices"][0]["missing_bytes"]


def unbrokered(name="chat"):
    return daemon.tenant(name)["unbrokered_bytes"]


def metric(name):
    text = subprocess.run([BIN + "/kvpagerctl", "metrics"], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket), capture_output=True,
                          text=True, check=True).stdout
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


# A driver without NVML beside it: nobody but the kernel can tell what others take.
folder = temporary_folder()
shutil.copy(LIBRARY, folder)
truth.env["LD_LIBRARY_PATH"] = folder
os.environ.update({k: truth.env[k] for k in ("KVP_STANDIN_STATE", "KVP_STANDIN_MEMORY", "LD_LIBRARY_PATH")})
daemon = Daemon(CONFIG)
observer = Observer(daemon)
assert observer.probe("cuMemCreate", "uprobe", folder)[0]["attached"], "it is where the loader finds it"
until(lambda: observer.json()["kvpagerd"]["connected"], "it is connected")
assert (missing(), unbrokered()) == (0, 0)

foreign = Program(truth)
foreign.tell("take", 200 * MIB)
until(lambda: unbrokered() == 200 * MIB, lambda: "chat's: %d" % unbrokered())
assert missing() == 0, "the capacity leaves that much to others"
foreign.tell("create", 312 * MIB)
until(lambda: missing() == 256 * MIB, lambda: "missing: %d" % missing())
assert unbrokered() == 512 * MIB and unbrokered("code") == 0
assert metric('kvpager_tenant_unbrokered_bytes{tenant="chat"}') == 512 * MIB
assert metric('kvpager_device_missing_bytes{device="gpu"}') == 256 * MIB
top = subprocess.run([BIN + "/kvpagerctl", "top", "--once", "--json"], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket),
                     capture_output=True, text=True, check=True).stdout
assert [t["unbrokered_bytes"] for t in json.loads(top)["tenants"]] == [512 * MIB, 0], top

# Whose it is follows the configuration.
with open(daemon.config, "w") as f:
    f.write(CONFIG.replace("uid:0", "uid:1").replace("uid:12345", "uid:0"))
assert subprocess.run([BIN + "/kvpagerctl", "reload"], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket)).returncode == 0
until(lambda: unbrokered("code") == 512 * MIB and unbrokered("chat") == 0, lambda: "code's: %d" % unbrokered("code"))
with open(daemon.config, "w") as f:
    f.write(CONFIG)
assert subprocess.run([BIN + "/kvpagerctl", "reload"], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket)).returncode == 0
until(lambda: unbrokered("chat") == 512 * MIB, lambda: "chat's: %d" % unbrokered("chat"))

# What the daemon makes is no such thing, nor is what a worker maps of it; what is not there is refused at once.
worker = daemon.worker("chat")
worker.create(tokens=400000)
seq = worker.acquire(240000)
worker.grow(seq, 240000)  # 2 KiB a token: 469 MiB of 512
other = worker.acquire(240000)
status, _ = worker.step((other, 240000), timeout=200000)
assert status == "ENOMEM", status
assert unbrokered() == 512 * MIB and missing() == 256 * MIB
assert truth.read()["cuMemAlloc_v2"][1] == 200 * MIB
daemon.check()

# It comes back with the process, whichever way that ends.
foreign.kill()
until(lambda: missing() == 0 and unbrokered() == 0, lambda: "%d, %d" % (missing(), unbrokered()))
worker.quit()

# Of another user's it is the other tenant's. Who watched and ended takes what he said with him, and comes back to say it again.
os.chmod(truth.path, 0o666)
shutil.copy(BIN + "/../tests/test-cuda-calls", folder + "/calls")
for path in (folder, os.path.dirname(folder), os.path.dirname(truth.path)):
    os.chmod(path, os.stat(path).st_mode | 0o055)
other = Program(truth, ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--"), program=folder + "/calls")
other.tell("take", 300 * MIB)
until(lambda: unbrokered("code") == 300 * MIB and missing() == 44 * MIB, lambda: "%d, %d" % (unbrokered("code"), missing()))
daemon.stop()
daemon.start()
until(lambda: unbrokered("code") == 300 * MIB and missing() == 44 * MIB, lambda: "%d, %d" % (unbrokered("code"), missing()))
observer.end()
until(lambda: unbrokered("code") == 0 and missing() == 0, "it is forgotten")
other.end()
daemon.stop()

# Where NVML says it too, it counts once.
os.environ["LD_LIBRARY_PATH"] = truth.env["LD_LIBRARY_PATH"] = STANDIN
daemon = Daemon(CONFIG)
observer = Observer(daemon)
until(lambda: observer.json()["kvpagerd"]["connected"], "it is connected")
foreign = Program(truth)
foreign.tell("take", 512 * MIB)
until(lambda: unbrokered() == 512 * MIB and missing() == 256 * MIB, lambda: "%d, %d" % (unbrokered(), missing()))
observer.stop()
until(lambda: unbrokered() == 0, "it is forgotten")
assert missing() == 256 * MIB, "NVML says so"
foreign.end()
daemon.stop()

# Of several GPUs the one that it was taken of, whatever number that has in whose process.
os.environ["KVP_STANDIN_DEVICES"] = truth.env["KVP_STANDIN_DEVICES"] = "2"
daemon = Daemon(CONFIG.replace("capacity", "uuid = 0\ncapacity"))
observer = Observer(daemon)
until(lambda: observer.json()["kvpagerd"]["connected"], "it is connected")
for first, size, expected in ((1, 512, 0), (0, 512, 256)):
    truth.env["KVP_STANDIN_FIRST"] = str(first)
    foreign = Program(truth)
    foreign.tell("create", size * MIB)
    until(lambda: unbrokered() == size * MIB, lambda: "chat's: %d" % unbrokered())
    until(lambda: missing() == expected * MIB, lambda: "%d: missing: %d" % (first, missing()))
    foreign.end()
    until(lambda: unbrokered() == 0 == missing(), "it is back")
observer.stop()
daemon.stop()
