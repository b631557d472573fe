/* SPDX-License-Identifier: MIT
 *
 * revoke.c -- what the daemon wants back. A revoke names a device, an amount of its pages and a level:
 *
 *      idle    released rows, the least recently released one of all its caches first, each from its end up
 *      slack   and whole extents of held rows beyond what their lengths need, look-ahead included
 *      live    and what the application gives up, when its pressure handler is told; then the first two again
 *
 * Whole extents are given, so it may be somewhat more than was asked for. REVOKED follows when no more is to be had.
 */
#include "conn.h"
#include "mapper.h"
#include "shrink.h"

/* ---- idle rows ---- */

/* The idle row of the cache that was released first, of those that can shrink. */
static uint32_t idle_pick(const struct kvp_cache *cache)
{
        uint32_t row = cache->idle_first;

        while (row != ROW_NONE && (shrink_is_busy(&cache->rows[row]) || cache->rows[row].flags & ROW_STUCK))
                row = cache->rows[row].idle_next;
        return row;
}

/* The cache with the least recently released idle row, kept for the caller, and when the oldest row of any other was
 * released. */
static struct kvp_cache *idle_oldest(struct kvp_conn *conn, uint64_t *ret_next)
{
        uint64_t oldest = UINT64_MAX, next = UINT64_MAX;
        struct kvp_cache *best = NULL;

        for (struct kvp_cache *cache = NULL; (cache = mapper_next_cache(conn, cache));) {
                uint64_t released;
                uint32_t row;

                if (cache->spared)
                        continue;
                (void)pthread_mutex_lock(&cache->lock);
                row = idle_pick(cache);
                released = row == ROW_NONE ? UINT64_MAX : cache->rows[row].released;
                (void)pthread_mutex_unlock(&cache->lock);
                if (released >= oldest) {
                        next = min_u64(next, released);
                        continue;
                }
                mapper_keep_cache(cache);
                mapper_leave_cache(best);
                best = cache;
                next = oldest;
                oldest = released;
        }
        *ret_next = next;
        return best;
}

/* Takes idle rows of one cache that were released before `until`. Returns the pages. */
static uint64_t take_idle(struct kvp_cache *cache, uint64_t until, uint64_t wanted)
{
        static const uint32_t nothing[WIRE_MAX_CLASSES];
        struct shrink batch = { .cache = cache };
        uint32_t row;

        (void)pthread_mutex_lock(&cache->lock);
        while (batch.pages < wanted && batch.n < SHRINK_ROWS && (row = idle_pick(cache)) != ROW_NONE &&
               cache->rows[row].released < until)
                (void)shrink_pick(&batch, row, nothing, wanted - batch.pages);
        (void)pthread_mutex_unlock(&cache->lock);
        cache->spared = !shrink_carry_out(&batch);
        return batch.pages;
}

static uint64_t revoke_idle(struct kvp_conn *conn, uint64_t wanted)
{
        uint64_t taken = 0;

        while (taken < wanted && !conn_is_down(conn)) {
                uint64_t until;
                struct kvp_cache *cache = idle_oldest(conn, &until);

                if (!cache)
                        break;
                taken += take_idle(cache, until, wanted - taken);
                mapper_leave_cache(cache);
        }
        return taken;
}

/* ---- held rows ---- */

/* Goes on at *row. */
static uint64_t take_slack(struct kvp_cache *cache, uint32_t *row, uint64_t wanted)
{
        struct shrink batch = { .cache = cache };

        (void)pthread_mutex_lock(&cache->lock);
        for (; *row < cache->n_rows && batch.pages < wanted && batch.n < SHRINK_ROWS; (*row)++) {
                uint32_t floor[WIRE_MAX_CLASSES];

                if (!row_is_held(cache, *row) || shrink_is_busy(&cache->rows[*row]) ||
                    cache->rows[*row].flags & ROW_STUCK)
                        continue;
                cache->rows[*row].flags |= ROW_COOLING; /* or its look-ahead would be asked for again at once */
                shrink_floors(cache, *row, cache->hot[*row].tokens, false, floor);
                (void)shrink_pick(&batch, *row, floor, wanted - batch.pages);
        }
        (void)pthread_mutex_unlock(&cache->lock);
        cache->spared = !shrink_carry_out(&batch);
        return batch.pages;
}

static uint64_t revoke_slack(struct kvp_conn *conn, uint64_t wanted)
{
        uint64_t taken = 0;

        for (struct kvp_cache *cache = NULL; (cache = mapper_next_cache(conn, cache));)
                for (uint32_t row = 0; row < cache->n_rows && taken < wanted && !cache->spared && !conn_is_down(conn);)
                        taken += take_slack(cache, &row, wanted - taken);
        return taken;
}

/* ---- the application ---- */

/* False: there is nothing that it could give up of this device, or nobody to tell. */
static bool tell_application(struct kvp_conn *conn, uint32_t device, uint64_t pages, uint64_t deadline)
{
        struct kvp_cache *cache = NULL;
        kvp_pressure_fn *handler;
        uint32_t page_shift;
        void *userdata;

        do
                cache = mapper_next_cache(conn, cache);
        while (cache && cache->layout.device != device);
        if (!cache)
                return false;
        page_shift = cache->layout.page_shift;
        mapper_leave_cache(cache);
        (void)pthread_mutex_lock(&conn->mutex);
        handler = conn->pressure;
        userdata = conn->pressure_userdata;
        (void)pthread_mutex_unlock(&conn->mutex);
        if (!handler)
                return false;
        handler(conn, pages > UINT64_MAX >> page_shift ? UINT64_MAX : pages << page_shift,
                subtract_saturated(deadline, time_now_usec()), userdata);
        return true;
}

void revoke_answer(struct kvp_conn *conn, const struct wire_revoke *revoke)
{
        const uint64_t deadline = deadline_in(revoke->deadline_usec), wanted = revoke->pages;
        const struct wire_revoked answer = { .revoke = revoke->revoke };
        uint64_t taken;

        atomic_store_explicit(&conn->short_of_memory, true, memory_order_relaxed);
        for (struct kvp_cache *cache = NULL; (cache = mapper_next_cache(conn, cache));)
                cache->spared = cache->layout.device != revoke->device;
        taken = revoke_idle(conn, wanted);
        if (taken < wanted && revoke->level >= WIRE_REVOKE_SLACK)
                taken += revoke_slack(conn, wanted - taken);
        if (taken < wanted && revoke->level >= WIRE_REVOKE_LIVE &&
            tell_application(conn, revoke->device, wanted - taken, deadline)) {
                /* What was released is idle from now on, the part too that is not wanted yet: before the answer, or the
                 * next one who wants some would have the application pressed once more. */
                mapper_tell_now(conn, deadline);
                taken += revoke_idle(conn, wanted - taken);
                if (taken < wanted)
                        (void)revoke_slack(conn, wanted - taken);
        }
        if (!conn_is_down(conn) && conn_send(conn, WIRE_REVOKED, NULL, REQUEST_FREE, &answer, NULL, 0,
                                             deadline_in(conn->patience_usec)) == -ETIMEDOUT)
                conn_fail(conn);
}
