/* SPDX-License-Identifier: MIT
 *
 * grow.c -- what a row asks for.
 */
#include "grow.h"

#include <assert.h>
#include <errno.h>

#include "grow-answer.h"
#include "probe.h"

/* The sizes of extents: 1, 4, 16, 64 pages. */
#define ORDER_STEP 2u
#define ORDER_MAX  6u

#define SLACK_PERCENT 3u

uint32_t grow_extents(uint32_t first, uint32_t end)
{
        uint32_t n = 0;

        assert(first <= end);
        while (first < end) {
                uint32_t order = ORDER_MAX;

                while (order > 0 && (first % (1u << order) != 0 || 1u << order > end - first))
                        order -= ORDER_STEP;
                if (order == ORDER_MAX) { /* all of the largest at once: a row may have millions of pages */
                        const uint32_t largest = (end - first) >> ORDER_MAX;

                        n += largest;
                        first += largest << ORDER_MAX;
                } else {
                        n++;
                        first += 1u << order;
                }
        }
        return n;
}

uint32_t grow_end(uint32_t first, uint32_t need, uint32_t row_pages)
{
        const uint64_t limit = min_u64(need + (uint64_t)need * SLACK_PERCENT / 100, row_pages);
        uint32_t best = need, fewest = grow_extents(first, need);

        assert(first <= need && need <= row_pages);
        for (uint32_t order = ORDER_STEP; order <= ORDER_MAX; order += ORDER_STEP) {
                const uint64_t size = UINT64_C(1) << order, end = (need + size - 1) / size * size;

                if (end <= limit && grow_extents(first, (uint32_t)end) < fewest) {
                        best = (uint32_t)end;
                        fewest = grow_extents(first, best);
                }
        }
        return best;
}

bool grow_add(struct kvp_cache *cache, struct request *request, uint32_t row, uint64_t tokens, bool optional)
{
        const struct layout *layout = &cache->layout;
        const bool scarce = atomic_load_explicit(&cache->conn->short_of_memory, memory_order_relaxed);
        const bool first_row = request->n_entries == 0;
        struct row *r = &cache->rows[row];
        uint64_t target = tokens;

        assert(r->growing == 0 && !(r->flags & (ROW_SHRINKING | ROW_STUCK)));
        if (request->n_entries + layout->n_classes > WIRE_MAX_GROW)
                return false;
        if (optional || !(scarce || r->flags & (ROW_SCARCE | ROW_PROMPT)))
                target = min_u64(add_saturated(tokens, r->ahead), layout->max_tokens);
        for (uint32_t c = 0; c < layout->n_classes; c++) {
                const struct layout_class *class = &layout->classes[c];
                const struct extents *list = cache_extents(cache, row, c);
                const uint32_t need = layout_pages(layout, class, target), first = list->mapped;

                if (need <= first)
                        continue;
                request->items[request->n_entries] = (struct wire_item_grow){
                        .cache = cache->id,
                        .row = row,
                        .plane_class = (uint16_t)c,
                        .flags = optional ? WIRE_GROW_OPTIONAL : 0,
                        .first = first,
                        .need = need - first,
                        .max = (scarce ? need : grow_end(first, need, class->row_pages)) - first,
                };
                request->entries[request->n_entries] =
                        (struct grow_entry){ .from = list->n, .ahead = need > layout_pages(layout, class, tokens) };
                request->n_entries++;
                r->growing++;
                r->flags |= ROW_TOLD_HELD; /* by asking */
        }
        cache->counters.requests += first_row && request->n_entries > 0;
        r->error = 0;
        row_refresh(cache, row);
        return true;
}

int grow_send(struct kvp_cache *cache, struct request *request, uint64_t timeout_usec, uint64_t deadline)
{
        struct kvp_conn *conn = cache->conn;
        const struct wire_grow fixed = { .timeout_usec = min_u64(timeout_usec, WIRE_MAX_TIMEOUT_USEC) };
        int r;

        if (request->n_entries == 0) {
                conn_request_drop(conn, request);
                return 0;
        }
        request->cache = cache;
        request->n_left = request->n_entries;
        PROBE2(ask, request->id, request->n_entries);
        r = conn_send(conn, WIRE_GROW, request, REQUEST_GROW, &fixed, request->items, request->n_entries, deadline);
        if (r < 0) {
                (void)pthread_mutex_lock(&cache->lock);
                cache->counters.requests--;
                (void)pthread_mutex_unlock(&cache->lock);
                grow_unsent(conn, request, r == -ENOTCONN && !conn_is_gone(conn) ? -EAGAIN : r);
                return r;
        }
        return 0;
}
