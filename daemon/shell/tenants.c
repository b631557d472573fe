/* SPDX-License-Identifier: MIT
 *
 * tenants.c -- see tenants.h.
 */
#include "tenants.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(CONFIG_NAME_MAX == CORE_NAME_MAX, "a tenant's name fits everywhere");

static bool tenants_is_used(const struct core *core, uint32_t index)
{
        struct core_tenant_info info;

        return core_tenant_info(core, index, &info);
}

/* The index of that name, or CORE_MAX_TENANTS. */
static uint32_t tenants_find(const struct tenants *tenants, const char *name)
{
        uint32_t i = 0;

        while (i < CORE_MAX_TENANTS && strcmp(tenants->names[i], name) != 0)
                i++;
        return i;
}

int tenants_plan(const struct tenants *tenants, const struct config *config, const struct core *core,
                 struct tenants *ret)
{
        struct tenants plan = *tenants;
        uint32_t free_index = 0;

        assert(config && core && ret);

        /* Forget the names that nothing stands behind any more, so that those still wanted keep theirs and others find
         * room. */
        for (uint32_t i = 0; i < CORE_MAX_TENANTS; i++)
                if (!tenants_is_used(core, i))
                        plan.names[i][0] = '\0';
        plan.n_config = config->n_tenants;
        for (uint32_t i = 0; i < config->n_tenants; i++) {
                uint32_t index = tenants_find(&plan, config->tenants[i].name);

                if (index == CORE_MAX_TENANTS) {
                        while (free_index < CORE_MAX_TENANTS && plan.names[free_index][0])
                                free_index++;
                        if (free_index == CORE_MAX_TENANTS)
                                return -ENOSPC;
                        index = free_index;
                        memcpy(plan.names[index], config->tenants[i].name, CORE_NAME_MAX);
                }
                plan.of_config[i] = index;
        }
        *ret = plan;
        return 0;
}

void tenants_event(const struct tenants *tenants, const struct config *config, uint32_t index, uint64_t whole,
                   uint64_t now_usec, struct core_event *ret)
{
        const struct config_tenant *t = &config->tenants[index];

        assert(index < tenants->n_config && index < config->n_tenants);

        core_event_init(ret, CORE_EV_TENANT_SET, now_usec);
        ret->tenant_set.tenant = tenants->of_config[index];
        ret->tenant_set.on_overdue = t->kill_overdue;
        ret->tenant_set.min_bytes = config_amount_bytes(&t->min, whole);
        ret->tenant_set.low_bytes = config_amount_bytes(&t->low, whole);
        ret->tenant_set.high_bytes = config_amount_bytes(&t->high, whole);
        ret->tenant_set.max_bytes = config_amount_bytes(&t->max, whole);
        ret->tenant_set.reclaim_deadline_usec = t->reclaim_deadline_usec;
        ret->tenant_set.weight = t->weight;
        memcpy(ret->tenant_set.name, t->name, CORE_NAME_MAX);
}
