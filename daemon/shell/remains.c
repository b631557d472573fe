/* SPDX-License-Identifier: MIT
 *
 * remains.c -- see remains.h.
 */
#include "remains.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "closer.h"
#include "daemon.h"
#include "owner.h"

#define REMAINS_MAX       1024u
#define REMAINS_SHARE     16u   /* no more than one in so many of the open files that are allowed */
#define REMAINS_FDS       1024u /* that a user has not read, */
#define REMAINS_FDS_SHARE 4u    /* and no more than one in so many of those that may be in flight, which is as many */
#define REMAINS_OF_TENANT 2u    /* times as many */
#define REMAINS_LOOKED_AT 16u   /* packets that are looked at for descriptors, of those that nobody reads any more */
#define REMAINS_TELL_USEC UINT64_C(1000000) /* for reading what it was sent */
#define REMAINS_LOOK_USEC UINT64_C(100000)
#define REMAINS_STOP_USEC UINT64_C(100000)

uint32_t remains_max(uint64_t nofile)
{
        const uint64_t share = nofile / REMAINS_SHARE + 1;

        return share < REMAINS_MAX ? (uint32_t)share : REMAINS_MAX;
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

/* Where closing would take long it is left to the closer. */
static void remains_drop(struct daemon *d, int fd, bool carries)
{
        if (carries)
                remains_give(d, fd);
        else
                fd_close(fd);
}

static void remains_drop_at(struct daemon *d, uint32_t index)
{
        struct remains *remains = &d->remains;
        const struct remain remain = remains->v[index];

        remains->v[index] = remains->v[--remains->n];
        remains->n_carrying -= remain.carries;
        remains_drop(d, remain.fd, remain.carries);
}

/* Of so many bytes, as each has an item of its own. */
static uint32_t remains_fds(uint32_t sent, uint64_t unread)
{
        const uint64_t most = unread / sizeof(struct wire_item_grant);

        return sent < most ? sent : (uint32_t)most;
}

void remains_look(struct daemon *d)
{
        struct remains *remains = &d->remains;
        const uint64_t now = daemon_now_usec();

        for (uint32_t i = 0; i < remains->n;) {
                struct remain *remain = &remains->v[i];
                const uint64_t unread = remains_unread(remain->fd);

                remain->n_fds = remains_fds(remain->n_fds, unread);
                if (unread > 0 && (remain->n_fds > 0 || now - remain->since_usec < REMAINS_TELL_USEC))
                        i++;
                else
                        remains_drop_at(d, i);
        }
        if (remains->n > 0)
                (void)remains_arm(d);
}

/* Makes room: whoever ended first is no longer counted. */
static void remains_drop_oldest(struct daemon *d)
{
        struct remains *remains = &d->remains;
        uint32_t oldest = 0;

        for (uint32_t i = 1; i < remains->n; i++)
                if (remains->v[i].since_usec < remains->v[oldest].since_usec)
                        oldest = i;
        remains_drop_at(d, oldest);
}

static void remains_keep(struct daemon *d, const struct remain *remain)
{
        struct remains *remains = &d->remains;

        if (!remains_arm(d)) {
                remains_drop(d, remain->fd, remain->carries);
                return;
        }
        if (remains->n == remains->max)
                remains_drop_oldest(d);
        remains->v[remains->n++] = *remain;
        remains->n_carrying += remain->carries;
}

void remains_take(struct daemon *d, int fd, bool may_carry)
{
        if (may_carry)
                (void)shutdown(fd,
                               SHUT_RDWR); /* nothing more comes, and its peer knows of the end before it is closed */
        remains_drop(d, fd, may_carry && remains_carries_any(fd));
}

void remains_take_of(struct peer *peer)
{
        const uint64_t sent = peer->outbox.n_fds_sent, unread = remains_unread(peer->fd);
        const bool has_tenant = peer->state == PEER_WORKER || peer->state == PEER_RESUMING;
        struct remain remain = { .fd = peer->fd,
                                 .n_fds = remains_fds(sent < UINT32_MAX ? (uint32_t)sent : UINT32_MAX, unread),
                                 .tenant = has_tenant ? peer->tenant_index : REMAINS_NO_TENANT,
                                 .uid = peer->uid,
                                 .since_usec = daemon_now_usec() };

        if (peer->may_carry || remain.n_fds > 0)
                (void)shutdown(peer->fd, SHUT_RDWR);
        remain.carries = peer->may_carry && remains_carries_any(peer->fd);
        if (unread > 0 && (remain.n_fds > 0 || remain.carries))
                remains_keep(peer->daemon, &remain);
        else
                remains_drop(peer->daemon, peer->fd, remain.carries);
}

static uint64_t remains_count(const struct daemon *d, const struct remain *of, bool by_tenant)
{
        uint64_t n = 0;

        for (uint32_t i = 0; i < d->remains.n; i++) {
                const struct remain *remain = &d->remains.v[i];

                if (by_tenant ? remain->tenant == of->tenant && of->tenant != REMAINS_NO_TENANT
                              : remain->uid == of->uid)
                        n += remain->n_fds;
        }
        return n;
}

bool remains_refuse(struct peer *peer, uint32_t tenant)
{
        struct daemon *d = peer->daemon;
        const struct remain of = { .uid = peer->uid, .tenant = tenant };
        const uint32_t max = d->remains.max_fds, max_of_tenant = REMAINS_OF_TENANT * max;
        bool by_user, by_tenant;
        char who[32] = "its tenant", detail[160];

        if (d->remains.n == 0)
                return false;
        remains_look(d);
        by_user = remains_count(d, &of, false) >= max;
        by_tenant = remains_count(d, &of, true) >= max_of_tenant;
        if (!by_user && !by_tenant)
                return false;
        if (by_user)
                (void)snprintf(who, sizeof(who), "uid %u", (unsigned)peer->uid);
        (void)snprintf(detail, sizeof(detail),
                       "connections of %s that ended have not read %u descriptors that they were sent; close them", who,
                       by_user ? max : max_of_tenant);
        peer_fail(peer, peer->hello_request, WIRE_E_TOO_MANY_WORKERS, detail);
        return true;
}

bool remains_are_many(struct daemon *d)
{
        uint32_t n;

        if (!d->remains.any_closing && d->remains.n_carrying == 0)
                return false;
        n = closer_waiting(d->remains.closer);
        d->remains.any_closing = n > 0;
        return n + d->remains.n_carrying >= d->remains.max;
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
        remains->max_fds = nofile / REMAINS_FDS_SHARE < REMAINS_FDS ? (uint32_t)(nofile / REMAINS_FDS_SHARE)
                                                                    : REMAINS_FDS;
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

        while (remains->n > 0)
                remains_drop_at(d, remains->n - 1);
        closer_free(remains->closer, REMAINS_STOP_USEC);
        sd_event_source_disable_unref(remains->timer);
        free(remains->v);
        *remains = (struct remains){ 0 };
}
