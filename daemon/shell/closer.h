/* SPDX-License-Identifier: MIT
 *
 * closer.h -- closing what may take for ever to be closed.
 *
 * close() of the last descriptor of a file can sleep for as long as others like: a TCP socket that lingers, a file of
 * FUSE whose server does not answer. Who takes descriptors from strangers may do that on no thread that others wait
 * for. Here they are closed by a thread that nobody waits for, one after the other; what is behind one that cannot be
 * closed stays open. The thread starts with the first of them.
 */
#ifndef SHELL_CLOSER_H
#define SHELL_CLOSER_H

#include <stdbool.h>
#include <stdint.h>

struct closer;

/* One with places for `max` descriptors. */
int closer_new(uint32_t max, struct closer **ret);

/* Ends the thread, and waits for that for at most so long. What it has not closed by then stays open. */
void closer_free(struct closer *closer, uint64_t timeout_usec);

/* Takes the descriptor over; false: there is no place, it is still the caller's. Never waits for a close(). */
bool closer_take(struct closer *closer, int fd);

/* How many have been taken and are not closed yet. */
uint32_t closer_waiting(struct closer *closer);

#endif
