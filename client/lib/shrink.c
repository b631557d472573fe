/* SPDX-License-Identifier: MIT
 *
 * shrink.c -- giving memory back, on the mapper thread.
 *
 * Three phases, a batch of rows at a time. The first picks extents and, under the lock, takes them out of what counts
 * as backed, so that no step relies on them any more; then the fence is asked, which so covers everything that was
 * released or trimmed before; then they are unmapped and returned. If the fence refuses, they are put back. Meanwhile
 * the rows are ROW_SHRINKING. What the driver does not let go of stays the daemon's, and its row ROW_STUCK: it is tried
 * again when the row is next trimmed or changes hands.
 *
 * A held row keeps what the length needs that it was stepped to last, the overread included.
 */
#include <assert.h>

#include "giveback.h"
#include "shrink.h"

/* ---- picking: with cache->lock held ---- */

/* Of the classes that may lose another place, the one whose last place starts at the latest token; n_classes: none may.
 */
static uint32_t longest_class(const struct kvp_cache *cache, uint32_t row, const uint32_t *floor)
{
        const struct layout *layout = &cache->layout;
        uint32_t best = layout->n_classes;
        uint64_t best_token = 0;

        for (uint32_t c = 0; c < layout->n_classes; c++) {
                const struct layout_class *class = &layout->classes[c];
                const struct extents *list = cache_extents(cache, row, c);
                uint64_t token;

                if (list->keep <= floor[c])
                        continue;
                token = ((uint64_t)extents_at(list, class->planes, list->keep - 1)->first << layout->page_shift) /
                        class->token_bytes;
                if (best == layout->n_classes || token > best_token) {
                        best = c;
                        best_token = token;
                }
        }
        return best;
}

uint64_t shrink_pick(struct shrink *batch, uint32_t row, const uint32_t *floor, uint64_t wanted)
{
        struct kvp_cache *cache = batch->cache;
        const struct layout *layout = &cache->layout;
        uint64_t taken = 0;
        uint32_t c;

        assert(!shrink_is_busy(&cache->rows[row]) && batch->n < SHRINK_ROWS);
        for (c = 0; c < layout->n_classes; c++)
                cache_extents(cache, row, c)->keep = cache_extents(cache, row, c)->n;
        while (taken < wanted && (c = longest_class(cache, row, floor)) < layout->n_classes) {
                const uint32_t planes = layout->classes[c].planes;
                struct extents *list = cache_extents(cache, row, c);

                list->keep--;
                taken += extent_place_pages(extents_at(list, planes, list->keep));
                list->mapped = extents_end(list, planes, list->keep);
        }
        if (taken > 0) {
                batch->rows[batch->n++] = row;
                batch->pages += taken;
                cache->rows[row].flags |= ROW_SHRINKING;
                row_account(cache, row, 0, taken);
                row_refresh(cache, row);
        }
        return taken;
}

void shrink_floors(const struct kvp_cache *cache, uint32_t row, uint64_t tokens, bool tail, uint32_t *ret)
{
        for (uint32_t c = 0; c < cache->layout.n_classes; c++) {
                const struct layout_class *class = &cache->layout.classes[c];
                const struct extents *list = cache_extents(cache, row, c);
                const uint32_t need = layout_pages(&cache->layout, class, tokens);

                ret[c] = (uint32_t)min_u64(extents_reaching(list, class->planes, need), list->n - list->stuck);
                while (tail && ret[c] > 0 && extents_end(list, class->planes, ret[c]) > need + (uint64_t)need * 3 / 100)
                        ret[c]--;
        }
}

/* ---- carrying out: without locks ---- */

/* Ends ROW_SHRINKING. What is still in the lists is put back, but for what is stuck. */
static void batch_end(struct shrink *batch, uint64_t returned)
{
        struct kvp_cache *cache = batch->cache;

        (void)pthread_mutex_lock(&cache->lock);
        for (uint32_t i = 0; i < batch->n; i++) {
                const uint32_t row = batch->rows[i];
                uint64_t pages = 0;
                bool stuck = false;

                for (uint32_t c = 0; c < cache->layout.n_classes; c++) {
                        const uint32_t planes = cache->layout.classes[c].planes;
                        struct extents *list = cache_extents(cache, row, c);

                        pages += extents_pages(list, planes, list->keep);
                        list->mapped = extents_end(list, planes, list->n - list->stuck);
                        stuck |= list->stuck > 0;
                }
                cache->rows[row].flags &= ~(uint32_t)(ROW_SHRINKING | ROW_STUCK);
                cache->rows[row].flags |= stuck ? (uint32_t)ROW_STUCK : 0u;
                batch->pages -= pages;
                row_account(cache, row, pages, 0);
                row_refresh(cache, row);
        }
        cache->counters.returns += returned;
        (void)pthread_cond_broadcast(&cache->changed);
        (void)pthread_mutex_unlock(&cache->lock);
}

bool shrink_carry_out(struct shrink *batch)
{
        struct kvp_cache *cache = batch->cache;
        struct giveback giveback;
        uint64_t returned = 0;

        if (batch->n == 0)
                return true;
        if (cache_fence(cache) < 0) {
                batch_end(batch, 0);
                return false;
        }
        giveback_init(&giveback, cache->conn, WIRE_RETURN_GIVEN);
        for (uint32_t i = 0; i < batch->n; i++)
                for (uint32_t c = 0; c < cache->layout.n_classes; c++)
                        returned += giveback_places(&giveback, cache, batch->rows[i], c,
                                                    cache_extents(cache, batch->rows[i], c)->keep);
        giveback_send(&giveback);
        batch_end(batch, returned);
        return true;
}

void shrink_trim(struct kvp_cache *cache, const uint32_t *rows, uint32_t n)
{
        struct shrink batch = { .cache = cache };

        assert(n <= SHRINK_ROWS);
        if (n == 0)
                return;
        (void)pthread_mutex_lock(&cache->lock);
        for (uint32_t i = 0; i < n; i++) {
                struct row *r = &cache->rows[rows[i]];
                uint32_t floor[WIRE_MAX_CLASSES];

                if (!(r->flags & (ROW_TRIM | ROW_TRIM_TAIL)) || shrink_is_busy(r) || !row_is_held(cache, rows[i]))
                        continue;
                shrink_floors(cache, rows[i], max_u64(r->trim_tokens, cache->hot[rows[i]].tokens),
                              r->flags & ROW_TRIM_TAIL && cache->hot[rows[i]].tokens == 0, floor);
                r->flags &= ~(uint32_t)(ROW_TRIM | ROW_TRIM_TAIL);
                (void)shrink_pick(&batch, rows[i], floor, UINT64_MAX);
        }
        (void)pthread_cond_broadcast(&cache->changed); /* there may have been nothing to trim */
        (void)pthread_mutex_unlock(&cache->lock);
        (void)shrink_carry_out(&batch);
}
