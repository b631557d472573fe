/* SPDX-License-Identifier: MIT
 *
 * core-world.c -- see core-world.h.
 */
#include "core-world.h"

#include <criterion/criterion.h>
#include <string.h>

struct world world;
struct core_event event;

void start_with(const struct core_params *params)
{
        world_init(&world, 0, params);
        world.calm = true;
        add_device(0, 21, 1024, 0);
        set_tenant(0, UINT64_MAX);
}

void stop(void)
{
        world_done(&world);
}

struct core_event *begin(enum core_event_type type)
{
        world_event(&world, &event, type);
        return &event;
}

void apply(void)
{
        world_apply(&world, &event);
}

const struct core_action *answer(enum core_action_type type)
{
        for (uint32_t i = world.actions_from; i < world.actions.n; i++)
                if (world.actions.v[i].type == type)
                        return &world.actions.v[i];
        return NULL;
}

uint32_t answers(void)
{
        return world.actions.n - world.actions_from;
}

void add_device(uint32_t device, uint32_t page_shift, uint32_t pages, uint32_t virgin_pages)
{
        begin(CORE_EV_DEVICE_ADD)->device_add = (struct core_ev_device_add){ device, page_shift, pages, virgin_pages };
        apply();
}

void set_tenant(uint32_t tenant, uint64_t max_bytes)
{
        struct core_ev_tenant_set *set = &begin(CORE_EV_TENANT_SET)->tenant_set;

        set->tenant = tenant;
        set->max_bytes = max_bytes;
        set->high_bytes = UINT64_MAX;
        strcpy(set->name, "name");
        apply();
}

uint32_t add_worker(uint32_t tenant)
{
        begin(CORE_EV_WORKER_ADD)->worker_add = (struct core_ev_worker_add){ world.next_cookie++, 4711, 1000, tenant };
        apply();
        return answer(CORE_ACT_WELCOME) ? answer(CORE_ACT_WELCOME)->worker : 0;
}

void worker_is_gone(uint32_t worker)
{
        begin(CORE_EV_WORKER_GONE)->worker_gone.worker = worker;
        apply();
}

uint32_t add_cache_on(uint32_t device, uint32_t worker, uint32_t rows, uint32_t planes, uint32_t row_pages)
{
        struct core_ev_cache_create *create = &begin(CORE_EV_CACHE_CREATE)->cache_create;

        create->worker = worker;
        create->request = world.next_request++;
        create->device = device;
        create->rows = rows;
        create->n_classes = 1;
        create->classes[0] = (struct core_plane_class){ .planes = planes, .row_pages = row_pages };
        event.size = (uint16_t)core_event_size(&event);
        apply();
        return answer(CORE_ACT_REPLY_CACHE) ? answer(CORE_ACT_REPLY_CACHE)->reply.cache : 0;
}

uint32_t add_cache(uint32_t worker, uint32_t rows, uint32_t planes, uint32_t row_pages)
{
        return add_cache_on(0, worker, rows, planes, row_pages);
}

enum core_error grow(struct core_ev_grow wanted)
{
        begin(CORE_EV_GROW)->grow = wanted;
        if (event.grow.request == 0)
                event.grow.request = world.next_request++;
        apply();
        return answer(CORE_ACT_GROW_FAILED) ? (enum core_error)answer(CORE_ACT_GROW_FAILED)->failed.error : CORE_E_NONE;
}

void acknowledge(uint32_t worker, uint64_t granted)
{
        begin(CORE_EV_ACK)->ack = (struct core_ev_ack){ .worker = worker, .granted = granted };
        apply();
}

void give_back(uint32_t worker, uint64_t extent)
{
        begin(CORE_EV_RETURN)->ret = (struct core_ev_return){ .worker = worker, .extent = extent };
        apply();
}

void hold(uint32_t worker, uint32_t cache, uint32_t row, bool held)
{
        begin(CORE_EV_ROW)->row = (struct core_ev_row){ worker, cache, row, held };
        apply();
}

void answer_revoke(uint32_t worker, uint32_t revoke)
{
        begin(CORE_EV_REVOKED)->revoked = (struct core_ev_revoked){ worker, revoke };
        apply();
}

uint64_t grant_of(uint32_t worker, uint64_t number)
{
        const struct model_worker *who = model_worker(&world.model, worker);

        for (uint32_t i = 0; who && i < world.model.n_extents; i++)
                if (world.model.extents[i].worker == who->serial && world.model.extents[i].number == number)
                        return world.model.extents[i].id;
        return 0;
}

uint64_t current_of(uint32_t tenant)
{
        struct core_tenant_info info;

        cr_assert(core_tenant_info(world.core, tenant, &info));
        return info.current_bytes;
}

void limit(uint32_t tenant, struct limits limits)
{
        begin(CORE_EV_TENANT_SET)->tenant_set =
                (struct core_ev_tenant_set){ .tenant = tenant,
                                             .on_overdue = limits.on_overdue,
                                             .min_bytes = limits.min * PAGE,
                                             .low_bytes = limits.low * PAGE,
                                             .high_bytes = limits.high ? limits.high * PAGE : UINT64_MAX,
                                             .max_bytes = UINT64_MAX,
                                             .reclaim_deadline_usec = limits.deadline_usec,
                                             .weight = limits.weight };
        apply();
}

struct party party(uint32_t tenant)
{
        struct party p = { .worker = add_worker(tenant) };

        p.cache = add_cache(p.worker, 8, 1, 1024);
        return p;
}

void take(struct party *p, uint32_t row, uint32_t pages)
{
        cr_assert_eq(grow((struct core_ev_grow){
                             .worker = p->worker, .cache = p->cache, .row = row, .need = pages, .max = pages }),
                     CORE_E_NONE);
        device_answer_all(&world);
        for (uint64_t n = p->granted + 1; grant_of(p->worker, n) != 0; n++)
                p->granted = n;
        acknowledge(p->worker, p->granted);
        device_answer_all(&world);
}

enum core_error want(const struct party *p, uint32_t row, uint32_t pages)
{
        return grow((struct core_ev_grow){ .worker = p->worker,
                                           .cache = p->cache,
                                           .row = row,
                                           .need = pages,
                                           .max = pages,
                                           .timeout_usec = 30000000 });
}

void expect_revoke(const struct party *from, uint32_t level, uint64_t pages, int line)
{
        const struct core_action *revoke = answer(CORE_ACT_REVOKE);

        cr_assert_not_null(revoke, "line %d: nobody is asked", line);
        cr_expect_eq(revoke->worker, from->worker, "line %d: somebody else is asked", line);
        cr_expect_eq(revoke->revoke.level, level, "line %d: at level %u", line, revoke->revoke.level);
        cr_expect_eq(revoke->revoke.pages, pages, "line %d: for %u pages", line, (unsigned)revoke->revoke.pages);
}

void shrug(const struct party *p, uint32_t revoke)
{
        answer_revoke(p->worker, revoke);
}
