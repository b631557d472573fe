# SPDX-License-Identifier: MIT
"""Each call of the CUDA driver fails in turn, in the worker and in the daemon: an error that can be repeated, and nothing is lost."""
import os

from box import Daemon, MIB, TESTS, temporary_folder, until

os.environ.update(KVP_STANDIN_STATE=os.path.join(temporary_folder(), "state"), KVP_STANDIN_MEMORY=str(256 * MIB))
os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [TESTS + "/standin", os.environ.get("LD_LIBRARY_PATH")]))
CONFIG = "[device gpu]\nbackend = cuda\ncapacity = 128M\nvirgin-pages = 4\n"
TOKENS = 20000  # 2 KiB each: 20 pages


def live(worker):
    """One life of a sequence; returns the errors on the way."""
    errors = []
    for _ in range(12):
        answer = worker.tell("create", 4, 65536, 2, 4, 2, 64, 16)
        if answer == "ok":
            break
        errors.append(answer)
    assert answer == "ok", errors
    seq = worker.acquire(TOKENS)
    for _ in range(12):
        rc, rows = worker.step((seq, TOKENS))
        if rc == "0":
            break
        errors.append(rc)
        assert rc in ("ENOMEM", "ETIMEDOUT"), errors
    assert rc == "0" and rows[0][1] >= TOKENS, (errors, rows)
    worker.ok("fill", seq, 7, 0, TOKENS)
    worker.ok("check", seq, 7, 0, TOKENS)
    worker.ok("release", seq)
    worker.ok("settle")
    return errors


daemon = Daemon(CONFIG)
seen = set()
for symbol in ("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetUuid_v2", "cuCtxGetCurrent", "cuDevicePrimaryCtxRetain",
               "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2", "cuMemAddressReserve", "cuMemImportFromShareableHandle", "cuMemMap",
               "cuMemSetAccess", "cuMemRelease"):
    for nth, result in ((1, 2), (2, 999)):
        os.environ["KVP_STANDIN_FAULT"] = "%s:%d:%d" % (symbol, nth, result)
        worker = daemon.worker()
        if live(worker):
            seen.add(symbol)
        worker.quit()
        until(daemon.empty, "everything came back after %s failed" % symbol)
assert seen >= {"cuInit", "cuMemAddressReserve", "cuMemMap", "cuMemImportFromShareableHandle", "cuMemSetAccess"}, seen
del os.environ["KVP_STANDIN_FAULT"]
daemon.check()
daemon.stop()

for fault in ("cuMemCreate:1:2", "cuMemCreate:3:999", "cuMemExportToShareableHandle:2:304", "cuMemRelease:1:999"):
    os.environ["KVP_STANDIN_FAULT"] = fault
    daemon = Daemon(CONFIG)
    del os.environ["KVP_STANDIN_FAULT"]
    worker = daemon.worker()
    live(worker)
    worker.quit()
    until(daemon.empty, "everything came back although %s" % fault)
    worker = daemon.worker()
    assert live(worker) == [], fault
    worker.quit()
    daemon.check()
    daemon.stop()
