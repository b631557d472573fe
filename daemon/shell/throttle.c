/* SPDX-License-Identifier: MIT
 *
 * throttle.c -- see throttle.h.
 *
 * Whether a peer waits for answers is looked at only once its budget is used up: then there is no second packet behind
 * one that is answered, and it has a new budget. Packets that are not answered are no sign of either. Nor has who waits
 * a new one after a packet that took very long: others have waited for it too.
 *
 * What counts is the CPU's time, for another may have had the CPU meanwhile. To ask for it costs a system call, so for
 * most packets the clock's time will do, and only after a long one it is looked how much of that was ours: no more than
 * the thread has used since it was last asked, less what other packets took since then.
 */
#include "throttle.h"

#include <assert.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>

#include "daemon.h"

static const struct budget_rule throttle_own = { .share = 128, .most_nsec = 1000000 };
static const struct budget_rule throttle_accepting = { .share = 256, .most_nsec = 4000000 };

#define THROTTLE_PACKET_NSEC UINT64_C(100000)  /* where it took longer, others may have had the CPU meanwhile */
#define THROTTLE_LONG_NSEC   UINT64_C(1000000) /* of the CPU's time: not to be asked for without end */
#define THROTTLE_ASK_NSEC    UINT64_C(1000000) /* the thread's time is asked for once in so long */
#define THROTTLE_PAUSE_MOST  UINT64_C(1000000) /* usec */
#define THROTTLE_ACCEPT_NSEC UINT64_C(12000)   /* at most, of a turn: so two come in 3 ms, whatever they cost */
#define THROTTLE_SHARE       16u               /* of the greedy, all together */
#define THROTTLE_PAUSE_USEC  UINT64_C(250)     /* at least: waking up costs something as well */

static bool throttle_arm(struct daemon *d, uint64_t usec)
{
        if (sd_event_source_set_time(d->throttle.timer, daemon_now_usec() + usec) < 0 ||
            sd_event_source_set_enabled(d->throttle.timer, SD_EVENT_ONESHOT) < 0)
                return false;
        loop_changed(d);
        return true;
}

/* The next paused peer from `begin` on; max_peers or more: there is none. */
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
        if (i >= d->max_peers)
                i = throttle_find(d, 0);
        if (i < d->max_peers)
                peer_pause(d->peers[i], false);
        t->next = i < d->max_peers ? i + 1 : 0; /* else whoever was paused has ended meanwhile */
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

uint64_t cpu_share(const struct cpu_time *cpu, uint64_t took_nsec, uint64_t cpu_nsec)
{
        const uint64_t used = cpu_nsec - cpu->asked_nsec;
        const uint64_t ours = used > cpu->others_nsec ? used - cpu->others_nsec : 0;

        return ours < took_nsec ? ours : took_nsec;
}

/* Of what the packet took by the clock, the CPU's time; exactly so where that was long. */
static uint64_t throttle_spent(struct throttle *t, uint64_t now_nsec, uint64_t took_nsec)
{
        struct timespec cpu;
        uint64_t spent = took_nsec, cpu_nsec;

        if (took_nsec < THROTTLE_PACKET_NSEC && now_nsec - t->cpu.then_nsec < THROTTLE_ASK_NSEC) {
                t->cpu.others_nsec += took_nsec;
                return took_nsec;
        }
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
        cpu_nsec = (uint64_t)cpu.tv_sec * UINT64_C(1000000000) + (uint64_t)cpu.tv_nsec;
        if (took_nsec >= THROTTLE_PACKET_NSEC)
                spent = cpu_share(&t->cpu, took_nsec, cpu_nsec);
        t->cpu = (struct cpu_time){ .then_nsec = now_nsec, .asked_nsec = cpu_nsec };
        return spent;
}

void throttle_served(struct peer *peer, uint64_t began_nsec, bool asks)
{
        struct daemon *d = peer->daemon;
        const uint64_t now = daemon_now_nsec(), spent = throttle_spent(&d->throttle, now, now - began_nsec);
        const uint64_t least = THROTTLE_SHARE * spent / 1000 > THROTTLE_PAUSE_USEC ? THROTTLE_SHARE * spent / 1000
                                                                                   : THROTTLE_PAUSE_USEC;
        const uint64_t pause = least < THROTTLE_PAUSE_MOST ? least : THROTTLE_PAUSE_MOST;
        const int64_t left = budget_spend(&peer->budget, &throttle_own, now, spent);

        d->throttle.now_nsec = now;
        if (left >= 0 || peer->ended)
                return;
        if (asks && spent <= THROTTLE_LONG_NSEC && !throttle_has_more(peer)) {
                peer->budget = (struct budget){ 0 };
                return;
        }
        if (left > -throttle_own.most_nsec / 2)
                return; /* one that waits has had no chance to show it, perhaps */
        /* The next one's turn is the later for what this one took in its own. */
        if (!d->throttle.armed || (spent > THROTTLE_PACKET_NSEC && d->throttle.next == peer->index + 1))
                d->throttle.armed = throttle_arm(d, pause) || d->throttle.armed;
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
