#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What make install puts somewhere make uninstall takes away, file by file, and folders that are only ours; nothing of it knows where
# it was staged.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}
run() {
        eval "env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s CC=gcc VARIANT=release ${KVP_OVERRIDES:-} DESTDIR='$TMPDIR/stage' $*"
}

for prefix in /usr /opt/kv; do
        run PREFIX="$prefix" install
        (cd "$TMPDIR/stage" && find . -type f -o -type l) | sort >"$TMPDIR/installed"
        grep -v "^\.$prefix/" "$TMPDIR/installed" && fail "that is not below $prefix"
        grep -rlF -e "$TMPDIR" -e @BINDIR@ -e @PREFIX@ "$TMPDIR/stage" && fail "that knows where it was staged, or not where it is"
        for wanted in bin/kvpagerd lib/systemd/system/kvpagerd.service lib/systemd/system/kvpagerd.socket lib/sysusers.d/kvpager.conf \
                lib/tmpfiles.d/kvpager.conf lib/systemd/system-preset/50-kvpager.preset share/man/man8/kvpagerd.8 \
                share/kvpager/kvpagerd.service.d/kill-overdue.conf share/kvpager/kvpagerd.service.d/many-gpus.conf; do
                grep -qx "\.$prefix/$wanted" "$TMPDIR/installed" || fail "$wanted is not installed"
        done
        # Somebody else's file stays, and the folder that it is in.
        echo theirs >"$TMPDIR/stage$prefix/share/kvpager/theirs"
        run PREFIX="$prefix" uninstall
        (cd "$TMPDIR/stage" && find . -type f -o -type l) >"$TMPDIR/left"
        [ "$(cat "$TMPDIR/left")" = ".$prefix/share/kvpager/theirs" ] || fail "left: $(cat "$TMPDIR/left")"
        rm "$TMPDIR/stage$prefix/share/kvpager/theirs"
        run PREFIX="$prefix" install
        run PREFIX="$prefix" uninstall
        find "$TMPDIR/stage" -name '*kvp*' | grep . && fail "left"
        rm -r "$TMPDIR/stage"
done
wc -l <"$TMPDIR/installed"
exit $bad
