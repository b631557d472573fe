#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The units are what systemd understands, where there is a systemd to ask; what they run is built, and takes the words that
# it is given.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}

n=0
for file in systemd/*.service systemd/*.socket; do
        n=$((n + 1))
        sed "s|@BINDIR@|$KVP_BIN|g" "$file" >"$TMPDIR/${file##*/}"
        grep -q '@[A-Z]*@' "$TMPDIR/${file##*/}" && fail "$file has an @PLACE@ that make install does not know"
        sed -nE 's/^Exec[A-Za-z]*=[-+!@:]*([^ ]+)( .*)?$/\1\2/p' "$TMPDIR/${file##*/}" >"$TMPDIR/commands"
        while read -r program words; do
                case "$program" in
                "$KVP_BIN"/*) ;;
                *) continue ;;
                esac
                [ -x "$program" ] || fail "$file runs $program, which is not built"
                # shellcheck disable=SC2086 # words they are
                "$program" $words --help >/dev/null || fail "$file: $program does not take: $words"
        done <"$TMPDIR/commands"
done
[ "$n" -gt 0 ] || fail "there is no unit"
echo "$n units"

# It says what it does not know on standard error, and all is well to it nevertheless. Drop-ins are asked about with their unit.
if command -v systemd-analyze >/dev/null; then
        for dropins in "" systemd/drop-ins/*; do
                if [ -n "$dropins" ]; then
                        mkdir -p "$TMPDIR/kvpagerd.service.d"
                        cp "$dropins" "$TMPDIR/kvpagerd.service.d/"
                fi
                systemd-analyze verify --man=no "$TMPDIR"/*.service "$TMPDIR"/*.socket >"$TMPDIR/verify" 2>&1 ||
                        fail "systemd-analyze verify fails"
                grep -F -e "$TMPDIR" -e kvpager "$TMPDIR/verify" && fail "systemd-analyze verify complains with: $dropins"
        done
        sed -n 1,10p "$TMPDIR/verify"
        rm -r "$TMPDIR/kvpagerd.service.d"
        # In tenths.
        systemd-analyze security --offline=true --threshold=10 --no-pager "$TMPDIR/kvpagerd.service" >"$TMPDIR/security" || {
                grep -v '✓' "$TMPDIR/security"
                fail "kvpagerd.service is more exposed than it was"
        }
        tail -n 1 "$TMPDIR/security"
fi
# Each kind of message has an id of its own and is explained, in the journal and in the manual.
sed -nE 's/^ +X\(([a-z_]+), [A-Z]+, ([0-9a-f]{32}),.*/\1 \2/p' daemon/shell/log-kinds.h >"$TMPDIR/kinds"
[ "$(wc -l <"$TMPDIR/kinds")" -gt 20 ] || fail "there is next to no kind of message"
[ "$(cut -d' ' -f2 "$TMPDIR/kinds" | sort -u | wc -l)" = "$(wc -l <"$TMPDIR/kinds")" ] || fail "an id stands twice"
while read -r kind id; do
        grep -q "^-- $id$" systemd/kvpager.catalog || fail "systemd/kvpager.catalog does not explain $kind, $id"
        grep -q "^\.It Cm $kind$" man/kvpagerd.8 || fail "man/kvpagerd.8 does not list $kind"
done <"$TMPDIR/kinds"
while read -r id; do
        grep -q " $id$" "$TMPDIR/kinds" || fail "systemd/kvpager.catalog explains $id, which is nothing"
done < <(sed -n 's/^-- //p' systemd/kvpager.catalog)
if command -v journalctl >/dev/null; then
        mkdir -p "$TMPDIR/root/usr/lib/systemd/catalog" "$TMPDIR/root/var/lib/systemd/catalog"
        cp systemd/kvpager.catalog "$TMPDIR/root/usr/lib/systemd/catalog/"
        journalctl --root="$TMPDIR/root" --update-catalog 2>"$TMPDIR/catalog" || fail "the catalog cannot be read"
        cat "$TMPDIR/catalog"
        [ "$(journalctl --root="$TMPDIR/root" --list-catalog 2>/dev/null | wc -l)" = "$(wc -l <"$TMPDIR/kinds")" ] ||
                fail "the catalog lacks something"
fi
grep -q '^SystemCallErrorNumber=EPERM$' systemd/kvpagerd.service || fail "a system call that is refused would end kvpagerd"
exit $bad
