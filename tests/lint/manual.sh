#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The manual is well-formed mdoc and complete, and says nothing of what is not there. Each function of the library is named and
# declared in a page of section 3, with the errors that the header names; each option has its line in its program's page, each key in
# kvpagerd.conf(5), each message, error, counter and event in kvpager-protocol(7), each JSON member in its page; and the completions
# know each option and command.
set -euo pipefail
cd "$KVP_TOP"
bad=0
fail() {
        echo "$*"
        bad=1
}

pages=(man/*.[1-8] "$KVP_BIN"/../man/*.[1-8])
[ -e "${pages[0]}" ] || {
        echo "no page in man/"
        exit 1
}
mandoc -T lint -W warning "${pages[@]}" || fail "mandoc warns"
mkdir "$TMPDIR/cat"
for page in "${pages[@]}"; do
        mandoc -T ascii -O width=200 "$page" | sed 's/.\x08//g' >"$TMPDIR/cat/${page##*/}"
done
page() { # NAME: its page as text
        local found=("$TMPDIR/cat/$1".[1-8])
        [ -e "${found[0]}" ] || {
                echo /dev/null
                return
        }
        echo "${found[0]}"
}
lines() { # WHAT PAGE: each word that is read begins a line of the page's lists
        local what=$1 page=$2 word n=0
        while read -r word; do
                n=$((n + 1))
                grep -qE -e "^ +(-[a-z], )?${word//./\\.}( |,|$)" "$page" || fail "no line of ${page##*/} is on $what $word"
        done
        [ "$n" -gt 0 ] || fail "found no $what at all"
}
known() { # WHAT FILE: each word that is read is one of those in the file
        local what=$1 file=$2 word
        while read -r word; do
                grep -qxF -e "$word" "$file" || fail "the manual has $what $word, which is not there"
        done
}
table() { # HEADER MACRO: the first column of an X-macro table
        printf '#include "%s"\n#define FIRST(name, ...) @name@\n%s(FIRST)\n' "$1" "$2" | gcc -E -P -Iclient/proto -x c - |
                grep -oE '@ ?[A-Za-z0-9_]+ ?@' | tr -d '@ '
}

sed -nE 's/^[[:space:]]*(kvp_[a-z0-9_]+);.*/\1/p' client/lib/libkvpager.map >"$TMPDIR/functions"
while read -r function; do
        grep -qE "^\.Nm $function( ,)?$" man/*.3 || fail "no page in man/ is named $function"
        grep -qE "^\.F[no] $function( |$)" man/*.3 || fail "no page in man/ declares $function"
done <"$TMPDIR/functions"
[ -s "$TMPDIR/functions" ] || fail "found no function at all"
known "the function" "$TMPDIR/functions" < <(grep -hE '^\.Nm kvp_' man/*.3 | awk '{ print $2 }')

# What the header says that a function returns, its page explains.
awk '/^\/\*/ { said = ""; within = 1 }
     within { said = said " " $0; if (/\*\//) within = 0; next }
     /^(int|void|const char \*) ?kvp_[a-z_]+\(/ {
             name = $0; sub(/\(.*/, "", name); sub(/.* /, "", name)
             while (match(said, /-E[A-Z]+/)) { print name, substr(said, RSTART + 1, RLENGTH - 1); said = substr(said, RSTART + RLENGTH) }
     }
     { said = "" }' client/include/kvpager.h >"$TMPDIR/returned"
[ -s "$TMPDIR/returned" ] || fail "found no error of a function"
while read -r function error; do
        grep -lE "^\.Nm $function( ,)?$" man/*.3 | xargs grep -qE "Er $error( |$)" || fail "the page of $function does not have $error"
done <"$TMPDIR/returned"

lines message "$(page kvpager-protocol)" < <(table messages.h WIRE_MESSAGES)
lines error "$(page kvpager-protocol)" < <(table errors.h WIRE_ERRORS)
lines counter "$(page kvpager-protocol)" < <(table counters.h WIRE_COUNTERS)
lines event "$(page kvpager-protocol)" < <(table events.h WIRE_EVENT_KINDS)

grep -oE '\{ ?SECTION_[A-Z]+, "[a-z.-]+"' daemon/shell/config.c | sed 's/.*"\(.*\)"/\1/' >"$TMPDIR/keys"
lines key "$(page kvpagerd.conf)" <"$TMPDIR/keys"
known "the key" "$TMPDIR/keys" < <(grep -oE '^ +[a-z.-]+ = ' "$(page kvpagerd.conf)" | sed 's/[ =]//g')

for path in "$KVP_BIN"/*; do
        program=${path##*/}
        "$path" --help 2>&1 | grep -oE -- '--[a-z][a-z0-9-]+' | sort -u >"$TMPDIR/options"
        lines "the option" "$(page "$program")" <"$TMPDIR/options"
        known "the option of $program" "$TMPDIR/options" < <(
                grep -oE '^ {5}(-[a-z], )?--[a-z][a-z0-9-]+' "$(page "$program")" | grep -oE -- '--.*')
        while read -r option; do
                grep -qwF -e "$option" "client/completions/bash/$program" || fail "bash does not complete $program $option"
                grep -qF -e "$option" "client/completions/zsh/_$program" || fail "zsh does not complete $program $option"
                grep -qE -e " -l ${option#--}( |$)" "client/completions/fish/$program.fish" ||
                        fail "fish does not complete $program $option"
        done <"$TMPDIR/options"
done

while read -r command; do
        lines command "$(page kvpagerctl)" <<<"$command"
        grep -qE "commands=.*\<$command\>" client/completions/bash/kvpagerctl || fail "bash does not complete $command"
        grep -qF "'$command:" client/completions/zsh/_kvpagerctl || fail "zsh does not complete $command"
        grep -qE -- "-a $command( |$)" client/completions/fish/kvpagerctl.fish || fail "fish does not complete $command"
done < <("$KVP_BIN/kvpagerctl" help --json | sed -nE 's/.*"name": "(.*)".*/\1/p')

geometries=$("$KVP_BIN/kvpager-replay" --help | sed -nE 's/^Geometries: (.*)\.$/\1/p')
[ -n "$geometries" ] || fail "kvpager-replay names no geometry"
for geometry in $geometries; do
        for file in "$(page kvpager-replay)" client/completions/*/*kvpager-replay*; do
                grep -qwF -e "$geometry" "$file" || fail "$(basename "$file") lacks the geometry $geometry"
        done
done

members() { # FILE: names of JSON members in a C file
        tr -s '[:space:]' ' ' <"$1" |
                grep -oE '(set_number|set_real|json_object_set_new)\([a-z]+, "[a-z0-9_]+"|"[a-z0-9_]+", ctl_json_(number|text)\(' |
                sed 's/[^"]*"\([^"]*\)".*/\1/'
}
fields() { # LIST...: names of an item's fields in the protocol, which are its members in JSON
        local list
        for list in "$@"; do
                printf '#include "messages.h"\n#define NAME(a, b) @b@\n#define TEXT(a, b) @a@\n#define NONE(a, b)\n%s(NAME, TEXT, NONE)\n' \
                        "$list" | gcc -E -P -Iclient/proto -x c - | grep -oE '@ ?[a-z0-9_]+ ?@' | tr -d '@ '
        done
}
fields WIRE_ITEM_DEVICE WIRE_ITEM_TENANT WIRE_ITEM_WORKER WIRE_ITEM_CACHE WIRE_ITEM_COUNTER WIRE_ITEM_EVENT >"$TMPDIR/fields"
for pair in kvpager-replay:client/replay/report.c kvpagerctl:client/cli/snapshot.c; do
        members "${pair#*:}" >"$TMPDIR/members" || fail "${pair#*:} is not understood"
        [ -s "$TMPDIR/members" ] && [ -s "$TMPDIR/fields" ] || fail "found no JSON member in ${pair#*:}"
        [ "${pair%%:*}" != kvpagerctl ] || cat "$TMPDIR/fields" >>"$TMPDIR/members"
        while read -r member; do
                grep -qwF -e "$member" "$(page "${pair%%:*}")" || fail "${pair%%:*} has no JSON member $member in its page"
        done <"$TMPDIR/members"
done
exit $bad
