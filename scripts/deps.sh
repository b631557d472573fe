#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Installs the Debian packages that are missing, as debian/control lists them: `deps.sh build` what building needs,
# `deps.sh check` what the tests need as well (marked <!nocheck> there). Where all is installed it does nothing, at once.
# An ordinary user needs a sudo that asks no password; else the missing packages are named and it fails.
set -euo pipefail

control=$(dirname "$0")/../debian/control
case "${1:-}" in
build) skip='<!nocheck>' ;;
check) skip='' ;;
*)
        echo "usage: $0 build|check" >&2
        exit 2
        ;;
esac

# Compiler and make are implied for every Debian package. debhelper serves `make deb` alone, which asks for it itself.
# shellcheck disable=SC2016 # those are awk's
wanted=$(awk -v skip="$skip" '
        /^Build-Depends:/ { on = 1; next }
        on && /^[^ ]/ { exit }
        on && (skip == "" || !index($0, skip)) && !/debhelper-compat/ { sub(/,.*/, ""); print $1 }' "$control")
missing=
for package in gcc libc6-dev make $wanted; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "missing Debian packages:$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
                echo "install them and try again: sudo apt-get install$missing" >&2
                exit 1
        fi
        sudo='sudo -n'
fi

echo "installing them"
install() {
        # shellcheck disable=SC2086 # words are meant to be split
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends install $missing
}
# The package lists may be absent (a fresh container) or old.
install >/dev/null 2>&1 || { $sudo apt-get -q update && install; }
