/* SPDX-License-Identifier: MIT
 *
 * tenant.c -- the accounts that memory is charged to, what each device owes them (`unmet`) and they owe it (`n_over`).
 */
#include "internal.h"

/* The limits on a device, and the tenant's part of its sums. The device's sums hold none of it before. */
static void limit(struct core *c, struct tenant *t, uint32_t device)
{
        struct device *d = device_get(c, device);

        t->min[device] = pages_at_least(d, t->min_bytes);
        t->max[device] = pages_at_most(d, t->max_bytes);
        d->unmet += tenant_unmet(t, device);
        d->n_over += t->current[device] > t->max[device];
}

static void unlimit(struct core *c, const struct tenant *t)
{
        for (uint32_t i = 0; i < c->n_devices; i++) {
                c->devices[i].unmet -= tenant_unmet(t, i);
                c->devices[i].n_over -= t->current[i] > t->max[i];
        }
}

/* Who waited may fit now, or memory has to be asked back. */
static void limit_everywhere(struct core *c, struct tenant *t)
{
        for (uint32_t i = 0; i < c->n_devices; i++) {
                limit(c, t, i);
                core_pump_later(c, i);
        }
}

void tenant_add_device(struct core *c, uint32_t device)
{
        for (uint32_t i = 0; i < c->top_tenant; i++)
                if (tenant_get(c, i)->used)
                        limit(c, tenant_get(c, i), device);
}

void tenant_set(struct run *run, const struct core_ev_tenant_set *event)
{
        struct core *c = run->core;
        struct tenant *t;

        if (event->tenant >= CORE_MAX_TENANTS)
                return;
        t = tenant_get(c, event->tenant);
        if (!t->used) {
                memset(t, 0, sizeof *t);
                t->used = 1;
                for (uint32_t i = 0; i < CORE_MAX_DEVICES; i++)
                        t->waiting_head[i] = t->waiting_tail[i] = t->fresh[i] = t->turn[i] = NIL;
                c->n_tenants++;
                c->top_tenant = bits_max_u32(c->top_tenant, event->tenant + 1);
        }
        unlimit(c, t);
        t->removed = 0;
        t->on_overdue = event->on_overdue;
        t->weight = bits_max_u32(event->weight, 1);
        t->min_bytes = event->min_bytes;
        t->low_bytes = event->low_bytes;
        t->high_bytes = event->high_bytes;
        t->max_bytes = event->max_bytes;
        t->reclaim_deadline_usec = event->reclaim_deadline_usec;
        memcpy(t->name, event->name, sizeof t->name);
        t->name[sizeof t->name - 1] = '\0';
        limit_everywhere(c, t);
}

/* So many pages more (or less, modulo 2^32). Whether requests fit, and who is next in line, may have changed. */
static void change(struct core *c, struct tenant *t, uint32_t device, uint32_t pages)
{
        struct device *d = device_get(c, device);

        d->unmet -= tenant_unmet(t, device);
        d->n_over -= t->current[device] > t->max[device];
        t->current[device] += pages;
        d->unmet += tenant_unmet(t, device);
        d->n_over += t->current[device] > t->max[device];
        if (d->n_waiting > 0)
                core_pump_later(c, device);
}

void tenant_charge(struct core *c, uint32_t tenant, uint32_t device, uint32_t pages)
{
        struct tenant *t = tenant_get(c, tenant);

        t->current_bytes += (uint64_t)pages << c->devices[device].page_shift;
        change(c, t, device, pages);
}

void tenant_refund(struct core *c, uint32_t tenant, uint32_t device, uint32_t pages)
{
        struct tenant *t = tenant_get(c, tenant);

        assert(t->current[device] >= pages);
        t->current_bytes -= (uint64_t)pages << c->devices[device].page_shift;
        change(c, t, device, 0u - pages);
}

/* Whether a tenant that has so many of a table's records has its part of them: all tenants have equal parts, and one at
 * least, so that nobody can take what all need. */
bool tenant_has_part(const struct core *c, uint32_t has, uint32_t of)
{
        return has >= bits_max_u32(of / c->n_tenants, 1);
}

void tenant_put(struct core *c, uint32_t tenant)
{
        struct tenant *t = tenant_get(c, tenant);

        if (!t->removed || t->n_slots > 0)
                return;
        unlimit(c, t);
        memset(t, 0, sizeof *t);
        c->n_tenants--;
}

void tenant_remove(struct run *run, const struct core_ev_tenant_remove *event)
{
        struct core *c = run->core;
        struct tenant *t;

        if (event->tenant >= CORE_MAX_TENANTS || !tenant_get(c, event->tenant)->used)
                return;
        t = tenant_get(c, event->tenant);
        unlimit(c, t);
        t->removed = 1;
        t->min_bytes = t->low_bytes = 0; /* nothing is kept for whoever is left */
        limit_everywhere(c, t);
        tenant_put(c, event->tenant);
}
