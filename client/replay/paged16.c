/* SPDX-License-Identifier: MIT
 *
 * paged16.c -- see paged16.h. A sequence's `backed` counts its blocks.
 */
#include "paged16.h"

#include <assert.h>

static int paged16_take(struct paged16 *pool, struct sequence *sequence, uint64_t tokens)
{
        uint64_t blocks = ledger_blocks(tokens), more;

        assert(pool->used_blocks <= pool->capacity_blocks);

        if (blocks <= sequence->backed)
                return 0;
        more = blocks - sequence->backed;
        if (more > pool->capacity_blocks - pool->used_blocks)
                return -ENOMEM;
        pool->used_blocks += more;
        if (pool->used_blocks > pool->peak_blocks)
                pool->peak_blocks = pool->used_blocks;
        sequence->backed = blocks;
        return 0;
}

static int paged16_admit(void *memory, struct sequence *sequence, uint64_t tokens)
{
        sequence->backed = 0;
        return paged16_take(memory, sequence, tokens);
}

static int paged16_grow(void *memory, struct sequence *sequences, const size_t *n)
{
        int first_error = 0;

        for (size_t i = 0; i < *n; i++) {
                int r = paged16_take(memory, &sequences[i], sequences[i].length + 1);

                if (r < 0 && first_error == 0)
                        first_error = r;
        }
        return first_error;
}

static uint64_t paged16_footprint(const void *memory, uint64_t tokens)
{
        (void)memory;
        return ledger_blocks(tokens);
}

static int paged16_release(void *memory, struct sequence *sequence)
{
        struct paged16 *pool = memory;

        assert(pool->used_blocks >= sequence->backed);

        pool->used_blocks -= sequence->backed;
        sequence->backed = 0;
        return 0;
}

const struct memory_ops paged16_ops = {
        .admit = paged16_admit,
        .grow = paged16_grow,
        .footprint = paged16_footprint,
        .release = paged16_release,
};
