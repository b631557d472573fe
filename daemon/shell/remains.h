/* SPDX-License-Identifier: MIT
 *
 * remains.h -- the socket of a connection that ended, which cannot always be closed at once. There are two reasons.
 *
 * What its peer sent and we have not read is freed with our end of the socket, and descriptors in it are closed: by us,
 * for as long as that takes (closer.h). No message of ours carries any, so our sockets let none in: sendmsg() fails
 * with EPERM at the sender (SO_PASSRIGHTS, Linux 6.16). Before that, and from those who connected before we could say
 * so, they are found by looking at packets before they are read. A packet with descriptors is never read: its
 * connection ends, and the socket is shut down and left to the closer, once its peer has read why: what it has not read
 * is lost when we close.
 *
 * And descriptors that we sent and the peer has not read are in flight. The kernel bounds how many of them our user may
 * have (RLIMIT_NOFILE), and they stay for as long as the peer has its socket, whether we close ours or not. So ours is
 * kept, for it tells when they were read, and they are charged to the peer's user and tenant: who has too many is not
 * welcome until they are read, or their sockets closed.
 */
#ifndef SHELL_REMAINS_H
#define SHELL_REMAINS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

struct closer;
struct daemon;
struct peer;

#define REMAINS_NO_TENANT UINT32_MAX

/* A socket that is shut down and waits for its peer to read what it was sent. */
struct remain {
        int fd;
        bool carries;           /* descriptors that it was sent by its peer */
        uint32_t n_fds, tenant; /* n_fds: that its peer was sent and may not have read */
        uid_t uid;
        uint64_t since_usec;
};

struct remains {
        struct closer *closer;
        struct remain *v;
        uint32_t n, n_carrying;
        uint32_t max_fds; /* of a user, unread */
        sd_event_source *timer;
        uint32_t max;     /* no connection is accepted while so many cannot be closed */
        bool any_closing; /* since some time */
};

/* How many sockets may remain open, of so many open files. */
uint32_t remains_max(uint64_t nofile);

/* Once daemon->max_peers is known. */
int remains_open(struct daemon *daemon, uint64_t nofile);
void remains_close(struct daemon *daemon);

/* Whether what comes from this socket may carry descriptors; and whether its next packet does. */
bool remains_may_carry(int fd);
bool remains_carries(int fd);

/* Closes the socket of a connection that nothing was sent by, or of a peer, or sees to it that it is closed. */
void remains_take(struct daemon *daemon, int fd, bool may_carry);
void remains_take_of(struct peer *peer);

/* Whether its user or that tenant has so much unread that it is not welcome: it is told so, and ended. */
bool remains_refuse(struct peer *peer, uint32_t tenant);

/* Gives up what need not be kept any more; happens by itself as well. */
void remains_look(struct daemon *daemon);

/* So many cannot be closed that no more may come. */
bool remains_are_many(struct daemon *daemon);

#endif
