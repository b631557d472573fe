/* SPDX-License-Identifier: MIT
 *
 * test-core-contract.c -- the sentences of core.h, event.h and action.h, one by one. Every event goes through the
 * simulator's world, so that the shadow and core_check() look on.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core-world.h"

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 3, .max_caches = 4, .max_rows = 16, .max_requests = 8
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_contract, .init = start, .fini = stop);

Test(core_contract, size_of_unsound_parameters_is_zero)
{
        const struct core_params bad[] = {
                { 0, 1, 1, 1, 1, 0, 0 },
                { (1u << 30) + 1, 1, 1, 1, 1, 0, 0 },
                { 1, 0, 1, 1, 1, 0, 0 },
                { 1, 65536, 1, 1, 1, 0, 0 },
                { 1, 1, 0, 1, 1, 0, 0 },
                { 1, 1, 65536, 1, 1, 0, 0 },
                { 1, 1, 1, 0, 1, 0, 0 },
                { 1, 1, 1, 1, 0, 0, 0 },
                { 1, 1, 1, (1u << 30) + 1, 1, 0, 0 },
                { 1, 1, 1, 1, (1u << 30) + 1, 0, 0 },
        };
        const struct core_params largest = { 1u << 30, 65535, 65535, 1u << 30, 1u << 30, 0, 0 };
        const struct core_params smallest = { 1, 1, 1, 1, 1, 0, 0 };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                cr_expect_eq(core_size(&bad[i]), 0, "%zu", i);
        cr_expect(core_size(&largest) > 64ull << 30);
        cr_expect_neq(core_size(&smallest), 0);
}

Test(core_contract, a_new_core_has_nothing_to_do)
{
        void *memory = aligned_alloc(64, core_size(&params));
        const struct core *core = core_init(memset(memory, 0, core_size(&params)), &params);

        cr_expect_eq(core_next_deadline(core), UINT64_MAX);
        cr_expect(core_is_quiet(core));
        cr_expect(!core_pending(core));
        cr_expect_eq(core_n_devices(core) + core_n_tenants(core) + core_n_workers(core) + core_n_caches(core), 0);
        cr_expect_eq(core_check(core, NULL, 0), 0);
        free(memory);
}

Test(core_contract, a_device_takes_the_next_index_and_sane_pages)
{
        add_device(5, 21, 16, 0);
        add_device(0, 21, 16, 0);
        add_device(1, 3, 16, 0);
        add_device(1, 21, 0, 0);
        add_device(1, 63, 1u << 20, 0);
        cr_expect_eq(core_n_devices(world.core), 1);
        add_device(1, 16, 10, 0);
        cr_expect_eq(core_n_devices(world.core), 2);
}

Test(core_contract, a_peer_without_tenant_or_slot_is_refused)
{
        begin(CORE_EV_WORKER_ADD)->worker_add = (struct core_ev_worker_add){ 99, 1, 1, 1 };
        apply();
        cr_assert_not_null(answer(CORE_ACT_REFUSE));
        cr_expect_eq(answer(CORE_ACT_REFUSE)->peer.cookie, 99);
        cr_expect_eq(answer(CORE_ACT_REFUSE)->peer.error, CORE_E_NO_TENANT);
        for (uint32_t i = 0; i < params.max_workers; i++)
                cr_expect_neq(add_worker(0), 0);
        cr_expect_eq(add_worker(0), 0);
        cr_expect_eq(answer(CORE_ACT_REFUSE)->peer.error, CORE_E_TOO_MANY_WORKERS);
}

Test(core_contract, a_removed_tenant_takes_no_new_workers_and_goes_with_its_last)
{
        uint32_t worker = add_worker(0);
        struct core_tenant_info info;

        begin(CORE_EV_TENANT_REMOVE)->tenant_remove.tenant = 0;
        apply();
        cr_expect_eq(add_worker(0), 0);
        cr_expect_eq(answer(CORE_ACT_REFUSE)->peer.error, CORE_E_NO_TENANT);
        cr_expect(core_tenant_info(world.core, 0, &info));
        cr_expect_eq(core_n_tenants(world.core), 1);
        begin(CORE_EV_WORKER_GONE)->worker_gone.worker = worker;
        apply();
        cr_expect(!core_tenant_info(world.core, 0, &info));
        cr_expect_eq(core_n_tenants(world.core), 0);
}

Test(core_contract, a_worker_that_is_gone_is_heard_no_more)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 1, 1, 10);
        struct core_worker_info info;

        begin(CORE_EV_WORKER_GONE)->worker_gone.worker = worker;
        apply();
        cr_expect_eq(core_n_workers(world.core), 0);
        cr_expect_eq(core_n_caches(world.core), 0);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 });
        cr_expect_eq(answers(), 0);
        acknowledge(worker, 1);
        cr_expect_eq(answers(), 0);
        give_back(worker, UINT64_C(1) << 32);
        cr_expect_eq(answers(), 0);
        cr_expect_neq(add_worker(0), worker, "its id does not come back at once");
        cr_expect(core_worker_info(world.core, 0, &info));
        cr_expect_eq(info.pid, 4711);
        cr_expect_eq(info.uid, 1000);
}

Test(core_contract, a_cache_that_makes_no_sense_is_refused)
{
        static const struct {
                uint32_t device, rows, n_classes, planes, row_pages;
                enum core_error error;
        } cases[] = {
                { 1, 1, 1, 1, 1, CORE_E_NO_DEVICE },
                { UINT32_MAX, 1, 1, 1, 1, CORE_E_NO_DEVICE },
                { 0, 0, 1, 1, 1, CORE_E_BAD_GEOMETRY },
                { 0, 1, 0, 1, 1, CORE_E_BAD_GEOMETRY },
                { 0, 1, 1, 0, 1, CORE_E_BAD_GEOMETRY },
                { 0, 1, 1, 65, 1, CORE_E_BAD_GEOMETRY },
                { 0, 1, 1, 1, 0, CORE_E_BAD_GEOMETRY },
                { 0, UINT32_MAX, 1, 1, 1, CORE_E_BAD_GEOMETRY },
                { 0, 1u << 20, 1, 64, UINT32_MAX, CORE_E_BAD_GEOMETRY }, /* 2^79 bytes */
        };
        uint32_t worker = add_worker(0);

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct core_ev_cache_create *create = &begin(CORE_EV_CACHE_CREATE)->cache_create;

                create->worker = worker;
                create->request = 100 + (uint32_t)i;
                create->device = cases[i].device;
                create->rows = cases[i].rows;
                create->n_classes = cases[i].n_classes;
                create->classes[0] = (struct core_plane_class){ .planes = cases[i].planes,
                                                                .row_pages = cases[i].row_pages };
                event.size = (uint16_t)core_event_size(&event);
                apply();
                cr_assert_not_null(answer(CORE_ACT_REPLY_ERROR), "case %zu", i);
                cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, cases[i].error, "case %zu", i);
                cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.request, 100 + (uint32_t)i);
        }
        cr_expect_eq(core_n_caches(world.core), 0);
        for (uint32_t i = 0; i < params.max_caches; i++)
                cr_expect_neq(add_cache(worker, 1, 1, 1), 0);
        cr_expect_eq(add_cache(worker, 1, 1, 1), 0);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_TOO_MANY_CACHES);
}

Test(core_contract, a_bad_request_fails_at_once_and_says_why)
{
        uint32_t worker = add_worker(0), other = add_worker(0), cache = add_cache(worker, 2, 1, 100),
                 foreign = add_cache(other, 1, 1, 9);
        const struct core_ev_grow good = {
                .worker = worker, .cache = cache, .row = 1, .first = 10, .need = 5, .max = 6
        };
        struct core_ev_grow bad;

        bad = good, bad.cache = foreign;
        cr_expect_eq(grow(bad), CORE_E_NO_CACHE);
        bad = good, bad.cache = cache + 65536;
        cr_expect_eq(grow(bad), CORE_E_NO_CACHE);
        bad = good, bad.row = 2;
        cr_expect_eq(grow(bad), CORE_E_BAD_RANGE);
        bad = good, bad.plane_class = 1;
        cr_expect_eq(grow(bad), CORE_E_BAD_RANGE);
        bad = good, bad.need = 0;
        cr_expect_eq(grow(bad), CORE_E_BAD_RANGE);
        bad = good, bad.need = 7;
        cr_expect_eq(grow(bad), CORE_E_BAD_RANGE);
        bad = good, bad.first = 95;
        cr_expect_eq(grow(bad), CORE_E_BAD_RANGE);
        bad = good, bad.first = UINT32_MAX - 2;
        cr_expect_eq(grow(bad), CORE_E_BAD_RANGE);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect_eq(grow(good), CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        bad = good, bad.first = 12, bad.need = bad.max = 1;
        cr_expect_eq(grow(bad), CORE_E_NONE);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
        /* 10, 11 and 12 to 15 are fewer extents than five single ones. */
        cr_expect_eq(current_of(0), 6 * 2 * MEBIBYTE, "nothing is charged for what was there already");
}

Test(core_contract, a_row_that_is_not_there_is_an_error_and_one_without_pages_is_not)
{
        uint32_t worker = add_worker(0), other = add_worker(0), cache = add_cache(worker, 2, 1, 100);

        hold(worker, cache, 1, false);
        cr_expect_eq(answers(), 0);
        hold(worker, cache, 2, false);
        cr_assert_not_null(answer(CORE_ACT_REPLY_ERROR));
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_BAD_RANGE);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.request, 0);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->worker, worker);
        hold(other, cache, 1, false);
        cr_assert_not_null(answer(CORE_ACT_REPLY_ERROR));
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_NO_CACHE);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->worker, other);
}

Test(core_contract, more_than_there_can_ever_be_is_not_waited_for)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 2, 2, 4096);

        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = worker, .cache = cache, .need = 513, .max = 513, .timeout_usec = 1000 }),
                     CORE_E_DEVICE_FULL);
        set_tenant(0, 100 * 2 * MEBIBYTE);
        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = worker, .cache = cache, .need = 51, .max = 51, .timeout_usec = 1000 }),
                     CORE_E_TENANT_FULL);
        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = worker, .cache = cache, .need = 50, .max = 512, .timeout_usec = 0 }),
                     CORE_E_NONE);
        cr_expect_eq(current_of(0), 100 * 2 * MEBIBYTE, "max is what may be given, not what must");
}

Test(core_contract, too_many_requests_is_an_error_of_its_own)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 10, 1, 1024);

        for (uint32_t i = 0; i < params.max_requests; i++)
                cr_expect_eq(
                        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = i, .need = 1, .max = 1 }),
                        CORE_E_NONE);
        cr_expect_eq(core_n_waiting(world.core), params.max_requests);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 9, .need = 1, .max = 1 }),
                     CORE_E_TOO_MANY_REQUESTS);
        device_answer_all(&world);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_contract, an_acknowledgement_ahead_ends_the_worker_and_one_behind_is_nothing)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 2, 1, 1024);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 3, .max = 3 });
        device_answer_all(&world);
        acknowledge(worker, 2);
        cr_expect_eq(answers(), 0);
        acknowledge(worker, 1);
        cr_expect_eq(answers(), 0);
        acknowledge(worker, 4);
        cr_assert_not_null(answer(CORE_ACT_DROP));
        cr_expect_eq(answer(CORE_ACT_DROP)->reply.error, CORE_E_BAD_ACK);
}

Test(core_contract, a_return_of_what_is_not_ones_own_is_an_error_and_changes_nothing)
{
        uint32_t worker = add_worker(0), other = add_worker(0), cache = add_cache(worker, 2, 1, 1024);
        uint64_t extent;

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 });
        extent = world.model.extents[0].id;
        device_answer_all(&world);
        give_back(other, extent);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_BAD_EXTENT);
        give_back(worker, extent + (UINT64_C(1) << 32));
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_BAD_EXTENT);
        give_back(worker, UINT64_MAX);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_BAD_EXTENT);
        cr_expect_eq(current_of(0), 2 * MEBIBYTE);
        give_back(worker, extent);
        cr_assert_not_null(answer(CORE_ACT_DESTROY));
        cr_expect_eq(current_of(0), 2 * MEBIBYTE, "charged until it is destroyed");
        give_back(worker, extent);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_BAD_EXTENT, "a second time");
        device_answer_all(&world);
        cr_expect_eq(current_of(0), 0);
}

Test(core_contract, an_answer_to_a_revoke_that_never_was_ends_the_worker)
{
        begin(CORE_EV_REVOKED)->revoked = (struct core_ev_revoked){ add_worker(0), 7 };
        world_event(&world, &event, CORE_EV_REVOKED);
        event.revoked.worker = world.workers[0].id;
        event.revoked.revoke = 7;
        apply();
        cr_assert_not_null(answer(CORE_ACT_DROP));
        cr_expect_eq(answer(CORE_ACT_DROP)->reply.error, CORE_E_BAD_REVOKE);
}

Test(core_contract, at_most_256_extents_are_in_flight)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 2, 64, 1024);
        struct core_worker_info info;

        grow((struct core_ev_grow){
                .worker = worker, .cache = cache, .first = 1, .need = 15, .max = 15 }); /* 6 a plane: 384 */
        device_answer_all(&world);
        world_flush(&world);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_GRANTED), CORE_MAX_UNACKED);
        acknowledge(worker, 1);
        cr_expect_eq(answers(), 1, "one in, one out");
        acknowledge(worker, 257);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_EXTENTS_GRANTED), 384);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect(core_worker_info(world.core, 0, &info));
        cr_expect(info.unacknowledged_bytes > 0);
        acknowledge(worker, 384);
        cr_expect(core_worker_info(world.core, 0, &info));
        cr_expect_eq(info.unacknowledged_bytes, 0);
        cr_expect_eq(info.live_bytes, 15 * 64 * 2 * MEBIBYTE);
}

Test(core_contract, time_does_not_go_backwards)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 1, 1, 1024);
        uint64_t now = world.now;

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 });
        begin(CORE_EV_TICK);
        event.now_usec = 0;
        apply();
        cr_expect_eq(answers(), 0);
        cr_expect(core_next_deadline(world.core) > now);
}

Test(core_contract, no_request_waits_longer_than_a_minute)
{
        uint32_t worker = add_worker(0), other = add_worker(0), cache = add_cache(worker, 1, 1, 1024),
                 second = add_cache(other, 1, 1, 1024);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1024, .max = 1024 });
        device_answer_all(&world);
        acknowledge(worker, 16);
        grow((struct core_ev_grow){
                .worker = other, .cache = second, .need = 1, .max = 1, .timeout_usec = UINT64_MAX });
        cr_expect_eq(core_n_waiting(world.core), 1);
        world_advance(&world, 61000000);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_contract, the_end_of_a_cache_is_the_end_of_its_extents)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 4, 2, 64);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 3, .need = 9, .max = 9 });
        device_answer_all(&world);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 2, .need = 1, .max = 1 });
        begin(CORE_EV_CACHE_DESTROY)->cache_destroy =
                (struct core_ev_cache_destroy){ .worker = worker, .request = 5, .cache = cache };
        apply();
        cr_assert_not_null(answer(CORE_ACT_REPLY_OK));
        cr_expect_eq(answer(CORE_ACT_REPLY_OK)->reply.request, 5);
        begin(CORE_EV_CACHE_DESTROY)->cache_destroy =
                (struct core_ev_cache_destroy){ .worker = worker, .request = 6, .cache = cache };
        apply();
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_NO_CACHE);
        device_answer_all(&world);
        cr_expect_eq(current_of(0), 0);
        cr_expect_eq(core_n_waiting(world.core), 0);
}

Test(core_contract, there_is_nothing_beyond_the_slots)
{
        struct core_device_info device;
        struct core_tenant_info tenant;
        struct core_worker_info worker;
        struct core_cache_info cache;

        cr_expect(!core_device_info(world.core, 1, &device));
        cr_expect(!core_device_info(world.core, UINT32_MAX, &device));
        cr_expect(!core_tenant_info(world.core, 1, &tenant));
        cr_expect(!core_tenant_info(world.core, UINT32_MAX, &tenant));
        cr_expect(!core_worker_info(world.core, 0, &worker));
        cr_expect(!core_worker_info(world.core, UINT32_MAX, &worker));
        cr_expect(!core_cache_info(world.core, 0, &cache));
        cr_expect(!core_cache_info(world.core, UINT32_MAX, &cache));
        cr_expect_eq(core_tenant_slots(world.core), 1);
        cr_expect_eq(core_counter(world.core, CORE_COUNT_MAX_), 0);
}

Test(core_contract, bytes_of_devices_with_different_pages_add_up)
{
        uint32_t worker = add_worker(0), large = add_cache(worker, 1, 1, 16), small;

        add_device(1, 16, 64, 0);
        begin(CORE_EV_CACHE_CREATE)->cache_create =
                (struct core_ev_cache_create){ .worker = worker,
                                               .request = 50,
                                               .device = 1,
                                               .rows = 1,
                                               .n_classes = 1,
                                               .classes = { { .planes = 1, .row_pages = 16 } } };
        event.size = (uint16_t)core_event_size(&event);
        apply();
        small = answer(CORE_ACT_REPLY_CACHE)->reply.cache;
        grow((struct core_ev_grow){ .worker = worker, .cache = large, .need = 1, .max = 1 });
        grow((struct core_ev_grow){ .worker = worker, .cache = small, .need = 4, .max = 4 });
        device_answer_all(&world);
        cr_expect_eq(current_of(0), 2 * MEBIBYTE + 4 * 65536);
}

Test(core_contract, a_snapshot_goes_on_as_the_original_does)
{
        stop();
        for (uint64_t seed = 500; seed < 520; seed++) {
                struct core_params any;

                sim_params(seed, false, &any);
                world_init(&world, seed, &any);
                sim_run(&world, 400);
                cr_assert_not_null(world.snapshot.memory);
                world_check_replay(&world);
                world_done(&world);
        }
        start();
}

/* Applies the run's log to another core; the sum of its actions without the transitions. False: it could not do all in
 * one go. */
static bool replay_and_sum(const struct core_params *with, uint64_t *ret_sum)
{
        struct core_actions actions = { .capacity = CORE_ACTIONS_MAX,
                                        .v = calloc(CORE_ACTIONS_MAX, sizeof(struct core_action)) };
        void *memory = aligned_alloc(64, core_size(with));
        struct core *core = core_init(memset(memory, 0, core_size(with)), with);
        bool whole = true;

        *ret_sum = 0;
        for (uint32_t at = 0; at < world.n_log && whole;) {
                at += (uint32_t)core_event_decode(world.log + at, world.n_log - at, &event);
                actions.n = 0;
                core_apply(core, &event, &actions);
                whole = !core_pending(core);
                for (uint32_t i = 0; i < actions.n; i++)
                        for (size_t k = 0; k < sizeof(actions.v[i]) && actions.v[i].type != CORE_ACT_TRANSITION; k++)
                                *ret_sum = *ret_sum * 31 + ((const uint8_t *)&actions.v[i])[k];
        }
        free(memory);
        free(actions.v);
        return whole;
}

Test(core_contract, tracing_changes_nothing)
{
        unsigned compared = 0;

        stop();
        for (uint64_t seed = 600; seed < 640; seed++) {
                struct core_params plain, traced;
                uint64_t one, two;

                sim_params(seed, false, &plain);
                plain.trace = 0;
                traced = plain;
                traced.trace = 1;
                world_init(&world, seed, &plain);
                sim_run(&world, 500);
                if (replay_and_sum(&plain, &one) && replay_and_sum(&traced, &two)) {
                        cr_expect_eq(one, two, "seed %u", (unsigned)seed);
                        compared++;
                }
                world_done(&world);
        }
        cr_expect(compared > 10, "%u", compared);
        start();
}

Test(core_contract, a_line_of_trace_is_cut_to_its_buffer)
{
        struct core_action action = { .type = CORE_ACT_TRANSITION };
        char whole[200], cut[200];
        size_t length;

        action.transition.object = CORE_OBJ_EXTENT;
        action.transition.id = (UINT64_C(3) << 32) | 17;
        length = core_trace_format(&action, whole, sizeof(whole));
        cr_assert(length > 10 && length == strlen(whole));
        cr_expect_eq(strncmp(whole, "extent 17.3 ", 12), 0, "%s", whole);
        for (size_t size = 1; size <= length; size++) {
                memset(cut, 'x', sizeof(cut));
                core_trace_format(&action, cut, size);
                cr_assert_eq(strlen(cut), size - 1);
                cr_assert_eq(strncmp(cut, whole, size - 1), 0);
        }
        action.type = CORE_ACT_SYNC;
        cr_expect_eq(core_trace_format(&action, whole, sizeof(whole)), 0);
}
