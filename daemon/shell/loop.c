/* SPDX-License-Identifier: MIT
 *
 * loop.c -- the loop: peers by an epoll of our own, everything else by sd-event, whose fd is one of those in it.
 *
 * sd-event dispatches one source a turn and asks the kernel for all that are ready each time: among many workers that
 * ask at once the work would be quadratic, and for a single one its timers and priorities are half of what a request
 * costs. So sd-event's turn comes only when its fd is readable, or when loop_changed() says that a timer of its was set
 * outside of it. A turn reads one packet of each peer that has one. However much sd-event has to do, peers have a turn
 * before each of its own: what a dead worker leaves behind takes many. And however much peers have to say, a turn of
 * theirs ends after some milliseconds, for timers and the watchdog; those who were left out are first in the next.
 */
#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

#include "daemon.h"
#include "owner.h"

#define LOOP_AGAIN_MSEC 10
#define LOOP_TURN_NSEC  UINT64_C(5000000)

int loop_open(struct daemon *d)
{
        struct epoll_event event = { .events = EPOLLIN };

        assert(d->event && d->epoll < 0);

        d->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (d->epoll < 0)
                return -errno;
        return epoll_ctl(d->epoll, EPOLL_CTL_ADD, sd_event_get_fd(d->event), &event) < 0 ? -errno : 0;
}

void loop_close(struct daemon *d)
{
        d->epoll = fd_close(d->epoll);
}

int loop_watch(struct daemon *d, int fd, struct peer *peer)
{
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = peer };

        return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int loop_watch_for(struct daemon *d, int fd, struct peer *peer, uint32_t events)
{
        struct epoll_event event = { .events = events, .data.ptr = peer };

        return epoll_ctl(d->epoll, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

void loop_forget(struct daemon *d, int fd, const struct peer *peer)
{
        (void)epoll_ctl(d->epoll, EPOLL_CTL_DEL, fd, NULL);
        for (uint32_t i = d->turn.next; i < d->turn.n; i++)
                if (d->turn.events[i].data.ptr == peer)
                        d->turn.events[i].events = 0;
}

void loop_changed(struct daemon *d)
{
        d->changed = true;
}

/* Serves those who are ready. The clock is looked at where there are several, by what the last packet noted. */
static void loop_serve_ready(struct daemon *d, bool *others)
{
        struct loop_turn *turn = &d->turn;
        const uint64_t began = turn->next + 1 < turn->n ? daemon_now_nsec() : UINT64_MAX;

        while (turn->next < turn->n) {
                const struct epoll_event *event = &turn->events[turn->next++];

                if (!event->data.ptr)
                        *others = true;
                else if (event->events != 0)
                        peer_serve(event->data.ptr, event->events);
                if (d->throttle.now_nsec > began && d->throttle.now_nsec - began > LOOP_TURN_NSEC) {
                        *others = true;
                        break;
                }
        }
}

/* Until there is something for sd-event (`timeout_msec` -1); else one turn, of whoever is ready by then. */
static int loop_serve_peers(struct daemon *d, int timeout_msec)
{
        struct loop_turn *turn = &d->turn;
        bool others = timeout_msec >= 0;

        do {
                if (turn->next == turn->n) {
                        int n = epoll_wait(d->epoll, turn->events, LOOP_EVENTS, timeout_msec);

                        if (n < 0 && errno != EINTR)
                                return -errno;
                        turn->next = 0;
                        turn->n = n > 0 ? (uint32_t)n : 0;
                }
                loop_serve_ready(d, &others);
                daemon_settle(d); /* no peer is freed before */
        } while (!others && !d->changed);
        return 0;
}

/* One turn of sd-event, and what peers have to say before it. */
static int loop_turn(struct daemon *d)
{
        int r, served;

        d->changed = false; /* what was set until now is what sd-event prepares for */
        r = sd_event_prepare(d->event);
        if (r < 0)
                return r;
        served = loop_serve_peers(d, r > 0 ? 0 : -1);
        if (served < 0)
                return served;
        if (r == 0)
                r = sd_event_wait(d->event, 0);
        return r > 0 ? sd_event_dispatch(d->event) : r;
}

int loop_run(struct daemon *d)
{
        int r = 0;

        while (r >= 0 && sd_event_get_state(d->event) != SD_EVENT_FINISHED) {
                r = loop_turn(d);
                if (r == -ENOMEM) /* sd-event could not note what it was about to do, and finds it again */
                        r = loop_serve_peers(d, LOOP_AGAIN_MSEC);
        }
        return r < 0 ? r : 0;
}
