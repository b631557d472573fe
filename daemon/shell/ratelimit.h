/* SPDX-License-Identifier: MIT
 *
 * ratelimit.h -- so many lines in so much time: a peer that misbehaves must not fill the log.
 */
#ifndef SHELL_RATELIMIT_H
#define SHELL_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct ratelimit {
        uint64_t interval_usec;
        uint32_t burst; /* allowed in an interval */
        uint32_t used, suppressed;
        uint64_t begin_usec;
};

/* Whether one more is allowed at `now_usec`; `ret_suppressed` says how many were not since the last that was (0 on
 * refusal). */
static inline bool ratelimit_allow(struct ratelimit *limit, uint64_t now_usec, uint32_t *ret_suppressed)
{
        *ret_suppressed = 0;
        if (limit->used == 0 || now_usec - limit->begin_usec >= limit->interval_usec) {
                limit->begin_usec = now_usec;
                limit->used = 0;
        }
        if (limit->used >= limit->burst) {
                limit->suppressed++;
                return false;
        }
        limit->used++;
        *ret_suppressed = limit->suppressed;
        limit->suppressed = 0;
        return true;
}

#endif
