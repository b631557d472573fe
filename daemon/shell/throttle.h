/* SPDX-License-Identifier: MIT
 *
 * throttle.h -- how much of the loop's time goes to those who always want more of it.
 *
 * A worker that waits for its answers limits itself. One that does not would keep the loop busy for good, and the
 * others waiting: behind its packets, and behind whatever else computes on the loop's CPU, since the kernel lets a
 * thread that has slept go first, not one that never does. So the loop's time is counted. A peer that has used up its
 * budget and still does not wait is greedy: it is not read for a while, and the greedy all together have a small share
 * of the loop's time, of which each is served one packet in its turn. New connections have a budget too: some
 * hundreds at once, as when a host starts, and after that two in 3 ms, or more where they cost less.
 */
#ifndef SHELL_THROTTLE_H
#define SHELL_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct daemon;
struct peer;

/* One nanosecond in `share` of them, saved up to `most_nsec`; as much may be owed. */
struct budget_rule {
        int64_t share, most_nsec;
};

struct budget {
        uint64_t then_nsec; /* when `left_nsec` was right; 0: never, it is full */
        int64_t left_nsec;
};

/* Takes out what was spent until now. Returns what is left: less than 0 where that was too much. */
static inline int64_t budget_spend(struct budget *budget, const struct budget_rule *rule, uint64_t now_nsec,
                                   uint64_t spent_nsec)
{
        const int64_t most = rule->most_nsec;
        const uint64_t since = now_nsec - budget->then_nsec;
        int64_t left = most;

        if (budget->then_nsec > 0 && since < (uint64_t)(2 * most * rule->share))
                left = budget->left_nsec + (int64_t)since / rule->share;
        left = left < most ? left : most;
        left -= spent_nsec < (uint64_t)(2 * most) ? (int64_t)spent_nsec : 2 * most;
        left = left > -most ? left : -most;
        *budget = (struct budget){ .then_nsec = now_nsec, .left_nsec = left };
        return left;
}

/* The CPU's time of the thread, when it was last asked for, and what packets have taken since then, by the clock. */
struct cpu_time {
        uint64_t then_nsec, asked_nsec, others_nsec;
};

/* How much of it, being `cpu_nsec` now, went to the packet that has just been dealt with, and took so long by the
 * clock. */
uint64_t cpu_share(const struct cpu_time *cpu, uint64_t took_nsec, uint64_t cpu_nsec);

struct throttle {
        struct budget accepting;
        struct cpu_time cpu;
        sd_event_source *timer; /* when a greedy peer is read again */
        bool armed;             /* where any is not read */
        uint32_t next;          /* index of the peer whose turn that is */
        uint64_t now_nsec;      /* when the last packet was dealt with */
};

int throttle_open(struct daemon *daemon);
void throttle_close(struct daemon *daemon);

/* A packet of the peer was dealt with, from `began_nsec` on; `asks`: one that is answered. */
void throttle_served(struct peer *peer, uint64_t began_nsec, bool asks);

/* Connections were accepted, from `began_nsec` on. Returns for how long none are to be now, usec. */
uint64_t throttle_accepted(struct daemon *daemon, uint64_t began_nsec);

#endif
