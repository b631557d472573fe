/* SPDX-License-Identifier: MIT
 *
 * core.h -- the pager: a deterministic state machine over the page table of every cache.
 *
 *      core_apply(core, event, actions)
 *
 * No clock, no fd, no log, no allocation after core_init(), no global. All state lies in one arena and refers to itself
 * by index, so a copy of the arena is a snapshot. The same events give the same bytes and the same actions.
 *
 * Life of an extent (states of extent.h):
 *
 *      free -> creating -> virgin -> granted -> mapped -> returning -> free
 *                 |          |          |                     ^
 *                 v (failed) |          +---- refused --------+
 *               free         +---- re-classed ----------------+
 *
 * Life of a growth request (states of request.h):
 *
 *      waiting (not admitted: reclaim is at work) -> admitted (its pages are reserved) -> delivered, extent by extent
 *         | timeout, or nothing more to reclaim        | device failure
 *         v                                            v
 *       failed                                       failed (what was granted stays)
 *
 * Not thread-safe: one thread owns a core.
 */
#ifndef CORE_H
#define CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "action.h"
#include "event.h"

#define CORE_ORDERS 4u /* size classes: 1, 4, 16, 64 pages */
static inline uint32_t core_order_shift(uint32_t index)
{
        return index * 2u;
}

#define CORE_MAX_DEVICES 16u
#define CORE_MAX_TENANTS 256u
#define CORE_MAX_UNACKED 256u

/* Errors that the core answers with; the shell maps them to the protocol's. */
enum core_error {
        CORE_E_NONE,
        CORE_E_TOO_MANY_WORKERS,
        CORE_E_NO_TENANT,
        CORE_E_NO_DEVICE,
        CORE_E_NO_CACHE,
        CORE_E_TOO_MANY_CACHES,
        CORE_E_BAD_GEOMETRY,
        CORE_E_BAD_RANGE,
        CORE_E_ALREADY_MAPPED,
        CORE_E_BAD_EXTENT,
        CORE_E_BAD_ACK,
        CORE_E_BAD_REVOKE,
        CORE_E_TOO_MANY_REQUESTS,
        CORE_E_BUSY,
        CORE_E_DEVICE_FULL,
        CORE_E_TENANT_FULL,
        CORE_E_TIMED_OUT,
        CORE_E_DEVICE_FAILED,
        CORE_E_OVERDUE,
        CORE_E_DENIED, /* a revoke is overdue: no grants until it is answered */
        CORE_E_MAX_
};

enum core_counter {
        CORE_COUNT_EXTENTS_CREATED,
        CORE_COUNT_EXTENTS_GRANTED,
        CORE_COUNT_EXTENTS_REFUSED,
        CORE_COUNT_EXTENTS_RETURNED,
        CORE_COUNT_EXTENTS_DESTROYED,
        CORE_COUNT_EXTENTS_RECLASSED,
        CORE_COUNT_PAGES_GRANTED,
        CORE_COUNT_PAGES_RETURNED,
        CORE_COUNT_REQUESTS,
        CORE_COUNT_REQUESTS_GRANTED,
        CORE_COUNT_REQUESTS_WAITED,
        CORE_COUNT_REQUESTS_FAILED_DEVICE,
        CORE_COUNT_REQUESTS_FAILED_TENANT,
        CORE_COUNT_REQUESTS_TIMED_OUT,
        CORE_COUNT_REQUESTS_OPTIONAL_REFUSED,
        CORE_COUNT_REVOKES,
        CORE_COUNT_REVOKES_OVERDUE,
        CORE_COUNT_PAGES_REVOKED,
        CORE_COUNT_DEVICE_FAILURES,
        CORE_COUNT_WORKERS_CONNECTED,
        CORE_COUNT_WORKERS_GONE,
        CORE_COUNT_MAX_
};

struct core_params {
        uint32_t max_extents;  /* at most 2^30; as many as the devices have pages is enough for anything */
        uint32_t max_workers;  /* at most 65,535 */
        uint32_t max_caches;   /* at most 65,535 */
        uint32_t max_rows;     /* rows that have pages, or that a request is about to give some, over all caches */
        uint32_t max_requests; /* growth requests under way, over all workers */
        uint32_t trace;        /* emit TRANSITION actions */
        uint64_t hash_key;     /* random, and known to no worker: else it could choose rows that are slow to find */
};

struct core;

/* Bytes of arena that these parameters need; 0 where they are out of bounds. Most of it is touched only as it is used,
 * so give zeroed memory that costs nothing until touched (mmap, MAP_NORESERVE). */
size_t core_size(const struct core_params *params);

/* Builds a core in `memory`, zeroed, of core_size() bytes, aligned to 64. Never fails for parameters that core_size()
 * took. */
struct core *core_init(void *memory, const struct core_params *params);

/* Applies one event. Anything a peer can have got wrong ends in a reply or a DROP action, never in an assertion. */
void core_apply(struct core *core, const struct core_event *event, struct core_actions *actions);

/* True while work is left that did not fit into the last core_apply()'s actions: apply a TICK. */
bool core_pending(const struct core *core);

/* True when nothing is under way: no extent is being made or destroyed, no revoke is unanswered, no request waits. What
 * comes next then depends on the next event alone, not on who is faster. */
bool core_is_quiet(const struct core *core);

/* What of the arena has a meaning: tables as far as they were ever used, in the order of their offsets; much of it may
 * be zero, and all of the rest is. A copy of these parts in zeroed memory of core_size() bytes is the same core. */
#define CORE_PARTS 10u
struct core_part {
        uint64_t offset, size; /* bytes */
};
void core_parts(const struct core *core, struct core_part ret[static CORE_PARTS]);

/* Whether `memory`, of core_size(params) bytes, begins as a core with these parameters does that this code can go on
 * with. Then it may be used as one, once core_check() has proved it. */
struct core *core_adopt(void *memory, const struct core_params *params);

/* Tells cores apart whose tables look different. */
uint64_t core_format(void);

/* The time of the next TICK that matters; UINT64_MAX: none. */
uint64_t core_next_deadline(const struct core *core);

/* Proves every invariant; 0, or -1 and what is broken in `why`. O(everything): for tests and `kvpagerctl check`. */
int core_check(const struct core *core, char *why, size_t size);

/* Arena bytes in use (tables up to their high-water marks, hash slots in proportion). */
uint64_t core_used_bytes(const struct core *core);

uint64_t core_counter(const struct core *core, enum core_counter counter);

struct core_device_info {
        uint64_t page_bytes, capacity_bytes, allocated_bytes, virgin_bytes, missing_bytes;
};
struct core_tenant_info {
        uint64_t current_bytes, live_bytes, idle_bytes, min_bytes, low_bytes, high_bytes, max_bytes;
        uint64_t extents_granted, pages_granted; /* since it is there, as all that follows */
        uint64_t requests, requests_waited, requests_failed;
        uint64_t wait_usec;                               /* of all requests that waited together */
        uint64_t stall_usec;                              /* while at least one request waited */
        uint64_t revokes, pages_revoked, revokes_overdue; /* asked of its workers */
        uint32_t workers, weight, waiting, overdue;       /* waiting: requests; overdue: workers */
        uint32_t on_overdue, reserved;                    /* enum core_overdue */
        uint64_t reclaim_deadline_usec;
        char name[CORE_NAME_MAX];
};
struct core_worker_info {
        uint64_t pid, current_bytes, live_bytes, idle_bytes, unacknowledged_bytes;
        uint32_t worker, tenant, caches, uid;
        uint32_t overdue;  /* it has not answered a revoke, and is granted nothing until it does */
        uint32_t suspect;  /* what it gave back did not come free, and it is granted nothing until that does */
        uint32_t detached; /* it has no connection, see CORE_EV_WORKER_ATTACH */
        uint64_t granted;  /* extents, ever */
};
enum core_extent_place {
        CORE_EXTENT_NONE,
        CORE_EXTENT_CREATING,
        CORE_EXTENT_VIRGIN,
        CORE_EXTENT_HELD,
        CORE_EXTENT_RETURNING
};
struct core_extent_info {
        uint64_t extent;
        uint32_t place;          /* enum core_extent_place */
        uint32_t worker, tenant; /* HELD, RETURNING: whose; worker 0: nobody ever had it, and tenant is nothing */
        uint32_t device, order;  /* order: log2 of its pages */
        uint32_t granted;        /* HELD: granted, and not acknowledged */
        uint32_t listed;         /* RETURNING: its device failed to destroy it, and will be asked again */
};
struct core_cache_info {
        uint64_t virtual_bytes, live_bytes, idle_bytes;
        uint32_t cache, worker, rows, held_rows, planes;
};

uint32_t core_n_devices(const struct core *core);
uint32_t core_n_tenants(const struct core *core);
uint32_t core_n_workers(const struct core *core);
uint32_t core_n_caches(const struct core *core);
uint32_t core_n_waiting(const struct core *core); /* growth requests not yet complete */

/* false: there is none at that index (tenants and devices: by index; workers and caches: by slot, gaps are false). */
bool core_device_info(const struct core *core, uint32_t device, struct core_device_info *ret);
bool core_tenant_info(const struct core *core, uint32_t tenant, struct core_tenant_info *ret);
uint32_t core_tenant_pages(const struct core *core, uint32_t tenant, uint32_t device); /* its `current` there */

/* Whether the tenant's limits are in force on every device: false while what is above a lowered memory.max, or what a
 * raised memory.min lacks, is being reclaimed. */
bool core_tenant_is_settled(const struct core *core, uint32_t tenant);
bool core_worker_info(const struct core *core, uint32_t slot, struct core_worker_info *ret);
bool core_cache_info(const struct core *core, uint32_t slot, struct core_cache_info *ret);
/* Planes of a class of the worker's cache, by ids; 0: there is no such cache or class. */
uint32_t core_class_planes(const struct core *core, uint32_t worker, uint32_t cache, uint32_t plane_class);
bool core_extent_info(const struct core *core, uint32_t slot, struct core_extent_info *ret);
uint32_t core_extent_slots(const struct core *core);
uint32_t core_worker_slots(const struct core *core); /* upper bound of slots in use */
uint32_t core_cache_slots(const struct core *core);
uint32_t core_tenant_slots(const struct core *core);

#endif
