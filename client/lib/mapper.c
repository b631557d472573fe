/* SPDX-License-Identifier: MIT
 *
 * mapper.c -- the mapper thread: its loop, its sleep, and the rows that others left to it.
 *
 *      SLEEPING or LISTENING --wake--> ASKED --> AWAKE --(nothing left)--> SLEEPING or LISTENING
 *                                        ^---wake----'
 *
 * Whoever wakes sets ASKED and writes the eventfd only if it was asleep; who finds the mapper AWAKE or ASKED knows
 * that it will look once more before it sleeps.
 *
 * While it listens, it sleeps on the main socket too: whoever sends a request then need not wait for the answer. It
 * listens while answers are due, and goes on when it has read one, for in steady decoding the next request is the next
 * look-ahead. Once an answer wakes it that somebody else waits for, it no longer does: a wake-up for nothing at each
 * answer would cost more than the one that it saves.
 */
#include "mapper.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "grow.h"
#include "shrink.h"

enum { MAPPER_AWAKE, MAPPER_ASKED, MAPPER_SLEEPING, MAPPER_LISTENING };

#define AGAIN_MSEC  10
#define DEMAND_USEC UINT64_C(1000000) /* how long the daemon may wait for memory for a step that does not */

static bool is_asleep(uint32_t state)
{
        return state == MAPPER_SLEEPING || state == MAPPER_LISTENING;
}

bool mapper_wake(struct kvp_conn *conn)
{
        const uint64_t one = 1;

        if (!is_asleep(atomic_exchange(&conn->mapper_state, MAPPER_ASKED)))
                return false;
        while (write(conn->wake, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
        return true;
}

bool mapper_is_idle(struct kvp_conn *conn)
{
        return !conn->mapper_runs || is_asleep(atomic_load(&conn->mapper_state));
}

bool mapper_listens(struct kvp_conn *conn)
{
        return atomic_load(&conn->mapper_state) == MAPPER_LISTENING;
}

bool mapper_attend(struct kvp_conn *conn)
{
        bool unattended;

        if (atomic_load(&conn->mapper_state) != MAPPER_SLEEPING)
                return false; /* it has yet to look at what is due, or listens */
        (void)pthread_mutex_lock(&conn->mutex);
        unattended = conn->n_requests > 0 && conn->waiters == 0 && atomic_load(&conn->mapper_state) == MAPPER_SLEEPING;
        (void)pthread_mutex_unlock(&conn->mutex);
        return unattended && mapper_wake(conn);
}

/* ---- caches ---- */

static void leave(struct kvp_cache *cache)
{
        assert(cache->users > 0);
        cache->users--;
        if (cache->dying)
                (void)pthread_cond_broadcast(&cache->conn->changed);
}

static struct kvp_cache *next_cache(struct kvp_conn *conn, struct kvp_cache *cache, bool dying_too)
{
        struct kvp_cache *next;

        (void)pthread_mutex_lock(&conn->mutex);
        for (next = cache ? cache->next : conn->caches; next && next->dying && !dying_too; next = next->next)
                ;
        if (next)
                next->users++;
        if (cache)
                leave(cache);
        (void)pthread_mutex_unlock(&conn->mutex);
        return next;
}

struct kvp_cache *mapper_next_cache(struct kvp_conn *conn, struct kvp_cache *cache)
{
        return next_cache(conn, cache, false);
}

struct kvp_cache *mapper_next_mapped(struct kvp_conn *conn, struct kvp_cache *cache)
{
        return next_cache(conn, cache, true);
}

void mapper_keep_cache(struct kvp_cache *cache)
{
        (void)pthread_mutex_lock(&cache->conn->mutex);
        cache->users++;
        (void)pthread_mutex_unlock(&cache->conn->mutex);
}

void mapper_leave_cache(struct kvp_cache *cache)
{
        pthread_mutex_t *mutex;

        if (!cache)
                return;
        mutex = &cache->conn->mutex;
        (void)pthread_mutex_lock(mutex);
        leave(cache);
        (void)pthread_mutex_unlock(mutex);
}

/* ---- rows ---- */

/* Rows to tell the daemon of. */
struct told {
        struct wire_item_row rows[WIRE_MAX_ROWS];
        uint32_t n;
};

/* What a turn over the queue of one cache has put together. */
struct turn {
        struct request *request;
        struct told told;
        uint32_t trims[SHRINK_ROWS];
        uint32_t n_trims;
};

/* With cache->lock held. */
static void told_add(struct kvp_cache *cache, struct told *told, uint32_t row)
{
        struct row *r = &cache->rows[row];
        const bool held = row_is_held(cache, row);

        assert(told->n < WIRE_MAX_ROWS);
        if (r->flags & ROW_TELL && held != !!(r->flags & ROW_TOLD_HELD)) {
                cache->telling += told->n == 0;
                told->rows[told->n++] = (struct wire_item_row){ .cache = cache->id, .row = row, .held = held };
        }
        r->flags &= ~(uint32_t)ROW_TELL;
}

static bool turn_is_full(const struct turn *turn)
{
        return turn->told.n == WIRE_MAX_ROWS || turn->n_trims == SHRINK_ROWS;
}

/* With cache->lock held. false: no room for this row in this turn. */
static bool turn_add(struct kvp_cache *cache, struct turn *turn, uint32_t row)
{
        struct row *r = &cache->rows[row];
        const bool held = row_is_held(cache, row), wanted = r->flags & (ROW_AHEAD | ROW_DEMAND);

        if (!(r->flags & ROW_WANTS_MAPPER))
                return true; /* what it was queued for has been done or taken back */
        if (turn_is_full(turn))
                return false;
        told_add(cache, &turn->told, row);
        if (r->growing > 0)
                return true; /* comes again when that has ended */
        if (r->flags & (ROW_TRIM | ROW_TRIM_TAIL)) {
                turn->trims[turn->n_trims++] = row;
        } else if (r->flags & ROW_STUCK) {
                r->error = wanted ? -ENOMEM : r->error;
        } else if (wanted && held) {
                if (!turn->request ||
                    !grow_add(cache, turn->request, row, cache->hot[row].tokens, !(r->flags & ROW_DEMAND)))
                        return false;
        }
        r->flags &= ~(uint32_t)(ROW_AHEAD | ROW_DEMAND);
        if (wanted)
                row_refresh(cache, row);
        return true;
}

/* Tells which rows are held and which idle, by `deadline`. Meanwhile a row may have changed hands, or a request may
 * have told otherwise: then again. false: the daemon has not read so far; it is told later. */
static bool tell(struct kvp_cache *cache, const struct told *told, uint64_t deadline)
{
        const uint64_t patience = deadline_in(cache->conn->patience_usec);
        bool again = false;
        int r;

        if (told->n == 0)
                return true;
        r = conn_send(cache->conn, WIRE_ROWS, NULL, REQUEST_FREE, NULL, told->rows, told->n,
                      min_u64(deadline, patience));
        if (r == -ETIMEDOUT && patience <= deadline)
                conn_fail(cache->conn);
        (void)pthread_mutex_lock(&cache->lock);
        for (uint32_t i = 0; i < told->n; i++) {
                const uint32_t row = told->rows[i].row;
                struct row *state = &cache->rows[row];

                if (r == 0) /* else one that takes over has been told, or will be, by resume.c */
                        state->flags = told->rows[i].held ? state->flags | ROW_TOLD_HELD
                                                          : state->flags & ~(uint32_t)ROW_TOLD_HELD;
                if (r == -ETIMEDOUT || row_is_held(cache, row) != told->rows[i].held)
                        again |= row_queue(cache, row, ROW_TELL);
        }
        cache->telling--;
        (void)pthread_cond_broadcast(&cache->changed);
        (void)pthread_mutex_unlock(&cache->lock);
        if (again) /* this may be a thread that steps, while the mapper sleeps */
                (void)mapper_wake(cache->conn);
        return r != -ETIMEDOUT;
}

/* false: something may be left to tell. */
static bool tell_queued(struct kvp_cache *cache, uint64_t deadline)
{
        const struct timespec until = timespec_of(deadline);
        struct told told;
        bool all = true;

        told.n = 0;
        (void)pthread_mutex_lock(&cache->lock);
        while (cache->telling > 0)
                if (pthread_cond_timedwait(&cache->changed, &cache->lock, &until) == ETIMEDOUT) {
                        all = false;
                        break;
                }
        for (uint32_t i = 0; i < cache->queue_length && told.n < WIRE_MAX_ROWS; i++) {
                const uint32_t row = cache->queue[(cache->queue_head + i) % cache->n_rows];

                if (cache->rows[row].flags & ROW_TELL)
                        told_add(cache, &told, row);
        }
        all = all && told.n < WIRE_MAX_ROWS;
        (void)pthread_mutex_unlock(&cache->lock);
        return tell(cache, &told, deadline) && all;
}

bool mapper_has_to_tell(struct kvp_conn *conn)
{
        return atomic_load(&conn->tells) != atomic_load(&conn->told);
}

void mapper_tell_now(struct kvp_conn *conn, uint64_t deadline)
{
        const uint64_t tells = atomic_load(&conn->tells);
        bool all = true;

        if (tells == atomic_load(&conn->told))
                return;
        for (struct kvp_cache *cache = NULL; (cache = mapper_next_cache(conn, cache));)
                all &= tell_queued(cache, deadline);
        if (all)
                atomic_store(&conn->told, tells);
}

/* Works off the queue of a cache, or as much as one message of each kind takes. False: the rest has to wait for a
 * request to end; what needs none, and may be what others wait for, is done. */
static bool serve(struct kvp_cache *cache)
{
        struct kvp_conn *conn = cache->conn;
        struct turn turn;
        bool more = true;
        uint32_t row;

        turn.told.n = turn.n_trims = 0;
        turn.request = conn_request_take(conn, true);
        (void)pthread_mutex_lock(&cache->lock);
        for (uint32_t left = cache->queue_length; left > 0 && (row = row_dequeue(cache)) != ROW_NONE; left--) {
                if (turn_add(cache, &turn, row))
                        continue;
                (void)row_queue(cache, row, cache->rows[row].flags & ROW_WANTS_MAPPER);
                more = turn.request || turn_is_full(&turn);
                if (more)
                        break;
        }
        (void)pthread_mutex_unlock(&cache->lock);

        (void)tell(cache, &turn.told, UINT64_MAX);
        shrink_trim(cache, turn.trims, turn.n_trims);
        if (turn.request)
                (void)grow_send(cache, turn.request, DEMAND_USEC, deadline_in(conn->patience_usec));
        return more;
}

/* The connection is gone: nothing that is queued can be done. */
static void forget(struct kvp_cache *cache)
{
        uint32_t row;

        (void)pthread_mutex_lock(&cache->lock);
        while ((row = row_dequeue(cache)) != ROW_NONE) {
                cache->rows[row].flags &= ~(uint32_t)ROW_WANTS_MAPPER;
                row_refresh(cache, row);
        }
        (void)pthread_mutex_unlock(&cache->lock);
}

static void serve_all(struct kvp_conn *conn)
{
        for (struct kvp_cache *cache = NULL; (cache = mapper_next_cache(conn, cache));) {
                bool any;

                do {
                        (void)pthread_mutex_lock(&cache->lock);
                        any = cache->queue_length > 0;
                        (void)pthread_mutex_unlock(&cache->lock);
                } while (any && !conn_is_down(conn) && serve(cache));
                if (conn_is_gone(conn))
                        forget(cache);
        }
        if (conn_is_down(conn))
                conn_reap(conn);
}

/* ---- the event channel ---- */

static void acknowledge(struct kvp_conn *conn)
{
        if (conn_send(conn, WIRE_ACK, NULL, REQUEST_FREE, NULL, NULL, 0, deadline_in(conn->patience_usec)) ==
            -ETIMEDOUT)
                conn_fail(conn);
}

/* What a reader left to this thread. */
static void acknowledge_late(struct kvp_conn *conn)
{
        bool late;

        (void)pthread_mutex_lock(&conn->mutex);
        late = conn->ack_late;
        conn->ack_late = false;
        (void)pthread_mutex_unlock(&conn->mutex);
        if (late)
                acknowledge(conn);
}

static void read_event(struct kvp_conn *conn)
{
        uint64_t packet[WIRE_MAX_PACKET / sizeof(uint64_t)];
        struct wire_view view;
        unsigned n_fds;
        bool cut;
        int fd, size;

        size = conn_receive(conn->events, MSG_DONTWAIT, packet, sizeof(packet), &fd, 1, &n_fds, &cut);
        if (size == 0)
                return;
        if (size > 0 && n_fds > 0)
                (void)close(fd);
        if (size < 0) {
                conn_fail(conn);
                return;
        }
        if (wire_decode(packet, (size_t)size, n_fds, WIRE_EVT, &view) != WIRE_E_NONE) {
                conn_end(conn);
                return;
        }
        if (view.info->opcode == WIRE_REVOKE) {
                revoke_answer(conn, view.fixed);
                return;
        }
        if (view.info->opcode != WIRE_SYNC) {
                conn_end(conn);
                return;
        }
        (void)pthread_mutex_lock(&conn->mutex);
        conn->ack_wanted = conn->reading || conn->waiters > 0; /* the reader may be in the middle of a packet */
        (void)pthread_mutex_unlock(&conn->mutex);
        (void)conn_drain(conn);
        acknowledge(conn);
}

/* ---- the loop ---- */

/* What woke it. */
struct came {
        bool wake, event, answer;
};

/* Whether an answer wakes it. Edge-triggered, which costs least: an answer that came before is told of at once, and
 * what comes while it is read is told of again. false: the kernel has no memory for that now. */
static bool listen_to_socket(struct kvp_conn *conn, bool listens)
{
        struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = conn->socket };

        if (conn->mapper_hears == listens)
                return true;
        if (epoll_ctl(conn->epoll, listens ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, conn->socket, &event) < 0)
                return false;
        conn->mapper_hears = listens;
        return true;
}

/* Sleeps until something comes; false: there was something to do already. `expects` an answer that nobody waits for,
 * though none may be due. */
static bool sleep_until_woken(struct kvp_conn *conn, bool expects, struct came *ret)
{
        uint32_t awake = MAPPER_AWAKE;
        const bool down = conn_is_down(conn);
        struct epoll_event events[3];
        bool listens, heard, slept;
        int n;

        if (down)
                (void)epoll_ctl(conn->epoll, EPOLL_CTL_DEL, conn->events, NULL);
        (void)pthread_mutex_lock(&conn->mutex);
        listens = !down && conn->waiters == 0 && (conn->n_requests > 0 || expects);
        heard = listen_to_socket(conn, listens);
        slept = atomic_compare_exchange_strong(&conn->mapper_state, &awake,
                                               listens && heard ? MAPPER_LISTENING : MAPPER_SLEEPING);
        if (slept)
                (void)pthread_cond_broadcast(&conn->changed);
        (void)pthread_mutex_unlock(&conn->mutex);
        if (!slept)
                return false;
        *ret = (struct came){ 0 };
        n = epoll_wait(conn->epoll, events, 3, heard ? -1 : AGAIN_MSEC);
        for (int i = 0; i < n; i++) {
                ret->wake |= events[i].data.fd == conn->wake;
                ret->event |= events[i].data.fd == conn->events;
                ret->answer |= events[i].data.fd == conn->socket;
        }
        return true;
}

/* It is awake from here on; true: somebody woke it. What is queued for it was always followed by that. */
static bool was_asked(struct kvp_conn *conn)
{
        return atomic_exchange(&conn->mapper_state, MAPPER_AWAKE) == MAPPER_ASKED;
}

/* What it does is ahead of need: when it wakes up it takes the CPU from nobody who computes, nor from the daemon that
 * has just answered it and is about to sleep. An application that has its own idea of scheduling is left alone. */
static void give_way(void)
{
        const struct sched_param none = { 0 };

        if (sched_getscheduler(0) == SCHED_OTHER)
                (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

static void *mapper_main(void *userdata)
{
        struct kvp_conn *conn = userdata;
        bool asked = was_asked(conn), expects = false;

        (void)prctl(PR_SET_NAME, "kvp-mapper");
        give_way();
        while (!atomic_load(&conn->quit)) {
                struct came came;

                if (conn_is_down(conn) && !conn_is_gone(conn)) {
                        conn_resume(conn);
                        asked = true; /* what waited for that */
                        continue;
                }
                if (asked) {
                        acknowledge_late(conn);
                        serve_all(conn);
                }
                if (conn_is_down(conn) && !conn_is_gone(conn))
                        continue;
                if (!sleep_until_woken(conn, expects, &came)) {
                        asked = was_asked(conn);
                        continue;
                }
                asked = was_asked(conn);
                if (came.wake)
                        atomic_fetch_add_explicit(&conn->mapper_wakes, 1, memory_order_relaxed);
                if (came.event)
                        read_event(conn);
                if (came.answer) {
                        expects = conn_drain(conn);
                        if (!expects) /* and what comes from here on is not to be missed */
                                (void)listen_to_socket(conn, false);
                }
        }
        return NULL;
}

/* What it sleeps on. Edge-triggered, the eventfd need not be read. */
static int mapper_open(struct kvp_conn *conn)
{
        struct epoll_event wake = { .events = EPOLLIN | EPOLLET }, events = { .events = EPOLLIN };

        conn->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (conn->wake < 0)
                return -errno;
        conn->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (conn->epoll < 0)
                return -errno;
        wake.data.fd = conn->wake;
        events.data.fd = conn->events;
        if (epoll_ctl(conn->epoll, EPOLL_CTL_ADD, conn->wake, &wake) < 0 ||
            epoll_ctl(conn->epoll, EPOLL_CTL_ADD, conn->events, &events) < 0)
                return -ENOMEM;
        return 0;
}

int mapper_start(struct kvp_conn *conn)
{
        sigset_t all, before;
        int r;

        assert(!conn->mapper_runs);
        r = mapper_open(conn);
        if (r < 0)
                return r;
        /* Signals are the application's: none of its handlers runs on this thread. */
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        r = -pthread_create(&conn->mapper, NULL, mapper_main, conn);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        conn->mapper_runs = r == 0;
        return r;
}

void mapper_stop(struct kvp_conn *conn)
{
        if (!conn->mapper_runs)
                return;
        atomic_store(&conn->quit, true);
        (void)mapper_wake(conn);
        (void)pthread_join(conn->mapper, NULL);
        conn->mapper_runs = false;
}
