/* SPDX-License-Identifier: MIT
 *
 * bench-core-scale.c -- what a page costs the core over its life (asked for, made, granted, acknowledged, given back,
 * destroyed) when the page table holds few pages, and when it holds a million.
 *
 *      bench-core-scale                nanoseconds, at 1,000 and at 1,000,000 pages
 *      bench-core-scale PAGES ORDER    one of them; tests/sim/scale.sh counts its instructions under callgrind
 *
 * Only the lives of the last pages are measured: what was there before stays there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <valgrind/callgrind.h>

#include "core.h"

#define MOST_PAGES 1000000u
#define ROW_PAGES  4096u
#define MEASURED   1000u /* extents */

struct bench {
        struct core *core;
        struct core_actions actions;
        uint32_t worker, cache, order;
        uint64_t granted;
        uint64_t *extents; /* granted ones, in order */
};

static void apply(struct bench *bench, struct core_event *event)
{
        uint32_t from = bench->actions.n;

        core_apply(bench->core, event, &bench->actions);
        for (uint32_t i = from; i < bench->actions.n; i++) {
                const struct core_action action = bench->actions.v[i];
                struct core_event answer;

                if (action.type == CORE_ACT_WELCOME)
                        bench->worker = action.worker;
                if (action.type == CORE_ACT_REPLY_CACHE)
                        bench->cache = action.reply.cache;
                if (action.type == CORE_ACT_GRANT)
                        bench->extents[bench->granted++] = action.grant.extent;
                if (action.type != CORE_ACT_CREATE && action.type != CORE_ACT_DESTROY)
                        continue;
                core_event_init(&answer, action.type == CORE_ACT_CREATE ? CORE_EV_CREATED : CORE_EV_DESTROYED, 1);
                answer.created.extent = action.device.extent;
                apply(bench, &answer);
        }
        bench->actions.n = from;
}

static void grow(struct bench *bench, uint32_t at)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_GROW, 1);
        event.grow.worker = bench->worker;
        event.grow.request = at + 1;
        event.grow.cache = bench->cache;
        event.grow.row = (at << bench->order) / ROW_PAGES;
        event.grow.first = (at << bench->order) % ROW_PAGES;
        event.grow.need = event.grow.max = 1u << bench->order;
        apply(bench, &event);
        if (bench->granted != at + 1) {
                fprintf(stderr, "extent %u was not granted\n", at);
                exit(1);
        }
        if (at % 128 != 127)
                return;
        core_event_init(&event, CORE_EV_ACK, 1);
        event.ack.worker = bench->worker;
        event.ack.granted = bench->granted;
        apply(bench, &event);
}

static void give_back(struct bench *bench, uint32_t at)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_RETURN, 1);
        event.ret.worker = bench->worker;
        event.ret.extent = bench->extents[at];
        apply(bench, &event);
}

/* A core for a million pages, a device, a tenant, a worker, a cache. */
static void start(struct bench *bench, void *memory, const struct core_params *params)
{
        struct core_event event;

        bench->core = core_init(memory, params);
        core_event_init(&event, CORE_EV_DEVICE_ADD, 1);
        event.device_add.page_shift = 21;
        event.device_add.pages = MOST_PAGES;
        apply(bench, &event);
        core_event_init(&event, CORE_EV_TENANT_SET, 1);
        event.tenant_set.max_bytes = event.tenant_set.high_bytes = UINT64_MAX;
        apply(bench, &event);
        core_event_init(&event, CORE_EV_WORKER_ADD, 1);
        event.worker_add.cookie = 1;
        apply(bench, &event);
        core_event_init(&event, CORE_EV_CACHE_CREATE, 1);
        event.cache_create.worker = bench->worker;
        event.cache_create.request = 1;
        event.cache_create.rows = MOST_PAGES / ROW_PAGES + 1;
        event.cache_create.n_classes = 1;
        event.cache_create.classes[0] = (struct core_plane_class){ .planes = 1, .row_pages = ROW_PAGES };
        event.size = (uint16_t)core_event_size(&event);
        apply(bench, &event);
}

static double seconds(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Nanoseconds a page, with `pages` in the table, in extents of 1 << order pages. */
static double measure(uint32_t pages, uint32_t order)
{
        const struct core_params params = {
                .max_extents = MOST_PAGES, .max_workers = 16, .max_caches = 16, .max_rows = 1024, .max_requests = 1024
        };
        struct bench bench = { .order = order, .actions.capacity = 4 * CORE_ACTIONS_MAX };
        uint32_t extents = pages >> order, before = extents > MEASURED ? extents - MEASURED : 0;
        void *memory = mmap(NULL, core_size(&params), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        double began, took;

        bench.actions.v = calloc(bench.actions.capacity, sizeof(*bench.actions.v));
        bench.extents = calloc(extents + 1, sizeof(*bench.extents));
        if (memory == MAP_FAILED || !bench.actions.v || !bench.extents)
                exit(1);
        start(&bench, memory, &params);
        for (uint32_t i = 0; i < before; i++)
                grow(&bench, i);
        began = seconds();
        CALLGRIND_START_INSTRUMENTATION;
        for (uint32_t i = before; i < extents; i++)
                grow(&bench, i);
        for (uint32_t i = before; i < extents; i++)
                give_back(&bench, i);
        CALLGRIND_STOP_INSTRUMENTATION;
        took = seconds() - began;
        munmap(memory, core_size(&params));
        free(bench.actions.v);
        free(bench.extents);
        return took * 1e9 / ((extents - before) << order);
}

int main(int argc, char **argv)
{
        if (argc == 3) {
                measure((uint32_t)atoi(argv[1]), (uint32_t)atoi(argv[2]));
                return 0;
        }
        printf("{\"core_page_life_ns_at_1000\": %.1f, \"core_page_life_ns_at_1000000\": %.1f}\n", measure(1000, 0),
               measure(MOST_PAGES, 0));
        return 0;
}
