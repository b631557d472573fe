/* SPDX-License-Identifier: MIT
 *
 * model.h -- the naive shadow of the core: what must be true, kept in plain lists that are searched from end to end.
 *
 * It sees the same events and the actions that the core answered with, and nothing of the core's insides but what
 * core.h publishes (core_*_info, counters). It was written from event.h, action.h and core.h, not from the core's code,
 * and has no idea how the core decides: it knows only which decisions are allowed. The first broken rule is kept in
 * `broken`.
 *
 * Workers, caches and requests get a number of their own here (`serial`, never used twice), because the core's ids may
 * come back after their owner went.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "action.h"
#include "core.h"
#include "event.h"

#define MODEL_NONE     UINT32_MAX
#define MODEL_MAX_ROWS 64u /* rows whose state is followed */

/* A request ends at its timeout; an admitted one may wait a little longer for the device. A loop is a little late, too.
 */
#define MODEL_GRACE_USEC       1010000u
#define MODEL_MOST_PAGES       (1u << 30) /* of a device */
#define MODEL_MOST_ROWS        (1u << 20) /* of a cache */
#define MODEL_MAX_TIMEOUT_USEC 60000000u

enum model_state {
        MODEL_CREATING,   /* CREATE was asked for */
        MODEL_VIRGIN,     /* made, nobody's */
        MODEL_GRANTED,    /* sent to a worker, not acknowledged */
        MODEL_MAPPED,     /* acknowledged */
        MODEL_LEAVING,    /* given back, or its owner went: must be destroyed */
        MODEL_DESTROYING, /* DESTROY was asked for */
};

struct model_extent {
        uint64_t id;
        uint32_t device, order;
        enum model_state state;
        uint32_t tenant;  /* who is charged; MODEL_NONE: nobody */
        uint32_t worker;  /* serial of who got it; MODEL_NONE: nobody yet */
        uint32_t cache;   /* serial */
        uint32_t request; /* serial of the request that it was granted to */
        uint32_t row, plane_class, plane, first;
        uint64_t number; /* which grant of its worker it was, from 1 */
};

struct model_worker {
        uint32_t serial, id, tenant;
        uint64_t pid;
        uint64_t granted, acknowledged; /* extents, cumulative */
        bool dropped;                   /* the core wants it gone */
        uint64_t suspect_until;
        uint32_t suspect_devices; /* bit mask */
        bool overdue;             /* said the core after the last event; see model_is_overdue() */
        uint32_t overdue_revoke;  /* that OVERDUE told of and LATE has not; 0: none */
        bool dying;               /* the core wants it killed */
        bool detached;            /* without a connection */
        uint64_t awaited_until;   /* so long others may hope for what it will give once it has one */
};

struct model_cache {
        uint32_t serial, id, worker, device, rows, n_classes;
        uint64_t held; /* a bit a row, for the first MODEL_MAX_ROWS */
        struct core_plane_class classes[CORE_MAX_CLASSES];
};

struct model_request {
        uint32_t serial, worker, cache;
        struct core_ev_grow grow;
        uint64_t since, until; /* usec */
        uint64_t progress;     /* when it was granted something last: a device that is slow is waited for */
        uint64_t granted_pages;
        uint32_t plane_pages[CORE_MAX_PLANES], plane_end[CORE_MAX_PLANES]; /* granted in each plane, and up to where */
        bool valid;                                                        /* false: it must fail at once */
        bool overlaps;       /* with pages that were granted, or may be by another request */
        bool was_held;       /* its row, before it came */
        bool device_trouble; /* the device failed something since it began */
};

struct model_revoke {
        uint32_t worker, revoke, level, device;
        uint64_t pages, deadline;
};

struct model_call { /* a cache operation that has not been replied to */
        uint32_t worker;
        bool good; /* CACHE_DESTROY: there was such a cache */
        struct core_event event;
};

struct model_device {
        uint32_t page_shift, pages, virgin_pages;
        uint32_t missing;  /* pages that the device says are gone */
        uint64_t promised; /* pages of admitted requests that are not granted yet, from what the core publishes */
        uint64_t back[CORE_MAX_TENANTS]; /* when memory of each came back last */
};

struct model_tenant {
        bool exists, removed;
        uint32_t on_overdue, workers, weight;
        uint64_t min_bytes, low_bytes, max_bytes, reclaim_deadline_usec;
        uint32_t pages[CORE_MAX_DEVICES]; /* its current, as the core said after the last event */
};

struct model {
        struct core_params params;
        uint64_t now;
        uint32_t next_serial;
        struct model_device devices[CORE_MAX_DEVICES];
        uint32_t n_devices;
        struct model_tenant tenants[CORE_MAX_TENANTS];
        uint32_t n_tenants; /* the highest index there was, and one */
        struct model_worker *workers;
        struct model_cache *caches;
        struct model_request *requests; /* open ones */
        struct model_revoke *revokes;   /* not answered */
        struct model_call *calls;
        struct model_extent *extents;
        uint32_t n_workers, n_caches, n_requests, n_revokes, n_calls, n_extents;
        uint32_t workers_space, caches_space, requests_space, revokes_space, calls_space, extents_space;
        uint64_t *ids; /* every extent id there ever was, hashed */
        uint32_t n_ids, ids_space;
        uint64_t counters[CORE_COUNT_MAX_]; /* the ones that follow from actions and events alone */
        bool calm;                          /* everybody answers at once: nothing may fail for want of patience */
        uint32_t suspect;                   /* serial of the worker whose event is wrong: it may be dropped for it */
        uint32_t must_drop;                 /* serial of a worker that must be dropped now */
        uint32_t arrived;                   /* serial of the request that the event is; MODEL_NONE: it is none */
        uint64_t cookie;                    /* of a WORKER_ADD not yet answered; 0: none */
        uint32_t cookie_tenant;
        bool cookie_allowed;
        uint64_t cookie_pid;
        char broken[320]; /* empty: nothing */
};

void model_init(struct model *model, const struct core_params *params);
void model_done(struct model *model);

/* To be called before core_apply(), with the event; then with each action; then with the core. */
void model_event(struct model *model, const struct core_event *event);
void model_action(struct model *model, const struct core_action *action);
void model_settle(struct model *model, const struct core *core);

/* Once everybody went and the device answered everything: nothing may be charged to anyone. */
void model_check_empty(struct model *model, const struct core *core);

/* For people: who has what. */
void model_print(struct model *model, FILE *out);

/* Lookups, NULL where there is none. Pointers hold until the next event or action. */
struct model_worker *model_worker(struct model *model, uint32_t id);
struct model_worker *model_worker_by_serial(struct model *model, uint32_t serial);
struct model_cache *model_cache(struct model *model, uint32_t worker_serial, uint32_t id);
struct model_cache *model_cache_by_serial(struct model *model, uint32_t serial);
struct model_extent *model_extent(struct model *model, uint64_t id);

/* The core's table may have no room for the extents of `need` pages more beside those of all open requests, whatever
 * sizes they come in: then it is extents that are short, and not pages. */
bool model_slots_may_lack(struct model *model, int64_t need);

/* model-share.c: the rules between tenants. The first takes over what the core says that each has. */
void model_check_shares(struct model *model, const struct core *core);
void model_check_wakeups(struct model *model, uint32_t device);
void model_check_hope(struct model *model, uint32_t device);
void model_check_overdue(struct model *model, const struct core *core, const struct core_worker_info *info);
bool model_is_overdue(const struct model *model, const struct model_worker *worker);
bool model_keeps_waiting(const struct model *model, uint32_t tenant); /* one of its workers is overdue */
void model_check_revoke(struct model *model, const struct model_worker *worker, const struct core_action *action);
/* Pages of the device that are kept for others than the tenant, and those that nobody takes from it. */
uint64_t model_guarded(const struct model *model, uint32_t device, uint32_t tenant);
/* Extents that are kept for them, for where there can be fewer extents than pages. */
uint64_t model_slots_kept(const struct model *model, uint32_t tenant);
uint64_t model_floor(const struct model *model, uint32_t device, uint32_t tenant, bool with_low);

/* For model-action.c: a well-formed request failed with that error. */
void model_check_failure(struct model *model, const struct model_worker *worker, const struct model_request *request,
                         uint32_t error);
/* Asked for more than the device has, or than its tenant may ever have. */
bool model_is_impossible(const struct model *model, const struct model_worker *worker, const struct model_cache *cache,
                         const struct core_ev_grow *grow);

/* Records the first broken rule. */
__attribute__((format(printf, 2, 3))) void model_break(struct model *model, const char *format, ...);

/* True where `extent` is granted or mapped: its pages are in a worker's page table. */
static inline bool model_extent_is_owned(const struct model_extent *extent)
{
        return extent->state == MODEL_GRANTED || extent->state == MODEL_MAPPED;
}

static inline uint32_t model_extent_pages(const struct model_extent *extent)
{
        return 1u << extent->order;
}

static inline bool model_row_is_held(const struct model_cache *cache, uint32_t row)
{
        return row < MODEL_MAX_ROWS && (cache->held >> row & 1);
}

/* A row that has pages, or is asked to get some. Of other rows nobody remembers whether they are held. */
bool model_row_is_known(const struct model *model, const struct model_cache *cache, uint32_t row);

/* From `first` on: how many pages could be granted in every plane before one that is, and within the row. */
uint32_t model_room(struct model *model, const struct model_cache *cache, uint32_t row, uint32_t plane_class,
                    uint32_t first);
/* Pages from 0 on that every plane of the class has. */
uint32_t model_mapped_end(struct model *model, const struct model_cache *cache, uint32_t row, uint32_t plane_class);

#endif
