# SPDX-License-Identifier: MIT
"""Without a [device] section the daemon takes a GPU if there is one that it can use, else the host's memory; and each way in which a
GPU cannot be used, by the daemon or by a worker, is an error or a warning that says what to do."""
import os
import subprocess

from box import BIN, Daemon, MIB, temporary_folder, until
from standin import FOLDER, calls, setup

setup(memory=256 * MIB)
ANY = "[tenant all]\nmatch = any\n"
GPU = "[device gpu]\nbackend = cuda\n%s" + ANY


class With:
    """An environment for what starts within."""

    def __init__(self, **env):
        self.env = env

    def __enter__(self):
        self.before = dict(os.environ)
        os.environ.update(self.env)

    def __exit__(self, *_):
        os.environ.clear()
        os.environ.update(self.before)


def found(config=ANY, **env):
    """The device that a daemon finds, and its log."""
    with With(**env):
        daemon = Daemon(config)
    device, log = daemon.ctl("devices")["devices"][0], daemon.text()
    daemon.stop()
    return device, log


def refused(config, *words, **env):
    path = os.path.join(temporary_folder(), "conf")
    with open(path, "w") as f:
        f.write(config)
    done = subprocess.run([BIN + "/kvpagerd", "--config", path], capture_output=True, text=True, timeout=20,
                          env=dict(os.environ, KVPAGER_SOCKET=path + ".sock", **env))
    assert done.returncode == 1, done
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def libcuda(name, source):
    """A folder with a libcuda.so.1 of that source."""
    folder = os.path.join(temporary_folder(), name)
    os.mkdir(folder)
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", folder + "/libcuda.so.1"],
                   input=source.encode(), check=True)
    return folder


device, log = found()
assert (device["name"], device["backend"]) == ("gpu0", "cuda") and device["uuid"].startswith("GPU-105a"), device
assert 200 * MIB < device["capacity_bytes"] <= 256 * MIB and "warning" not in log, (device, log)
device, log = found(KVP_STANDIN_DEVICES="2")
assert device["uuid"].startswith("GPU-105a") and "2 GPUs are there" in log and "uuid = " in log, (device, log)
device, log = found(KVP_STANDIN_PERSISTENCE="0", KVP_STANDIN_DEVICES="2")
assert device["backend"] == "cuda" and "2 GPUs" in log and "nvidia-smi -pm 1" in log, log

# There is none: the host, and no word of it.
for env in ({"LD_LIBRARY_PATH": temporary_folder()}, {"KVP_STANDIN_DEVICES": "0"}):
    device, log = found(**env)
    assert (device["name"], device["backend"], device["uuid"]) == ("host", "host", "") and "warning" not in log, (device, log)
# There is one that is of no use: the host, and why.
OLD = libcuda("old", "int cuInit(unsigned f) { return f; }")
for word, env in (("virtual memory management", {"KVP_STANDIN_VMM": "0"}), ("driver 470", {"KVP_STANDIN_VERSION": "11020"}),
                  ("driver 470", {"LD_LIBRARY_PATH": OLD}), ("cuInit", {"KVP_STANDIN_FAULT": "cuInit:1:999"}),
                  ("(MIG)", {"KVP_STANDIN_MIG": "1"}), ("capacity", {"KVP_STANDIN_MEMORY": str(MIB)}),
                  ("must be a multiple", {"KVP_STANDIN_GRANULARITY": str(6 * MIB)})):
    device, log = found(**env)
    assert device["backend"] == "host" and "a GPU's memory would be used, but" in log and word in log, (word, device, log)

# Nobody can say what is free of it: the host, and why; or the capacity that was set.
BLIND = os.path.join(temporary_folder(), "blind")
os.mkdir(BLIND)
os.symlink(FOLDER + "/libcuda.so.1", BLIND + "/libcuda.so.1")
device, log = found(LD_LIBRARY_PATH=BLIND)
assert device["backend"] == "host" and "a GPU's memory would be used, but" in log and "libnvidia-ml" in log, (device, log)
refused(GPU % "", "without NVML", "install libnvidia-ml", "or set capacity", LD_LIBRARY_PATH=BLIND)
refused(GPU % "capacity = 300M\n", "300 MiB", LD_LIBRARY_PATH=BLIND)
for capacity, size in (("64M", 64 * MIB), ("50%", 128 * MIB)):
    device, log = found(GPU % ("capacity = %s\n" % capacity), LD_LIBRARY_PATH=BLIND)
    assert (device["backend"], device["capacity_bytes"]) == ("cuda", size) and "warning" not in log, (device, log)

# Who names a GPU gets it, or an error.
refused(GPU % "", "driver is not installed", LD_LIBRARY_PATH=temporary_folder())
refused(GPU % "", "driver 470", "CUDA 11.2", KVP_STANDIN_VERSION="11020")
refused(GPU % "", "driver 470", "has no cu", LD_LIBRARY_PATH=OLD)
refused(GPU % "", "no GPU", "CUDA_VISIBLE_DEVICES", KVP_STANDIN_DEVICES="0")
refused(GPU % "uuid = GPU-77\n", "no GPU is called GPU-77", "nvidia-smi -L")
refused(GPU % "", "MIG-105a5a5a-5a5a-", "not supported", "nvidia-smi -mig 0", KVP_STANDIN_MIG="1")
refused(GPU % "capacity = 64M\n", "not supported", KVP_STANDIN_MIG="1")
refused(GPU % "uuid = MIG-105a\n", "conf:3", "not supported")
refused(GPU % "", "GPUs are meant", KVP_STANDIN_DEVICES="2")
refused(GPU % "", "virtual memory management", KVP_STANDIN_VMM="0")
refused(GPU % "capacity = 300M\n", "300 MiB", "are free", "set it lower")
refused(GPU % "page-size = 4M\n", "must be a multiple", KVP_STANDIN_GRANULARITY=str(16 * MIB))
refused(GPU % "page-size = 3M\n", "conf:3", "power of two")
_, log = found(GPU % "", KVP_STANDIN_PERSISTENCE="0")
assert "warning" in log and "nvidia-persistenced" in log, log

# A driver that makes no memory without a context gets one, once.
before = calls("cuDevicePrimaryCtxRetain"), calls("cuDevicePrimaryCtxRelease_v2")
with With(KVP_STANDIN_NEED_CONTEXT="1", KVP_STANDIN_FAULT="cuCtxPushCurrent_v2:1:999"):  # and tries that again, should it fail
    daemon = Daemon(GPU % "capacity = 128M\n")
until(lambda: daemon.ctl("devices")["devices"][0]["virgin_bytes"] > 0, "memory is made")
worker = daemon.worker()
worker.create()
seq = worker.acquire(3000)
worker.grow(seq, 3000)
worker.ok("check", seq, 0, 0, 3000)
worker.quit()  # it has retained a context of its own, and let it go
until(daemon.empty, "everything came back")
daemon.stop()
assert (calls("cuDevicePrimaryCtxRetain"), calls("cuDevicePrimaryCtxRelease_v2")) == (before[0] + 2, before[1] + 2)

# A worker that cannot use the device that its cache would be on; one to whom it has another number; and one with two of them.
with With(KVP_STANDIN_DEVICES="2"):
    daemon = Daemon(GPU % "uuid = GPU-115a\n")
for env, answer in (({"LD_LIBRARY_PATH": temporary_folder()}, "error ENODEV"), ({"KVP_STANDIN_DEVICES": "0"}, "error ENODEV"),
                    ({"KVP_STANDIN_DEVICES": "1"}, "error ENODEV"), ({"KVP_STANDIN_DEVICES": "2"}, "ok"),
                    ({"KVP_STANDIN_DEVICES": "2", "KVP_STANDIN_FIRST": "1"}, "ok")):
    with With(**env):
        worker = daemon.worker()
    assert worker.tell("create", 4, 65536, 2, 4, 2, 64, 16) == answer, env
    if answer == "ok":
        seq = worker.acquire(3000)
        worker.grow(seq, 3000)
        worker.ok("fill", seq, 9, 0, 3000)
        worker.ok("check", seq, 9, 0, 3000)
    worker.quit()
until(daemon.empty, "everything came back")
daemon.check()
daemon.stop()
