/* SPDX-License-Identifier: MIT
 *
 * grow-answer.h -- a request to grow that could not be sent ends here too.
 */
#ifndef LIB_GROW_ANSWER_H
#define LIB_GROW_ANSWER_H

#include "conn.h"

/* Ends all entries of a request that is taken and was not sent, and drops it. */
void grow_unsent(struct kvp_conn *conn, struct request *request, int status);

#endif
