/* SPDX-License-Identifier: MIT
 *
 * test-core-reclaim.c -- who is asked to give back how much, at which level, and when: the rules of policy.c and
 * reclaim.c, each with numbers.
 */
#include <criterion/criterion.h>

#include "core-world.h"
#include "internal.h"

#define MSEC UINT64_C(1000)
#define SEC  UINT64_C(1000000)

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 6, .max_caches = 8, .max_rows = 32, .max_requests = 30
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_reclaim, .init = start, .fini = stop);

/* ---- idle rows ---- */

Test(core_reclaim, ones_own_idle_rows_go_first_and_then_the_largest)
{
        struct party own, few, many;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        few = party(1);
        many = party(1);
        take(&own, 0, 16);
        take(&own, 1, 16);
        take(&few, 0, 64);
        take(&many, 0, 256);
        take(&few, 1, 672);
        hold(own.worker, own.cache, 0, false);
        hold(few.worker, few.cache, 0, false);
        hold(many.worker, many.cache, 0, false);
        cr_expect_eq(want(&own, 2, 100), CORE_E_NONE);
        ASKED(&own, 0, 16);
        shrug(&own, 1);
        ASKED(&many, 0, 100);
        shrug(&many, 1);
        ASKED(&few, 0, 64);
        shrug(&few, 1);
        ASKED(&own, 1, 16);
}

Test(core_reclaim, no_more_is_asked_for_than_is_short)
{
        struct party own, other;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        other = party(1);
        take(&other, 0, 512);
        take(&other, 1, 507);
        hold(other.worker, other.cache, 0, false);
        cr_expect_eq(want(&own, 0, 21), CORE_E_NONE);
        ASKED(&other, 0, 16); /* five are free */
        cr_expect_eq(want(&own, 1, 3), CORE_E_NONE);
        NOT_ASKED(); /* one after the other */
        cr_expect_eq(core_counter(world.core, CORE_COUNT_PAGES_REVOKED), 16);
}

Test(core_reclaim, what_is_on_its_way_counts)
{
        struct party own, other;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        other = party(1);
        take(&other, 0, 960);
        take(&other, 1, 64);
        hold(other.worker, other.cache, 0, false);
        give_back(other.worker, grant_of(other.worker, 1)); /* 64 pages, being destroyed */
        cr_expect_eq(want(&own, 0, 64), CORE_E_NONE);
        NOT_ASKED();
        cr_expect_eq(want(&own, 1, 1), CORE_E_NONE);
        NOT_ASKED();
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 1, "the first is served, and the second asks for itself");
        cr_expect_eq(core_counter(world.core, CORE_COUNT_PAGES_REVOKED), 1);
}

Test(core_reclaim, within_memory_max_only_ones_own_counts)
{
        struct party own, other;

        limit(1, (struct limits){ .weight = 1 });
        own = party(0);
        other = party(1);
        take(&own, 0, 4);
        take(&own, 1, 4);
        take(&other, 0, 4);
        set_tenant(0, 8 * PAGE);
        give_back(other.worker, grant_of(other.worker, 1));
        cr_expect_eq(want(&own, 2, 4), CORE_E_NONE);
        ASKED(&own, 1, 4);
        give_back(own.worker, grant_of(own.worker, 1));
        give_back(own.worker, grant_of(own.worker, 2));
        shrug(&own, 1);
        NOT_ASKED(); /* all eight are coming */
        cr_expect_eq(want(&own, 3, 4), CORE_E_NONE);
        NOT_ASKED();
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(current_of(0), 8 * PAGE);
}

Test(core_reclaim, all_that_is_on_its_way_counts_within_memory_max)
{
        struct party own = party(0);

        take(&own, 0, 4);
        take(&own, 1, 4);
        set_tenant(0, 8 * PAGE);
        give_back(own.worker, grant_of(own.worker, 1));
        give_back(own.worker, grant_of(own.worker, 2));
        cr_expect_eq(want(&own, 2, 8), CORE_E_NONE);
        NOT_ASKED();
        cr_expect_null(answer(CORE_ACT_GROW_FAILED));
        device_answer(&world, 0);
        cr_expect_eq(core_n_waiting(world.core), 1);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_reclaim, below_memory_low_idle_rows_are_left_alone)
{
        struct party own, guarded, open;

        limit(1, (struct limits){ .low = 100 });
        limit(2, (struct limits){ .low = 0 });
        own = party(0);
        guarded = party(1);
        open = party(2);
        take(&guarded, 0, 120);
        take(&open, 0, 10);
        take(&own, 0, 894);
        hold(guarded.worker, guarded.cache, 0, false);
        hold(open.worker, open.cache, 0, false);
        cr_expect_eq(want(&own, 1, 200), CORE_E_NONE);
        ASKED(&guarded, 0, 20); /* what it has above its low */
        shrug(&guarded, 1);
        ASKED(&open, 0, 10);
}

Test(core_reclaim, who_may_keep_all_he_has_is_not_waited_for)
{
        struct party own, guarded;

        limit(1, (struct limits){ .low = 200, .weight = 1 });
        own = party(0);
        guarded = party(1);
        take(&own, 0, 900);
        take(&guarded, 0, 124);
        hold(guarded.worker, guarded.cache, 0, false);
        cr_expect_eq(want(&own, 1, 10), CORE_E_NONE);
        ASKED(&own, 1, 10);
        shrug(&own, 1);
        NOT_ASKED();
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
}

Test(core_reclaim, another_is_asked_as_well_after_a_tenth_of_a_second)
{
        struct party own, first, second;
        uint64_t began;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        first = party(1);
        second = party(1);
        take(&first, 0, 600);
        take(&second, 0, 424);
        hold(first.worker, first.cache, 0, false);
        hold(second.worker, second.cache, 0, false);
        cr_expect_eq(want(&own, 0, 700), CORE_E_NONE);
        ASKED(&first, 0, 600);
        began = world.now;
        cr_expect_leq(core_next_deadline(world.core), began + 100 * MSEC);
        grow((struct core_ev_grow){
                .worker = own.worker, .cache = own.cache, .row = 1, .need = 1, .max = 1, .timeout_usec = 50 * MSEC });
        world.now = began + 50 * MSEC;
        world_tick(&world);
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
        NOT_ASKED();
        cr_expect_leq(core_next_deadline(world.core), began + 100 * MSEC);
        world.now = began + 100 * MSEC - 1;
        world_tick(&world);
        NOT_ASKED();
        cr_expect_leq(core_next_deadline(world.core), began + 100 * MSEC);
        world.now = began + 100 * MSEC;
        world_tick(&world);
        ASKED(&second, 0, 100);
}

Test(core_reclaim, the_next_is_asked_though_the_first_is_still_silent)
{
        struct party own, silent, empty, next;
        uint64_t began;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        silent = party(1);
        empty = party(1);
        next = party(1);
        take(&silent, 0, 500);
        take(&empty, 0, 300);
        take(&next, 0, 224);
        hold(silent.worker, silent.cache, 0, false);
        hold(empty.worker, empty.cache, 0, false);
        hold(next.worker, next.cache, 0, false);
        cr_expect_eq(want(&own, 0, 900), CORE_E_NONE);
        ASKED(&silent, 0, 500);
        began = world.now;
        world.now = began + 100 * MSEC;
        world_tick(&world);
        ASKED(&empty, 0, 300);
        shrug(&empty, 1);
        NOT_ASKED();
        world.now = began + 200 * MSEC;
        world_tick(&world);
        ASKED(&next, 0, 224);
}

Test(core_reclaim, while_one_who_was_asked_may_answer_nothing_is_hopeless)
{
        struct party own = party(0), other = party(0);

        take(&other, 0, 1024);
        hold(other.worker, other.cache, 0, false);
        cr_expect_eq(want(&own, 0, 700), CORE_E_NONE);
        ASKED(&other, 0, 700);
        for (unsigned i = 0; i < 9; i++) {
                world.now += 100 * MSEC;
                world_tick(&world);
                NOT_ASKED();
                cr_expect_eq(core_n_waiting(world.core), 1);
        }
        world.now += 100 * MSEC;
        world_tick(&world);
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED), "now it will not answer");
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
}

Test(core_reclaim, who_gave_less_is_not_asked_again_until_something_changes)
{
        struct party own, other;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        other = party(1);
        take(&other, 0, 1016);
        take(&other, 1, 8);
        hold(other.worker, other.cache, 0, false);
        cr_expect_eq(want(&own, 0, 8), CORE_E_NONE);
        ASKED(&other, 0, 8);
        shrug(&other, 1);
        ASKED(&other, 1, 8);
        shrug(&other, 2);
        ASKED(&other, 2, 8);
        shrug(&other, 3);
        NOT_ASKED();
        hold(other.worker, other.cache, 1, false);
        ASKED(&other, 0, 8);
}

Test(core_reclaim, who_is_asked_for_another_devices_pages_is_waited_for)
{
        struct party own = party(0), other = party(0);
        uint32_t second, third;

        add_device(1, 21, 64, 0);
        second = add_cache_on(1, other.worker, 1, 1, 64);
        third = add_cache_on(1, own.worker, 1, 1, 64);
        take(&other, 0, 1024);
        cr_assert_eq(grow((struct core_ev_grow){ .worker = other.worker, .cache = second, .need = 64, .max = 64 }),
                     CORE_E_NONE);
        device_answer_all(&world);
        acknowledge(other.worker, other.granted + 1);
        cr_assert_eq(grow((struct core_ev_grow){
                             .worker = own.worker, .cache = third, .need = 1, .max = 1, .timeout_usec = SEC }),
                     CORE_E_NONE);
        ASKED(&other, 1, 1);
        cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.device, 1);
        cr_expect_eq(want(&own, 0, 5), CORE_E_NONE);
        cr_expect_null(answer(CORE_ACT_GROW_FAILED));
        NOT_ASKED();
        give_back(other.worker, grant_of(other.worker, other.granted + 1));
        device_answer_all(&world);
        shrug(&other, 1);
        ASKED(&other, 1, 5);
        cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.device, 0);
}

Test(core_reclaim, who_has_nothing_left_to_give_is_not_waited_for)
{
        struct party own = party(0), other = party(0);
        uint32_t second, third;

        add_device(1, 21, 64, 0);
        second = add_cache_on(1, other.worker, 1, 1, 64);
        third = add_cache_on(1, own.worker, 1, 1, 64);
        take(&other, 0, 1024);
        grow((struct core_ev_grow){ .worker = other.worker, .cache = second, .need = 64, .max = 64 });
        device_answer_all(&world);
        acknowledge(other.worker, other.granted + 1);
        cr_expect_eq(want(&own, 0, 5), CORE_E_NONE);
        ASKED(&other, 1, 5);
        shrug(&other, 1);
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
        grow((struct core_ev_grow){ .worker = own.worker, .cache = third, .need = 1, .max = 1, .timeout_usec = SEC });
        ASKED(&other, 1, 1); /* for the other device's pages */
        cr_expect_eq(want(&own, 0, 5), CORE_E_DEVICE_FULL);
        hold(other.worker, other.cache, 0, false);
        cr_expect_eq(want(&own, 0, 5), CORE_E_NONE, "it stirred");
        NOT_ASKED();
}

/* A worker that is asked for device 1's pages has on device 0 what `idle` says, and was asked for idle rows there in
 * vain: then the claim went away. */
static void asked_in_vain(struct party *own, uint32_t idle, uint32_t held)
{
        struct party other;
        uint32_t second, third;

        stop();
        start();
        add_device(1, 21, 64, 0);
        *own = party(0);
        other = party(0);
        second = add_cache_on(1, other.worker, 1, 1, 64);
        third = add_cache_on(1, own->worker, 1, 1, 64);
        take(own, 1, 1024 - idle - held);
        if (held > 0)
                take(&other, 1, held);
        take(&other, 0, idle);
        hold(other.worker, other.cache, 0, false);
        hold(own->worker, own->cache, 1, true);
        grow((struct core_ev_grow){ .worker = other.worker, .cache = second, .need = 64, .max = 64 });
        device_answer_all(&world);
        acknowledge(other.worker, other.granted + 1);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = own->worker,
                                                 .cache = own->cache,
                                                 .row = 2,
                                                 .need = 1,
                                                 .max = 1,
                                                 .timeout_usec = 10 }),
                     CORE_E_NONE);
        ASKED(&other, 0, 1);
        world.now += 10;
        world_tick(&world);
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
        shrug(&other, 1);
        NOT_ASKED();
        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = own->worker, .cache = third, .need = 1, .max = 1, .timeout_usec = 10 * SEC }),
                     CORE_E_NONE);
        ASKED(&other, 1, 1);
        /* The requester's own held row is tried as well. */
        cr_expect_eq(want(own, 2, 1), CORE_E_NONE);
        ASKED(own, 1, 1);
        shrug(own, 1);
        NOT_ASKED();
}

Test(core_reclaim, who_gave_no_idle_rows_may_still_give_held_ones)
{
        struct party own;

        asked_in_vain(&own, 20, 4);
        cr_expect_null(answer(CORE_ACT_GROW_FAILED), "it may have a page of the held ones");
        asked_in_vain(&own, 20, 0);
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED), "it said that it has none");
}

Test(core_reclaim, who_gave_all_he_had_is_waited_for_until_he_says_so)
{
        struct party own = party(0), other = party(0), rest = party(0);

        take(&other, 0, 600);
        take(&rest, 0, 424);
        hold(other.worker, other.cache, 0, false);
        cr_expect_eq(want(&own, 0, 700), CORE_E_NONE);
        ASKED(&other, 0, 600);
        for (uint64_t i = 1; i <= other.granted; i++)
                give_back(other.worker, grant_of(other.worker, i));
        device_answer_all(&world);
        world.now += 100 * MSEC;
        world_tick(&world);
        ASKED(&rest, 1, 100);
        shrug(&rest, 1);
        for (unsigned i = 0; i < 2; i++) {
                NOT_ASKED();
                cr_expect_eq(core_n_waiting(world.core), 1);
                world.now += 100 * MSEC;
                world_tick(&world);
        }
        shrug(&other, 1);
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
}

Test(core_reclaim, what_was_mapped_a_moment_ago_may_be_asked_back)
{
        for (uint32_t tenant = 0; tenant < 2; tenant++) {
                struct party own, other;

                stop();
                start();
                set_tenant(1, UINT64_MAX);
                own = party(tenant);
                other = party(1 - tenant);
                grow((struct core_ev_grow){ .worker = other.worker, .cache = other.cache, .need = 1024, .max = 1024 });
                device_answer_all(&world);
                cr_expect_eq(want(&own, 0, 5), CORE_E_NONE);
                NOT_ASKED(); /* who knows whether it could map any */
                acknowledge(other.worker, 16);
                ASKED(&other, 1, 5);
        }
}

/* Another worker of the same tenant, of whom nothing is hoped for: what it was granted a moment ago may still be slack.
 * It is asked at once whether it arrived, and waited for as long as for anybody. */
Test(core_reclaim, who_has_not_said_what_arrived_is_waited_for)
{
        for (uint32_t says = 0; says < 2; says++) {
                const uint64_t patience = 1000000;
                struct party own, other;
                uint64_t began;

                stop();
                start();
                own = party(0);
                other = party(0);
                began = world.now;
                grow((struct core_ev_grow){ .worker = other.worker, .cache = other.cache, .need = 1024, .max = 1024 });
                device_answer_all(&world);
                cr_expect_eq(want(&own, 0, 5), CORE_E_NONE);
                NOT_ASKED();
                cr_expect_leq(core_next_deadline(world.core), began);
                world_tick(&world);
                cr_assert_not_null(answer(CORE_ACT_SYNC));
                cr_expect_eq(answer(CORE_ACT_SYNC)->worker, other.worker);
                if (says) {
                        acknowledge(other.worker, 16);
                        ASKED(&other, 1, 5);
                        continue;
                }
                world.now = began + patience - 1;
                world_tick(&world);
                cr_expect_eq(core_n_waiting(world.core), 1);
                world.now++;
                world_tick(&world);
                cr_assert_not_null(answer(CORE_ACT_GROW_FAILED), "it is as silent, and nobody is held up by that");
                cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
                cr_expect_null(answer(CORE_ACT_SYNC), "once is enough");
        }
}

Test(core_reclaim, who_could_not_be_asked_anyway_need_not_say_what_arrived)
{
        struct party own, other;

        /* Within memory.max another tenant's pages are no help, */
        set_tenant(0, 10 * PAGE);
        set_tenant(1, UINT64_MAX);
        own = party(0);
        other = party(1);
        take(&own, 0, 10);
        grow((struct core_ev_grow){ .worker = other.worker, .cache = other.cache, .need = 64, .max = 64 });
        device_answer_all(&world);
        cr_expect_eq(want(&own, 1, 5), CORE_E_NONE);
        ASKED(&own, 1, 5);
        shrug(&own, 1);
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_TENANT_FULL);
        /* and of who keeps others waiting nothing is to be had. */
        stop();
        start();
        own = party(0);
        other = party(0);
        take(&other, 0, 960);
        grow((struct core_ev_grow){ .worker = other.worker, .cache = other.cache, .row = 1, .need = 64, .max = 64 });
        device_answer_all(&world);
        cr_expect_eq(want(&own, 0, 5), CORE_E_NONE);
        ASKED(&other, 1, 5);
        world.now += 1000000;
        world_tick(&world);
        cr_assert_not_null(answer(CORE_ACT_OVERDUE));
        cr_expect_eq(want(&own, 1, 5), CORE_E_DEVICE_FULL);
}

Test(core_reclaim, applications_are_pressed_only_when_all_others_have_answered)
{
        struct party own, silent, rest;

        set_tenant(1, UINT64_MAX);
        set_tenant(2, UINT64_MAX);
        own = party(0);
        silent = party(1);
        rest = party(2);
        take(&silent, 0, 3);
        take(&rest, 0, 1021);
        hold(silent.worker, silent.cache, 0, false);
        cr_expect_eq(want(&own, 0, 5), CORE_E_NONE);
        ASKED(&silent, 0, 3);
        world.now += 100 * MSEC;
        world_tick(&world);
        ASKED(&rest, 1, 2);
        shrug(&rest, 1);
        NOT_ASKED();
        world.now += 100 * MSEC;
        world_tick(&world);
        NOT_ASKED();
        shrug(&silent, 1);
        ASKED(&rest, 2, 5);
}

/* ---- the watermarks ---- */

Test(core_reclaim, below_a_64th_idle_rows_are_asked_back_up_to_a_32nd)
{
        struct party p = party(0);

        take(&p, 0, 512);
        take(&p, 1, 496);
        hold(p.worker, p.cache, 0, false);
        NOT_ASKED(); /* 16 of 1,024 are left: not below */
        cr_expect_eq(core_counter(world.core, CORE_COUNT_REVOKES), 0);
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 2, .need = 1, .max = 1 });
        ASKED(&p, 0, 17); /* 15 are left, 32 are to be */
}

Test(core_reclaim, below_a_64th_a_single_idle_page_is_asked_back)
{
        struct party p = party(0);

        take(&p, 0, 1007);
        take(&p, 1, 1);
        hold(p.worker, p.cache, 1, false);
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 2, .need = 1, .max = 1 });
        ASKED(&p, 0, 1);
}

Test(core_reclaim, for_the_watermark_too_what_is_on_its_way_counts)
{
        struct party p = party(0);

        take(&p, 0, 512); /* 8 of 64 */
        take(&p, 1, 241); /* 3 of 64, 3 of 16, and a page */
        take(&p, 2, 255);
        hold(p.worker, p.cache, 0, false);
        give_back(p.worker, grant_of(p.worker, 15));
        cr_assert_eq(world.device.n_operations, 1);
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 3, .need = 1, .max = 1 });
        NOT_ASKED(); /* 15 and the page that comes */
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 4, .need = 4, .max = 4 });
        ASKED(&p, 0, 20); /* 11, one that comes, and 20 are 32 */
}

Test(core_reclaim, below_a_64th_held_rows_are_left_alone)
{
        struct party p = party(0);

        take(&p, 0, 1015);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_REVOKES), 0);
        take(&p, 1, 4);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_REVOKES), 0);
        hold(p.worker, p.cache, 1, false);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_REVOKES), 0, "an idle row alone is no reason");
        take(&p, 2, 1);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_PAGES_REVOKED), 4);
}

/* ---- limits that were changed ---- */

Test(core_reclaim, what_is_above_a_lowered_max_is_asked_back_of_that_tenant_alone)
{
        struct party own, other;

        set_tenant(1, UINT64_MAX);
        own = party(0);
        other = party(1);
        take(&own, 0, 30);
        take(&other, 0, 30);
        take(&own, 1, 20);
        hold(own.worker, own.cache, 1, false);
        hold(other.worker, other.cache, 0, false);
        set_tenant(0, 50 * PAGE);
        NOT_ASKED();
        set_tenant(0, 45 * PAGE);
        ASKED(&own, 0, 5);
        shrug(&own, 1);
        ASKED(&own, 1, 5);
        shrug(&own, 2);
        ASKED(&own, 2, 5);
        shrug(&own, 3);
        NOT_ASKED();
        hold(own.worker, own.cache, 0, false);
        ASKED(&own, 0, 5); /* now it has something to give */
}

Test(core_reclaim, what_a_raised_min_lacks_is_asked_back_of_the_others)
{
        struct party other;

        set_tenant(1, UINT64_MAX);
        other = party(1);
        take(&other, 0, 1000);
        limit(0, (struct limits){ .min = 24 });
        NOT_ASKED();
        limit(0, (struct limits){ .min = 64 });
        ASKED(&other, 1, 40);
        shrug(&other, 1);
        ASKED(&other, 2, 40);
        shrug(&other, 2);
        NOT_ASKED();
        hold(other.worker, other.cache, 0, false);
        ASKED(&other, 0, 40);
}

Test(core_reclaim, for_a_raised_min_memory_low_does_not_count)
{
        struct party other;

        limit(1, (struct limits){ .low = 1024 });
        other = party(1);
        take(&other, 0, 1000);
        hold(other.worker, other.cache, 0, false);
        NOT_ASKED();
        limit(0, (struct limits){ .min = 64 });
        ASKED(&other, 0, 40);
}

Test(core_reclaim, for_a_raised_min_others_are_pressed_to_their_own)
{
        struct party other;

        limit(1, (struct limits){ .min = 960 });
        other = party(1);
        take(&other, 0, 1000);
        limit(0, (struct limits){ .min = 64 });
        ASKED(&other, 1, 40);
        shrug(&other, 1);
        ASKED(&other, 2, 40);
        shrug(&other, 2);
        NOT_ASKED();
}
