/* SPDX-License-Identifier: MIT
 *
 * test-core-overdue.c -- a worker that does not answer its revoke: what it and its tenant lose, and who waits for what
 * it has.
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

TestSuite(core_overdue, .init = start, .fini = stop);

Test(core_overdue, who_does_not_answer_is_denied_until_he_does)
{
        struct party own, silent;
        struct core_worker_info info;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        silent = party(1);
        take(&silent, 0, 1024);
        hold(silent.worker, silent.cache, 0, false);
        want(&own, 0, 4);
        ASKED(&silent, 0, 4);
        world_advance(&world, SEC);
        cr_expect_null(answer(CORE_ACT_KILL));
        cr_assert_not_null(answer(CORE_ACT_OVERDUE));
        cr_expect_eq(answer(CORE_ACT_OVERDUE)->worker, silent.worker);
        cr_expect_eq(answer(CORE_ACT_OVERDUE)->revoke.revoke, 1);
        cr_expect_eq(answer(CORE_ACT_OVERDUE)->revoke.pages, 4);
        cr_assert(core_worker_info(world.core, 1, &info));
        cr_expect_eq(info.overdue, 1);
        cr_expect_eq(want(&silent, 1, 1), CORE_E_DENIED);
        answer_revoke(silent.worker, 1);
        cr_assert_not_null(answer(CORE_ACT_LATE));
        cr_expect_eq(answer(CORE_ACT_LATE)->revoke.revoke, 1);
        cr_assert(core_worker_info(world.core, 1, &info));
        cr_expect_eq(info.overdue, 0);
        cr_expect_null(answer(CORE_ACT_DROP));
        answer_revoke(silent.worker, 1);
        cr_expect_null(answer(CORE_ACT_DROP), "a second time: nothing");
        cr_expect_null(answer(CORE_ACT_LATE));
}

Test(core_overdue, who_keeps_others_waiting_takes_nothing_from_them)
{
        struct party silent, own, other;

        set_tenant(1, UINT64_MAX);
        silent = party(0);
        own = party(0);
        other = party(1);
        take(&silent, 0, 600);
        take(&other, 0, 424);
        hold(silent.worker, silent.cache, 0, false);
        cr_expect_eq(want(&other, 1, 4), CORE_E_NONE);
        ASKED(&silent, 0, 4);
        world.now += SEC;
        world_tick(&world);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_REVOKES_OVERDUE), 1);
        answer_revoke(other.worker, 1);
        hold(other.worker, other.cache, 0, false);
        cr_expect_eq(want(&own, 0, 5), CORE_E_DEVICE_FULL, "whatever lies idle elsewhere");
        answer_revoke(silent.worker, 1);
        cr_expect_eq(want(&own, 0, 5), CORE_E_NONE);
}

/* Tenant 1 has all of the device, idle, and is to be killed where it does not answer; tenant 0 wants some. */
static void want_of_silent(struct party *own, struct party *silent)
{
        limit(1, (struct limits){ .on_overdue = 1 });
        *own = party(0);
        *silent = party(1);
        take(silent, 0, 1024);
        hold(silent->worker, silent->cache, 0, false);
        want(own, 0, 4);
}

Test(core_overdue, who_does_not_answer_is_killed_where_his_tenant_says_so)
{
        struct party own, silent;

        want_of_silent(&own, &silent);
        world.now += SEC - 1;
        world_tick(&world);
        cr_expect_null(answer(CORE_ACT_KILL));
        world.now += 1;
        world_tick(&world);
        cr_assert_not_null(answer(CORE_ACT_KILL));
        cr_expect_eq(answer(CORE_ACT_KILL)->worker, silent.worker);
        cr_expect_null(answer(CORE_ACT_GROW_FAILED), "what it has is about to come back");
        world.now += 2 * SEC;
        world_tick(&world);
        cr_expect_null(answer(CORE_ACT_GROW_FAILED), "a process can be long in dying");
        worker_is_gone(silent.worker);
        cr_expect_eq(core_n_waiting(world.core), 1);
        device_answer_all(&world);
        cr_expect_eq(current_of(1), 0);
        cr_expect_eq(current_of(0), 4 * PAGE);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_overdue, who_could_not_be_killed_and_answers_is_not_waited_for_any_more)
{
        struct party own, silent;

        want_of_silent(&own, &silent);
        ASKED(&silent, 0, 4);
        world_advance(&world, SEC);
        cr_assert_not_null(answer(CORE_ACT_KILL));
        cr_expect_null(answer(CORE_ACT_GROW_FAILED));
        answer_revoke(silent.worker, 1); /* without anything: the shell could not kill it */
        cr_assert_not_null(answer(CORE_ACT_LATE));
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
}

/* A worker of the tenant is to be killed while another of tenant 0, with nothing left of memory.max, waits. */
static enum core_error at_its_max_beside_a_dying(uint32_t tenant)
{
        struct party own, silent, rest;

        stop();
        start();
        limit(0, (struct limits){ .on_overdue = 1 });
        limit(1, (struct limits){ .on_overdue = 1 });
        limit(2, (struct limits){ .weight = 1 });
        own = party(0);
        silent = party(tenant);
        rest = party(2);
        take(&own, 0, 500);
        take(&silent, 0, 24);
        take(&rest, 0, 500);
        hold(silent.worker, silent.cache, 0, false);
        cr_expect_eq(want(&rest, 1, 4), CORE_E_NONE);
        ASKED(&silent, 0, 4);
        world.now += SEC;
        world_tick(&world);
        cr_assert_not_null(answer(CORE_ACT_KILL));
        ASKED(&rest, 1, 4);
        shrug(&rest, 1);
        ASKED(&own, 1, 4);
        shrug(&own, 1);
        begin(CORE_EV_TENANT_SET)->tenant_set = (struct core_ev_tenant_set){
                .on_overdue = 1, .high_bytes = UINT64_MAX, .max_bytes = (tenant == 0 ? 524 : 500) * PAGE
        };
        apply();
        return want(&own, 1, 4);
}

Test(core_overdue, within_memory_max_only_who_dies_of_ones_own_is_waited_for)
{
        cr_expect_eq(at_its_max_beside_a_dying(0), CORE_E_NONE);
        cr_expect_eq(at_its_max_beside_a_dying(1), CORE_E_TENANT_FULL);
}

Test(core_overdue, who_keeps_others_waiting_does_not_wait_for_the_dead_of_others)
{
        struct party own, silent, dying;

        limit(0, (struct limits){ .weight = 1 });
        limit(1, (struct limits){ .on_overdue = 1 });
        own = party(0);
        silent = party(0);
        dying = party(1);
        take(&silent, 0, 24);
        take(&dying, 0, 1000);
        hold(silent.worker, silent.cache, 0, false);
        hold(dying.worker, dying.cache, 0, false);
        cr_expect_eq(want(&own, 0, 1004), CORE_E_NONE);
        ASKED(&dying, 0, 1000);
        world.now += SEC / 2;
        world_tick(&world);
        ASKED(&silent, 0, 4);
        world.now += SEC / 2;
        world_tick(&world);
        cr_assert_not_null(answer(CORE_ACT_KILL));
        cr_expect_eq(answer(CORE_ACT_KILL)->worker, dying.worker);
        cr_expect_null(answer(CORE_ACT_GROW_FAILED));
        world.now += SEC / 2;
        world_tick(&world);
        cr_assert_not_null(answer(CORE_ACT_OVERDUE));
        cr_expect_eq(answer(CORE_ACT_OVERDUE)->worker, silent.worker);
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
}
