/* SPDX-License-Identifier: MIT
 *
 * snapshot.c -- the arena as something that can be kept and taken up again: which parts of it count, and whether a copy
 * is one that this code understands.
 */
#include "internal.h"

static struct core_part part(uint64_t offset, uint64_t count, size_t size)
{
        return (struct core_part){ .offset = offset, .size = count * size };
}

void core_parts(const struct core *c, struct core_part ret[static CORE_PARTS])
{
        const struct core_part parts[CORE_PARTS] = {
                part(0, 1, sizeof *c),
                part(c->tenants_at, c->top_tenant, sizeof(struct tenant)),
                part(c->workers_at, c->top_worker, sizeof(struct worker)),
                part(c->caches_at, c->top_cache, sizeof(struct cache)),
                part(c->requests_at, c->top_request, sizeof(struct request)),
                part(c->timers_at, c->top_request, sizeof(struct timer)),
                part(c->rows_at, c->top_row, sizeof(struct row)),
                part(c->extents_at, c->top_extent, sizeof(struct extent)),
                part(c->granules_at, (uint64_t)c->granule_mask + 1, sizeof(uint32_t)),
                part(c->row_slots_at, (uint64_t)c->row_mask + 1, sizeof(uint32_t)),
        };

        memcpy(ret, parts, sizeof parts);
}

/* The sizes of everything stand for what is in them; a change that keeps all of them counts CORE_FORMAT up. */
#define CORE_FORMAT 1u

uint64_t core_format(void)
{
        static const uint64_t sizes[] = {
                CORE_FORMAT,          sizeof(struct core),   sizeof(struct extent), sizeof(struct row),
                sizeof(struct cache), sizeof(struct worker), sizeof(struct tenant), sizeof(struct request),
                sizeof(struct timer), sizeof(struct device), CORE_EV_MAX_,          CORE_COUNT_MAX_,
                CORE_MAX_UNACKED,
        };
        uint64_t format = 0;

        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                format = bits_mix(format * 31 + sizes[i]);
        return format;
}

struct core *core_adopt(void *memory, const struct core_params *params)
{
        const struct core *c = memory;
        const size_t size = core_size(params);

        assert(((uintptr_t)memory & 63) == 0);

        if (size == 0 || memcmp(&c->params, params, sizeof *params) != 0 || c->size != size)
                return NULL;
        if (c->top_extent > params->max_extents || c->top_row > params->max_rows || c->top_cache > params->max_caches ||
            c->top_worker > params->max_workers || c->top_request > params->max_requests ||
            c->n_timers > c->top_request || c->top_tenant > CORE_MAX_TENANTS || c->n_devices > CORE_MAX_DEVICES)
                return NULL;
        return memory;
}
