/* SPDX-License-Identifier: MIT
 *
 * test-core-policy.c -- the rules of policy.c, each with numbers: what a tenant may keep, and whose turn it is.
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

TestSuite(core_policy, .init = start, .fini = stop);

/* ---- what each tenant may keep ---- */

Test(core_policy, for_a_guarantee_memory_low_does_not_count_and_memory_min_does)
{
        struct party own, other;

        limit(1, (struct limits){ .min = 1004, .low = 1024 });
        other = party(1);
        take(&other, 0, 1024);
        hold(other.worker, other.cache, 0, false);
        own = party(0);
        cr_expect_eq(want(&own, 0, 10), CORE_E_NONE);
        cr_expect_null(answer(CORE_ACT_GROW_FAILED), "the other has more than its share");
        NOT_ASKED(); /* but all of it is below its low */
        limit(0, (struct limits){ .min = 30 });
        ASKED(&other, 0, 10);
        shrug(&other, 1);
        cr_expect_eq(want(&own, 1, 15), CORE_E_NONE);
        hold(other.worker, other.cache, 0, true);
        hold(other.worker, other.cache, 0, false);
        ASKED(&other, 0, 10);
        cr_expect_eq(core_n_waiting(world.core), 2);
}

/* Where there are fewer extents than pages, some are kept: as many as the guarantee takes in the largest size. */
Test(core_policy, single_pages_leave_extents_for_a_guarantee)
{
        struct core_params few = params;
        struct party own, other;
        uint64_t pages = 0;

        few.max_extents = 64;
        stop();
        start_with(&few);
        limit(0, (struct limits){ .weight = 1 });
        limit(1, (struct limits){ .weight = 1, .min = 7 * 64 + 1 });
        own = party(0);
        other = party(1);
        while (grow((struct core_ev_grow){ .worker = own.worker,
                                           .cache = own.cache,
                                           .row = (uint32_t)pages / 512,
                                           .first = (uint32_t)pages % 512 * 2,
                                           .need = 1,
                                           .max = 1 }) == CORE_E_NONE) {
                cr_assert_leq(++pages, 64);
                device_answer_all(&world);
                acknowledge(own.worker, pages);
        }
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
        cr_expect_eq(pages, 64 - 8);
        for (uint32_t i = 0; i < 8; i++)
                take(&other, i, i < 7 ? 64 : 1);
        cr_expect_eq(current_of(1), (7 * 64 + 1) * PAGE);
}

Test(core_policy, nobody_is_asked_for_what_he_is_guaranteed)
{
        struct party own, other;

        limit(0, (struct limits){ .min = 20 });
        limit(1, (struct limits){ .min = 1000 });
        other = party(1);
        take(&other, 0, 1004);
        hold(other.worker, other.cache, 0, false);
        NOT_ASKED();
        own = party(0);
        take(&own, 0, 20);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_PAGES_REVOKED), 4, "for the watermark");
        cr_expect_eq(want(&own, 1, 5), CORE_E_NONE);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_PAGES_REVOKED), 4);
        shrug(&other, 1);
        ASKED(&own, 1, 5);
        shrug(&own, 1);
        NOT_ASKED();
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
}

Test(core_policy, applications_are_pressed_down_to_memory_high)
{
        struct party own, other;

        for (uint32_t pages = 24; pages <= 25; pages++) {
                stop();
                start();
                limit(1, (struct limits){ .high = 1000 });
                own = party(0);
                other = party(1);
                take(&other, 0, 1024);
                cr_expect_eq(want(&own, 0, pages), CORE_E_NONE);
                ASKED(&other, 1, pages);
                shrug(&other, 1);
                if (pages > 24) {
                        NOT_ASKED(); /* it would not be enough */
                        continue;
                }
                ASKED(&other, 2, pages);
                shrug(&other, 2);
                NOT_ASKED();
        }
}

/* One that has nothing but what is in use wants so many pages of the other's thousand. */
static void shares(uint32_t own_weight, uint32_t other_weight, uint32_t pages, bool fair)
{
        struct party own, other;

        stop();
        start();
        limit(0, (struct limits){ .weight = own_weight });
        limit(1, (struct limits){ .weight = other_weight });
        own = party(0);
        other = party(1);
        take(&other, 0, 1000);
        take(&own, 0, 24);
        cr_expect_eq(want(&own, 1, pages), CORE_E_NONE);
        ASKED(&own, 1, 24);
        shrug(&own, 1);
        ASKED(&other, 1, pages);
        shrug(&other, 1);
        if (fair) {
                ASKED(&other, 2, pages);
                return;
        }
        NOT_ASKED();
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
}

Test(core_policy, applications_are_pressed_down_to_what_is_fair)
{
        shares(1, 1, 100, true);
        shares(1, 1, 488, true); /* 512 each */
        shares(1, 1, 489, false);
        shares(1, 1, 976, false);
        shares(1, 3, 200, true);
        shares(1, 3, 232, true); /* 256 and 768 */
        shares(1, 3, 233, false);
        shares(3, 1, 744, true); /* 768 and 256 */
        shares(3, 1, 745, false);
        shares(200, 100, 658, true); /* 682, and half of it: 341 */
        shares(200, 100, 659, false);
}

Test(core_policy, what_is_guaranteed_is_no_part_of_a_share)
{
        struct party own, other;

        limit(0, (struct limits){ .min = 100, .weight = 1 });
        limit(1, (struct limits){ .min = 400, .weight = 1 });
        own = party(0);
        other = party(1);
        take(&own, 0, 100);
        take(&other, 0, 924);
        /* Of 524 beyond the guarantees each may have 262. */
        cr_expect_eq(want(&own, 1, 262), CORE_E_NONE);
        ASKED(&own, 1, 100);
        shrug(&own, 1);
        ASKED(&other, 1, 262);
        shrug(&other, 1);
        ASKED(&other, 2, 262);
        shrug(&other, 2);
        NOT_ASKED();
        world_advance(&world, SEC);
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
        hold(other.worker, other.cache, 0, true); /* something changed: it may be asked again */
        cr_expect_eq(want(&own, 1, 263), CORE_E_DEVICE_FULL, "nor would it be his by right");
        NOT_ASKED();
}

Test(core_policy, pages_that_are_coming_back_are_no_part_of_a_share)
{
        struct party own, other, third;

        limit(0, (struct limits){ .weight = 1 });
        limit(1, (struct limits){ .weight = 1 });
        limit(2, (struct limits){ .weight = 1 });
        own = party(0);
        other = party(1);
        third = party(2);
        take(&other, 0, 512);
        take(&third, 0, 412);
        take(&own, 0, 100);
        for (uint64_t i = 1; i <= 4; i++)
                give_back(other.worker, grant_of(other.worker, i)); /* 256 stay */
        cr_expect_eq(want(&own, 1, 256 + 20), CORE_E_NONE);
        ASKED(&own, 1, 20);
        shrug(&own, 1);
        ASKED(&third, 1, 20);
        shrug(&third, 1);
        ASKED(&other, 1, 20);
        shrug(&other, 1);
        ASKED(&third, 2, 20); /* 412 against 376 */
        shrug(&third, 2);
        NOT_ASKED();
}

Test(core_policy, pages_that_are_coming_back_are_not_pressed_for_once_more)
{
        struct party own, other;

        limit(0, (struct limits){ .weight = 1 });
        limit(1, (struct limits){ .weight = 1 });
        own = party(0);
        other = party(1);
        take(&other, 0, 1024);
        for (uint64_t i = 1; i <= 6; i++)
                give_back(other.worker, grant_of(other.worker, i)); /* 384: 640 stay */
        cr_expect_eq(want(&own, 0, 512), CORE_E_NONE);
        ASKED(&other, 1, 128);
        shrug(&other, 1);
        ASKED(&other, 2, 128); /* 512 each, not more */
        shrug(&other, 2);
        cr_expect_eq(current_of(1), 1024 * PAGE);
}

Test(core_policy, what_the_requester_gives_back_is_no_part_of_its_share)
{
        struct party own, other;

        limit(0, (struct limits){ .weight = 1 });
        limit(1, (struct limits){ .weight = 1 });
        own = party(0);
        other = party(1);
        take(&own, 0, 448);
        take(&other, 0, 576);
        for (uint64_t i = 1; i <= 4; i++)
                give_back(own.worker, grant_of(own.worker, i)); /* 256: 192 stay */
        cr_expect_eq(want(&own, 1, 320), CORE_E_NONE);
        ASKED(&own, 1, 64);
        shrug(&own, 1);
        ASKED(&other, 1, 64);
        shrug(&other, 1);
        ASKED(&other, 2, 64); /* 512 each */
}

Test(core_policy, below_memory_low_nothing_is_asked_beside_what_comes_already)
{
        struct party own, other;

        limit(1, (struct limits){ .low = 300 });
        own = party(0);
        other = party(1);
        take(&other, 0, 384);
        take(&own, 0, 640);
        hold(other.worker, other.cache, 0, false);
        give_back(other.worker, grant_of(other.worker, 1)); /* 320 stay */
        cr_expect_eq(want(&own, 1, 128), CORE_E_NONE);
        ASKED(&other, 0, 20);
        shrug(&other, 1);
        ASKED(&own, 1, 64);
}

Test(core_policy, of_equals_the_one_with_most_is_asked)
{
        struct party own, small, large;

        limit(0, (struct limits){ .weight = 1 });
        limit(1, (struct limits){ .high = 1000 });
        own = party(0);
        small = party(1);
        large = party(1);
        take(&small, 0, 400);
        take(&large, 0, 624);
        cr_expect_eq(want(&own, 0, 24), CORE_E_NONE);
        ASKED(&large, 1, 24);
        shrug(&large, 1);
        ASKED(&small, 1, 24);
        shrug(&small, 1);
        ASKED(&large, 2, 24); /* each alone could give the 24 that its tenant has above its high */
        shrug(&large, 2);
        ASKED(&small, 2, 24);
}

Test(core_policy, several_cover_what_one_could_not)
{
        struct party own, some, more, third;

        limit(1, (struct limits){ .weight = 1 });
        limit(2, (struct limits){ .high = 500 });
        own = party(0);
        some = party(1);
        more = party(1);
        third = party(2);
        take(&some, 0, 200);
        take(&more, 0, 304);
        take(&third, 0, 520);
        /* The first tenant has 504 - 262 to spare for it, in two workers; the third 20. */
        cr_expect_eq(want(&own, 0, 262), CORE_E_NONE);
        ASKED(&third, 1, 262);
        shrug(&third, 1);
        ASKED(&more, 1, 262);
        shrug(&more, 1);
        ASKED(&some, 1, 200);
        shrug(&some, 1);
        ASKED(&more, 2, 242);
        shrug(&more, 2);
        NOT_ASKED(); /* without it nobody's memory would be enough */
}

Test(core_policy, nobody_is_pressed_for_what_would_not_be_enough)
{
        struct party own, some, more, third;

        limit(1, (struct limits){ .weight = 1 });
        limit(2, (struct limits){ .high = 500 });
        own = party(0);
        some = party(1);
        more = party(1);
        third = party(2);
        take(&some, 0, 200);
        take(&more, 0, 304);
        take(&third, 0, 520);
        cr_expect_eq(want(&own, 0, 263), CORE_E_NONE); /* 241 + 20 */
        shrug(&third, 1);
        shrug(&more, 1);
        shrug(&some, 1);
        NOT_ASKED();
        cr_expect_eq(core_n_waiting(world.core), 1, "what they give by themselves is the requester's");
}

/* ---- messages of several entries for a row ---- */

static uint32_t cache_of_two_classes(uint32_t worker)
{
        struct core_ev_cache_create *create = &begin(CORE_EV_CACHE_CREATE)->cache_create;

        create->worker = worker;
        create->request = world.next_request++;
        create->rows = 8;
        create->n_classes = 2;
        create->classes[0] = create->classes[1] = (struct core_plane_class){ .planes = 1, .row_pages = 1024 };
        event.size = (uint16_t)core_event_size(&event);
        apply();
        return answer(CORE_ACT_REPLY_CACHE)->reply.cache;
}

/* An entry of message `request` for row 0: so many pages, beside so many of its other entry. */
static enum core_error ask(const struct party *p, uint32_t request, uint16_t entry, uint32_t pages, uint32_t beside)
{
        return grow((struct core_ev_grow){ .worker = p->worker,
                                           .cache = p->cache,
                                           .request = request,
                                           .entry = entry,
                                           .plane_class = entry,
                                           .need = pages,
                                           .max = pages,
                                           .beside = beside,
                                           .timeout_usec = 30 * SEC });
}

static void two_tenants(struct party *own, struct party *other, uint32_t pages)
{
        limit(1, (struct limits){ .weight = 1 });
        *own = party(0);
        own->cache = cache_of_two_classes(own->worker);
        *other = party(1);
        take(other, 0, pages);
}

/* Two entries, of 510 pages and 4: with all of them the requester would have more than the other one keeps. Neither is
 * pressed for, in either order, and the second not although the first has failed. */
Test(core_policy, nobody_is_pressed_for_a_part_of_a_row)
{
        for (uint32_t order = 0; order < 2; order++) {
                const uint32_t first = order == 0 ? 510 : 4, second = 514 - first;
                struct party own, other;

                stop();
                start();
                two_tenants(&own, &other, 1024);
                cr_expect_eq(ask(&own, 77, 0, first, second), CORE_E_NONE);
                ASKED(&other, 1, first);
                shrug(&other, 1);
                NOT_ASKED();
                cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
                cr_expect_eq(ask(&own, 77, 1, second, first), CORE_E_DEVICE_FULL);
                NOT_ASKED();
                /* By itself each would be fair. */
                cr_expect_eq(ask(&own, 78, 0, first, 0), CORE_E_NONE);
                ASKED(&other, 2, first);
        }
}

/* What was admitted of the message before is the tenant's already: it does not count twice. */
Test(core_policy, what_is_there_of_a_row_is_asked_for_no_more)
{
        struct party own, other;

        two_tenants(&own, &other, 1000);
        cr_expect_eq(ask(&own, 77, 0, 24, 480), CORE_E_NONE);
        cr_expect_eq(current_of(0), 24 * PAGE);
        cr_expect_eq(ask(&own, 77, 1, 480, 24), CORE_E_NONE);
        ASKED(&other, 1, 480);
        shrug(&other, 1);
        ASKED(&other, 2, 480); /* it keeps 520, and 504 would be the requester's */
}

Test(core_policy, what_waits_of_a_row_counts_until_it_is_there)
{
        struct party own, other;

        two_tenants(&own, &other, 1024);
        cr_expect_eq(ask(&own, 77, 0, 400, 100), CORE_E_NONE);
        ASKED(&other, 1, 400);
        shrug(&other, 1);
        ASKED(&other, 2, 400);
        cr_expect_eq(ask(&own, 77, 1, 100, 400), CORE_E_NONE);
        for (uint64_t n = 1; n <= 7; n++) { /* of 64 pages */
                give_back(other.worker, grant_of(other.worker, n));
                device_answer_all(&world);
        }
        cr_expect_eq(current_of(0), 400 * PAGE);
        shrug(&other, 2);
        ASKED(&other, 2, 52); /* it keeps 524, and 500 would be the requester's */
}

Test(core_policy, hope_lasts_for_a_reclaim_deadline)
{
        for (uint64_t patience = 0; patience <= 3 * SEC; patience += 3 * SEC) {
                struct party own, other;
                uint64_t began;

                stop();
                start();
                limit(0, (struct limits){ .weight = 1, .deadline_usec = patience });
                limit(1, (struct limits){ .weight = 1, .low = 1024, .high = 1024, .deadline_usec = 10 * SEC });
                own = party(0);
                other = party(1);
                take(&other, 0, 1024);
                began = world.now;
                cr_expect_eq(want(&own, 0, 64), CORE_E_NONE);
                NOT_ASKED(); /* the other may keep it, and has more than its share */
                world.now = began + SEC / 2;
                give_back(other.worker, grant_of(other.worker, 1));
                device_answer_all(&world);
                acknowledge(own.worker, own.granted += 1);
                cr_expect_eq(current_of(0), 64 * PAGE, "what it gives by itself");
                cr_expect_eq(want(&own, 1, 64), CORE_E_NONE);
                ASKED(&own, 1, 64);
                shrug(&own, 1);
                world.now = began + SEC / 2 + (patience ? patience : SEC) - 1;
                world_tick(&world);
                cr_expect_eq(core_n_waiting(world.core), 1);
                cr_expect_leq(core_next_deadline(world.core), world.now + 1);
                world.now++;
                world_tick(&world);
                cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
                cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FULL);
        }
}

Test(core_policy, a_shorter_deadline_holds_for_those_who_wait_already)
{
        struct party own, other;

        limit(0, (struct limits){ .weight = 1, .deadline_usec = 10 * SEC });
        limit(1, (struct limits){ .weight = 1, .low = 1024, .high = 1024 });
        own = party(0);
        other = party(1);
        take(&other, 0, 1024);
        cr_expect_eq(want(&own, 0, 64), CORE_E_NONE);
        limit(0, (struct limits){ .weight = 1, .deadline_usec = 2 * SEC });
        cr_expect_leq(core_next_deadline(world.core), world.now + 2 * SEC);
        world.now += 3 * SEC;
        limit(0, (struct limits){ .weight = 1, .deadline_usec = 1 * SEC });
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
}

Test(core_policy, at_memory_max_no_application_is_pressed)
{
        struct party own, sibling;

        set_tenant(0, 100 * PAGE);
        own = party(0);
        sibling = party(0);
        take(&own, 0, 20);
        take(&sibling, 0, 80);
        cr_expect_eq(want(&own, 1, 5), CORE_E_NONE);
        ASKED(&own, 1, 5);
        shrug(&own, 1);
        ASKED(&sibling, 1, 5);
        shrug(&sibling, 1);
        NOT_ASKED();
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_TENANT_FULL);
}

Test(core_policy, above_memory_high_nobody_is_pressed_for_himself)
{
        struct party own, sibling;

        limit(0, (struct limits){ .high = 1000 });
        own = party(0);
        sibling = party(0);
        take(&own, 0, 900);
        take(&sibling, 0, 124);
        cr_expect_eq(want(&own, 1, 5), CORE_E_NONE);
        shrug(&own, 1);
        ASKED(&sibling, 1, 5);
        shrug(&sibling, 1);
        ASKED(&sibling, 2, 5);
        shrug(&sibling, 2);
        NOT_ASKED();
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
}

/* ---- whose turn it is ---- */

Test(core_policy, who_would_have_the_smallest_share_is_served_first)
{
        struct party rich, poor, holder;

        limit(1, (struct limits){ .weight = 1 });
        limit(2, (struct limits){ .weight = 1 });
        rich = party(0);
        poor = party(1);
        holder = party(2);
        take(&rich, 0, 100);
        take(&poor, 0, 50);
        take(&holder, 0, 874);
        cr_expect_eq(want(&rich, 1, 16), CORE_E_NONE);
        cr_expect_eq(want(&poor, 1, 64), CORE_E_NONE); /* 114 against 116 */
        give_back(holder.worker, grant_of(holder.worker, 1));
        device_answer_all(&world);
        cr_expect_eq(current_of(1), 114 * PAGE);
        cr_expect_eq(current_of(0), 100 * PAGE);
        cr_expect_eq(core_n_waiting(world.core), 1);
        give_back(holder.worker, grant_of(holder.worker, 2));
        device_answer_all(&world);
        cr_expect_eq(current_of(0), 116 * PAGE);
}

Test(core_policy, within_a_tenant_nobody_is_passed)
{
        struct party p = party(0), holder;

        set_tenant(1, UINT64_MAX);
        holder = party(1);
        take(&holder, 0, 1019);
        cr_expect_eq(want(&p, 0, 64), CORE_E_NONE);
        cr_expect_eq(want(&p, 1, 3), CORE_E_NONE);
        cr_expect_eq(core_n_waiting(world.core), 2, "though five pages are free");
        cr_expect_eq(grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 2, .need = 1, .max = 1 }),
                     CORE_E_DEVICE_FULL);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = p.worker,
                                                 .cache = p.cache,
                                                 .row = 2,
                                                 .need = 1,
                                                 .max = 1,
                                                 .flags = CORE_GROW_OPTIONAL }),
                     CORE_E_BUSY);
        give_back(holder.worker, grant_of(holder.worker, 1));
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_policy, of_equals_the_older_is_served_first)
{
        struct party first, second, holder;

        limit(1, (struct limits){ .weight = 100 });
        limit(2, (struct limits){ .weight = 100 });
        limit(0, (struct limits){ .weight = 100 });
        second = party(0);
        first = party(1);
        holder = party(2);
        take(&holder, 0, 1024);
        cr_expect_eq(want(&first, 0, 64), CORE_E_NONE);
        cr_expect_eq(want(&second, 0, 64), CORE_E_NONE);
        give_back(holder.worker, grant_of(holder.worker, 1));
        device_answer_all(&world);
        cr_expect_eq(current_of(1), 64 * PAGE);
        cr_expect_eq(current_of(0), 0);
}

/* Blue is to be served first and lacks 59 pages; green wants three of the five that are free. */
static void hold_up(struct party *blue, struct party *green, struct party *holder, uint64_t patience_usec)
{
        limit(0, (struct limits){ .weight = 1, .deadline_usec = patience_usec });
        limit(1, (struct limits){ .weight = 1 });
        limit(2, (struct limits){ .weight = 1, .deadline_usec = 1000 * SEC });
        *blue = party(0);
        *green = party(1);
        *holder = party(2);
        take(green, 0, 100);
        take(holder, 0, 3);
        take(holder, 1, 916);
        cr_expect_eq(want(blue, 0, 64), CORE_E_NONE);
        ASKED(holder, 1, 59);
        cr_expect_eq(want(green, 1, 3), CORE_E_NONE);
        cr_expect_eq(core_n_waiting(world.core), 2);
}

Test(core_policy, who_is_served_first_holds_up_others_until_it_was_in_vain)
{
        struct party blue, green, holder;
        uint64_t began;

        for (uint64_t patience = 0; patience <= 3 * SEC; patience += 3 * SEC) {
                const uint64_t wait = patience ? patience : SEC;

                stop();
                start();
                hold_up(&blue, &green, &holder, patience);
                began = world.now;
                world.now = began + 200000; /* somebody else's deadline */
                world_tick(&world);
                cr_expect_leq(core_next_deadline(world.core), began + wait);
                world.now = began + wait - 1;
                world_tick(&world);
                cr_expect_eq(core_n_waiting(world.core), 2);
                cr_expect_leq(core_next_deadline(world.core), began + wait);
                world.now = began + wait;
                world_tick(&world);
                device_answer_all(&world);
                cr_expect_eq(core_n_waiting(world.core), 1);
                cr_expect_eq(current_of(1), 103 * PAGE);
                /* And those who come later. */
                acknowledge(green.worker, green.granted + 3);
                cr_expect_eq(want(&green, 2, 2), CORE_E_NONE);
                device_answer_all(&world);
                cr_expect_eq(current_of(1), 105 * PAGE);
        }
}

Test(core_policy, it_is_not_in_vain_while_pages_come_back)
{
        struct party blue, green, holder;
        uint64_t began;

        hold_up(&blue, &green, &holder, 0);
        began = world.now;
        world.now = began + SEC / 2;
        give_back(holder.worker, grant_of(holder.worker, 1));
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 2);
        world_advance(&world, SEC - 1);
        cr_expect_eq(core_n_waiting(world.core), 2);
        world_advance(&world, 1);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 1);
        cr_expect_eq(current_of(1), 103 * PAGE);
        cr_expect_eq(current_of(0), 0);
}
