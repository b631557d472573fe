# SPDX-License-Identifier: MIT
"""200 workers at once, each with its own bytes; then all gone."""
from box import Daemon, until

daemon = Daemon(capacity="1G", page_size="64K", tenants=("a", "b"))
workers = [daemon.worker("ab"[i % 2]) for i in range(200)]
for worker in workers:
    worker.send("create", 4, 4096, 1, 2, 2, 64, 16)
for worker in workers:
    assert worker.read() == "ok"
for tokens in (100, 900, 1500):
    for worker in workers:  # all at once
        if tokens == 100:
            worker.send("acquire", 1000)
    for worker in workers:
        if tokens == 100:
            worker.seq = int(worker.read().split()[1])
        worker.send("step", 20000000, worker.seq, tokens)
    for worker in workers:
        answer = worker.read().split()
        assert answer[1] == "0" and int(answer[3]) >= tokens, answer
for i, worker in enumerate(workers):
    worker.send("fill", worker.seq, i, 0, 1500)
for worker in workers:
    assert worker.read() == "ok"
for i, worker in enumerate(workers):
    worker.send("check", worker.seq, i, 0, 1500)
for worker in workers:
    assert worker.read() == "ok"
assert len(daemon.ctl("workers")["workers"]) == 200
assert len(daemon.ctl("caches")["caches"]) == 200
daemon.check()
for i, worker in enumerate(workers):
    if i % 3:
        worker.kill()
    else:
        worker.quit()
until(daemon.empty, "everything came back")
assert daemon.ctl("workers")["workers"] == [] and daemon.ctl("caches")["caches"] == []
daemon.check()
daemon.stop()
