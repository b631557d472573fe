/* SPDX-License-Identifier: MIT
 *
 * backoff.h -- a daemon that cannot start is started again all the time: each time it waits longer before it tries.
 *
 * Its unit has no delay between starts, because one that serves must be back at once after whatever ended it, and no
 * limit of their number, because workers cannot be told to come back when somebody is there. So the delay is ours, and
 * only for starts that came to nothing. How many these are stands in a file in $RUNTIME_DIRECTORY, which goes when the
 * unit is stopped.
 */
#ifndef SHELL_BACKOFF_H
#define SHELL_BACKOFF_H

#include <stdint.h>

/* How long the start after so many failed ones waits, in milliseconds. */
uint32_t backoff_delay_msec(uint32_t failed);

/* Before anything is tried: waits as is due, and notes that a start is under way. Whoever ends us while we wait, as
 * `systemctl restart` does, need not wait the next time. */
void backoff_start(void);

/* We serve. */
void backoff_done(void);

#endif
