/* SPDX-License-Identifier: MIT
 *
 * cache.h -- a cache and its rows.
 *
 * A row's state is split in two. What a step looks at is 32 bytes (struct row_hot), the rest is struct row. Rules that
 * hold whenever cache->lock is free:
 *
 *      mark <= ready: a step up to `mark` tokens needs nothing, one up to `ready` is backed, one beyond has to wait
 *      stamp < cache->stamp or equal: the row is held; ROW_FREE: it is not
 *      growing > 0: a request for the row is under way, and its lists of extents belong to the connection's reader
 *      ROW_SHRINKING: extents are being unmapped, and its lists belong to whoever does that
 *
 * Never both of the last two: who wants to grow a row waits until it has shrunk, who wants to shrink it leaves a row
 * that grows alone.
 */
#ifndef LIB_CACHE_H
#define LIB_CACHE_H

#include <pthread.h>

#include "conn.h"
#include "extents.h"
#include "kvpager.h"
#include "layout.h"
#include "mem.h"

#define ROW_FREE UINT32_MAX /* a stamp */
#define ROW_NONE UINT32_MAX /* no row */

struct row_hot {
        uint64_t tokens; /* the length that was stepped to last */
        uint64_t ready;  /* tokens that are backed */
        uint64_t mark;   /* beyond it, look-ahead is wanted */
        uint32_t stamp;  /* the last step that named the row, or ROW_FREE */
        uint32_t reserved;
};
_Static_assert(sizeof(struct row_hot) == 32, "two rows a cache line");

enum row_flags {
        ROW_QUEUED = 1u << 0,    /* in the mapper's queue */
        ROW_AHEAD = 1u << 1,     /* for the mapper: look-ahead is wanted */
        ROW_DEMAND = 1u << 2,    /* for the mapper: a step that does not wait needs pages */
        ROW_TRIM = 1u << 3,      /* for the mapper: give back what is beyond trim_tokens */
        ROW_TRIM_TAIL = 1u << 4, /* and the last extent even where it is partly needed */
        ROW_TELL = 1u << 5,      /* for the mapper: tell the daemon whether the row is held */
        ROW_TOLD_HELD = 1u << 6, /* what the daemon believes */
        ROW_SHRINKING = 1u << 7,
        ROW_SCARCE = 1u << 8,  /* a request that included look-ahead failed: ask for what is needed alone */
        ROW_COOLING = 1u << 9, /* look-ahead was refused: ask again half-way to the end of what is mapped */
        ROW_IDLE = 1u << 10,   /* in the list of idle rows */
        ROW_STALE = 1u << 11,  /* what is under way is older than the step that waits: its failure is not that step's */
        ROW_PROMPT = 1u << 12, /* its last advance was a prompt's: look-ahead comes while that computes */
        ROW_STUCK = 1u << 13,  /* places at its end are (extents.h): it cannot grow until they are unmapped after all */
};
#define ROW_WANTS_MAPPER (ROW_AHEAD | ROW_DEMAND | ROW_TRIM | ROW_TRIM_TAIL | ROW_TELL)

struct row {
        uint32_t idle_previous, idle_next;
        uint64_t released; /* when it was last, in order of releases; 0: never */
        uint64_t pages;    /* mapped, over all classes and planes */
        uint64_t trim_tokens;
        uint32_t flags;
        uint32_t growing; /* entries of requests under way */
        uint32_t ahead;   /* tokens of look-ahead */
        int32_t error;    /* of the last demand; 0: granted, or none yet */
};

struct cache_counters {
        uint64_t steps, waited, with_syscalls;
        uint64_t grants, granted_pages, requests, returns, refusals;
};

struct kvp_cache {
        struct kvp_conn *conn;
        uint32_t generation; /* conn's, beside what a step reads */
        uint32_t id;
        struct row_hot *hot;
        uint32_t n_rows;

        pthread_mutex_t lock;
        pthread_cond_t changed; /* a row was released, or has shrunk */
        uint32_t stamp;
        struct row *rows;
        struct extents *extents; /* [rows][classes] */
        uint32_t *queue;         /* ring of rows for the mapper, each at most once; one may want nothing any more */
        uint32_t queue_head, queue_length;
        uint32_t telling; /* threads that took rows from the queue to tell of, and have not sent that yet */
        uint32_t idle_first, idle_last; /* released rows that have pages, the least recently released one first */
        uint32_t held_rows;
        uint64_t held_pages, idle_pages;
        struct cache_counters counters;
        kvp_fence_fn *fence;
        void *fence_userdata;

        struct layout layout;
        const struct mem_backend *mem;
        struct mem_device *mem_device;
        struct fork_node reservation; /* base and size of the address space */

        /* Guarded by conn->mutex. */
        struct kvp_cache *next;
        uint32_t users;    /* mapper_next_cache(): the mapper, or a thread that tells of idle rows, is at work on it */
        uint32_t requests; /* to grow, under way */
        bool dying;
        bool left; /* destroyed, but what it had stays mapped, and the daemon's: for those that take over to know */

        bool spared; /* the mapper's: nothing is taken from it for the rest of this revoke */
};

static inline struct extents *cache_extents(const struct kvp_cache *cache, uint32_t row, uint32_t class)
{
        return &cache->extents[(size_t)row * cache->layout.n_classes + class];
}

static inline void *cache_address(const struct kvp_cache *cache, uint32_t class, uint32_t plane, uint32_t row,
                                  uint32_t page)
{
        return (char *)cache->reservation.base +
               layout_offset(&cache->layout, &cache->layout.classes[class], plane, row, page);
}

static inline bool row_is_held(const struct kvp_cache *cache, uint32_t row)
{
        return cache->hot[row].stamp != ROW_FREE;
}

/* As the connection ends, and nobody else uses it. */
void cache_destroy_all(struct kvp_conn *conn);

/* Waits, by the application's fence or else the backend's own, until nothing computes with the cache any more. 0 or a
 * negative errno: nothing may be unmapped. Without cache->lock. */
int cache_fence(struct kvp_cache *cache);

/* ---- row.c: all of it with cache->lock held ---- */

/* Computes `ready` and `mark` from what is mapped. */
void row_refresh(struct kvp_cache *cache, uint32_t row);

/* Adds to, or takes from, the pages of a row. */
void row_account(struct kvp_cache *cache, uint32_t row, uint64_t added, uint64_t taken);

/* Marks a row held or free. */
void row_hold(struct kvp_cache *cache, uint32_t row);
void row_free(struct kvp_cache *cache, uint32_t row);

/* Leaves a row to the mapper. True: it was not in its queue, so wake it. */
bool row_queue(struct kvp_cache *cache, uint32_t row, uint32_t flags);
uint32_t row_dequeue(struct kvp_cache *cache); /* ROW_NONE: the queue is empty */

/* Sets the row's look-ahead, by how far a step to `tokens` advances it. */
void row_advance(struct kvp_cache *cache, uint32_t row, uint64_t tokens);

#endif
