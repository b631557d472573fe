# SPDX-License-Identifier: MIT
"""After a restart a worker has one place to come back to, however often it says RESUME, and not for ever."""
import os
import signal
import struct
import time

from holding import *
from raw import *

CONFIG = "[device d]\nbackend = host\ncapacity = 4M\npage-size = 64K\n[tenant t]\nmatch = any\n[daemon]\nabsent-timeout = %s\n"


def resume(daemon, worker):
    raw = Raw(daemon.socket, greet=None, timeout=30)
    opcode, _, body, fds = raw.call(RESUME, struct.pack("<IIQQQ", 1, worker.worker, 0, *worker.token))
    assert opcode == WELCOME, raw.error_of(opcode, body)
    raw.events = socket.socket(fileno=fds[0])
    return raw


def is_back(raw):
    assert raw.call(RESUMED, struct.pack("<II", 0, 0))[0] == OK
    raw.round_trip()


# ---- The newer connection ends the older; one that says no more has its time, and may try again ----
daemon = HeldDaemon(config=CONFIG % "60s")
first, second = Raw(daemon.socket), Raw(daemon.socket)
daemon.kill()
daemon.start()
silent = resume(daemon, second)
older = [resume(daemon, first) for _ in range(300)]  # more than there are places
is_back(older.pop())
for raw in older:
    assert "by another connection" in raw.receive_error("NOT_KNOWN")
    raw.expect_end()
silent.expect_end()
is_back(resume(daemon, second))
daemon.check()
daemon.stop()
daemon.end_holder()

# ---- Nor does it outlast its worker ----
daemon = HeldDaemon(config=CONFIG % "1s")
worker = Raw(daemon.socket)
daemon.kill()
daemon.start()
late = resume(daemon, worker)
assert "absent-timeout" in late.receive_error("NOT_KNOWN")
late.expect_end()
daemon.check()
daemon.stop()
daemon.end_holder()

# ---- The daemon does not run while its time passes: who came back meanwhile came back in time, and the others have gone ----
daemon = HeldDaemon(config=CONFIG % "2s")
workers = [Raw(daemon.socket) for _ in range(8)]
daemon.kill()
daemon.start()
suspend(daemon.pid)
back = [Raw(daemon.socket, greet=None, timeout=30) for _ in workers[:6]]
for raw, worker in zip(back, workers):
    raw.send(RESUME, struct.pack("<IIQQQ", 1, worker.worker, 0, *worker.token), request=1)
time.sleep(3.5)
os.kill(daemon.pid, signal.SIGCONT)
for raw in back:
    opcode, _, body, fds = raw.receive()
    assert opcode == WELCOME, raw.error_of(opcode, body)
    raw.events = socket.socket(fileno=fds[0])
    is_back(raw)
until(lambda: len(daemon.ctl("workers")["workers"]) == 6, "who stays away is waited for")
daemon.check()
daemon.stop()
daemon.end_holder()

# ---- max-workers was made less meanwhile: all that there are have their place, and operators too ----
daemon = HeldDaemon(config=CONFIG % "60s" + "max-workers = 250\n")
workers = [Raw(daemon.socket) for _ in range(250)]
with open(daemon.config, "w") as f:
    f.write(CONFIG % "60s" + "max-workers = 4\n")
daemon.restart()
back = [resume(daemon, worker) for worker in workers]
for raw in back:
    is_back(raw)
assert len(daemon.ctl("workers")["workers"]) == 250
daemon.check()
daemon.stop()
daemon.end_holder()
