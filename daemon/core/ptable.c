/* SPDX-License-Identifier: MIT
 *
 * ptable.c -- the page table: which extent backs page p of plane q of row r of cache c.
 *
 * Sparse, two hash tables of indices with linear probing and deletion by shifting back (Knuth, TAOCP 6.4, algorithm R),
 * so a reservation costs nothing until pages are in it:
 *
 *      (cache, row number)          -> row record
 *      (row record, plane, granule) -> the extents of that granule, chained
 *
 * A granule is 64 pages, the largest extent. Extents are naturally aligned, so each lies within one granule, and a
 * chain has at most 64. Keys are not stored: they are in the records that the slots point to. Rows, planes and pages
 * are the client's to choose, so each hash is mixed with a secret of this core's (core_params.hash_key): nobody can
 * choose those that fall together.
 */
#include "internal.h"

#define GRANULE_SHIFT 6u

_Static_assert((CORE_ORDERS - 1) * 2u <= GRANULE_SHIFT, "the largest extent fits a granule");

static uint32_t *granule_slots(const struct core *c)
{
        return core_at(c, c->granules_at);
}
static uint32_t *row_slots(const struct core *c)
{
        return core_at(c, c->row_slots_at);
}

/* A slot holds index + 1, so that zeroed memory is an empty table. */
static uint64_t row_hash(const struct core *c, uint32_t cache, uint32_t number)
{
        return bits_mix(((uint64_t)cache << 32 | number) ^ c->params.hash_key);
}
static uint64_t granule_hash(const struct core *c, uint32_t row, uint32_t plane, uint32_t granule)
{
        return bits_mix(((uint64_t)row << 32 | granule) ^ (uint64_t)plane << 52 ^ (uint64_t)plane << 20 ^
                        c->params.hash_key);
}
static uint64_t row_slot_hash(const struct core *c, uint32_t value)
{
        const struct row *row = row_get(c, value - 1);

        return row_hash(c, row->cache, row->number);
}
static uint64_t granule_slot_hash(const struct core *c, uint32_t value)
{
        const struct extent *e = extent_get(c, value - 1);

        return granule_hash(c, e->row, e->plane, e->first >> GRANULE_SHIFT);
}

/* Empties slot `at` and closes the gap. */
static void slots_remove(const struct core *c, uint32_t *slots, uint32_t mask, uint32_t at,
                         uint64_t (*hash)(const struct core *, uint32_t))
{
        uint32_t gap = at;

        slots[gap] = 0;
        for (uint32_t i = (at + 1) & mask; slots[i] != 0; i = (i + 1) & mask) {
                const uint32_t home = (uint32_t)hash(c, slots[i]) & mask;

                if (((i - home) & mask) >= ((i - gap) & mask)) { /* the gap lies on its way */
                        slots[gap] = slots[i];
                        slots[i] = 0;
                        gap = i;
                }
        }
}

/* The slot of the granule's chain, or the empty one where it would go. */
static uint32_t granule_slot(const struct core *c, uint32_t row, uint32_t plane, uint32_t granule)
{
        const uint32_t *slots = granule_slots(c);
        uint32_t i = (uint32_t)granule_hash(c, row, plane, granule) & c->granule_mask;

        for (; slots[i] != 0; i = (i + 1) & c->granule_mask) {
                const struct extent *e = extent_get(c, slots[i] - 1);

                if (e->row == row && e->plane == plane && e->first >> GRANULE_SHIFT == granule)
                        break;
        }
        return i;
}

static uint32_t row_slot(const struct core *c, uint32_t cache, uint32_t number)
{
        const uint32_t *slots = row_slots(c);
        uint32_t i = (uint32_t)row_hash(c, cache, number) & c->row_mask;

        for (; slots[i] != 0; i = (i + 1) & c->row_mask) {
                const struct row *row = row_get(c, slots[i] - 1);

                if (row->cache == cache && row->number == number)
                        break;
        }
        return i;
}

uint32_t ptable_row_find(const struct core *c, uint32_t cache, uint32_t number)
{
        return row_slots(c)[row_slot(c, cache, number)] - 1; /* 0 - 1 is NIL */
}

uint32_t ptable_row_get(struct core *c, uint32_t cache, uint32_t number)
{
        const uint32_t slot = row_slot(c, cache, number);
        struct cache *owner = cache_get(c, cache);
        struct row *row;
        uint32_t index;

        if (row_slots(c)[slot] != 0)
                return row_slots(c)[slot] - 1;
        index = c->free_row;
        if (index != NIL)
                c->free_row = row_get(c, index)->next;
        else if (c->top_row < c->params.max_rows)
                index = c->top_row++;
        else
                return NIL;
        row = row_get(c, index);
        *row = (struct row){
                .cache = cache, .number = number, .next = owner->first_row, .prev = NIL, .head = NIL, .used = 1
        };
        if (owner->first_row != NIL)
                row_get(c, owner->first_row)->prev = index;
        owner->first_row = index;
        owner->row_records++;
        c->n_rows++;
        c->top_rows = bits_max_u32(c->top_rows, c->n_rows);
        row_slots(c)[slot] = index + 1;
        return index;
}

void ptable_row_put(struct core *c, uint32_t index)
{
        struct row *row = row_get(c, index);
        struct cache *owner = cache_get(c, row->cache);

        if (row->head != NIL || row->pins != 0)
                return;
        assert(row->pages == 0);
        slots_remove(c, row_slots(c), c->row_mask, row_slot(c, row->cache, row->number), row_slot_hash);
        if (row->prev != NIL)
                row_get(c, row->prev)->next = row->next;
        else
                owner->first_row = row->next;
        if (row->next != NIL)
                row_get(c, row->next)->prev = row->prev;
        owner->row_records--;
        owner->held_rows -= row->held;
        c->n_rows--;
        memset(row, 0, sizeof *row);
        row->next = c->free_row;
        c->free_row = index;
}

/* Live bytes become idle, or the other way round. */
void ptable_row_hold(struct core *c, uint32_t index, bool held)
{
        struct row *row = row_get(c, index);
        struct cache *cache = cache_get(c, row->cache);
        struct worker *w = worker_get(c, cache->worker);
        struct tenant *t = tenant_get(c, w->tenant);
        struct device *d = device_get(c, cache->device);
        const uint32_t pages = held ? row->pages : 0u - row->pages; /* modulo 2^32 */
        const uint64_t size = (uint64_t)row->pages << d->page_shift, bytes = held ? size : 0u - size;

        if (row->held == held)
                return;
        row->held = held;
        cache->held_rows += held ? 1u : UINT32_MAX;
        cache->live_pages += pages;
        cache->idle_pages -= pages;
        w->held_pages[cache->device] += pages;
        w->idle_pages[cache->device] -= pages;
        w->live_bytes += bytes;
        w->idle_bytes -= bytes;
        t->live_bytes += bytes;
        t->idle_bytes -= bytes;
        d->idle_pages -= pages;
}

/* The extent lies in one granule: order_pages(...) pages, naturally aligned. */
bool ptable_is_free(const struct core *c, uint32_t row, uint32_t plane, uint32_t first, uint32_t pages)
{
        uint32_t i = granule_slots(c)[granule_slot(c, row, plane, first >> GRANULE_SHIFT)] - 1;

        for (; i != NIL; i = extent_get(c, i)->granule_next) {
                const struct extent *e = extent_get(c, i);

                if (e->first < first + pages && first < e->first + extent_pages(e))
                        return false;
        }
        return true;
}

uint32_t ptable_find(const struct core *c, uint32_t row, uint32_t plane, uint32_t page)
{
        uint32_t i = granule_slots(c)[granule_slot(c, row, plane, page >> GRANULE_SHIFT)] - 1;

        for (; i != NIL; i = extent_get(c, i)->granule_next) {
                const struct extent *e = extent_get(c, i);

                if (page >= e->first && page - e->first < extent_pages(e))
                        return i;
        }
        return NIL;
}

void ptable_insert(struct core *c, uint32_t index)
{
        struct extent *e = extent_get(c, index);
        const uint32_t slot = granule_slot(c, e->row, e->plane, e->first >> GRANULE_SHIFT);
        uint32_t *slots = granule_slots(c);

        assert(e->first % extent_pages(e) == 0);
        e->granule_next = slots[slot] - 1;
        if (slots[slot] == 0) {
                c->n_granules++;
                c->top_granules = bits_max_u32(c->top_granules, c->n_granules);
        }
        slots[slot] = index + 1;
        row_get(c, e->row)->extents++;
}

void ptable_remove(struct core *c, uint32_t index)
{
        struct extent *e = extent_get(c, index);
        const uint32_t slot = granule_slot(c, e->row, e->plane, e->first >> GRANULE_SHIFT);
        uint32_t *slots = granule_slots(c);

        assert(slots[slot] != 0);
        if (slots[slot] == index + 1 && e->granule_next == NIL) {
                slots_remove(c, slots, c->granule_mask, slot, granule_slot_hash);
                c->n_granules--;
        } else if (slots[slot] == index + 1) {
                slots[slot] = e->granule_next + 1;
        } else {
                uint32_t i = slots[slot] - 1;

                while (extent_get(c, i)->granule_next != index)
                        i = extent_get(c, i)->granule_next;
                extent_get(c, i)->granule_next = e->granule_next;
        }
        e->granule_next = NIL;
        row_get(c, e->row)->extents--;
}
