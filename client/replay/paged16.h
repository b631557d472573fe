/* SPDX-License-Identifier: MIT
 *
 * paged16.h -- the yardstick: a simulated allocator of 16-token blocks, as engines with paged attention have it, with
 * one pool that all engines share. It has no look-ahead, keeps nothing for later and wastes less than a block a
 * sequence.
 */
#ifndef KVPAGER_REPLAY_PAGED16_H
#define KVPAGER_REPLAY_PAGED16_H

#include <stdint.h>

#include "engine.h"

struct paged16 {
        uint64_t capacity_blocks; /* UINT64_MAX: never short */
        uint64_t used_blocks, peak_blocks;
};

/* Operations for an engine whose memory is a struct paged16. */
extern const struct memory_ops paged16_ops;

#endif
