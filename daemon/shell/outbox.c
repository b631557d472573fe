/* SPDX-License-Identifier: MIT
 *
 * outbox.c -- see outbox.h.
 */
#include "outbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "owner.h"
#include "wire.h"

struct outbox_packet {
        struct outbox_packet *next;
        size_t size;
        int carried;
        _Alignas(8) unsigned char bytes[];
};

void outbox_init(struct outbox *outbox, int fd, outbox_extent_fd_fn *extent_fd, void *userdata)
{
        assert(outbox && extent_fd);

        *outbox = (struct outbox){ .fd = fd, .extent_fd = extent_fd, .userdata = userdata };
        outbox->tail = &outbox->head;
}

static void outbox_pop(struct outbox *outbox)
{
        struct outbox_packet *packet = outbox->head;

        outbox->head = packet->next;
        if (!outbox->head)
                outbox->tail = &outbox->head;
        outbox->bytes -= packet->size;
        fd_close(packet->carried);
        free(packet);
}

void outbox_done(struct outbox *outbox)
{
        assert(outbox);

        while (outbox->head)
                outbox_pop(outbox);
}

int outbox_send_now(int fd, const void *packet, size_t size, const int *fds, unsigned n_fds)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
        } control;
        struct iovec iov = { .iov_base = (void *)(uintptr_t)packet, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        assert(packet && n_fds <= WIRE_MAX_FDS);

        if (n_fds > 0) {
                struct cmsghdr *c = &control.align;

                memset(&control, 0, CMSG_SPACE(sizeof(int) * n_fds)); /* the padding too: it crosses into the kernel */
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        }
        while (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                if (errno != EINTR)
                        return -errno;
        return 0;
}

/* The fds that go with a packet: those of a GRANT's extents, or the one that is carried. -ESTALE: an extent is gone. */
static int outbox_fds(const struct outbox *outbox, const unsigned char *bytes, int carried, int fds[WIRE_MAX_FDS])
{
        const struct wire_header *header = (const void *)bytes;
        const struct wire_grant *grant;
        const struct wire_item_grant *items;

        if (carried >= 0) {
                fds[0] = carried;
                return 1;
        }
        if (header->opcode != WIRE_GRANT)
                return 0;
        grant = (const void *)(bytes + sizeof(*header));
        items = (const void *)(bytes + sizeof(*header) + sizeof(*grant));
        assert(grant->n_items <= WIRE_MAX_FDS);
        for (uint32_t i = 0; i < grant->n_items; i++) {
                fds[i] = outbox->extent_fd(outbox->userdata, items[i].extent);
                if (fds[i] < 0)
                        return -ESTALE;
        }
        return (int)grant->n_items;
}

/* 0: sent. -EAGAIN: not now. */
static int outbox_try(struct outbox *outbox, const unsigned char *bytes, size_t size, int carried)
{
        int fds[WIRE_MAX_FDS], n, r;

        n = outbox_fds(outbox, bytes, carried, fds);
        if (n < 0)
                return n;
        r = outbox_send_now(outbox->fd, bytes, size, fds, (unsigned)n);
        outbox->short_of_refs = r == -ETOOMANYREFS || r == -ENOBUFS || r == -ENOMEM;
        if (outbox->short_of_refs)
                return -EAGAIN;
        if (r == 0) {
                outbox->n_sent++;
                outbox->n_fds_sent += (unsigned)n;
        }
        return r;
}

int outbox_send(struct outbox *outbox, const void *packet, size_t size, int carried)
{
        _cleanup_fd_ int owned = carried;
        struct outbox_packet *queued;
        int r;

        assert(outbox && packet);
        assert(size >= sizeof(struct wire_header) && size <= WIRE_MAX_PACKET);

        if (outbox_is_empty(outbox)) {
                r = outbox_try(outbox, packet, size, carried);
                if (r != -EAGAIN)
                        return r;
        }
        if (outbox->bytes + size > OUTBOX_MAX_BYTES)
                return -EOVERFLOW;
        queued = malloc(sizeof(*queued) + size);
        if (!queued)
                return -ENOMEM;
        queued->next = NULL;
        queued->size = size;
        queued->carried = TAKE_FD(owned);
        memcpy(queued->bytes, packet, size);
        *outbox->tail = queued;
        outbox->tail = &queued->next;
        outbox->bytes += size;
        return 0;
}

int outbox_flush(struct outbox *outbox)
{
        int r;

        assert(outbox);

        while (outbox->head) {
                r = outbox_try(outbox, outbox->head->bytes, outbox->head->size, outbox->head->carried);
                if (r == -EAGAIN)
                        return 0;
                if (r < 0)
                        return r;
                outbox_pop(outbox);
        }
        return 0;
}
