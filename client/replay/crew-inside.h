/* SPDX-License-Identifier: MIT
 *
 * crew-inside.h -- what crew.c and crew-clock.c share.
 */
#ifndef KVPAGER_REPLAY_CREW_INSIDE_H
#define KVPAGER_REPLAY_CREW_INSIDE_H

#include "crew.h"

#define CREW_TIMEOUT_MSEC 600000 /* one iteration over many long prompts takes minutes where attention is computed */

/* Waits for a report of that kind from worker i; others that come first are passed over. `leaving`: a worker may end.
 */
int crew_wait(struct crew *crew, uint32_t i, enum report_kind kind, bool leaving, struct complaint *complaint);

/* Waits for any report of any worker. */
int crew_wait_any(struct crew *crew, uint32_t *ret_i, struct complaint *complaint);

int crew_tell(struct crew *crew, uint32_t i, enum turn_kind kind, uint64_t horizon_usec, struct complaint *complaint);

#endif
