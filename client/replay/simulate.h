/* SPDX-License-Identifier: MIT
 *
 * simulate.h -- the same engines on the same virtual clock over the yardsticks: a 16-token block allocator, and one
 * that reserves each sequence's longest length ahead. Runs within this process and says how much memory they would have
 * taken.
 */
#ifndef KVPAGER_REPLAY_SIMULATE_H
#define KVPAGER_REPLAY_SIMULATE_H

#include "engine.h"
#include "timeline.h"

struct simulation_options {
        size_t n_engines;
        size_t max_seqs;          /* rows of an engine */
        uint64_t capacity_blocks; /* UINT64_MAX: without end */
        uint64_t spare_blocks;
        uint32_t n_parts; /* of the memory, all alike: engine i has part i modulo this one for itself; 0: one part */
        struct bursts *bursts; /* NULL: none; all will have begun in the end */
};

struct simulation {
        uint64_t peak_blocks;  /* of the block allocator */
        uint64_t peak_running; /* sequences at a time: what reserve-ahead would reserve in full */
        uint64_t completed, rejected, preemptions, iterations;
        uint64_t end_usec;
        struct timeline blocks, running;
};

/* shares[i] are the requests of engine i. -ENOMEM; -ELOOP: no engine got anywhere (never seen; a guard). */
int simulate_paged16(const struct simulation_options *options, const struct request *const *shares,
                     const size_t *n_shares, struct simulation *ret_simulation);

#endif
