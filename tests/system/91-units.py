# SPDX-License-Identifier: MIT
"""The units: the first client starts the daemon, which may do nothing that it does not need and nevertheless knows its peers."""
import os

from booted import Box, SOCKET, installed_tree
from box import until

CONFIG = """
[device d]
capacity = 64M
page-size = 64K
[tenant unit]
match = unit:chat-*.service
[tenant slice]
match = slice:pool.slice
[tenant group]
match = cgroup:/enter
[tenant user]
match = uid:nobody
%s
"""
STRANGER = "[tenant any]\nmatch = any"


def status_of(box, pid):
    with open(box.path("/proc/%s/status" % pid)) as f:
        return dict(line.rstrip().split(":\t", 1) for line in f if ":\t" in line)


def daemon(box):
    return box.show("kvpagerd.service", "MainPID")


def nothing_is_needed(box):
    """No configuration, no daemon, and nobody in particular."""
    assert box.show("kvpagerd.service", "ActiveState") == "inactive"
    done = box.run("kvpager-replay", "--verify", "--requests", "5", user="nobody", env={"KVPAGER_SOCKET": SOCKET})
    assert "verify mismatches                             0" in done.stdout, done.stdout
    assert box.show("kvpagerd.service", "ActiveState") == "active"
    refused = box.run("kvpagerctl", "reload", check=False)
    assert refused.returncode == 1 and "there is no /etc/kvpager/kvpagerd.conf" in refused.stderr, refused
    box.write("/etc/kvpager/kvpagerd.conf", "[tenant chat]\nmatch = any\n")  # a first one is there after a reload
    box.systemctl("reload", "kvpagerd.service")
    assert [t["name"] for t in box.ctl("tenants")["tenants"]] == ["chat"], box.ctl("tenants")
    assert box.ctl("status")["daemon"]["config"] == "/etc/kvpager/kvpagerd.conf"
    facts = status_of(box, daemon(box))
    assert facts["Uid"].split()[0] == box.run("id", "-u", "kvpager").stdout.strip()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[name], 16) == 0, (name, facts[name])
    assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"


def stays_closed(box):
    """What the unit takes away is not there in its namespaces either; /proc and the devices of everybody are."""
    pid = daemon(box)
    inside = ["nsenter", "--target", pid, "--mount", "--"]
    writable = box.run(*inside, "sh", "-c", "for f in / /etc /var/lib /run/kvpager /usr /sys; do test -w $f && echo $f; done", check=False)
    assert writable.stdout == "", "root could write to " + writable.stdout
    assert box.run(*inside, "ls", "/home", "/root").stdout.split() == ["/home:", "/root:"]
    box.run(*inside, "test", "-r", "/proc/1/cgroup")
    assert box.show("kvpagerd.service", "DevicePolicy") == "closed"


def knows_its_peers(box):
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG % "")
    box.systemctl("restart", "kvpagerd.service")
    stranger = box.worker(run=("--unit=other",), expect="error")
    assert "EACCES" in stranger.greeting or "EPERM" in stranger.greeting, stranger.greeting
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG % STRANGER)
    box.systemctl("reload", "kvpagerd.service")
    workers = {
        "unit": box.worker(run=("--unit=chat-1", "--uid=daemon", "--slice=pool")),
        "slice": box.worker(run=("--unit=other", "--uid=nobody", "--slice=pool")),
        "group": box.worker(),
        "user": box.worker(run=("--uid=nobody", "--property=PrivateUsers=yes", "--property=ProtectProc=invisible")),
        "any": box.worker(run=("--uid=daemon", "--property=PrivateNetwork=yes", "--property=PrivateTmp=yes")),
    }
    for worker in workers.values():
        worker.create()
        row = worker.acquire(100)
        worker.grow(row, 100)
    assert sorted(w["tenant"] for w in box.ctl("workers")["workers"]) == sorted(workers)
    box.check()
    # Who dies is known by its process, though another has its socket: see pidfd_open in the filter.
    box.systemctl("kill", "--signal=KILL", "chat-1.service")
    until(lambda: "unit" not in [w["tenant"] for w in box.ctl("workers")["workers"]], "the worker that was killed is still one")
    for name, worker in workers.items():
        if name != "unit":
            worker.quit()


def kills_only_by_drop_in(box):
    config = "[device d]\ncapacity = 8M\npage-size = 64K\n[tenant a]\nmatch = uid:daemon\non-overdue = kill\nreclaim-deadline = 100ms\n" \
             "[tenant b]\nmatch = any\nmemory.min = 4M\n"
    box.write("/etc/kvpager/kvpagerd.conf", config)
    box.systemctl("stop", "kvpagerd.service")  # a restart keeps the device as it is
    box.until("kvpager-holder.service", "ActiveState", "inactive")
    assert box.systemctl("start", "kvpagerd.service", check=False).returncode != 0
    assert any("CAP_KILL" in e["MESSAGE"] for e in box.journal("-u", "kvpagerd", "-p", "err"))
    os.makedirs(box.path("/etc/systemd/system/kvpagerd.service.d"))
    for name in ("kill-overdue", "many-gpus"):
        box.run("cp", "/usr/share/kvpager/kvpagerd.service.d/%s.conf" % name, "/etc/systemd/system/kvpagerd.service.d/")
    box.systemctl("daemon-reload")
    box.systemctl("restart", "kvpagerd.service")
    facts = status_of(box, daemon(box))
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[name], 16) == 1 << 5, (name, facts[name])
    deaf = box.worker(run=("--unit=deaf", "--uid=daemon"))
    deaf.create(rows=32, tokens=2048)
    for _ in range(12):  # more than what b is not guaranteed, were it there
        deaf.step((deaf.acquire(200), 200), timeout=0)
    deaf.ok("settle")
    box.systemctl("kill", "--signal=STOP", "deaf.service")
    other = box.worker()
    other.create(rows=32, tokens=2048)
    for _ in range(12):
        other.step((other.acquire(300), 300))
    assert deaf.process.wait(10) != 0
    assert any(e.get("MESSAGE", "").endswith("as on-overdue says") for e in box.journal("-u", "kvpagerd"))
    other.quit()


with Box() as box:
    box.install_tree(installed_tree())
    box.systemctl("enable", "--now", "kvpagerd.socket")
    nothing_is_needed(box)
    stays_closed(box)
    knows_its_peers(box)
    kills_only_by_drop_in(box)
