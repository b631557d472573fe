/* SPDX-License-Identifier: MIT
 *
 * resume.c -- the daemon ended, and another one takes over: the mapper thread connects to it, says what this worker
 * has, and everything goes on. Steps that need no new page notice nothing; those that do wait for it, within their
 * timeouts.
 *
 * What was under way is given up on both sides: requests end, and are asked again by whoever still wants them; grants
 * that were not read go unread, and the daemon takes them back, since what is told here does not include them. What was
 * unmapped while nobody could be told is not told either. Nothing of a cache is unmapped meanwhile but by this thread,
 * and nothing is mapped, so what is told is what there is.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cache.h"
#include "grow.h"
#include "mapper.h"

#define PAUSE_MIN_NSEC  1000000 /* between attempts */
#define PAUSE_MAX_NSEC  32000000
#define QUIT_USEC       UINT64_C(50000) /* how long who disconnects may wait for an attempt */
#define RESUME_REQUEST  1u
#define RESUMED_REQUEST 2u

/* A connection that is being made. */
struct attempt {
        struct kvp_conn *conn;
        int socket, events;
        uint64_t deadline;
        uint64_t packet[WIRE_MAX_PACKET / sizeof(uint64_t)];
};

/* What a cache has. */
struct inventory {
        uint64_t *extents;
        struct wire_item_row *rows;
        size_t n_extents, n_rows, extents_capacity;
};

static int attempt_send(struct attempt *attempt, enum wire_opcode opcode, uint32_t request, const void *fixed,
                        const void *items, uint32_t n_items)
{
        const size_t size = wire_encode(attempt->packet, sizeof(attempt->packet), opcode, request, 0, fixed, items,
                                        n_items);

        assert(size > 0);
        while (send(attempt->socket, attempt->packet, size, MSG_NOSIGNAL) < 0)
                if (errno != EINTR)
                        return errno == EAGAIN ? -ETIMEDOUT : errno == ENOMEM || errno == ENOBUFS ? -ENOMEM : -EPIPE;
        return 0;
}

/* ---- what there is ---- */

static int add_extents(struct inventory *inventory, const struct extents *list, uint32_t planes)
{
        for (uint32_t i = 0; i < list->n; i++) {
                const struct extent_place *place = extents_at(list, planes, i);

                for (uint32_t plane = 0; plane < planes; plane++) {
                        if (!(place->present >> plane & 1))
                                continue;
                        if (inventory->n_extents == inventory->extents_capacity) {
                                size_t capacity = inventory->extents_capacity ? 2 * inventory->extents_capacity : 512;
                                void *extents = realloc(inventory->extents, capacity * sizeof(*inventory->extents));

                                if (!extents)
                                        return -ENOMEM;
                                inventory->extents = extents;
                                inventory->extents_capacity = capacity;
                        }
                        inventory->extents[inventory->n_extents++] = place->ids[plane];
                }
        }
        return 0;
}

/* With cache->lock held. */
static int take_inventory(struct kvp_cache *cache, struct inventory *inventory)
{
        int r = 0;

        for (uint32_t row = 0; row < cache->n_rows && r == 0; row++) {
                struct row *state = &cache->rows[row];
                const bool held = row_is_held(cache, row);
                const size_t before = inventory->n_extents;

                for (uint32_t c = 0; c < cache->layout.n_classes && r == 0; c++)
                        r = add_extents(inventory, cache_extents(cache, row, c), cache->layout.classes[c].planes);
                /* A row without pages is the daemon's as it was not asked for yet. */
                state->flags &= ~(uint32_t)(ROW_TELL | ROW_TOLD_HELD);
                if (inventory->n_extents == before)
                        continue;
                state->flags |= held ? (uint32_t)ROW_TOLD_HELD : 0u;
                inventory->rows[inventory->n_rows++] =
                        (struct wire_item_row){ .cache = cache->id, .row = row, .held = held };
        }
        return r;
}

static int send_inventory(struct attempt *attempt, const struct inventory *inventory)
{
        static const struct wire_holds holds;
        static const struct wire_rows rows;
        int r = 0;

        for (size_t i = 0, n; i < inventory->n_extents && r == 0; i += n) {
                n = min_u64(inventory->n_extents - i, WIRE_MAX_RETURN);
                r = attempt_send(attempt, WIRE_HOLDS, 0, &holds, &inventory->extents[i], (uint32_t)n);
        }
        for (size_t i = 0, n; i < inventory->n_rows && r == 0; i += n) {
                n = min_u64(inventory->n_rows - i, WIRE_MAX_ROWS);
                r = attempt_send(attempt, WIRE_ROWS, 0, &rows, &inventory->rows[i], (uint32_t)n);
        }
        return r;
}

static int tell_cache(struct attempt *attempt, struct kvp_cache *cache)
{
        struct inventory inventory = { .rows = calloc(cache->n_rows, sizeof(*inventory.rows)) };
        int r = -ENOMEM;

        if (inventory.rows) {
                (void)pthread_mutex_lock(&cache->lock);
                r = take_inventory(cache, &inventory);
                (void)pthread_mutex_unlock(&cache->lock);
        }
        if (r == 0)
                r = send_inventory(attempt, &inventory);
        free(inventory.extents);
        free(inventory.rows);
        return r;
}

static int tell_all(struct attempt *attempt)
{
        struct wire_item_cache_id caches[WIRE_MAX_CACHE_IDS];
        struct kvp_conn *conn = attempt->conn;
        const struct wire_resumed resumed = { 0 };
        uint32_t n = 0;
        int r = 0;

        for (struct kvp_cache *cache = NULL; (cache = mapper_next_mapped(conn, cache));)
                if (r == 0)
                        r = tell_cache(attempt, cache);
        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&conn->mutex);
        conn->epoch++; /* a cache that was made before, and is not among these, is to be made again */
        for (const struct kvp_cache *cache = conn->caches; cache && n < WIRE_MAX_CACHE_IDS; cache = cache->next)
                caches[n++] = (struct wire_item_cache_id){ .cache = cache->id };
        (void)pthread_mutex_unlock(&conn->mutex);
        return attempt_send(attempt, WIRE_RESUMED, RESUMED_REQUEST, &resumed, caches, n);
}

/* ---- the connection ---- */

/* It is not given up for another before the deadline: a daemon that reads this one later would find that we have gone.
 */
static int await_answer(const struct attempt *attempt)
{
        struct pollfd readable = { .fd = attempt->socket, .events = POLLIN };

        for (;;) {
                const uint64_t left = subtract_saturated(attempt->deadline, time_now_usec());
                const struct timespec pause = timespec_of(min_u64(left, QUIT_USEC));

                if (ppoll(&readable, 1, &pause, NULL) > 0) /* first: who was stopped for long may have been answered */
                        return 0;
                if (left == 0 || atomic_load(&attempt->conn->quit))
                        return -ETIMEDOUT;
        }
}

static int await_ok(struct attempt *attempt)
{
        for (;;) {
                struct wire_view view;
                unsigned n_fds;
                bool cut;
                int fd = -1, size, r;

                r = await_answer(attempt);
                if (r < 0)
                        return r;
                size = conn_receive(attempt->socket, MSG_DONTWAIT, attempt->packet, sizeof(attempt->packet), &fd, 1,
                                    &n_fds, &cut);
                if (size < 0)
                        return size == -ENOTCONN ? -EPIPE : -EPROTO;
                if (size == 0)
                        continue;
                if (n_fds > 0)
                        (void)close(fd);
                if (wire_decode(attempt->packet, (size_t)size, n_fds, WIRE_D2C, &view) != WIRE_E_NONE)
                        return -EPROTO;
                if (view.info->opcode == WIRE_ERROR) {
                        const struct wire_error *error = view.fixed;

                        return error->error == WIRE_E_SHUTTING_DOWN ? -EPIPE : -EACCES;
                }
                return view.info->opcode == WIRE_OK && view.header.request == RESUMED_REQUEST ? 0 : -EPROTO;
        }
}

/* The fds keep their numbers, so nobody who has them sees another file's. */
static int put_in_place(struct attempt *attempt)
{
        struct kvp_conn *conn = attempt->conn;
        struct epoll_event events = { .events = EPOLLIN, .data.fd = conn->events };
        int r = 0;

        (void)pthread_mutex_lock(&conn->sending);
        (void)pthread_mutex_lock(&conn->mutex);
        if (dup3(attempt->socket, conn->socket, O_CLOEXEC) < 0 || dup3(attempt->events, conn->events, O_CLOEXEC) < 0 ||
            epoll_ctl(conn->epoll, EPOLL_CTL_ADD, conn->events, &events) < 0)
                r = -errno;
        if (r == 0) {
                conn->dealt_with = conn->acknowledged = 0;
                conn->receive_waits = conn->ack_wanted = conn->ack_late = conn->mapper_hears = false;
                atomic_store(&conn->down, false);
                (void)pthread_cond_broadcast(&conn->changed);
        }
        (void)pthread_mutex_unlock(&conn->mutex);
        (void)pthread_mutex_unlock(&conn->sending);
        return r;
}

/* -EPIPE, -ECONNREFUSED and the like: perhaps later. */
static int attempt_once(struct attempt *attempt)
{
        struct kvp_conn *conn = attempt->conn;
        const struct wire_resume resume = { .version = WIRE_VERSION,
                                            .worker = conn->worker,
                                            .features = WIRE_FEATURES,
                                            .token_low = conn->token[0],
                                            .token_high = conn->token[1] };
        struct wire_welcome welcome;
        int r;

        r = conn_open(conn, &attempt->socket);
        if (r == 0)
                r = attempt_send(attempt, WIRE_RESUME, RESUME_REQUEST, &resume, NULL, 0);
        if (r == 0 || r == -EPIPE) /* why it hung up may still be there to be read */
                r = await_answer(attempt);
        if (r == 0)
                r = conn_welcome(attempt->socket, attempt->packet, attempt->deadline, &welcome, &attempt->events);
        if (r == 0)
                r = tell_all(attempt);
        if (r == 0 || r == -EPIPE)
                r = await_ok(attempt);
        return r == 0 ? put_in_place(attempt) : r;
}

static bool may_come_back(int status)
{
        switch (status) {
        case -EPIPE:
        case -ECONNREFUSED:
        case -ECONNRESET:
        case -ENOENT:
        case -ETIMEDOUT:
        case -EAGAIN:
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
        case -ENOBUFS:
                return true;
        default:
                return false;
        }
}

/* Everything that was under way has ended, and nobody reads or will. */
static void quiesce(struct kvp_conn *conn)
{
        conn_reap(conn);
        (void)pthread_mutex_lock(&conn->mutex);
        while (conn->reading || conn->n_requests > 0) {
                if (conn->reading) {
                        conn_sleep(conn, deadline_in(CONN_GRACE_USEC));
                        continue;
                }
                (void)pthread_mutex_unlock(&conn->mutex);
                conn_reap(conn);
                (void)pthread_mutex_lock(&conn->mutex);
        }
        (void)pthread_mutex_unlock(&conn->mutex);
}

void conn_resume(struct kvp_conn *conn)
{
        const uint64_t deadline = deadline_in(CONN_ABSENCE_USEC);
        long pause = PAUSE_MIN_NSEC;
        int r = -EPIPE;

        assert(conn_is_down(conn));
        (void)epoll_ctl(conn->epoll, EPOLL_CTL_DEL, conn->events, NULL);
        quiesce(conn);
        while (!atomic_load(&conn->quit) && !conn_is_gone(conn)) {
                struct attempt attempt = { .conn = conn,
                                           .socket = -1,
                                           .events = -1,
                                           .deadline = max_u64(deadline, deadline_in(CONN_PATIENCE_USEC)) };

                r = attempt_once(&attempt);
                cleanup_close(&attempt.socket);
                cleanup_close(&attempt.events);
                if (r == 0)
                        return;
                if (!may_come_back(r) || time_now_usec() >= deadline)
                        break;
                (void)nanosleep(&(struct timespec){ .tv_nsec = pause }, NULL);
                pause = pause < PAUSE_MAX_NSEC ? 2 * pause : pause;
        }
        conn_end(conn);
}
