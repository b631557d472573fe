/* SPDX-License-Identifier: MIT
 *
 * accept.c -- new connections, within bounds.
 *
 * A connection costs an fd and a little memory before its peer has said anything, so their number is bounded, and the
 * oldest silent one makes room for a new one: who connects and greets at once always gets in, however many others just
 * connect. The same goes for admins, whose place goes to whoever asked something last; those that have shown to be
 * operators keep theirs as long as there are others.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon.h"
#include "log.h"
#include "owner.h"

#define ACCEPT_PER_TURN            2u
#define ACCEPT_AGAIN_USEC          UINT64_C(100000) /* after accept() ran out of something */
#define ACCEPT_AGAIN_ACCURACY_USEC UINT64_C(1)

struct peer *peers_find_cookie(const struct daemon *d, uint64_t cookie)
{
        uint32_t index = (uint32_t)(cookie & 0xffffu);
        struct peer *peer = index < d->max_peers ? d->peers[index] : NULL;

        return peer && peer->cookie == cookie && !peer->ended ? peer : NULL;
}

struct peer *peers_find_worker(const struct daemon *d, uint32_t worker)
{
        struct peer *peer = d->peer_of_worker[worker & 0xffffu];

        return peer && peer->worker == worker && !peer->ended ? peer : NULL;
}

/* Whether `a` makes room before `b`: operators are the last to. */
static bool accept_is_before(const struct peer *a, const struct peer *b)
{
        return a->operates != b->operates ? b->operates : a->active_usec < b->active_usec;
}

/* The peer of that state which has been silent for longest. */
static struct peer *accept_oldest(const struct daemon *d, enum peer_state state)
{
        struct peer *oldest = NULL;

        for (uint32_t i = 0; i < d->max_peers; i++) {
                struct peer *peer = d->peers[i];

                if (peer && !peer->ended && peer->state == state && !peer->following &&
                    (!oldest || accept_is_before(peer, oldest)))
                        oldest = peer;
        }
        return oldest;
}

static uint32_t accept_free_index(const struct daemon *d)
{
        uint32_t i = 0;

        while (i < d->max_peers && d->peers[i])
                i++;
        return i;
}

static void accept_one(struct daemon *d, int fd)
{
        struct peer *peer, *oldest;
        uint32_t index;
        int r;

        d->counters[WIRE_COUNTER_connections_accepted]++;
        if (d->n_greeting >= DAEMON_MAX_GREETING && (oldest = accept_oldest(d, PEER_GREETING)))
                peer_fail(oldest, 0, WIRE_E_NOT_GREETED, "too many others are connecting");
        if (d->n_admins >= DAEMON_MAX_ADMINS && (oldest = accept_oldest(d, PEER_ADMIN)))
                peer_fail(oldest, 0, WIRE_E_TOO_MANY_WORKERS, "it was silent for longest");
        daemon_settle(d);
        index = accept_free_index(d);
        if (index == d->max_peers) { /* all of them workers */
                d->counters[WIRE_COUNTER_connections_refused]++;
                notice_refused(d, NULL, wire_error_sentence(WIRE_E_TOO_MANY_WORKERS));
                remains_take(d, fd, remains_may_carry(fd));
                return;
        }
        r = peer_new(d, index, fd, &peer);
        if (r < 0)
                log_warning("a connection could not be taken: %s", strerror(-r));
}

/* None for so long. */
static void accept_later(struct daemon *d, uint64_t usec)
{
        (void)sd_event_source_set_time(d->listen_again, daemon_now_usec() + usec);
        if (sd_event_source_set_enabled(d->listen_again, SD_EVENT_ONESHOT) >= 0)
                (void)sd_event_source_set_enabled(d->listen_source, SD_EVENT_OFF);
}

/* Who connects now waits until some of those before him are closed. */
static bool accept_has_to_wait(struct daemon *d)
{
        uint32_t suppressed;

        if (!remains_are_many(d))
                return false;
        if (ratelimit_allow(&d->complaints, daemon_now_usec(), &suppressed))
                log_error("new connections have to wait: %u that ended were sent descriptors which cannot be closed; "
                          "Linux 6.16 and later lets none in",
                          d->remains.max);
        accept_later(d, ACCEPT_AGAIN_USEC);
        return true;
}

/* Out of fds or memory: the connection stays in the queue, and the loop must not spin on it. */
static void accept_pause(struct daemon *d, int error)
{
        uint32_t suppressed;

        if (ratelimit_allow(&d->complaints, daemon_now_usec(), &suppressed))
                log_error("new connections have to wait: accept: %s%s", strerror(error),
                          error == EMFILE ? "; raise the limit of open files (LimitNOFILE=)" : "");
        accept_later(d, ACCEPT_AGAIN_USEC);
}

static int accept_on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *d = userdata;
        int r = sd_event_source_set_enabled(d->listen_source, SD_EVENT_ON);

        (void)source;
        (void)usec;
        if (r < 0) /* no memory to watch the socket */
                accept_pause(d, -r);
        return 0;
}

static int accept_on_listen(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon *d = userdata;
        const uint64_t began = daemon_now_nsec();
        uint64_t pause;

        (void)source;
        (void)events;
        if (accept_has_to_wait(d))
                return 0;
        for (unsigned i = 0; i < ACCEPT_PER_TURN; i++) {
                int peer_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (peer_fd >= 0) {
                        accept_one(d, peer_fd);
                        continue;
                }
                if (errno == ECONNABORTED || errno == EINTR)
                        continue;
                if (errno == EAGAIN)
                        break;
                accept_pause(d, errno);
                return 0;
        }
        pause = throttle_accepted(d, began);
        if (pause > 0)
                accept_later(d, pause);
        return 0;
}

int accept_start(struct daemon *d)
{
        int r = sd_event_add_io(d->event, &d->listen_source, d->listener.fd, EPOLLIN, accept_on_listen, d);

        if (r < 0)
                return r;
        r = sd_event_add_time(d->event, &d->listen_again, CLOCK_MONOTONIC, 0, ACCEPT_AGAIN_ACCURACY_USEC,
                              accept_on_again, d);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(d->listen_again, SD_EVENT_OFF);
}
