# SPDX-License-Identifier: MIT
# fish completion for kvpagerctl(1)

set -l commands status devices tenants workers caches counters top metrics events set reload check help version

complete -c kvpagerctl -f
complete -c kvpagerctl -l socket -r -F -d 'where the daemon listens'
complete -c kvpagerctl -l timeout -x -a '1s 5s 500ms 1min' -d 'give up after so long'
complete -c kvpagerctl -l json -d 'JSON instead of tables'
complete -c kvpagerctl -l bytes -d 'exact numbers of bytes'
complete -c kvpagerctl -l no-legend -d 'no headings and counts'
set -l top '__fish_seen_subcommand_from top'
complete -c kvpagerctl -n $top -l once -d 'one picture as plain text'
complete -c kvpagerctl -n $top -l interval -x -a '1s 5s 500ms 1min' -d 'time between two pictures'
complete -c kvpagerctl -n $top -l ascii -d 'no characters beyond ASCII'
complete -c kvpagerctl -n '__fish_seen_subcommand_from events' -l follow -d 'and those to come'
set -l set '__fish_seen_subcommand_from set'
complete -c kvpagerctl -n $set -a 'memory.min= memory.low= memory.high= memory.max= weight= reclaim-deadline=' -d limit
complete -c kvpagerctl -n $set -a 'on-overdue=deny on-overdue=kill' -d limit
set -l metrics '__fish_seen_subcommand_from metrics'
complete -c kvpagerctl -n $metrics -l format -x -a 'common openmetrics text' -d 'which text'
complete -c kvpagerctl -n $metrics -l http -d 'answer a request of HTTP from standard input'
complete -c kvpagerctl -s h -l help -d 'a summary'
complete -c kvpagerctl -l version -d 'the version'
set -l none "not __fish_seen_subcommand_from $commands"
complete -c kvpagerctl -n $none -a status -d 'the daemon, its devices and its tenants'
complete -c kvpagerctl -n $none -a devices -d 'devices, and how much of their memory is in use'
complete -c kvpagerctl -n $none -a tenants -d 'tenants, what they use and their limits'
complete -c kvpagerctl -n $none -a workers -d 'connected processes and what they use'
complete -c kvpagerctl -n $none -a caches -d 'caches, their rows and what backs them'
complete -c kvpagerctl -n $none -a counters -d 'what the daemon has counted since its start'
complete -c kvpagerctl -n $none -a top -d 'tenants and workers as they go'
complete -c kvpagerctl -n $none -a metrics -d 'all figures for Prometheus'
complete -c kvpagerctl -n $none -a events -d 'what happened'
complete -c kvpagerctl -n $none -a set -d 'change limits of a tenant'
complete -c kvpagerctl -n $none -a reload -d 'let the daemon read its configuration again'
complete -c kvpagerctl -n $none -a check -d 'let the daemon prove its page table'
complete -c kvpagerctl -n $none -a help -d 'a summary'
complete -c kvpagerctl -n $none -a version -d 'the version of this program'
