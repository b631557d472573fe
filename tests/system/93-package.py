# SPDX-License-Identifier: MIT
"""The Debian packages: installing them is all there is to do, an upgrade keeps the socket and nobody who connects fails, and after a
purge nothing is left. With KVP_LONG they are built as `make deb` does, and lintian has nothing to say."""
import glob
import os
import shutil
import subprocess

from booted import Box, SOCKET, make
from box import temporary_folder

TOP = os.environ["KVP_TOP"]
CONNECT = """
import select, socket, sys
n = 0
print("here", flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect("%s")
        n += 1
print(n)
""" % SOCKET


def packed(folder):
    """The programs that are tested, packed by debian/rules."""
    source = os.path.join(folder, "kvpager")
    os.mkdir(source)
    for name in ("debian", "systemd"):
        shutil.copytree(os.path.join(TOP, name), os.path.join(source, name))
    settings = subprocess.run(["make", "-s", "-f", "debian/rules", "settings"], cwd=TOP, stdout=subprocess.PIPE, text=True, check=True)
    make(*settings.stdout.split(), "DESTDIR=%s/tree" % folder, "install")
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    env.update(DEB_BUILD_OPTIONS="nocheck nostrip noautodbgsym", DPKG_DEB_COMPRESSOR_TYPE="none")
    done = subprocess.run(["debian/rules", "binary", "PREBUILT=%s/tree" % folder], cwd=source, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert len(glob.glob(folder + "/*.deb")) == 3, os.listdir(folder)


def built(folder):
    source = os.path.join(folder, "kvpager")
    shutil.copytree(TOP, source, symlinks=True, ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CC", "VARIANT")}
    done = subprocess.run(["make", "deb"], cwd=source, env=dict(env, DEB_BUILD_OPTIONS="nocheck parallel=2"), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert shutil.which("lintian"), "make check-long needs the package lintian"
    done = subprocess.run(["lintian", "--info", "--fail-on", "error,warning,info", *glob.glob(folder + "/*.changes")], cwd=folder,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def again(folder, version):
    """The same files as packages of another version."""
    os.mkdir(os.path.join(folder, version))
    for name in ("kvpager", "libkvpager0"):
        deb, = glob.glob("%s/%s_*.deb" % (folder, name))
        tree = os.path.join(folder, version, name)
        subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
        with open(tree + "/DEBIAN/control") as f:
            text = f.read()
        old = next(line.split()[1] for line in text.splitlines() if line.startswith("Version:"))
        with open(tree + "/DEBIAN/control", "w") as f:
            f.write(text.replace(old, version))
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, "%s_%s.deb" % (tree, version)], check=True,
                       stdout=subprocess.DEVNULL)


def ours(box):
    """What has our name, where things are made that no package has in its list."""
    found = box.run("find", "/etc", "/run", "/var", "/usr/lib/systemd", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "-xdev",
                    "-name", "*kvp*", "-not", "-path", "/run/systemd/*", "-not", "-path", "/var/cache/man/*")
    users = [box.run("getent", database, "kvpager", check=False).stdout for database in ("passwd", "group")]
    return set(found.stdout.split()) | set(users)


def dpkg(box, *words):
    """What apt ends in, without what it thinks about before."""
    box.run("dpkg", *words, seconds=100)


def glob_of_share(box, pattern):
    deb, = glob.glob(os.path.join(box.share, pattern))
    return "/share/" + os.path.basename(deb)


def nobody_fails(box, do):
    """Somebody connects all the time, and it works each time."""
    with box.popen("python3", "-c", CONNECT, user="nobody", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                   text=True) as client:
        assert client.stdout.readline() == "here\n"
        do()
        out, err = client.communicate("\n", timeout=20)
        assert client.returncode == 0 and int(out) > 10, (out, err)


folder = temporary_folder()
os.chmod(folder, 0o755)
if os.environ.get("KVP_LONG"):
    built(folder)
else:
    packed(folder)
again(folder, "9.0.1")
with Box() as box:
    for deb in glob.glob(folder + "/*.deb") + glob.glob(folder + "/9.0.1/*.deb"):
        shutil.copy(deb, box.share)
    before = ours(box)
    deb, = glob.glob(folder + "/kvpager_*.deb")
    box.run("apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "install", "/share/" + os.path.basename(deb),
            env={"DEBIAN_FRONTEND": "noninteractive"}, seconds=100)

    # Nothing is left to do, and the one command of the manual does no harm.
    assert box.show("kvpagerd.socket", "ActiveState") == "active" and box.show("kvpagerd.service", "ActiveState") == "inactive"
    assert box.systemctl("is-enabled", "kvpagerd.socket").stdout == "enabled\n"
    assert box.systemctl("is-active", "kvpager-metrics.socket", check=False).stdout == "inactive\n"
    box.systemctl("enable", "--now", "kvpagerd.socket")
    replay = box.run("kvpager-replay", "--verify", "--requests", "5", user="nobody", env={"KVPAGER_SOCKET": SOCKET})
    assert "verify mismatches                             0" in replay.stdout, replay.stdout
    assert box.run("journalctl", "-u", "kvpagerd", "-x", "--no-pager").stdout.count("Defined-By: kvpager") > 1

    # systemd has nothing to say of the units as they are installed, man pages that they name included.
    units = box.run("sh", "-c", "cd /lib/systemd/system && ls kvp*.service kvp*.socket | grep -v @").stdout.split()
    done = box.run("systemd-analyze", "verify", *units)
    assert done.stderr == "" and len(units) >= 5, done.stderr

    # An upgrade: another daemon behind the same socket, for a worker that goes on with what it has.
    dpkg(box, "--install", glob_of_share(box, "libkvpager0_*_*.deb"))
    worker = box.worker(user="nobody")
    worker.create()
    row = worker.acquire(1000)
    worker.grow(row, 500)
    worker.ok("fill", row, 77, 0, 500)
    pid, since = box.show("kvpagerd.service", "MainPID"), box.show("kvpagerd.socket", "ActiveEnterTimestampMonotonic")
    nobody_fails(box, lambda: dpkg(box, "--install", "/share/kvpager_9.0.1.deb", "/share/libkvpager0_9.0.1.deb"))
    assert box.run("dpkg-query", "-Wf${Version}", "kvpager").stdout == "9.0.1"
    assert box.show("kvpagerd.service", "ActiveState") == "active" and box.show("kvpagerd.service", "MainPID") != pid
    assert box.show("kvpagerd.socket", "ActiveEnterTimestampMonotonic") == since
    worker.grow(row, 1000)
    worker.ok("check", row, 77, 0, 500)
    box.check()
    worker.quit()
    box.systemctl("stop", "kvpagerd.service")
    dpkg(box, "--install", "/share/kvpager_9.0.1.deb")
    assert box.show("kvpagerd.service", "ActiveState") == "inactive", "who did not run is not started by an upgrade"

    # Removed while it runs, then purged.
    box.write("/etc/kvpager/kvpagerd.conf", "[device d]\ncapacity = 64M\n")
    box.systemctl("start", "kvpager-metrics.socket")
    box.worker(user="nobody").quit()
    files = box.run("dpkg", "--listfiles", "kvpager").stdout.splitlines()
    assert len(files) > 50 and "/usr/bin/kvpagerd" in files
    dpkg(box, "--remove", "kvpager")
    left = box.systemctl("list-units", "--plain", "--no-legend", "--state=active,activating,failed", "kvpager*").stdout
    assert left == "", left
    assert os.path.exists(box.path("/etc/kvpager/kvpagerd.conf")), "a configuration stays until the purge"
    listed = box.run("dpkg", "--listfiles", "libkvpager0").stdout.splitlines() + files
    dpkg(box, "--purge", "kvpager", "libkvpager0")
    assert [file for file in listed if "kvp" in file and os.path.lexists(box.path(file))] == []
    assert ours(box) == before, ours(box) ^ before
