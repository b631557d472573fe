/* SPDX-License-Identifier: MIT
 *
 * seq.c -- sequences take rows, give them back and shorten them.
 *
 * Released rows keep their pages (deferred reclamation), so which row a sequence gets decides how much has to be
 * mapped: the best fit wastes least of what is there. Anything that unmaps is left to the mapper.
 */
#include <assert.h>
#include <errno.h>

#include "cache.h"
#include "mapper.h"

#define TRIM_PATIENCE_USEC UINT64_C(100000)

/* With cache->lock held. The least mapped of the free rows that have enough, else the most mapped; one that cannot grow
 * where there is no other; ROW_NONE: none is free. */
static uint32_t best_fit(const struct kvp_cache *cache, uint64_t expected_tokens)
{
        uint32_t best = ROW_NONE;
        uint64_t best_ready = 0;
        bool best_stuck = false;

        for (uint32_t row = 0; row < cache->n_rows; row++) {
                const uint64_t ready = cache->hot[row].ready;
                const bool stuck = cache->rows[row].flags & ROW_STUCK;
                bool better;

                if (row_is_held(cache, row))
                        continue;
                if (best == ROW_NONE)
                        better = true;
                else if (UNLIKELY(stuck != best_stuck))
                        better = best_stuck;
                else if (ready >= expected_tokens)
                        better = best_ready < expected_tokens || ready < best_ready;
                else
                        better = best_ready < expected_tokens && ready > best_ready;
                if (better) {
                        best = row;
                        best_ready = ready;
                        best_stuck = stuck;
                }
        }
        return best;
}

/* Until the mapper has given back what the row had too much. Otherwise the first step would find it needed, and it
 * would stay wasted for as long as the sequence lives. Unmapping is local and short; a mapper that has other things to
 * do is not waited for. */
static void wait_trimmed(struct kvp_cache *cache, uint32_t row)
{
        const struct timespec until = timespec_of(deadline_in(TRIM_PATIENCE_USEC));

        if (pthread_equal(pthread_self(), cache->conn->mapper))
                return;
        (void)pthread_mutex_lock(&cache->lock);
        while (cache->rows[row].flags & (ROW_TRIM | ROW_TRIM_TAIL | ROW_SHRINKING) && !conn_is_gone(cache->conn))
                if (pthread_cond_timedwait(&cache->changed, &cache->lock, &until) == ETIMEDOUT)
                        break;
        (void)pthread_mutex_unlock(&cache->lock);
}

KVP_PUBLIC int kvp_seq_acquire(struct kvp_cache *cache, uint64_t expected_tokens, uint64_t timeout_usec,
                               uint32_t *ret_seq)
{
        const struct timespec until = timespec_of(deadline_in(timeout_usec));
        bool wake = false, trim = false;
        struct row *r;
        uint32_t row;

        if (conn_check(cache->conn) < 0)
                return -ECHILD;
        if (expected_tokens > cache->layout.max_tokens || !ret_seq)
                return -EINVAL;
        (void)pthread_mutex_lock(&cache->lock);
        while ((row = best_fit(cache, expected_tokens)) == ROW_NONE)
                if (timeout_usec == 0 || pthread_cond_timedwait(&cache->changed, &cache->lock, &until) == ETIMEDOUT) {
                        (void)pthread_mutex_unlock(&cache->lock);
                        return -EAGAIN;
                }
        row_hold(cache, row);
        r = &cache->rows[row];
        if ((r->pages > 0 || r->growing > 0) && !(r->flags & ROW_TOLD_HELD))
                wake |= row_queue(cache, row, ROW_TELL);
        if (r->pages > 0 &&
            (r->flags & ROW_STUCK || atomic_load_explicit(&cache->conn->short_of_memory, memory_order_relaxed))) {
                r->trim_tokens = expected_tokens;
                wake |= row_queue(cache, row, ROW_TRIM | ROW_TRIM_TAIL);
                trim = true;
        }
        (void)pthread_mutex_unlock(&cache->lock);
        if (wake && !conn_is_gone(cache->conn))
                (void)mapper_wake(cache->conn);
        if (trim)
                wait_trimmed(cache, row);
        *ret_seq = row;
        return 0;
}

KVP_PUBLIC int kvp_seq_release(struct kvp_cache *cache, uint32_t seq)
{
        bool wake = false;

        if (conn_check(cache->conn) < 0)
                return -ECHILD;
        (void)pthread_mutex_lock(&cache->lock);
        if (seq >= cache->n_rows || !row_is_held(cache, seq)) {
                (void)pthread_mutex_unlock(&cache->lock);
                return -EINVAL;
        }
        row_free(cache, seq);
        if (cache->rows[seq].flags & ROW_TOLD_HELD)
                wake = row_queue(cache, seq, ROW_TELL);
        (void)pthread_cond_broadcast(&cache->changed);
        (void)pthread_mutex_unlock(&cache->lock);
        if (wake && !conn_is_gone(cache->conn))
                (void)mapper_wake(cache->conn);
        return 0;
}

KVP_PUBLIC int kvp_seq_trim(struct kvp_cache *cache, uint32_t seq, uint64_t tokens)
{
        bool wake = false;

        if (conn_check(cache->conn) < 0)
                return -ECHILD;
        (void)pthread_mutex_lock(&cache->lock);
        if (seq >= cache->n_rows || !row_is_held(cache, seq) || tokens > cache->layout.max_tokens) {
                (void)pthread_mutex_unlock(&cache->lock);
                return -EINVAL;
        }
        cache->hot[seq].tokens = tokens;
        cache->rows[seq].trim_tokens = tokens;
        if (cache->rows[seq].pages > 0 || cache->rows[seq].growing > 0)
                wake = row_queue(cache, seq, ROW_TRIM);
        (void)pthread_mutex_unlock(&cache->lock);
        if (wake && !conn_is_gone(cache->conn))
                (void)mapper_wake(cache->conn);
        return 0;
}
