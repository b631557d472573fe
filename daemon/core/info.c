/* SPDX-License-Identifier: MIT
 *
 * info.c -- what the core tells about itself: figures for status, listings and metrics. Reads only.
 */
#include "internal.h"

/* Bytes are told apart so that allocated = sum of current + virgin: pages promised to admitted requests count as
 * current (granted, not yet acknowledged), so only what is made beyond them is virgin. */
static uint32_t virgin_pages(const struct device *d)
{
        const uint32_t made = d->creating + d->virgin + d->reclassing;

        return made - bits_min_u32(made, d->reserved_pages);
}

uint32_t core_n_devices(const struct core *core)
{
        return core->n_devices;
}
uint32_t core_n_tenants(const struct core *core)
{
        return core->n_tenants;
}
uint32_t core_n_workers(const struct core *core)
{
        return core->n_workers;
}
uint32_t core_n_caches(const struct core *core)
{
        return core->n_caches;
}
uint32_t core_n_waiting(const struct core *core)
{
        return core->n_requests;
}
uint32_t core_worker_slots(const struct core *core)
{
        return core->top_worker;
}
uint32_t core_cache_slots(const struct core *core)
{
        return core->top_cache;
}
uint32_t core_extent_slots(const struct core *core)
{
        return core->top_extent;
}
uint32_t core_tenant_slots(const struct core *core)
{
        return core->top_tenant;
}

uint64_t core_counter(const struct core *core, enum core_counter counter)
{
        return counter < CORE_COUNT_MAX_ ? core->counters[counter] : 0;
}

uint64_t core_used_bytes(const struct core *c)
{
        return sizeof *c + (uint64_t)c->top_tenant * sizeof(struct tenant) +
               (uint64_t)c->top_worker * sizeof(struct worker) + (uint64_t)c->top_cache * sizeof(struct cache) +
               (uint64_t)c->top_request * sizeof(struct request) + (uint64_t)c->top_row * sizeof(struct row) +
               (uint64_t)c->top_extent * sizeof(struct extent) +
               2 * sizeof(uint32_t) * ((uint64_t)c->top_granules + c->top_rows);
}

bool core_device_info(const struct core *c, uint32_t device, struct core_device_info *ret)
{
        const struct device *d = &c->devices[device < CORE_MAX_DEVICES ? device : 0];

        if (device >= c->n_devices)
                return false;
        *ret = (struct core_device_info){
                .page_bytes = UINT64_C(1) << d->page_shift,
                .capacity_bytes = (uint64_t)d->pages << d->page_shift,
                .allocated_bytes = ((uint64_t)d->held + d->reserved_pages + virgin_pages(d)) << d->page_shift,
                .virgin_bytes = (uint64_t)virgin_pages(d) << d->page_shift,
                .missing_bytes = (uint64_t)d->missing << d->page_shift,
        };
        return true;
}

bool core_tenant_info(const struct core *c, uint32_t tenant, struct core_tenant_info *ret)
{
        const struct tenant *t = tenant_get(c, tenant < CORE_MAX_TENANTS ? tenant : 0);

        if (tenant >= CORE_MAX_TENANTS || !t->used)
                return false;
        *ret = (struct core_tenant_info){
                .current_bytes = t->current_bytes,
                .live_bytes = t->live_bytes,
                .idle_bytes = t->idle_bytes,
                .min_bytes = t->min_bytes,
                .low_bytes = t->low_bytes,
                .high_bytes = t->high_bytes,
                .max_bytes = t->max_bytes,
                .extents_granted = t->extents_granted,
                .pages_granted = t->pages_granted,
                .requests = t->requests,
                .requests_waited = t->requests_waited,
                .requests_failed = t->requests_failed,
                .wait_usec = t->wait_usec,
                .stall_usec = t->stall_usec + (t->waiting > 0 ? c->now_usec - t->stalled_since_usec : 0),
                .revokes = t->revokes,
                .pages_revoked = t->pages_revoked,
                .revokes_overdue = t->revokes_overdue,
                .workers = t->workers,
                .weight = t->weight,
                .waiting = t->waiting,
                .overdue = t->overdue,
                .on_overdue = t->on_overdue,
                .reclaim_deadline_usec = t->reclaim_deadline_usec,
        };
        memcpy(ret->name, t->name, sizeof ret->name);
        return true;
}

uint32_t core_tenant_pages(const struct core *c, uint32_t tenant, uint32_t device)
{
        return tenant < CORE_MAX_TENANTS && device < c->n_devices ? tenant_get(c, tenant)->current[device] : 0;
}

bool core_tenant_is_settled(const struct core *c, uint32_t tenant)
{
        const struct tenant *t = tenant_get(c, tenant < CORE_MAX_TENANTS ? tenant : 0);

        for (uint32_t i = 0; t->used && i < c->n_devices; i++) {
                const struct device *d = &c->devices[i];

                if (t->current[i] > t->max[i] || (tenant_unmet(t, i) > 0 && d->unmet > device_available(d)))
                        return false;
        }
        return true;
}

bool core_worker_info(const struct core *c, uint32_t slot, struct core_worker_info *ret)
{
        const struct worker *w;

        if (slot >= c->top_worker || worker_get(c, slot)->state != WORKER_LIVE)
                return false;
        w = worker_get(c, slot);
        *ret = (struct core_worker_info){
                .pid = w->pid,
                .current_bytes = w->current_bytes,
                .live_bytes = w->live_bytes,
                .idle_bytes = w->idle_bytes,
                .unacknowledged_bytes = w->unacked_bytes,
                .worker = slot_id(slot, w->generation),
                .tenant = w->tenant,
                .caches = w->n_caches,
                .uid = w->uid,
                .overdue = w->overdue != 0,
                .suspect = w->suspect != 0,
                .detached = w->detached,
                .granted = w->granted,
        };
        return true;
}

bool core_cache_info(const struct core *c, uint32_t slot, struct core_cache_info *ret)
{
        const struct cache *k;
        uint32_t shift;

        if (slot >= c->top_cache || cache_get(c, slot)->state != CACHE_LIVE)
                return false;
        k = cache_get(c, slot);
        shift = c->devices[k->device].page_shift;
        *ret = (struct core_cache_info){
                .virtual_bytes = k->virtual_pages << shift,
                .live_bytes = (uint64_t)k->live_pages << shift,
                .idle_bytes = (uint64_t)k->idle_pages << shift,
                .cache = slot_id(slot, k->generation),
                .worker = slot_id(k->worker, worker_get(c, k->worker)->generation),
                .rows = k->rows,
                .held_rows = k->held_rows,
                .planes = k->planes,
        };
        return true;
}

uint32_t core_class_planes(const struct core *c, uint32_t worker, uint32_t cache, uint32_t plane_class)
{
        const uint32_t owner = worker_find(c, worker);
        const uint32_t slot = owner == NIL ? NIL : cache_find(c, owner, cache);

        return slot == NIL || plane_class >= cache_get(c, slot)->n_classes
                       ? 0
                       : cache_get(c, slot)->classes[plane_class].planes;
}

bool core_extent_info(const struct core *c, uint32_t slot, struct core_extent_info *ret)
{
        static const uint8_t places[EXTENT_STATES] = {
                [EXTENT_FREE] = CORE_EXTENT_NONE,     [EXTENT_CREATING] = CORE_EXTENT_CREATING,
                [EXTENT_VIRGIN] = CORE_EXTENT_VIRGIN, [EXTENT_GRANTED] = CORE_EXTENT_HELD,
                [EXTENT_MAPPED] = CORE_EXTENT_HELD,   [EXTENT_RETURNING] = CORE_EXTENT_RETURNING,
        };
        const struct extent *e;

        if (slot >= c->top_extent || extent_get(c, slot)->state == EXTENT_FREE)
                return false;
        e = extent_get(c, slot);
        *ret = (struct core_extent_info){ .extent = extent_id(c, slot),
                                          .place = places[e->state],
                                          .device = extent_device(e),
                                          .order = core_order_shift(extent_order_index(e)),
                                          .granted = e->state == EXTENT_GRANTED,
                                          .listed = device_retries(e, slot) };
        if (ret->place == CORE_EXTENT_HELD || (ret->place == CORE_EXTENT_RETURNING && !e->reclassed)) {
                ret->worker = slot_id(e->worker, worker_get(c, e->worker)->generation);
                ret->tenant = worker_get(c, e->worker)->tenant;
        }
        return true;
}
