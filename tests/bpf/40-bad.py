# SPDX-License-Identifier: MIT
"""Where something is missing or not permitted, that is said once and all else works; a ring that overflows loses nothing for good."""
import json
import os
import signal
import subprocess

from observer import PROGRAM, Observer, mounted, temporary_folder, until
from box import Daemon, suspend
from cuda import LIBRARY, Program, Truth
from raw import Raw

daemon = Daemon(capacity="64M", page_size="64K", tenants=("chat",))
USER = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
env = dict(os.environ, KVPAGER_SOCKET=daemon.socket, KVPAGER_OBSERVE_SOCKET="/nonexistent")


def inject(error):
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bpf", "-e", "inject=bpf:error=" + error]


def look(prefix, *arguments):
    done = subprocess.run([*prefix, PROGRAM, "--json", "--own", "--for", "50ms", *arguments], env=env, capture_output=True, text=True,
                          timeout=60)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stderr, done.returncode


def refused(prefix, why):
    """Nothing is loaded, nothing made up, and the reason is said once; kvpagerd is asked all the same."""
    seen, text, status = look(prefix)
    assert status == 1, (status, text)
    assert seen["probes"] and seen["cudamem"] is None and seen["pager"] is None, seen
    for p in seen["probes"]:
        assert not p["loaded"] and not p["attached"] and p["hits"] is None and why in p["why"], (p, why)
    assert text.count(why) == 1, text
    assert (seen["ring"]["records"], seen["ring"]["lost"], seen["exits"]) == (0, 0, [])
    return seen


os.chmod(daemon.folder, 0o755)
os.chmod(os.path.dirname(daemon.folder), os.stat(os.path.dirname(daemon.folder)).st_mode | 0o055)
for folder in (os.environ["KVP_TOP"],):  # where a user who is nobody finds the program
    assert os.stat(folder).st_mode & 0o005 == 0o005, folder
seen = refused(mounted("mount -t tmpfs none /sys/kernel/btf"), "the kernel does not describe itself")
assert seen["kvpagerd"]["connected"]
refused(USER, "it lacks CAP_BPF")
refused(USER + ["--inh-caps=+cap_39", "--ambient-caps=+cap_39"], "it lacks CAP_PERFMON")
refused(inject("EPERM"), "the kernel does not permit it")
refused(mounted("mount -t tmpfs none /sys/kernel/security; echo 'none integrity [confidentiality]' >/sys/kernel/security/lockdown")
        + inject("EPERM"), "the kernel is locked down")
refused(inject("EINVAL"), "has not what it needs")

# With the two capabilities of the unit, and no more, it works; it may not look into everybody, and says so once.
seen, text, status = look(USER + ["--inh-caps=+cap_38,+cap_39", "--ambient-caps=+cap_38,+cap_39"], "--libcuda", LIBRARY)
assert status == 0, text
assert all(p["attached"] for p in seen["probes"] if p["kind"] == "tp_btf"), seen["probes"]
assert any(p["attached"] and p["name"] == "cuMemCreate" for p in seen["probes"] if p["target"] == LIBRARY), seen["probes"]
assert text.count("has mapped cannot be read") <= 1, text

# Libraries that are none, are cut short, or keep their functions to themselves.
folder = temporary_folder()
with open(LIBRARY, "rb") as f:
    whole = f.read()
stripped = bytearray(whole)
stripped[0x28:0x30] = bytes(8)  # e_shoff
stripped[0x3c:0x40] = bytes(4)  # e_shnum, e_shstrndx
for name, content, why in (("text", b"GROUP ( libcuda.so )\n" * 8, "no library of this machine"),
                           ("short", whole[:2000], "no table of its functions"),
                           ("stripped", bytes(stripped), "no table of its functions")):
    path = "%s/%s-libcuda.so.1" % (folder, name)
    with open(path, "wb") as f:
        f.write(content)
    seen, text, status = look((), "--libcuda", path)
    rows = [p for p in seen["probes"] if p["target"] == path]
    assert status == 0 and rows and all(not p["attached"] and p["hits"] is None and why in p["why"] for p in rows), (name, rows)
    assert text.count(why) == 1, (name, text)

# A library that is unloaded and loaded again in the middle.
truth = Truth()
observer = Observer(daemon, "--libcuda", LIBRARY, "--slow", "--ring", "4K")
program = Program(truth)
program.tell("run", 500, 1)
program.tell("reload")
program.tell("run", 500, 2)
seen = {p["pid"]: p for p in observer.json()["cudamem"]["processes"]}
assert program.pid in seen
calls = [p["hits"] for p in observer.probe("cuMemCreate", "uprobe", LIBRARY)]
assert calls == [truth.read()["cuMemCreate"][0]], (calls, truth.read())
program.end()

# More ends than the ring has room for, while nobody reads it: told of as lost, and found again.
N = 100


def child():
    pid = os.fork()
    if pid == 0:
        try:
            worker = Raw(daemon.socket, tenant=b"chat")  # noqa: F841: it is to live as long as the process
            os.write(ready[1], b".")
            signal.pause()
        finally:
            os._exit(97)
    return pid


ready = os.pipe()
pids = [child() for _ in range(N)]
came = 0
while came < N:
    came += len(os.read(ready[0], N))
until(lambda: len([e for e in observer.json()["exits"]]) == 0 and observer.json()["kvpagerd"]["connected"], "it follows")
until(lambda: len(daemon.ctl("workers")["workers"]) == N, "all are workers")
observer.json()
suspend(observer.pid)
for pid in pids:
    os.kill(pid, signal.SIGUSR1)
    os.waitpid(pid, 0)
os.kill(observer.pid, signal.SIGCONT)
until(lambda: sum(e["told"] for e in observer.json()["exits"]) == N, lambda: "it told of %d" % len(observer.json()["exits"]))
seen = observer.json()
assert {e["pid"] for e in seen["exits"]} == set(pids) and all(e["signal"] == signal.SIGUSR1 for e in seen["exits"])
assert seen["ring"]["lost"] > 0 and seen["ring"]["bytes"] == 4096, seen["ring"]
assert "did not fit" in observer.text(), observer.text()
assert "%d lost" % seen["ring"]["lost"] in observer.show("--once")
until(lambda: all("worker %d of tenant chat was killed by signal 10" % pid in daemon.text() for pid in pids), "the daemon says all of it")
daemon.check()

# Command lines that make no sense.
for words in (["--once", "--json"], ["--ring", "5000"], ["--for", "x"], ["extra"], ["--nothing"]):
    done = subprocess.run([PROGRAM, *words], env=env, capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and "--help" in done.stderr and not done.stdout, (words, done)
observer.stop()

# One that is started beside another takes its socket from it no more than a file of another kind.
first = Observer(daemon)
with open(first.folder + "/file", "w") as f:
    f.write("precious")
for path, why in ((first.socket, "Address already in use"), (first.folder + "/file", "File exists")):
    second = Observer(daemon, env={"KVPAGER_OBSERVE_SOCKET": path})
    assert "no socket at %s: %s" % (path, why) in second.text(), second.text()
    second.stop()
first.json()
with open(first.folder + "/file") as f:
    assert f.read() == "precious"
first.stop()
daemon.stop()
