/* SPDX-License-Identifier: MIT
 *
 * plan.h -- what is decided before the first worker starts: who gets which requests, how much memory there is, and
 * which requests can never fit in it. Pure, but for one look at /proc/meminfo.
 */
#ifndef KVPAGER_REPLAY_PLAN_H
#define KVPAGER_REPLAY_PLAN_H

#include "bursts.h"
#include "options.h"
#include "simulate.h"
#include "trace.h"

struct plan {
        uint32_t n_workers;      /* all tenants; worker i is of tenant i modulo their number */
        struct request **shares; /* each worker's, by arrival, dealt in turn, in a load of bursts within the tenant */
        size_t *n_shares;
        uint64_t max_tokens;
        uint64_t page_size, capacity; /* bytes; the capacity in whole pages */
        uint64_t *limits;             /* bytes that each tenant can ever hold; NULL: all of the capacity */
        bool unconstrained; /* the capacity is not asked for but what the load needs: the yardstick has no limit */
};

/* How many bursts the load has; 0: it has none. */
uint32_t plan_bursts(const struct options *options, uint64_t n_requests);

/* Counts the requests of each burst, none of which has begun but the first. */
void plan_fill_bursts(const struct plan *plan, uint32_t n_bursts, struct bursts *bursts);

/* Deals the trace's requests, with the trace's clock times `speed`; those that are longer than the options' longest
 * length are impossible already. -ENOMEM. */
int plan_deal(const struct options *options, const struct trace *trace, double speed, struct plan *ret_plan);

/* In a scenario so many sequences of the mean length as show what it is about: less than a burst, or all that wait,
 * would like. Else by the yardstick's peak: ample where no memory is really filled, else so that memory is short. The
 * largest request that is not too long fits, with room to grow. But where memory is filled it is at most half of
 * `available` bytes (a quarter where a shadow of all is kept; 0: not known), and may be less than a page. */
int plan_capacity(struct plan *plan, const struct options *options, uint64_t available);

/* The capacity is `device` bytes, of which tenant i can ever hold limits[i] (one for each tenant of the options; they
 * become the plan's). `shared`: all workers are one tenant's, and it is limits[0] in all. */
void plan_limit(struct plan *plan, const struct options *options, uint64_t device, uint64_t *limits, bool shared);

/* Marks the requests that can never fit: alone larger than the capacity or their tenant's limit in pages, or longer
 * than the longest length; where the options do not say that, it is
 * the longest of the others' from here on. */
void plan_mark_impossible(struct plan *plan, const struct options *options);

/* 16-token blocks in the capacity; UINT64_MAX where it is without limit. The last one counts in full (in each tenant's
 * part, of a fixed split), so that a request which fits in pages fits in blocks too, and both have the same load. */
uint64_t plan_capacity_blocks(const struct plan *plan, const struct options *options);

void plan_clear(struct plan *plan);

/* MemAvailable; 0 if it cannot be read. */
uint64_t memory_available(void);

#endif
