/* SPDX-License-Identifier: MIT
 *
 * test-core-making.c -- which extents a device is asked to make, how many ahead of need, and what gives way when pages
 * or slots of the table are bound in other sizes.
 */
#include <criterion/criterion.h>

#include "core-world.h"
#include "internal.h"

static const struct core_params params = {
        .max_extents = 4096, .max_workers = 4, .max_caches = 8, .max_rows = 64, .max_requests = 32
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_making, .init = start, .fini = stop);

static void start_small(uint32_t max_extents)
{
        struct core_params small = params;

        small.max_extents = max_extents;
        stop();
        start_with(&small);
}

/* Extents of that size that a device is being asked to make, or to destroy. */
static uint32_t asked(uint32_t device, bool creates, uint32_t order_index)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < world.device.n_operations; i++) {
                const struct device_operation *o = &world.device.operations[i];

                n += o->device == device && o->creates == creates && o->order == core_order_shift(order_index);
        }
        return n;
}

static void expect_making(uint32_t device, uint32_t of_1, uint32_t of_4, uint32_t of_16, uint32_t of_64, int line)
{
        const uint32_t must[CORE_ORDERS] = { of_1, of_4, of_16, of_64 };

        for (uint32_t i = 0; i < CORE_ORDERS; i++)
                cr_expect_eq(asked(device, true, i), must[i], "line %d: %u of %u pages are being made, must be %u",
                             line, asked(device, true, i), 1u << core_order_shift(i), must[i]);
}
#define MAKING(device, ...) expect_making(device, __VA_ARGS__, __LINE__)

/* ---- ahead of need ---- */

Test(core_making, ahead_is_a_quarter_of_the_target_for_each_size)
{
        add_device(1, 16, 4096, 0);
        MAKING(1, 0, 0, 0, 0);
        add_device(2, 16, 4096, 15);
        MAKING(2, 3, 0, 0, 0);
        add_device(3, 16, 4096, 512);
        MAKING(3, 128, 32, 8, 2);
        add_device(4, 16, 20, 1000); /* as many as it has */
        MAKING(4, 5, 1, 0, 0);
        add_device(5, 16, 7, 64); /* and no more */
        MAKING(5, 1, 0, 0, 0);
        add_device(6, 16, 256, 256); /* to the last page */
        MAKING(6, 64, 16, 4, 1);
}

Test(core_making, ahead_is_asked_in_batches_of_256_a_size)
{
        add_device(1, 16, 1u << 16, 1u << 13); /* 2,048 of 1, 512 of 4, 128 of 16, 32 of 64 */
        world_flush(&world);
        MAKING(1, 256, 256, 128, 32);
        device_answer(&world, 0);
        world_flush(&world);
        MAKING(1, 256, 256, 128, 32);
}

Test(core_making, ahead_is_filled_up_from_half)
{
        uint32_t worker = add_worker(0), cache;

        add_device(1, 16, 4096, 160); /* 40, 10, 2, 0 */
        cache = add_cache_on(1, worker, 32, 1, 64);
        MAKING(1, 40, 10, 2, 0);
        device_answer_all(&world);
        for (uint32_t row = 0; row < 20; row++) {
                grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = row, .need = 1, .max = 1 });
                MAKING(1, 0, 0, 0, 0);
        }
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 20, .need = 1, .max = 1 });
        MAKING(1, 21, 0, 0, 0);
        device_answer(&world, 0);
        MAKING(1, 20, 0, 0, 0);
        device_answer_all(&world);
        /* Of ten, five are left, which is half; then four. */
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 21, .first = 4, .need = 12, .max = 12 });
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 22, .first = 4, .need = 8, .max = 8 });
        MAKING(1, 0, 0, 0, 0);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 23, .first = 4, .need = 4, .max = 4 });
        MAKING(1, 0, 6, 0, 0);
}

Test(core_making, ahead_leaves_an_eighth_of_the_table)
{
        start_small(80);
        add_device(1, 16, 4096, 4096);
        cr_expect_eq(world.device.n_operations, 70);
        device_answer_all(&world);
        cr_expect_eq(world.device.n_operations, 0);
}

Test(core_making, what_was_made_for_nobody_is_not_kept)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 1, 5, 64);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 });
        MAKING(0, 5, 0, 0, 0);
        begin(CORE_EV_CACHE_DESTROY)->cache_destroy = (struct core_ev_cache_destroy){ worker, 1, cache, 0 };
        apply();
        device_answer_all(&world);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_RECLASSED), 4, "one stays");
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_DESTROYED), 4);

        /* With a target of 3 singles, twice that and one. */
        add_device(1, 16, 4096, 12);
        device_answer_all(&world);
        cache = add_cache_on(1, worker, 1, 20, 64);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 });
        MAKING(1, 20, 0, 0, 0); /* the 17 that are owed, and three for the three that were granted */
        begin(CORE_EV_CACHE_DESTROY)->cache_destroy = (struct core_ev_cache_destroy){ worker, 1, cache, 0 };
        apply();
        device_answer_all(&world);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_RECLASSED), 4 + 20 - 7);
}

/* ---- pages bound in other sizes ---- */

Test(core_making, just_what_is_missing_is_taken_from_other_sizes)
{
        uint32_t worker = add_worker(0), cache, pages = 0;

        add_device(1, 16, 64, 64); /* 16 of 1, 4 of 4, 1 of 16, and 16 pages free */
        device_answer_all(&world);
        cache = add_cache_on(1, worker, 2, 1, 64);
        cr_assert_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 48, .max = 48 }),
                     CORE_E_NONE);
        MAKING(1, 0, 0, 1, 0);
        pages = asked(1, false, 0) + 4 * asked(1, false, 1);
        cr_expect(pages >= 16 && pages < 16 + 4, "%u", pages);
        cr_expect_eq(asked(1, false, 2), 0);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        acknowledge(worker, 3);
        /* The rest of the device, whatever it is bound in. */
        cr_assert_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 16, .max = 16 }),
                     CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(current_of(0), 64 * 65536);
}

Test(core_making, each_request_takes_what_it_lacks_at_once)
{
        uint32_t worker = add_worker(0), cache;

        add_device(1, 16, 64, 64); /* 16 of 1, 4 of 4, 1 of 16, and 16 pages free */
        device_answer_all(&world);
        cache = add_cache_on(1, worker, 3, 1, 64);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 0, .need = 32, .max = 32 });
        cr_expect_eq(asked(1, false, 0) + 4 * asked(1, false, 1), 0);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 16, .max = 16 });
        cr_expect(asked(1, false, 0) + 4 * asked(1, false, 1) >= 16);
        cr_expect(asked(1, false, 0) + 4 * asked(1, false, 1) < 20);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 2, .need = 16, .max = 16 });
        cr_expect_eq(asked(1, false, 0) + 4 * asked(1, false, 1), 32);
}

Test(core_making, what_somebody_was_promised_is_not_taken)
{
        uint32_t worker = add_worker(0), other = add_worker(0), cache, second;

        add_device(1, 16, 64, 64);
        device_answer_all(&world);
        cache = add_cache_on(1, worker, 1, 1, 64);
        second = add_cache_on(1, other, 1, 16, 64);
        /* 16 planes of a single page each and two of four: all singles are owed; what is left is 44 pages. */
        cr_assert_eq(grow((struct core_ev_grow){ .worker = other, .cache = second, .first = 3, .need = 1, .max = 1 }),
                     CORE_E_NONE);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_GRANTED), 16);
        cr_assert_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 48, .max = 48 }),
                     CORE_E_NONE);
        cr_expect_eq(asked(1, false, 0), 0);
        cr_expect_eq(asked(1, false, 1), 4);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

/* ---- slots of the table bound in other sizes ---- */

/* A cache of as many planes, one page of each. */
static enum core_error grow_planes(uint32_t worker, uint32_t planes)
{
        return grow((struct core_ev_grow){
                .worker = worker, .cache = add_cache(worker, 1, planes, 64), .first = 1, .need = 1, .max = 1 });
}

Test(core_making, the_table_is_used_to_its_last_slot)
{
        uint32_t worker;

        start_small(8);
        worker = add_worker(0);
        cr_expect_eq(grow_planes(worker, 3), CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(grow_planes(worker, 6), CORE_E_DEVICE_FULL);
        cr_expect_eq(grow_planes(worker, 5), CORE_E_NONE);
        cr_expect_eq(grow_planes(worker, 1), CORE_E_DEVICE_FULL);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(grow_planes(worker, 1), CORE_E_DEVICE_FULL);
        acknowledge(worker, 8);
        give_back(worker, grant_of(worker, 2));
        cr_expect_eq(grow_planes(worker, 1), CORE_E_DEVICE_FULL, "not before it is destroyed");
        device_answer_all(&world);
        cr_expect_eq(grow_planes(worker, 1), CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_making, what_is_promised_and_not_made_yet_has_its_slots)
{
        uint32_t worker, other, cache;

        start_small(8);
        worker = add_worker(0);
        other = add_worker(0);
        world.device.fail_for = 1;
        cr_expect_eq(grow_planes(other, 1), CORE_E_NONE);
        device_answer(&world, 0); /* the device has failed: nothing is made for a while */
        cache = add_cache(worker, 1, 1, 64);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .first = 1, .need = 15, .max = 15 }),
                     CORE_E_NONE); /* 6 extents */
        cr_expect_eq(world.device.n_operations, 0);
        cr_expect_eq(grow_planes(other, 3), CORE_E_DEVICE_FULL);
        cr_expect_eq(grow_planes(other, 2), CORE_E_NONE);
        world_advance(&world, 100000);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_making, a_virgin_extent_that_nobody_wants_gives_its_slot)
{
        uint32_t worker, cache;

        start_small(16);
        add_device(1, 16, 64, 64); /* 14 of 1, for the last two slots stay free */
        MAKING(1, 14, 0, 0, 0);
        device_answer_all(&world);
        worker = add_worker(0);
        cache = add_cache(worker, 1, 3, 64); /* on the other device */
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 64, .max = 64 }),
                     CORE_E_NONE);
        MAKING(0, 0, 0, 0, 2);
        cr_expect_eq(asked(1, false, 0), 1, "one is on its way, one is needed");
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_RECLASSED), 1);
        /* All 14 and what is free, and no more. */
        cr_expect_eq(grow_planes(worker, 14), CORE_E_DEVICE_FULL);
        cr_expect_eq(grow_planes(worker, 13), CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_RECLASSED), 14);
}

Test(core_making, one_slot_is_taken_from_one_device)
{
        uint32_t worker, given = 0;

        start_small(16);
        add_device(1, 16, 64, 28);
        add_device(2, 16, 64, 28);
        device_answer_all(&world);
        cr_assert_eq(core_counter(world.core, CORE_COUNT_EXTENTS_CREATED), 14);
        worker = add_worker(0);
        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = worker, .cache = add_cache(worker, 1, 3, 64), .need = 64, .max = 64 }),
                     CORE_E_NONE);
        for (uint32_t i = 0; i < CORE_ORDERS; i++)
                given += asked(1, false, i) + asked(2, false, i);
        cr_expect_eq(given, 1);
}

Test(core_making, a_virgin_extent_that_is_wanted_needs_no_slot)
{
        uint32_t worker, cache;

        start_small(16);
        add_device(1, 16, 64, 64);
        device_answer_all(&world);
        worker = add_worker(0);
        cache = add_cache_on(1, worker, 1, 17, 64);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 }),
                     CORE_E_DEVICE_FULL);
        cache = add_cache_on(1, worker, 1, 16, 64);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 }), CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_RECLASSED), 0);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_CREATED), 16);
}

Test(core_making, a_virgin_extent_that_the_request_takes_itself_gives_no_slot)
{
        uint32_t worker;

        start_small(16);
        add_device(1, 16, 64, 64); /* 14 of 1 */
        device_answer_all(&world);
        worker = add_worker(0);
        /* Three of 1 and three of 4 in each plane: with three planes 9 of the singles, 9 more, and 5 singles to give
         * way. */
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker,
                                                 .cache = add_cache_on(1, worker, 1, 3, 64),
                                                 .first = 1,
                                                 .need = 15,
                                                 .max = 15 }),
                     CORE_E_DEVICE_FULL);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker,
                                                 .cache = add_cache_on(1, worker, 1, 2, 64),
                                                 .first = 1,
                                                 .need = 15,
                                                 .max = 15 }),
                     CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

/* ---- who waits for a size ---- */

Test(core_making, what_the_first_in_line_cannot_use_goes_to_the_next)
{
        for (uint32_t device = 0; device < 2; device++) {
                uint32_t first, second, cache, another;

                stop();
                start();
                add_device(1, 21, 1024, 0);
                first = add_worker(0);
                second = add_worker(0);
                cache = add_cache_on(device, first, 1, 1, 64);
                another = add_cache_on(device, second, 1, 1, 64);
                grow((struct core_ev_grow){ .worker = first, .cache = cache, .need = 1, .max = 1 });
                device_answer_all(&world);
                acknowledge(first, 1);
                grow((struct core_ev_grow){ .worker = first, .cache = cache, .need = 1, .max = 1 }); /* once more */
                grow((struct core_ev_grow){ .worker = second, .cache = another, .need = 1, .max = 1 });
                cr_assert_eq(asked(device, true, 0), 2);
                device_answer(&world, 0);
                cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
                cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_ALREADY_MAPPED);
                cr_assert_not_null(answer(CORE_ACT_GRANT));
                cr_expect_eq(answer(CORE_ACT_GRANT)->worker, second);
        }
}

/* An event has room for the grants of two and a half of them; while the rest is ready, one of these goes. */
Test(core_making, whoever_is_ready_is_served_though_another_goes)
{
        static const struct core_params large = {
                .max_extents = 16384, .max_workers = 6, .max_caches = 6, .max_rows = 8, .max_requests = 8
        };

        for (uint32_t gone = 1; gone < 6; gone++) {
                uint32_t workers[6], pages = 0;

                stop();
                start_with(&large);
                add_device(1, 21, 4096, 4096); /* 1,024 single pages ahead */
                world_flush(&world);
                device_answer_all(&world);
                world_flush(&world);
                set_tenant(0, 300 * PAGE);
                for (uint32_t i = 0; i < 6; i++) {
                        const uint32_t planes = i == 0 ? 60 : 40;
                        uint32_t cache;

                        workers[i] = add_worker(0);
                        cache = add_cache_on(1, workers[i], 1, planes, 64);
                        cr_assert_eq(grow((struct core_ev_grow){ .worker = workers[i],
                                                                 .cache = cache,
                                                                 .first = 59,
                                                                 .need = 5, /* 1 + 4: two extents */
                                                                 .max = 5,
                                                                 .timeout_usec = 1000000 }),
                                     CORE_E_NONE);
                        device_answer_all(&world);
                        if (i == 0)
                                acknowledge(workers[0], 120);
                }
                cr_assert_eq(core_n_waiting(world.core), 5);
                set_tenant(0, UINT64_MAX);
                worker_is_gone(workers[gone]);
                device_answer_all(&world);
                world_flush(&world);
                device_answer_all(&world);
                cr_expect_eq(core_n_waiting(world.core), 0, "%u: %u are left", gone, core_n_waiting(world.core));
                for (uint32_t i = 0; i < 6; i++)
                        pages += grant_of(workers[i], i == 0 ? 120 : 80) != 0;
                cr_expect_eq(pages, 5);
        }
}

Test(core_making, what_a_request_that_fails_was_promised_goes_to_who_waits)
{
        struct party holder = party(0), first = party(0), second = party(0);

        take(&holder, 0, 1020);
        take(&first, 0, 1);
        grow((struct core_ev_grow){
                .worker = first.worker, .cache = first.cache, .need = 1, .max = 1 }); /* once more */
        cr_expect_eq(want(&second, 0, 3), CORE_E_NONE);
        ASKED(&holder, 1, 1);
        device_answer(&world, 0);
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_ALREADY_MAPPED);
        cr_assert_not_null(answer(CORE_ACT_GRANT));
        cr_expect_eq(answer(CORE_ACT_GRANT)->worker, second.worker);
        cr_expect_eq(asked(0, true, 0), 2);
}
