/* SPDX-License-Identifier: MIT
 *
 * core-driver.h -- a core with one device that works at once, one tenant and one worker, without the simulator's
 * shadow: for tests that need very many events.
 */
#ifndef CORE_DRIVER_H
#define CORE_DRIVER_H

#include "core.h"

struct core_driver {
        struct core *core;
        void *memory;
        size_t size;
        struct core_actions actions;
        uint32_t worker, cache;
        struct core_action *grants; /* since core_driver_forget() */
        uint32_t n_grants, grants_space;
        uint64_t granted;  /* over the worker's life */
        uint32_t failures; /* GROW_FAILED since core_driver_forget() */
};

void core_driver_start(struct core_driver *driver, const struct core_params *params, uint32_t device_pages);
void core_driver_stop(struct core_driver *driver);
/* One class of so many planes; driver->cache from now on. */
void core_driver_cache(struct core_driver *driver, uint32_t rows, uint32_t planes, uint32_t row_pages);
/* Applies an event and carries out what the device is asked for. */
void core_driver_apply(struct core_driver *driver, struct core_event *event);
/* Asks, and acknowledges what came. */
void core_driver_grow(struct core_driver *driver, uint32_t row, uint32_t first, uint32_t need, uint32_t max);
void core_driver_return_all(struct core_driver *driver); /* what is in grants */
void core_driver_forget(struct core_driver *driver);

#endif
