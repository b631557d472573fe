/* SPDX-License-Identifier: MIT
 *
 * policy.c -- who goes first when memory is short, who gives way, and when it counts as short.
 *
 * The default policy is weighted max-min fairness over what each tenant has above its memory.min: a tenant's *share* is
 * that, divided by its weight. Of the requests that wait, the one goes first after which its tenant's share would be
 * the smallest. So a large request within its tenant's fair part of the device is not passed by small ones of tenants
 * that have more, and one beyond it does not hold up those that have less.
 *
 * Memory is asked back in the order of the rules: the requester's own idle rows, idle rows of tenants above their
 * memory.low, then (SLACK) whole extents beyond the live lengths of held rows, then (LIVE) the application's pressure
 * handler in tenants above their memory.high, or, where they have none, in tenants whose share would still be no
 * smaller than the requester's afterwards. What a tenant is giving back already is no longer its own in this.
 * Applications are pressed for a request only where that can cover all of it, with what its message asks for in other
 * entries for the same row, so that nobody gives up a sequence for a part of one. And never for themselves: at its
 * memory.max a tenant's applications learn that, and know better what to give up.
 */
#include "internal.h"

static const struct tenant *tenant_of(const struct core *c, const struct request *r)
{
        return tenant_get(c, worker_get(c, r->worker)->tenant);
}

/* What the tenant has above its guarantee, with `more` pages taken. */
static uint64_t above_min(const struct tenant *t, uint32_t device, uint64_t more)
{
        const uint64_t pages = t->current[device] + more;

        return pages > t->min[device] ? pages - t->min[device] : 0;
}

/* Pages over weights: below 2^32 each. */
static int share_compare(uint64_t a_pages, uint32_t a_weight, uint64_t b_pages, uint32_t b_weight)
{
        const uint64_t a = a_pages * b_weight, b = b_pages * a_weight;

        return (a > b) - (a < b);
}

static bool default_precedes(const struct core *c, uint32_t a, uint32_t b)
{
        const struct request *ra = request_get(c, a), *rb = request_get(c, b);
        const struct tenant *ta = tenant_of(c, ra), *tb = tenant_of(c, rb);
        const uint32_t device = cache_get(c, ra->cache)->device;
        int order;

        if (ta == tb)
                return ra->sequence < rb->sequence;
        if ((ta->overdue > 0) != (tb->overdue > 0))
                return tb->overdue > 0; /* who keeps others waiting comes last */
        order = share_compare(above_min(ta, device, request_wanted(c, ra)), ta->weight,
                              above_min(tb, device, request_wanted(c, rb)), tb->weight);
        return order != 0 ? order < 0 : ra->sequence < rb->sequence;
}

/* What the tenant will have above its guarantee once all is back that is on its way, with `more` pages taken. */
static uint64_t keeps_above_min(const struct tenant *t, uint32_t device, uint64_t more)
{
        const uint64_t pages = tenant_keeps(t, device) + more;

        return pages > t->min[device] ? pages - t->min[device] : 0;
}

/* Pages that the tenant has above what it may keep while the claimant has so little: afterwards its share is still no
 * smaller than the claimant's. */
static uint64_t above_share(const struct core *c, const struct tenant *t, const struct claim *claim)
{
        const struct tenant *own = claim->tenant == NIL ? NULL : tenant_get(c, claim->tenant);
        const uint64_t above = keeps_above_min(t, claim->device, 0);
        uint64_t keeps = 0;

        if (own == t)
                return 0;
        if (own)
                keeps = (keeps_above_min(own, claim->device, claim->wanted) * t->weight + own->weight - 1) /
                        own->weight;
        return above > keeps ? above - keeps : 0;
}

/* What may be taken from the tenant at this level. */
static uint64_t may_take(const struct core *c, const struct tenant *t, const struct claim *claim, uint32_t level)
{
        const struct device *d = &c->devices[claim->device];
        const uint64_t has = tenant_keeps(t, claim->device);
        uint64_t keeps = t->min[claim->device]; /* less would help nobody: it is guaranteed */

        if (claim->tenant != NIL && t == tenant_get(c, claim->tenant) && (level < 2 || claim->own_only))
                return has;
        if (level < 2 || t->high_bytes != UINT64_MAX) {
                if (!claim->for_guarantee)
                        keeps = bits_max_u64(keeps, pages_at_least(d, t->low_bytes));
                if (level == 2)
                        keeps = bits_max_u64(keeps, pages_at_most(d, t->high_bytes));
                return has > keeps ? has - keeps : 0;
        }
        return above_share(c, t, claim);
}

/* What the worker has at this level, by what the core knows; 0: do not ask. */
static uint32_t could_have(const struct core *c, uint32_t worker, const struct claim *claim, uint32_t level)
{
        const struct worker *w = worker_get(c, worker);

        if (w->state != WORKER_LIVE || w->detached || w->revoke.id != 0 || w->overdue != 0 ||
            (w->dry[level] & 1u << claim->device) || (claim->own_only && w->tenant != claim->tenant))
                return 0;
        if (level == 2 && claim->worker != NIL && (claim->own_only || worker == claim->worker))
                return 0; /* nobody is pressed for his own sake */
        return level == 0 ? w->idle_pages[claim->device] : w->held_pages[claim->device];
}

static uint64_t could_give(const struct core *c, uint32_t worker, const struct claim *claim, uint32_t level)
{
        const uint32_t has = could_have(c, worker, claim, level);

        if (has == 0)
                return 0;
        return bits_min_u64(has, may_take(c, tenant_get(c, worker_get(c, worker)->tenant), claim, level));
}

/* Whether all together could give as much at this level, and what else the claimant's message lacks. */
static bool covers(const struct core *c, const struct claim *claim, uint32_t level, uint64_t shortage)
{
        uint64_t has[CORE_MAX_TENANTS] = { 0 }, sum = 0;

        for (uint32_t i = 0; i < c->top_worker; i++) {
                const uint32_t pages = could_have(c, i, claim, level);

                if (pages > 0)
                        has[worker_get(c, i)->tenant] += pages;
        }
        for (uint32_t i = 0; i < c->top_tenant; i++)
                if (has[i] > 0)
                        sum += bits_min_u64(has[i], may_take(c, tenant_get(c, i), claim, level));
        return sum >= shortage + claim->beside;
}

/* Who could give most; of equals, for a tenant's limit makes many equal, who has most. */
static uint32_t default_victim(const struct core *c, const struct claim *claim, uint32_t level, uint64_t shortage,
                               uint64_t *ret_pages)
{
        uint64_t most = claim->worker == NIL ? 0 : could_give(c, claim->worker, claim, level);
        uint32_t best = NIL, most_had = 0;

        if (most > 0) {
                *ret_pages = bits_min_u64(most, shortage);
                return claim->worker;
        }
        if (level == 2 && claim->worker != NIL && !covers(c, claim, level, shortage))
                return NIL;
        for (uint32_t i = 0; i < c->top_worker; i++) {
                const uint32_t has = could_have(c, i, claim, level);
                const uint64_t pages = could_give(c, i, claim, level);

                if (pages > most || (pages > 0 && pages == most && has > most_had)) {
                        most = pages;
                        most_had = has;
                        best = i;
                }
        }
        if (best != NIL)
                *ret_pages = bits_min_u64(most, shortage);
        return best;
}

/* A worker that did not answer is killed, and what it has is about to come back; or one has no connection, but should
 * have one soon, and can be asked then. */
static bool somebody_is_awaited(const struct core *c, const struct claim *claim)
{
        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);

                if (w->state == WORKER_LIVE && (w->dying || w->awaited_until_usec != 0) &&
                    (!claim->own_only || w->tenant == claim->tenant))
                        return true;
        }
        return false;
}

/* Others have more than their share, and could give the claimant all it lacks while it would still have less than they:
 * what they give back by themselves is the claimant's. But for a reclaim deadline only: an application that hears of it
 * sooner can make do with less. Of one who does not even answer nothing is hoped for. */
static bool default_may_hope(const struct core *c, const struct claim *claim, uint64_t shortage)
{
        uint64_t above = 0;

        if (somebody_is_awaited(c, claim))
                return true;
        if (claim->tenant == NIL || claim->own_only || claim->stale)
                return false;
        for (uint32_t i = 0; i < c->top_tenant; i++) {
                const struct tenant *t = tenant_get(c, i);

                if (t->used && t->overdue == 0)
                        above += above_share(c, t, claim);
        }
        return above >= shortage + claim->beside;
}

/* Short: with so many pages more taken, less than three quarters would be left, idle rows and what is on its way back
 * counted. So early because what is wasted inside a large extent stays wasted until its sequence ends: rows must have
 * become exact by the time that memory is full. */
static bool default_is_short(const struct core *c, uint32_t device, uint32_t tenant, uint32_t pages)
{
        const struct device *d = &c->devices[device];
        const uint32_t available = device_available_to(d, tenant_get(c, tenant), device);

        return available < pages ||
               (uint64_t)available + d->idle_pages + d->returning < (uint64_t)pages + d->pages / 4 * 3;
}

const struct core_policy core_policy_default = { .name = "default",
                                                 .precedes = default_precedes,
                                                 .victim = default_victim,
                                                 .may_hope = default_may_hope,
                                                 .is_short = default_is_short };
