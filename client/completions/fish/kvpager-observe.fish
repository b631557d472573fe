# SPDX-License-Identifier: MIT
# fish completion for kvpager-observe(8)

complete -c kvpager-observe -f
complete -c kvpager-observe -l once -d 'show a summary'
complete -c kvpager-observe -l json -d 'show everything as JSON'
complete -c kvpager-observe -l hist -d 'show histograms'
complete -c kvpager-observe -l own -d 'do not ask the service, look'
complete -c kvpager-observe -l for -x -a '1s 10s 1min' -d 'look for so long'
complete -c kvpager-observe -l libcuda -r -F -d 'attach to this library at once'
complete -c kvpager-observe -l slow -d 'attach also to calls that are made often, where a probe costs much'
complete -c kvpager-observe -l ring -x -a '64K 256K 1M' -d 'size of the ring buffer'
complete -c kvpager-observe -l help -d 'a summary'
complete -c kvpager-observe -l version -d 'the version'
