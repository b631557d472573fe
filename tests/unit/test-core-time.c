/* SPDX-License-Identifier: MIT
 *
 * test-core-time.c -- everything that waits ends when it should: not a microsecond before, and at the latest then.
 */
#include <criterion/criterion.h>

#include "core-world.h"
#include "internal.h"

#define MSEC UINT64_C(1000)
#define SEC  UINT64_C(1000000)

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 4, .max_caches = 6, .max_rows = 16, .max_requests = 8
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_time, .init = start, .fini = stop);

/* Ticks once, at that time. */
static void tick_at(uint64_t usec)
{
        world.now = usec;
        begin(CORE_EV_TICK);
        apply();
}

/* Nothing happens until then, and the core knows: its next deadline is not later. */
static void expect_silence_until(uint64_t usec)
{
        cr_expect_leq(core_next_deadline(world.core), usec);
        tick_at(usec - 1);
        cr_expect_eq(answers(), 0, "%u answers too early", answers());
        cr_expect_leq(core_next_deadline(world.core), usec);
        tick_at(usec);
}

static void expect_no_deadline(void)
{
        tick_at(world.now + 3600 * SEC);
        cr_expect_eq(answers(), 0);
        cr_expect_eq(core_next_deadline(world.core), UINT64_MAX);
}

/* So many pages in row 0, granted, not acknowledged. */
static uint32_t cache_with(uint32_t worker, uint32_t pages)
{
        uint32_t cache = add_cache(worker, 4, 1, 1024);

        if (pages > 0)
                cr_assert_eq(
                        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = pages, .max = pages }),
                        CORE_E_NONE);
        device_answer_all(&world);
        return cache;
}

Test(core_time, a_grant_is_asked_for_and_then_ends_its_worker)
{
        uint32_t worker = add_worker(0), other = add_worker(0);
        uint64_t began = world.now;

        cache_with(worker, 1);
        expect_silence_until(began + 100 * MSEC);
        cr_assert_not_null(answer(CORE_ACT_SYNC));
        cr_expect_eq(answer(CORE_ACT_SYNC)->worker, worker);
        cr_expect_eq(answers(), 1);
        expect_silence_until(began + 100 * MSEC + 5 * SEC);
        cr_assert_not_null(answer(CORE_ACT_DROP));
        cr_expect_eq(answer(CORE_ACT_DROP)->worker, worker);
        cr_expect_eq(answer(CORE_ACT_DROP)->reply.error, CORE_E_OVERDUE);
        /* The grant had not left the shell: the worker stays, and has as long again. */
        expect_silence_until(began + 100 * MSEC + 10 * SEC);
        cr_assert_not_null(answer(CORE_ACT_DROP));
        cr_expect_eq(answers(), 1);
        expect_silence_until(began + 100 * MSEC + 15 * SEC);
        cr_assert_not_null(answer(CORE_ACT_DROP));
        cr_expect_eq(answers(), 1);
        worker_is_gone(worker);
        device_answer_all(&world);
        expect_no_deadline();
        began = world.now;
        cache_with(other, 1);
        expect_silence_until(began + 100 * MSEC);
        cr_assert_not_null(answer(CORE_ACT_SYNC));
        cr_expect_eq(answer(CORE_ACT_SYNC)->worker, other);
        cr_expect_eq(answers(), 1);
}

Test(core_time, an_acknowledgement_begins_it_anew_for_what_is_left)
{
        uint32_t worker = add_worker(0);
        uint64_t began = world.now;

        cache_with(worker, 2);
        expect_silence_until(began + 100 * MSEC);
        cr_expect_not_null(answer(CORE_ACT_SYNC));
        world.now = began + 3 * SEC;
        acknowledge(worker, 1);
        cr_expect_eq(answers(), 0);
        expect_silence_until(began + 3 * SEC + 100 * MSEC);
        cr_expect_not_null(answer(CORE_ACT_SYNC));
        acknowledge(worker, 2);
        expect_no_deadline();
}

Test(core_time, a_request_that_waits_fails_at_its_timeout)
{
        static const struct {
                uint64_t timeout, after;
        } cases[] = { { 1, 1 }, { 250 * MSEC, 250 * MSEC }, { 60 * SEC, 60 * SEC }, { 61 * SEC, 60 * SEC } };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint32_t worker, other, second;

                stop();
                start();
                worker = add_worker(0);
                other = add_worker(0);
                second = add_cache(other, 1, 1, 1024);
                cache_with(worker, 1024);
                acknowledge(worker, 16);
                /* Held rows, no pressure handler known: whoever is asked never answers, and tenants share one account.
                 */
                begin(CORE_EV_TENANT_SET)->tenant_set = (struct core_ev_tenant_set){
                        .high_bytes = UINT64_MAX, .max_bytes = UINT64_MAX, .reclaim_deadline_usec = 1000 * SEC
                };
                apply();
                cr_assert_eq(grow((struct core_ev_grow){ .worker = other,
                                                         .cache = second,
                                                         .request = 77,
                                                         .entry = 5,
                                                         .need = 1,
                                                         .max = 1,
                                                         .timeout_usec = cases[i].timeout }),
                             CORE_E_NONE);
                cr_assert_not_null(answer(CORE_ACT_REVOKE));
                world.now += cases[i].after - 1;
                tick_at(world.now);
                cr_expect_eq(core_n_waiting(world.core), 1);
                cr_expect_leq(core_next_deadline(world.core), world.now + 1);
                tick_at(world.now + 1);
                cr_assert_not_null(answer(CORE_ACT_GROW_FAILED), "case %zu", i);
                cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_TIMED_OUT);
                cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.request, 77);
                cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.entry, 5);
                cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->worker, other);
                cr_expect_eq(core_counter(world.core, CORE_COUNT_REQUESTS_TIMED_OUT), 1);
        }
}

/* Many wait for one who does not answer, each with a timeout of its own, and a third of them go in between. */
Test(core_time, each_of_many_fails_at_its_own_timeout)
{
        static const struct core_params many = {
                .max_extents = 2048, .max_workers = 8, .max_caches = 8, .max_rows = 64, .max_requests = 400
        };
        uint64_t ends[300], began;
        uint32_t workers[3], caches[3], left = 300;

        stop();
        start_with(&many);
        workers[0] = add_worker(0);
        cache_with(workers[0], 1024);
        acknowledge(workers[0], 16);
        begin(CORE_EV_TENANT_SET)->tenant_set = (struct core_ev_tenant_set){ .high_bytes = UINT64_MAX,
                                                                             .max_bytes = UINT64_MAX,
                                                                             .reclaim_deadline_usec = 1000 * SEC };
        apply();
        for (uint32_t i = 0; i < 3; i++) {
                workers[i] = add_worker(0);
                caches[i] = add_cache(workers[i], 8, 1, 1024);
        }
        began = world.now;
        for (uint32_t i = 0; i < 300; i++) {
                const uint64_t timeout = 1 + i * 7919 % 1009 * 997;

                ends[i] = began + timeout;
                cr_assert_eq(grow((struct core_ev_grow){ .worker = workers[i % 3],
                                                         .cache = caches[i % 3],
                                                         .request = 1000 + i,
                                                         .row = i / 3 % 8,
                                                         .first = i / 24,
                                                         .need = 1,
                                                         .max = 1,
                                                         .timeout_usec = timeout }),
                             CORE_E_NONE);
        }
        while (core_n_waiting(world.core) > 0) {
                const bool all = worker_find(world.core, workers[1]) != NIL;
                uint32_t due = 0;

                tick_at(core_next_deadline(world.core));
                for (uint32_t i = 0; i < 300; i++)
                        due += ends[i] == world.now && (all || i % 3 != 1);
                left -= due;
                cr_assert_eq(core_n_waiting(world.core), left, "%u fail at once", due);
                if (all && left < 200) {
                        for (uint32_t i = 0; i < 300; i++)
                                left -= i % 3 == 1 && ends[i] > world.now;
                        worker_is_gone(workers[1]);
                        cr_assert_eq(core_n_waiting(world.core), left);
                }
        }
        cr_expect_leq(world.now, began + 1009 * 997);
}

Test(core_time, an_admitted_request_waits_a_second_for_each_extent)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 1, 1, 64);
        uint64_t began = world.now;

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .first = 1, .need = 3, .max = 3 });
        cr_assert_eq(world.device.n_operations, 3);
        world.now = began + 900 * MSEC;
        device_answer(&world, 0);
        cr_assert_not_null(answer(CORE_ACT_GRANT));
        acknowledge(worker, 1);
        world.now = began + 1800 * MSEC;
        device_answer(&world, 0);
        cr_assert_not_null(answer(CORE_ACT_GRANT));
        acknowledge(worker, 2);
        tick_at(began + 2800 * MSEC - 1);
        cr_expect_eq(core_n_waiting(world.core), 1);
        tick_at(began + 2800 * MSEC);
        cr_assert_not_null(answer(CORE_ACT_GROW_FAILED));
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_TIMED_OUT);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(current_of(0), 2 * 2 * MEBIBYTE, "what was granted stays");
}

Test(core_time, a_longer_timeout_holds_for_an_admitted_request_too)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 1, 1, 64);
        uint64_t began = world.now;

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1, .timeout_usec = 2 * SEC });
        expect_silence_until(began + 2 * SEC);
        cr_expect_not_null(answer(CORE_ACT_GROW_FAILED));
}

Test(core_time, a_failed_create_is_tried_again)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 2, 1, 64);
        uint64_t began = world.now;

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 0, .need = 1, .max = 1 });
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 1, .max = 1 });
        world.device.fail_for = 2;
        world.now = began + 10 * MSEC;
        device_answer(&world, 0);
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FAILED);
        cr_expect_null(answer(CORE_ACT_CREATE), "not before the retry");
        device_answer(&world, 0);
        cr_expect_eq(answer(CORE_ACT_GROW_FAILED)->failed.error, CORE_E_DEVICE_FAILED);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 1, .max = 1 });
        cr_expect_eq(answers(), 0, "not before the retry");
        expect_silence_until(began + 110 * MSEC);
        cr_assert_not_null(answer(CORE_ACT_CREATE));
        device_answer(&world, 0);
        cr_expect_not_null(answer(CORE_ACT_GRANT));
        cr_expect_eq(core_counter(world.core, CORE_COUNT_DEVICE_FAILURES), 2);
}

Test(core_time, a_create_that_succeeds_ends_the_pause)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 3, 1, 64);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 0, .need = 1, .max = 1 });
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 2, .max = 2 });
        cr_assert_eq(world.device.n_operations, 3);
        world.device.fail_for = 1;
        device_answer(&world, 0);
        cr_expect_null(answer(CORE_ACT_CREATE));
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 2, .need = 1, .max = 1 });
        cr_expect_null(answer(CORE_ACT_CREATE));
        device_answer(&world, 0);
        cr_expect_not_null(answer(CORE_ACT_CREATE));
}

Test(core_time, a_failed_destruction_is_tried_again_and_charged_until_then)
{
        uint32_t worker = add_worker(0);
        uint64_t began = world.now, first, second;

        cache_with(worker, 2);
        acknowledge(worker, 2);
        first = grant_of(worker, 1);
        second = grant_of(worker, 2);
        give_back(worker, first);
        give_back(worker, second);
        world.device.fail_for = 2;
        device_answer(&world, 0);
        world.now = began + 50 * MSEC;
        device_answer(&world, 0);
        expect_silence_until(began + 100 * MSEC);
        cr_expect_eq(answers(), 2, "both, at the earlier one's time");
        cr_expect_eq(answer(CORE_ACT_DESTROY)->device.extent, second);
        cr_expect_eq(answer(CORE_ACT_DESTROY)->device.order, 0);
        cr_expect_eq(answer(CORE_ACT_DESTROY)->device.device, 0);
        cr_expect_eq(current_of(0), 2 * 2 * MEBIBYTE);
        device_answer_all(&world);
        cr_expect_eq(current_of(0), 0);
        expect_no_deadline();
}

Test(core_time, a_revoke_is_overdue_at_its_tenants_deadline)
{
        static const struct {
                uint64_t deadline, after;
        } cases[] = { { 0, SEC }, { 300 * MSEC, 300 * MSEC }, { 3 * SEC, 3 * SEC } };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint32_t worker, other, second, cache;
                uint64_t began;
                struct core_worker_info info;

                stop();
                start();
                begin(CORE_EV_TENANT_SET)->tenant_set = (struct core_ev_tenant_set){
                        .high_bytes = UINT64_MAX, .max_bytes = UINT64_MAX, .reclaim_deadline_usec = cases[i].deadline
                };
                apply();
                worker = add_worker(0);
                other = add_worker(0);
                second = add_cache(other, 1, 1, 1024);
                cache = cache_with(worker, 1024);
                acknowledge(worker, 16);
                hold(worker, cache, 0, false);
                began = world.now += 12345;
                grow((struct core_ev_grow){
                        .worker = other, .cache = second, .need = 3, .max = 3, .timeout_usec = 20 * SEC });
                cr_assert_not_null(answer(CORE_ACT_REVOKE));
                cr_expect_eq(answer(CORE_ACT_REVOKE)->worker, worker);
                cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.level, 0);
                cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.device, 0);
                cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.pages, 3);
                cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.revoke, 1);
                cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.deadline_usec, began + cases[i].after);
                tick_at(began + cases[i].after - 1);
                cr_expect_eq(core_counter(world.core, CORE_COUNT_REVOKES_OVERDUE), 0);
                cr_expect_leq(core_next_deadline(world.core), began + cases[i].after);
                cr_assert(core_worker_info(world.core, 0, &info));
                cr_expect_eq(info.overdue, 0);
                tick_at(began + cases[i].after);
                cr_expect_eq(core_counter(world.core, CORE_COUNT_REVOKES_OVERDUE), 1);
                cr_assert(core_worker_info(world.core, 0, &info));
                cr_expect_neq(info.overdue, 0);
        }
}
