/* SPDX-License-Identifier: MIT
 *
 * remains.c -- see remains.h.
 */
#include "remains.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "closer.h"
#include "daemon.h"
#include "owner.h"

#define REMAINS_MAX       1024u
#define REMAINS_SHARE     16u /* no more than one in so many of the open files that are allowed */
#define REMAINS_LOOKED_AT 16u /* packets that are looked at for descriptors, of those that nobody reads any more */
#define REMAINS_TELL_USEC UINT64_C(1000000) /* for reading what it was sent */
#define REMAINS_LOOK_USEC UINT64_C(100000)
#define REMAINS_STOP_USEC UINT64_C(100000)

uint32_t remains_max(uint64_t nofile)
{
        const uint64_t share = nofile / REMAINS_SHARE + 1;

        return share < REMAINS_MAX ? (uint32_t)share : REMAINS_MAX;
}

static int remains_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        (void)source;
        (void)usec;
        remains_look(userdata);
        return 0;
}

int remains_open(struct daemon *d, uint64_t nofile)
{
        struct remains *remains = &d->remains;
        int r;

        remains->max = remains_max(nofile);
        remains->v = calloc(remains->max, sizeof(remains->v[0]));
        if (!remains->v)
                return -ENOMEM;
        /* All who are there may come to it beyond the bound, and those who are being accepted. */
        r = closer_new(2 * remains->max + d->max_peers + DAEMON_MAX_GREETING, &remains->closer);
        if (r == 0)
                r = sd_event_add_time(d->event, &remains->timer, CLOCK_MONOTONIC, 0, 0, remains_on_timer, d);
        if (r >= 0)
                r = sd_event_source_set_enabled(remains->timer, SD_EVENT_OFF);
        return r < 0 ? r : 0;
}

/* What cannot be closed is left open: the process ends. */
void remains_close(struct daemon *d)
{
        struct remains *remains = &d->remains;

        closer_free(remains->closer, REMAINS_STOP_USEC);
        sd_event_source_disable_unref(remains->timer);
        free(remains->v);
        *remains = (struct remains){ 0 };
}

bool remains_may_carry(int fd)
{
        int allowed = 1;
        socklen_t size = sizeof(allowed);

        return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &allowed, &size) < 0 || allowed != 0;
}

bool remains_carries(int fd)
{
        struct msghdr message = {
                0
        }; /* without room for them nothing is handed out, and they are named all the same */

        return recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT) >= 0 && (message.msg_flags & MSG_CTRUNC);
}

/* Whether any packet does, of a socket that is shut down: then an empty one reads like none, and is told apart by the
 * credentials that come with it. What carries nothing is thrown away. */
static bool remains_carries_any(int fd)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(struct ucred))]; /* no descriptor fits in besides */
        } control;
        const int on = 1;

        if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
                return true;
        for (unsigned i = 0; i < REMAINS_LOOKED_AT; i++) {
                struct msghdr message = { .msg_control = &control, .msg_controllen = sizeof(control) }, nothing = { 0 };
                ssize_t n = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);

                if (n < 0 && errno == EAGAIN)
                        return false;
                if (n < 0)
                        continue;
                if (message.msg_flags & MSG_CTRUNC)
                        return true;
                if (n == 0 && message.msg_controllen == 0)
                        return false;
                (void)recvmsg(fd, &nothing, MSG_DONTWAIT);
        }
        return true;
}

static void remains_give(struct daemon *d, int fd)
{
        const bool taken = closer_take(d->remains.closer, fd);

        assert(taken); /* it has as many places as there can be */
        (void)taken;
        d->remains.any_closing = true;
}

/* Bytes, as the kernel counts them, that it was sent and has not read; 0 too where it has hung up. */
static uint64_t remains_unread(int fd)
{
        int bytes = 0;

        return ioctl(fd, SIOCOUTQ, &bytes) < 0 || bytes < 0 ? 0 : (uint64_t)bytes;
}

static bool remains_arm(struct daemon *d)
{
        if (sd_event_source_set_time(d->remains.timer, daemon_now_usec() + REMAINS_LOOK_USEC) < 0 ||
            sd_event_source_set_enabled(d->remains.timer, SD_EVENT_ONESHOT) < 0)
                return false;
        loop_changed(d);
        return true;
}

void remains_look(struct daemon *d)
{
        struct remains *remains = &d->remains;
        const uint64_t now = daemon_now_usec();

        for (uint32_t i = 0; i < remains->n;) {
                if (remains_unread(remains->v[i].fd) > 0 && now - remains->v[i].since_usec < REMAINS_TELL_USEC) {
                        i++;
                        continue;
                }
                remains_give(d, remains->v[i].fd);
                remains->v[i] = remains->v[--remains->n];
        }
        if (remains->n > 0)
                (void)remains_arm(d);
}

void remains_take(struct daemon *d, int fd, bool may_carry)
{
        struct remains *remains = &d->remains;

        if (may_carry)
                (void)shutdown(fd,
                               SHUT_RDWR); /* nothing more comes, and its peer knows of the end before it is closed */
        if (!may_carry || !remains_carries_any(fd))
                fd_close(fd);
        else if (remains->n < remains->max && remains_unread(fd) > 0 && remains_arm(d))
                remains->v[remains->n++] = (struct remain){ .fd = fd, .since_usec = daemon_now_usec() };
        else
                remains_give(d, fd);
}

bool remains_are_many(struct daemon *d)
{
        uint32_t n;

        if (!d->remains.any_closing)
                return false;
        n = closer_waiting(d->remains.closer);
        d->remains.any_closing = n > 0;
        return n + d->remains.n >= d->remains.max;
}
