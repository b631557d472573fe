# SPDX-License-Identifier: MIT
"""There is no more memory for what is to outlive the daemon: it says so and serves on, one that went on from another as well."""
import errno

import faults
from holding import *
from raw import *

MODULES = "kvpagerd"
area = faults.Area(os.path.join(temporary_folder(), "area"))
daemon = HeldDaemon(capacity="16M", page_size="64K")
worker = daemon.worker()
worker.create(rows=4, tokens=4096)
seq = worker.acquire(300)
worker.grow(seq, 300)
daemon.kill()
daemon.start(wrap=area.wrap(MODULES))
daemon.resumed(1)
area.arm_function("fallocate", errno.ENOSPC)
raw = Raw(daemon.socket)
rows = struct.pack("<II", 512, 0) + struct.pack("<IIII", raw.cache(), 0, 0, 0) * 512
while not area.a.fired:  # until the log is full
    raw.send(ROWS, rows, request=0)
    raw.round_trip()
raw.round_trip()
assert "nothing is noted any more" in daemon.text(), daemon.text()
status = daemon.ctl("status")["daemon"]
assert status["counted_usec"] > status["uptime_usec"], status
worker.grow(seq, 2000)
daemon.check()
# A holder that is stopped meanwhile does not hear that what it has is of no use: the next daemon sees that.
area.disarm()
worker.quit()
raw.close()
until(daemon.empty, "somebody is charged for what nobody has")
daemon.stop()
daemon.end_holder()
