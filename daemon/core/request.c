/* SPDX-License-Identifier: MIT
 *
 * request.c -- growth requests: checked, admitted when memory may be promised, queued while it is reclaimed, failed
 * otherwise.
 *
 *      new -> waiting -> admitted -> done
 *       |        |           |
 *       +--------+-----------+-----> failed (a reply) or cancelled (its worker or cache went)
 *
 * Requests wait in one queue a tenant and device, by age. A tenant at its memory.max blocks only itself. Among the
 * others the oldest head is served first and nobody passes it, so that a large request is not starved by small ones; it
 * fails as soon as nothing is left to reclaim, or at its timeout, so that it does not hold up the small ones either.
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
        *r = (struct request){
                .worker = worker, .next = NIL, .prev = NIL, .of_worker_next = w->first_request, .of_worker_prev = NIL
        };
        if (w->first_request != NIL)
                request_get(c, w->first_request)->of_worker_prev = index;
        w->first_request = index;
        w->n_requests++;
        c->n_requests++;
        r->sequence = c->request_sequence++;
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
        c->n_requests--;
        row_get(c, r->row)->pins--;
        ptable_row_put(c, r->row);
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
        device_get(c, device)->n_waiting++;
        c->n_waiting++;
        core_deadline_at(c, r->deadline_usec);
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
        device_get(c, device)->n_waiting--;
        c->n_waiting--;
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

static bool tenant_fits(const struct core *c, const struct request *r, uint64_t pages)
{
        const struct tenant *t = tenant_get(c, worker_get(c, r->worker)->tenant);
        const uint64_t bytes = pages << c->devices[device_of(c, r)].page_shift;

        return t->current_bytes <= t->max_bytes && bytes <= t->max_bytes - t->current_bytes;
}

/* Pages that have to come back before the request can be admitted; 0: none. Where it is extents that are short, not
 * pages, as many as it wants, for each extent that comes back makes room in the table. */
static uint32_t shortage(const struct core *c, const struct request *r)
{
        const uint32_t wanted = request_wanted(c, r), available = device_available(&c->devices[device_of(c, r)]);

        if (wanted > available)
                return wanted - available;
        return deliver_has_slots(c, r) ? 0 : wanted;
}

static void admit(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct request *r = request_get(c, index);
        const uint32_t device = device_of(c, r), planes = cache_get(c, r->cache)->classes[r->plane_class].planes;
        uint32_t total = deliver_total(r->first, r->need, r->max);
        const uint8_t from = r->state;

        /* Who had to wait, or would make memory short, gets no more than it needs. */
        if (total > r->need && (from == REQUEST_WAITING || core_policy_default.is_short(c, device, total * planes) ||
                                !tenant_fits(c, r, (uint64_t)total * planes)))
                total = r->need;
        deliver_admit(run, index, total);
        trace(run, r, from, TRACE_ADMITTED, CORE_E_NONE);
}

/* The oldest waiting request of the device whose tenant may have more; those whose tenant may not are reclaimed for, or
 * failed. */
static uint32_t oldest_admissible(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        const uint32_t shift = c->devices[device].page_shift;
        uint32_t oldest = NIL;

        for (uint32_t i = 0; i < c->top_tenant; i++) {
                const struct tenant *t = tenant_get(c, i);
                uint32_t head = NIL;

                while (t->used && (head = t->waiting_head[device]) != NIL && run_has_room(run)) {
                        const uint64_t pages = request_wanted(c, request_get(c, head));
                        uint64_t over;

                        if (tenant_fits(c, request_get(c, head), pages))
                                break;
                        over = t->current_bytes + (pages << shift) - t->max_bytes;
                        if (reclaim_for(run, head, (over + (UINT64_C(1) << shift) - 1) >> shift, true) ==
                            RECLAIM_WAIT) {
                                head = NIL;
                                break;
                        }
                        request_fail(run, head, CORE_E_TENANT_FULL);
                }
                if (head != NIL && (oldest == NIL || request_get(c, head)->sequence < request_get(c, oldest)->sequence))
                        oldest = head;
        }
        return oldest;
}

void request_admit_waiting(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        struct device *d = device_get(c, device);

        while (d->n_waiting > 0) {
                uint32_t index, missing;

                if (!run_has_room(run)) {
                        core_pump_later(c, device);
                        return;
                }
                index = oldest_admissible(run, device);
                if (index == NIL)
                        return;
                missing = shortage(c, request_get(c, index));
                if (missing == 0) {
                        queue_remove(c, index);
                        admit(run, index);
                } else if (reclaim_for(run, index, missing, false) == RECLAIM_WAIT) {
                        return;
                } else {
                        request_fail(run, index, CORE_E_DEVICE_FULL);
                }
        }
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
        if (w->n_requests >= WORKER_MAX_REQUESTS)
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

/* Somebody waits for the device's memory, or stands in the requester's own queue. Other tenants at their memory.max
 * wait for themselves alone, and hold up nobody. */
static bool must_queue(const struct core *c, const struct request *r)
{
        const uint32_t device = device_of(c, r), own = worker_get(c, r->worker)->tenant;

        for (uint32_t i = 0; c->devices[device].n_waiting > 0 && i < c->top_tenant; i++) {
                const struct tenant *t = tenant_get(c, i);
                const uint32_t head = t->used ? t->waiting_head[device] : NIL;

                if (head == NIL)
                        continue;
                if (i == own || tenant_fits(c, request_get(c, head), request_wanted(c, request_get(c, head))))
                        return true;
        }
        return false;
}

/* Look-ahead takes what is free, never what somebody waits for or what would have to be taken from anybody. */
static enum core_error optional_check(const struct core *c, const struct request *r)
{
        const uint32_t device = device_of(c, r), wanted = request_wanted(c, r);

        if (must_queue(c, r) || shortage(c, r) > 0 ||
            wanted + device_low_watermark(&c->devices[device]) > device_available(&c->devices[device]))
                return CORE_E_BUSY;
        return tenant_fits(c, r, wanted) ? CORE_E_NONE : CORE_E_TENANT_FULL;
}

static void arrive(struct run *run, uint32_t index, const struct core_ev_grow *event)
{
        struct core *c = run->core;
        struct request *r = request_get(c, index);
        const bool fits = shortage(c, r) == 0 && tenant_fits(c, r, request_wanted(c, r)) && !must_queue(c, r);

        if (event->flags & CORE_GROW_OPTIONAL) {
                const enum core_error error = optional_check(c, r);

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

void request_grow(struct run *run, const struct core_ev_grow *event)
{
        struct core *c = run->core;
        const uint32_t worker = worker_find(c, event->worker);
        enum core_error error;
        uint32_t cache, index = NIL, row, device;
        struct request *r;

        if (worker == NIL)
                return;
        core_count(c, CORE_COUNT_REQUESTS, 1);
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
        r->deadline_usec = c->now_usec + bits_min_u64(event->timeout_usec, MAX_TIMEOUT_USEC);
        ptable_row_hold(c, row, true);
        arrive(run, index, event);
        core_pump_later(c, device);
}
