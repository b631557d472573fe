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

/* A peer's own; of all that are greedy, no more at once than one long packet; of new connections. */
static const struct budget_rule throttle_own = { .share = 128, .most_nsec = 2000000 };
static const struct budget_rule throttle_greedy = { .share = 16, .most_nsec = 32000 };
static const struct budget_rule throttle_accepting = { .share = 64, .most_nsec = 50000 };

static int throttle_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *d = userdata;

        (void)source;
        (void)usec;
        d->throttle.paused = false;
        for (uint32_t i = 0; i < d->max_peers; i++)
                if (d->peers[i] && d->peers[i]->paused)
                        peer_pause(d->peers[i], false);
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

/* false: nothing would ever end the pause. */
static bool throttle_set_timer(struct daemon *d, uint64_t usec)
{
        if (d->throttle.paused)
                return true;
        if (sd_event_source_set_time(d->throttle.timer, usec) < 0 ||
            sd_event_source_set_enabled(d->throttle.timer, SD_EVENT_ONESHOT) < 0)
                return false;
        d->throttle.paused = true;
        loop_changed(d);
        return true;
}

void throttle_served(struct peer *peer, uint64_t began_nsec, bool asks)
{
        struct daemon *d = peer->daemon;
        struct throttle *t = &d->throttle;
        const uint64_t now = daemon_now_nsec(), spent = now - began_nsec;
        const int64_t left = budget_spend(&peer->budget, &throttle_own, now, spent);

        if (left >= 0 || peer->ended)
                return;
        if (asks && !throttle_has_more(peer)) {
                peer->budget = (struct budget){ 0 };
                return;
        }
        if (left > -throttle_own.most_nsec / 2)
                return; /* one that waits has had no chance to show it, perhaps */
        if (budget_spend(&t->greedy, &throttle_greedy, now, spent) >= 0)
                return;
        if (!throttle_set_timer(d, now / 1000 + budget_full_usec(&t->greedy, &throttle_greedy)))
                return;
        d->counters[WIRE_COUNTER_pauses]++;
        peer_pause(peer, true);
}

uint64_t throttle_accepted(struct daemon *d, uint64_t began_nsec)
{
        struct budget *budget = &d->throttle.accepting;
        const uint64_t now = daemon_now_nsec();

        return budget_spend(budget, &throttle_accepting, now, now - began_nsec) < 0
                       ? budget_full_usec(budget, &throttle_accepting)
                       : 0;
}
