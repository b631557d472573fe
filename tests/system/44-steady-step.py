# SPDX-License-Identifier: MIT
"""A step in which no row crosses its look-ahead mark: no system call, no message. One that crosses: one call."""
import os
import re

from box import Daemon, temporary_folder, until

daemon = Daemon(capacity="256M", page_size="2M")
trace = os.path.join(temporary_folder(), "trace")
worker = daemon.worker(wrap=("strace", "-f", "-o", trace, "-e", "trace=all"))
worker.create(rows=4, tokens=65536)
seq = worker.acquire(100)
worker.grow(seq, 100)  # 1,024 tokens a page: far from the mark
worker.ok("settle")
before = worker.stats()
worker.ok("steady", 100000, seq, 101)
after = worker.stats()
assert after["steps"] - before["steps"] == 100000, (before, after)
assert after["messages"] == before["messages"] and after["steps_with_syscalls"] == before["steps_with_syscalls"], (before, after)

# Between reading the command and answering it the process made no call, whatever it counts itself.
def calls_between(first, last):
    with open(trace) as f:
        lines = f.read().splitlines()
    a = next(i for i, line in enumerate(lines) if first in line and "read(0" in line)
    b = next(i for i in range(a, len(lines)) if last in lines[i] and "write(1" in lines[i])
    return [line for line in lines[a + 1:b]]

calls = calls_between("steady 100000", '"ok')
assert calls == [], calls

# Growing token by token through page after page, ahead of need: at most one wake, or one message, a step, and never a wait.
before = worker.stats()
tokens, n = 102, 0
while tokens < 5000:
    rc, rows = worker.step((seq, tokens), timeout=0)
    assert rc == "0", (tokens, rc, rows)
    worker.ok("settle")  # the model computes for milliseconds; here the mapper just gets its turn
    tokens += 7
    n += 1
after = worker.stats()
assert after["steps_waited"] == before["steps_waited"], (before, after)
assert after["mapper_wakes"] - before["mapper_wakes"] <= n, (before, after)
assert after["grants"] - before["grants"] == 4, (before, after)
assert after["steps_with_syscalls"] - before["steps_with_syscalls"] <= 8, (before, after)
mapper_writes = 0
with open(trace) as f:
    for line in f:
        mapper_writes += bool(re.match(r"%d +write\(\d+, \"\\1\\0\\0\\0" % worker.pid, line))
assert mapper_writes <= n
worker.quit()
daemon.stop()
