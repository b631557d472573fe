# SPDX-License-Identifier: MIT
"""A daemon that pages a GPU is killed and goes on, on the stand-in: memory that is in use is not missing, and nobody comes to be
suspected for what the holder has."""
import os

from box import MIB, TESTS, temporary_folder, until
from holding import HeldDaemon

os.environ.update(KVP_STANDIN_STATE=os.path.join(temporary_folder(), "state"), KVP_STANDIN_MEMORY=str(256 * MIB))
os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [TESTS + "/standin", os.environ.get("LD_LIBRARY_PATH")]))

# More than is free once the workers have theirs: what is held counts as free.
daemon = HeldDaemon("[device gpu]\nbackend = cuda\ncapacity = 240M\n[tenant chat]\nmatch = any\n[tenant code]\nmatch = any\n")
workers = daemon.worker("chat"), daemon.worker("code")
for byte, worker in enumerate(workers):
    worker.create(tokens=200000)
    worker.seq = worker.acquire(40000)
    worker.grow(worker.seq, 40000)  # 2 KiB a token: 80 MB
    worker.ok("fill", worker.seq, byte + 1, 0, 40000)
    worker.ok("settle")


def missing():
    return daemon.ctl("devices")["devices"][0]["missing_bytes"]


for how in (daemon.kill, daemon.stop, daemon.kill):
    how()
    daemon.start()
    daemon.resumed(2)
    for byte, worker in enumerate(workers):
        worker.ok("check", worker.seq, byte + 1, 0, 40000)
        worker.ok("trim", worker.seq, 40000)
        worker.grow(worker.seq, 44000)
        worker.ok("settle")
    assert missing() == 0, daemon.ctl("devices")
# What was made before is given back now, and serves others.
chat, code = workers
chat.ok("release", chat.seq)
seq = code.acquire(60000)
code.grow(seq, 60000)
code.ok("check", seq, 0, 0, 60000)
code.ok("check", code.seq, 2, 0, 40000)
code.ok("settle")
assert missing() == 0, daemon.ctl("devices")
assert "suspect" not in daemon.text(), daemon.text()

# What others took before a restart is missing after it, and no longer than they have it.
inode = os.stat(os.environ["KVP_STANDIN_STATE"]).st_ino
foreign = os.memfd_create("kvpager-standin-%d-0-%d" % (inode, 64 * MIB))
os.ftruncate(foreign, 64 * MIB)
code.ok("trim", seq, 30000)  # after something was given back the daemon looks
until(lambda: missing() > 0, "what others use is missing", seconds=20)
taken = missing()
daemon.restart()
assert missing() == taken, (missing(), taken)
daemon.kill()
os.close(foreign)
daemon.start()
until(lambda: missing() == 0, lambda: "%d bytes are missing for good" % missing(), seconds=20)
assert "suspect" not in daemon.text(), daemon.text()
chat.quit()
code.quit()
until(daemon.empty, "everything came back")
until(lambda: missing() == 0, "memory is missing")
daemon.check()
daemon.stop()
daemon.end_holder()
