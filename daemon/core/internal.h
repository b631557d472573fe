/* SPDX-License-Identifier: MIT
 *
 * internal.h -- the core's state: every table, every state, every list.
 *
 * Tables are arrays in the arena; a NIL-terminated index takes the place of a pointer. Each record is on exactly one
 * list by its next/prev at a time, and its state says on which.
 *
 * Pages of a device are always, each, in one of these places (check.c proves the sum):
 *
 *      free | creating | virgin | reclassing (virgin, being destroyed) | held (granted, mapped, returning: charged to a
 * tenant)
 *
 * `reserved` pages are promised to admitted requests and come out of the first four: available = free + creating +
 * virgin + reclassing - reserved. A request is admitted only from what is available, so its delivery cannot fail for
 * lack of memory.
 */
#ifndef CORE_INTERNAL_H
#define CORE_INTERNAL_H

#include <assert.h>
#include <string.h>

#include "bits.h"
#include "core.h"

#define NIL UINT32_MAX

#define ACK_SYNC_USEC         UINT64_C(100000)  /* a grant unacknowledged for so long is asked for */
#define ACK_DEADLINE_USEC     UINT64_C(5000000) /* and after this the worker is dropped */
#define ADMITTED_GRACE_USEC   UINT64_C(1000000) /* an admitted request waits for the device at least so long */
#define RETRY_USEC            UINT64_C(100000)  /* after a device call failed */
#define MAX_TIMEOUT_USEC      UINT64_C(60000000)
#define RECLAIM_DEADLINE_USEC UINT64_C(1000000)  /* where the tenant has none */
#define SUSPECT_USEC          UINT64_C(60000000) /* suspicion lasts so long, unless the memory comes free before */
#define ASK_NEXT_USEC         UINT64_C(100000)   /* a revoke unanswered for so long: somebody else is asked as well */
#define STALE_TURN_USEC       UINT64_C(10000)    /* who waits in vain and was not looked at has another turn then */
#define STALE_TRIES           4u                 /* a tenant, each time that who waits is looked at */
#define WORKER_MAX_REQUESTS   1024u
#define WORKER_MAX_CACHES     64u
#define CORE_MAX_PAGES        (1u << 30) /* of a device: products with planes stay within 32 bits */
#define CORE_MAX_ROWS         (1u << 20) /* of a cache */
#define CREATES_IN_FLIGHT     256u       /* a device; ahead of need only */

enum extent_state {
        EXTENT_FREE,
        EXTENT_CREATING,
        EXTENT_VIRGIN,
        EXTENT_GRANTED,
        EXTENT_MAPPED,
        EXTENT_RETURNING,
        EXTENT_STATES
};

/* 32 bytes a page at worst, with 8 bytes of hash slots and a row record a plane. */
struct extent {
        uint32_t generation;
        uint8_t state;
        uint8_t where;         /* order index << 4 | device */
        uint8_t ring;          /* GRANTED: place in the worker's ring */
        uint8_t reclassed;     /* RETURNING: was virgin, charged to nobody */
        uint32_t next, prev;   /* FREE: free list (next). VIRGIN: device's list. GRANTED, MAPPED: row's list. RETURNING:
                                  retry list (next) */
        uint32_t row;          /* GRANTED, MAPPED: row record */
        uint32_t first;        /* page of the row */
        uint32_t granule_next; /* next extent of the same 64 pages */
        uint16_t plane;        /* plane class * CORE_MAX_PLANES + plane */
        uint16_t worker;       /* slot; charged until destroyed */
};
_Static_assert(sizeof(struct extent) == 32, "an extent is 32 bytes");

/* A row that has pages, or that a request is about to give some. */
struct row {
        uint32_t cache; /* slot */
        uint32_t number;
        uint32_t next, prev; /* of the cache, or free */
        uint32_t head;       /* extents */
        uint32_t extents;
        uint32_t pages; /* MAPPED ones, over all planes */
        uint16_t pins;  /* requests */
        uint8_t held;
        uint8_t used;
};
_Static_assert(sizeof(struct row) == 32, "a row is 32 bytes");

enum cache_state { CACHE_FREE, CACHE_LIVE, CACHE_DYING };

struct cache {
        uint32_t generation; /* 16 bits used */
        uint32_t worker;     /* slot */
        uint32_t next, prev; /* of the worker; FREE: free list */
        uint32_t reap_next;  /* DYING: reap list */
        uint32_t rows, first_row;
        uint32_t row_records, held_rows; /* held_rows of those that have a record */
        uint32_t live_pages, idle_pages;
        uint32_t n_classes, planes;
        uint8_t state, device;
        uint16_t reserved;
        uint64_t virtual_pages;
        struct core_plane_class classes[CORE_MAX_CLASSES];
};

struct revoke {
        uint32_t id; /* 0: none under way */
        uint16_t level, device;
        uint64_t remaining; /* pages asked for and not returned yet; `revoked` of device and tenant counts them */
        uint64_t deadline_usec;
};

enum worker_state { WORKER_FREE, WORKER_LIVE, WORKER_GONE };

/* What came last of a message: pages of all its entries for one row that were admitted so far. */
struct message {
        uint32_t wire, cache, row, entry, admitted;
        uint32_t reserved;
};

struct worker {
        uint32_t generation; /* 16 bits used */
        uint8_t state;
        uint8_t ready, synced, dying; /* dying: it was to be killed */
        uint16_t dry[3];              /* by level, a bit a device: the last revoke got less than it asked for */
        uint16_t
                detached; /* without a connection: it is granted nothing and asked for nothing, and keeps what it has */
        uint16_t suspect; /* a bit a device: what it gave back there did not come free; no grants for a while */
        uint16_t reserved3;
        uint64_t suspect_until_usec;
        uint64_t awaited_until_usec; /* detached: others hope for what it could give until then; 0: no longer */
        uint32_t overdue; /* revoke not answered in time, until it is: no grants, no further revokes; 0: none */
        uint32_t tenant;
        uint32_t next;      /* FREE: free list. else ready list */
        uint32_t wait_next; /* list of those that wait for a size class */
        uint32_t waits;     /* 0, or 1 + device * CORE_ORDERS + order index */
        uint32_t uid;
        uint64_t pid;
        uint32_t n_caches, first_cache;
        uint32_t n_requests;                   /* waiting and admitted */
        uint32_t first_request;                /* all of them, for death */
        uint32_t admitted_head, admitted_tail; /* delivery order */
        uint32_t revoke_counter;
        uint64_t granted, acked; /* extents, cumulative */
        uint64_t ack_at_usec;    /* SYNC or DROP then; UINT64_MAX: nothing unacknowledged */
        uint64_t current_bytes, live_bytes, idle_bytes, unacked_bytes;
        uint32_t idle_pages[CORE_MAX_DEVICES], held_pages[CORE_MAX_DEVICES];
        struct revoke revoke;
        struct message message;          /* of growth requests */
        uint32_t ring[CORE_MAX_UNACKED]; /* extents granted[i % 256]; NIL: gone before it was acknowledged */
};

/* The limits hold on each device by itself. */
struct tenant {
        uint8_t used, removed;
        uint16_t reserved;
        uint32_t on_overdue, weight, workers;
        uint32_t overdue, n_requests; /* its workers that are overdue; its requests, waiting and admitted */
        uint32_t n_slots, n_caches;   /* slots of its workers and caches, those that are gone or dying included */
        uint64_t min_bytes, low_bytes, high_bytes, max_bytes, reclaim_deadline_usec;
        uint64_t current_bytes, live_bytes,
                idle_bytes; /* current: what is held, and what admitted requests were promised */
        uint32_t waiting_head[CORE_MAX_DEVICES], waiting_tail[CORE_MAX_DEVICES]; /* requests, by age */
        uint32_t fresh[CORE_MAX_DEVICES]; /* of them the oldest that is not stale, when last looked at; NIL: none */
        uint32_t turn[CORE_MAX_DEVICES];  /* the stale one that is looked at next; NIL: the second oldest */
        uint32_t current[CORE_MAX_DEVICES], returning[CORE_MAX_DEVICES]; /* pages */
        uint32_t min[CORE_MAX_DEVICES], max[CORE_MAX_DEVICES];           /* the limits in whole pages */
        uint64_t revoked[CORE_MAX_DEVICES]; /* pages that revokes under way still want of its workers */
        /* Figures for people; nothing is decided by them. See core_tenant_info. */
        uint64_t extents_granted, pages_granted, requests, requests_waited, requests_failed, wait_usec;
        uint64_t stall_usec, stalled_since_usec, revokes, pages_revoked, revokes_overdue;
        uint32_t waiting, reserved2; /* requests */
        char name[CORE_NAME_MAX];
};

enum request_state { REQUEST_FREE, REQUEST_WAITING, REQUEST_ADMITTED };

struct request {
        uint8_t state, order_waited;
        uint16_t entry;
        uint32_t wire;   /* the client's request id */
        uint32_t worker; /* slot */
        uint32_t cache;  /* slot */
        uint32_t row;    /* record, pinned */
        uint32_t plane_class;
        uint32_t first, need, max; /* as asked */
        uint32_t total;            /* pages of each plane, once admitted */
        uint32_t beside;      /* pages of its message for its row, but for itself and what was admitted before it */
        uint32_t timer;       /* its place among the timers; NIL: none, it has just arrived */
        uint32_t plane, page; /* next to deliver: plane of the class, page of the row */
        uint32_t next, prev;  /* WAITING: tenant's queue. ADMITTED: worker's (next). FREE: free list */
        uint32_t of_worker_next, of_worker_prev;
        uint64_t since_usec, deadline_usec;
        uint64_t sequence; /* age, over all devices */
};

/* When a request is to be looked at: at its deadline, or at what that once was. */
struct timer {
        uint64_t usec;
        uint32_t request, reserved;
};

struct device {
        uint8_t used, failing; /* failing: the last create failed; wait until retry_at */
        uint16_t reserved;
        uint32_t page_shift, pages, virgin_target;
        uint32_t free, creating, virgin, reclassing, held; /* pages: they sum up to `pages` */
        uint32_t returning;                                /* pages, of held */
        uint32_t reserved_pages;
        uint32_t idle_pages;
        uint32_t missing;       /* pages that others have, or that were given back and did not come free */
        uint32_t n_waiting;     /* requests */
        uint32_t n_revokes;     /* under way */
        uint32_t n_over;        /* tenants above their memory.max, because it was lowered */
        uint64_t revoked;       /* pages that they still want */
        uint64_t unmet;         /* pages: the sum of what tenants have below their memory.min */
        uint64_t ask_next_usec; /* revokes are under way: until then nobody else is asked; UINT64_MAX: none */
        uint64_t back_usec;     /* when a page came back last, */
        uint32_t back_tenant;   /* whose it was, */
        uint32_t reserved2;
        uint64_t back_other_usec; /* and when one of another tenant's did */
        uint32_t virgin_head[CORE_ORDERS];
        uint32_t n_virgin[CORE_ORDERS], n_creating[CORE_ORDERS]; /* extents */
        uint32_t want[CORE_ORDERS];                              /* extents that admitted requests still need */
        uint8_t filling[CORE_ORDERS];                            /* making ahead: from half of the target up to it */
        uint32_t wait_head[CORE_ORDERS], wait_tail[CORE_ORDERS]; /* workers whose next extent is of that size */
        uint32_t retry_head;                                     /* RETURNING extents whose destruction failed */
        uint64_t retry_at_usec;                                  /* UINT64_MAX: none */
};

struct core {
        struct core_params params;
        uint64_t now_usec, next_deadline_usec, request_sequence;
        uint64_t extents_at, rows_at, caches_at, workers_at, tenants_at, requests_at, timers_at, granules_at,
                row_slots_at; /* offsets */
        uint64_t size;
        uint32_t granule_mask, row_mask; /* hash sizes - 1 */
        uint32_t n_granules, n_rows, n_extents, n_caches, n_workers, n_requests, n_waiting, n_tenants,
                n_devices;                                                     /* in use */
        uint32_t free_extent, free_row, free_cache, free_worker, free_request; /* free lists */
        uint32_t top_extent, top_row, top_cache, top_worker, top_request, top_tenant, top_granules,
                top_rows;                /* high-water marks */
        uint32_t reap_head, reap_tail;   /* caches */
        uint32_t ready_head, ready_tail; /* workers that may have something to be delivered */
        uint32_t busy_devices;           /* bit mask: to be pumped */
        uint32_t n_timers;
        uint64_t counters[CORE_COUNT_MAX_];
        struct device devices[CORE_MAX_DEVICES];
};

/* One core_apply(): the core and where its actions go. */
struct run {
        struct core *core;
        struct core_actions *actions;
        uint32_t limit; /* stop starting work at so many actions */
};

static inline void *core_at(const struct core *core, uint64_t offset)
{
        return (char *)(uintptr_t)core + offset;
}
static inline struct extent *extent_get(const struct core *c, uint32_t i)
{
        return (struct extent *)core_at(c, c->extents_at) + i;
}
static inline struct row *row_get(const struct core *c, uint32_t i)
{
        return (struct row *)core_at(c, c->rows_at) + i;
}
static inline struct cache *cache_get(const struct core *c, uint32_t i)
{
        return (struct cache *)core_at(c, c->caches_at) + i;
}
static inline struct worker *worker_get(const struct core *c, uint32_t i)
{
        return (struct worker *)core_at(c, c->workers_at) + i;
}
static inline struct tenant *tenant_get(const struct core *c, uint32_t i)
{
        return (struct tenant *)core_at(c, c->tenants_at) + i;
}
static inline struct request *request_get(const struct core *c, uint32_t i)
{
        return (struct request *)core_at(c, c->requests_at) + i;
}
static inline struct device *device_get(struct core *c, uint32_t i)
{
        return &c->devices[i];
}

static inline uint32_t extent_order_index(const struct extent *e)
{
        return e->where >> 4;
}
static inline uint32_t extent_device(const struct extent *e)
{
        return e->where & 15u;
}
static inline uint32_t order_pages(uint32_t order_index)
{
        return 1u << core_order_shift(order_index);
}
static inline uint32_t extent_pages(const struct extent *e)
{
        return order_pages(extent_order_index(e));
}
static inline uint64_t extent_id(const struct core *c, uint32_t i)
{
        return (uint64_t)extent_get(c, i)->generation << 32 | i;
}
static inline uint32_t slot_id(uint32_t slot, uint32_t generation)
{
        return generation << 16 | slot;
}

/* What is not promised to anybody, and is there. */
static inline uint32_t device_available(const struct device *d)
{
        const uint32_t pages = d->free + d->creating + d->virgin + d->reclassing - d->reserved_pages;

        return pages > d->missing ? pages - d->missing : 0;
}

/* Limits in whole pages of a device: what is guaranteed is rounded up, what limits down. A device has no more than
 * CORE_MAX_PAGES; beyond that one limit is as good as another. */
static inline uint32_t pages_at_least(const struct device *d, uint64_t bytes)
{
        const uint64_t odd = bytes & ((UINT64_C(1) << d->page_shift) - 1);

        return (uint32_t)bits_min_u64((bytes >> d->page_shift) + (odd != 0), 2 * CORE_MAX_PAGES);
}
static inline uint32_t pages_at_most(const struct device *d, uint64_t bytes)
{
        return (uint32_t)bits_min_u64(bytes >> d->page_shift, 2 * CORE_MAX_PAGES);
}
static inline uint32_t tenant_unmet(const struct tenant *t, uint32_t device)
{
        return t->min[device] > t->current[device] ? t->min[device] - t->current[device] : 0;
}

/* What it will have once all is back that is on its way, or asked for. */
static inline uint64_t tenant_keeps(const struct tenant *t, uint32_t device)
{
        const uint64_t leaves = t->returning[device] + t->revoked[device];

        return t->current[device] > leaves ? t->current[device] - leaves : 0;
}

/* Somebody has more than his memory.max, or less than his memory.min and cannot have it: memory is being asked back for
 * limits' sake. */
static inline bool device_lacks(const struct device *d)
{
        return d->n_over > 0 || d->unmet > device_available(d);
}

/* What may be promised to a request of the tenant: the rest covers what the others are guaranteed and do not have yet
 * (the first of the rules). NULL: to one whose own guarantee is used up. */
static inline uint32_t device_available_to(const struct device *d, const struct tenant *t, uint32_t device)
{
        const uint64_t guarded = d->unmet - (t ? tenant_unmet(t, device) : 0), available = device_available(d);

        return guarded < available ? (uint32_t)(available - guarded) : 0;
}

/* The kernel's watermarks, for a device: below the low one idle rows are revoked in the background, up to the high one,
 * and look-ahead is refused. */
static inline uint32_t device_low_watermark(const struct device *d)
{
        return d->pages / 64;
}

static inline uint32_t device_high_watermark(const struct device *d)
{
        return d->pages / 32;
}

/* It is granted nothing until it answers, or what it gave back comes free. */
static inline bool worker_is_denied(const struct worker *w)
{
        return w->overdue != 0 || w->suspect != 0;
}

static inline bool run_has_room(const struct run *run)
{
        return run->actions->n < run->limit;
}
static inline void core_count(struct core *c, enum core_counter counter, uint64_t n)
{
        c->counters[counter] += n;
}
static inline void core_deadline_at(struct core *c, uint64_t usec)
{
        if (usec < c->next_deadline_usec)
                c->next_deadline_usec = usec;
}

/* core.c */
struct core_action *run_action(struct run *run, enum core_action_type type, uint32_t worker_slot);
void run_transition(struct run *run, enum core_object object, uint64_t id, unsigned from, unsigned to, uint32_t a,
                    uint32_t b, uint32_t c);
void run_reply_error(struct run *run, uint32_t worker_slot, uint32_t request, enum core_error error);
void run_drop(struct run *run, uint32_t worker_slot, enum core_error error);
void core_pump_later(struct core *core, uint32_t device);
void core_pump_for_slot(struct core *core, uint32_t device);

/* extent.c: the life of an extent. Each function is one transition. */
bool extent_create(struct run *run, uint32_t device, uint32_t order_index);
void extent_created(struct run *run, uint32_t extent);
void extent_create_failed(struct run *run, uint32_t extent);
uint32_t extent_grant(struct run *run, uint32_t device, uint32_t order_index, uint32_t worker, uint32_t row,
                      uint32_t plane, uint32_t first);
void extent_mapped(struct run *run, uint32_t extent);
void extent_return(struct run *run, uint32_t extent);
void extent_reclass(struct run *run, uint32_t device, uint32_t order_index);
void extent_destroyed(struct run *run, uint32_t extent);
uint32_t extent_find(const struct core *core, uint64_t id); /* index, or NIL: no such generation, or free */

/* ptable.c: from (cache, row, plane, page) to extents. */
uint32_t ptable_row_find(const struct core *core, uint32_t cache, uint32_t number);
uint32_t ptable_row_get(struct core *core, uint32_t cache,
                        uint32_t number);             /* made where there is none; NIL: table full */
void ptable_row_put(struct core *core, uint32_t row); /* freed where nothing is left in it */
void ptable_row_hold(struct core *core, uint32_t row, bool held);
bool ptable_is_free(const struct core *core, uint32_t row, uint32_t plane, uint32_t first, uint32_t pages);
void ptable_insert(struct core *core, uint32_t extent);
void ptable_remove(struct core *core, uint32_t extent);
uint32_t ptable_find(const struct core *core, uint32_t row, uint32_t plane, uint32_t page); /* extent, or NIL */

/* device.c */
void device_add(struct run *run, const struct core_ev_device_add *event);
void device_created(struct run *run, const struct core_ev_device_done *event);
void device_destroyed(struct run *run, const struct core_ev_device_done *event);

/* Whether an extent is on the list of those that its device is to be asked to destroy once more. */
bool device_retries(const struct extent *extent, uint32_t index);
void device_make(struct run *run, uint32_t device);
void device_tick(struct run *run, uint32_t device);
void device_missing(struct run *run, const struct core_ev_device_missing *event);
void device_page_back(struct core *core, uint32_t device, uint32_t tenant);
uint64_t device_back_from_others(const struct device *d, uint32_t tenant); /* when a page did last */

/* tenant.c, worker.c, cache.c */
void tenant_set(struct run *run, const struct core_ev_tenant_set *event);
void tenant_remove(struct run *run, const struct core_ev_tenant_remove *event);
void tenant_charge(struct core *core, uint32_t tenant, uint32_t device, uint32_t pages);
void tenant_refund(struct core *core, uint32_t tenant, uint32_t device, uint32_t pages);
void tenant_add_device(struct core *core, uint32_t device); /* counts `unmet` of a new device */
void tenant_put(struct core *core, uint32_t tenant);
bool tenant_has_part(const struct core *core, uint32_t has, uint32_t of);
void worker_add(struct run *run, const struct core_ev_worker_add *event);
void worker_gone(struct run *run, const struct core_ev_worker *event);
void worker_ack(struct run *run, const struct core_ev_ack *event);
void worker_return(struct run *run, const struct core_ev_return *event);
void worker_tick(struct run *run, uint32_t worker);
void worker_suspect(struct run *run, const struct core_ev_suspect *event);
void worker_attach(struct run *run, const struct core_ev_worker_attach *event);
void worker_put(struct core *core, uint32_t worker);
void worker_granted(struct core *core, uint32_t worker, uint32_t extent);
void worker_ready(struct core *core, uint32_t worker);
uint32_t worker_find(const struct core *core, uint32_t id); /* slot of a live worker, or NIL */
void cache_create(struct run *run, const struct core_ev_cache_create *event);
void cache_destroy(struct run *run, const struct core_ev_cache_destroy *event);
void cache_row(struct run *run, const struct core_ev_row *event);
void cache_kill(struct run *run, uint32_t cache);
void cache_reap(struct run *run);
uint32_t cache_find(const struct core *core, uint32_t worker,
                    uint32_t id); /* slot of a live cache of the worker, or NIL */

/* request.c */
void request_grow(struct run *run, const struct core_ev_grow *event);
void request_admit_waiting(struct run *run, uint32_t device);
void request_tick(struct run *run); /* time has passed */
void request_fail(struct run *run, uint32_t request, enum core_error error);
void request_cancel(struct run *run, uint32_t request);                    /* silently: its worker or cache went */
uint32_t request_wanted(const struct core *core, const struct request *r); /* pages over all planes, as asked */
uint64_t request_stale_at(const struct core *core, const struct request *r);

/* timer.c: looks at requests when their deadlines pass. A deadline may move away afterwards, never nearer. */
void timer_set(struct core *core, uint32_t request);
void timer_clear(struct core *core, uint32_t request);
uint32_t timer_due(struct core *core); /* one whose deadline has passed; NIL: none, and the next one is known */
bool timer_is_sound(const struct core *core, uint32_t request); /* for core_check() */

/* deliver.c */
void deliver_pieces(uint32_t first, uint32_t total, uint32_t ret_count[CORE_ORDERS]);
uint32_t deliver_total(uint32_t first, uint32_t need, uint32_t max); /* fewest extents within [need, max] */
bool deliver_has_slots(const struct core *core, const struct request *r);
void deliver_admit(struct run *run, uint32_t request, uint32_t total);
void deliver_forget(struct run *run, uint32_t request); /* gives back what is reserved and not delivered */
void deliver_ready(struct run *run);
void deliver_stop_waiting(struct core *core, uint32_t worker);
void deliver_wake(struct core *core, uint32_t device, uint32_t order_index); /* one worker that waits for this size */

/* reclaim.c */
struct claim { /* who wants memory back, and for what */
        uint32_t device;
        uint32_t tenant, worker; /* NIL: nobody by name, in the background */
        uint64_t wanted;         /* pages that the tenant would have more, */
        uint64_t beside;         /* those of them that are asked for in other entries of the same message */
        bool own_only;           /* the tenant is at its memory.max: only its own memory helps */
        bool for_guarantee;      /* memory.low protects nobody from it */
        bool stale;              /* it has waited in vain for long, see request_stale_at() */
};
enum reclaim_result { RECLAIM_WAIT, RECLAIM_HOPELESS };
enum reclaim_result reclaim_for(struct run *run, const struct claim *claim, uint64_t shortage_pages);
void reclaim_background(struct run *run, uint32_t device);
void reclaim_revoked(struct run *run, const struct core_ev_revoked *event);
void reclaim_returned(struct core *core, uint32_t worker, uint32_t device, uint32_t pages);
void reclaim_forget(struct core *core, uint32_t worker); /* it is gone, and with it what it owes */
void reclaim_tick(struct run *run, uint32_t worker);
void reclaim_tick_device(struct core *core, uint32_t device);

/* policy.c: who goes first, and who gives way. */
struct core_policy {
        const char *name;
        /* Whether waiting request `a` is to be served before `b`, of the same device. A strict order. */
        bool (*precedes)(const struct core *core, uint32_t a, uint32_t b);
        /* The worker to ask at `level` for the claim, and for how many of the pages that are short; NIL: nobody. Asked
         * again and again until the shortage is covered or nobody is left. */
        uint32_t (*victim)(const struct core *core, const struct claim *claim, uint32_t level, uint64_t shortage,
                           uint64_t *ret_pages);
        /* Nothing can be asked back: whether the claimant may still wait for what others give by themselves. */
        bool (*may_hope)(const struct core *core, const struct claim *claim, uint64_t shortage);
        /* Whether, with so many pages more for the tenant, memory would be so short that nothing may be rounded up, and
         * that workers give back what is far too much. */
        bool (*is_short)(const struct core *core, uint32_t device, uint32_t tenant, uint32_t pages);
};
extern const struct core_policy core_policy_default;

#endif
