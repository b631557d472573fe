/* SPDX-License-Identifier: MIT
 *
 * bench-core-scale.c -- what a page costs the core over its life (asked for, made, granted, acknowledged, given back,
 * destroyed) when the page table holds few pages, and when it holds a million.
 *
 *      bench-core-scale                nanoseconds, at 1,000 and at 1,000,000 pages, for tests/bench/run
 *      bench-core-scale PAGES ORDER    one of them; tests/sim/scale.sh counts its instructions under callgrind
 *      bench-core-scale waiting N      a tenant's pages while N requests of another's 30 workers wait in vain
 *      bench-core-scale passing N      the core's deadlines meanwhile
 *
 * Only the lives of the last pages are measured: what was there before stays there. The floor is a table with no rules:
 * an array from page to extent, and a stack of free extents.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <valgrind/callgrind.h>

#include "bench.h"
#include "core.h"

#define MOST_PAGES 1000000u
#define ROW_PAGES  4096u
#define MEASURED   1000u /* extents */
#define ROUNDS     9u

struct driver {
        struct core *core;
        struct core_actions actions;
        uint32_t worker, cache, order;
        uint64_t granted;
        uint64_t *extents; /* granted ones, in order */
};

static void apply(struct driver *driver, struct core_event *event)
{
        uint32_t from = driver->actions.n;

        core_apply(driver->core, event, &driver->actions);
        for (uint32_t i = from; i < driver->actions.n; i++) {
                const struct core_action action = driver->actions.v[i];
                struct core_event answer;

                if (action.type == CORE_ACT_WELCOME)
                        driver->worker = action.worker;
                if (action.type == CORE_ACT_REPLY_CACHE)
                        driver->cache = action.reply.cache;
                if (action.type == CORE_ACT_GRANT)
                        driver->extents[driver->granted++] = action.grant.extent;
                if (action.type != CORE_ACT_CREATE && action.type != CORE_ACT_DESTROY)
                        continue;
                core_event_init(&answer, action.type == CORE_ACT_CREATE ? CORE_EV_CREATED : CORE_EV_DESTROYED, 1);
                answer.created.extent = action.device.extent;
                apply(driver, &answer);
        }
        driver->actions.n = from;
}

static void grow(struct driver *driver, uint32_t at)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_GROW, 1);
        event.grow.worker = driver->worker;
        event.grow.request = at + 1;
        event.grow.cache = driver->cache;
        event.grow.row = (at << driver->order) / ROW_PAGES;
        event.grow.first = (at << driver->order) % ROW_PAGES;
        event.grow.need = event.grow.max = 1u << driver->order;
        apply(driver, &event);
        if (driver->granted != at + 1) {
                fprintf(stderr, "extent %u was not granted\n", at);
                exit(1);
        }
        if (at % 128 != 127)
                return;
        core_event_init(&event, CORE_EV_ACK, 1);
        event.ack.worker = driver->worker;
        event.ack.granted = driver->granted;
        apply(driver, &event);
}

static void give_back(struct driver *driver, uint32_t at)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_RETURN, 1);
        event.ret.worker = driver->worker;
        event.ret.extent = driver->extents[at];
        apply(driver, &event);
}

/* A core for a million pages, a device, a tenant, a worker, a cache. */
static void start(struct driver *driver, void *memory, const struct core_params *params)
{
        struct core_event event;

        driver->core = core_init(memory, params);
        core_event_init(&event, CORE_EV_DEVICE_ADD, 1);
        event.device_add.page_shift = 21;
        event.device_add.pages = MOST_PAGES;
        apply(driver, &event);
        core_event_init(&event, CORE_EV_TENANT_SET, 1);
        event.tenant_set.max_bytes = event.tenant_set.high_bytes = UINT64_MAX;
        apply(driver, &event);
        core_event_init(&event, CORE_EV_WORKER_ADD, 1);
        event.worker_add.cookie = 1;
        apply(driver, &event);
        core_event_init(&event, CORE_EV_CACHE_CREATE, 1);
        event.cache_create.worker = driver->worker;
        event.cache_create.request = 1;
        event.cache_create.rows = MOST_PAGES / ROW_PAGES + 1;
        event.cache_create.n_classes = 1;
        event.cache_create.classes[0] = (struct core_plane_class){ .planes = 1, .row_pages = ROW_PAGES };
        event.size = (uint16_t)core_event_size(&event);
        apply(driver, &event);
}

/* Nanoseconds a page, with `pages` in the table, in extents of 1 << order pages. */
static double measure(uint32_t pages, uint32_t order)
{
        const struct core_params params = {
                .max_extents = MOST_PAGES, .max_workers = 16, .max_caches = 16, .max_rows = 1024, .max_requests = 1024
        };
        struct driver driver = { .order = order, .actions.capacity = 4 * CORE_ACTIONS_MAX };
        uint32_t extents = pages >> order, before = extents > MEASURED ? extents - MEASURED : 0;
        void *memory = mmap(NULL, core_size(&params), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        double began, took;

        driver.actions.v = calloc(driver.actions.capacity, sizeof(*driver.actions.v));
        driver.extents = calloc(extents + 1, sizeof(*driver.extents));
        if (memory == MAP_FAILED || !driver.actions.v || !driver.extents)
                exit(1);
        start(&driver, memory, &params);
        for (uint32_t i = 0; i < before; i++)
                grow(&driver, i);
        began = bench_now();
        CALLGRIND_START_INSTRUMENTATION;
        for (uint32_t i = before; i < extents; i++)
                grow(&driver, i);
        for (uint32_t i = before; i < extents; i++)
                give_back(&driver, i);
        CALLGRIND_STOP_INSTRUMENTATION;
        took = bench_now() - began;
        munmap(memory, core_size(&params));
        free(driver.actions.v);
        free(driver.extents);
        return took / ((extents - before) << order);
}

static uint32_t connect_worker(struct driver *driver, uint32_t tenant)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_WORKER_ADD, 1);
        event.worker_add = (struct core_ev_worker_add){ .cookie = 1, .tenant = tenant };
        apply(driver, &event);
        core_event_init(&event, CORE_EV_CACHE_CREATE, 1);
        event.cache_create = (struct core_ev_cache_create){ .worker = driver->worker, .rows = 1024, .n_classes = 1 };
        event.cache_create.classes[0] = (struct core_plane_class){ .planes = 1, .row_pages = 1 };
        event.size = (uint16_t)core_event_size(&event);
        apply(driver, &event);
        return driver->worker;
}

static void ask(struct driver *driver, uint64_t now, uint32_t row)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_GROW, now);
        event.grow = (struct core_ev_grow){ .worker = driver->worker, .cache = driver->cache, .row = row };
        event.grow.need = event.grow.max = 1;
        event.grow.timeout_usec = 60000000;
        apply(driver, &event);
}

/* A tenant at its memory.max has so many requests that wait for one of its workers, which does not answer, is to be
 * killed and takes its time; they are stale. Somebody else asks for pages, and gives them back; or nobody does, and
 * time passes. */
static void measure_waiting(uint32_t waiting, bool passing)
{
        const struct core_params params = {
                .max_extents = MOST_PAGES, .max_workers = 64, .max_caches = 64, .max_rows = 65536, .max_requests = 65536
        };
        struct driver driver = { .actions.capacity = 4 * CORE_ACTIONS_MAX };
        void *memory = mmap(NULL, core_size(&params), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        uint32_t worker, cache;
        struct core_event event;

        driver.actions.v = calloc(driver.actions.capacity, sizeof(*driver.actions.v));
        driver.extents = calloc(MEASURED + 1, sizeof(*driver.extents));
        if (memory == MAP_FAILED || !driver.actions.v || !driver.extents)
                exit(1);
        start(&driver, memory, &params);
        worker = driver.worker;
        cache = driver.cache;
        core_event_init(&event, CORE_EV_TENANT_SET, 1);
        event.tenant_set = (struct core_ev_tenant_set){
                .tenant = 1, .on_overdue = CORE_OVERDUE_KILL, .max_bytes = UINT64_C(1) << 21, .high_bytes = UINT64_MAX
        };
        apply(&driver, &event);
        connect_worker(&driver, 1);
        ask(&driver, 1, 0);
        core_event_init(&event, CORE_EV_ACK, 1);
        event.ack.worker = driver.worker;
        event.ack.granted = driver.granted;
        apply(&driver, &event);
        core_event_init(&event, CORE_EV_ROW, 1);
        event.row.worker = driver.worker;
        event.row.cache = driver.cache;
        apply(&driver, &event);
        for (uint32_t i = 0; i < 30; i++) {
                connect_worker(&driver, 1);
                for (uint32_t row = 0; row < waiting / 30; row++)
                        ask(&driver, 1, row);
        }
        for (uint64_t now = 1000000; now <= 2000000; now += 100000) {
                core_event_init(&event, CORE_EV_TICK, now);
                apply(&driver, &event);
        }
        if (core_n_waiting(driver.core) != waiting) {
                fprintf(stderr, "%u requests wait\n", core_n_waiting(driver.core));
                exit(1);
        }
        driver.worker = worker;
        driver.cache = cache;
        driver.granted = 0;
        CALLGRIND_START_INSTRUMENTATION;
        for (uint32_t i = 0; i < 100 && !passing; i++)
                grow(&driver, i);
        for (uint32_t i = 0; i < 100 && !passing; i++)
                give_back(&driver, i);
        for (uint32_t i = 0; i < 100 && passing; i++) {
                core_event_init(&event, CORE_EV_TICK, core_next_deadline(driver.core));
                apply(&driver, &event);
        }
        CALLGRIND_STOP_INSTRUMENTATION;
        exit(0);
}

/* The same lives in the least that could keep account of them. Not inlined, so that nothing of it is left out. */
static __attribute__((noinline)) double measure_floor(uint32_t *table, uint32_t *stack, uint32_t pages)
{
        const uint32_t before = pages - MEASURED;
        uint32_t top = 0;
        double began;

        for (uint32_t i = 0; i < pages; i++)
                stack[i] = pages - 1 - i;
        top = pages;
        for (uint32_t i = 0; i < before; i++)
                table[i] = stack[--top];
        began = bench_now();
        for (uint32_t i = before; i < pages; i++)
                table[i] = stack[--top];
        for (uint32_t i = before; i < pages; i++) {
                stack[top++] = table[i];
                table[i] = UINT32_MAX;
        }
        return (bench_now() - began) / MEASURED;
}

static void compare(const char *name, uint32_t pages)
{
        static struct bench bench;
        uint32_t *table = calloc(pages, sizeof(*table)), *stack = calloc(pages, sizeof(*stack));

        if (!table || !stack)
                exit(1);
        for (unsigned round = 0; round < ROUNDS; round++) {
                bench_sample(&bench.ours, measure(pages, 0));
                bench_sample(&bench.floor, measure_floor(table, stack, pages));
                bench_round_end(&bench);
        }
        bench_report(&bench, name, "ns/page", 1);
        free(table);
        free(stack);
}

int main(int argc, char **argv)
{
        if (argc == 3 && (strcmp(argv[1], "waiting") == 0 || strcmp(argv[1], "passing") == 0))
                measure_waiting((uint32_t)atoi(argv[2]), argv[1][0] == 'p');
        if (argc == 3) {
                measure((uint32_t)atoi(argv[1]), (uint32_t)atoi(argv[2]));
                return 0;
        }
        bench_pin(0);
        compare("core_grant_1k_pages", 1000);
        compare("core_grant_1m_pages", MOST_PAGES);
        return 0;
}
