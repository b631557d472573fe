/* SPDX-License-Identifier: MIT
 *
 * mapper.h -- the mapper thread, one a connection.
 *
 * It sleeps until it is woken or the event channel has something; there is no timer. It asks for look-ahead and for
 * what steps that do not wait need, gives back what was trimmed, tells which rows are held or idle, and answers
 * revokes. It does not wait for the grants that it asks for: whoever reads them maps them, itself included.
 */
#ifndef LIB_MAPPER_H
#define LIB_MAPPER_H

#include "conn.h"

int mapper_start(struct kvp_conn *conn);
void mapper_stop(struct kvp_conn *conn); /* waits until it has ended */

/* From any thread, with no lock held. True: this took a system call; false: it is awake, or was woken already. */
bool mapper_wake(struct kvp_conn *conn);

/* It is about to read answers that nobody waits for, those to requests that are yet to be sent included. */
bool mapper_listens(struct kvp_conn *conn);

/* After a request that its sender does not wait for: sees to it that the answer is read. True: this took a system call.
 */
bool mapper_attend(struct kvp_conn *conn);

/* Tells the daemon now which rows are held and which idle, where that waits in the mapper's queue: before a request
 * that may be granted from idle rows, for a daemon that does not know of them would refuse it. Where the mapper is
 * about to tell, waits for that, until `deadline`. */
void mapper_tell_now(struct kvp_conn *conn, uint64_t deadline);
bool mapper_has_to_tell(struct kvp_conn *conn); /* false: there is nothing to tell */

/* With conn->mutex held: it sleeps and has nothing to do. */
bool mapper_is_idle(struct kvp_conn *conn);

/* ---- from any thread, with no lock held ---- */

/* The first cache that lives, or the next one after `cache`, which is let go; NULL: no more. A cache is not destroyed
 * while it is kept. */
struct kvp_cache *mapper_next_cache(struct kvp_conn *conn, struct kvp_cache *cache);
/* The same, of all of which anything may be mapped: those too that are being destroyed. */
struct kvp_cache *mapper_next_mapped(struct kvp_conn *conn, struct kvp_cache *cache);
void mapper_keep_cache(struct kvp_cache *cache);
void mapper_leave_cache(struct kvp_cache *cache); /* NULL is fine */

/* ---- on the mapper thread ---- */

/* revoke.c: answers a REVOKE. */
void revoke_answer(struct kvp_conn *conn, const struct wire_revoke *revoke);

#endif
