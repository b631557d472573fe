/* SPDX-License-Identifier: MIT
 *
 * core-driver.c -- see core-driver.h.
 */
#include "core-driver.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/mman.h>

static void note_grant(struct core_driver *driver, const struct core_action *action)
{
        if (driver->n_grants == driver->grants_space) {
                driver->grants_space = driver->grants_space ? driver->grants_space * 2 : 256;
                driver->grants = realloc(driver->grants, driver->grants_space * sizeof(*driver->grants));
                cr_assert_not_null(driver->grants);
        }
        driver->grants[driver->n_grants++] = *action;
        driver->granted++;
}

void core_driver_apply(struct core_driver *driver, struct core_event *event)
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
                        note_grant(driver, &action);
                driver->failures += action.type == CORE_ACT_GROW_FAILED;
                if (action.type != CORE_ACT_CREATE && action.type != CORE_ACT_DESTROY)
                        continue;
                core_event_init(&answer, action.type == CORE_ACT_CREATE ? CORE_EV_CREATED : CORE_EV_DESTROYED, 1);
                answer.created.extent = action.device.extent;
                core_driver_apply(driver, &answer);
        }
        driver->actions.n = from;
        if (from > 0)
                return;
        while (core_pending(driver->core)) {
                struct core_event tick;

                core_event_init(&tick, CORE_EV_TICK, 1);
                core_driver_apply(driver, &tick);
        }
}

void core_driver_start(struct core_driver *driver, const struct core_params *params, uint32_t device_pages)
{
        struct core_event event;

        *driver = (struct core_driver){ .size = core_size(params), .actions.capacity = 8 * CORE_ACTIONS_MAX };
        cr_assert(driver->size > 0);
        driver->memory = mmap(NULL, driver->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                              -1, 0);
        cr_assert(driver->memory != MAP_FAILED);
        driver->actions.v = calloc(driver->actions.capacity, sizeof(*driver->actions.v));
        cr_assert_not_null(driver->actions.v);
        driver->core = core_init(driver->memory, params);
        core_event_init(&event, CORE_EV_DEVICE_ADD, 1);
        event.device_add.page_shift = 21;
        event.device_add.pages = device_pages;
        core_driver_apply(driver, &event);
        core_event_init(&event, CORE_EV_TENANT_SET, 1);
        event.tenant_set.max_bytes = event.tenant_set.high_bytes = UINT64_MAX;
        core_driver_apply(driver, &event);
        core_event_init(&event, CORE_EV_WORKER_ADD, 1);
        event.worker_add.cookie = 1;
        core_driver_apply(driver, &event);
}

void core_driver_stop(struct core_driver *driver)
{
        munmap(driver->memory, driver->size);
        free(driver->actions.v);
        free(driver->grants);
}

void core_driver_cache(struct core_driver *driver, uint32_t rows, uint32_t planes, uint32_t row_pages)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_CACHE_CREATE, 1);
        event.cache_create.worker = driver->worker;
        event.cache_create.rows = rows;
        event.cache_create.n_classes = 1;
        event.cache_create.classes[0] = (struct core_plane_class){ .planes = planes, .row_pages = row_pages };
        event.size = (uint16_t)core_event_size(&event);
        core_driver_apply(driver, &event);
}

void core_driver_grow(struct core_driver *driver, uint32_t row, uint32_t first, uint32_t need, uint32_t max)
{
        uint64_t granted;
        struct core_event event;

        core_event_init(&event, CORE_EV_GROW, 1);
        event.grow.worker = driver->worker;
        event.grow.request = 1;
        event.grow.cache = driver->cache;
        event.grow.row = row;
        event.grow.first = first;
        event.grow.need = need;
        event.grow.max = max;
        core_driver_apply(driver, &event);
        do {
                granted = driver->granted;
                core_event_init(&event, CORE_EV_ACK, 1);
                event.ack.worker = driver->worker;
                event.ack.granted = granted;
                core_driver_apply(driver, &event);
        } while (driver->granted > granted);
}

void core_driver_return_all(struct core_driver *driver)
{
        for (uint32_t i = 0; i < driver->n_grants; i++) {
                struct core_event event;

                core_event_init(&event, CORE_EV_RETURN, 1);
                event.ret.worker = driver->worker;
                event.ret.extent = driver->grants[i].grant.extent;
                core_driver_apply(driver, &event);
        }
        core_driver_forget(driver);
}

void core_driver_forget(struct core_driver *driver)
{
        driver->n_grants = driver->failures = 0;
}
