/* SPDX-License-Identifier: MIT
 *
 * core-world.h -- the simulator's world in a unit test's hands: each event goes through world_apply(), so that the
 * shadow and core_check() look on. Nothing happens but what the test sends.
 */
#ifndef CORE_WORLD_H
#define CORE_WORLD_H

#include "world.h"

#define MEBIBYTE (1ull << 20)
#define PAGE     (2 * MEBIBYTE) /* of device 0 */

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

/* ---- For stories of several ---- */

struct limits {
        uint64_t min, low, high; /* pages; high 0: none */
        uint32_t weight, on_overdue;
        uint64_t deadline_usec; /* of revokes, and of the patience with who is served before others */
};
void limit(uint32_t tenant, struct limits limits); /* no memory.max */

/* A worker with a cache of 8 rows of 1,024 pages on device 0. */
struct party {
        uint32_t worker, cache;
        uint64_t granted; /* and acknowledged */
};
struct party party(uint32_t tenant);
void take(struct party *p, uint32_t row, uint32_t pages); /* maps so many pages from the row's start */
/* Asks for so many, and waits half a minute. CORE_E_NONE: it waits, or has them. */
enum core_error want(const struct party *p, uint32_t row, uint32_t pages);
void shrug(const struct party *p, uint32_t revoke); /* answers it with nothing */

void expect_revoke(const struct party *from, uint32_t level, uint64_t pages, int line);
#define ASKED(from, level, pages) expect_revoke(from, level, pages, __LINE__)
#define NOT_ASKED()               cr_expect_null(answer(CORE_ACT_REVOKE), "line %d", __LINE__)

#endif
