/* SPDX-License-Identifier: MIT
 *
 * test-core-bounds.c -- the last value that the core takes and the first that it does not, limit by limit; and events
 * that concern nobody, which change nothing.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core-driver.h"
#include "core-world.h"
#include "internal.h"

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 3, .max_caches = 66, .max_rows = 16, .max_requests = 8
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_bounds, .init = start, .fini = stop);

/* ---- what concerns nobody ---- */

/* Not one byte of the core is another one afterwards, and nothing is asked for. */
static void expect_nothing(const char *what)
{
        void *before = malloc(world.size);

        cr_assert_not_null(before);
        memcpy(before, world.memory, world.size);
        apply();
        cr_expect_eq(answers(), 0, "%s: %u answers", what, answers());
        cr_expect_eq(memcmp(before, world.memory, world.size), 0, "%s: something changed", what);
        free(before);
}

/* All that a worker can send, with an id that is no worker's. */
static void speak_as(uint32_t worker, uint32_t cache, uint64_t extent)
{
        struct core_ev_cache_create *create;

        begin(CORE_EV_WORKER_GONE)->worker_gone.worker = worker;
        expect_nothing("WORKER_GONE");
        create = &begin(CORE_EV_CACHE_CREATE)->cache_create;
        *create = (struct core_ev_cache_create){ .worker = worker, .request = 9, .rows = 1, .n_classes = 1 };
        create->classes[0] = (struct core_plane_class){ .planes = 1, .row_pages = 1 };
        event.size = (uint16_t)core_event_size(&event);
        expect_nothing("CACHE_CREATE");
        begin(CORE_EV_CACHE_DESTROY)->cache_destroy = (struct core_ev_cache_destroy){ worker, 9, cache, 0 };
        expect_nothing("CACHE_DESTROY");
        begin(CORE_EV_GROW)->grow = (struct core_ev_grow){
                .worker = worker, .request = world.next_request++, .cache = cache, .row = 1, .need = 1, .max = 1
        };
        expect_nothing("GROW");
        begin(CORE_EV_ACK)->ack = (struct core_ev_ack){ .worker = worker, .granted = 1 };
        expect_nothing("ACK");
        begin(CORE_EV_RETURN)->ret = (struct core_ev_return){ .worker = worker, .extent = extent };
        expect_nothing("RETURN");
        begin(CORE_EV_ROW)->row = (struct core_ev_row){ worker, cache, 0, 0 };
        expect_nothing("ROW");
        begin(CORE_EV_REVOKED)->revoked = (struct core_ev_revoked){ worker, 1 };
        expect_nothing("REVOKED");
}

Test(core_bounds, nobody_is_heard_who_is_not_connected)
{
        uint32_t worker = add_worker(0), gone = add_worker(0), cache = add_cache(worker, 4, 1, 64);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 2, .max = 2 });
        device_answer_all(&world);
        worker_is_gone(gone);
        speak_as(gone, cache, grant_of(worker, 1));
        speak_as(worker + (1u << 16), cache, grant_of(worker, 1));
        speak_as(0, cache, grant_of(worker, 1));
        speak_as((worker & ~0xffffu) | 2, cache, grant_of(worker, 1));
        speak_as(UINT32_MAX, cache, grant_of(worker, 1));
}

static void device_says(enum core_event_type type, uint64_t extent, int32_t status, const char *what)
{
        begin(type)->created = (struct core_ev_device_done){ .extent = extent, .status = status };
        expect_nothing(what);
}

Test(core_bounds, a_device_is_not_heard_on_what_it_was_not_asked)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 4, 1, 64);
        uint64_t extent;

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 3, .max = 3 });
        device_answer_all(&world);
        acknowledge(worker, 2);
        for (int32_t status = 0; status >= -5; status -= 5)
                for (enum core_event_type type = CORE_EV_CREATED; type <= CORE_EV_DESTROYED; type++) {
                        device_says(type, grant_of(worker, 1), status, "mapped");
                        device_says(type, grant_of(worker, 3), status, "granted");
                        device_says(type, grant_of(worker, 1) + (UINT64_C(1) << 32), status, "of another generation");
                        device_says(type, UINT64_MAX, status, "beyond the table");
                        device_says(type, 0, status, "of no generation");
                }
        extent = grant_of(worker, 1);
        give_back(worker, extent);
        device_says(CORE_EV_CREATED, extent, 0, "being destroyed");
        device_says(CORE_EV_CREATED, extent, -5, "being destroyed");
        world.device.fail_for = 1;
        device_answer(&world, 0);
        device_says(CORE_EV_DESTROYED, extent, 0, "that waits for the retry");
        device_says(CORE_EV_DESTROYED, extent, -5, "that waits for the retry");
        give_back(worker, grant_of(worker, 2));
        extent = grant_of(worker, 2);
        world.device.fail_for = 1;
        device_answer(&world, 0);
        device_says(CORE_EV_DESTROYED, extent, 0, "that waits behind another");
}

Test(core_bounds, a_device_that_is_not_there_misses_nothing)
{
        begin(CORE_EV_DEVICE_MISSING)->device_missing.device = 1;
        event.device_missing.pages = 5;
        expect_nothing("DEVICE_MISSING");
        event.device_missing.device = UINT32_MAX;
        expect_nothing("DEVICE_MISSING");
}

Test(core_bounds, a_tenant_that_cannot_be_is_not)
{
        struct core_ev_tenant_set *set = &begin(CORE_EV_TENANT_SET)->tenant_set;

        set->tenant = CORE_MAX_TENANTS;
        expect_nothing("TENANT_SET");
        begin(CORE_EV_TENANT_REMOVE)->tenant_remove.tenant = CORE_MAX_TENANTS;
        expect_nothing("TENANT_REMOVE");
        begin(CORE_EV_TENANT_REMOVE)->tenant_remove.tenant = 1;
        expect_nothing("TENANT_REMOVE");
        set_tenant(CORE_MAX_TENANTS - 1, UINT64_MAX);
        cr_expect_eq(core_n_tenants(world.core), 2);
        cr_expect_eq(core_tenant_slots(world.core), CORE_MAX_TENANTS);
        cr_expect_neq(add_worker(CORE_MAX_TENANTS - 1), 0);
        cr_expect_eq(add_worker(CORE_MAX_TENANTS), 0);
        cr_expect_eq(answer(CORE_ACT_REFUSE)->peer.error, CORE_E_NO_TENANT);
}

/* ---- limits ---- */

Test(core_bounds, of_a_device)
{
        static const struct {
                uint32_t page_shift, pages;
                bool taken;
        } cases[] = {
                { 11, 1, false },       { 12, 0, false },        { 12, (1u << 30) + 1, false },
                { 41, 1, false },       { 40, 1u << 24, false }, { 12, 1, true },
                { 12, 1u << 30, true }, { 40, 1, true },         { 40, (1u << 24) - 1, true },
        };
        uint32_t n = 1;
        struct core_device_info info;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                add_device(n, cases[i].page_shift, cases[i].pages, 0);
                cr_assert_eq(core_n_devices(world.core), n + cases[i].taken, "case %zu", i);
                if (!cases[i].taken)
                        continue;
                cr_assert(core_device_info(world.core, n, &info));
                cr_expect_eq(info.page_bytes, UINT64_C(1) << cases[i].page_shift);
                cr_expect_eq(info.capacity_bytes, (uint64_t)cases[i].pages << cases[i].page_shift);
                n++;
        }
        while (n < CORE_MAX_DEVICES)
                add_device(n++, 21, 1, 0);
        cr_expect_eq(core_n_devices(world.core), CORE_MAX_DEVICES);
        begin(CORE_EV_DEVICE_ADD)->device_add = (struct core_ev_device_add){ n, 21, 1, 0 };
        expect_nothing("one device too many");
        cr_expect(core_device_info(world.core, CORE_MAX_DEVICES - 1, &info));
        cr_expect(!core_device_info(world.core, CORE_MAX_DEVICES, &info));
}

static enum core_error cache_of_classes(uint32_t worker, uint32_t rows, uint32_t n, struct core_plane_class class)
{
        struct core_ev_cache_create *create = &begin(CORE_EV_CACHE_CREATE)->cache_create;

        create->worker = worker;
        create->request = world.next_request++;
        create->rows = rows;
        create->n_classes = n;
        for (uint32_t i = 0; i < n; i++)
                create->classes[i] = class;
        event.size = (uint16_t)core_event_size(&event);
        apply();
        return answer(CORE_ACT_REPLY_ERROR) ? (enum core_error)answer(CORE_ACT_REPLY_ERROR)->reply.error : CORE_E_NONE;
}

Test(core_bounds, of_a_cache)
{
        uint32_t worker = add_worker(0);
        struct core_cache_info info;

        cr_expect_eq(cache_of_classes(worker, 1u << 20, 1, (struct core_plane_class){ 0, 1, 1, 0 }), CORE_E_NONE);
        cr_expect_eq(cache_of_classes(worker, (1u << 20) + 1, 1, (struct core_plane_class){ 0, 1, 1, 0 }),
                     CORE_E_BAD_GEOMETRY);
        cr_expect_eq(cache_of_classes(worker, 3, 64, (struct core_plane_class){ 0, 64, 5, 0 }), CORE_E_NONE);
        cr_assert(core_cache_info(world.core, 1, &info));
        cr_expect_eq(info.planes, 64 * 64);
        cr_expect_eq(info.rows, 3);
        cr_expect_eq(info.virtual_bytes, UINT64_C(3) * 64 * 64 * 5 << 21);
        /* 2^20 rows of 2^23 pages of 2^21 bytes are 2^64. */
        cr_expect_eq(cache_of_classes(worker, 1u << 20, 1, (struct core_plane_class){ 0, 1, 1u << 23, 0 }),
                     CORE_E_BAD_GEOMETRY);
        cr_expect_eq(cache_of_classes(worker, 1u << 20, 1, (struct core_plane_class){ 0, 1, (1u << 23) - 1, 0 }),
                     CORE_E_NONE);
        cr_assert(core_cache_info(world.core, 2, &info));
        cr_expect_eq(info.virtual_bytes, UINT64_C(0) - (UINT64_C(1) << 41));
}

Test(core_bounds, of_a_workers_caches)
{
        uint32_t worker = add_worker(0), other = add_worker(0);

        for (unsigned i = 0; i < 64; i++)
                cr_assert_neq(add_cache(worker, 1, 1, 1), 0, "%u", i);
        cr_expect_eq(add_cache(worker, 1, 1, 1), 0);
        cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_TOO_MANY_CACHES);
        cr_expect_neq(add_cache(other, 1, 1, 1), 0);
        cr_expect_neq(add_cache(other, 1, 1, 1), 0);
        cr_expect_eq(add_cache(other, 1, 1, 1), 0, "66 in all");
        cr_expect_eq(core_n_caches(world.core), 66);
        cr_expect_eq(core_cache_slots(world.core), 66);
}

Test(core_bounds, of_a_request)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 2, 2, 600);
        const uint64_t page = 2 * MEBIBYTE;

        /* As much as the device has, and one more. */
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 513, .max = 513 }),
                     CORE_E_DEVICE_FULL);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 512, .max = 512 }),
                     CORE_E_NONE);
        cr_expect_eq(current_of(0), 1024 * page);
        worker_is_gone(worker);
        device_answer_all(&world);
        cr_expect_eq(current_of(0), 0);

        /* The last page of the last row. */
        worker = add_worker(0);
        cache = add_cache(worker, 2, 1, 600);
        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = worker, .cache = cache, .row = 1, .first = 599, .need = 1, .max = 1 }),
                     CORE_E_NONE);
        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = worker, .cache = cache, .row = 1, .first = 600, .need = 1, .max = 1 }),
                     CORE_E_BAD_RANGE);
        cr_expect_eq(grow((struct core_ev_grow){
                             .worker = worker, .cache = cache, .row = 1, .first = 598, .need = 1, .max = 3 }),
                     CORE_E_BAD_RANGE);

        /* memory.max to the byte: one less than four pages is three. */
        set_tenant(0, 4 * page - 1);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 3, .max = 3 }),
                     CORE_E_TENANT_FULL);
        set_tenant(0, 4 * page);
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 3, .max = 3 }), CORE_E_NONE);
        cr_expect_eq(current_of(0), 4 * page);
}

Test(core_bounds, of_a_workers_requests_under_way)
{
        static const struct core_params many = {
                .max_extents = 8192, .max_workers = 2, .max_caches = 2, .max_rows = 8, .max_requests = 2000
        };
        uint32_t worker, cache;

        stop();
        start_with(&many);
        worker = add_worker(0);
        cache = add_cache(worker, 8, 1, 200);
        for (uint32_t i = 0; i <= 1024; i++)
                cr_assert_eq(grow((struct core_ev_grow){ .worker = worker,
                                                         .cache = cache,
                                                         .row = i % 8,
                                                         .first = i / 8,
                                                         .need = 1,
                                                         .max = 1,
                                                         .timeout_usec = 1000000 }),
                             i < 1024 ? CORE_E_NONE : CORE_E_TOO_MANY_REQUESTS, "%u", i);
        cr_expect_eq(core_n_waiting(world.core), 1024);
}

/* Tenants have equal parts of the table of requests, and one at least. */
Test(core_bounds, of_a_tenants_requests_under_way)
{
        static const struct {
                uint32_t tenants, each;
        } cases[] = { { 1, 8 }, { 2, 4 }, { 3, 2 }, { 8, 1 }, { 9, 1 } };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint32_t worker, cache;

                stop();
                start();
                for (uint32_t t = 1; t < cases[i].tenants; t++)
                        set_tenant(t, UINT64_MAX);
                worker = add_worker(0);
                cache = add_cache(worker, 16, 1, 64);
                for (uint32_t n = 0; n <= cases[i].each; n++)
                        cr_expect_eq(grow((struct core_ev_grow){
                                             .worker = worker, .cache = cache, .row = n, .need = 1, .max = 1 }),
                                     n < cases[i].each ? CORE_E_NONE : CORE_E_TOO_MANY_REQUESTS, "%u of %u tenants: %u",
                                     cases[i].each, cases[i].tenants, n);
        }
}

/* Likewise of the tables of workers and caches. A slot is in use until nothing of its owner is left. */
Test(core_bounds, of_a_tenants_workers)
{
        struct core_params some = params;
        uint32_t worker, first = 0;

        some.max_workers = 11;
        stop();
        start_with(&some);
        for (uint32_t t = 1; t < 4; t++)
                set_tenant(t, UINT64_MAX);
        for (uint32_t t = 0; t < 4; t++)
                for (uint32_t n = 0; n <= 2; n++) {
                        worker = add_worker(t);
                        cr_expect_eq(worker != 0, n < 2, "tenant %u: %u", t, n);
                        first = first ? first : worker;
                }
        cr_assert_not_null(answer(CORE_ACT_REFUSE));
        cr_expect_eq(answer(CORE_ACT_REFUSE)->peer.error, CORE_E_TOO_MANY_WORKERS);
        grow((struct core_ev_grow){ .worker = first, .cache = add_cache(first, 1, 1, 4), .need = 1, .max = 1 });
        device_answer_all(&world);
        worker_is_gone(first);
        cr_expect_eq(add_worker(0), 0, "its page is being destroyed");
        device_answer_all(&world);
        cr_expect_neq(add_worker(0), 0);
}

Test(core_bounds, of_a_tenants_caches)
{
        struct core_params some = params;
        uint32_t workers[2], last = 0;

        some.max_caches = 11;
        stop();
        start_with(&some);
        set_tenant(1, UINT64_MAX);
        for (uint32_t t = 0; t < 2; t++) {
                workers[t] = add_worker(t);
                for (uint32_t n = 0; n < 5; n++)
                        cr_expect_neq(last = add_cache(workers[t], 1, 1, 1), 0, "tenant %u: %u", t, n);
                cr_expect_eq(add_cache(workers[t], 1, 1, 1), 0);
                cr_expect_eq(answer(CORE_ACT_REPLY_ERROR)->reply.error, CORE_E_TOO_MANY_CACHES);
        }
        begin(CORE_EV_CACHE_DESTROY)->cache_destroy = (struct core_ev_cache_destroy){ workers[1], 9, last, 0 };
        apply();
        cr_expect_neq(add_cache(workers[1], 1, 1, 1), 0);
}

/* A tenant that is to go stays while anything of its workers is there, for that is counted as its. */
Test(core_bounds, of_a_tenant_that_goes)
{
        struct core_tenant_info info;
        uint32_t worker;

        set_tenant(1, UINT64_MAX);
        worker = add_worker(1);
        grow((struct core_ev_grow){ .worker = worker, .cache = add_cache(worker, 1, 1, 4), .need = 1, .max = 1 });
        device_answer_all(&world);
        begin(CORE_EV_TENANT_REMOVE)->tenant_remove.tenant = 1;
        apply();
        worker_is_gone(worker);
        cr_expect(core_tenant_info(world.core, 1, &info));
        device_answer_all(&world);
        cr_expect(!core_tenant_info(world.core, 1, &info));
}

Test(core_bounds, of_the_table_of_requests)
{
        struct core_params few = params;

        few.max_workers = 9;
        stop();
        start_with(&few);
        for (uint32_t t = 0; t < 9; t++)
                set_tenant(t, UINT64_MAX);
        for (uint32_t t = 0; t < 9; t++) {
                struct party p = party(t);

                cr_expect_eq(want(&p, 0, 1), t < 8 ? CORE_E_NONE : CORE_E_TOO_MANY_REQUESTS, "%u", t);
        }
}

Test(core_bounds, of_rows_that_have_pages)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 20, 1, 64);

        for (uint32_t i = 0; i < params.max_rows; i++) {
                cr_assert_eq(
                        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = i, .need = 1, .max = 1 }),
                        CORE_E_NONE);
                device_answer_all(&world);
        }
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 16, .need = 1, .max = 1 }),
                     CORE_E_TOO_MANY_REQUESTS);
        give_back(worker, grant_of(worker, 5));
        cr_expect_eq(grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 16, .need = 1, .max = 1 }),
                     CORE_E_NONE);
}

/* ---- what happens once in 2^16 or 2^32 times ---- */

Test(core_bounds, of_a_generation)
{
        uint32_t worker = add_worker(0), cache;

        cache = add_cache(worker, 1, 1, 64);
        worker_is_gone(worker);
        worker_get(world.core, 0)->generation = cache_get(world.core, 0)->generation = 0xffff;
        worker = add_worker(0);
        cr_expect_eq(worker, 0xffffu << 16);
        cache = add_cache(worker, 1, 1, 64);
        cr_expect_eq(cache, 0xffffu << 16);
        worker_is_gone(worker);
        worker = add_worker(0);
        cr_expect_eq(worker, 1u << 16, "no id is 0");
        cache = add_cache(worker, 1, 1, 64);
        cr_expect_eq(cache, 1u << 16);
}

Test(core_bounds, of_an_extents_generation)
{
        struct core_driver driver;

        core_driver_start(&driver, &params, 64);
        core_driver_cache(&driver, 1, 1, 64);
        for (uint32_t i = 0; i < 4; i++) {
                static const uint32_t generations[] = { 1, UINT32_MAX, 1, 2 };

                core_driver_grow(&driver, 0, 0, 1, 1);
                cr_assert_eq(driver.n_grants, 1);
                cr_expect_eq(driver.grants[0].grant.extent, (uint64_t)generations[i] << 32);
                core_driver_return_all(&driver);
                if (i == 0)
                        extent_get(driver.core, 0)->generation = UINT32_MAX;
        }
        core_driver_stop(&driver);
}

Test(core_bounds, of_the_number_of_a_revoke)
{
        struct party p = party(0), other;

        set_tenant(1, UINT64_MAX);
        other = party(1);
        take(&other, 0, 1024);
        worker_get(world.core, other.worker & 0xffffu)->revoke_counter = UINT32_MAX - 1;
        want(&p, 0, 1);
        cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.revoke, UINT32_MAX);
        shrug(&other, UINT32_MAX);
        cr_assert_not_null(answer(CORE_ACT_REVOKE));
        cr_expect_eq(answer(CORE_ACT_REVOKE)->revoke.revoke, 1, "0 is none");
}
