# SPDX-License-Identifier: MIT
"""The daemon is killed, stopped, and started again under load: workers compute on, nobody loses a page or hears of an error, and
page table, mappings and the holder's inventory agree afterwards."""
import random
import signal
import socket
import struct
import time

from holding import *
from raw import *

LONG = bool(os.environ.get("KVP_LONG"))
KILLS = 200 if LONG else 10
random.seed(7)
before = shmem_kib()


def at_random_instants():
    """Two tenants under load on a device that is too small for both, so that revokes and waits are under way as well."""
    daemon = HeldDaemon(capacity="24M", page_size="64K", tenants="ab")
    workers = [daemon.worker("ab"[i % 2]) for i in range(4)]
    for i, worker in enumerate(workers):
        worker.create(rows=16, tokens=4096, layout=i % 3)
        worker.begin_load(5 if not LONG else 60, rows=8, tokens=2000, seed=i + 1, pause=200, timeout=5000000)
    ends = time.monotonic() + (4 if not LONG else 55)
    kills = 0
    while kills < KILLS and time.monotonic() < ends:
        time.sleep(random.random() * 0.3)  # any instant will do
        if kills % 4 == 3:
            daemon.stop()
            daemon.start()
        else:
            daemon.restart()
        kills += 1
    results = [worker.end_load(120) for worker in workers]
    for result in results:
        # Memory is short at times, with or without restarts; anything else would have ended the load.
        assert result["completed"] > 0, results
    for worker in workers:
        worker.ok("settle")
    daemon.agree(workers)
    say("%d kills and stops: %s" % (kills, [{name: int(r[name]) for name in ("steps", "completed", "max")} for r in results]))
    assert daemon.ctl("workers")["workers"] and len(daemon.ctl("workers")["workers"]) == 4
    status = daemon.ctl("status")["daemon"]
    assert status["counted_usec"] - status["uptime_usec"] > 1e6, "tenants' figures are those of all the time"
    for worker in workers:
        worker.quit()
    until(daemon.empty, "somebody is charged for what nobody has")
    daemon.check()
    daemon.stop()
    daemon.end_holder()


def nothing_is_mixed_up():
    """Attention over everything, compared bit for bit with the same over plain memory."""
    daemon = HeldDaemon(capacity="512M", page_size="64K", tenants=("t0", "t1"))
    replay = subprocess.Popen([BIN + "/kvpager-replay", "--verify", "--tenants", "2", "--requests", "300" if LONG else "40", "--seed", "3",
                               "--json"], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket), stdout=subprocess.PIPE, text=True)
    kills = 0
    while replay.poll() is None:
        time.sleep(0.05 + random.random() * 0.2)
        daemon.restart()
        kills += 1
        assert kills < 2000
    result = json.loads(replay.stdout.read())
    assert replay.returncode == 0 and result["verify_mismatches"] == 0, result
    assert result["requests_completed"] == result["requests"] and kills > 2, (kills, result)
    say("%d requests verified over %d kills" % (result["requests_completed"], kills))
    daemon.check()
    daemon.stop()
    daemon.end_holder()


def steps_within_marks_never_wait():
    daemon = HeldDaemon(capacity="64M", page_size="64K")
    worker = daemon.worker()
    worker.create(rows=4, tokens=4096)
    seq = worker.acquire(1000)
    worker.grow(seq, 1000)
    worker.ok("fill", seq, 7, 0, 1000)
    worker.ok("settle")
    ready = worker.step((seq, 1000))[1][0][1]
    daemon.kill()
    for _ in range(50):
        began = time.monotonic()
        assert worker.step((seq, ready), timeout=0) == ("0", [("0", ready)])
    worker.ok("check", seq, 7, 0, 1000)
    # One that needs a page waits, within its timeout, and is told that it may try again.
    assert worker.step((seq, 4000), timeout=50000)[0] == "ETIMEDOUT"
    daemon.start()
    worker.grow(seq, 4000)
    worker.ok("check", seq, 7, 0, 1000)
    daemon.resumed(1)
    daemon.agree([worker])
    # What it does while nobody listens is known afterwards: rows that are released, pages that are given back.
    daemon.kill()
    worker.ok("trim", seq, 100)
    second = worker.acquire(10)
    worker.ok("release", second)
    daemon.start()
    worker.ok("settle")
    daemon.agree([worker])
    daemon.kill()
    worker.ok("release", seq)
    worker.send("create", 4, 4096, 0, 2, 2, 64, 16)  # another cache, which nobody can make at the moment
    daemon.start()
    assert worker.read() == "ok"
    worker.grow(worker.acquire(100), 100)
    assert len(daemon.ctl("caches")["caches"]) == 2
    daemon.check()
    worker.quit()
    until(daemon.empty, "somebody is charged for what nobody has")
    daemon.stop()
    daemon.end_holder()


def who_does_not_come_back():
    daemon = HeldDaemon(config="[daemon]\nabsent-timeout = 1s\n[device d]\nbackend = host\ncapacity = 32M\npage-size = 64K\n"
                               "[tenant a]\nmatch = any\n[tenant b]\nmatch = any\n[tenant c]\nmatch = any\n")
    dies, stopped, stays = daemon.worker("a"), daemon.worker("b"), daemon.worker("c")
    for worker in (dies, stopped, stays):
        worker.create(rows=4, tokens=4096)
        worker.seq = worker.acquire(1000)
        worker.grow(worker.seq, 1000)
        worker.ok("settle")
    charged = daemon.tenant("b")["current_bytes"]
    assert charged > 0
    daemon.kill()
    dies.kill()
    suspend(stopped.pid)
    daemon.start()
    daemon.resumed(1)
    until(lambda: daemon.tenant("a")["current_bytes"] == 0, "who died while the daemon was not there is charged on")
    assert daemon.tenant("b")["current_bytes"] == charged, daemon.tenant("b")
    assert [cache["tenant"] for cache in daemon.ctl("caches")["caches"] if cache["pid"] == stopped.pid] == ["b"], daemon.ctl("caches")
    stays.grow(stays.seq, 2000)
    until(lambda: daemon.tenant("b")["current_bytes"] == 0, "who does not come back within absent-timeout is charged on")
    stopped.process.send_signal(signal.SIGCONT)
    answer = stopped.tell("step", 2000000, stopped.seq, 4000)
    assert answer.startswith("step ENOTCONN"), answer
    assert len(daemon.ctl("workers")["workers"]) == 1
    daemon.agree([stays])
    for worker in (stopped, stays):
        worker.quit()
    # One that dies while it is absent.
    worker = daemon.worker("a")
    worker.create(rows=4, tokens=4096)
    worker.grow(worker.acquire(1000), 1000)
    daemon.kill()
    suspend(worker.pid)
    daemon.start()
    assert daemon.tenant("a")["current_bytes"] > 0
    worker.kill()
    until(lambda: daemon.tenant("a")["current_bytes"] == 0, "who died while it was absent is charged on")
    daemon.check()
    daemon.stop()
    daemon.end_holder()


def ask(path, packet):
    """What the daemon answers to the first packet of a connection: the error's name, or None."""
    raw = Raw(path, greet=None)
    raw.send(RESUME, packet)
    opcode, _, body, _ = raw.receive()
    return raw, ERRORS[struct.unpack("<I", body[:4])[0]] if opcode == ERROR else None


def strangers_and_liars():
    daemon = HeldDaemon(capacity="32M", page_size="64K", tenants="ab")
    victim, thief = Raw(daemon.socket, tenant=b"a"), Raw(daemon.socket, tenant=b"b")
    granted = victim.grow(victim.cache())
    stolen = [grant.extent for grant in granted]
    own = [grant.extent for grant in thief.grow(thief.cache())]
    assert victim.token != (0, 0) and victim.token != thief.token

    def resume(worker, token):
        return struct.pack("<IIQQQ", 1, worker, 0, *token)

    # Nobody takes the place of a worker that is connected, its own process included.
    assert ask(daemon.socket, resume(victim.worker, victim.token))[1] == "NOT_KNOWN"
    daemon.restart()
    assert ask(daemon.socket, resume(victim.worker, (victim.token[0] ^ 1, victim.token[1])))[1] == "NOT_KNOWN"
    assert ask(daemon.socket, resume(victim.worker, thief.token))[1] == "NOT_KNOWN"
    assert ask(daemon.socket, resume(victim.worker + 7, victim.token))[1] == "NOT_KNOWN"
    assert ask(daemon.socket, resume(0xffffffff, victim.token))[1] == "NOT_KNOWN"
    child = os.fork()
    if child == 0:  # it has the token, and is another process
        os._exit(0 if ask(daemon.socket, resume(victim.worker, victim.token))[1] == "NOT_KNOWN" else 1)
    assert os.waitpid(child, 0)[1] == 0

    # What is another's, nobody's or of another time is not had by saying so.
    for lie in (stolen[0], own[0] ^ 1 << 32, 0xfffffffffffffff0, 12345):
        liar, error = ask(daemon.socket, resume(thief.worker, thief.token))
        assert error is None
        liar.send(HOLDS, struct.pack("<IIQ", 1, 0, lie), request=0)
        opcode, _, body, _ = liar.receive()
        assert opcode == ERROR and ERRORS[struct.unpack("<I", body[:4])[0]] == "BAD_EXTENT"
        liar.close()
    # The same place is taken once, and nothing but what belongs there is said from it.
    first, error = ask(daemon.socket, resume(thief.worker, thief.token))
    second, error2 = ask(daemon.socket, resume(thief.worker, thief.token))
    assert error is None and error2 is None
    first.receive_error("NOT_KNOWN")  # the newer ends the older
    second.send(HOLDS, struct.pack("<II%dQ" % len(own), len(own), 0, *own), request=0)
    second.send(RESUMED, struct.pack("<II", 0, 0), request=9)
    assert second.receive()[0] == OK
    late, error = ask(daemon.socket, resume(thief.worker, thief.token))
    assert error == "NOT_KNOWN", "it is back already"
    greedy, error = ask(daemon.socket, resume(victim.worker, victim.token))
    greedy.send(STATUS_GET, b"", request=5)
    opcode, _, body, _ = greedy.receive()
    assert opcode == ERROR and ERRORS[struct.unpack("<I", body[:4])[0]] == "NOT_GREETED"
    assert daemon.tenant("a")["current_bytes"] > 0
    daemon.check()
    daemon.stop()
    daemon.end_holder()


def starts_soon():
    """From kill -9 to the next daemon's READY=1, and to a page that a worker waits for: with nothing, and with very many extents."""
    daemon = HeldDaemon(capacity="4G", page_size="64K")
    worker = daemon.worker()
    worker.create(rows=64, tokens=100000, layout=0, layers=16, heads=2, dim=64)

    def measure(seq, tokens):
        ready, granted = [], []
        for i in range(11 if LONG else 3):
            daemon.kill()
            began = time.monotonic()
            daemon.start()
            ready.append(time.monotonic() - began)
            worker.grow(seq, tokens + 512 * (i + 1))
            granted.append(time.monotonic() - began)
        with open("/proc/%d/status" % daemon.pid) as f:
            resident = next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
        extents, medians = len(memfds(daemon.pid, "kvpager")), [1e3 * sorted(x)[len(x) // 2] for x in (ready, granted)]
        say("%d extents: ready after %.0f ms, a page granted after %.0f ms, %.1f MiB resident" % (extents, *medians, resident / 1024))
        assert resident < 32 * 1024, resident
        return min(ready)

    few = measure(worker.acquire(100), 100)
    for _ in range(13 if LONG else 4):  # an extent is an open file: what 20,000 allow
        seq = worker.acquire(100)
        for i in range(1, 26):  # a page of each of 32 planes
            worker.grow(seq, 256 * i - 20)
    worker.ok("settle")
    many = measure(seq, 6400)
    assert many < 10 * few, (many, few)
    daemon.agree([worker])
    worker.quit()
    daemon.stop()
    daemon.end_holder()


for test in (at_random_instants, starts_soon, nothing_is_mixed_up, steps_within_marks_never_wait, who_does_not_come_back,
             strangers_and_liars):
    test()
    say(test.__name__)
until(lambda: shmem_kib() <= before + 4096, lambda: "the kernel holds %d KiB more than before" % (shmem_kib() - before))
