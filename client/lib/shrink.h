/* SPDX-License-Identifier: MIT
 *
 * shrink.h -- extents taken off the ends of rows, a batch of rows of one cache at a time.
 */
#ifndef LIB_SHRINK_H
#define LIB_SHRINK_H

#include "cache.h"

#define SHRINK_ROWS 64u

struct shrink {
        struct kvp_cache *cache;
        uint64_t pages; /* picked; once that was carried out: given */
        uint32_t n;
        uint32_t rows[SHRINK_ROWS];
};

static inline bool shrink_is_busy(const struct row *row)
{
        return row->growing > 0 || row->flags & ROW_SHRINKING;
}

/* ---- with cache->lock held ---- */

/* How many places of each class to keep for `tokens`. With `tail` the last one goes too where keeping it would leave
 * more than 3 % beyond need. */
void shrink_floors(const struct kvp_cache *cache, uint32_t row, uint64_t tokens, bool tail, uint32_t *ret);

/* Takes places off the row's end, down to `floor` of each class, until `wanted` pages have come together. Returns the
 * pages. The row is not busy, and the batch not full. */
uint64_t shrink_pick(struct shrink *batch, uint32_t row, const uint32_t *floor, uint64_t wanted);

/* ---- without it ---- */

/* Asks the fence, unmaps and returns; false: the fence refused, and all is as it was. */
bool shrink_carry_out(struct shrink *batch);

/* Gives back what was trimmed of these rows. At most SHRINK_ROWS. */
void shrink_trim(struct kvp_cache *cache, const uint32_t *rows, uint32_t n);

#endif
