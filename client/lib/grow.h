/* SPDX-License-Identifier: MIT
 *
 * grow.h -- how much a row asks for, and what comes of it.
 *
 * An entry asks for pages of one row in one plane class. `need` is what the tokens, the overread and the look-ahead
 * take; `max` lets the daemon round up where that saves extents, by at most 3 % of what the row needs and never when
 * memory is short. Once an entry fails that asked for more than the tokens alone take, it is asked for again without
 * the look-ahead.
 */
#ifndef LIB_GROW_H
#define LIB_GROW_H

#include "cache.h"

/* Extents that cover pages [first, end), each as large as its alignment allows. */
uint32_t grow_extents(uint32_t first, uint32_t end);

/* Where a row that has `first` pages and needs `need` should end: the fewest extents within the slack; the least such.
 */
uint32_t grow_end(uint32_t first, uint32_t need, uint32_t row_pages);

/* ---- asking: with cache->lock held ---- */

/* Adds what `row` lacks to back `tokens` (and the look-ahead) to a request; false: no room is left in it for this row.
 * A row that lacks nothing adds nothing. */
bool grow_add(struct kvp_cache *cache, struct request *request, uint32_t row, uint64_t tokens, bool optional);

/* ---- and without it ---- */

/* Sends the request, or drops it where it is empty; on error its entries have ended with that status. */
int grow_send(struct kvp_cache *cache, struct request *request, uint64_t timeout_usec, uint64_t deadline);

/* ---- what the daemon answers: the reader alone. false: it may not say this. ---- */

bool grow_granted(struct kvp_conn *conn, const struct wire_item_grant *items, uint32_t n, const int *fds,
                  unsigned n_fds);
bool grow_failed(struct kvp_conn *conn, const struct wire_item_grow_failed *items, uint32_t n);
bool grow_refused(struct kvp_conn *conn, uint32_t request,
                  const struct wire_error *error); /* all of a request; 0: of the connection */

/* Ends every request of a connection that is down, calls included. */
void grow_fail_all(struct kvp_conn *conn);

#endif
