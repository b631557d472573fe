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

# It says what it does not know on standard error, and all is well to it nevertheless.
if command -v systemd-analyze >/dev/null; then
        systemd-analyze verify --man=no "$TMPDIR"/*.service "$TMPDIR"/*.socket >"$TMPDIR/verify" 2>&1 || fail "systemd-analyze verify fails"
        grep -F "$TMPDIR" "$TMPDIR/verify" && fail "systemd-analyze verify complains"
        sed -n 1,10p "$TMPDIR/verify"
fi
exit $bad
