/* SPDX-License-Identifier: MIT
 *
 * held.c -- see held.h.
 */
#include "held.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "owner.h"

#define HEADER offsetof(struct held_packet, items)

int held_send(int socket, enum held_op op, const struct held_item *items, unsigned n, const int *fds)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * HELD_MAX)];
        } control;
        struct held_packet header = { .magic = HELD_MAGIC, .op = (uint16_t)op, .n = (uint16_t)n };
        struct iovec parts[] = {
                { .iov_base = &header, .iov_len = HEADER },
                { .iov_base = (void *)(uintptr_t)items, .iov_len = n * sizeof(*items) },
        };
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = n > 0 ? 2 : 1 };

        assert(n <= HELD_MAX && (n == 0 || items));

        if (fds && n > 0) {
                memset(&control, 0, CMSG_SPACE(sizeof(int) * n));
                control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                                  .cmsg_type = SCM_RIGHTS,
                                                  .cmsg_len = CMSG_LEN(sizeof(int) * n) };
                memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n);
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        }
        while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
                if (errno != EINTR)
                        return -errno;
        return 0;
}

static bool is_sound(const struct held_packet *packet, ssize_t size, const struct msghdr *message, unsigned n_fds)
{
        const bool with_fds = packet->op == HELD_PUT || packet->op == HELD_ITEMS;

        return (size_t)size >= HEADER && packet->magic == HELD_MAGIC && packet->n <= HELD_MAX &&
               (size_t)size == HEADER + packet->n * sizeof(packet->items[0]) && packet->op >= HELD_PUT &&
               packet->op <= HELD_RELEASED && !(message->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
               n_fds == (with_fds ? packet->n : 0u);
}

int held_receive(int socket, int flags, struct held_packet *ret, int fds[static HELD_MAX], unsigned *ret_n_fds)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * HELD_MAX)];
        } control;
        struct iovec vector = { .iov_base = ret, .iov_len = sizeof(*ret) };
        struct msghdr message = {
                .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        unsigned n_fds = 0;
        ssize_t size;

        do
                size = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
        while (size < 0 && (errno == EINTR || errno == ECONNRESET)); /* that is said once, before what came earlier */
        if (size < 0)
                return -errno;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                        n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                        memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
                }
        if (size == 0)
                return 0;
        if (is_sound(ret, size, &message, n_fds)) {
                *ret_n_fds = n_fds;
                return 1;
        }
        for (unsigned i = 0; i < n_fds; i++)
                fd_close(fds[i]);
        return message.msg_flags & MSG_CTRUNC ? -EMFILE : -EBADMSG;
}
