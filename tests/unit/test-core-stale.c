/* SPDX-License-Identifier: MIT
 *
 * test-core-stale.c -- requests that have waited in vain for a reclaim deadline: whom they still hold up, and how they
 * have their turns where there are many.
 */
#include <criterion/criterion.h>

#include "core-world.h"
#include "internal.h"

#define SEC UINT64_C(1000000)

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 6, .max_caches = 8, .max_rows = 64, .max_requests = 400
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_stale, .init = start, .fini = stop);

/* Whoever of them is asked says that he has nothing, until nobody is. */
static void shrug_off(const struct party *a, const struct party *b, const struct party *c)
{
        const struct core_action *revoke;

        while ((revoke = answer(CORE_ACT_REVOKE)) &&
               (revoke->worker == a->worker || revoke->worker == b->worker || revoke->worker == c->worker))
                answer_revoke(revoke->worker, revoke->revoke.revoke);
}

static void wait_for(const struct party *p, uint32_t number, uint32_t pages)
{
        cr_expect_eq(grow((struct core_ev_grow){ .worker = p->worker,
                                                 .cache = p->cache,
                                                 .row = number / 16,
                                                 .first = number % 16 * 8,
                                                 .need = pages,
                                                 .max = pages,
                                                 .timeout_usec = 30 * SEC }),
                     CORE_E_NONE, "%u", number);
        shrug_off(p, p, p);
}

/* Tenant 0 waits for tenant 1, which is to be killed and takes its time; all of it is stale in the end. */
struct scene {
        struct party own, silent, third;
};

static struct scene wait_in_vain(uint32_t requests, uint32_t small)
{
        struct scene s;

        limit(0, (struct limits){ .weight = 1 });
        limit(1, (struct limits){ .weight = 1, .on_overdue = 1 });
        limit(2, (struct limits){ .weight = 1, .min = 8 });
        s.own = party(0);
        s.silent = party(1);
        s.third = party(2);
        take(&s.silent, 0, 1016);
        take(&s.third, 0, 1);
        take(&s.third, 1, 7);
        hold(s.silent.worker, s.silent.cache, 0, false);
        for (uint32_t i = 0; i < requests; i++)
                wait_for(&s.own, i, i == small ? 1 : 6);
        world.now += SEC;
        world_tick(&world);
        cr_expect_not_null(answer(CORE_ACT_KILL));
        limit(2, (struct limits){ .weight = 1 });
        shrug_off(&s.own, &s.third, &s.third);
        give_back(s.third.worker, grant_of(s.third.worker, 1));
        device_answer_all(&world);
        world.now += SEC - 1;
        world_tick(&world);
        cr_expect_eq(core_n_waiting(world.core), requests, "the page is kept for the oldest");
        world.now++;
        world_tick(&world);
        return s;
}

/* The time until so few wait, in microseconds; time passes only to the core's own deadlines. */
static uint64_t wait_until(uint32_t waiting)
{
        const uint64_t began = world.now;

        for (unsigned i = 0; core_n_waiting(world.core) > waiting; i++) {
                cr_assert_lt(i, 1000);
                world.now = core_next_deadline(world.core);
                world_tick(&world);
                device_answer_all(&world);
        }
        return world.now - began;
}

Test(core_stale, a_few_are_looked_at_at_once)
{
        wait_in_vain(4, 3);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 3);
        cr_expect_eq(current_of(0), PAGE);
}

Test(core_stale, each_of_many_has_its_turn)
{
        for (uint32_t small = 3; small < 100; small += 12) {
                stop();
                start();
                wait_in_vain(100, small);
                cr_expect_leq(wait_until(99), 34 * 10000, "number %u", small);
                cr_expect_eq(current_of(0), PAGE);
        }
}

Test(core_stale, who_has_its_turn_may_go)
{
        struct scene s = wait_in_vain(100, 99);

        cr_expect_neq(tenant_get(world.core, 0)->turn[0], NIL);
        worker_is_gone(s.own.worker);
        cr_expect_eq(tenant_get(world.core, 0)->turn[0], NIL);
        cr_expect_eq(tenant_get(world.core, 0)->fresh[0], NIL);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

/* Behind those that are stale the others keep their place: they are not passed by who has more. */
Test(core_stale, who_came_later_still_holds_up_others)
{
        struct scene s = wait_in_vain(20, NIL);

        wait_for(&s.own, 20, 2);
        shrug_off(&s.own, &s.third, &s.third);
        cr_expect_eq(want(&s.third, 0, 1), CORE_E_NONE);
        shrug_off(&s.own, &s.third, &s.third);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 22);
        world.now += SEC;
        world_tick(&world);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 21, "stale as well");
        cr_expect_eq(current_of(2), 8 * PAGE);
}

/* A page that came back lets those wait on in front who have not waited for long, and they are found again. */
Test(core_stale, a_page_that_comes_back_gives_patience_anew)
{
        struct scene s = wait_in_vain(20, NIL);

        for (uint32_t i = 20; i < 25; i++)
                wait_for(&s.own, i, 6);
        shrug_off(&s.own, &s.third, &s.third);
        world.now += SEC;
        world_tick(&world);
        shrug_off(&s.own, &s.third, &s.third);
        give_back(s.third.worker, grant_of(s.third.worker, 4));
        device_answer_all(&world);
        cr_expect_eq(want(&s.third, 0, 1), CORE_E_NONE);
        shrug_off(&s.own, &s.third, &s.third);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 26, "five are in front of it");
        world.now += SEC;
        world_tick(&world);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 25);
}

/* Tenant 0 has least, and asks for more than can come back; tenant 1, which has most, asks for a page that is there. */
static uint64_t time_until_it_passes(bool own_pages, uint64_t patience)
{
        struct party own, most, third;
        const struct party *gives = own_pages ? &own : &third;
        uint64_t began;

        stop();
        start();
        limit(0, (struct limits){ .weight = 1, .deadline_usec = patience });
        limit(1, (struct limits){ .weight = 1 });
        limit(2, (struct limits){ .weight = 1 });
        own = party(0);
        most = party(1);
        third = party(2);
        take(&most, 0, 824);
        for (uint32_t row = 0; row < 8; row++) {
                take(&own, row, 1);
                take(&third, row, 1);
        }
        began = world.now;
        wait_for(&own, 127, 250);
        shrug_off(&own, &most, &third);
        cr_expect_eq(want(&most, 1, 1), CORE_E_NONE);
        shrug_off(&own, &most, &third);
        for (uint64_t n = 1; current_of(1) == 824 * PAGE; n++) {
                const uint64_t until = began + n * patience * 7 / 10;

                cr_assert_leq(n, 8);
                if (core_next_deadline(world.core) <= until) {
                        world.now = core_next_deadline(world.core);
                        world_tick(&world);
                        n--;
                } else {
                        world.now = until;
                        give_back(gives->worker, grant_of(gives->worker, n));
                }
                shrug_off(&own, &most, &third);
                device_answer_all(&world);
        }
        return world.now - began;
}

Test(core_stale, what_its_own_tenant_gives_back_does_not_count)
{
        cr_expect_eq(time_until_it_passes(true, SEC), SEC);
        cr_expect_eq(time_until_it_passes(true, SEC / 2), SEC / 2);
}

Test(core_stale, nobody_holds_up_others_for_more_than_twice_the_deadline)
{
        cr_expect_eq(time_until_it_passes(false, SEC), 2 * SEC);
        cr_expect_eq(time_until_it_passes(false, SEC / 2), SEC);
}
