# SPDX-License-Identifier: MIT
"""kvpagerctl without a daemon that answers: what failed, why, what to do, on stderr, within its time; rc 1, and 2 for usage."""
import os
import shutil
import signal
import subprocess
import time

from box import BIN, Daemon, suspend, temporary_folder, until

NOBODY = 65534
COMMANDS = ("status", "devices", "tenants", "workers", "caches", "counters", "check")
PICTURES = (("metrics",), ("metrics", "--format=text"), ("top", "--once"), ("top", "--once", "--json"), ("set", "t", "weight=1"),
            ("reload",), ("reload", "--json"), ("events",), ("events", "--follow", "--json"))


def fails(*words, rc=1, socket=None, says=(), **how):
    env = dict(os.environ, KVPAGER_SOCKET=socket or "/nowhere/kvpager.sock")
    done = subprocess.run([how.pop("program", BIN + "/kvpagerctl"), *words], env=env, capture_output=True, text=True, timeout=20,
                          **how)
    assert done.returncode == rc and done.stdout == "", (words, done)
    assert done.stderr.startswith("kvpagerctl: ") and all(s in done.stderr for s in says), (words, done.stderr)


# Nobody there.
for command in COMMANDS:
    for json in ((), ("--json",)):
        fails(command, *json, says=("/nowhere/kvpager.sock", "no such socket", "systemctl status kvpagerd"))
for words in PICTURES:
    fails(*words, says=("/nowhere/kvpager.sock", "no such socket", "systemctl status kvpagerd"))
fails("status", "--socket", "/tmp/" + "x" * 200, says=("longer than 107 bytes",))
for words in (("top", "--json"), ("set", "t"), ("set", "t", "weight"), ("events", "x"), ("metrics", "--json"), ("reload", "x"),
              ("devices", "x"), ("devices", "--follow"), ("--color",)):
    fails(*words, rc=2, says=("kvpagerctl help",))

# Not allowed: another user, in front of a folder that is its owner's alone.
daemon = Daemon()
if os.getuid() == 0:
    os.chmod(os.environ["TMPDIR"], 0o711)
    public = temporary_folder()
    os.chmod(public, 0o755)
    program = shutil.copy(BIN + "/kvpagerctl", public)
    nobody = {"program": program, "user": NOBODY, "group": NOBODY, "extra_groups": []}
    fails("status", socket=daemon.socket, says=("permission denied", "namei -l " + daemon.socket, "SocketGroup="), **nobody)
    # May connect: may look, and may not keep the daemon busy with proofs.
    os.chmod(daemon.folder, 0o755)
    env = dict(os.environ, KVPAGER_SOCKET=daemon.socket)
    subprocess.run([program, "tenants"], env=env, check=True, timeout=20, user=NOBODY, group=NOBODY, extra_groups=[])
    fails("check", socket=daemon.socket, says=("refused", "root"), **nobody)
else:
    os.chmod(daemon.socket, 0)
    fails("status", socket=daemon.socket, says=("permission denied", "namei -l " + daemon.socket, "SocketGroup="))
    os.chmod(daemon.socket, 0o666)

# Without standard streams: what would be printed goes nowhere else, to the daemon say.
for command in ("status", "events", "metrics", "top --once", "help"):
    closed = subprocess.run(["sh", "-c", "exec %s/kvpagerctl %s >&-" % (BIN, command)], capture_output=True, text=True, timeout=20,
                            env=dict(os.environ, KVPAGER_SOCKET=daemon.socket))
    assert closed.returncode == 1 and "cannot write the answer" in closed.stderr, (command, closed)
assert "is disconnected" not in daemon.text(), daemon.text()

# Hung: the command ends by its time, with an error.
suspend(daemon.pid)
for words in [(command,) for command in COMMANDS] + list(PICTURES):
    fails(*words, "--timeout=200ms", socket=daemon.socket, says=("did not answer in time", daemon.socket))

# Dead midway: asked, and then killed. It tries again, for a daemon may be restarting; there is none.
begun = subprocess.Popen([BIN + "/kvpagerctl", "workers", "--timeout=20"], env=dict(os.environ, KVPAGER_SOCKET=daemon.socket),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asked():  # it waits for an answer: sleeps in poll
    with open("/proc/%d/stat" % begun.pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "S" and os.path.exists("/proc/%d/fd/3" % begun.pid)


until(asked, "kvpagerctl waits")
start = time.monotonic()
daemon.process.kill()
daemon.process.wait(20)
out, err = begun.communicate(timeout=20)
assert begun.returncode == 1 and out == "" and "nobody listens" in err, (begun.returncode, out, err)
assert time.monotonic() - start < 15, "it noticed, and did not wait for its time to pass"

# Its socket is still there, and nobody behind it.
fails("status", socket=daemon.socket, says=("nobody listens", "systemctl status kvpagerd"))
