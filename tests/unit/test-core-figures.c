/* SPDX-License-Identifier: MIT
 *
 * test-core-figures.c -- what the core tells about itself is so: figures and counters after known stories, to the byte.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "core-world.h"
#include "internal.h"

#define SEC UINT64_C(1000000)

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 4, .max_caches = 6, .max_rows = 16, .max_requests = 8
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_figures, .init = start, .fini = stop);

static void expect_counter(enum core_counter counter, uint64_t value, int line)
{
        cr_expect_eq(core_counter(world.core, counter), value, "line %d: counter %d is %u, must be %u", line,
                     (int)counter, (unsigned)core_counter(world.core, counter), (unsigned)value);
}
#define COUNTED(counter, value) expect_counter(CORE_COUNT_##counter, value, __LINE__)

Test(core_figures, tell_of_a_tenant_what_was_set)
{
        struct core_ev_tenant_set *set = &begin(CORE_EV_TENANT_SET)->tenant_set;
        struct core_tenant_info info;

        *set = (struct core_ev_tenant_set){ .tenant = 3,
                                            .min_bytes = 1 * PAGE,
                                            .low_bytes = 2 * PAGE,
                                            .high_bytes = 3 * PAGE,
                                            .max_bytes = 4 * PAGE,
                                            .weight = 250 };
        memset(set->name, 'x', sizeof(set->name)); /* not terminated */
        apply();
        cr_assert(core_tenant_info(world.core, 3, &info));
        cr_expect_eq(info.min_bytes, 1 * PAGE);
        cr_expect_eq(info.low_bytes, 2 * PAGE);
        cr_expect_eq(info.high_bytes, 3 * PAGE);
        cr_expect_eq(info.max_bytes, 4 * PAGE);
        cr_expect_eq(info.weight, 250);
        cr_expect_eq(info.workers, 0);
        cr_expect_eq(strnlen(info.name, sizeof(info.name)), sizeof(info.name) - 1);
        cr_expect_eq(core_n_tenants(world.core), 2);
        cr_expect_eq(core_tenant_slots(world.core), 4);
        cr_expect(!core_tenant_info(world.core, 1, &info));

        begin(CORE_EV_TENANT_SET)->tenant_set.tenant = 3;
        apply();
        cr_assert(core_tenant_info(world.core, 3, &info));
        cr_expect_eq(info.weight, 1, "nobody weighs nothing");
        cr_expect_eq(info.max_bytes, 0);
        cr_expect_eq(info.name[0], 0);
        cr_expect_eq(core_n_tenants(world.core), 2);
}

Test(core_figures, tell_of_worker_and_cache_what_they_have)
{
        uint32_t other = add_worker(0), worker, cache, second;
        struct core_worker_info w;
        struct core_cache_info k;
        struct core_tenant_info t;

        set_tenant(1, UINT64_MAX);
        begin(CORE_EV_WORKER_ADD)->worker_add =
                (struct core_ev_worker_add){ .cookie = 7, .pid = 42, .uid = 43, .tenant = 1 };
        apply();
        worker = answer(CORE_ACT_WELCOME)->worker;
        cr_expect_eq(answer(CORE_ACT_WELCOME)->peer.cookie, 7);
        cr_expect_eq(answer(CORE_ACT_WELCOME)->peer.tenant, 1);
        cache = add_cache(worker, 4, 2, 64);
        second = add_cache(worker, 3, 1, 64);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 0, .need = 3, .max = 3 });
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 1, .max = 1 });
        device_answer_all(&world);
        acknowledge(worker, 7); /* all but the last */
        hold(worker, cache, 0, false);

        cr_assert(core_worker_info(world.core, 1, &w));
        cr_expect_eq(w.worker, worker);
        cr_expect_eq(w.pid, 42);
        cr_expect_eq(w.uid, 43);
        cr_expect_eq(w.tenant, 1);
        cr_expect_eq(w.caches, 2);
        cr_expect_eq(w.overdue, 0);
        cr_expect_eq(w.current_bytes, 8 * PAGE);
        cr_expect_eq(w.idle_bytes, 6 * PAGE);
        cr_expect_eq(w.live_bytes, 1 * PAGE);
        cr_expect_eq(w.unacknowledged_bytes, 1 * PAGE);
        cr_assert(core_cache_info(world.core, 0, &k));
        cr_expect_eq(k.cache, cache);
        cr_expect_eq(k.worker, worker);
        cr_expect_eq(k.rows, 4);
        cr_expect_eq(k.planes, 2);
        cr_expect_eq(k.held_rows, 1);
        cr_expect_eq(k.virtual_bytes, 4 * 2 * 64 * PAGE);
        cr_expect_eq(k.live_bytes, 1 * PAGE);
        cr_expect_eq(k.idle_bytes, 6 * PAGE);
        cr_assert(core_cache_info(world.core, 1, &k));
        cr_expect_eq(k.cache, second);
        cr_expect_eq(k.rows, 3);
        cr_assert(core_tenant_info(world.core, 1, &t));
        cr_expect_eq(t.current_bytes, 8 * PAGE);
        cr_expect_eq(t.idle_bytes, 6 * PAGE);
        cr_expect_eq(t.live_bytes, 1 * PAGE);
        cr_expect_eq(t.workers, 1);
        cr_expect_eq(core_tenant_pages(world.core, 1, 0), 8);
        cr_expect_eq(core_tenant_pages(world.core, 1, 1), 0);
        cr_expect_eq(core_tenant_pages(world.core, CORE_MAX_TENANTS, 0), 0);
        cr_expect_eq(core_n_workers(world.core), 2);
        cr_expect_eq(core_worker_slots(world.core), 2);
        cr_expect_eq(core_n_caches(world.core), 2);

        worker_is_gone(other);
        cr_expect_eq(core_n_workers(world.core), 1);
        cr_expect_eq(core_worker_slots(world.core), 2);
        cr_expect(!core_worker_info(world.core, 0, &w));
        begin(CORE_EV_CACHE_DESTROY)->cache_destroy =
                (struct core_ev_cache_destroy){ .worker = worker, .request = 1, .cache = second };
        apply();
        cr_expect(!core_cache_info(world.core, 1, &k));
        cr_assert(core_worker_info(world.core, 1, &w));
        cr_expect_eq(w.caches, 1);
}

Test(core_figures, tell_of_a_device_what_is_made_and_for_whom)
{
        uint32_t worker = add_worker(0), cache;
        struct core_device_info d;

        add_device(1, 16, 640, 160);
        cache = add_cache_on(1, worker, 2, 1, 64);
        cr_assert(core_device_info(world.core, 1, &d));
        cr_expect_eq(d.page_bytes, 65536);
        cr_expect_eq(d.capacity_bytes, 640 * 65536);
        /* A quarter of 160 pages for each size of 1, 4, 16 and 64: 40 + 40 + 32 + 0. */
        cr_expect_eq(d.virgin_bytes, 112 * 65536);
        cr_expect_eq(d.allocated_bytes, d.virgin_bytes);
        device_answer_all(&world);
        cr_assert(core_device_info(world.core, 1, &d));
        cr_expect_eq(d.virgin_bytes, 112 * 65536);

        /* Two single pages come from what is there, and are promised or held: no longer virgin, but allocated. */
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 2, .max = 2 });
        cr_assert(core_device_info(world.core, 1, &d));
        cr_expect_eq(d.virgin_bytes, 110 * 65536);
        cr_expect_eq(d.allocated_bytes, 112 * 65536);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 64, .max = 64 });
        cr_assert(core_device_info(world.core, 1, &d));
        cr_expect_eq(d.allocated_bytes, 176 * 65536, "one of 64 is being made, and promised");
        cr_expect_eq(d.virgin_bytes, 110 * 65536);
}

Test(core_figures, count_extents_and_pages)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 4, 1, 1024);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 21, .max = 21 }); /* 16 + 4 + 1 */
        device_answer_all(&world);
        acknowledge(worker, 3);
        COUNTED(EXTENTS_CREATED, 3);
        COUNTED(EXTENTS_GRANTED, 3);
        COUNTED(PAGES_GRANTED, 21);
        give_back(worker, grant_of(worker, 1));
        COUNTED(EXTENTS_RETURNED, 1);
        COUNTED(PAGES_RETURNED, 16);
        COUNTED(EXTENTS_DESTROYED, 0);
        device_answer_all(&world);
        COUNTED(EXTENTS_DESTROYED, 1);
        COUNTED(EXTENTS_REFUSED, 0);
        begin(CORE_EV_RETURN)->ret =
                (struct core_ev_return){ .worker = worker, .refused = 1, .extent = grant_of(worker, 2) };
        apply();
        COUNTED(EXTENTS_REFUSED, 1);
        COUNTED(EXTENTS_RETURNED, 2);
        COUNTED(PAGES_RETURNED, 20);
        COUNTED(WORKERS_CONNECTED, 1);
        COUNTED(WORKERS_GONE, 0);
        worker_is_gone(worker);
        COUNTED(WORKERS_GONE, 1);
        COUNTED(EXTENTS_RETURNED, 3);
        COUNTED(PAGES_RETURNED, 21);
        COUNTED(EXTENTS_RECLASSED, 0);
        COUNTED(DEVICE_FAILURES, 0);
}

Test(core_figures, count_requests_by_their_end)
{
        uint32_t worker = add_worker(0), other = add_worker(0), cache = add_cache(worker, 4, 1, 2048),
                 second = add_cache(other, 4, 1, 2048);

        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1024, .max = 1024 });
        COUNTED(REQUESTS, 1);
        COUNTED(REQUESTS_GRANTED, 0);
        device_answer_all(&world);
        COUNTED(REQUESTS_GRANTED, 1);
        acknowledge(worker, 16);
        grow((struct core_ev_grow){ .worker = other, .cache = second, .need = 1, .max = 1 });
        COUNTED(REQUESTS_FAILED_DEVICE, 1);
        grow((struct core_ev_grow){
                .worker = other, .cache = second, .need = 1, .max = 1, .flags = CORE_GROW_OPTIONAL });
        COUNTED(REQUESTS_OPTIONAL_REFUSED, 1);
        COUNTED(REQUESTS_WAITED, 0);
        grow((struct core_ev_grow){ .worker = other, .cache = second, .need = 1, .max = 1, .timeout_usec = 5 });
        COUNTED(REQUESTS_WAITED, 1);
        COUNTED(REVOKES, 1);
        COUNTED(PAGES_REVOKED, 1);
        world_advance(&world, 5);
        COUNTED(REQUESTS_TIMED_OUT, 1);
        world_advance(&world, SEC);
        COUNTED(REVOKES_OVERDUE, 1);
        set_tenant(0, 1024 * PAGE);
        grow((struct core_ev_grow){ .worker = other, .cache = second, .need = 1, .max = 1 });
        COUNTED(REQUESTS_FAILED_TENANT, 1);
        COUNTED(REQUESTS_FAILED_DEVICE, 1);
        COUNTED(REQUESTS, 5);
        COUNTED(REQUESTS_GRANTED, 1);
        grow((struct core_ev_grow){ .worker = other, .cache = second, .need = 0, .max = 1 });
        COUNTED(REQUESTS, 6);
}

static struct core_tenant_info tenant_info(uint32_t tenant)
{
        struct core_tenant_info info;

        cr_assert(core_tenant_info(world.core, tenant, &info));
        return info;
}

Test(core_figures, keep_account_of_each_tenant)
{
        struct party blue, green;
        struct core_tenant_info info;

        limit(0, (struct limits){ .weight = 7, .on_overdue = 1 });
        limit(1, (struct limits){ .weight = 7 });
        blue = party(0);
        green = party(1);
        take(&blue, 0, 1000);
        take(&blue, 1, 24);
        info = tenant_info(0);
        cr_expect_eq(info.extents_granted, 15 + 2 + 2 + 1 + 2);
        cr_expect_eq(info.pages_granted, 1024);
        cr_expect_eq(info.requests, 2);
        cr_expect_eq(info.requests_waited, 0);
        cr_expect_eq(info.on_overdue, 1);
        cr_expect_eq(info.wait_usec + info.stall_usec, 0);

        /* Refused, and look-ahead refused: only the first is a failure. */
        cr_expect_neq(grow((struct core_ev_grow){ .worker = green.worker, .cache = green.cache, .need = 1, .max = 1 }),
                      0);
        cr_expect_neq(grow((struct core_ev_grow){ .worker = green.worker,
                                                  .cache = green.cache,
                                                  .need = 1,
                                                  .max = 1,
                                                  .flags = CORE_GROW_OPTIONAL }),
                      0);
        cr_expect_neq(want(&green, 0, 2000), 0);
        info = tenant_info(1);
        cr_expect_eq(info.requests, 3);
        cr_expect_eq(info.requests_failed, 2);
        cr_expect_eq(info.requests_waited, 0);
        cr_expect_eq(info.extents_granted, 0);

        /* One waits for 30 ms, another for the last 20 of these and 5 more. */
        cr_expect_eq(want(&green, 0, 2), CORE_E_NONE);
        world.now += 10000;
        cr_expect_eq(want(&green, 1, 3), CORE_E_NONE);
        info = tenant_info(1);
        cr_expect_eq(info.waiting, 2);
        cr_expect_eq(info.requests_waited, 2);
        cr_expect_eq(info.wait_usec, 0, "when it is over");
        world.now += 20000;
        world_tick(&world);
        cr_expect_eq(tenant_info(1).stall_usec, 30000, "so far");
        give_back(blue.worker, grant_of(blue.worker, 21)); /* 4 pages */
        device_answer_all(&world);
        info = tenant_info(1);
        cr_expect_eq(info.waiting, 1);
        cr_expect_eq(info.wait_usec, 30000);
        cr_expect_eq(info.stall_usec, 30000);
        world.now += 5000;
        give_back(blue.worker, grant_of(blue.worker, 22));
        device_answer_all(&world);
        info = tenant_info(1);
        cr_expect_eq(info.waiting, 0);
        cr_expect_eq(info.wait_usec, 30000 + 25000);
        cr_expect_eq(info.stall_usec, 35000);
        cr_expect_eq(info.pages_granted, 5);
        cr_expect_eq(info.revokes, 0);

        /* Later another, for 7 ms. */
        answer_revoke(blue.worker, 1);
        acknowledge(green.worker, info.extents_granted);
        world.now += 80000;
        world_tick(&world);
        cr_expect_eq(tenant_info(1).stall_usec, 35000);
        cr_expect_eq(want(&green, 2, 600), CORE_E_NONE);
        ASKED(&green, 1, 5);
        shrug(&green, 1);
        ASKED(&blue, 1, 597);
        cr_expect_eq(tenant_info(1).revokes, 1);
        cr_expect_eq(tenant_info(1).pages_revoked, 5);
        world.now += 7000;
        worker_is_gone(green.worker);
        device_answer_all(&world);
        cr_expect_eq(tenant_info(1).stall_usec, 42000);
        cr_expect_eq(tenant_info(1).wait_usec, 62000);

        info = tenant_info(0);
        cr_expect_eq(info.revokes, 2);
        cr_expect_eq(info.pages_revoked, 2 + 597);
        cr_expect_eq(info.revokes_overdue, 0);
        cr_expect_eq(info.overdue, 0);
        world_advance(&world, SEC);
        info = tenant_info(0);
        cr_expect_eq(info.revokes_overdue, 1);
        cr_expect_eq(info.overdue, 1);
}

/* ---- core_used_bytes() ---- */

static uint64_t used_since(uint64_t *before)
{
        const uint64_t now = core_used_bytes(world.core), more = now - *before;

        *before = now;
        return more;
}

Test(core_figures, bytes_in_use_are_those_of_the_tables_as_far_as_they_were_used)
{
        uint64_t used = core_used_bytes(world.core);
        uint32_t worker, cache, other;

        cr_expect_eq(used, sizeof(struct core) + sizeof(struct tenant));
        worker = add_worker(0);
        cr_expect_eq(used_since(&used), sizeof(struct worker));
        cache = add_cache(worker, 4, 2, 1024);
        cr_expect_eq(used_since(&used), sizeof(struct cache));
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 });
        /* Two extents, the row and its slots in the hash table, which is half empty. */
        cr_expect_eq(used_since(&used),
                     sizeof(struct request) + sizeof(struct row) + 2 * sizeof(uint32_t) + 2 * sizeof(struct extent));
        device_answer_all(&world);
        cr_expect_eq(used_since(&used), 2 * 2 * sizeof(uint32_t), "64 pages of a plane have a slot, once there is one");
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .first = 1, .need = 1, .max = 1 });
        device_answer_all(&world);
        cr_expect_eq(used_since(&used), 2 * sizeof(struct extent), "in the same 64 pages");
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .first = 64, .need = 1, .max = 1 });
        device_answer_all(&world);
        cr_expect_eq(used_since(&used), 2 * sizeof(struct extent) + 2 * 2 * sizeof(uint32_t));
        other = add_worker(0);
        worker_is_gone(worker);
        device_answer_all(&world);
        worker = add_worker(0);
        cr_expect_eq(used_since(&used), sizeof(struct worker), "it stays as large as it was");
        (void)other;
        cache = add_cache(worker, 4, 2, 1024);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1, .max = 1 });
        device_answer_all(&world);
        cr_expect_eq(used_since(&used), 0, "and uses what it had");
}

Test(core_figures, is_quiet_while_nothing_is_under_way_and_only_then)
{
        uint32_t worker = add_worker(0), other = add_worker(0), cache = add_cache(worker, 4, 1, 1024),
                 second = add_cache(other, 1, 1, 1024);

        cr_expect(core_is_quiet(world.core));
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 1024, .max = 1024 });
        cr_expect(!core_is_quiet(world.core), "extents are being made");
        device_answer_all(&world);
        cr_expect(core_is_quiet(world.core), "granted and not acknowledged: nobody else can tell");
        acknowledge(worker, 16);
        cr_expect(core_is_quiet(world.core));
        give_back(worker, grant_of(worker, 1));
        cr_expect(!core_is_quiet(world.core), "one is being destroyed");
        world.device.fail_for = 1;
        device_answer(&world, 0);
        cr_expect(!core_is_quiet(world.core), "and will be tried again");
        world_advance(&world, SEC);
        device_answer_all(&world);
        cr_expect(core_is_quiet(world.core));
        grow((struct core_ev_grow){ .worker = other, .cache = second, .need = 65, .max = 65, .timeout_usec = 5 });
        cr_expect(!core_is_quiet(world.core), "one waits");
        world_advance(&world, 5);
        cr_expect_eq(core_n_waiting(world.core), 0);
        cr_expect(!core_is_quiet(world.core), "the revoke that it led to is not answered");
        answer_revoke(worker, 1);
        cr_expect(core_is_quiet(world.core));
}

Test(core_figures, limits_are_settled_when_they_hold)
{
        uint32_t worker = add_worker(0), cache = add_cache(worker, 4, 1, 1024);

        set_tenant(1, UINT64_MAX);
        cr_expect(core_tenant_is_settled(world.core, 0));
        cr_expect(core_tenant_is_settled(world.core, CORE_MAX_TENANTS), "nobody there");
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .need = 4, .max = 4 });
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 1020, .max = 1020 });
        device_answer_all(&world);
        acknowledge(worker, 22);
        set_tenant(0, 1024 * PAGE);
        cr_expect(core_tenant_is_settled(world.core, 0), "as much as it may have");
        set_tenant(0, 1020 * PAGE);
        cr_expect(!core_tenant_is_settled(world.core, 0));
        cr_expect(core_tenant_is_settled(world.core, 1));
        give_back(worker, grant_of(worker, 1));
        answer_revoke(worker, 1);
        device_answer_all(&world);
        cr_expect(core_tenant_is_settled(world.core, 0));
        set_tenant(0, UINT64_MAX);

        begin(CORE_EV_TENANT_SET)->tenant_set = (struct core_ev_tenant_set){
                .tenant = 1, .min_bytes = 4 * PAGE, .high_bytes = UINT64_MAX, .max_bytes = UINT64_MAX
        };
        apply();
        cr_expect(core_tenant_is_settled(world.core, 1), "there are four");
        begin(CORE_EV_TENANT_SET)->tenant_set = (struct core_ev_tenant_set){
                .tenant = 1, .min_bytes = 4 * PAGE + 1, .high_bytes = UINT64_MAX, .max_bytes = UINT64_MAX
        };
        apply();
        cr_expect(!core_tenant_is_settled(world.core, 1), "a byte more is a page more");
        cr_expect(core_tenant_is_settled(world.core, 0), "who guarantees nothing to anybody");
}
