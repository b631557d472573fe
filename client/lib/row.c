/* SPDX-License-Identifier: MIT
 *
 * row.c -- what is known of a row: how far it is backed, when it wants more, who holds it, what the mapper is to do
 * with it.
 */
#include <assert.h>

#include "cache.h"

#define AHEAD_TOKENS_MIN  8u
#define AHEAD_ADVANCE_MAX 16u /* a longer advance is a prompt's, and says nothing of the next one */

void row_advance(struct kvp_cache *cache, uint32_t row, uint64_t tokens)
{
        struct row *r = &cache->rows[row];
        const uint64_t advance = subtract_saturated(tokens, cache->hot[row].tokens);
        const bool prompt = advance > AHEAD_ADVANCE_MAX;
        const uint64_t ahead = prompt ? AHEAD_TOKENS_MIN : max_u64(AHEAD_TOKENS_MIN, 4 * advance);

        r->ahead = (uint32_t)min_u64(ahead, cache->layout.tokens_per_page); /* at most a page beyond need */
        r->flags = prompt ? r->flags | ROW_PROMPT : r->flags & ~(uint32_t)ROW_PROMPT;
}

static uint64_t row_backed(const struct kvp_cache *cache, uint32_t row)
{
        const struct layout *layout = &cache->layout;
        uint64_t backed = UINT64_MAX;

        for (uint32_t c = 0; c < layout->n_classes; c++) {
                const uint64_t bytes = (uint64_t)cache_extents(cache, row, c)->mapped << layout->page_shift;

                backed = min_u64(backed, bytes / layout->classes[c].token_bytes);
        }
        return min_u64(subtract_saturated(backed, layout->overread_tokens), layout->max_tokens);
}

void row_refresh(struct kvp_cache *cache, uint32_t row)
{
        struct row_hot *hot = &cache->hot[row];
        const struct row *r = &cache->rows[row];
        const uint64_t ready = row_backed(cache, row);

        hot->ready = ready;
        if (ready == cache->layout.max_tokens || r->growing > 0 || r->flags & (ROW_AHEAD | ROW_DEMAND | ROW_STUCK))
                hot->mark = ready; /* nothing more to ask for, or asked for already */
        else if (r->flags & ROW_COOLING)
                hot->mark = hot->tokens < ready ? hot->tokens + (ready - hot->tokens + 1) / 2 : ready;
        else
                hot->mark = subtract_saturated(ready, r->ahead);
        assert(hot->mark <= hot->ready);
}

/* ---- pages, and the list of idle rows ---- */

static void idle_add(struct kvp_cache *cache, uint32_t row)
{
        struct row *r = &cache->rows[row];

        assert(!(r->flags & ROW_IDLE) && !row_is_held(cache, row));
        r->flags |= ROW_IDLE;
        r->idle_previous = cache->idle_last;
        r->idle_next = ROW_NONE;
        if (cache->idle_last != ROW_NONE)
                cache->rows[cache->idle_last].idle_next = row;
        else
                cache->idle_first = row;
        cache->idle_last = row;
}

static void idle_remove(struct kvp_cache *cache, uint32_t row)
{
        struct row *r = &cache->rows[row];

        assert(r->flags & ROW_IDLE);
        r->flags &= ~(uint32_t)ROW_IDLE;
        if (r->idle_previous != ROW_NONE)
                cache->rows[r->idle_previous].idle_next = r->idle_next;
        else
                cache->idle_first = r->idle_next;
        if (r->idle_next != ROW_NONE)
                cache->rows[r->idle_next].idle_previous = r->idle_previous;
        else
                cache->idle_last = r->idle_previous;
}

static void idle_update(struct kvp_cache *cache, uint32_t row)
{
        const struct row *r = &cache->rows[row];
        const bool idle = !row_is_held(cache, row) && r->pages > 0;

        if (idle && !(r->flags & ROW_IDLE))
                idle_add(cache, row);
        else if (!idle && r->flags & ROW_IDLE)
                idle_remove(cache, row);
}

void row_account(struct kvp_cache *cache, uint32_t row, uint64_t added, uint64_t taken)
{
        struct row *r = &cache->rows[row];
        uint64_t *total = row_is_held(cache, row) ? &cache->held_pages : &cache->idle_pages;

        assert(r->pages + added >= taken && *total + added >= taken);
        r->pages = r->pages + added - taken;
        *total = *total + added - taken;
        idle_update(cache, row);
}

/* ---- holders ---- */

void row_hold(struct kvp_cache *cache, uint32_t row)
{
        struct row *r = &cache->rows[row];

        assert(!row_is_held(cache, row));
        cache->hot[row].stamp = 0;
        cache->hot[row].tokens = 0;
        cache->held_rows++;
        cache->idle_pages -= r->pages;
        cache->held_pages += r->pages;
        row_advance(cache, row, 1);
        r->error = 0;
        r->flags &= ~(uint32_t)(ROW_SCARCE | ROW_COOLING | ROW_TRIM | ROW_TRIM_TAIL);
        idle_update(cache, row);
        row_refresh(cache, row);
}

void row_free(struct kvp_cache *cache, uint32_t row)
{
        struct row *r = &cache->rows[row];

        assert(row_is_held(cache, row));
        cache->hot[row].stamp = ROW_FREE;
        cache->hot[row].tokens = 0;
        cache->held_rows--;
        cache->held_pages -= r->pages;
        cache->idle_pages += r->pages;
        r->released = 1 + atomic_fetch_add_explicit(&cache->conn->released, 1, memory_order_relaxed);
        r->flags &= ~(uint32_t)(ROW_AHEAD | ROW_DEMAND | ROW_TRIM | ROW_TRIM_TAIL);
        idle_update(cache, row);
        row_refresh(cache, row);
}

/* ---- the mapper's queue ---- */

bool row_queue(struct kvp_cache *cache, uint32_t row, uint32_t flags)
{
        struct row *r = &cache->rows[row];

        assert(flags & ROW_WANTS_MAPPER);
        r->flags |= flags;
        if (flags & ROW_TELL)
                atomic_fetch_add(&cache->conn->tells, 1);
        if (r->flags & ROW_QUEUED)
                return false;
        assert(cache->queue_length < cache->n_rows);
        r->flags |= ROW_QUEUED;
        cache->queue[(cache->queue_head + cache->queue_length) % cache->n_rows] = row;
        cache->queue_length++;
        return true;
}

uint32_t row_dequeue(struct kvp_cache *cache)
{
        uint32_t row;

        if (cache->queue_length == 0)
                return ROW_NONE;
        row = cache->queue[cache->queue_head];
        cache->queue_head = (cache->queue_head + 1) % cache->n_rows;
        cache->queue_length--;
        cache->rows[row].flags &= ~(uint32_t)ROW_QUEUED;
        return row;
}
