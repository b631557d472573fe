/* SPDX-License-Identifier: MIT
 *
 * remains.h -- the socket of a connection that ended, which cannot always be closed at once.
 *
 * What its peer sent and we have not read is freed with our end of the socket, and descriptors in it are closed: by us,
 * for as long as that takes (closer.h). No message of ours carries any, so our sockets let none in: sendmsg() fails
 * with EPERM at the sender (SO_PASSRIGHTS, Linux 6.16). Before that, and from those who connected before we could say
 * so, they are found by looking at packets before they are read. A packet with descriptors is never read: its
 * connection ends, and the socket is shut down and left to the closer, once its peer has read why: what it has not read
 * is lost when we close.
 */
#ifndef SHELL_REMAINS_H
#define SHELL_REMAINS_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct closer;
struct daemon;

/* A socket that is shut down and waits for its peer to read why. */
struct remain {
        int fd;
        uint64_t since_usec;
};

struct remains {
        struct closer *closer;
        struct remain *v;
        uint32_t n;
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

/* Closes the socket of a connection, or sees to it that it is closed. */
void remains_take(struct daemon *daemon, int fd, bool may_carry);

/* Gives up what need not be kept any more; happens by itself as well. */
void remains_look(struct daemon *daemon);

/* So many cannot be closed that no more may come. */
bool remains_are_many(struct daemon *daemon);

#endif
