/* SPDX-License-Identifier: MIT
 *
 * held.h -- what kvpagerd and kvpager-holder say to each other.
 *
 * The holder keeps a copy of the fd of each extent, and of the memory that the daemon writes its state to, so that
 * neither ends with the daemon. It knows nothing of what it holds, and says nothing unless asked; what was sent is
 * safe, whoever dies, for an fd in a socket's queue is as good as held. One SOCK_SEQPACKET socket, one packet one
 * message, in the order sent.
 *
 *      PUT      items and an fd each: keep them, in place of what was kept under the same numbers
 *      DROP     items: keep them no more
 *      RELEASE  the same, answered by RELEASED once they are closed: for memory that is free only when nobody has it
 *      CLEAR    keep nothing
 *      LIST     answered by ITEMS, as many as it takes, with an fd each, and END
 */
#ifndef HOLDER_HELD_H
#define HOLDER_HELD_H

#include <stdint.h>

#define HELD_MAGIC UINT32_C(0x646c6568)
#define HELD_MAX   253u                 /* items of a packet: SCM_MAX_FD */
#define HELD_STATE UINT64_C(0xffffffff) /* the item that is not an extent but the daemon's state */
#define HELD_SLOTS (1u << 24)           /* the low half of an extent's id is below this */

enum held_op { HELD_PUT = 1, HELD_DROP, HELD_RELEASE, HELD_CLEAR, HELD_LIST, HELD_ITEMS, HELD_END, HELD_RELEASED };

struct held_item {
        uint64_t id;
        uint32_t device, order; /* order: log2 of its pages */
};

struct held_packet {
        uint32_t magic;
        uint16_t op, n; /* n: items; of END: 0 */
        struct held_item items[HELD_MAX];
};

/* Sends a packet with `n` items of it, and as many fds where `fds` is not NULL. 0 or a negative errno; waits as the
 * socket does. */
int held_send(int socket, enum held_op op, const struct held_item *items, unsigned n, const int *fds);

/* Receives one; its fds go to `fds`. 1; 0: the other side hung up, and what it sent before was received; -EAGAIN,
 * -EBADMSG or -EMFILE (nothing was kept; the latter: there is no room for its fds), or another negative errno. */
int held_receive(int socket, int flags, struct held_packet *ret, int fds[static HELD_MAX], unsigned *ret_n_fds);

#endif
