/* SPDX-License-Identifier: MIT
 *
 * tenant.c -- the accounts that memory is charged to.
 */
#include "internal.h"

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
        t->removed = 0;
        t->on_overdue = event->on_overdue;
        t->weight = event->weight;
        t->min_bytes = event->min_bytes;
        t->low_bytes = event->low_bytes;
        t->high_bytes = event->high_bytes;
        t->max_bytes = event->max_bytes;
        t->reclaim_deadline_usec = event->reclaim_deadline_usec;
        memcpy(t->name, event->name, sizeof t->name);
        t->name[sizeof t->name - 1] = '\0';
        for (uint32_t i = 0; i < c->n_devices; i++)
                core_pump_later(c, i); /* who waited at memory.max may fit now */
}

/* Whether its requests fit below memory.max, and so who is next in line, may have changed on any device. */
static void pump_waiting(struct core *c, const struct tenant *t)
{
        for (uint32_t i = 0; i < c->n_devices; i++)
                if (t->waiting_head[i] != NIL)
                        core_pump_later(c, i);
}

void tenant_charge(struct core *c, uint32_t tenant, uint64_t bytes)
{
        struct tenant *t = tenant_get(c, tenant);

        t->current_bytes += bytes;
        pump_waiting(c, t);
}

void tenant_refund(struct core *c, uint32_t tenant, uint64_t bytes)
{
        struct tenant *t = tenant_get(c, tenant);

        assert(t->current_bytes >= bytes);
        t->current_bytes -= bytes;
        pump_waiting(c, t);
}

void tenant_put(struct core *c, uint32_t tenant)
{
        struct tenant *t = tenant_get(c, tenant);

        if (!t->removed || t->workers > 0 || t->current_bytes > 0)
                return;
        memset(t, 0, sizeof *t);
        c->n_tenants--;
}

void tenant_remove(struct run *run, const struct core_ev_tenant_remove *event)
{
        struct core *c = run->core;

        if (event->tenant >= CORE_MAX_TENANTS || !tenant_get(c, event->tenant)->used)
                return;
        tenant_get(c, event->tenant)->removed = 1;
        tenant_put(c, event->tenant);
}
