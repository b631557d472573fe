/* SPDX-License-Identifier: MIT
 *
 * deliver.c -- from an admitted request to granted extents.
 *
 * An admitted request owns a promise of pages, not yet any particular extent. Each worker's admitted requests are
 * delivered in order, plane by plane, each plane from its first page up, in naturally aligned extents, as fast as the
 * worker's window of unacknowledged extents and the virgin memory of the right size allow. A worker that lacks a size
 * waits in that size's line.
 */
#include "internal.h"

#define LARGEST_PAGES (1u << (CORE_ORDERS - 1) * 2)

/* The largest size that may start at `page` with `left` pages to go. */
static uint32_t piece_at(uint32_t page, uint32_t left)
{
        uint32_t i = CORE_ORDERS - 1;

        while (i > 0 && (page % order_pages(i) != 0 || order_pages(i) > left))
                i--;
        return i;
}

/* How many extents of each size cover pages [first, first + total). */
void deliver_pieces(uint32_t first, uint32_t total, uint32_t ret_count[CORE_ORDERS])
{
        const uint32_t largest = CORE_ORDERS - 1;

        for (uint32_t i = 0; i < CORE_ORDERS; i++)
                ret_count[i] = 0;
        while (total > 0) {
                const uint32_t i = piece_at(first, total);
                const uint32_t n = i == largest ? total / order_pages(i) : 1; /* a run of the largest in one go */

                ret_count[i] += n;
                first += n * order_pages(i);
                total -= n * order_pages(i);
        }
}

static uint32_t pieces_sum(uint32_t first, uint32_t total)
{
        uint32_t count[CORE_ORDERS], sum = 0;

        deliver_pieces(first, total, count);
        for (uint32_t i = 0; i < CORE_ORDERS; i++)
                sum += count[i];
        return sum;
}

/* Between need and max, the number of pages that takes the fewest extents; the smallest such. Only ends that are
 * aligned to a size can be better than need itself. */
uint32_t deliver_total(uint32_t first, uint32_t need, uint32_t max)
{
        uint32_t best = need, fewest = pieces_sum(first, need);

        for (uint32_t i = 1; i < CORE_ORDERS; i++) {
                const uint64_t size = order_pages(i), end = ((uint64_t)first + need + size - 1) / size * size,
                               total = end - first;

                if (total <= max && pieces_sum(first, (uint32_t)total) < fewest) {
                        best = (uint32_t)total;
                        fewest = pieces_sum(first, best);
                }
        }
        return best;
}

/* Slots that are kept for what others than the tenant are guaranteed and do not have yet, in extents as large as can
 * be. */
static uint64_t slots_kept(const struct core *c, uint32_t tenant)
{
        uint64_t slots = 0;

        for (uint32_t t = 0; t < c->top_tenant; t++)
                for (uint32_t device = 0; t != tenant && tenant_get(c, t)->used && device < c->n_devices; device++)
                        slots += ((uint64_t)tenant_unmet(tenant_get(c, t), device) + LARGEST_PAGES - 1) / LARGEST_PAGES;
        return slots;
}

/* Whether the table of extents has room for what the request takes as asked for, beside what admitted requests are
 * still owed and what is kept for guarantees. Virgin extents that nobody wants make room. */
bool deliver_has_slots(const struct core *c, const struct request *r)
{
        const struct cache *cache = cache_get(c, r->cache);
        uint32_t count[CORE_ORDERS];
        uint64_t wanted = c->n_extents, surplus = 0, at_most = c->n_extents + (uint64_t)request_wanted(c, r);

        for (uint32_t device = 0; device < c->n_devices; device++)
                at_most += c->devices[device].reserved_pages + c->devices[device].unmet / LARGEST_PAGES + c->n_tenants;
        if (at_most <= c->params.max_extents)
                return true; /* a page each would do */

        wanted += slots_kept(c, worker_get(c, r->worker)->tenant);
        deliver_pieces(r->first, r->need, count);
        for (uint32_t device = 0; device < c->n_devices; device++)
                for (uint32_t i = 0; i < CORE_ORDERS; i++) {
                        const struct device *d = &c->devices[device];
                        const uint64_t have = (uint64_t)d->n_virgin[i] + d->n_creating[i];
                        uint64_t want = d->want[i];

                        if (device == cache->device)
                                want += (uint64_t)count[i] * cache->classes[r->plane_class].planes;
                        surplus += d->n_virgin[i] > want ? d->n_virgin[i] - want : 0;
                        wanted += want > have ? want - have : 0;
                }
        return wanted <= c->params.max_extents + surplus;
}

/* What is promised to the request and not granted: extents by size, and pages in all. */
static uint32_t outstanding(const struct core *c, const struct request *r, uint32_t ret_count[CORE_ORDERS])
{
        const uint32_t planes = cache_get(c, r->cache)->classes[r->plane_class].planes;
        uint32_t whole[CORE_ORDERS], pages = 0;

        if (r->plane == planes) {
                for (uint32_t i = 0; i < CORE_ORDERS; i++)
                        ret_count[i] = 0;
                return 0;
        }
        deliver_pieces(r->page, r->first + r->total - r->page, ret_count);
        deliver_pieces(r->first, r->total, whole);
        for (uint32_t i = 0; i < CORE_ORDERS; i++) {
                ret_count[i] += whole[i] * (planes - r->plane - 1);
                pages += ret_count[i] << core_order_shift(i);
        }
        return pages;
}

/* Reserves and charges. The caller has seen that `total` pages a plane are available and within the tenant's limits. */
void deliver_admit(struct run *run, uint32_t index, uint32_t total)
{
        struct core *c = run->core;
        struct request *r = request_get(c, index);
        struct worker *w = worker_get(c, r->worker);
        struct device *d = device_get(c, cache_get(c, r->cache)->device);
        uint32_t count[CORE_ORDERS], pages;

        r->state = REQUEST_ADMITTED;
        r->total = total;
        r->plane = 0;
        r->page = r->first;
        r->deadline_usec = bits_max_u64(r->deadline_usec, c->now_usec + ADMITTED_GRACE_USEC);
        timer_set(c, index);
        pages = outstanding(c, r, count);
        assert(pages <= device_available(d));
        d->reserved_pages += pages;
        for (uint32_t i = 0; i < CORE_ORDERS; i++)
                d->want[i] += count[i];
        w->current_bytes += (uint64_t)pages << d->page_shift;
        tenant_charge(c, w->tenant, cache_get(c, r->cache)->device, pages);
        r->next = NIL;
        r->prev = w->admitted_tail;
        if (w->admitted_tail != NIL)
                request_get(c, w->admitted_tail)->next = index;
        else
                w->admitted_head = index;
        w->admitted_tail = index;
        worker_ready(c, r->worker);
}

void deliver_forget(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct request *r = request_get(c, index);
        struct worker *w = worker_get(c, r->worker);
        const uint32_t device = cache_get(c, r->cache)->device;
        struct device *d = device_get(c, device);
        uint32_t count[CORE_ORDERS];
        const uint32_t pages = outstanding(c, r, count);

        assert(r->state == REQUEST_ADMITTED && d->reserved_pages >= pages);
        d->reserved_pages -= pages;
        for (uint32_t i = 0; i < CORE_ORDERS; i++)
                d->want[i] -= count[i];
        w->current_bytes -= (uint64_t)pages << d->page_shift;
        tenant_refund(c, w->tenant, device, pages);
        if (r->prev != NIL)
                request_get(c, r->prev)->next = r->next;
        else
                w->admitted_head = r->next;
        if (r->next != NIL)
                request_get(c, r->next)->prev = r->prev;
        else
                w->admitted_tail = r->prev;
        if (pages > 0)
                core_pump_for_slot(c, device);
        deliver_stop_waiting(c, r->worker);
        worker_ready(c, r->worker); /* the next one may be deliverable */
}

static void wait_for_size(struct core *c, uint32_t worker, uint32_t device, uint32_t order_index)
{
        struct worker *w = worker_get(c, worker);
        struct device *d = device_get(c, device);

        w->waits = 1 + device * CORE_ORDERS + order_index;
        w->wait_next = NIL;
        if (d->wait_tail[order_index] != NIL)
                worker_get(c, d->wait_tail[order_index])->wait_next = worker;
        else
                d->wait_head[order_index] = worker;
        d->wait_tail[order_index] = worker;
}

/* Whatever it waits for; the request that waited is gone, or the worker is. */
void deliver_stop_waiting(struct core *c, uint32_t worker)
{
        struct worker *w = worker_get(c, worker);
        struct device *d;
        uint32_t order_index, before = NIL, i;

        if (w->waits == 0)
                return;
        d = device_get(c, (w->waits - 1) / CORE_ORDERS);
        order_index = (w->waits - 1) % CORE_ORDERS;
        for (i = d->wait_head[order_index]; i != worker; i = worker_get(c, i)->wait_next)
                before = i;
        if (before != NIL)
                worker_get(c, before)->wait_next = w->wait_next;
        else
                d->wait_head[order_index] = w->wait_next;
        if (d->wait_tail[order_index] == worker)
                d->wait_tail[order_index] = before;
        w->waits = 0;
}

void deliver_wake(struct core *c, uint32_t device, uint32_t order_index)
{
        struct device *d = device_get(c, device);
        const uint32_t worker = d->wait_head[order_index];

        if (worker == NIL)
                return;
        d->wait_head[order_index] = worker_get(c, worker)->wait_next;
        if (d->wait_head[order_index] == NIL)
                d->wait_tail[order_index] = NIL;
        worker_get(c, worker)->waits = 0;
        worker_ready(c, worker);
}

static void emit_grant(struct run *run, const struct request *r, uint32_t extent, uint32_t device, bool last)
{
        struct core *c = run->core;
        const struct extent *e = extent_get(c, extent);
        struct core_action *action = run_action(run, CORE_ACT_GRANT, r->worker);

        action->grant.extent = extent_id(c, extent);
        action->grant.request = r->wire;
        action->grant.entry = r->entry;
        action->grant.plane = (uint16_t)(e->plane % CORE_MAX_PLANES);
        action->grant.first = e->first;
        action->grant.order = (uint16_t)core_order_shift(extent_order_index(e));
        action->grant.device = (uint16_t)device;
        if (!last)
                return;
        action->flags = CORE_GRANT_LAST;
        if (core_policy_default.is_short(c, device, worker_get(c, r->worker)->tenant, 0))
                action->flags |= CORE_GRANT_SHORT;
}

enum piece_result { PIECE_GRANTED, PIECE_BLOCKED, PIECE_FAILED };

/* Grants the next extent of the worker's first admitted request. */
static enum piece_result deliver_piece(struct run *run, uint32_t worker, uint32_t request)
{
        struct core *c = run->core;
        struct request *r = request_get(c, request);
        const struct cache *cache = cache_get(c, r->cache);
        const uint32_t device = cache->device, end = r->first + r->total,
                       order_index = piece_at(r->page, end - r->page);
        const uint32_t plane = r->plane_class * CORE_MAX_PLANES + r->plane;
        struct device *d = device_get(c, device);
        uint32_t extent;
        bool last;

        if (d->n_virgin[order_index] == 0) {
                wait_for_size(c, worker, device, order_index);
                core_pump_later(c, device); /* to make some */
                return PIECE_BLOCKED;
        }
        if (!ptable_is_free(c, r->row, plane, r->page, order_pages(order_index))) {
                request_fail(run, request, CORE_E_ALREADY_MAPPED);
                return PIECE_FAILED;
        }
        d->want[order_index]--;
        extent = extent_grant(run, device, order_index, worker, r->row, plane, r->page);
        r->page += order_pages(order_index);
        if (r->page == end) {
                r->plane++;
                r->page = r->first;
        }
        /* A slow device that makes progress is waited for: each extent buys the time for the next. */
        r->deadline_usec = bits_max_u64(r->deadline_usec, c->now_usec + ADMITTED_GRACE_USEC);
        last = r->plane == cache->classes[r->plane_class].planes;
        emit_grant(run, r, extent, device, last);
        return PIECE_GRANTED;
}

static void deliver_worker(struct run *run, uint32_t worker)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, worker);

        while (w->admitted_head != NIL && w->waits == 0) {
                const uint32_t request = w->admitted_head;
                const struct request *r = request_get(c, request);

                if (w->granted - w->acked >= CORE_MAX_UNACKED)
                        return; /* worker_ack() makes it ready again */
                if (!run_has_room(run)) {
                        worker_ready(c, worker);
                        return;
                }
                switch (deliver_piece(run, worker, request)) {
                case PIECE_GRANTED:
                        if (r->plane == cache_get(c, r->cache)->classes[r->plane_class].planes) {
                                core_count(c, CORE_COUNT_REQUESTS_GRANTED, 1);
                                request_cancel(run, request); /* nothing is outstanding: it just ends */
                        }
                        break;
                case PIECE_FAILED:
                        break;
                case PIECE_BLOCKED:
                        return;
                }
        }
}

/* A size that is there while somebody waits for it: a request that was woken for it failed or needed another one. */
static bool wake_idle_sizes(struct core *c)
{
        bool woke = false;

        for (uint32_t device = 0; device < c->n_devices; device++)
                for (uint32_t i = 0; i < CORE_ORDERS; i++)
                        if (c->devices[device].n_virgin[i] > 0 && c->devices[device].wait_head[i] != NIL) {
                                deliver_wake(c, device, i);
                                woke = true;
                        }
        return woke;
}

void deliver_ready(struct run *run)
{
        struct core *c = run->core;

        do {
                while (c->ready_head != NIL && run_has_room(run)) {
                        const uint32_t worker = c->ready_head;
                        struct worker *w = worker_get(c, worker);

                        c->ready_head = w->next;
                        if (c->ready_head == NIL)
                                c->ready_tail = NIL;
                        w->ready = 0;
                        w->next = NIL;
                        deliver_worker(run, worker);
                }
        } while (run_has_room(run) && wake_idle_sizes(c));
}
