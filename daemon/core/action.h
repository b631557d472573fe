/* SPDX-License-Identifier: MIT
 *
 * action.h -- what the core wants done: the only way out. The shell (or the simulator) carries actions out in order.
 */
#ifndef CORE_ACTION_H
#define CORE_ACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_ACTIONS_MAX 2048u /* of one core_apply(); what is left over is pending, see core_pending() */

enum core_action_type {
        CORE_ACT_CREATE = 1, /* make an extent on the device; answer by CREATED */
        CORE_ACT_DESTROY,    /* destroy one (on host: truncate it at once); answer by DESTROYED */
        CORE_ACT_WELCOME,    /* peer `cookie` is worker `worker` */
        CORE_ACT_REFUSE,     /* peer `cookie` is not: error */
        CORE_ACT_REPLY_OK,
        CORE_ACT_REPLY_ERROR,
        CORE_ACT_REPLY_CACHE,
        CORE_ACT_GRANT,       /* one extent, with its fd */
        CORE_ACT_GROW_FAILED, /* one entry of a request */
        CORE_ACT_REVOKE,
        CORE_ACT_SYNC,
        CORE_ACT_DROP,       /* end the worker's connection: error says why; WORKER_GONE follows from the shell */
        CORE_ACT_OVERDUE,    /* the worker did not answer its revoke, which wants so many pages yet: it is denied */
        CORE_ACT_LATE,       /* it answered after all */
        CORE_ACT_KILL,       /* the worker's revoke is overdue, and its tenant says kill */
        CORE_ACT_TRANSITION, /* only with core_params.trace: an object changed its state */
        CORE_ACT_MAX_
};

#define CORE_GRANT_LAST  1u
#define CORE_GRANT_SHORT 2u

enum core_object {
        CORE_OBJ_EXTENT = 1,
        CORE_OBJ_REQUEST,
        CORE_OBJ_REVOKE,
        CORE_OBJ_ROW,
        CORE_OBJ_CACHE,
        CORE_OBJ_WORKER
};

struct core_action {
        uint16_t type; /* enum core_action_type */
        uint16_t flags;
        uint32_t worker;
        union {
                /* CREATE, DESTROY */
                struct {
                        uint64_t extent;
                        uint32_t device;
                        uint32_t order; /* 1 << order pages */
                } device;
                /* WELCOME, REFUSE */
                struct {
                        uint64_t cookie;
                        uint32_t tenant;
                        uint32_t error; /* enum core_error */
                } peer;
                /* REPLY_*, DROP (error alone: where it is OVERDUE, and the grant has not left the shell yet, the worker
                 * may stay, and it is said again after another deadline) */
                struct {
                        uint32_t request;
                        uint32_t error;
                        uint32_t cache;
                } reply;
                /* flags: CORE_GRANT_* */
                struct {
                        uint64_t extent;
                        uint32_t request;
                        uint16_t entry, plane;
                        uint32_t first; /* page of the row */
                        uint16_t order;
                        uint16_t device;
                } grant;
                /* GROW_FAILED */
                struct {
                        uint32_t request;
                        uint16_t entry;
                        uint16_t reserved;
                        uint32_t error;
                } failed;
                /* REVOKE, OVERDUE; LATE (revoke alone) */
                struct {
                        uint32_t revoke;
                        uint16_t level; /* 0 idle, 1 slack, 2 live */
                        uint16_t device;
                        uint64_t pages;
                        uint64_t deadline_usec; /* absolute */
                } revoke;
                struct {
                        uint16_t object; /* enum core_object */
                        uint8_t from, to;
                        uint32_t a;
                        uint64_t id;
                        uint32_t b, c;
                } transition;
        };
};

struct core_actions {
        struct core_action *v;
        uint32_t n, capacity; /* CORE_ACTIONS_MAX free entries are needed at each core_apply() */
};

/* The stable text line of a transition, without newline, e.g. "extent 17.3 virgin -> granted worker 2 cache 1 row 5
 * plane 0 first 64 order 2". Returns its length; 0 for an action that is no transition. */
size_t core_trace_format(const struct core_action *action, char *buffer, size_t capacity);

#endif
