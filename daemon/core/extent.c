/* SPDX-License-Identifier: MIT
 *
 * extent.c -- the life of an extent: free -> creating -> virgin -> granted -> mapped -> returning -> free.
 *
 * Each function here is one transition: it moves the extent between lists and its pages between the device's sums,
 * charges and refunds, and asks the shell for what the device must do. An extent that anybody may have written is
 * destroyed, never handed on: virgin extents, which come from the device alone, are the only source of grants.
 */
#include "internal.h"

static void trace(struct run *run, uint32_t index, unsigned from, unsigned to)
{
        const struct core *c = run->core;
        const struct extent *e = extent_get(c, index);
        const bool placed = e->row != NIL;

        if (!c->params.trace)
                return;
        run_transition(run, CORE_OBJ_EXTENT, extent_id(c, index), from, to, placed ? e->worker : NIL,
                       placed ? row_get(c, e->row)->number << 12 | e->plane : 0, e->first << 4 | extent_order_index(e));
}

static void push(struct core *c, uint32_t *head, uint32_t index)
{
        struct extent *e = extent_get(c, index);

        e->prev = NIL;
        e->next = *head;
        if (*head != NIL)
                extent_get(c, *head)->prev = index;
        *head = index;
}

static void unlink_from(struct core *c, uint32_t *head, uint32_t index)
{
        struct extent *e = extent_get(c, index);

        if (e->prev != NIL)
                extent_get(c, e->prev)->next = e->next;
        else
                *head = e->next;
        if (e->next != NIL)
                extent_get(c, e->next)->prev = e->prev;
        e->next = e->prev = NIL;
}

static uint32_t slot_take(struct core *c)
{
        uint32_t index = c->free_extent;

        if (index != NIL) {
                c->free_extent = extent_get(c, index)->next;
        } else {
                if (c->top_extent == c->params.max_extents)
                        return NIL;
                index = c->top_extent++;
                extent_get(c, index)->generation = 1;
        }
        c->n_extents++;
        return index;
}

static void slot_put(struct core *c, uint32_t index)
{
        struct extent *e = extent_get(c, index);
        const uint32_t generation = e->generation + 1;

        memset(e, 0, sizeof *e);
        e->generation = generation ? generation : 1; /* an id is never 0 */
        e->next = c->free_extent;
        c->free_extent = index;
        c->n_extents--;
}

static void ask_device(struct run *run, enum core_action_type type, uint32_t index)
{
        const struct extent *e = extent_get(run->core, index);
        struct core_action *action = run_action(run, type, 0);

        action->device.extent = extent_id(run->core, index);
        action->device.device = extent_device(e);
        action->device.order = core_order_shift(extent_order_index(e));
}

uint32_t extent_find(const struct core *core, uint64_t id)
{
        const uint32_t index = (uint32_t)id;

        if (index >= core->top_extent || extent_get(core, index)->state == EXTENT_FREE ||
            extent_get(core, index)->generation != id >> 32)
                return NIL;
        return index;
}

/* false: no slot. The caller has seen that enough pages are free. */
bool extent_create(struct run *run, uint32_t device, uint32_t order_index)
{
        struct core *c = run->core;
        struct device *d = device_get(c, device);
        const uint32_t index = slot_take(c), pages = order_pages(order_index);
        struct extent *e;

        assert(d->free >= pages);
        if (index == NIL)
                return false;
        e = extent_get(c, index);
        e->state = EXTENT_CREATING;
        e->where = (uint8_t)(order_index << 4 | device);
        e->row = e->next = e->prev = e->granule_next = NIL;
        d->free -= pages;
        d->creating += pages;
        d->n_creating[order_index]++;
        ask_device(run, CORE_ACT_CREATE, index);
        trace(run, index, EXTENT_FREE, EXTENT_CREATING);
        return true;
}

static struct device *leave_creating(struct core *c, const struct extent *e)
{
        struct device *d = device_get(c, extent_device(e));

        assert(e->state == EXTENT_CREATING);
        d->creating -= extent_pages(e);
        d->n_creating[extent_order_index(e)]--;
        return d;
}

void extent_created(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct extent *e = extent_get(c, index);
        struct device *d = leave_creating(c, e);
        const uint32_t order_index = extent_order_index(e);

        e->state = EXTENT_VIRGIN;
        d->virgin += extent_pages(e);
        d->n_virgin[order_index]++;
        push(c, &d->virgin_head[order_index], index);
        core_count(c, CORE_COUNT_EXTENTS_CREATED, 1);
        trace(run, index, EXTENT_CREATING, EXTENT_VIRGIN);
}

void extent_create_failed(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct extent *e = extent_get(c, index);

        leave_creating(c, e)->free += extent_pages(e);
        trace(run, index, EXTENT_CREATING, EXTENT_FREE);
        slot_put(c, index);
}

/* Takes a virgin extent (there is one), puts it into the page table and tells nobody yet: the caller emits the GRANT.
 * Its pages were promised, and charged, when the request was admitted. */
uint32_t extent_grant(struct run *run, uint32_t device, uint32_t order_index, uint32_t worker, uint32_t row,
                      uint32_t plane, uint32_t first)
{
        struct core *c = run->core;
        struct device *d = device_get(c, device);
        const uint32_t index = d->virgin_head[order_index];
        const uint32_t pages = order_pages(order_index);
        struct extent *e = extent_get(c, index);

        assert(index != NIL && e->state == EXTENT_VIRGIN);
        assert(d->reserved_pages >= pages);
        unlink_from(c, &d->virgin_head[order_index], index);
        d->n_virgin[order_index]--;
        d->virgin -= pages;
        d->reserved_pages -= pages;
        d->held += pages;
        e->state = EXTENT_GRANTED;
        e->row = row;
        e->plane = (uint16_t)plane;
        e->first = first;
        e->worker = (uint16_t)worker;
        push(c, &row_get(c, row)->head, index);
        ptable_insert(c, index);
        worker_granted(c, worker, index);
        core_count(c, CORE_COUNT_EXTENTS_GRANTED, 1);
        core_count(c, CORE_COUNT_PAGES_GRANTED, pages);
        tenant_get(c, worker_get(c, worker)->tenant)->extents_granted++;
        tenant_get(c, worker_get(c, worker)->tenant)->pages_granted += pages;
        trace(run, index, EXTENT_VIRGIN, EXTENT_GRANTED);
        return index;
}

/* Mapped pages are live or idle by their row. `pages` comes or goes (sign). */
static void account(struct core *c, const struct extent *e, bool comes)
{
        struct row *row = row_get(c, e->row);
        struct cache *cache = cache_get(c, row->cache);
        struct worker *w = worker_get(c, e->worker);
        struct tenant *t = tenant_get(c, w->tenant);
        struct device *d = device_get(c, extent_device(e));
        const uint32_t pages = comes ? extent_pages(e) : 0u - extent_pages(e); /* modulo 2^32, and so below */
        const uint64_t size = (uint64_t)extent_pages(e) << d->page_shift, bytes = comes ? size : 0u - size;

        row->pages += pages;
        if (row->held) {
                cache->live_pages += pages;
                w->held_pages[extent_device(e)] += pages;
                w->live_bytes += bytes;
                t->live_bytes += bytes;
        } else {
                cache->idle_pages += pages;
                w->idle_pages[extent_device(e)] += pages;
                w->idle_bytes += bytes;
                t->idle_bytes += bytes;
                d->idle_pages += pages;
        }
}

void extent_mapped(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct extent *e = extent_get(c, index);
        struct worker *w = worker_get(c, e->worker);

        assert(e->state == EXTENT_GRANTED);
        w->unacked_bytes -= (uint64_t)extent_pages(e) << c->devices[extent_device(e)].page_shift;
        e->state = EXTENT_MAPPED;
        account(c, e, true);
        memset(w->dry, 0, sizeof w->dry); /* it has something new to give */
        if (c->n_waiting > 0 || device_lacks(device_get(c, extent_device(e))))
                core_pump_later(c, extent_device(e));
        trace(run, index, EXTENT_GRANTED, EXTENT_MAPPED);
}

/* Given back, refused, or its worker is gone. Charged until the device has destroyed it. */
void extent_return(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct extent *e = extent_get(c, index);
        const uint32_t device = extent_device(e), pages = extent_pages(e), worker = e->worker, row = e->row;
        struct worker *w = worker_get(c, worker);
        const uint8_t from = e->state;

        assert(from == EXTENT_GRANTED || from == EXTENT_MAPPED);
        if (from == EXTENT_GRANTED) {
                w->unacked_bytes -= (uint64_t)pages << c->devices[device].page_shift;
                w->ring[e->ring] = NIL;
        } else {
                account(c, e, false);
        }
        trace(run, index, from, EXTENT_RETURNING);
        ptable_remove(c, index);
        unlink_from(c, &row_get(c, row)->head, index);
        e->state = EXTENT_RETURNING;
        e->row = NIL;
        ptable_row_put(c, row);
        device_get(c, device)->returning += pages;
        tenant_get(c, w->tenant)->returning[device] += pages;
        reclaim_returned(c, worker, device, pages);
        core_count(c, CORE_COUNT_EXTENTS_RETURNED, 1);
        core_count(c, CORE_COUNT_PAGES_RETURNED, pages);
        ask_device(run, CORE_ACT_DESTROY, index);
}

/* A virgin extent makes room for another size. */
void extent_reclass(struct run *run, uint32_t device, uint32_t order_index)
{
        struct core *c = run->core;
        struct device *d = device_get(c, device);
        const uint32_t index = d->virgin_head[order_index], pages = order_pages(order_index);
        struct extent *e = extent_get(c, index);

        assert(index != NIL && e->state == EXTENT_VIRGIN);
        unlink_from(c, &d->virgin_head[order_index], index);
        d->n_virgin[order_index]--;
        d->virgin -= pages;
        d->reclassing += pages;
        e->state = EXTENT_RETURNING;
        e->reclassed = 1;
        core_count(c, CORE_COUNT_EXTENTS_RECLASSED, 1);
        ask_device(run, CORE_ACT_DESTROY, index);
        trace(run, index, EXTENT_VIRGIN, EXTENT_RETURNING);
}

void extent_destroyed(struct run *run, uint32_t index)
{
        struct core *c = run->core;
        struct extent *e = extent_get(c, index);
        const uint32_t device = extent_device(e), pages = extent_pages(e), worker = e->worker;
        struct device *d = device_get(c, device);
        const uint64_t bytes = (uint64_t)pages << d->page_shift;
        const bool reclassed = e->reclassed;

        assert(e->state == EXTENT_RETURNING);
        d->free += pages;
        core_count(c, CORE_COUNT_EXTENTS_DESTROYED, 1);
        trace(run, index, EXTENT_RETURNING, EXTENT_FREE);
        slot_put(c, index);
        if (reclassed) {
                d->reclassing -= pages;
                return;
        }

        struct worker *w = worker_get(c, worker);

        assert(w->current_bytes >= bytes);
        d->held -= pages;
        d->returning -= pages;
        device_page_back(c, device, w->tenant);
        tenant_get(c, w->tenant)->returning[device] -= pages;
        tenant_refund(c, w->tenant, device, pages);
        w->current_bytes -= bytes;
        worker_put(c, worker);
}
