# SPDX-License-Identifier: MIT
# fish completion for kvpager-holder(8)

complete -c kvpager-holder -f
complete -c kvpager-holder -l socket -r -F -d 'where to listen'
complete -c kvpager-holder -l help -d 'a summary'
complete -c kvpager-holder -l version -d 'the version'
