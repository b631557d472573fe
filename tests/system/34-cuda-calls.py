# SPDX-License-Identifier: MIT
"""What a growth costs in calls of the CUDA driver: from virgin memory, one import and one map an extent, at most one set-access an
adjacent run, and no create that anybody waits for."""
import os

from box import Daemon, MIB, until
from standin import Count, setup

setup(memory=1024 * MIB)
CONFIG = "[device gpu]\nbackend = cuda\ncapacity = 1G\nvirgin-pages = %d\n"
PAGES = 64
TOKENS = PAGES * 1024  # 2 KiB each, of 4 layers
# The daemon makes a quarter of virgin-pages in each of its four sizes. Every create after that hangs for longer than this test lasts.
creates = PAGES // 64 + PAGES // 16 + PAGES // 4 + PAGES

for layout, planes, extents in ((2, 1, 1), (1, 2, 4), (0, 8, 16)):
    count = Count()
    os.environ["KVP_STANDIN_DELAY"] = "cuMemCreate:600000000:%d" % (creates + 1)
    daemon = Daemon(CONFIG % (4 * PAGES))
    until(lambda: count("cuMemCreate") >= creates, "virgin extents are made")
    worker = daemon.worker()
    worker.create(rows=4, tokens=65536, layout=layout)
    seq = worker.acquire(TOKENS)

    # A prompt of 64 pages, whose length is known.
    count, before = Count(), worker.stats()
    worker.grow(seq, TOKENS)
    grants = worker.stats()["grants"] - before["grants"]
    assert worker.stats()["granted_bytes"] == PAGES * 2 * MIB, worker.stats()
    assert grants == extents, grants
    assert count("cuMemMap") == count("cuMemImportFromShareableHandle") == grants, (layout, count("cuMemMap"), grants)
    assert count("cuMemSetAccess") == planes, (layout, count("cuMemSetAccess"))  # of a plane all extents are adjacent
    assert count("cuMemRelease") == grants, "an import is let go as soon as it is mapped"
    assert count("cuMemUnmap") == count("cuCtxSynchronize") == 0
    assert count("cuMemCreate") <= 1, "of those that hang"
    worker.ok("check", seq, 0, 0, TOKENS)
    assert worker.stats()["refusals"] == 0
    worker.kill()
    daemon.end()

# Growing token by token: each extent is one import and one map, and no more set-accesses than maps.
del os.environ["KVP_STANDIN_DELAY"]
daemon = Daemon(CONFIG % (4 * PAGES))
worker = daemon.worker()
worker.create(rows=4, tokens=65536, layout=2)
seq = worker.acquire(10)
count = Count()
for tokens in range(1, 20000, 97):
    worker.grow(seq, tokens)
worker.ok("settle")
grants = worker.stats()["grants"]
assert grants >= 20 and count("cuMemMap") == count("cuMemImportFromShareableHandle") == grants, (grants, count("cuMemMap"))
assert count("cuMemSetAccess") <= grants
worker.quit()
until(daemon.empty, "everything came back")
assert count("cuMemUnmap") == grants
daemon.stop()
