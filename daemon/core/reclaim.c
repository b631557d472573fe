/* SPDX-License-Identifier: MIT
 *
 * reclaim.c -- gets memory back: revokes by amount, one under way a worker, each with a deadline.
 *
 * A waiting request asks for its shortage. What is coming back anyway (extents being returned, revokes not yet
 * answered) counts against it; for the rest the policy names victims, level by level. A worker that gave less than it
 * was asked for is dry at that level until something changes for it, so that the search ends: no victim left and
 * nothing on its way means that the request is hopeless.
 */
#include "internal.h"

enum { TRACE_NONE, TRACE_SENT, TRACE_ANSWERED, TRACE_OVERDUE, TRACE_VOID };

static void trace(struct run *run, uint32_t worker, const struct revoke *v, unsigned from, unsigned to)
{
        if (run->core->params.trace)
                run_transition(run, CORE_OBJ_REVOKE, v->id, from, to, worker, v->level, (uint32_t)v->remaining);
}

static void revoke_send(struct run *run, uint32_t worker, uint32_t device, uint32_t level, uint64_t pages)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, worker);
        const uint64_t patience = tenant_get(c, w->tenant)->reclaim_deadline_usec;
        struct core_action *action = run_action(run, CORE_ACT_REVOKE, worker);

        assert(w->revoke.id == 0 && pages > 0);
        if (++w->revoke_counter == 0)
                w->revoke_counter = 1;
        w->revoke = (struct revoke){ .id = w->revoke_counter,
                                     .level = (uint16_t)level,
                                     .device = (uint16_t)device,
                                     .remaining = pages,
                                     .deadline_usec = c->now_usec + (patience ? patience : RECLAIM_DEADLINE_USEC) };
        action->revoke.revoke = w->revoke.id;
        action->revoke.level = (uint16_t)level;
        action->revoke.device = (uint16_t)device;
        action->revoke.pages = pages;
        action->revoke.deadline_usec = w->revoke.deadline_usec;
        core_deadline_at(c, w->revoke.deadline_usec);
        core_count(c, CORE_COUNT_REVOKES, 1);
        core_count(c, CORE_COUNT_PAGES_REVOKED, pages);
        trace(run, worker, &w->revoke, TRACE_NONE, TRACE_SENT);
}

/* Pages of the device that are on their way back and may serve the request. */
static uint64_t coming(const struct core *c, uint32_t device, uint32_t tenant, bool tenant_only)
{
        uint64_t pages = tenant_only ? tenant_get(c, tenant)->returning[device] : c->devices[device].returning;

        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);

                if (w->state == WORKER_LIVE && w->revoke.id != 0 && w->revoke.device == device &&
                    (!tenant_only || w->tenant == tenant))
                        pages += w->revoke.remaining;
        }
        return pages;
}

/* A worker answers one revoke at a time: one that has more than it is being asked for is asked again after that. */
static bool somebody_is_busy(const struct core *c, uint32_t device, uint32_t tenant, bool tenant_only)
{
        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);

                if (w->state != WORKER_LIVE || w->revoke.id == 0 || (tenant_only && w->tenant != tenant))
                        continue;
                if ((w->idle_pages[device] > 0 && !(w->dry[0] & 1u << device)) ||
                    (w->held_pages[device] > 0 && !(w->dry[1] & 1u << device)))
                        return true;
        }
        return false;
}

enum reclaim_result reclaim_for(struct run *run, uint32_t request, uint64_t shortage, bool tenant_only)
{
        struct core *c = run->core;
        const struct request *r = request_get(c, request);
        const uint32_t device = cache_get(c, r->cache)->device, tenant = worker_get(c, r->worker)->tenant;
        uint64_t covered = coming(c, device, tenant, tenant_only), pages = 0;

        for (uint32_t level = 0; level < 3 && covered < shortage; level++)
                while (covered < shortage && run_has_room(run)) {
                        const uint32_t victim = core_policy_default.victim(c, device, r->worker, level, tenant_only,
                                                                           &pages);

                        if (victim == NIL)
                                break;
                        pages = bits_min_u64(pages, shortage - covered);
                        revoke_send(run, victim, device, level, pages);
                        covered += pages;
                }
        if (!run_has_room(run)) {
                core_pump_later(c, device);
                return RECLAIM_WAIT;
        }
        return covered > 0 || somebody_is_busy(c, device, tenant, tenant_only) ? RECLAIM_WAIT : RECLAIM_HOPELESS;
}

/* The kernel's watermarks, for a device: below the low one idle rows are revoked in the background up to the high one,
 * so that growth finds free memory and look-ahead is not refused while rows lie idle. */
void reclaim_ahead(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        const struct device *d = device_get(c, device);
        const uint64_t low = device_low_watermark(d), high = device_high_watermark(d), available = device_available(d);
        uint64_t covered, pages = 0;

        if (d->n_waiting > 0 || d->idle_pages == 0 || available >= low)
                return;
        covered = coming(c, device, 0, false);
        if (available + covered >= low)
                return;
        while (available + covered < high && run_has_room(run)) {
                const uint32_t victim = core_policy_default.victim(c, device, NIL, 0, false, &pages);

                if (victim == NIL)
                        return;
                pages = bits_min_u64(pages, high - available - covered);
                revoke_send(run, victim, device, 0, pages);
                covered += pages;
        }
}

/* Pages that came back count against what the worker was asked for, whyever it gave them. */
void reclaim_returned(struct core *c, uint32_t worker, uint32_t device, uint32_t pages)
{
        struct revoke *v = &worker_get(c, worker)->revoke;

        if (v->id != 0 && v->device == device)
                v->remaining -= bits_min_u64(v->remaining, pages);
        core_pump_later(c, device);
}

static void revoke_end(struct run *run, uint32_t worker, unsigned how)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, worker);
        const uint32_t highest = how == TRACE_OVERDUE ? 2 : w->revoke.level;

        if (w->revoke.remaining > 0)
                for (uint32_t level = 0; level <= highest; level++)
                        w->dry[level] |= (uint16_t)(1u << w->revoke.device);
        trace(run, worker, &w->revoke, TRACE_SENT, how);
        for (uint32_t i = 0; i < c->n_devices; i++)
                core_pump_later(c, i); /* the worker may be asked for pages of any of them */
        memset(&w->revoke, 0, sizeof w->revoke);
}

void reclaim_revoked(struct run *run, const struct core_ev_revoked *event)
{
        struct core *c = run->core;
        const uint32_t worker = worker_find(c, event->worker);
        struct worker *w;

        if (worker == NIL)
                return;
        w = worker_get(c, worker);
        if (w->revoke.id != 0 && event->revoke == w->revoke.id)
                revoke_end(run, worker, TRACE_ANSWERED);
        else if (event->revoke == 0 || event->revoke > w->revoke_counter)
                run_drop(run, worker, CORE_E_BAD_REVOKE); /* never sent; an overdue one's late answer is fine */
}

void reclaim_tick(struct run *run, uint32_t worker)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, worker);

        if (w->revoke.id == 0)
                return;
        if (w->revoke.deadline_usec > c->now_usec) {
                core_deadline_at(c, w->revoke.deadline_usec);
                return;
        }
        core_count(c, CORE_COUNT_REVOKES_OVERDUE, 1);
        if (w->revoke.remaining == 0)
                w->revoke.remaining = 1; /* it gave all but never said so: it is not asked again until it stirs */
        revoke_end(run, worker, TRACE_OVERDUE);
}
