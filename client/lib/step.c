/* SPDX-License-Identifier: MIT
 *
 * step.c -- kvp_step(): the call of every iteration.
 *
 *      all within their marks      two short passes over the rows, no system call
 *      a mark is crossed           this thread asks and the mapper maps; or the mapper does both: one system call
 *      a row is not backed         this thread asks, waits, maps (timeout 0: the mapper does)
 *
 * The first pass changes nothing but stamps, so that a call with a row that is repeated, not held or too long has no
 * effect: a row whose stamp is not below this call's was named before or is free.
 *
 * While a call waits, another thread may release rows that it names (a pressure handler that preempts does): from then
 * on the call neither asks nor waits for them. What it has asked for is still under way, and is read by the mapper.
 */
#include <assert.h>
#include <errno.h>

#include "cache.h"
#include "grow.h"
#include "mapper.h"
#include "probe.h"

#define AHEAD_ROWS 8u    /* whose look-ahead a step asks for itself; with more it would become long */
#define RETRY_USEC 1000u /* after the daemon said that too many requests wait, or where all of ours are in use */

/* This call's stamp, above that of every held row and below ROW_FREE. */
static uint32_t next_stamp(struct kvp_cache *cache)
{
        if (UNLIKELY(cache->stamp == ROW_FREE - 1)) {
                for (uint32_t row = 0; row < cache->n_rows; row++)
                        if (row_is_held(cache, row))
                                cache->hot[row].stamp = 0;
                cache->stamp = 0;
        }
        return ++cache->stamp;
}

/* What a call that waits finds when it looks at its rows. */
struct asked {
        bool pending;   /* a row grows: a request will end */
        bool shrinking; /* a row shrinks */
        bool retry;     /* to be asked for later: the daemon wants that, or no request is free */
};

/* Whether a row that is not backed is to be asked for now. Else it is under way, or has failed. */
static bool may_ask(struct row *row, bool late, struct asked *asked)
{
        if (row->growing > 0 || row->flags & ROW_SHRINKING) {
                asked->pending |= row->growing > 0;
                asked->shrinking |= (row->flags & ROW_SHRINKING) != 0;
                return false;
        }
        if (row->flags & ROW_STUCK) {
                row->error = -ENOMEM;
                return false;
        }
        if (late)
                return row->error == 0;
        if (row->error == -EAGAIN) {
                row->error = 0;
                asked->retry = true;
                return false;
        }
        return row->error == 0 || row->error == -ETIMEDOUT; /* the daemon does not wait as long as this caller does */
}

/* With cache->lock held. A row that was released meanwhile wants nothing, though somebody else may hold it by now:
 * ret_ready has, until the call ends, which release of the row was the last. */
static bool is_ours(const struct kvp_cache *cache, const struct kvp_seq_step *step)
{
        return row_is_held(cache, step->seq) && cache->rows[step->seq].released == step->ret_ready;
}

static bool is_wanting(const struct kvp_cache *cache, const struct kvp_seq_step *step)
{
        return step->tokens > cache->hot[step->seq].ready && is_ours(cache, step);
}

/* Asks for all rows that are not backed and not under way. An error: nothing more can be asked. cache->lock is held,
 * and released here. */
static int ask(struct kvp_cache *cache, const struct kvp_seq_step *steps, size_t n, uint64_t deadline,
               struct asked *ret)
{
        const uint64_t left = subtract_saturated(deadline, time_now_usec());
        struct request *request = conn_request_take(cache->conn, true);
        struct asked asked = { 0 };

        for (size_t i = 0; i < n; i++) {
                const uint32_t row = steps[i].seq;
                int r;

                if (!is_wanting(cache, &steps[i]) || !may_ask(&cache->rows[row], left < RETRY_USEC, &asked))
                        continue;
                if (!request) { /* all are in use, perhaps by nothing that a packet would end */
                        asked.retry = true;
                        break;
                }
                asked.pending = true;
                if (grow_add(cache, request, row, steps[i].tokens, false))
                        continue;
                (void)pthread_mutex_unlock(&cache->lock);
                r = grow_send(cache, request, left, deadline);
                if (r < 0)
                        return r;
                request = conn_request_take(cache->conn, true);
                (void)pthread_mutex_lock(&cache->lock);
                i--; /* once more, into the new one */
        }
        (void)pthread_mutex_unlock(&cache->lock);
        *ret = asked;
        return request ? grow_send(cache, request, left, deadline) : 0;
}

/* What happens while a call waits. */
struct seen {
        uint64_t ended, released;
};

static struct seen seen_now(struct kvp_conn *conn)
{
        return (struct seen){ .ended = atomic_load(&conn->ended), .released = atomic_load(&conn->released) };
}

/* A request has ended, or a row was released, perhaps one of those that are waited for. */
static bool has_changed(struct kvp_conn *conn, void *arg)
{
        const struct seen *seen = arg;

        return atomic_load(&conn->ended) != seen->ended || atomic_load(&conn->released) != seen->released;
}

/* With cache->lock held: until no row shrinks, or the deadline. Unmapping is local and short, so this is not the
 * connection's kind of waiting. */
static void wait_shrunk(struct kvp_cache *cache, const struct kvp_seq_step *steps, size_t n, uint64_t deadline)
{
        const struct timespec until = timespec_of(deadline);

        for (size_t i = 0; i < n; i++)
                while (is_wanting(cache, &steps[i]) && cache->rows[steps[i].seq].flags & ROW_SHRINKING)
                        if (pthread_cond_timedwait(&cache->changed, &cache->lock, &until) == ETIMEDOUT)
                                return;
}

static bool all_backed(const struct kvp_cache *cache, const struct kvp_seq_step *steps, size_t n)
{
        bool all = true;

        for (size_t i = 0; i < n && all; i++)
                all = !is_wanting(cache, &steps[i]);
        return all;
}

/* Returns once every row is backed or has failed, or with what ended the waiting. cache->lock is held, and again on
 * return. */
static int wait_backed(struct kvp_cache *cache, const struct kvp_seq_step *steps, size_t n, uint64_t deadline)
{
        struct kvp_conn *conn = cache->conn;

        if (mapper_has_to_tell(conn)) {
                (void)pthread_mutex_unlock(&cache->lock);
                mapper_tell_now(conn, deadline);
                (void)pthread_mutex_lock(&cache->lock);
        }
        for (;;) {
                struct seen seen = seen_now(conn);
                struct asked asked = { 0 };
                int r;

                r = ask(cache, steps, n, deadline, &asked);
                if (r == 0 && asked.pending)
                        r = conn_wait(conn, has_changed, &seen, add_saturated(deadline, CONN_GRACE_USEC));
                else if (r == 0 && asked.retry && !asked.shrinking &&
                         conn_wait(conn, has_changed, &seen, min_u64(deadline, deadline_in(RETRY_USEC))) == -ENOTCONN)
                        r = -ENOTCONN;
                if (r == -ENOTCONN) { /* a daemon that is restarted is waited for */
                        r = conn_wait_up(conn, deadline);
                        asked.retry = true;
                }
                (void)pthread_mutex_lock(&cache->lock);
                if (r < 0 || (!asked.pending && !asked.shrinking && !asked.retry))
                        return r;
                if (asked.shrinking && !asked.pending)
                        wait_shrunk(cache, steps, n, deadline);
                if (all_backed(cache, steps, n))
                        return 0;
                if (!asked.pending && time_now_usec() >= deadline)
                        return -ETIMEDOUT;
        }
}

/* Why a row is not backed: the daemon's answer, or none yet. */
static int last_error(const struct row *row)
{
        return row->error == 0 || row->error == -EAGAIN || row->growing > 0 ? -ETIMEDOUT : row->error;
}

/* Leaves the rows that are not backed to the mapper; their status is what became of the last attempt. */
static bool demand(struct kvp_cache *cache, struct kvp_seq_step *steps, size_t n)
{
        bool wake = false;

        for (size_t i = 0; i < n; i++) {
                struct row *row = &cache->rows[steps[i].seq];

                if (steps[i].tokens <= cache->hot[steps[i].seq].ready)
                        continue;
                steps[i].ret_status = last_error(row);
                if (row->growing > 0 || row->flags & ROW_DEMAND)
                        continue;
                row->error = 0;
                wake |= row_queue(cache, steps[i].seq, ROW_DEMAND);
        }
        return wake;
}

static bool wants_ahead(const struct kvp_cache *cache, const struct kvp_seq_step *step)
{
        return step->ret_status == 0 && step->tokens > cache->hot[step->seq].mark;
}

/* The outcome of a call that had to look further than marks. Returns how many rows want look-ahead. A row that was
 * trimmed while the call waited for it has the length that the call reached: what a step returned stays mapped. */
static size_t conclude(struct kvp_cache *cache, struct kvp_seq_step *steps, size_t n, int waited, int *ret)
{
        size_t wanted = 0;
        int first = 0;

        for (size_t i = 0; i < n; i++) {
                struct kvp_seq_step *step = &steps[i];
                struct row_hot *hot = &cache->hot[step->seq];

                if (!is_ours(cache, step)) {
                        step->ret_status = -ECANCELED;
                } else if (step->tokens <= hot->ready) {
                        step->ret_status = 0;
                        hot->tokens = max_u64(hot->tokens, step->tokens);
                } else if (waited == -ENOTCONN) {
                        step->ret_status = -ENOTCONN;
                } else if (step->ret_status == 0) {
                        step->ret_status = last_error(&cache->rows[step->seq]);
                }
                step->ret_ready = hot->ready;
                if (first == 0)
                        first = step->ret_status;
                wanted += wants_ahead(cache, step);
        }
        *ret = first;
        return wanted;
}

/* Whether this thread may ask for the look-ahead of these rows: they are few, and the mapper, which is to read the
 * answer, listens and has nothing else to do for them. */
static bool may_ask_ahead(const struct kvp_cache *cache, const struct kvp_seq_step *steps, size_t n, size_t wanted)
{
        if (wanted > AHEAD_ROWS || wanted * cache->layout.n_classes > WIRE_MAX_GROW || !mapper_listens(cache->conn))
                return false;
        for (size_t i = 0; i < n; i++)
                if (wants_ahead(cache, &steps[i]) &&
                    cache->rows[steps[i].seq].flags & (ROW_WANTS_MAPPER | ROW_SHRINKING))
                        return false;
        return true;
}

/* Puts look-ahead into a request of ours, or, without one, into the mapper's queue. True: wake it. */
static bool ask_ahead(struct kvp_cache *cache, const struct kvp_seq_step *steps, size_t n, struct request *request)
{
        bool wake = false;

        for (size_t i = 0; i < n; i++) {
                const uint32_t row = steps[i].seq;

                if (!wants_ahead(cache, &steps[i]))
                        continue;
                if (!request || !grow_add(cache, request, row, steps[i].tokens, true))
                        wake |= row_queue(cache, row, ROW_AHEAD);
                row_refresh(cache, row);
        }
        return wake;
}

/* Some row is beyond its mark. cache->lock is held, and released here. */
static int step_beyond(struct kvp_cache *cache, struct kvp_seq_step *steps, size_t n, uint64_t timeout_usec)
{
        struct kvp_conn *conn = cache->conn;
        const bool gone = conn_is_gone(conn);
        bool unbacked = false, wake = false, called = false;
        struct request *request = NULL;
        int waited = 0, r;
        size_t wanted;

        for (size_t i = 0; i < n; i++) {
                struct row_hot *hot = &cache->hot[steps[i].seq];
                struct row *row = &cache->rows[steps[i].seq];

                if (steps[i].tokens > hot->mark) {
                        row_advance(cache, steps[i].seq, steps[i].tokens);
                        unbacked |= steps[i].tokens > hot->ready;
                        if (steps[i].tokens > hot->ready && timeout_usec > 0) {
                                row->error = 0;
                                if (row->growing > 0)
                                        row->flags |= ROW_STALE;
                        }
                }
                hot->tokens = steps[i].tokens;
                steps[i].ret_status = 0;
                steps[i].ret_ready = row->released;
        }
        if (unbacked && gone) {
                waited = -ENOTCONN;
        } else if (unbacked && timeout_usec == 0) {
                wake = demand(cache, steps, n);
        } else if (unbacked) {
                PROBE2(step_miss, n, timeout_usec);
                waited = wait_backed(cache, steps, n, deadline_in(timeout_usec));
                PROBE1(step_done, waited);
                called = true;
        }
        wanted = conclude(cache, steps, n, waited, &r);
        if (wanted > 0 && !wake && !gone && may_ask_ahead(cache, steps, n, wanted))
                request = conn_request_take(conn, true);
        if (wanted > 0)
                wake |= ask_ahead(cache, steps, n, request);
        cache->counters.waited += called;
        called |= request && request->n_entries > 0;
        cache->counters.with_syscalls += called;
        (void)pthread_mutex_unlock(&cache->lock);

        if (request) {
                (void)grow_send(cache, request, 0, 0); /* now or not at all, and then it counts as refused */
                (void)mapper_attend(conn);
        }
        if (wake && !gone && mapper_wake(conn) && !called) {
                (void)pthread_mutex_lock(&cache->lock);
                cache->counters.with_syscalls++;
                (void)pthread_mutex_unlock(&cache->lock);
        }
        return r;
}

KVP_PUBLIC int kvp_step(struct kvp_cache *cache, struct kvp_seq_step *steps, size_t n, uint64_t timeout_usec)
{
        const uint64_t max_tokens = cache->layout.max_tokens;
        uint64_t beyond = 0;
        uint32_t stamp, n_rows;
        struct row_hot *hot;

        if (UNLIKELY(cache->generation != fork_generation()))
                return -ECHILD;
        if (UNLIKELY(!steps && n > 0))
                return -EINVAL;
        (void)pthread_mutex_lock(&cache->lock);
        hot = cache->hot;
        n_rows = cache->n_rows;
        stamp = next_stamp(cache);
        for (size_t i = 0; i < n; i++) {
                const uint32_t row = steps[i].seq;

                if (UNLIKELY(row >= n_rows || hot[row].stamp >= stamp || steps[i].tokens > max_tokens)) {
                        (void)pthread_mutex_unlock(&cache->lock);
                        return -EINVAL;
                }
                hot[row].stamp = stamp;
                beyond |= steps[i].tokens > hot[row].mark;
        }
        cache->counters.steps++;
        if (UNLIKELY(beyond))
                return step_beyond(cache, steps, n, timeout_usec);
        for (size_t i = 0; i < n; i++) {
                struct row_hot *row = &hot[steps[i].seq];

                row->tokens = steps[i].tokens;
                steps[i].ret_status = 0;
                steps[i].ret_ready = row->ready;
        }
        (void)pthread_mutex_unlock(&cache->lock);
        return 0;
}
