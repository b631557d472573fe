# SPDX-License-Identifier: MIT
"""What a restart comes to when something of what it needs is damaged, lost or changed: each has its line in the log and in
kvpager-holder(8), the daemon always serves, and no page comes to be in two workers' hands."""
import shutil
import struct
import time

from holding import *
from raw import ROWS, Raw, packet

before = shmem_kib()


def begin(**options):
    daemon = HeldDaemon(**dict(dict(capacity="16M", page_size="64K", tenants="ab"), **options))
    workers = [daemon.worker("a"), daemon.worker("b")]
    for worker in workers:
        worker.create(rows=4, tokens=4096)
        worker.seq = worker.acquire(1000)
        worker.grow(worker.seq, 1000)
        worker.ok("fill", worker.seq, 1 + workers.index(worker), 0, 1000)
        worker.ok("settle")
    return daemon, workers


def end(daemon, workers):
    for worker in workers:
        worker.quit()
    until(daemon.empty, "somebody is charged for what nobody has")
    daemon.check()
    daemon.stop()
    daemon.end_holder()


def state_of(holder):
    fd, = memfds(holder.pid, "kvpager-state")
    return open("/proc/%d/fd/%d" % (holder.pid, fd), "r+b", buffering=0)


def go_on(daemon, workers, tokens=2000):
    """As if nothing had been."""
    daemon.resumed(len(workers))
    for i, worker in enumerate(workers):
        worker.grow(worker.seq, tokens)
        worker.ok("check", worker.seq, 1 + i, 0, 1000)
        worker.ok("settle")
    daemon.agree(workers)


def are_lost(daemon, workers, why, filled=(1000, 1000), numbers=(1, 2)):
    """They compute on with what they have, and are told by the next call that needs the daemon; newcomers are served."""
    assert why in daemon.text(), daemon.text()
    for i, worker in enumerate(workers):
        answer = worker.tell("step", 20000000, worker.seq, 4096)
        assert answer.startswith("step ENOTCONN"), answer
        worker.ok("check", worker.seq, numbers[i], 0, filled[i])
    newcomer = daemon.worker("a")
    newcomer.create(rows=4, tokens=4096)
    seq = newcomer.acquire(2000)
    newcomer.grow(seq, 2000)
    newcomer.ok("check", seq, 0, 0, 2000)  # zeroes: nobody's page of before
    newcomer.ok("fill", seq, 99, 0, 2000)
    for i, worker in enumerate(workers):
        worker.ok("check", worker.seq, numbers[i], 0, filled[i])
    newcomer.ok("settle")
    daemon.agree([newcomer])
    newcomer.quit()


def damage(change, why):
    daemon, workers = begin()
    daemon.kill()
    with state_of(daemon.holder) as state:
        change(state)
    daemon.start()
    are_lost(daemon, workers, why)
    end(daemon, workers)


def overwrite(at, bytes_):
    def change(state):
        state.seek(at)
        state.write(bytes_)
    return change


def find(state, what):
    """Where data begins and ends in the file."""
    runs, at = [], 0
    while True:
        try:
            at = os.lseek(state.fileno(), at, os.SEEK_DATA)
        except OSError:
            return runs
        stop = os.lseek(state.fileno(), at, os.SEEK_HOLE)
        runs.append((at, stop))
        at = stop


def contents_of(state):
    """{where: byte} of all that is not 0."""
    return {at + i: byte for at, stop in find(state, None)
            for i, byte in enumerate(os.pread(state.fileno(), stop - at, at)) if byte}


def the_header():
    damage(overwrite(40, b"\xff" * 64), "its header is damaged")


def the_length():
    damage(lambda state: state.truncate(8192), "it is cut short")


def the_snapshot():
    def change(state):  # after an orderly stop there is nothing but header, workers and snapshot
        at, stop = find(state, None)[-1]
        state.seek(stop - 5000)
        state.write(b"\x5a" * 64)

    daemon, workers = begin()
    daemon.stop()
    with state_of(daemon.holder) as state:
        change(state)
    daemon.start()
    are_lost(daemon, workers, "its snapshot is damaged")
    end(daemon, workers)


def the_log():
    """What it no longer tells may have been granted: all keep what they have, and nobody gets a page of it."""
    daemon, workers = begin()
    daemon.stop()
    daemon.start()
    daemon.resumed(2)
    a, b = workers
    a.ok("settle")
    with state_of(daemon.holder) as state:
        before = contents_of(state)
    a.grow(a.seq, 4000)
    a.ok("fill", a.seq, 1, 0, 4000)
    a.ok("settle")
    daemon.kill()
    with state_of(daemon.holder) as state:
        written = [at for at, byte in contents_of(state).items() if at > 65536 and before.get(at, 0) != byte]
        state.seek(written[len(written) // 2])
        state.write(b"\0")
    daemon.start()
    are_lost(daemon, workers, "its log is damaged", filled=(4000, 1000))
    end(daemon, workers)


def before_it_was_ready():
    """What a daemon leaves that ends before it has all devices and tenants is not taken for all that there is."""
    daemon = HeldDaemon(capacity="16M", page_size="64K", tenants="ab")
    with open(daemon.config, "a") as f:
        f.write("[device host1]\nbackend = host\ncapacity = 16M\npage-size = 64K\n")
    died = 0
    for call, number in [("epoll_ctl", n) for n in range(1, 9)] + [("write", n) for n in range(1, 4)]:
        daemon.kill()
        daemon.end_holder()
        os.unlink(os.path.join(daemon.folder, "holder.sock"))
        daemon.start_holder()
        dying = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                                  "inject=%s:signal=SIGKILL:when=%d" % (call, number), BIN + "/kvpagerd", "--config", daemon.config],
                                 env=dict(os.environ, KVPAGER_SOCKET=daemon.socket), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            died += dying.wait(5) == -signal.SIGKILL
        except subprocess.TimeoutExpired:  # it does not call so often
            subprocess.run(["pkill", "-KILL", "-P", str(dying.pid)], check=True)
            dying.wait(20)
        daemon.start()
        devices = [d["name"] for d in daemon.ctl("devices")["devices"]]
        assert devices == ["host0", "host1"], (call, number, devices, daemon.text()[-1000:])
        worker = daemon.worker("a")
        worker.create(rows=4, tokens=4096)
        worker.grow(worker.acquire(100), 100)
        worker.quit()
    assert died > 6, died
    daemon.stop()
    daemon.end_holder()


def the_holder():
    daemon, workers = begin()
    daemon.end_holder()
    until(lambda: "the holder has ended" in daemon.text(), "nobody says that the holder is gone")
    workers[0].grow(workers[0].seq, 1500)
    os.unlink(os.path.join(daemon.folder, "holder.sock"))
    daemon.start_holder()
    until(lambda: "another holder has all" in daemon.text(), "the next holder is not found")
    daemon.agree(workers)
    daemon.restart()
    go_on(daemon, workers)
    # Both at once.
    daemon.end_holder()
    daemon.kill()
    os.unlink(os.path.join(daemon.folder, "holder.sock"))
    daemon.start_holder()
    daemon.start()
    are_lost(daemon, workers, "")
    end(daemon, workers)
    # A holder that hangs is given up, and serves again when it does.
    daemon, workers = begin()
    suspend(daemon.holder.pid)
    seq = workers[0].acquire(10)
    for i in range(30):
        workers[0].grow(workers[0].seq, 1000 + 100 * i)
    daemon.holder.send_signal(signal.SIGCONT)
    daemon.ctl("status")
    workers[0].ok("settle")
    until(lambda: sorted(memfds(daemon.pid, "kvpager").values()) == sorted(memfds(daemon.holder.pid, "kvpager").values()),
          "the holder has not what the daemon has")
    end(daemon, workers)


def the_notes():
    """The daemon that cannot note any more goes on without; what it does not note nobody keeps for the next one."""
    daemon, workers = begin()
    daemon.kill()
    suspend(workers[0].pid)
    daemon.start()
    daemon.resumed(1)
    with open(os.path.join(daemon.folder, "strace"), "w") as f:
        tracer = subprocess.Popen(["strace", "-qq", "-f", "-p", str(daemon.pid), "-e", "trace=pwrite64", "-e",
                                   "inject=pwrite64:error=ENOSPC"], stdout=f, stderr=f)
    until(lambda: "TracerPid:\t%d\n" % tracer.pid in open("/proc/%d/status" % daemon.pid).read(), "strace does not trace")
    raw = Raw(daemon.socket, tenant=b"b")
    cache = raw.cache(rows=64)
    rows = packet(ROWS, struct.pack("<II", 512, 0) + b"".join(struct.pack("<IIII", cache, i % 64, i // 64 % 2, 0) for i in range(512)))
    while "nothing is noted any more" not in daemon.text():  # until the log is full
        for _ in range(50):
            raw.send_bytes(rows)
        raw.round_trip()
    tracer.terminate()
    tracer.wait()
    until(lambda: not memfds(daemon.holder.pid, "kvpager"), "the holder keeps what nobody will take over")
    raw.close()
    lost, kept = workers
    os.kill(lost.pid, signal.SIGCONT)
    answer = lost.tell("step", 20000000, lost.seq, 4096)
    assert answer.startswith("step ENOTCONN"), answer
    lost.quit()
    kept.grow(kept.seq, 2000)
    kept.ok("check", kept.seq, 2, 0, 1000)
    kept.ok("settle")
    daemon.kill()
    daemon.start()
    are_lost(daemon, [kept], "", numbers=(2,))
    end(daemon, [kept])


def not_ours():
    """Whoever may write to the folder of the socket may listen where a holder would, and gets nothing."""
    folder = temporary_folder()
    os.chmod(folder, 0o777)
    for above in (os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        os.chmod(above, os.stat(above).st_mode | 0o011)
    path = os.path.join(folder, "holder.sock")
    stranger = subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BIN + "/kvpager-holder", "--socket", path])
    until(lambda: os.path.exists(path), "the stranger does not listen")
    daemon = Daemon(capacity="16M", page_size="64K", wrap=("env", "KVPAGER_HOLDER=" + path))
    assert path + " is another user's" in daemon.text(), daemon.text()
    worker = daemon.worker()
    worker.create(rows=4, tokens=4096)
    worker.grow(worker.acquire(1000), 1000)
    assert not memfds(stranger.pid, "kvpager"), "a stranger has our memory"
    worker.quit()
    daemon.stop()
    stranger.kill()
    stranger.wait()


def what_stays():
    """A capacity that does not come into force keeps the daemon from nothing, and what stays as it was is said."""
    daemon, workers = begin()
    daemon.stop()
    with open(daemon.config) as f:
        text = f.read()
    with open(daemon.config, "w") as f:
        f.write(text.replace("capacity = 16M", "capacity = 64M\nvirgin-pages = 3").replace("[tenant a]", "[tenant a]\nmemory.min = 24M")
                .replace("[tenant b]", "[tenant b]\nmemory.min = 8M")+ "[daemon]\nmax-workers = 77\n")
    daemon.start()
    assert "keeps its capacity of 16 MiB" in daemon.text() and "each memory.min is lowered to 50 %" in daemon.text(), daemon.text()
    assert "keeps virgin-pages = " in daemon.text(), daemon.text()
    assert "and not 77, until the daemon and the holder are stopped" in daemon.text(), daemon.text()
    assert {t["name"]: t["min_bytes"] >> 20 for t in daemon.ctl("tenants")["tenants"]} == {"a": 12, "b": 4}
    go_on(daemon, workers)
    end(daemon, workers)


def without_one():
    daemon = Daemon(capacity="16M", page_size="64K")
    assert "no holder listens on" in daemon.text()
    worker = daemon.worker()
    worker.create(rows=4, tokens=4096)
    seq = worker.acquire(1000)
    worker.grow(seq, 1000)
    worker.ok("fill", seq, 5, 0, 1000)
    daemon.process.kill()
    daemon.process.wait()
    answer = worker.tell("step", 20000000, seq, 4000)
    assert answer.startswith("step ENOTCONN"), answer
    worker.ok("check", seq, 5, 0, 1000)
    daemon.start()
    answer = worker.tell("step", 1000, seq, 4000)
    assert answer.startswith("step ENOTCONN"), answer
    worker.quit()
    daemon.stop()


def the_devices():
    daemon, workers = begin()
    daemon.stop()
    with open(daemon.config) as f:
        text = f.read()
    with open(daemon.config, "w") as f:
        f.write(text.replace("page-size = 64K", "page-size = 128K"))
    daemon.start()
    are_lost(daemon, workers, "[device host0] is not what it was")
    end(daemon, workers)
    # Another capacity is no reason: it stays as it was, and that is said.
    daemon, workers = begin()
    daemon.stop()
    with open(daemon.config, "w") as f:
        f.write(text.replace("capacity = 16M", "capacity = 32M"))
    daemon.start()
    assert "keeps its capacity of 16 MiB" in daemon.text()
    go_on(daemon, workers)
    end(daemon, workers)
    # Tenants may come and go.
    daemon, workers = begin()
    daemon.stop()
    with open(daemon.config, "w") as f:
        f.write(text.replace("[tenant a]", "[tenant c]"))
    daemon.start()
    go_on(daemon, workers)
    assert {t["name"]: t["workers"] for t in daemon.ctl("tenants")["tenants"]} == {"a": 1, "b": 1, "c": 0}
    end(daemon, workers)


def the_program():
    """An upgrade, and a downgrade: another program, with the same tables."""
    other = os.path.join(temporary_folder(), "kvpagerd")
    shutil.copy(BIN + "/kvpagerd", other)
    with open(other, "ab") as f:
        f.write(b"another build")
    daemon, workers = begin()
    daemon.stop()
    daemon.start(program=other)
    go_on(daemon, workers, 1500)
    daemon.stop()
    daemon.start()
    go_on(daemon, workers, 2000)
    workers[0].grow(workers[0].seq, 3000)
    workers[0].ok("fill", workers[0].seq, 1, 0, 3000)
    daemon.kill()  # and what one wrote without coming to an end is not the other's to read
    daemon.start(program=other)
    are_lost(daemon, workers, "another build wrote its log", filled=(3000, 1000))
    end(daemon, workers)


def a_new_beginning():
    """What was left cannot be used, and the device is another size by now: so is all that follows from that."""
    other = os.path.join(temporary_folder(), "kvpagerd")
    shutil.copy(BIN + "/kvpagerd", other)
    with open(other, "ab") as f:
        f.write(b"another build")
    text = "[device d]\nbackend = host\ncapacity = %s\npage-size = 64K\nvirgin-pages = 0\n[tenant a]\nmatch = any\nmemory.min = %s\n"
    daemon = HeldDaemon(config=text % ("4M", "1M"))
    raw = Raw(daemon.socket)
    with open(daemon.config, "w") as f:
        f.write(text % ("16M", "8M"))
    daemon.kill()
    daemon.start(program=other)
    assert daemon.tenant("a")["min_bytes"] == 8 << 20, daemon.tenant("a")
    raw = Raw(daemon.socket)
    cache = raw.cache(row_pages=1024)
    for i in range(256):  # each of them an extent
        os.close(raw.grow(cache, first=2 * i, need=1)[0].fd)
    raw.close()
    until(daemon.empty, "somebody is charged for what nobody has")
    daemon.stop()
    daemon.end_holder()


for test in (the_header, the_length, the_snapshot, the_log, before_it_was_ready, the_notes, not_ours, what_stays,
             the_holder, without_one, the_devices, the_program, a_new_beginning):
    test()
    say(test.__name__)
until(lambda: shmem_kib() <= before + 4096, lambda: "the kernel holds %d KiB more than before" % (shmem_kib() - before))
