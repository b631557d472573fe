/* SPDX-License-Identifier: MIT
 *
 * policy.c -- who gives way when memory is short, and when it counts as short.
 *
 * The default policy is the order of the rules: the requester's own idle rows, idle rows of tenants above their
 * memory.low, then (by SLACK) whole extents beyond the live lengths of held rows, the requester's first, then (by LIVE)
 * the application's pressure handler in tenants above their memory.high. Among several, the one with the most.
 */
#include "internal.h"

/* What the worker could give at this level, by what the core knows; 0: do not ask. */
static uint64_t could_give(const struct core *c, const struct worker *w, uint32_t device, uint32_t level,
                           bool is_requester)
{
        const struct tenant *t = tenant_get(c, w->tenant);

        if (w->state != WORKER_LIVE || w->revoke.id != 0 || (w->dry[level] & 1u << device))
                return 0;
        switch (level) {
        case 0:
                return is_requester || t->current_bytes > t->low_bytes ? w->idle_pages[device] : 0;
        case 1:
                return w->held_pages[device];
        default:
                return t->current_bytes > t->high_bytes ? w->held_pages[device] : 0;
        }
}

static uint32_t default_victim(const struct core *c, uint32_t device, uint32_t requester, uint32_t level,
                               bool tenant_only, uint64_t *ret_pages)
{
        uint32_t best = requester;
        uint64_t most = requester == NIL ? 0 : could_give(c, worker_get(c, requester), device, level, true);

        if (most > 0) {
                *ret_pages = most;
                return best;
        }
        best = NIL;
        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);
                uint64_t pages;

                if (tenant_only && w->tenant != worker_get(c, requester)->tenant)
                        continue;
                pages = could_give(c, w, device, level, false);
                if (pages > most) {
                        most = pages;
                        best = i;
                }
        }
        if (best != NIL)
                *ret_pages = most;
        return best;
}

/* Short: with so many pages more taken, less than three quarters would be left, idle rows counted as what can be had. So
 * early because what is wasted inside a large extent stays wasted until its sequence ends: rows must have become exact by the
 * time that memory is full. */
static bool default_is_short(const struct core *c, uint32_t device, uint32_t pages)
{
        const struct device *d = &c->devices[device];

        return device_available(d) < pages ||
               (uint64_t)device_available(d) + d->idle_pages < (uint64_t)pages + d->pages / 4 * 3;
}

const struct core_policy core_policy_default = { .name = "default",
                                                 .victim = default_victim,
                                                 .is_short = default_is_short };
