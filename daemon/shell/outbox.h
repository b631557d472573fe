/* SPDX-License-Identifier: MIT
 *
 * outbox.h -- what one peer is yet to be sent, in order and within a bound; nothing here ever waits.
 *
 * A packet is sent at once where the socket takes it, else queued. Extents are queued by id, and their fds are looked
 * up when the packet goes out: an fd is owned by the table of extents alone.
 */
#ifndef SHELL_OUTBOX_H
#define SHELL_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTBOX_MAX_BYTES ((size_t)256 * 1024) /* queued for one peer; more is a peer that does not read */

/* The fd of an extent, still the outbox's caller's; -1: it is gone. */
typedef int outbox_extent_fd_fn(void *userdata, uint64_t extent);

struct outbox_packet;

struct outbox {
        int fd; /* the socket; the caller's */
        outbox_extent_fd_fn *extent_fd;
        void *userdata;
        struct outbox_packet *head, **tail;
        size_t bytes;
        bool short_of_refs; /* stuck because too many fds are in flight, for which there is no event: try again later */
        uint64_t n_sent, n_fds_sent; /* since outbox_init() */
};

void outbox_init(struct outbox *outbox, int fd, outbox_extent_fd_fn *extent_fd, void *userdata);
void outbox_done(struct outbox *outbox);

static inline bool outbox_is_empty(const struct outbox *outbox)
{
        return !outbox->head;
}

/* Sends a packet that wire_encode() made, or queues it. GRANT carries the fds of its extents; `carried` >= 0 goes with
 * a message of one fd, and is closed once sent or dropped, also on failure. -EOVERFLOW: over the bound; -ESTALE: an
 * extent of the GRANT is gone; other negative errno: the connection is broken. On failure the packet is dropped. */
int outbox_send(struct outbox *outbox, const void *packet, size_t size, int carried);

/* Sends what is queued, as far as the socket takes it; errors as above. */
int outbox_flush(struct outbox *outbox);

/* Sends `packet` with these fds now or not at all: 0, or a negative errno of sendmsg(). */
int outbox_send_now(int fd, const void *packet, size_t size, const int *fds, unsigned n_fds);

#endif
