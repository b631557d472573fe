/* SPDX-License-Identifier: MIT
 *
 * conn.c -- the table of requests, sending, waiting, and the end of a connection.
 */
#include "conn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "grow.h"
#include "mapper.h"

static bool request_has_room(struct request *request)
{
        if (!request->items)
                request->items = calloc(WIRE_MAX_GROW, sizeof(*request->items));
        if (!request->entries)
                request->entries = calloc(WIRE_MAX_GROW, sizeof(*request->entries));
        return request->items && request->entries;
}

static void requests_free(struct kvp_conn *conn)
{
        for (uint32_t i = 0; i < CONN_MAX_REQUESTS; i++) {
                free(conn->requests[i].items);
                free(conn->requests[i].entries);
        }
}

int conn_new(struct kvp_conn **ret)
{
        struct kvp_conn *conn = calloc(1, sizeof(*conn));
        pthread_condattr_t attributes;

        if (!conn)
                return -ENOMEM;
        conn->generation = fork_generation();
        conn->patience_usec = CONN_PATIENCE_USEC;
        conn->socket = conn->events = conn->wake = conn->epoll = -1;
        conn->reader = conn_reader_new();
        /* One to GROW has room from the start: who finds none with room knows that another one will end. */
        if (!conn->reader || !request_has_room(&conn->requests[CONN_CALLS_ALONE])) {
                requests_free(conn);
                free(conn->reader);
                free(conn);
                return -ENOMEM;
        }
        (void)pthread_mutex_init(&conn->mutex, NULL);
        (void)pthread_mutex_init(&conn->sending, NULL);
        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&conn->changed, &attributes);
        (void)pthread_condattr_destroy(&attributes);
        *ret = conn;
        return 0;
}

void conn_free(struct kvp_conn *conn)
{
        if (!conn)
                return;
        assert(!conn->mapper_runs && !conn->caches);
        fork_unregister(&conn->fork);
        cleanup_close(&conn->socket);
        cleanup_close(&conn->events);
        cleanup_close(&conn->wake);
        cleanup_close(&conn->epoll);
        requests_free(conn);
        free(conn->reader);
        (void)pthread_cond_destroy(&conn->changed);
        (void)pthread_mutex_destroy(&conn->sending);
        (void)pthread_mutex_destroy(&conn->mutex);
        free(conn);
}

/* ---- requests ---- */

/* With conn->mutex held. */
static struct request *request_take(struct kvp_conn *conn, bool grow)
{
        struct request *request = NULL;

        for (uint32_t i = grow ? CONN_CALLS_ALONE : 0; i < CONN_MAX_REQUESTS && !request; i++)
                if (conn->requests[i].state == REQUEST_FREE && (!grow || request_has_room(&conn->requests[i]))) {
                        request = &conn->requests[i];
                        /* The slot in the lower bits finds it again, the counter above tells a late reply from its
                         * successor's. */
                        conn->request_counter += CONN_MAX_REQUESTS;
                        if (conn->request_counter == 0)
                                conn->request_counter = CONN_MAX_REQUESTS;
                        request->id = conn->request_counter | i;
                        request->state = REQUEST_TAKEN;
                        request->n_entries = request->n_left = 0;
                        request->cache = NULL;
                        request->left = false;
                }
        return request;
}

struct request *conn_request_take(struct kvp_conn *conn, bool grow)
{
        struct request *request;

        (void)pthread_mutex_lock(&conn->mutex);
        request = request_take(conn, grow);
        conn->starved |= !request;
        (void)pthread_mutex_unlock(&conn->mutex);
        return request;
}

/* One for a call, by `deadline`. It sleeps, and leaves the reading to those whose requests they are: a request becomes
 * free when its owner lets go of it, which is no packet's doing, so a reader would not see it. */
static struct request *request_await(struct kvp_conn *conn, uint64_t deadline)
{
        struct request *request;

        (void)pthread_mutex_lock(&conn->mutex);
        while (!(request = request_take(conn, false)) && time_now_usec() < deadline)
                conn_sleep(conn, deadline);
        (void)pthread_mutex_unlock(&conn->mutex);
        return request;
}

bool conn_request_free(struct kvp_conn *conn, struct request *request)
{
        const bool starved = conn->starved;

        request->id = 0;
        request->state = REQUEST_FREE;
        conn->starved = false;
        (void)pthread_cond_broadcast(&conn->changed);
        return starved;
}

void conn_request_drop(struct kvp_conn *conn, struct request *request)
{
        bool starved;

        if (!request)
                return;
        (void)pthread_mutex_lock(&conn->mutex);
        assert(request->state == REQUEST_TAKEN || request->state == REQUEST_DONE);
        starved = conn_request_free(conn, request);
        (void)pthread_mutex_unlock(&conn->mutex);
        if (starved)
                (void)mapper_wake(conn);
}

/* ---- sending ---- */

/* One try. -EAGAIN: the socket is full. */
static int send_once(struct kvp_conn *conn, const void *packet, size_t size)
{
        for (;;) {
                if (send(conn->socket, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                        return 0;
                switch (errno) {
                case EINTR:
                        continue;
                case EAGAIN:
                case ENOBUFS:
                case ENOMEM:
                        return -EAGAIN;
                default:
                        return -ENOTCONN;
                }
        }
}

/* The answer may be there before send() returns, so a message counts as sent, and its request as `state`, before that.
 * Returns what it acknowledges. */
static uint64_t send_begin(struct kvp_conn *conn, enum wire_opcode opcode, struct request *request,
                           enum request_state state)
{
        uint64_t ack;

        (void)pthread_mutex_lock(&conn->mutex);
        ack = conn->acknowledged = conn->dealt_with;
        conn->messages += opcode != WIRE_SETTLED; /* the watcher does not count itself */
        if (request) {
                assert(request->state == REQUEST_TAKEN);
                request->state = state;
                request->answered = false;
                conn->n_requests++;
                if (state == REQUEST_GROW)
                        request->cache->requests++;
        }
        (void)pthread_mutex_unlock(&conn->mutex);
        return ack;
}

/* It was not sent after all. false: its request has been answered or has ended all the same, because the connection
 * failed or the daemon made it up; then it is no longer the sender's. */
static bool send_undo(struct kvp_conn *conn, enum wire_opcode opcode, struct request *request, uint32_t id)
{
        bool ours = true;

        (void)pthread_mutex_lock(&conn->mutex);
        conn->messages -= opcode != WIRE_SETTLED;
        conn->acknowledged = 0; /* at least */
        if (request) {
                ours = request->id == id && !request->answered;
                if (ours) {
                        conn->n_requests--;
                        if (request->state == REQUEST_GROW)
                                request->cache->requests--;
                        request->state = REQUEST_TAKEN;
                }
        }
        (void)pthread_mutex_unlock(&conn->mutex);
        return ours;
}

/* With conn->sending held, without which the socket may be another daemon's before it is shut. */
static void fail(struct kvp_conn *conn)
{
        if (!atomic_exchange(&conn->down, true))
                (void)shutdown(conn->socket, SHUT_RDWR); /* wakes the reader */
}

int conn_send(struct kvp_conn *conn, enum wire_opcode opcode, struct request *request, enum request_state state,
              const void *fixed, const void *items, uint32_t n_items, uint64_t deadline)
{
        const uint32_t id = request ? request->id : 0;

        for (;;) {
                struct pollfd writable = { .fd = conn->socket, .events = POLLOUT };
                struct timespec pause;
                uint64_t now, ack;
                size_t size;
                int r;

                (void)pthread_mutex_lock(&conn->sending);
                if (conn_is_down(conn)) {
                        (void)pthread_mutex_unlock(&conn->sending);
                        return -ENOTCONN;
                }
                size = wire_encode(conn->out, sizeof(conn->out), opcode, id, 0, fixed, items, n_items);
                assert(size > 0);
                ack = send_begin(conn, opcode, request, state); /* from here on it may end, and be another's */
                memcpy((unsigned char *)conn->out + offsetof(struct wire_header, ack), &ack, sizeof(ack));
                r = send_once(conn, conn->out, size);
                if (r == -ENOTCONN)
                        fail(conn); /* before it can be another one */
                (void)pthread_mutex_unlock(&conn->sending);
                if (r == -ENOTCONN)
                        (void)mapper_wake(conn);
                if (r == 0)
                        return 0;
                if (!send_undo(conn, opcode, request, id))
                        return 0;
                if (r == -ENOTCONN)
                        return r;
                now = time_now_usec();
                if (now >= deadline)
                        return -ETIMEDOUT;
                /* At most 10 ms: where the kernel lacks memory the socket stays writable all the while. */
                pause = timespec_of(min_u64(deadline - now, 10000));
                (void)ppoll(&writable, 1, &pause, NULL);
        }
}

/* ---- waiting ---- */

void conn_sleep(struct kvp_conn *conn, uint64_t deadline)
{
        const struct timespec until = timespec_of(deadline);

        (void)pthread_cond_timedwait(&conn->changed, &conn->mutex, &until);
}

/* With conn->mutex held, and again on return; not while another thread reads. */
static void read_as_reader(struct kvp_conn *conn, uint64_t usec)
{
        conn_read_begin(conn);
        if (conn_is_down(conn))
                grow_fail_all(conn);
        else
                (void)conn_read(conn, usec);
        conn_read_end(conn);
}

int conn_wait(struct kvp_conn *conn, conn_done_fn *done, void *arg, uint64_t deadline)
{
        bool left_over;
        int r = 0;

        (void)pthread_mutex_lock(&conn->mutex);
        conn->waiters++;
        while (!done(conn, arg)) {
                const bool down = conn_is_down(conn);
                const uint64_t left = down ? 0 : subtract_saturated(deadline, time_now_usec());

                if (down && conn->n_requests == 0) {
                        r = -ENOTCONN;
                        break;
                }
                if (!down && left == 0) {
                        r = -ETIMEDOUT;
                        break;
                }
                if (!conn->reading)
                        read_as_reader(conn, min_u64(left, CONN_LOOK_USEC));
                else
                        conn_sleep(conn, deadline);
        }
        conn->waiters--;
        left_over = conn->waiters == 0 && conn->n_requests > 0;
        (void)pthread_mutex_unlock(&conn->mutex);
        if (left_over) /* the answers are the mapper's to read from here on */
                (void)mapper_attend(conn);
        return r;
}

static bool call_is_done(struct kvp_conn *conn, void *arg)
{
        const struct request *request = arg;

        (void)conn;
        return request->state == REQUEST_DONE;
}

int conn_wait_up(struct kvp_conn *conn, uint64_t deadline)
{
        int r = 0;

        if (pthread_equal(pthread_self(), conn->mapper))
                return conn_is_down(conn) ? -ENOTCONN : 0;
        (void)pthread_mutex_lock(&conn->mutex);
        while (conn_is_down(conn) && r == 0)
                if (conn_is_gone(conn))
                        r = -ENOTCONN;
                else if (time_now_usec() >= deadline)
                        r = -ETIMEDOUT;
                else
                        conn_sleep(conn, deadline);
        (void)pthread_mutex_unlock(&conn->mutex);
        return r;
}

bool conn_call_end(struct kvp_conn *conn, struct request *request)
{
        request->state = REQUEST_DONE;
        conn->n_requests--;
        conn->ended++;
        return request->left && conn_request_free(conn, request);
}

/* Leaves the answer to whoever reads it. false: it is there. */
static bool call_leave(struct kvp_conn *conn, struct request *request)
{
        bool left;

        (void)pthread_mutex_lock(&conn->mutex);
        left = request->left = request->state == REQUEST_CALL;
        (void)pthread_mutex_unlock(&conn->mutex);
        return left;
}

/* -ENOTCONN where the connection is down, as it is once the daemon's patience ends; -ETIMEDOUT at a deadline before. */
static int call_once(struct kvp_conn *conn, enum wire_opcode opcode, const void *fixed, const void *items,
                     uint32_t n_items, enum wire_opcode reply, uint64_t deadline, uint64_t patience,
                     struct request *ret)
{
        const bool short_of_time = deadline < patience;
        struct request *request;
        int r;

        deadline = min_u64(deadline, patience);
        request = request_await(conn, deadline);
        if (!request)
                return -ETIMEDOUT;
        request->reply = (uint16_t)reply;
        r = conn_send(conn, opcode, request, REQUEST_CALL, fixed, items, n_items, deadline);
        if (r < 0) {
                conn_request_drop(conn, request);
                if (r == -ETIMEDOUT && short_of_time)
                        return r;
                if (r == -ETIMEDOUT)
                        conn_fail(conn);
                return -ENOTCONN;
        }
        r = conn_wait(conn, call_is_done, request, deadline);
        if (r == -ETIMEDOUT && short_of_time) {
                if (call_leave(conn, request))
                        return r;
        } else if (r < 0) { /* once the connection has failed, the request ends by that */
                conn_fail(conn);
                r = conn_wait(conn, call_is_done, request, UINT64_MAX);
                assert(r == 0);
        }
        if (ret)
                *ret = *request;
        r = request->status;
        conn_request_drop(conn, request);
        return r;
}

int conn_call(struct kvp_conn *conn, enum wire_opcode opcode, const void *fixed, const void *items, uint32_t n_items,
              enum wire_opcode reply, uint64_t deadline, struct request *ret)
{
        const uint64_t patience = deadline_in(conn->patience_usec);
        int r;

        do {
                r = call_once(conn, opcode, fixed, items, n_items, reply, deadline, patience, ret);
                if (r != -ENOTCONN)
                        break;
                r = conn_wait_up(conn, min_u64(deadline, patience));
        } while (r == 0);
        return r == -ETIMEDOUT && deadline >= patience ? -ENOTCONN : r;
}

/* ---- the end ---- */

void conn_fail(struct kvp_conn *conn)
{
        (void)pthread_mutex_lock(&conn->sending);
        fail(conn);
        (void)pthread_mutex_unlock(&conn->sending);
        (void)mapper_wake(conn);
}

void conn_end(struct kvp_conn *conn)
{
        atomic_store(&conn->resumable, false);
        conn_fail(conn);
        (void)pthread_mutex_lock(&conn->mutex);
        (void)pthread_cond_broadcast(&conn->changed);
        (void)pthread_mutex_unlock(&conn->mutex);
}

void conn_reap(struct kvp_conn *conn)
{
        (void)pthread_mutex_lock(&conn->mutex);
        if (conn_is_down(conn) && !conn->reading && conn->n_requests > 0)
                read_as_reader(conn, 0);
        (void)pthread_mutex_unlock(&conn->mutex);
}
