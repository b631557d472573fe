# SPDX-License-Identifier: MIT
# fish completion for kvpager-replay(1)

set -l geometries tiny llama2-7b llama3-8b llama3-70b llama3-405b mistral-7b qwen2.5-7b qwen2.5-32b

complete -c kvpager-replay -f
complete -c kvpager-replay -l trace -r -F -d 'the trace'
complete -c kvpager-replay -l requests -x -d 'the first so many requests'
complete -c kvpager-replay -l seed -x -d 'of the made-up load'
complete -c kvpager-replay -l speed -x -d 'arrivals so many times as fast'
complete -c kvpager-replay -l tenants -x -d tenants
complete -c kvpager-replay -l workers -x -d 'worker processes of each tenant'
complete -c kvpager-replay -l geometry -x -a "$geometries" -d 'of the model'
complete -c kvpager-replay -l layout -x -a 'per-layer token-major token-major-fused' -d 'of the caches'
complete -c kvpager-replay -l max-seqs -x -d 'sequences that a worker runs at a time'
complete -c kvpager-replay -l max-tokens -x -d 'the longest length of a sequence'
complete -c kvpager-replay -l capacity -x -d 'of a private daemon'
complete -c kvpager-replay -l page-size -x -a '64K 256K 2M' -d 'of a private daemon'
complete -c kvpager-replay -l spare -x -d 'of the capacity, kept free for growth'
complete -c kvpager-replay -l scenario -x -a 'bursts hungry' -d 'what tenants do to each other'
complete -c kvpager-replay -l fixed-split -d 'an equal part for each tenant'
complete -c kvpager-replay -l weights -x -d 'of the tenants, separated by commas'
complete -c kvpager-replay -l mins -x -d 'memory.min of the tenants, separated by commas'
complete -c kvpager-replay -l verify -d 'compare attention bit for bit'
complete -c kvpager-replay -l no-compute -d 'mark pages, on a virtual clock'
complete -c kvpager-replay -l cold -d 'give pages back when a request ends'
complete -c kvpager-replay -l json -d 'print one JSON object'
complete -c kvpager-replay -l plot -r -F -d 'draw memory over time'
complete -c kvpager-replay -l help -d 'a summary'
complete -c kvpager-replay -l version -d 'the version'
