/* SPDX-License-Identifier: MIT
 *
 * test-core-missing.c -- memory that the device says is gone is sold to nobody, and who gave back what did not come
 * free gets nothing until it does.
 */
#include <criterion/criterion.h>

#include "core-world.h"
#include "internal.h"

#define SEC UINT64_C(1000000)

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 6, .max_caches = 8, .max_rows = 32, .max_requests = 30
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_missing, .init = start, .fini = stop);

static void miss(uint32_t device, uint32_t pages)
{
        begin(CORE_EV_DEVICE_MISSING)->device_missing = (struct core_ev_device_missing){ device, pages };
        apply();
}

static void suspect(uint32_t worker, uint32_t device)
{
        begin(CORE_EV_SUSPECT)->suspect = (struct core_ev_suspect){ worker, device };
        apply();
}

static bool is_suspect(uint32_t slot)
{
        struct core_worker_info info;

        cr_assert(core_worker_info(world.core, slot, &info));
        return info.suspect;
}

static enum core_error grow_one(const struct party *p, uint32_t row)
{
        return grow((struct core_ev_grow){ .worker = p->worker, .cache = p->cache, .row = row, .need = 1, .max = 1 });
}

Test(core_missing, pages_are_promised_to_nobody)
{
        struct party p = party(0);
        struct core_device_info info;

        miss(0, 100);
        cr_assert(core_device_info(world.core, 0, &info));
        cr_expect_eq(info.missing_bytes, 100 * PAGE);
        cr_expect_eq(info.capacity_bytes, 1024 * PAGE);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .need = 925, .max = 925 }),
                     CORE_E_DEVICE_FULL);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .need = 924, .max = 924 }),
                     CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(grow_one(&p, 1), CORE_E_DEVICE_FULL);
        miss(0, 99);
        cr_expect_eq(grow_one(&p, 1), CORE_E_NONE);
        miss(0, 5000);
        cr_assert(core_device_info(world.core, 0, &info));
        cr_expect_eq(info.missing_bytes, 1024 * PAGE, "all of it, and no more");
        cr_expect_eq(grow_one(&p, 2), CORE_E_DEVICE_FULL);
}

Test(core_missing, who_waits_is_served_when_they_are_back)
{
        struct party p = party(0), other = party(0);

        take(&other, 0, 960);
        miss(0, 64);
        cr_expect_eq(want(&p, 0, 64), CORE_E_NONE);
        ASKED(&other, 1, 64);
        miss(0, 1);
        cr_expect_eq(core_n_waiting(world.core), 1);
        cr_expect_null(answer(CORE_ACT_CREATE));
        miss(0, 0);
        cr_expect_not_null(answer(CORE_ACT_CREATE));
}

Test(core_missing, nothing_is_made_ahead_in_their_place)
{
        uint32_t worker = add_worker(0), cache;

        add_device(1, 16, 100, 40); /* 10 of 1 and 2 of 4: 82 pages stay free */
        device_answer_all(&world);
        miss(1, 80);
        cache = add_cache_on(1, worker, 1, 6, 64);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 }), CORE_E_NONE);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(world.device.n_operations, 2, "of the six that were taken");
}

Test(core_missing, a_suspect_keeps_what_it_was_granted_of_a_request_that_fails)
{
        struct party p = party(0);

        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .need = 5, .max = 5 });
        device_answer(&world, 0); /* the first four */
        suspect(p.worker, 0);
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DENIED);
        cr_expect_eq(current_of(0), 4 * PAGE, "and its row stays held");
}

Test(core_missing, a_suspect_gets_nothing_for_a_minute)
{
        struct party p = party(0), other = party(0);
        uint64_t began = world.now;

        cr_expect_eq(grow_one(&p, 0), CORE_E_NONE);
        suspect(p.worker, 0);
        cr_expect(is_suspect(0));
        cr_expect(!is_suspect(1));
        cr_expect_null(answer(CORE_ACT_KILL));
        world_tick(&world);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(current_of(0), 0, "what it was promised it does not get");
        cr_expect_eq(grow_one(&p, 1), CORE_E_DENIED);
        cr_expect_eq(grow_one(&other, 0), CORE_E_NONE);
        device_answer_all(&world);
        acknowledge(other.worker, 1);
        world.now = began + 60 * SEC - 1;
        world_tick(&world);
        cr_expect(is_suspect(0));
        cr_expect_leq(core_next_deadline(world.core), began + 60 * SEC);
        world.now = began + 60 * SEC;
        world_tick(&world);
        cr_expect(!is_suspect(0));
        cr_expect_eq(grow_one(&p, 1), CORE_E_NONE);
}

Test(core_missing, a_suspect_is_one_no_more_when_all_is_back_that_it_was_suspected_for)
{
        struct party p = party(0);

        add_device(1, 21, 64, 0);
        miss(0, 5);
        miss(1, 5);
        suspect(p.worker, 0);
        suspect(p.worker, 1);
        miss(0, 1);
        cr_expect(is_suspect(0));
        miss(0, 0);
        cr_expect(is_suspect(0), "of the other device");
        miss(1, 0);
        cr_expect(!is_suspect(0));
        cr_expect_eq(grow_one(&p, 0), CORE_E_NONE);
}

Test(core_missing, nobody_is_killed_on_suspicion_whatever_his_tenant_says)
{
        struct party p;

        add_device(1, 21, 64, 0);
        limit(0, (struct limits){ .on_overdue = 1 });
        p = party(0);
        suspect(p.worker, 2);
        cr_expect_eq(answers(), 0, "there is no such device");
        suspect(p.worker, 0);
        cr_expect_null(answer(CORE_ACT_KILL));
        cr_expect(is_suspect(0));
        cr_expect_eq(grow_one(&p, 0), CORE_E_DENIED);
        suspect(p.worker, 1);
        cr_expect_null(answer(CORE_ACT_KILL));
        suspect(p.worker + 65536, 0);
        cr_expect_eq(answers(), 0, "nor such a worker");
}
