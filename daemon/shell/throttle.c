/* SPDX-License-Identifier: MIT
 *
 * throttle.c -- see throttle.h.
 *
 * Whether a peer waits for answers is looked at only once its budget is used up: then there is no second packet behind
 * one that is answered, and it has a new budget. Packets that are not answered are no sign of either.
 */
#include "throttle.h"

#include <assert.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "daemon.h"

static const struct budget_rule throttle_own = { .share = 128, .most_nsec = 1000000 };
static const struct budget_rule throttle_accepting = { .share = 256, .most_nsec = 4000000 };

#define THROTTLE_PACKET_NSEC UINT64_C(100000) /* at most; where it took longer, others had the CPU meanwhile */
#define THROTTLE_ACCEPT_NSEC UINT64_C(12000)  /* at most, of a turn: so two come in 3 ms, whatever they cost */
#define THROTTLE_SHARE       16u              /* of the greedy, all together */
#define THROTTLE_PAUSE_USEC  UINT64_C(250)    /* at least: waking up costs something as well */

static bool throttle_arm(struct daemon *d, uint64_t usec)
{
        if (sd_event_source_set_time(d->throttle.timer, daemon_now_usec() + usec) < 0 ||
            sd_event_source_set_enabled(d->throttle.timer, SD_EVENT_ONESHOT) < 0)
                return false;
        loop_changed(d);
        return true;
}

/* The next paused peer from `begin` on; max_peers: there is none. */
static uint32_t throttle_find(const struct daemon *d, uint32_t begin)
{
        while (begin < d->max_peers && !(d->peers[begin] && d->peers[begin]->paused))
                begin++;
        return begin;
}

/* One of the greedy has its turn, and the next one the next. */
static int throttle_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *d = userdata;
        struct throttle *t = &d->throttle;
        uint32_t i = throttle_find(d, t->next);

        (void)source;
        (void)usec;
        if (i == d->max_peers)
                i = throttle_find(d, 0);
        if (i < d->max_peers)
                peer_pause(d->peers[i], false);
        t->next = i + 1;
        t->armed = throttle_find(d, 0) < d->max_peers && throttle_arm(d, THROTTLE_SHARE * THROTTLE_PACKET_NSEC / 4000);
        while (!t->armed && (i = throttle_find(d, 0)) < d->max_peers)
                peer_pause(d->peers[i], false); /* nothing else would end it */
        daemon_settle(d);
        return 0;
}

int throttle_open(struct daemon *d)
{
        int r = sd_event_add_time(d->event, &d->throttle.timer, CLOCK_MONOTONIC, 0, 1, throttle_on_timer, d);

        return r < 0 ? r : sd_event_source_set_enabled(d->throttle.timer, SD_EVENT_OFF);
}

void throttle_close(struct daemon *d)
{
        d->throttle.timer = sd_event_source_disable_unref(d->throttle.timer);
}

static bool throttle_has_more(const struct peer *peer)
{
        int bytes = 0;

        return ioctl(peer->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

void throttle_served(struct peer *peer, uint64_t began_nsec, bool asks)
{
        struct daemon *d = peer->daemon;
        const uint64_t now = daemon_now_nsec(), took = now - began_nsec;
        const uint64_t spent = took < THROTTLE_PACKET_NSEC ? took : THROTTLE_PACKET_NSEC;
        const uint64_t pause = THROTTLE_SHARE * spent / 1000;
        const int64_t left = budget_spend(&peer->budget, &throttle_own, now, spent);

        d->throttle.now_nsec = now;
        if (left >= 0 || peer->ended)
                return;
        if (asks && !throttle_has_more(peer)) {
                peer->budget = (struct budget){ 0 };
                return;
        }
        if (left > -throttle_own.most_nsec / 2)
                return; /* one that waits has had no chance to show it, perhaps */
        if (!d->throttle.armed)
                d->throttle.armed = throttle_arm(d, pause > THROTTLE_PAUSE_USEC ? pause : THROTTLE_PAUSE_USEC);
        if (!d->throttle.armed)
                return;
        d->counters[WIRE_COUNTER_pauses]++;
        peer_pause(peer, true);
}

uint64_t throttle_accepted(struct daemon *d, uint64_t began_nsec)
{
        const uint64_t now = daemon_now_nsec(), took = now - began_nsec;
        const int64_t left = budget_spend(&d->throttle.accepting, &throttle_accepting, now,
                                          took < THROTTLE_ACCEPT_NSEC ? took : THROTTLE_ACCEPT_NSEC);

        return left < 0 ? (uint64_t)(-left * throttle_accepting.share / 1000) : 0;
}
