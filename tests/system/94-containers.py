# SPDX-License-Identifier: MIT
"""Workers in containers: namespaces of their own, of the host the socket's folder and nothing else, and the tenant that is theirs."""
import os

from booted import Box, installed_tree

CONFIG = """
[device d]
capacity = 64M
page-size = 64K
[tenant podman]
match = unit:libpod-*.scope
[tenant pods]
match = slice:kubepods.slice
[tenant docker]
match = cgroup:/docker
[tenant rootless]
match = uid:daemon
"""
# A root with programs to run, and the one folder. Everything is new but the time.
CONTAINER = """#!/bin/sh
set -eu
root=$(mktemp -d)
mount -t tmpfs tmpfs "$root"
mkdir -p "$root/usr" "$root/run/kvpager"
mount --rbind /usr "$root/usr"
for link in bin sbin lib lib32 lib64 libx32; do [ ! -e "/$link" ] || ln -s "usr/$link" "$root/$link"; done
cp /share/test-worker "$root/"
mount --bind /run/kvpager "$root/run/kvpager"
shift
exec chroot "$root" /test-worker "$@"
"""
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--ipc", "--uts", "--net")


def container(box, user=None, run=None, group=None):
    """What is in it becomes root by a user namespace, unless it is that already."""
    wrap = ["unshare", *NAMESPACES] + (["--user", "--map-root-user"] if user or "--user" in (run or ()) else [])
    run = None if run is None else [word for word in run if word != "--user"]
    words = ["sh", "-c", 'mkdir -p "/sys/fs/cgroup$0" && echo $$ >"/sys/fs/cgroup$0/cgroup.procs" && exec "$@"', group] if group else []
    return box.worker(user=user, run=run, program=words + wrap + ["/share/container"])


def works(worker):
    worker.create()
    row = worker.acquire(200)
    worker.grow(row, 200)
    worker.ok("fill", row, 77, 0, 200)
    worker.ok("check", row, 77, 0, 200)
    return row


with Box() as box:
    box.install_tree(installed_tree())
    box.write("/etc/kvpager/kvpagerd.conf", CONFIG)
    box.write("/share/container", CONTAINER, mode=0o755)
    box.systemctl("start", "kvpagerd.socket")
    workers = {
        "podman": container(box, run=("--scope", "--unit=libpod-1234.scope", "--slice=machine.slice")),
        "pods": container(box, run=("--unit=cri-containerd-1", "--slice=kubepods-burstable-pod1_2.slice", "--user", "--uid=nobody")),
        "docker": container(box, group="/docker/0123"),
        "rootless": container(box, user="daemon"),
    }
    held = {tenant: works(worker) for tenant, worker in workers.items()}
    rows = {row["tenant"]: row for row in box.ctl("workers")["workers"]}
    assert sorted(rows) == sorted(workers), rows
    assert rows["pods"]["uid"] == int(box.run("id", "-u", "nobody").stdout), "its root is not ours"
    for row in rows.values():  # none of them is in a namespace of the daemon's, and it is known by its number there
        for kind in ("mnt", "pid", "cgroup", "net", "ipc", "uts"):
            assert os.readlink(box.path("/proc/%d/ns/%s" % (row["pid"], kind))) != os.readlink(box.path("/proc/1/ns/" + kind)), kind
    for tenant in ("pods", "rootless"):
        assert os.readlink(box.path("/proc/%d/ns/user" % rows[tenant]["pid"])) != os.readlink(box.path("/proc/1/ns/user"))
    box.check()
    # Root of a container is root for the kernel, and no operator: it may look, as everybody may.
    for wrap, allowed in ((["unshare", *NAMESPACES], False), ([], True)):
        done = box.run(*wrap, "kvpagerctl", "set", "docker", "weight=7", check=False)
        assert (done.returncode == 0) == allowed and ("root or in the group" in done.stderr) == (not allowed), done
        box.run(*wrap, "kvpagerctl", "status")
        groups = ("python3", "-c", "import os, sys; os.setgroups(range(1, 60000)); os.execvp(sys.argv[1], sys.argv[1:])")
        done = box.run(*wrap, *groups, "kvpagerctl", "set", "docker", "weight=7", check=False)
        assert done.returncode != 0, "who hides behind his groups"
    # That folder has nothing else, which somebody's root might open.
    assert os.listdir(box.path("/run/kvpager")) == ["kvpager.sock"]
    assert box.show("kvpager-holder.service", "ActiveState") == "active"
    # They go on with what they have when the daemon is another one, and are the same to it.
    box.systemctl("restart", "kvpagerd.service")
    for tenant, worker in workers.items():
        worker.grow(held[tenant], 5000)
        worker.ok("check", held[tenant], 77, 0, 200)
    assert {row["tenant"]: row["pid"] for row in box.ctl("workers")["workers"]} == {tenant: row["pid"] for tenant, row in rows.items()}
    box.check()
    # Another socket in the same folder is seen, for it is the folder that they have.
    box.systemctl("restart", "kvpagerd.socket")
    for worker in workers.values():
        worker.ok("disconnect")
        worker.ok("connect")
        works(worker)
        worker.quit()
    box.check()
