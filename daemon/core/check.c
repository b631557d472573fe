/* SPDX-License-Identifier: MIT
 *
 * check.c -- proves every invariant of the core by counting everything anew.
 *
 * It trusts no sum and no list: it walks the tables, adds up what it finds and compares. O(everything), so it is for
 * tests and for `kvpagerctl check`. It needs no memory: sums that belong to a record are counted by walking that
 * record's own lists, and the lists' lengths together must be the tables' populations, so that nothing can be on no
 * list or on two.
 */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

struct proof {
        const struct core *core;
        char *why;
        size_t size;
        bool broken;
};

__attribute__((format(printf, 2, 3))) static void broken(struct proof *p, const char *format, ...)
{
        va_list args;

        if (p->broken)
                return; /* the first finding is the useful one */
        p->broken = true;
        if (p->size == 0)
                return;
        va_start(args, format);
        (void)vsnprintf(p->why, p->size, format, args);
        va_end(args);
}

#define EQUAL(p, what, index, is, must)                                                                                \
        do {                                                                                                           \
                const uint64_t is_ = (is), must_ = (must);                                                             \
                if (is_ != must_)                                                                                      \
                        broken(p, "%s of %u is %llu, must be %llu", what, (unsigned)(index), (unsigned long long)is_,  \
                               (unsigned long long)must_);                                                             \
        } while (0)

/* ---- devices: every page is in exactly one place ---- */

struct device_sums {
        uint64_t creating, virgin, reclassing, held, returning, idle;
        uint32_t n_virgin[CORE_ORDERS], n_creating[CORE_ORDERS];
};

static void sum_extents(struct proof *p, uint32_t device, struct device_sums *sums)
{
        const struct core *c = p->core;

        for (uint32_t i = 0; i < c->top_extent; i++) {
                const struct extent *e = extent_get(c, i);
                const uint32_t pages = extent_pages(e);

                if (e->state == EXTENT_FREE || extent_device(e) != device)
                        continue;
                switch ((enum extent_state)e->state) {
                case EXTENT_CREATING:
                        sums->creating += pages;
                        sums->n_creating[extent_order_index(e)]++;
                        break;
                case EXTENT_VIRGIN:
                        sums->virgin += pages;
                        sums->n_virgin[extent_order_index(e)]++;
                        break;
                case EXTENT_RETURNING:
                        if (e->reclassed) {
                                sums->reclassing += pages;
                                break;
                        }
                        sums->returning += pages;
                        sums->held += pages;
                        break;
                case EXTENT_MAPPED:
                        if (!row_get(c, e->row)->held)
                                sums->idle += pages;
                        sums->held += pages;
                        break;
                case EXTENT_GRANTED:
                        sums->held += pages;
                        break;
                case EXTENT_FREE:
                case EXTENT_STATES:
                        broken(p, "extent %u has state %u", i, e->state);
                }
        }
}

static void check_device(struct proof *p, uint32_t index)
{
        const struct core *c = p->core;
        const struct device *d = &c->devices[index];
        struct device_sums sums = { 0 };

        sum_extents(p, index, &sums);
        EQUAL(p, "creating pages of device", index, d->creating, sums.creating);
        EQUAL(p, "virgin pages of device", index, d->virgin, sums.virgin);
        EQUAL(p, "reclassing pages of device", index, d->reclassing, sums.reclassing);
        EQUAL(p, "held pages of device", index, d->held, sums.held);
        EQUAL(p, "returning pages of device", index, d->returning, sums.returning);
        EQUAL(p, "idle pages of device", index, d->idle_pages, sums.idle);
        EQUAL(p, "the places of the pages of device", index,
              (uint64_t)d->free + d->creating + d->virgin + d->reclassing + d->held, d->pages);
        if (d->reserved_pages > d->pages - d->held)
                broken(p, "device %u promised %u pages and has %u", index, d->reserved_pages, d->pages - d->held);
        for (uint32_t i = 0; i < CORE_ORDERS; i++) {
                uint32_t n = 0;

                EQUAL(p, "virgin extents of device", index, d->n_virgin[i], sums.n_virgin[i]);
                EQUAL(p, "extents in the making of device", index, d->n_creating[i], sums.n_creating[i]);
                for (uint32_t e = d->virgin_head[i]; e != NIL && n <= d->n_virgin[i]; e = extent_get(c, e)->next, n++)
                        if (extent_get(c, e)->state != EXTENT_VIRGIN || extent_order_index(extent_get(c, e)) != i)
                                broken(p, "extent %u is on a virgin list and is not virgin of that size", e);
                EQUAL(p, "the virgin list of device", index, n, d->n_virgin[i]);
                n = 0;
                for (uint32_t w = d->wait_head[i]; w != NIL && n <= c->top_worker; w = worker_get(c, w)->wait_next, n++)
                        if (worker_get(c, w)->waits != 1 + index * CORE_ORDERS + i ||
                            worker_get(c, w)->admitted_head == NIL)
                                broken(p, "worker %u stands in the wrong line", w);
                if (n > 0 && d->n_virgin[i] > 0 && !core_pending(c))
                        broken(p, "device %u has what worker %u waits for", index, d->wait_head[i]);
        }
}

/* ---- rows, caches: the page table ---- */

static void check_row(struct proof *p, uint32_t index)
{
        const struct core *c = p->core;
        const struct row *row = row_get(c, index);
        const struct cache *k = cache_get(c, row->cache);
        uint32_t extents = 0, pages = 0;

        if (ptable_row_find(c, row->cache, row->number) != index)
                broken(p, "row record %u is not found by its number", index);
        if (k->state == CACHE_FREE || row->number >= k->rows || (row->head == NIL && row->pins == 0))
                broken(p, "row record %u should not be", index);
        for (uint32_t i = row->head; i != NIL && extents <= row->extents; i = extent_get(c, i)->next, extents++) {
                const struct extent *e = extent_get(c, i);
                const uint32_t class = e->plane / CORE_MAX_PLANES;

                if ((e->state != EXTENT_GRANTED && e->state != EXTENT_MAPPED) || e->row != index ||
                    e->worker != k->worker || extent_device(e) != k->device) {
                        broken(p, "extent %u is in row record %u and does not belong there", i, index);
                        return;
                }
                if (class >= k->n_classes || e->plane % CORE_MAX_PLANES >= k->classes[class].planes ||
                    (uint64_t)e->first + extent_pages(e) > k->classes[class].row_pages ||
                    e->first % extent_pages(e) != 0)
                        broken(p, "extent %u lies outside its plane", i);
                for (uint32_t page = 0; page < extent_pages(e); page++)
                        if (ptable_find(c, index, e->plane, e->first + page) != i)
                                broken(p, "page %u of extent %u is backed twice, or not found", page, i);
                if (e->state == EXTENT_MAPPED)
                        pages += extent_pages(e);
        }
        EQUAL(p, "extents of row record", index, row->extents, extents);
        EQUAL(p, "mapped pages of row record", index, row->pages, pages);
}

static uint32_t check_cache(struct proof *p, uint32_t index)
{
        const struct core *c = p->core;
        const struct cache *k = cache_get(c, index);
        uint32_t rows = 0, held = 0, before = NIL;
        uint64_t live = 0, idle = 0;

        for (uint32_t i = k->first_row; i != NIL && rows <= k->row_records;
             before = i, i = row_get(c, i)->next, rows++) {
                const struct row *row = row_get(c, i);

                if (!row->used || row->cache != index || row->prev != before)
                        broken(p, "row record %u is on the list of cache %u and does not belong there", i, index);
                held += row->held;
                *(row->held ? &live : &idle) += row->pages;
                check_row(p, i);
        }
        EQUAL(p, "row records of cache", index, k->row_records, rows);
        EQUAL(p, "held rows of cache", index, k->held_rows, held);
        EQUAL(p, "live pages of cache", index, k->live_pages, live);
        EQUAL(p, "idle pages of cache", index, k->idle_pages, idle);
        return rows;
}

/* ---- workers, tenants, requests: who is charged what ---- */

/* What is promised to the request and not granted, by the plain way: piece by piece. */
static uint64_t promised(const struct core *c, const struct request *r, uint32_t count[CORE_ORDERS])
{
        const uint32_t planes = cache_get(c, r->cache)->classes[r->plane_class].planes;
        uint64_t pages = 0;

        for (uint32_t plane = r->plane; plane < planes; plane++) {
                const uint32_t start = plane == r->plane ? r->page : r->first;
                uint32_t pieces[CORE_ORDERS];

                deliver_pieces(start, r->first + r->total - start, pieces);
                for (uint32_t i = 0; i < CORE_ORDERS; i++) {
                        count[i] += pieces[i];
                        pages += (uint64_t)pieces[i] << core_order_shift(i);
                }
        }
        return pages;
}

static void check_worker(struct proof *p, uint32_t index)
{
        const struct core *c = p->core;
        const struct worker *w = worker_get(c, index);
        uint64_t current = 0, unacked = 0, live = 0, idle = 0;
        uint32_t requests = 0, admitted = 0, in_ring = 0, n_admitted = 0, count[CORE_ORDERS] = { 0 };

        for (uint32_t i = 0; i < c->top_extent; i++) {
                const struct extent *e = extent_get(c, i);
                const uint64_t bytes = (uint64_t)extent_pages(e) << c->devices[extent_device(e)].page_shift;

                if (e->state < EXTENT_GRANTED || e->reclassed || e->worker != index)
                        continue;
                current += bytes;
                if (e->state == EXTENT_GRANTED) {
                        unacked += bytes;
                        in_ring++;
                        if (w->ring[e->ring] != i)
                                broken(p, "granted extent %u is not in the ring of worker %u", i, index);
                } else if (e->state == EXTENT_MAPPED) {
                        *(row_get(c, e->row)->held ? &live : &idle) += bytes;
                }
        }
        for (uint32_t i = w->first_request; i != NIL && requests <= w->n_requests;
             i = request_get(c, i)->of_worker_next, requests++) {
                const struct request *r = request_get(c, i);

                if (r->worker != index || row_get(c, r->row)->pins == 0)
                        broken(p, "request %u is not what worker %u thinks", i, index);
                if (r->state == REQUEST_ADMITTED) {
                        current += promised(c, r, count) << c->devices[cache_get(c, r->cache)->device].page_shift;
                        admitted++;
                }
        }
        for (uint32_t i = w->admitted_head; i != NIL && n_admitted <= admitted; i = request_get(c, i)->next)
                n_admitted++;
        EQUAL(p, "requests of worker", index, w->n_requests, requests);
        EQUAL(p, "admitted requests of worker", index, n_admitted, admitted);
        EQUAL(p, "current bytes of worker", index, w->current_bytes, current);
        EQUAL(p, "unacknowledged bytes of worker", index, w->unacked_bytes, unacked);
        EQUAL(p, "live bytes of worker", index, w->live_bytes, live);
        EQUAL(p, "idle bytes of worker", index, w->idle_bytes, idle);
        if (w->granted - w->acked > CORE_MAX_UNACKED || in_ring > w->granted - w->acked)
                broken(p, "worker %u has %u extents unacknowledged, its window says %llu", index, in_ring,
                       (unsigned long long)(w->granted - w->acked));
        if (w->awaited_until_usec != 0 && (!w->detached || c->next_deadline_usec > w->awaited_until_usec))
                broken(p, "worker %u is awaited for ever", index);
        if (w->detached && (w->first_request != NIL || w->revoke.id != 0 || w->overdue != 0 || w->ready ||
                            w->ack_at_usec != UINT64_MAX))
                broken(p, "worker %u has no connection, and something under way", index);
        if (w->state == WORKER_LIVE && !w->detached && w->acked < w->granted && w->ack_at_usec == UINT64_MAX &&
            in_ring > 0 && !w->synced)
                broken(p, "nobody will ask worker %u to acknowledge", index);
        if (w->state == WORKER_LIVE && w->admitted_head != NIL && !w->ready && w->waits == 0 &&
            w->granted - w->acked < CORE_MAX_UNACKED)
                broken(p, "worker %u has an admitted request and nobody delivers it", index);
}

/* Per device: what is charged and promised, and what revokes want. */
static void check_tenant_devices(struct proof *p, uint32_t index)
{
        const struct core *c = p->core;
        const struct tenant *t = tenant_get(c, index);
        uint64_t current[CORE_MAX_DEVICES] = { 0 }, revoked[CORE_MAX_DEVICES] = { 0 };
        uint32_t count[CORE_ORDERS] = { 0 };

        for (uint32_t i = 0; i < c->top_extent; i++) {
                const struct extent *e = extent_get(c, i);

                if (e->state >= EXTENT_GRANTED && !e->reclassed && worker_get(c, e->worker)->tenant == index)
                        current[extent_device(e)] += extent_pages(e);
        }
        for (uint32_t i = 0; i < c->top_request; i++) {
                const struct request *r = request_get(c, i);

                if (r->state == REQUEST_ADMITTED && worker_get(c, r->worker)->tenant == index)
                        current[cache_get(c, r->cache)->device] += promised(c, r, count);
        }
        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);

                if (w->state == WORKER_LIVE && w->tenant == index && w->revoke.id != 0)
                        revoked[w->revoke.device] += w->revoke.remaining;
        }
        for (uint32_t i = 0; i < c->n_devices; i++) {
                EQUAL(p, "current pages of tenant", index, t->current[i], current[i]);
                EQUAL(p, "pages revoked of tenant", index, t->revoked[i], revoked[i]);
        }
}

static void check_tenant(struct proof *p, uint32_t index)
{
        const struct core *c = p->core;
        const struct tenant *t = tenant_get(c, index);
        uint64_t current = 0, live = 0, idle = 0;
        uint32_t workers = 0, slots = 0, caches = 0, overdue = 0, requests = 0;

        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);

                if (w->state == WORKER_FREE || w->tenant != index)
                        continue;
                slots++;
                workers += w->state == WORKER_LIVE;
                overdue += w->overdue != 0;
                requests += w->n_requests;
                current += w->current_bytes;
                live += w->live_bytes;
                idle += w->idle_bytes;
        }
        for (uint32_t i = 0; i < c->top_cache; i++)
                caches += cache_get(c, i)->state != CACHE_FREE &&
                          worker_get(c, cache_get(c, i)->worker)->tenant == index;
        check_tenant_devices(p, index);
        EQUAL(p, "workers of tenant", index, t->workers, workers);
        EQUAL(p, "slots of workers of tenant", index, t->n_slots, slots);
        EQUAL(p, "slots of caches of tenant", index, t->n_caches, caches);
        EQUAL(p, "overdue workers of tenant", index, t->overdue, overdue);
        EQUAL(p, "requests of tenant", index, t->n_requests, requests);
        EQUAL(p, "current bytes of tenant", index, t->current_bytes, current);
        EQUAL(p, "live bytes of tenant", index, t->live_bytes, live);
        EQUAL(p, "idle bytes of tenant", index, t->idle_bytes, idle);
}

/* What each device owes to tenants, what they have too much, and what it was promised back. */
static void check_claims(struct proof *p, uint32_t index)
{
        const struct core *c = p->core;
        const struct device *d = &c->devices[index];
        uint64_t unmet = 0, revoked = 0;
        uint32_t over = 0, revokes = 0;

        for (uint32_t i = 0; i < c->top_tenant; i++) {
                const struct tenant *t = tenant_get(c, i);

                if (!t->used)
                        continue;
                unmet += tenant_unmet(t, index);
                over += t->current[index] > t->max[index];
                EQUAL(p, "memory.min in pages of tenant", i, t->min[index], pages_at_least(d, t->min_bytes));
                EQUAL(p, "memory.max in pages of tenant", i, t->max[index], pages_at_most(d, t->max_bytes));
        }
        for (uint32_t i = 0; i < c->top_worker; i++) {
                const struct worker *w = worker_get(c, i);

                if (w->revoke.id == 0 || w->revoke.device != index)
                        continue;
                revokes++;
                revoked += w->revoke.remaining;
                if (w->state != WORKER_LIVE || w->overdue != 0)
                        broken(p, "worker %u should not be asked for memory", i);
                if (w->revoke.deadline_usec < c->next_deadline_usec)
                        broken(p, "nobody looks when the revoke of worker %u is overdue", i);
        }
        EQUAL(p, "unmet guarantees of device", index, d->unmet, unmet);
        EQUAL(p, "tenants over their limit on device", index, d->n_over, over);
        EQUAL(p, "revokes of device", index, d->n_revokes, revokes);
        EQUAL(p, "pages revoked of device", index, d->revoked, revoked);
}

/* The tenant's queue on the device; returns how many wait there. */
static uint32_t check_queue(struct proof *p, uint32_t tenant, uint32_t device, uint32_t most)
{
        const struct core *c = p->core;
        const struct tenant *t = tenant_get(c, tenant);
        bool fresh = t->fresh[device] == NIL, turn = t->turn[device] == NIL;
        uint32_t queued = 0;

        for (uint32_t i = t->waiting_head[device]; i != NIL && queued <= most; i = request_get(c, i)->next) {
                fresh |= i == t->fresh[device];
                turn |= i == t->turn[device];
                queued++;
        }
        if (!fresh || !turn)
                broken(p, "tenant %u has lost its place in its queue on device %u", tenant, device);
        return queued;
}

static void check_requests(struct proof *p)
{
        const struct core *c = p->core;
        uint64_t reserved[CORE_MAX_DEVICES] = { 0 };
        uint32_t want[CORE_MAX_DEVICES][CORE_ORDERS] = { { 0 } }, waiting[CORE_MAX_DEVICES] = { 0 }, n = 0, queued = 0;

        for (uint32_t i = 0; i < c->top_request; i++) {
                const struct request *r = request_get(c, i);
                uint32_t device;

                if (r->state == REQUEST_FREE)
                        continue;
                n++;
                device = cache_get(c, r->cache)->device;
                if (r->state == REQUEST_WAITING)
                        waiting[device]++;
                else
                        reserved[device] += promised(c, r, want[device]);
                if (r->deadline_usec < c->next_deadline_usec)
                        broken(p, "request %u outlives its deadline", i);
                if (!timer_is_sound(c, i))
                        broken(p, "request %u has no timer", i);
                if (r->state == REQUEST_WAITING && r->prev == NIL && request_stale_at(c, r) > c->now_usec &&
                    request_stale_at(c, r) < c->next_deadline_usec && !core_pending(c))
                        broken(p, "nobody looks when request %u has waited in vain", i);
        }
        EQUAL(p, "requests of the core", 0, c->n_requests, n);
        EQUAL(p, "timers", 0, c->n_timers, n);
        for (uint32_t i = 0; i < c->n_devices; i++) {
                const struct device *d = &c->devices[i];

                check_claims(p, i);
                EQUAL(p, "waiting requests of device", i, d->n_waiting, waiting[i]);
                EQUAL(p, "promised pages of device", i, d->reserved_pages, reserved[i]);
                for (uint32_t k = 0; k < CORE_ORDERS; k++)
                        EQUAL(p, "wanted extents of device", i, d->want[k], want[i][k]);
                for (uint32_t t = 0; t < c->top_tenant; t++)
                        if (tenant_get(c, t)->used)
                                queued += check_queue(p, t, i, n);
        }
        EQUAL(p, "queued requests of the core", 0, queued, c->n_waiting);
}

int core_check(const struct core *core, char *why, size_t size)
{
        struct proof p = { .core = core, .why = why, .size = size };
        uint32_t extents = 0, rows = 0, caches = 0, tenants = 0;

        for (uint32_t i = 0; i < core->top_extent; i++)
                extents += extent_get(core, i)->state != EXTENT_FREE;
        EQUAL(&p, "extents of the core", 0, core->n_extents, extents);
        for (uint32_t i = 0; i < core->top_cache; i++)
                if (cache_get(core, i)->state != CACHE_FREE) {
                        caches++;
                        rows += check_cache(&p, i);
                }
        EQUAL(&p, "caches of the core", 0, core->n_caches, caches);
        EQUAL(&p, "row records of the core", 0, core->n_rows, rows);
        for (uint32_t i = 0; i < core->n_devices; i++)
                check_device(&p, i);
        for (uint32_t i = 0; i < core->top_worker; i++)
                if (worker_get(core, i)->state != WORKER_FREE)
                        check_worker(&p, i);
        for (uint32_t i = 0; i < core->top_tenant; i++)
                if (tenant_get(core, i)->used) {
                        tenants++;
                        check_tenant(&p, i);
                }
        EQUAL(&p, "tenants of the core", 0, core->n_tenants, tenants);
        check_requests(&p);
        return p.broken ? -1 : 0;
}
