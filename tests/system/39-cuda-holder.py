# SPDX-License-Identifier: MIT
"""What the holder's part is when a GPU's memory is given back, on the stand-in: what a daemon sent before it died counts, and a holder
that hangs keeps nobody's memory."""
import os
import signal

from box import MIB, TESTS, suspend, temporary_folder, until
from holding import HeldDaemon

os.environ.update(KVP_STANDIN_STATE=os.path.join(temporary_folder(), "state"), KVP_STANDIN_MEMORY=str(256 * MIB))
os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [TESTS + "/standin", os.environ.get("LD_LIBRARY_PATH")]))
CONFIG = "[device gpu]\nbackend = cuda\ncapacity = %dM\nvirgin-pages = 0\n[tenant chat]\nmatch = any\n[tenant code]\nmatch = any\n"


def begin(capacity, lengths):
    daemon = HeldDaemon(CONFIG % capacity)
    workers = daemon.worker("chat"), daemon.worker("code")
    for byte, (worker, length) in enumerate(zip(workers, lengths)):
        worker.create(tokens=200000)
        worker.seq = worker.acquire(length)
        worker.grow(worker.seq, length)  # 2 KiB a token
        worker.ok("fill", worker.seq, byte + 1, 0, length)
        worker.ok("settle")
    return daemon, *workers


def end(daemon, *workers):
    for worker in workers:
        worker.quit()
    until(daemon.empty, "everything came back")
    daemon.check()
    daemon.stop()
    daemon.end_holder()


# The daemon is killed while something is to be let go in the holder's queue, and behind it something to be kept.
daemon, chat, code = begin(240, (20000, 10000))
suspend(daemon.holder.pid)
chat.send("trim", chat.seq, 10000)
assert chat.read() == "ok"
code.grow(code.seq, 14000)
code.ok("fill", code.seq, 2, 10000, 14000)
daemon.kill()
daemon.holder.send_signal(signal.SIGCONT)
daemon.start()
daemon.resumed(2)
for byte, (worker, length) in enumerate(((chat, 10000), (code, 14000))):
    worker.ok("check", worker.seq, byte + 1, 0, length)
    worker.grow(worker.seq, 16000)
    worker.ok("settle")
end(daemon, chat, code)

# A holder that hangs while memory is to be let go is given up, and found again when it does not.
daemon, chat, code = begin(120, (40000, 100))
suspend(daemon.holder.pid)
chat.ok("release", chat.seq)
code.grow(code.seq, 40000)
assert "the holder does not answer" in daemon.text(), daemon.text()
daemon.holder.send_signal(signal.SIGCONT)
until(lambda: "another holder has all" in daemon.text(), "it is not found again")
code.ok("settle")
daemon.restart()
daemon.resumed(2)
code.grow(code.seq, 44000)
end(daemon, chat, code)
