/* SPDX-License-Identifier: MIT
 *
 * giveback.h -- extents that go back to the daemon: named in RETURN messages, after they were unmapped.
 */
#ifndef LIB_GIVEBACK_H
#define LIB_GIVEBACK_H

#include "cache.h"

struct giveback {
        struct kvp_conn *conn;
        enum wire_return_reason reason;
        uint32_t n;
        uint64_t ids[WIRE_MAX_RETURN];
};

void giveback_init(struct giveback *giveback, struct kvp_conn *conn, enum wire_return_reason reason);
void giveback_add(struct giveback *giveback, uint64_t id); /* sends where it is full */
void giveback_send(struct giveback *giveback);             /* the rest */

/* Unmaps the row's places from index `from` on, of which some planes may have no extent, takes them off its list and
 * adds them; to no `giveback` where that is NULL. Returns the number of extents. What the driver does not let go of
 * stays in the list, stuck, and is not added. The caller owns the row's lists. */
uint64_t giveback_places(struct giveback *giveback, struct kvp_cache *cache, uint32_t row, uint32_t class,
                         uint32_t from);

#endif
