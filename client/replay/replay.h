/* SPDX-License-Identifier: MIT
 *
 * replay.h -- one replay from its options to its outcome.
 */
#ifndef KVPAGER_REPLAY_REPLAY_H
#define KVPAGER_REPLAY_REPLAY_H

#include "options.h"
#include "outcome.h"

/* Reads the trace, finds or starts a daemon, runs the workers. `options` must outlive the outcome. On failure the
 * complaint says what went wrong and everything that was started is gone; -EINTR: a signal asked to stop. The outcome
 * is to be cleared whatever this returns. */
int replay_run(const struct options *options, struct outcome *ret_outcome, struct complaint *complaint);

#endif
