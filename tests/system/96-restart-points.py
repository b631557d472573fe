# SPDX-License-Identifier: MIT
"""The daemon is killed right before each of its system calls in turn, while it serves and while it starts, and the next one goes on: nobody
fails, and page table, mappings and the holder's inventory agree.

What the daemon does between two system calls is seen by nobody but itself, so these are all the instants there are. In `make check` a
sample of them, another one each day; in `make check-long` the first, the middle and the last call of each place."""
import datetime
import random
import threading

import faults
from holding import *

LONG = bool(os.environ.get("KVP_LONG"))
SAMPLE = 24
MODULES = "kvpagerd"
random.seed(int(os.environ.get("KVP_SEED", datetime.date.today().toordinal())))
before = shmem_kib()

area = faults.Area(os.path.join(temporary_folder(), "area"))
daemon = HeldDaemon(capacity="6M", page_size="64K", tenants="ab", extra="virgin-pages = 16\n", wrap=area.wrap(MODULES))
assert area.loaded()
workers = [daemon.worker("a"), daemon.worker("b")]
deaths = 0


class Keeper(threading.Thread):
    """Starts the daemon again when it dies."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.died = 0
        self.error = None
        self.start()

    def run(self):
        try:
            while not self.done.is_set():
                try:
                    daemon.process.wait(0.005)
                except subprocess.TimeoutExpired:
                    continue
                self.died += 1
                status = daemon.process.returncode
                assert status == -signal.SIGKILL, "kvpagerd ended with %s:\n%s" % (status, daemon.text()[-3000:])
                daemon.start(wrap=area.wrap(MODULES))
        except BaseException as error:  # the main thread's to raise
            self.error = error
            daemon.end()

    def stop(self, deaths):
        """Once it has seen so many: the last one may have been a moment ago."""
        until(lambda: self.died >= deaths or self.error, "the daemon does not die")
        self.done.set()
        self.join()
        if self.error:
            raise self.error
        return self.died


def newcomer():
    """While no daemon listens a connection is refused, and it is to try again."""
    end = time.monotonic() + 10
    while True:
        worker = daemon.worker("b", expect="")
        if worker.greeting.startswith("connected"):
            return worker
        assert worker.greeting in ("error ECONNREFUSED", "error ENOENT") and time.monotonic() < end, worker.greeting
        worker.kill()


def work(byte):
    """What makes the daemon do all that it does for workers; what is in memory is looked at."""
    a, b = workers
    for worker in workers:
        worker.create(rows=4, tokens=4096, layers=2, heads=2, dim=64)
    kept = a.acquire(800)
    a.grow(kept, 800)
    a.ok("fill", kept, byte, 0, 800)
    idle = b.acquire(3000)
    b.grow(idle, 3000)
    b.ok("release", idle)
    for tokens in range(900, 3300, 400):  # into what b has idle
        a.grow(kept, tokens)
    a.ok("check", kept, byte, 0, 800)
    a.ok("trim", kept, 900)
    again = b.acquire(500)
    b.grow(again, 500)
    b.ok("fill", again, byte ^ 255, 0, 500)
    newcomer().kill()
    for worker in workers:
        worker.ok("settle")
    a.ok("check", kept, byte, 0, 800)
    b.ok("check", again, byte ^ 255, 0, 500)
    daemon.agree(workers)
    for worker in workers:
        worker.ok("destroy")
    until(daemon.empty, "somebody is charged for what nobody has")


def points(calls):
    """(site, index) of calls before which it is to die."""
    every = [(key, index) for key, n in sorted(calls.items()) for index in sorted({0, n // 2, n - 1})]
    return every if LONG else random.sample(every, min(SAMPLE, len(every)))


# ---- while it serves ----

start = area.calls()
work(1)
calls = faults.difference(area.calls(), start)
assert len(calls) > 15, calls
chosen, total = points(calls), sum(calls.values())
for number, (key, index) in enumerate(chosen):
    fault = faults.Fault(area, key, faults.DIE, index)
    keeper = Keeper()
    area.arm(fault)
    try:
        work(number % 200 + 2)
    except AssertionError:
        say("after death before %s:" % fault)
        keeper.done.set()
        raise
    finally:
        fired = area.disarm()
    died = keeper.stop(fired)
    deaths += died
    assert died == fired <= 1, (died, fired)
say("%d places, %d calls; died %d times of %d that it was to" % (len(calls), total, deaths, len(chosen)))
assert deaths > len(chosen) // 2, (deaths, len(chosen))

# ---- while it goes on where another ended ----

a, b = workers
for worker in workers:
    worker.create(rows=4, tokens=4096, layers=2, heads=2, dim=64)
    worker.seq = worker.acquire(800)
    worker.grow(worker.seq, 800)
    worker.ok("fill", worker.seq, 77, 0, 800)
daemon.kill()
area.clear()
daemon.start(wrap=area.wrap(MODULES))
daemon.resumed(2)
calls = area.calls()
chosen, again = points(calls), 0
for key, index in chosen:
    fault = faults.Fault(area, key, faults.DIE, index)
    daemon.kill()
    area.arm(fault)
    env = dict(os.environ, KVPAGER_SOCKET=daemon.socket, **area.environment(MODULES))
    process = subprocess.Popen([BIN + "/kvpagerd", "--config", daemon.config], env=env, stdin=subprocess.DEVNULL, stdout=daemon.log,
                               stderr=daemon.log)
    try:
        process.wait(0.3 if area.a.fired else 1.5)
        again += 1
        status = process.returncode
        assert status == -signal.SIGKILL, "kvpagerd ended with %s before %s:\n%s" % (status, fault, daemon.text()[-3000:])
    except subprocess.TimeoutExpired:  # a call of another kind of start
        process.kill()
        process.wait()
    area.disarm()
    daemon.process = process
    daemon.start(wrap=area.wrap(MODULES))
    daemon.resumed(2)
    try:
        for worker in workers:
            worker.grow(worker.seq, 1200)
            worker.ok("check", worker.seq, 77, 0, 800)
            worker.ok("trim", worker.seq, 800)
            worker.ok("settle")
        daemon.agree(workers)
    except AssertionError:
        say("after death before %s:" % fault)
        raise
say("%d places of its start, died %d times of %d" % (len(calls), again, len(chosen)))
assert again > len(chosen) // 2, (again, len(chosen))
for worker in workers:
    worker.quit()
until(daemon.empty, "somebody is charged for what nobody has")
daemon.stop()
daemon.end_holder()
until(lambda: shmem_kib() <= before + 4096, lambda: "the kernel holds %d KiB more than before" % (shmem_kib() - before))
