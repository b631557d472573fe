/* SPDX-License-Identifier: MIT
 *
 * request.c -- growth requests: checked, admitted when memory may be promised, queued while it is reclaimed, failed
 * otherwise.
 *
 *      new -> waiting -> admitted -> done
 *       |        |           |
 *       +--------+-----------+-----> failed (a reply) or cancelled (its worker or cache went)
 *
 * Requests wait in one queue a tenant and device, by age. Of the queues' heads the policy says which is served first
 * (core_policy.precedes); while that one waits for memory to come back nobody passes it, so that a large request is not
 * starved by small ones. It fails as soon as nothing is left to reclaim, or at its timeout. One that has seen no page
 * of another tenant's come back for as long as its own tenant's reclaim deadline, or has waited for twice as long, is
 * stale: it no longer holds up others, whoever fits passes it, and it waits on only for what was asked back, no longer
 * in mere hope. A tenant at its memory.max blocks only itself.
 *
 * Those that are stale are the oldest of their queue. However many they are, an event looks at a few of each tenant: at
 * the oldest, and at the others in turn.
 */
#include "internal.h"

enum { TRACE_NEW, TRACE_WAITING, TRACE_ADMITTED, TRACE_DONE, TRACE_FAILED, TRACE_CANCELLED };

static void trace(struct run *run, const struct request *r, unsigned from, unsigned to, enum core_error error)
{
        if (run->core->params.trace)
                run_transition(run, CORE_OBJ_REQUEST, (uint64_t)r->wire << 32 | r->entry, from, to, r->worker,
                               request_wanted(run->core, r), (uint32_t)error);
}

static uint32_t device_of(const struct core *c, const struct request *r)
{
        return cache_get(c, r->cache)->device;
}

uint32_t request_wanted(const struct core *c, const struct request *r)
{
        return (r->state == REQUEST_ADMITTED ? r->total : r->need) *
               cache_get(c, r->cache)->classes[r->plane_class].planes;
}

/* ---- the table ---- */

static uint32_t request_take(struct core *c, uint32_t worker)
{
        struct worker *w = worker_get(c, worker);
        uint32_t index = c->free_request;
        struct request *r;

        if (index != NIL)
                c->free_request = request_get(c, index)->next;
        else if (c->top_request < c->params.max_requests)
                index = c->top_request++;
        else
                return NIL;
        r = request_get(c, index);
        *r = (struct request){ .worker = worker,
                               .next = NIL,
                               .prev = NIL,
                               .of_worker_next = w->first_request,
                               .of_worker_prev = NIL,
                               .timer = NIL };
        if (w->first_request != NIL)
                request_get(c, w->first_request)->of_worker_prev = index;
        w->first_request = index;
        w->n_requests++;
        tenant_get(c, w->tenant)->n_requests++;
        c->n_requests++;
        r->sequence = c->request_sequence++;
        r->since_usec = c->now_usec;
        return index;
}

static void request_put(struct core *c, uint32_t index)
{
        struct request *r = request_get(c, index);
        struct worker *w = worker_get(c, r->worker);

        if (r->of_worker_prev != NIL)
                request_get(c, r->of_worker_prev)->of_worker_next = r->of_worker_next;
        else
                w->first_request = r->of_worker_next;
        if (r->of_worker_next != NIL)
                request_get(c, r->of_worker_next)->of_worker_prev = r->of_worker_prev;
        w->n_requests--;
        tenant_get(c, w->tenant)->n_requests--;
        c->n_requests--;
        row_get(c, r->row)->pins--;
        ptable_row_put(c, r->row);
        timer_clear(c, index);
        memset(r, 0, sizeof *r);
        r->next = c->free_request;
        c->free_request = index;
}

static void queue_add(struct core *c, uint32_t index)
{
        struct request *r = request_get(c, index);
        const uint32_t device = device_of(c, r);
        struct tenant *t = tenant_get(c, worker_get(c, r->worker)->tenant);

        r->state = REQUEST_WAITING;
        r->next = NIL;
        r->prev = t->waiting_tail[device];
        if (r->prev != NIL)
                request_get(c, r->prev)->next = index;
        else
                t->waiting_head[device] = index;
        t->waiting_tail[device] = index;
        if (t->fresh[device] == NIL)
                t->fresh[device] = index;
        device_get(c, device)->n_waiting++;
        c->n_waiting++;
        t->requests_waited++;
        if (t->waiting++ == 0)
                t->stalled_since_usec = c->now_usec;
        timer_set(c, index);
}

static void queue_remove(struct core *c, uint32_t index)
{
        struct request *r = request_get(c, index);
        const uint32_t device = device_of(c, r);
        struct tenant *t = tenant_get(c, worker_get(c, r->worker)->tenant);

        assert(r->state == REQUEST_WAITING);
        if (r->prev != NIL)
                request_get(c, r->prev)->next = r->next;
        else
                t->waiting_head[device] = r->next;
        if (r->next != NIL)
                request_get(c, r->next)->prev = r->prev;
        else
                t->waiting_tail[device] = r->prev;
        if (t->fresh[device] == index)
                t->fresh[device] = r->next;
        if (t->turn[device] == index)
                t->turn[device] = r->next;
        device_get(c, device)->n_waiting--;
        c->n_waiting--;
        t->wait_usec += c->now_usec - r->since_usec;
        if (--t->waiting == 0)
                t->stall_usec += c->now_usec - t->stalled_since_usec;
}

/* ---- ends ---- */

static void count_failure(struct core *c, enum core_error error)
{
        if (error == CORE_E_DEVICE_FULL || error == CORE_E_DEVICE_FAILED)
                core_count(c, CORE_COUNT_REQUESTS_FAILED_DEVICE, 1);
        else if (error == CORE_E_TENANT_FULL)
                core_count(c, CORE_COUNT_REQUESTS_FAILED_TENANT, 1);
        else if (error == CORE_E_TIMED_OUT)
                core_count(c, CORE_COUNT_REQUESTS_TIMED_OUT, 1);
        else if (error == CORE_E_BUSY)
                core_count(c, CORE_COUNT_REQUESTS_OPTIONAL_REFUSED, 1);
}

static void emit_failed(struct run *run, uint32_t worker, uint32_t wire, uint16_t entry, enum core_error error)
{
        struct core_action *action = run_action(run, CORE_ACT_GROW_FAILED, worker);

        action->failed.request = wire;
        action->failed.entry = entry;
        action->failed.error = (uint32_t)error;
        tenant_get(run->core, worker_get(run->core, worker)->tenant)->requests_failed += error != CORE_E_BUSY;
        count_failure(run->core, error);
}

static void leave(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct request *r = request_get(c, index);

        if (r->state == REQUEST_WAITING) {
                queue_remove(c, index);
                core_pump_later(c, device_of(c, r)); /* who stood behind it may fit */
        } else if (r->state == REQUEST_ADMITTED) {
                deliver_forget(run, index);
        }
}

void request_fail(struct run *run, uint32_t index, enum core_error error)
{
        const struct request *r = request_get(run->core, index);

        trace(run, r, r->state, TRACE_FAILED, error);
        emit_failed(run, r->worker, r->wire, r->entry, error);
        leave(run, index);
        request_put(run->core, index);
}

void request_cancel(struct run *run, uint32_t index)
{
        const struct request *r = request_get(run->core, index);
        const bool complete = r->state == REQUEST_ADMITTED &&
                              r->plane == cache_get(run->core, r->cache)->classes[r->plane_class].planes;

        trace(run, r, r->state, complete ? TRACE_DONE : TRACE_CANCELLED, CORE_E_NONE);
        leave(run, index);
        request_put(run->core, index);
}

/* ---- admission ---- */

static uint32_t tenant_of(const struct core *c, const struct request *r)
{
        return worker_get(c, r->worker)->tenant;
}

static bool tenant_fits(const struct core *c, const struct request *r, uint64_t pages)
{
        const struct tenant *t = tenant_get(c, tenant_of(c, r));
        const uint32_t device = device_of(c, r);

        return t->current[device] + pages <= t->max[device];
}

/* Pages that have to come back before the request can be admitted; 0: none. Where it is extents that are short, not
 * pages, as many as it wants, for each extent that comes back makes room in the table. */
static uint32_t shortage(const struct core *c, const struct request *r)
{
        const uint32_t device = device_of(c, r), wanted = request_wanted(c, r);
        const uint32_t available = device_available_to(&c->devices[device], tenant_get(c, tenant_of(c, r)), device);

        if (wanted > available)
                return wanted - available;
        return deliver_has_slots(c, r) ? 0 : wanted;
}

/* So many pages of entry r's message are admitted: `other` is one of its neighbours, or not. */
static bool admitted_beside(struct core *c, uint32_t other, const struct request *r, uint32_t pages)
{
        struct request *o = other == NIL ? NULL : request_get(c, other);

        if (!o || o->wire != r->wire || o->row != r->row)
                return false;
        o->beside -= bits_min_u32(o->beside, pages);
        return true;
}

/* So many pages are no longer wanted beside the message's other entries for the row: those that wait stand next to this
 * one in the worker's list, those that are yet to arrive find it in the worker. */
static void message_admit(struct core *c, const struct request *r, uint32_t pages)
{
        struct message *m = &worker_get(c, r->worker)->message;
        uint32_t n = 0; /* a row has no more entries than classes */

        if (m->wire == r->wire && m->cache == r->cache && m->row == row_get(c, r->row)->number)
                m->admitted += pages;
        for (uint32_t i = r->of_worker_next; n < CORE_MAX_CLASSES && admitted_beside(c, i, r, pages); n++)
                i = request_get(c, i)->of_worker_next;
        for (uint32_t i = r->of_worker_prev; n < CORE_MAX_CLASSES && admitted_beside(c, i, r, pages); n++)
                i = request_get(c, i)->of_worker_prev;
}

static void admit(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct request *r = request_get(c, index);
        const uint32_t device = device_of(c, r), planes = cache_get(c, r->cache)->classes[r->plane_class].planes;
        uint32_t total = deliver_total(r->first, r->need, r->max);
        const uint8_t from = r->state;

        /* Who had to wait, or would make memory short, gets no more than it needs. */
        if (total > r->need &&
            (from == REQUEST_WAITING || core_policy_default.is_short(c, device, tenant_of(c, r), total * planes) ||
             !tenant_fits(c, r, (uint64_t)total * planes)))
                total = r->need;
        message_admit(c, r, r->need * planes);
        deliver_admit(run, index, total);
        trace(run, r, from, TRACE_ADMITTED, CORE_E_NONE);
}

/* When a waiting request loses its right to hold up others, unless a page of somebody else's comes back before. Its own
 * tenant could give one back now and then for no other purpose, and so could a friend; so there is an end to it. */
uint64_t request_stale_at(const struct core *c, const struct request *r)
{
        const uint32_t tenant = tenant_of(c, r);
        const uint64_t deadline = tenant_get(c, tenant)->reclaim_deadline_usec,
                       patience = deadline ? deadline : RECLAIM_DEADLINE_USEC;
        const uint64_t back = device_back_from_others(&c->devices[device_of(c, r)], tenant);

        return bits_min_u64(bits_max_u64(r->since_usec, back) + patience, r->since_usec + 2 * patience);
}

static bool is_stale(const struct core *c, const struct request *r)
{
        return c->now_usec >= request_stale_at(c, r);
}

/* The oldest request of the tenant's queue that is not stale. All before it are, for they wait longer; so only those
 * are looked at that became stale, or no longer are, since it was asked for last. */
static uint32_t fresh_of(struct core *c, struct tenant *t, uint32_t device)
{
        uint32_t fresh = t->fresh[device], before;

        while (fresh != NIL && is_stale(c, request_get(c, fresh)))
                fresh = request_get(c, fresh)->next;
        before = fresh == NIL ? t->waiting_tail[device] : request_get(c, fresh)->prev;
        for (; before != NIL && !is_stale(c, request_get(c, before)); before = request_get(c, before)->prev)
                fresh = before;
        t->fresh[device] = fresh;
        return fresh;
}

/* With it the tenant has no more than its memory.min: nobody holds it up. */
static bool is_guaranteed(const struct core *c, const struct request *r)
{
        const struct tenant *t = tenant_get(c, tenant_of(c, r));
        const uint32_t device = device_of(c, r);

        return (uint64_t)t->current[device] + request_wanted(c, r) <= t->min[device];
}

enum served { SERVED, WAITS_FOR_TENANT, WAITS_FOR_DEVICE };

/* Admits the request, fails it, or asks memory back for it. */
static enum served serve(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        const struct request *r = request_get(c, index);
        const uint32_t device = device_of(c, r);
        const struct tenant *t = tenant_get(c, tenant_of(c, r));
        const uint64_t wanted = request_wanted(c, r);
        struct claim claim = { .device = device,
                               .tenant = tenant_of(c, r),
                               .worker = r->worker,
                               .wanted = wanted + r->beside,
                               .beside = r->beside,
                               .stale = is_stale(c, r) };
        uint64_t missing;

        if (!tenant_fits(c, r, wanted)) {
                claim.own_only = true;
                missing = t->current[device] + wanted - t->max[device];
                if (reclaim_for(run, &claim, missing) == RECLAIM_WAIT)
                        return WAITS_FOR_TENANT;
                request_fail(run, index, CORE_E_TENANT_FULL);
                return SERVED;
        }
        missing = shortage(c, r);
        if (missing == 0) {
                queue_remove(c, index);
                admit(run, index);
                return SERVED;
        }
        claim.own_only = t->overdue > 0; /* who keeps others waiting takes nothing from them */
        claim.for_guarantee = is_guaranteed(c, r);
        if (reclaim_for(run, &claim, missing) == RECLAIM_WAIT)
                return WAITS_FOR_DEVICE;
        request_fail(run, index, CORE_E_DEVICE_FULL);
        return SERVED;
}

/* Of the tenants' candidates the one to be served first; NIL: none is left. */
static uint32_t first_of(const struct core *c, const uint32_t candidates[CORE_MAX_TENANTS])
{
        uint32_t first = NIL;

        for (uint32_t i = 0; i < c->top_tenant; i++)
                if (candidates[i] != NIL && (first == NIL || core_policy_default.precedes(c, candidates[i], first)))
                        first = candidates[i];
        return first;
}

/* Whom of its tenant to look at once `looked`, which is stale, was: the oldest comes first, then the others in turn,
 * and after STALE_TRIES that wait on the oldest that is not stale. `behind` stands behind it. */
static uint32_t after_stale(struct core *c, uint32_t tenant, uint32_t device, uint32_t behind, bool from_oldest,
                            uint32_t tries)
{
        struct tenant *t = tenant_get(c, tenant);
        uint32_t *turn = &t->turn[device], next = behind;
        bool all = tries < STALE_TRIES;

        if (from_oldest && *turn != NIL && *turn != t->waiting_head[device]) {
                next = *turn;
                all = false;
        }
        if (!all)
                core_deadline_at(c, c->now_usec + STALE_TURN_USEC);
        if (next == NIL || !is_stale(c, request_get(c, next)))
                *turn = next = NIL;
        else if (tries >= STALE_TRIES)
                *turn = next;
        return next == NIL || tries >= STALE_TRIES ? fresh_of(c, t, device) : next;
}

void request_admit_waiting(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        uint32_t candidates[CORE_MAX_TENANTS], tries[CORE_MAX_TENANTS] = { 0 }, index;
        bool held_up = false;

        for (uint32_t i = 0; i < c->top_tenant; i++)
                candidates[i] = tenant_get(c, i)->used ? tenant_get(c, i)->waiting_head[device] : NIL;
        while ((index = first_of(c, candidates)) != NIL) {
                const struct request *r = request_get(c, index);
                const uint32_t tenant = tenant_of(c, r), behind = r->next;
                const bool stale = is_stale(c, r), oldest = r->prev == NIL;
                enum served how;

                if (!stale)
                        core_deadline_at(c, request_stale_at(c, r));
                if (held_up && !is_guaranteed(c, r)) {
                        candidates[tenant] = NIL;
                        continue;
                }
                if (!run_has_room(run)) {
                        core_pump_later(c, device);
                        return;
                }
                how = serve(run, index);
                held_up |= how == WAITS_FOR_DEVICE && !stale;
                if (stale) {
                        tries[tenant] += how != SERVED;
                        candidates[tenant] = after_stale(c, tenant, device, behind, oldest && how != SERVED,
                                                         tries[tenant]);
                } else {
                        candidates[tenant] = how == SERVED ? behind : NIL;
                }
        }
}

/* Of the requests that wait for the device: those that have become stale are passed by others, and somebody looks when
 * the next one does. */
static void tick_device(struct core *c, uint32_t device)
{
        for (uint32_t i = 0; i < c->top_tenant; i++) {
                struct tenant *t = tenant_get(c, i);
                uint32_t fresh;

                if (!t->used || t->waiting_head[device] == NIL)
                        continue;
                if (is_stale(c, request_get(c, t->waiting_head[device])))
                        core_pump_later(c, device);
                fresh = fresh_of(c, t, device);
                if (fresh != NIL)
                        core_deadline_at(c, request_stale_at(c, request_get(c, fresh)));
        }
}

void request_tick(struct run *run)
{
        struct core *c = run->core;
        uint32_t index;

        while ((index = timer_due(c)) != NIL && run_has_room(run))
                request_fail(run, index, CORE_E_TIMED_OUT);
        if (index != NIL)
                core_deadline_at(c, c->now_usec + 1); /* the rest then */
        for (uint32_t i = 0; i < c->n_devices; i++)
                if (c->devices[i].n_waiting > 0)
                        tick_device(c, i);
}

/* ---- arrival ---- */

/* What is wrong with the request in itself, or with asking for it ever. */
static enum core_error grow_check(const struct core *c, uint32_t worker, const struct core_ev_grow *event,
                                  uint32_t cache_slot)
{
        const struct worker *w = worker_get(c, worker);
        const struct cache *cache;
        const struct core_plane_class *class;
        const struct device *d;
        uint64_t pages;

        if (cache_slot == NIL)
                return CORE_E_NO_CACHE;
        cache = cache_get(c, cache_slot);
        d = &c->devices[cache->device];
        if (event->plane_class >= cache->n_classes || event->row >= cache->rows || event->need == 0 ||
            event->need > event->max)
                return CORE_E_BAD_RANGE;
        class = &cache->classes[event->plane_class];
        if ((uint64_t)event->first + event->max > class->row_pages)
                return CORE_E_BAD_RANGE;
        if (worker_is_denied(w))
                return CORE_E_DENIED;
        if (w->n_requests >= WORKER_MAX_REQUESTS ||
            tenant_has_part(c, tenant_get(c, w->tenant)->n_requests, c->params.max_requests))
                return CORE_E_TOO_MANY_REQUESTS;
        pages = (uint64_t)event->need * class->planes;
        if (pages << d->page_shift > tenant_get(c, w->tenant)->max_bytes)
                return CORE_E_TENANT_FULL;
        return pages > d->pages ? CORE_E_DEVICE_FULL : CORE_E_NONE;
}

/* memory.max stands in the way of the request, or of one that its tenant made before. */
static bool tenant_is_full(const struct core *c, const struct request *r)
{
        const uint32_t head = tenant_get(c, worker_get(c, r->worker)->tenant)->waiting_head[device_of(c, r)];
        const struct request *older = head == NIL ? r : request_get(c, head);

        return !tenant_fits(c, r, request_wanted(c, r)) || !tenant_fits(c, older, request_wanted(c, older));
}

/* Somebody waits for the device's memory who is to be served before the request. Others at their memory.max, and those
 * who have waited in vain, hold up nobody. */
static bool must_queue(struct core *c, uint32_t index)
{
        const uint32_t device = device_of(c, request_get(c, index));
        const bool guaranteed = is_guaranteed(c, request_get(c, index));

        for (uint32_t i = 0; c->devices[device].n_waiting > 0 && i < c->top_tenant; i++) {
                struct tenant *t = tenant_get(c, i);
                const uint32_t head = t->used && t->waiting_head[device] != NIL ? fresh_of(c, t, device) : NIL;

                if (head == NIL || !core_policy_default.precedes(c, head, index))
                        continue;
                if (i == tenant_of(c, request_get(c, index)) ||
                    (!guaranteed && tenant_fits(c, request_get(c, head), request_wanted(c, request_get(c, head)))))
                        return true;
        }
        return false;
}

/* Look-ahead takes what is free, never what somebody waits for or what would have to be taken from anybody. What is
 * coming back fills up what it takes below the watermark. */
static enum core_error optional_check(struct core *c, uint32_t index)
{
        const struct request *r = request_get(c, index);
        const uint32_t device = device_of(c, r), wanted = request_wanted(c, r);
        const struct device *d = &c->devices[device];

        if (must_queue(c, index) || shortage(c, r) > 0 ||
            wanted + device_low_watermark(d) >
                    device_available_to(d, tenant_get(c, tenant_of(c, r)), device) + d->returning + d->revoked)
                return CORE_E_BUSY;
        return tenant_fits(c, r, wanted) ? CORE_E_NONE : CORE_E_TENANT_FULL;
}

static void arrive(struct run *run, uint32_t index, const struct core_ev_grow *event)
{
        struct core *c = run->core;
        struct request *r = request_get(c, index);
        const bool fits = shortage(c, r) == 0 && tenant_fits(c, r, request_wanted(c, r)) && !must_queue(c, index);

        if (event->flags & CORE_GROW_OPTIONAL) {
                const enum core_error error = optional_check(c, index);

                if (error == CORE_E_NONE)
                        admit(run, index);
                else
                        request_fail(run, index, error);
        } else if (fits) {
                admit(run, index);
        } else if (event->timeout_usec == 0) {
                request_fail(run, index, tenant_is_full(c, r) ? CORE_E_TENANT_FULL : CORE_E_DEVICE_FULL);
        } else {
                core_count(c, CORE_COUNT_REQUESTS_WAITED, 1);
                queue_add(c, index);
                trace(run, r, TRACE_NEW, TRACE_WAITING, CORE_E_NONE);
        }
}

/* An entry arrives: of the message and row that the last one was of, or of others. */
static void message_begin(struct core *c, uint32_t worker, uint32_t cache, const struct core_ev_grow *event)
{
        struct message *m = &worker_get(c, worker)->message;

        if (m->wire != event->request || m->cache != cache || m->row != event->row || event->entry <= m->entry)
                m->admitted = 0;
        m->wire = event->request;
        m->cache = cache;
        m->row = event->row;
        m->entry = event->entry;
}

void request_grow(struct run *run, const struct core_ev_grow *event)
{
        struct core *c = run->core;
        const uint32_t worker = worker_find(c, event->worker);
        enum core_error error;
        uint32_t cache, index = NIL, row, device;
        struct request *r;

        if (worker == NIL || worker_get(c, worker)->detached)
                return;
        core_count(c, CORE_COUNT_REQUESTS, 1);
        tenant_get(c, worker_get(c, worker)->tenant)->requests++;
        cache = cache_find(c, worker, event->cache);
        error = grow_check(c, worker, event, cache);
        row = error == CORE_E_NONE ? ptable_row_get(c, cache, event->row) : NIL;
        if (error == CORE_E_NONE && (row == NIL || (index = request_take(c, worker)) == NIL)) {
                error = CORE_E_TOO_MANY_REQUESTS;
                if (row != NIL)
                        ptable_row_put(c, row);
        }
        if (error != CORE_E_NONE) {
                emit_failed(run, worker, event->request, event->entry, error);
                return;
        }
        device = cache_get(c, cache)->device;
        r = request_get(c, index);
        r->wire = event->request;
        r->entry = event->entry;
        r->cache = cache;
        r->row = row;
        row_get(c, row)->pins++;
        r->plane_class = event->plane_class;
        r->first = event->first;
        r->need = event->need;
        r->max = event->max;
        message_begin(c, worker, cache, event);
        r->beside = event->beside - bits_min_u32(event->beside, worker_get(c, worker)->message.admitted);
        r->deadline_usec = c->now_usec + bits_min_u64(event->timeout_usec, MAX_TIMEOUT_USEC);
        ptable_row_hold(c, row, true);
        arrive(run, index, event);
        core_pump_later(c, device);
}
