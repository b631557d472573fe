#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Boots a real systemd as process 1 of its own pid, mount, cgroup, ipc, uts and network namespaces, over a throw-away
# overlay of /, whatever process 1 is outside. booted.py is how tests use it.
#
#     booted.sh FOLDER     boots, and ends when standard input does
#
# FOLDER/share is /share inside. FOLDER/pid1 has the pid of systemd as it is outside, FOLDER/cgroup its cgroup, FOLDER/console what
# it says. What is written inside goes with it; of outside nothing is changed: neither /proc/sys nor /sys can be written to. It dies
# with whoever has the other end of standard input, in whatever way that dies.
set -eu

# Process 1, which shares nothing with outside any more but the root file system that it sees. FOLDER, CGROUP.
inner() {
        local folder=$1 root=$1/root unit
        mount -t tmpfs -o mode=755 tmpfs "$folder/layer"
        mkdir "$folder/layer/upper" "$folder/layer/work"
        mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/layer/upper,workdir=$folder/layer/work" "$root"
        mount -t proc proc "$root/proc"
        # Process 1 and systemd-sysctl would set those of the host.
        mount --bind "$root/proc/sys" "$root/proc/sys"
        mount -o remount,bind,ro "$root/proc/sys"
        # Read-only, it also tells udev that devices are not its own.
        mount -t sysfs -o ro sysfs "$root/sys"
        mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
        mount -t tmpfs -o mode=755 tmpfs "$root/run"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount -t tmpfs -o mode=755 tmpfs "$root/dev"
        for node in null zero full random urandom tty; do
                touch "$root/dev/$node"
                mount --bind "/dev/$node" "$root/dev/$node"
        done
        mkdir "$root/dev/pts" "$root/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        ln -s pts/ptmx "$root/dev/ptmx"
        ln -s /proc/self/fd "$root/dev/fd"
        ln -s fd/0 "$root/dev/stdin"
        ln -s fd/1 "$root/dev/stdout"
        ln -s fd/2 "$root/dev/stderr"
        mkdir -p "$root/share"
        mount --bind "$folder/share" "$root/share"

        # Of what the machine runs nothing is enabled here, nothing of its disks is mounted, and it has a name of its own.
        mkdir -p "$root/etc/systemd/system"
        mount -t tmpfs -o mode=755 tmpfs "$root/etc/systemd/system"
        for unit in systemd-logind getty.target systemd-networkd systemd-resolved systemd-timesyncd systemd-pstore \
                systemd-firstboot systemd-remount-fs systemd-journal-catalog-update systemd-hwdb-update ldconfig \
                systemd-tmpfiles-clean.timer packagekit polkit; do
                case $unit in
                *.*) ;;
                *) unit=$unit.service ;;
                esac
                ln -s /dev/null "$root/etc/systemd/system/$unit"
        done
        : >"$root/etc/fstab"
        echo box >"$root/etc/hostname"
        rm -f "$root/etc/machine-id"
        echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
        mkdir -p "$root/etc/systemd/journald.conf.d"
        printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/box.conf"
        # Packages are installed in a moment: no pages are indexed, nothing is synced to a disk that there is not, and their units may
        # be started, which images for containers forbid.
        rm -f "$root/var/lib/man-db/auto-update" "$root/usr/sbin/policy-rc.d"
        if [ -d "$root/etc/dpkg/dpkg.cfg.d" ]; then echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/box"; fi

        hostname box
        ip link set lo up 2>/dev/null || true
        cd "$root"
        mkdir -p .old
        pivot_root . .old
        umount -l /.old
        exec env -i container=kvpager NOTIFY_SOCKET=/share/notify PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
                /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --log-level=info --show-status=no
}

# The first process of the new pid namespace; /proc is still that of outside. FOLDER, CGROUP.
outer() {
        local pid
        read -r pid _ </proc/self/stat
        echo "$pid" >"$1/pid1"
        echo 0 >"$2/cgroup.procs" # becomes the root of the cgroup namespace
        exec unshare --cgroup --ipc --uts --net --propagation private --mount "$0" "$1" inner
}

# Takes away groups that are empty by now. CGROUP.
remove_cgroup() {
        for _ in $(seq 100); do
                find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
                [ -d "$1" ] || return 0
                sleep 0.02
        done
        echo "$1 is still used"
}

case ${2:-} in
inner) inner "$1" ;;
outer) outer "$1" "$3" ;;
*)
        cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
        [ -n "$cgroups" ] || { echo "no cgroup2 is mounted" && exit 1; }
        # Those whose keeper was killed before it could.
        for stale in "$cgroups"/kvpager-box.*; do
                if [ -d "$stale" ] && ! grep -qs "${0##*/}" "/proc/${stale##*.}/cmdline"; then remove_cgroup "$stale"; fi
        done
        cgroup=$cgroups/kvpager-box.$$
        trap '' HUP INT TERM
        mkdir -p "$1/share" "$1/layer" "$1/root" "$cgroup/enter"
        echo "$cgroup" >"$1/cgroup"
        setpriv --pdeathsig KILL unshare --pid --mount --propagation private --fork --kill-child "$0" "$1" outer "$cgroup" \
                </dev/null >"$1/console" 2>&1 &
        cat >/dev/null # until whoever wanted the box is gone
        exec 2>/dev/null # the shell would tell how it ended
        kill -9 $! || true
        wait
        remove_cgroup "$cgroup"
        ;;
esac
