/* SPDX-License-Identifier: MIT
 *
 * reclaim.c -- gets memory back: revokes by amount, each with a deadline.
 *
 * A claim (a waiting request, a limit that was lowered, the watermark) has a shortage. What is coming back anyway
 * (extents being returned, revokes not yet answered) counts against it; for the rest the policy names victims, level by
 * level, and one worker a device is asked at a time: the next only after it answered or kept us waiting, so that who
 * gives how much does not depend on who is faster. A worker that gave less than it was asked for is dry at that level
 * until something changes for it, so that the search ends: no victim left and nothing on its way means that the claim
 * is hopeless.
 *
 *      none -> sent -> answered
 *                |
 *                +---> overdue -> late (answered after all)
 *
 * A worker whose revoke is overdue gets no grants and no further revokes until it answers; its tenant is served last
 * and takes nothing from others meanwhile.
 */
#include "internal.h"

enum { TRACE_NONE, TRACE_SENT, TRACE_ANSWERED, TRACE_OVERDUE, TRACE_LATE };

static void trace(struct run *run, uint32_t worker, const struct revoke *v, unsigned from, unsigned to)
{
        if (run->core->params.trace)
                run_transition(run, CORE_OBJ_REVOKE, v->id, from, to, worker, v->level, (uint32_t)v->remaining);
}

/* The one place that changes what a revoke still wants, and the sums of it. */
static void revoke_want(struct core *c, uint32_t worker, uint64_t pages)
{
        struct worker *w = worker_get(c, worker);
        struct revoke *v = &w->revoke;

        c->devices[v->device].revoked += pages - v->remaining;
        tenant_get(c, w->tenant)->revoked[v->device] += pages - v->remaining;
        v->remaining = pages;
}

static void ask_next_at(struct core *c, struct device *d, uint64_t usec)
{
        d->ask_next_usec = usec;
        core_deadline_at(c, usec);
}

static void revoke_send(struct run *run, uint32_t worker, uint32_t device, uint32_t level, uint64_t pages)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, worker);
        const uint64_t patience = tenant_get(c, w->tenant)->reclaim_deadline_usec;
        struct core_action *action = run_action(run, CORE_ACT_REVOKE, worker);

        assert(w->revoke.id == 0 && w->overdue == 0 && pages > 0);
        if (++w->revoke_counter == 0)
                w->revoke_counter = 1;
        w->revoke = (struct revoke){ .id = w->revoke_counter,
                                     .level = (uint16_t)level,
                                     .device = (uint16_t)device,
                                     .deadline_usec = c->now_usec + (patience ? patience : RECLAIM_DEADLINE_USEC) };
        revoke_want(c, worker, pages);
        c->devices[device].n_revokes++;
        ask_next_at(c, device_get(c, device), c->now_usec + ASK_NEXT_USEC);
        action->revoke.revoke = w->revoke.id;
        action->revoke.level = (uint16_t)level;
        action->revoke.device = (uint16_t)device;
        action->revoke.pages = pages;
        action->revoke.deadline_usec = w->revoke.deadline_usec;
        core_deadline_at(c, w->revoke.deadline_usec);
        core_count(c, CORE_COUNT_REVOKES, 1);
        core_count(c, CORE_COUNT_PAGES_REVOKED, pages);
        tenant_get(c, w->tenant)->revokes++;
        tenant_get(c, w->tenant)->pages_revoked += pages;
        trace(run, worker, &w->revoke, TRACE_NONE, TRACE_SENT);
}

/* Pages that are on their way back and may serve the claim. */
static uint64_t coming(const struct core *c, const struct claim *claim)
{
        const struct device *d = &c->devices[claim->device];
        const struct tenant *t = claim->own_only ? tenant_get(c, claim->tenant) : NULL;

        return t ? t->returning[claim->device] + t->revoked[claim->device] : d->returning + d->revoked;
}

/* A worker answers one revoke at a time: one that is being asked for another device's pages is asked for ours after
 * that. */
static bool somebody_is_busy(const struct core *c, const struct claim *claim)
{
        const uint32_t device = claim->device;

        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);

                if (w->state != WORKER_LIVE || w->revoke.id == 0 || (claim->own_only && w->tenant != claim->tenant))
                        continue;
                if ((w->idle_pages[device] > 0 && !(w->dry[0] & 1u << device)) ||
                    (w->held_pages[device] > 0 && !(w->dry[1] & 1u << device)))
                        return true;
        }
        return false;
}

/* Asks one worker, at the lowest level at which there is one. Applications are pressed only when all else was tried. */
static bool ask_somebody(struct run *run, const struct claim *claim, uint64_t shortage)
{
        struct core *c = run->core;
        uint64_t pages = 0;

        for (uint32_t level = 0; level < 3; level++) {
                uint32_t victim;

                if (level == 2 && (c->devices[claim->device].n_revokes > 0 || somebody_is_busy(c, claim)))
                        return false;
                victim = core_policy_default.victim(c, claim, level, shortage, &pages);
                if (victim == NIL)
                        continue;
                revoke_send(run, victim, claim->device, level, pages);
                return true;
        }
        return false;
}

/* What was granted a moment ago is nobody's to give until its worker says that it has it. It is asked to at once: it
 * answers, or is dropped. But a request that has waited in vain for long waits for nobody's answer, who could be
 * granted something new each time. */
static bool somebody_has_not_said(struct core *c, const struct claim *claim)
{
        bool any = false;

        for (uint32_t i = 0; !claim->stale && i < c->top_worker; i++) {
                struct worker *w = worker_get(c, i);

                if (w->state != WORKER_LIVE || w->detached || w->overdue != 0 || w->acked == w->granted ||
                    (claim->own_only && w->tenant != claim->tenant))
                        continue;
                any = true;
                if (!w->synced && w->ack_at_usec > c->now_usec) {
                        w->ack_at_usec = c->now_usec;
                        core_deadline_at(c, c->now_usec);
                }
        }
        return any;
}

enum reclaim_result reclaim_for(struct run *run, const struct claim *claim, uint64_t shortage)
{
        struct core *c = run->core;
        const struct device *d = &c->devices[claim->device];
        const uint64_t covered = coming(c, claim);

        if (!run_has_room(run)) {
                core_pump_later(c, claim->device);
                return RECLAIM_WAIT;
        }
        if (covered >= shortage || (d->n_revokes > 0 && c->now_usec < d->ask_next_usec))
                return RECLAIM_WAIT;
        if (ask_somebody(run, claim, shortage - covered) || d->n_revokes > 0 || somebody_is_busy(c, claim))
                return RECLAIM_WAIT;
        if (somebody_has_not_said(c, claim))
                return RECLAIM_WAIT;
        return core_policy_default.may_hope(c, claim, shortage - covered) ? RECLAIM_WAIT : RECLAIM_HOPELESS;
}

/* The kernel's watermarks, for a device: below the low one idle rows are revoked in the background up to the high one,
 * so that growth finds free memory and look-ahead is not refused while rows lie idle. */
static void reclaim_ahead(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        const struct device *d = device_get(c, device);
        const uint64_t low = device_low_watermark(d), high = device_high_watermark(d),
                       available = device_available_to(d, NULL, device);
        const struct claim claim = { .device = device, .tenant = NIL, .worker = NIL };
        uint64_t covered, pages = 0;
        uint32_t victim;

        if (available >= low || !run_has_room(run))
                return;
        covered = coming(c, &claim);
        if (available + covered >= low)
                return;
        victim = core_policy_default.victim(c, &claim, 0, high - available - covered, &pages);
        if (victim != NIL)
                revoke_send(run, victim, device, 0, pages);
}

/* Limits that were changed while memory was in use: what is above a lowered memory.max, what a raised memory.min
 * lacks. */
static void reclaim_limits(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        const struct device *d = device_get(c, device);
        struct claim claim = { .device = device, .worker = NIL };

        for (uint32_t i = 0; d->n_over > 0 && i < c->top_tenant; i++) {
                const struct tenant *t = tenant_get(c, i);

                if (!t->used || t->current[device] <= t->max[device])
                        continue;
                claim.tenant = i;
                claim.own_only = true;
                (void)reclaim_for(run, &claim, t->current[device] - t->max[device]);
        }
        if (d->unmet > device_available(d)) {
                claim.tenant = NIL;
                claim.own_only = false;
                claim.for_guarantee = true;
                (void)reclaim_for(run, &claim, d->unmet - device_available(d));
        }
}

void reclaim_background(struct run *run, uint32_t device)
{
        const struct device *d = device_get(run->core, device);

        if (device_lacks(d))
                reclaim_limits(run, device);
        if (d->idle_pages > 0 && d->n_waiting == 0 && d->n_revokes == 0)
                reclaim_ahead(run, device);
}

/* Pages that came back count against what the worker was asked for, whyever it gave them. */
void reclaim_returned(struct core *c, uint32_t worker, uint32_t device, uint32_t pages)
{
        const struct revoke *v = &worker_get(c, worker)->revoke;

        if (v->id != 0 && v->device == device)
                revoke_want(c, worker, v->remaining - bits_min_u64(v->remaining, pages));
        core_pump_later(c, device);
}

static void revoke_clear(struct core *c, uint32_t worker)
{
        struct worker *w = worker_get(c, worker);
        struct device *d = device_get(c, w->revoke.device);

        revoke_want(c, worker, 0);
        assert(d->n_revokes > 0);
        if (--d->n_revokes == 0)
                d->ask_next_usec = UINT64_MAX;
        memset(&w->revoke, 0, sizeof w->revoke);
        for (uint32_t i = 0; i < c->n_devices; i++)
                core_pump_later(c, i); /* the worker may be asked for pages of any of them */
}

static void answered_late(struct core *c, uint32_t worker)
{
        struct worker *w = worker_get(c, worker);

        w->overdue = 0;
        w->dying = 0; /* where it was to be killed, it was not: nobody waits for its end */
        tenant_get(c, w->tenant)->overdue--;
        for (uint32_t i = 0; i < c->n_devices; i++)
                core_pump_later(c, i);
}

void reclaim_forget(struct core *c, uint32_t worker)
{
        if (worker_get(c, worker)->revoke.id != 0)
                revoke_clear(c, worker);
        if (worker_get(c, worker)->overdue != 0)
                answered_late(c, worker);
}

static void mark_dry(struct worker *w, uint32_t highest)
{
        if (w->revoke.remaining > 0)
                for (uint32_t level = 0; level <= highest; level++)
                        w->dry[level] |= (uint16_t)(1u << w->revoke.device);
}

void reclaim_revoked(struct run *run, const struct core_ev_revoked *event)
{
        struct core *c = run->core;
        const uint32_t worker = worker_find(c, event->worker);
        struct worker *w;

        if (worker == NIL)
                return;
        w = worker_get(c, worker);
        if (w->revoke.id != 0 && event->revoke == w->revoke.id) {
                mark_dry(w, w->revoke.level);
                trace(run, worker, &w->revoke, TRACE_SENT, TRACE_ANSWERED);
                revoke_clear(c, worker);
        } else if (w->overdue != 0 && event->revoke == w->overdue) {
                const struct revoke late = { .id = w->overdue };

                trace(run, worker, &late, TRACE_OVERDUE, TRACE_LATE);
                run_action(run, CORE_ACT_LATE, worker)->revoke.revoke = late.id;
                answered_late(c, worker);
        } else if (event->revoke == 0 || event->revoke > w->revoke_counter) {
                run_drop(run, worker, CORE_E_BAD_REVOKE); /* never sent */
        }
}

/* Its deadline passed: the worker is denied what it asks for until it answers, or killed where its tenant says so. */
static void revoke_overdue(struct run *run, uint32_t worker)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, worker);
        struct tenant *t = tenant_get(c, w->tenant);
        struct core_action *action = run_action(run, CORE_ACT_OVERDUE, worker);

        action->revoke.revoke = w->revoke.id;
        action->revoke.level = w->revoke.level;
        action->revoke.device = w->revoke.device;
        action->revoke.pages = w->revoke.remaining;
        action->revoke.deadline_usec = w->revoke.deadline_usec;
        core_count(c, CORE_COUNT_REVOKES_OVERDUE, 1);
        t->revokes_overdue++;
        mark_dry(w, 2);
        trace(run, worker, &w->revoke, TRACE_SENT, TRACE_OVERDUE);
        w->overdue = w->revoke.id;
        t->overdue++;
        revoke_clear(c, worker);
        if (t->on_overdue == CORE_OVERDUE_KILL) {
                w->dying = true;
                run_action(run, CORE_ACT_KILL, worker);
        }
}

void reclaim_tick(struct run *run, uint32_t worker)
{
        struct core *c = run->core;
        const struct worker *w = worker_get(c, worker);

        if (w->revoke.id != 0 && w->revoke.deadline_usec <= c->now_usec)
                revoke_overdue(run, worker);
        while (worker_is_denied(w) && w->first_request != NIL && run_has_room(run))
                request_fail(run, w->first_request, CORE_E_DENIED);
        if (worker_is_denied(w) && w->first_request != NIL)
                core_deadline_at(c, c->now_usec + 1); /* the rest at the next tick */
        if (w->revoke.id != 0)
                core_deadline_at(c, w->revoke.deadline_usec);
}

/* Somebody who was asked takes his time: others may be asked as well. */
void reclaim_tick_device(struct core *c, uint32_t device)
{
        struct device *d = device_get(c, device);

        if (d->n_revokes == 0 || d->ask_next_usec == UINT64_MAX)
                return;
        if (d->ask_next_usec > c->now_usec) {
                core_deadline_at(c, d->ask_next_usec);
                return;
        }
        core_pump_later(c, device);
}
