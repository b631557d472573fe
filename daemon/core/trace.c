/* SPDX-License-Identifier: MIT
 *
 * trace.c -- transitions in words: one stable line each, for golden traces and for people. The only user of snprintf
 * here.
 */
#include <inttypes.h>
#include <stdio.h>

#include "internal.h"

static const char *const extent_names[EXTENT_STATES] = {
        "free", "creating", "virgin", "granted", "mapped", "returning"
};
static const char *const request_names[] = { "new", "waiting", "admitted", "done", "failed", "cancelled" };
static const char *const revoke_names[] = { "none", "sent", "answered", "overdue", "late" };
static const char *const worker_names[] = { "free", "live", "gone" };
static const char *const cache_names[] = { "free", "live", "dying" };
static const char *const row_names[] = { "idle", "held" };

static const char *name_of(const char *const *names, size_t n, unsigned state)
{
        return state < n ? names[state] : "?";
}
#define NAME(names, state) name_of(names, sizeof(names) / sizeof *(names), state)

size_t core_trace_format(const struct core_action *action, char *buffer, size_t capacity)
{
        int n = 0;

        if (action->type != CORE_ACT_TRANSITION || capacity == 0)
                return 0;

        const uint32_t id = (uint32_t)action->transition.id, generation = (uint32_t)(action->transition.id >> 32);
        const unsigned from = action->transition.from, to = action->transition.to;
        const uint32_t a = action->transition.a, b = action->transition.b, c = action->transition.c;

        switch ((enum core_object)action->transition.object) {
        case CORE_OBJ_EXTENT: /* a: worker, b: row << 12 | plane, c: first << 4 | order index; workers only where it has
                                 one */
                n = snprintf(buffer, capacity, "extent %" PRIu32 ".%" PRIu32 " %s -> %s order %u", id, generation,
                             NAME(extent_names, from), NAME(extent_names, to), core_order_shift(c & 15u));
                if (a != NIL && n > 0 && (size_t)n < capacity)
                        n += snprintf(buffer + n, capacity - (size_t)n,
                                      " worker %" PRIu32 " row %" PRIu32 " plane %" PRIu32 " first %" PRIu32, a,
                                      b >> 12, b & 0xfffu, c >> 4);
                break;
        case CORE_OBJ_REQUEST: /* id: wire id << 32 | entry */
                n = snprintf(buffer, capacity,
                             "request %" PRIu32 ".%" PRIu32 " %s -> %s worker %" PRIu32 " pages %" PRIu32
                             " error %" PRIu32,
                             generation, id, NAME(request_names, from), NAME(request_names, to), a, b, c);
                break;
        case CORE_OBJ_REVOKE:
                n = snprintf(buffer, capacity,
                             "revoke %" PRIu32 " %s -> %s worker %" PRIu32 " level %" PRIu32 " pages %" PRIu32, id,
                             NAME(revoke_names, from), NAME(revoke_names, to), a, b, c);
                break;
        case CORE_OBJ_ROW:
                n = snprintf(buffer, capacity,
                             "row %" PRIu32 " %s -> %s worker %" PRIu32 " cache %" PRIu32 " pages %" PRIu32, id,
                             NAME(row_names, from), NAME(row_names, to), a, b, c);
                break;
        case CORE_OBJ_CACHE:
                n = snprintf(buffer, capacity, "cache %" PRIu32 " %s -> %s worker %" PRIu32 " rows %" PRIu32, id,
                             NAME(cache_names, from), NAME(cache_names, to), a, b);
                break;
        case CORE_OBJ_WORKER:
                n = snprintf(buffer, capacity, "worker %" PRIu32 " %s -> %s tenant %" PRIu32, id,
                             NAME(worker_names, from), NAME(worker_names, to), a);
                break;
        }
        if (n < 0)
                return 0;
        return (size_t)n < capacity ? (size_t)n : capacity - 1;
}
