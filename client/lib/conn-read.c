/* SPDX-License-Identifier: MIT
 *
 * conn-read.c -- what the daemon sends on the main socket. Nothing in it is trusted: a packet that the codec or the
 * state of requests does not allow ends the connection, fds that belong to nothing are closed and their extents
 * refused.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "conn.h"
#include "grow.h"
#include "mapper.h"

struct conn_reader {
        uint32_t extents; /* dealt with in this turn */
        int fds[WIRE_MAX_FDS];
        uint64_t packet[WIRE_MAX_PACKET / sizeof(uint64_t)];
};

struct conn_reader *conn_reader_new(void)
{
        return calloc(1, sizeof(struct conn_reader));
}

/* Takes the fds out of the control data; what is beyond max_fds is closed. */
static unsigned collect_fds(struct msghdr *message, int *fds, unsigned max_fds, bool *cut)
{
        unsigned n = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                size_t count;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < count; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (n < max_fds) {
                                fds[n++] = fd;
                        } else {
                                (void)close(fd);
                                *cut = true;
                        }
                }
        }
        return n;
}

/* To hang up would cost the worker its memory: a kernel that has none for a packet at the moment is waited for. */
static int receive_error(int error)
{
        if (error == ENOMEM || error == ENOBUFS)
                (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        else if (error != EAGAIN && error != EINTR)
                return -ENOTCONN;
        return 0;
}

int conn_receive(int fd, int flags, void *packet, size_t capacity, int *fds, unsigned max_fds, unsigned *ret_n_fds,
                 bool *ret_cut)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
        } control;
        struct iovec vector = { .iov_base = packet, .iov_len = capacity };
        struct msghdr message = {
                .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        unsigned n_fds;
        bool cut;
        ssize_t n;

        do
                n = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR && flags & MSG_DONTWAIT);
        if (n < 0)
                return receive_error(errno);
        cut = message.msg_flags & MSG_CTRUNC;
        n_fds = collect_fds(&message, fds, max_fds, &cut);
        if (n == 0 || message.msg_flags & MSG_TRUNC) {
                for (unsigned i = 0; i < n_fds; i++) {
                        (void)close(fds[i]);
                        fds[i] = -1; /* or the caller would close it again, and by then it may be somebody else's */
                }
                return n == 0 ? -ENOTCONN : -EPROTO;
        }
        *ret_n_fds = n_fds;
        *ret_cut = cut;
        return (int)n;
}

/* A worker at its fd limit gets a packet with fewer fds than it was sent with. It is valid but for them. */
static enum wire_error_code decode(const void *packet, size_t size, unsigned n_fds, bool cut, struct wire_view *ret)
{
        struct {
                struct wire_header header;
                uint32_t n_items;
        } start;

        if (cut && size >= sizeof(start.header) + sizeof(start.n_items)) {
                memcpy(&start, packet, sizeof(start.header) + sizeof(start.n_items));
                if (start.header.opcode == WIRE_GRANT && start.n_items >= n_fds)
                        n_fds = start.n_items;
        }
        return wire_decode(packet, size, n_fds, WIRE_D2C, ret);
}

/* Ends a call. false: nobody waits for such a reply. */
static bool answer(struct kvp_conn *conn, const struct wire_view *view)
{
        struct request *request;
        bool found, starved = false;

        (void)pthread_mutex_lock(&conn->mutex);
        request = &conn->requests[view->header.request % CONN_MAX_REQUESTS];
        found = request->id == view->header.request && request->state == REQUEST_CALL &&
                (view->info->opcode == WIRE_ERROR || view->info->opcode == request->reply);
        if (found) {
                request->answered = true;
                request->epoch = conn->epoch;
                request->status = 0;
                if (view->info->opcode == WIRE_ERROR) {
                        const struct wire_error *error = view->fixed;

                        request->status = wire_error_errno((enum wire_error_code)error->error);
                        if (request->status == 0)
                                request->status = -EPROTO;
                } else if (view->info->opcode == WIRE_CACHE) {
                        memcpy(&request->answer.cache, view->fixed, sizeof(request->answer.cache));
                } else if (view->info->opcode == WIRE_DEVICE) {
                        memcpy(&request->answer.device, view->fixed, sizeof(request->answer.device));
                }
                starved = conn_call_end(conn, request);
        }
        (void)pthread_mutex_unlock(&conn->mutex);
        if (starved)
                (void)mapper_wake(conn);
        return found;
}

static bool dispatch(struct kvp_conn *conn, const struct wire_view *view, const int *fds, unsigned n_fds)
{
        switch (view->info->opcode) {
        case WIRE_GRANT:
                return grow_granted(conn, view->items, view->n_items, fds, n_fds);
        case WIRE_GROW_FAILED:
                return grow_failed(conn, view->items, view->n_items);
        case WIRE_ERROR:
                if (view->header.request == 0) { /* it hangs up, and says why */
                        conn_fail(conn);
                        return true;
                }
                return grow_refused(conn, view->header.request, view->fixed) || answer(conn, view);
        case WIRE_OK:
        case WIRE_CACHE:
        case WIRE_DEVICE:
                return answer(conn, view);
        default:
                return false;
        }
}

/* 1: dealt with a packet; 0: there was none. */
static int read_packet(struct kvp_conn *conn, int flags)
{
        struct conn_reader *reader = conn->reader;
        struct wire_view view;
        unsigned n_fds;
        bool cut, fine;
        int size;

        size = conn_receive(conn->socket, flags, reader->packet, sizeof(reader->packet), reader->fds, WIRE_MAX_FDS,
                            &n_fds, &cut);
        if (size == 0)
                return 0;
        if (size < 0) {
                conn_fail(conn);
                return 1;
        }
        fine = decode(reader->packet, (size_t)size, n_fds, cut, &view) == WIRE_E_NONE;
        if (!fine || view.info->opcode != WIRE_GRANT) /* those of a GRANT are closed where they are mapped */
                for (unsigned i = 0; i < n_fds; i++)
                        (void)close(reader->fds[i]);
        if (fine)
                fine = dispatch(conn, &view, reader->fds, n_fds);
        if (!fine)
                conn_end(conn);
        else if (view.info->opcode == WIRE_GRANT)
                reader->extents += view.n_items;
        return 1;
}

/* Lets the socket itself wait, which saves a poll on the way of every grant. Its timeout is set once, and who waits for
 * longer waits again. It counts in the kernel's ticks: false for times that are too short for that. */
static bool wait_in_receive(struct kvp_conn *conn, uint64_t usec)
{
        const struct timeval timeout = { .tv_usec = CONN_LOOK_USEC };

        if (usec < CONN_LOOK_USEC)
                return false;
        if (!conn->receive_waits && setsockopt(conn->socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0)
                conn->receive_waits = true;
        return conn->receive_waits;
}

int conn_read(struct kvp_conn *conn, uint64_t usec)
{
        struct pollfd readable = { .fd = conn->socket, .events = POLLIN };
        const struct timespec pause = timespec_of(usec);

        if (wait_in_receive(conn, usec))
                return read_packet(conn, 0);
        if (ppoll(&readable, 1, &pause, NULL) <= 0)
                return 0;
        return read_packet(conn, MSG_DONTWAIT);
}

void conn_read_begin(struct kvp_conn *conn)
{
        assert(!conn->reading && conn->reader->extents == 0);
        conn->reading = true;
        (void)pthread_mutex_unlock(&conn->mutex);
}

void conn_read_end(struct kvp_conn *conn)
{
        bool acknowledge;

        (void)pthread_mutex_lock(&conn->mutex);
        conn->dealt_with += conn->reader->extents;
        conn->reader->extents = 0;
        acknowledge = conn->ack_wanted ||
                      (conn->n_requests > 0 && conn->dealt_with - conn->acknowledged >= CONN_ACK_EXTENTS);
        conn->ack_wanted = false;
        conn->reading = false;
        (void)pthread_cond_broadcast(&conn->changed);
        if (!acknowledge)
                return;
        (void)pthread_mutex_unlock(&conn->mutex);
        if (conn_send(conn, WIRE_ACK, NULL, REQUEST_FREE, NULL, NULL, 0, 0) == -ETIMEDOUT) {
                (void)pthread_mutex_lock(&conn->mutex);
                conn->ack_late = true;
                (void)pthread_mutex_unlock(&conn->mutex);
                (void)mapper_wake(conn); /* which may wait for a daemon that reads nothing: who reads has a timeout */
        }
        (void)pthread_mutex_lock(&conn->mutex);
}

bool conn_drain(struct kvp_conn *conn)
{
        bool any = false;
        int r = 1;

        (void)pthread_mutex_lock(&conn->mutex);
        while (r > 0 && conn->waiters == 0 && !conn->reading && !conn_is_down(conn)) {
                conn_read_begin(conn);
                r = read_packet(conn, MSG_DONTWAIT);
                any |= r > 0;
                conn_read_end(conn);
                if (conn->n_requests == 0) /* nothing more can have come */
                        break;
        }
        (void)pthread_mutex_unlock(&conn->mutex);
        return any;
}
