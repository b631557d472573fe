/* SPDX-License-Identifier: MIT
 *
 * device.c -- a device's memory: what is made, in which sizes, and what happens when the device fails or answers late.
 *
 * Extents are made first for what admitted requests still want, then ahead of need: each size from half of its target
 * up to it, so that making comes in batches. Where memory is promised but bound in virgin extents of other sizes, those
 * are destroyed (re-classed): sizes are a convenience, pages are the currency.
 */
#include "internal.h"

void device_add(struct run *run, const struct core_ev_device_add *event)
{
        struct core *c = run->core;
        struct device *d;

        if (event->device != c->n_devices || event->device >= CORE_MAX_DEVICES || event->page_shift < 12 ||
            event->page_shift > 40 || event->pages == 0 || event->pages > CORE_MAX_PAGES ||
            (uint64_t)event->pages > UINT64_MAX >> event->page_shift)
                return;
        d = device_get(c, event->device);
        d->used = 1;
        d->page_shift = event->page_shift;
        d->pages = d->free = event->pages;
        d->virgin_target = bits_min_u32(event->virgin_pages, event->pages);
        d->retry_head = NIL;
        d->retry_at_usec = UINT64_MAX;
        for (uint32_t i = 0; i < CORE_ORDERS; i++)
                d->virgin_head[i] = d->wait_head[i] = d->wait_tail[i] = NIL;
        d->ask_next_usec = UINT64_MAX;
        c->n_devices++;
        tenant_add_device(c, event->device);
        core_pump_later(c, event->device);
}

void device_created(struct run *run, const struct core_ev_device_done *event)
{
        struct core *c = run->core;
        const uint32_t index = extent_find(c, event->extent);
        uint32_t device, order_index, waiter;
        struct device *d;

        if (index == NIL || extent_get(c, index)->state != EXTENT_CREATING)
                return; /* the shell repeats itself; it cannot hurt */
        device = extent_device(extent_get(c, index));
        order_index = extent_order_index(extent_get(c, index));
        d = device_get(c, device);
        core_pump_for_slot(c, device);
        if (event->status == 0) {
                d->failing = 0;
                extent_created(run, index);
                deliver_wake(c, device, order_index);
                return;
        }
        core_count(c, CORE_COUNT_DEVICE_FAILURES, 1);
        extent_create_failed(run, index);
        d->failing = 1;
        d->retry_at_usec = c->now_usec + RETRY_USEC;
        core_deadline_at(c, d->retry_at_usec);
        waiter = d->wait_head[order_index];
        if (waiter != NIL) { /* one failure fails one request: its worker may try again, the rest wait for the retry */
                const uint32_t request = worker_get(c, waiter)->admitted_head;

                deliver_wake(c, device, order_index);
                if (request != NIL)
                        request_fail(run, request, CORE_E_DEVICE_FAILED);
        }
}

bool device_retries(const struct extent *e, uint32_t index)
{
        return e->state == EXTENT_RETURNING && (e->next != NIL || e->prev == index);
}

void device_destroyed(struct run *run, const struct core_ev_device_done *event)
{
        struct core *c = run->core;
        const uint32_t index = extent_find(c, event->extent);
        struct extent *e;
        struct device *d;

        if (index == NIL)
                return;
        e = extent_get(c, index);
        if (e->state != EXTENT_RETURNING || device_retries(e, index))
                return; /* not asked for, or asked for later */
        d = device_get(c, extent_device(e));
        if (event->status != 0) {
                core_count(c, CORE_COUNT_DEVICE_FAILURES, 1);
                e->next = d->retry_head;
                e->prev = index; /* marks it as listed, the list's last one too */
                d->retry_head = index;
                d->retry_at_usec = bits_min_u64(d->retry_at_usec, c->now_usec + RETRY_USEC);
                core_deadline_at(c, d->retry_at_usec);
                return;
        }
        core_pump_for_slot(c, extent_device(e));
        extent_destroyed(run, index);
}

/* Who waits may fit now; guarantees may have lost what covers them, and then memory is asked back. */
void device_missing(struct run *run, const struct core_ev_device_missing *event)
{
        struct core *c = run->core;
        struct device *d;

        if (event->device >= c->n_devices)
                return;
        d = device_get(c, event->device);
        d->missing = bits_min_u32(event->pages, d->pages);
        for (uint32_t i = 0; d->missing == 0 && i < c->top_worker; i++)
                worker_get(c, i)->suspect &= (uint16_t)(0xffffu & ~(1u << event->device));
        core_pump_later(c, event->device);
}

/* Two times are enough to know, for each tenant, when a page came back last from somebody else. */
void device_page_back(struct core *c, uint32_t device, uint32_t tenant)
{
        struct device *d = device_get(c, device);

        if (d->back_tenant != tenant)
                d->back_other_usec = d->back_usec;
        d->back_tenant = tenant;
        d->back_usec = c->now_usec;
}

uint64_t device_back_from_others(const struct device *d, uint32_t tenant)
{
        return d->back_tenant == tenant ? d->back_other_usec : d->back_usec;
}

void device_tick(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        struct device *d = device_get(c, device);

        if (d->retry_at_usec > c->now_usec) {
                core_deadline_at(c, d->retry_at_usec);
                return;
        }
        d->failing = 0;
        d->retry_at_usec = UINT64_MAX;
        while (d->retry_head != NIL) {
                const uint32_t index = d->retry_head;
                struct extent *e = extent_get(c, index);
                struct core_action *action;

                if (!run_has_room(run)) { /* the rest at the next tick */
                        d->retry_at_usec = c->now_usec + 1;
                        core_deadline_at(c, d->retry_at_usec);
                        break;
                }
                d->retry_head = e->next;
                e->next = e->prev = NIL;
                action = run_action(run, CORE_ACT_DESTROY, 0);
                action->device.extent = extent_id(c, index);
                action->device.device = device;
                action->device.order = core_order_shift(extent_order_index(e));
        }
        core_pump_later(c, device);
}

/* The virgin size class with the most pages that nobody wants; CORE_ORDERS: none. */
static uint32_t surplus(const struct device *d)
{
        uint32_t best = CORE_ORDERS, most = 0;

        for (uint32_t i = 0; i < CORE_ORDERS; i++) {
                const uint32_t pages = d->n_virgin[i] > d->want[i]
                                               ? (d->n_virgin[i] - d->want[i]) << core_order_shift(i)
                                               : 0;

                if (pages > most) {
                        most = pages;
                        best = i;
                }
        }
        return best;
}

/* What admitted requests want and is neither there nor on its way. Returns the pages still missing. */
static uint64_t make_wanted(struct run *run, uint32_t device)
{
        struct device *d = device_get(run->core, device);
        uint64_t missing = 0;

        for (uint32_t i = CORE_ORDERS; i-- > 0;) {
                const uint32_t have = d->n_virgin[i] + d->n_creating[i];
                uint32_t deficit = d->want[i] > have ? d->want[i] - have : 0;

                while (deficit > 0 && run_has_room(run) && d->free >= order_pages(i) && extent_create(run, device, i))
                        deficit--;
                missing += (uint64_t)deficit << core_order_shift(i);
        }
        return missing;
}

static void make_ahead(struct run *run, uint32_t device)
{
        struct device *d = device_get(run->core, device);

        for (uint32_t i = 0; i < CORE_ORDERS; i++) {
                const uint32_t target = (d->virgin_target / CORE_ORDERS) >> core_order_shift(i);
                uint32_t have = d->n_virgin[i] + d->n_creating[i];

                have -= bits_min_u32(have, d->want[i]);
                if (have < (target + 1) / 2)
                        d->filling[i] = 1;
                for (; d->filling[i] && have < target; have++)
                        if (!run_has_room(run) || d->n_creating[i] >= CREATES_IN_FLIGHT ||
                            d->free < d->missing + order_pages(i) ||
                            run->core->n_extents >= run->core->params.max_extents - run->core->params.max_extents / 8 ||
                            !extent_create(run, device, i))
                                break;
                if (have >= target)
                        d->filling[i] = 0;
                /* What was made for a request that then failed is not kept for ever. */
                while (d->n_virgin[i] > d->want[i] + 2 * target + 1 && run_has_room(run))
                        extent_reclass(run, device, i);
        }
}

/* No slot is left in the table of extents: a virgin one that nobody wants, of whatever device, gives its own. */
static void make_room(struct run *run)
{
        struct core *c = run->core;

        for (uint32_t device = 0; device < c->n_devices && c->n_extents == c->params.max_extents; device++) {
                const uint32_t i = surplus(&c->devices[device]);

                if (c->devices[device].reclassing > 0)
                        return; /* on its way */
                if (i < CORE_ORDERS) {
                        extent_reclass(run, device, i);
                        return;
                }
        }
}

void device_make(struct run *run, uint32_t device)
{
        struct core *c = run->core;
        struct device *d = device_get(c, device);
        uint64_t missing;
        uint32_t i;

        if (d->failing)
                return; /* device_tick() comes back */
        missing = make_wanted(run, device);
        if (missing > 0) {
                make_room(run);
                missing -= bits_min_u64(missing, (uint64_t)d->free + d->reclassing);
                while (missing > 0 && run_has_room(run) && (i = surplus(d)) < CORE_ORDERS) {
                        extent_reclass(run, device, i);
                        missing -= bits_min_u64(missing, order_pages(i));
                }
        } else if (d->n_waiting == 0) {
                make_ahead(run, device);
        }
        if (!run_has_room(run))
                core_pump_later(c, device);
}
