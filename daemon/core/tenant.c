/* SPDX-License-Identifier: MIT
 *
 * tenant.c -- the accounts that memory is charged to, and what each device owes them (`unmet`) or they owe it (`n_over`).
 */
#include "internal.h"

/* Takes the tenant's part out of the device's sums before it changes, and puts it back afterwards. */
static void account(struct core *c, const struct tenant *t, uint32_t device, bool comes)
{
        struct device *d = device_get(c, device);
        const uint64_t unmet = tenant_unmet(d, t, device);
        const uint32_t over = t->current[device] > pages_at_most(d, t->max_bytes);

        d->unmet = comes ? d->unmet + unmet : d->unmet - unmet;
        d->n_over = comes ? d->n_over + over : d->n_over - over;
}

void tenant_add_device(struct core *c, uint32_t device)
{
        for (uint32_t i = 0; i < c->top_tenant; i++)
                if (tenant_get(c, i)->used)
                        account(c, tenant_get(c, i), device, true);
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
                        t->waiting_head[i] = t->waiting_tail[i] = NIL;
                c->n_tenants++;
                c->top_tenant = bits_max_u32(c->top_tenant, event->tenant + 1);
        }
        for (uint32_t i = 0; i < c->n_devices; i++)
                account(c, t, i, false);
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
        for (uint32_t i = 0; i < c->n_devices; i++) {
                account(c, t, i, true);
                core_pump_later(c, i); /* who waited may fit now, or memory has to be asked back */
        }
}

/* So many pages more (or less, modulo 2^32). Whether requests fit, and who is next in line, may have changed. */
static void change(struct core *c, uint32_t tenant, uint32_t device, uint32_t pages)
{
        struct tenant *t = tenant_get(c, tenant);

        account(c, t, device, false);
        t->current[device] += pages;
        account(c, t, device, true);
        if (c->devices[device].n_waiting > 0)
                core_pump_later(c, device);
}

void tenant_charge(struct core *c, uint32_t tenant, uint32_t device, uint32_t pages)
{
        tenant_get(c, tenant)->current_bytes += (uint64_t)pages << c->devices[device].page_shift;
        change(c, tenant, device, pages);
}

void tenant_refund(struct core *c, uint32_t tenant, uint32_t device, uint32_t pages)
{
        struct tenant *t = tenant_get(c, tenant);

        assert(t->current[device] >= pages);
        t->current_bytes -= (uint64_t)pages << c->devices[device].page_shift;
        change(c, tenant, device, 0u - pages);
}

void tenant_put(struct core *c, uint32_t tenant)
{
        struct tenant *t = tenant_get(c, tenant);

        if (!t->removed || t->workers > 0 || t->current_bytes > 0)
                return;
        for (uint32_t i = 0; i < c->n_devices; i++)
                account(c, t, i, false);
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
        for (uint32_t i = 0; i < c->n_devices; i++)
                account(c, t, i, false);
        t->removed = 1;
        t->min_bytes = t->low_bytes = 0; /* nothing is kept for whoever is left */
        for (uint32_t i = 0; i < c->n_devices; i++) {
                account(c, t, i, true);
                core_pump_later(c, i);
        }
        tenant_put(c, event->tenant);
}
