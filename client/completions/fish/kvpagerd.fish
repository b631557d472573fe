# SPDX-License-Identifier: MIT
# fish completion for kvpagerd(8)

complete -c kvpagerd -f
complete -c kvpagerd -l config -r -F -d configuration
complete -c kvpagerd -l check-config -d 'check the configuration and exit'
complete -c kvpagerd -l log-level -x -a 'error warning notice info debug' -d 'what is worth a line'
complete -c kvpagerd -l help -d 'a summary'
complete -c kvpagerd -l version -d 'the version'
