/* SPDX-License-Identifier: MIT
 *
 * core-world.h -- the simulator's world in a unit test's hands: each event goes through world_apply(), so that the
 * shadow and core_check() look on. Nothing happens but what the test sends.
 */
#ifndef CORE_WORLD_H
#define CORE_WORLD_H

#include "world.h"

#define MEBIBYTE (1ull << 20)

extern struct world world;
extern struct core_event event; /* the one that is being put together */

/* One device of 1,024 pages of 2 MiB, and tenant 0 without limits. */
void start_with(const struct core_params *params);
void stop(void);

struct core_event *begin(enum core_event_type type);
void apply(void);
/* The last event's first action of that type, or NULL; and how many actions of all types it had. */
const struct core_action *answer(enum core_action_type type);
uint32_t answers(void);

void add_device(uint32_t device, uint32_t page_shift, uint32_t pages, uint32_t virgin_pages);
void set_tenant(uint32_t tenant, uint64_t max_bytes);
uint32_t add_worker(uint32_t tenant); /* its id; 0: refused */
void worker_is_gone(uint32_t worker);
uint32_t add_cache_on(uint32_t device, uint32_t worker, uint32_t rows, uint32_t planes, uint32_t row_pages);
uint32_t add_cache(uint32_t worker, uint32_t rows, uint32_t planes, uint32_t row_pages); /* on device 0 */
/* CORE_E_NONE: it did not fail, so far. */
enum core_error grow(struct core_ev_grow wanted);
void acknowledge(uint32_t worker, uint64_t granted);
void give_back(uint32_t worker, uint64_t extent);
void hold(uint32_t worker, uint32_t cache, uint32_t row, bool held);
void answer_revoke(uint32_t worker, uint32_t revoke);

/* The id of the worker's n-th grant, from 1 on; 0: there was none, or it was given back. */
uint64_t grant_of(uint32_t worker, uint64_t number);
uint64_t current_of(uint32_t tenant); /* bytes */

#endif
