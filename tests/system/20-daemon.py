# SPDX-License-Identifier: MIT
"""The daemon's own life: its socket, a second daemon, activation, bad configurations, reload, stop, and clean errors for each."""
import os
import signal
import socket
import stat
import subprocess

from box import BIN, Daemon, temporary_folder, until
from raw import *

KVPAGERD = BIN + "/kvpagerd"
NOBODY = 65534
folder = temporary_folder()
os.chmod(os.environ["TMPDIR"], 0o755)  # ours alone; other users have to get as far as the socket
os.chmod(folder, 0o755)


def run(*args, env=None, expect=1, config=None, **how):
    """Runs kvpagerd to its end; returns what it said."""
    if config is not None:
        path = os.path.join(folder, "try.conf")
        with open(path, "w") as f:
            f.write(config)
        args = ("--config", path) + args
    env = {**os.environ, "KVPAGER_SOCKET": folder + "/try.sock", **(env or {})}
    done = subprocess.run([KVPAGERD, *args], env=env, capture_output=True, text=True, timeout=20, **how)
    assert done.returncode == expect, (args, done.returncode, done.stderr)
    return done.stdout + done.stderr


def says(text, *words):
    for word in words:
        assert word in text, "'%s' should say '%s'" % (text, word)


# ---- Options ----
says(run("--help", expect=0), "--config", "SIGHUP")
says(run("--version", expect=0), "kvpagerd 0.")
says(run("--nonsense", expect=2), "--help")
says(run("nonsense", expect=2), "unexpected argument 'nonsense'")
says(run("--log-level", "loud", expect=2), "expected error, warning, notice, info or debug")

# ---- Configurations that are refused, with file and line ----
says(run("--config", folder + "/missing.conf"), folder + "/missing.conf: cannot be opened: No such file or directory")
says(run(config="[daemon]\nsocket = x\n"), "try.conf:2: unknown key socket in [daemon]")
says(run(config="[tenant a]\nmatch = any\nweight = 1\nweight = 2\n"), "try.conf:4: [tenant a] weight stands a second time")
says(run(config="[device a]\n[device a]\n"), "try.conf:2: [device a] stands a second time; the first is in line 1")
says(run(config="[device a]\nx=1\ny=2\n"), "try.conf:2: unknown key x", "try.conf:3: unknown key y")
for options in (), ("--check-config",):
    says(run(*options, config="[device a]\npage-size = 5K\n"), "try.conf:2: [device a] page-size: a page of 5K: it must be a power of two")
    says(run(*options, config="[device a]\npage-size = 4M\nhugepages = yes\n"),
         "try.conf:3: [device a] hugepages: this kernel has no huge pages of 4M")
    says(run(*options, config="[device a]\n\ncapacity = 1M\n"), "try.conf:3: [device a] capacity: 1M is less than one page of 2M")
says(run("--check-config", config="[daemon]\nlog-level = x\n"), "try.conf:2:")
run("--check-config", config="[daemon]\nlog-level = info\n", expect=0)

# ---- Sockets that cannot be made ----
long_path = "/tmp/" + "x" * 103
says(run(env={"KVPAGER_SOCKET": long_path}), "the socket's path has 108 bytes and may have 107", long_path)
says(run(env={"KVPAGER_SOCKET": folder + "/no/such/s"}), folder + "/no/such cannot be made: No such file or directory")
with open(folder + "/file", "w"):
    pass
says(run(env={"KVPAGER_SOCKET": folder + "/file"}), folder + "/file exists and is no socket")
if os.geteuid() == 0:
    says(run(env={"KVPAGER_SOCKET": folder + "/s"}, user=NOBODY, group=NOBODY, extra_groups=[]), "Permission denied", folder + "/s.lock")
    says(run(config="[tenant a]\nmatch = any\non-overdue = kill\n", user=NOBODY, group=NOBODY, extra_groups=[]),
         "try.conf:1: [tenant a] on-overdue: kill needs the capability CAP_KILL")

# ---- A second daemon ----
daemon = Daemon(capacity="16M", page_size="64K")
says(run(env={"KVPAGER_SOCKET": daemon.socket}), "another kvpagerd (pid %d) serves %s" % (daemon.pid, daemon.socket))
Raw(daemon.socket).close()

# ---- kill -9 and again; an orderly stop takes the socket away ----
os.kill(daemon.pid, signal.SIGKILL)
daemon.process.wait(10)
assert os.path.exists(daemon.socket)
daemon.start()
worker = Raw(daemon.socket)
grant = worker.grow(worker.cache())[0]
os.pwrite(grant.fd, b"kept", 0)
daemon.stop()
worker.receive_error("SHUTTING_DOWN")
worker.expect_end()
assert os.pread(grant.fd, 4, 0) == b"kept", "what a worker has stays his when the daemon stops"
assert not os.path.exists(daemon.socket) and not os.path.exists(daemon.socket + ".lock")
says(daemon.text(), "stops: Terminated")
for unwanted in ("Assertion", "Sanitizer"):
    assert unwanted not in daemon.text()

# Whatever its files are called and have in them, it can be asked, and does nothing to a terminal.
daemon = Daemon()
daemon.stop()
os.rename(daemon.config, daemon.config + "\x1b[31m\n")
daemon.config += "\x1b[31m\n"
daemon.start()
assert daemon.ctl("status")["daemon"]["config"] == daemon.config.replace("\x1b", "?").replace("\n", "?")
with open(daemon.config, "a") as f:
    f.write("\x1b[32mweight = 1\n")
os.kill(daemon.pid, signal.SIGHUP)
until(lambda: "unknown key ?[32mweight" in daemon.text(), "it complains")
assert "\x1b" not in daemon.text() and all(line.startswith("kvpagerd: ") for line in daemon.text().splitlines())
daemon.check()
daemon.stop()

# Without standard streams: what it says goes nowhere else, into the lock say.
daemon = Daemon(wrap=("sh", "-c", 'exec "$@" >&- 2>&-', "sh"))
streams = [os.readlink("/proc/%d/fd/%d" % (daemon.pid, fd)) for fd in (0, 1, 2)]
assert streams == ["/dev/null"] * 3, streams
with open(daemon.socket + ".lock") as f:
    assert f.read() == "%d\n" % daemon.pid
daemon.check()
daemon.stop()

# ---- Who may connect ----
if os.geteuid() == 0:
    daemon = Daemon(config="[daemon]\nsocket-mode = 0600\n[device d]\ncapacity = 1M\npage-size = 64K\n")
    os.chmod(daemon.folder, 0o755)
    assert stat.S_IMODE(os.stat(daemon.socket).st_mode) == 0o600
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            os.stat(daemon.socket)
            Raw(daemon.socket)
        except PermissionError as error:
            os._exit(7 if error.filename is None else 8)
        os._exit(1)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
    daemon.stop()

    # Tenants by user and by group, primary or supplementary.
    daemon = Daemon(config="[device d]\ncapacity = 1M\npage-size = 64K\n[tenant root]\nmatch = uid:0\n[tenant four]\nmatch = gid:4444\n"
                           "[tenant five]\nmatch = gid:5555 uid:5555\n")
    os.chmod(daemon.folder, 0o755)

    def tenant_of(uid, gid, groups, wanted=b""):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            raw = Raw(daemon.socket, greet=None)
            raw.send(HELLO, hello(tenant=wanted))
            opcode, _, body, _ = raw.receive()
            answer = ERRORS[struct.unpack("<I", body[:4])[0]] if opcode == ERROR else body[32:].rstrip(b"\0").decode()
            os.write(writing, answer.encode())
            os._exit(0)
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0
        answer = os.read(reading, 256).decode()
        os.close(reading)
        return answer

    assert tenant_of(0, 0, []) == "root"
    assert tenant_of(0, 4444, []) == "root"
    assert tenant_of(0, 4444, [], b"four") == "four"
    assert tenant_of(1000, 4444, []) == "four"
    assert tenant_of(1000, 1000, [77, 4444]) == "four"
    assert tenant_of(5555, 1000, []) == "five"
    assert tenant_of(1000, 1000, [77]) == "NO_TENANT"
    assert tenant_of(1000, 4444, [], b"five") == "WRONG_TENANT"
    daemon.stop()

# ---- Activation ----
path = folder + "/activated.sock"
for kind, expected in ((socket.SOCK_SEQPACKET, None), (socket.SOCK_STREAM, "SOCK_SEQPACKET")):
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(path)
    listener.listen(16)
    log = open(folder + "/activated.log", "w+")
    script = 'exec 3<&%d; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0"' % listener.fileno()
    process = subprocess.Popen(["sh", "-c", script, KVPAGERD], pass_fds=(listener.fileno(),), stderr=log,
                               env={k: v for k, v in os.environ.items() if k != "KVPAGER_SOCKET"})
    if expected:
        assert process.wait(20) == 1
        log.seek(0)
        says(log.read(), expected)
    else:
        listener.close()
        raw = Raw(path)
        raw.round_trip()
        raw.close()
        process.terminate()
        assert process.wait(20) == 0
        assert os.path.exists(path), "the socket is systemd's"
    os.unlink(path)

# ---- Reload ----
base = "[device d]\ncapacity = 4M\npage-size = 64K\nvirgin-pages = 0\n[tenant a]\nmatch = any\nmemory.max = %s\n"
daemon = Daemon(config=base % "128K")
worker = Raw(daemon.socket)
cache = worker.cache()
grants = worker.grow(cache, need=2)
worker.ask(grow_item(cache, first=2))
assert worker.receive_failed()[0][2] == "TENANT_FULL"


def reload(config, counter):
    before = daemon.counter(counter)
    with open(daemon.config, "w") as f:
        f.write(config)
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: daemon.counter(counter) == before + 1, counter)


reload(base % "256K", "reloads")
grants += worker.grow(cache, first=2, need=2)
reload((base % "1G") + "nonsense = 1\n", "reloads_failed")
says(daemon.text(), "kvpagerd.conf:8: unknown key nonsense in [tenant a]", "the configuration stays as it was")
worker.ask(grow_item(cache, first=4))
assert worker.receive_failed()[0][2] == "TENANT_FULL", "the old limit holds"
reload((base % "1G").replace("4M", "8M"), "reloads_failed")
says(daemon.text(), "the devices cannot be changed while the daemon runs: restart it")
reload((base % "256K").replace("[tenant a]", "[tenant b]"), "reloads")
assert sorted(t["name"] for t in daemon.ctl("tenants")["tenants"]) == ["a", "b"], "a has a worker yet"
other = Raw(daemon.socket)
assert other.tenant == "b"
other.close()
worker.round_trip()
worker.close()
until(lambda: [t["name"] for t in daemon.ctl("tenants")["tenants"]] == ["b"], "a went with its worker")
says(daemon.text(), "in force")
small = "[device d]\ncapacity = 4M\npage-size = 64K\nvirgin-pages = 0\n[tenant b]\nmatch = any\nmemory.min = %s\n"
reload(small % "4M", "reloads")
reload(small % "4097K", "reloads_failed")
says(daemon.text(), "kvpagerd.conf:7: memory.min of all tenants together is 4097K (b 4097K), and [device d] has 4M")
reload(small % "50%" + "memory.max = 1M\n", "reloads_failed")
says(daemon.text(), "kvpagerd.conf:5: [tenant b] memory.min: it is more than memory.max")
assert daemon.tenant("b")["min_bytes"] == 4 << 20
daemon.check()
daemon.stop()
