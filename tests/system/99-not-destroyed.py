# SPDX-License-Identifier: MIT
"""The daemon is killed while extents cannot be destroyed: the next one tries that again, each of them once at a time, and goes on."""
import errno
import random

import faults
from holding import *
from raw import *

MODULES = "kvpagerd"
random.seed(4)
area = faults.Area(os.path.join(temporary_folder(), "area"))
daemon = HeldDaemon(capacity="16M", page_size="64K", tenants="ab", extra="virgin-pages = 8\n", wrap=area.wrap(MODULES))
workers = [daemon.worker("b") for _ in range(3)]
for worker in workers:
    worker.create(rows=4, tokens=4096)
    worker.seq = worker.acquire(300)
    worker.grow(worker.seq, 300)
for _ in range(12):
    area.arm_function("truncate", errno.EIO)
    liar = Raw(daemon.socket, tenant=b"a")
    cache = liar.cache()
    grants = [grant for i in range(4) for grant in liar.grow(cache, first=i, need=1)]
    liar.give_back([grant.extent for grant in grants])
    until(lambda: area.a.fired >= 4, "nothing is destroyed")
    time.sleep(random.random() * 0.1)  # any instant will do
    daemon.kill()
    area.arm_function("truncate", errno.EIO)
    area.a.skip = 1  # by the first it learns how to truncate
    liar.close()
    for grant in grants:
        os.close(grant.fd)
    daemon.start(wrap=area.wrap(MODULES))
    for worker in workers:
        worker.grow(worker.seq, random.randrange(300, 2000))
    area.disarm()
    for worker in workers:
        worker.ok("trim", worker.seq, 300)
    until(lambda: daemon.tenant("a")["current_bytes"] == 0, "what can be destroyed again is not free")
for worker in workers:
    worker.ok("settle")
daemon.agree(workers)
for worker in workers:
    worker.quit()
until(daemon.empty, "somebody is charged for what nobody has")
daemon.stop()
daemon.end_holder()
