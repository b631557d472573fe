/* SPDX-License-Identifier: MIT
 *
 * hostile-daemon.h -- a daemon in a thread that answers as an input says: honestly, bent, twice, not at all, with
 * something that nobody asked for, or by hanging up. Where the input ends it is honest, or hangs up if it has done
 * harm.
 *
 * It insists on one thing: whatever it does, the library sends it valid messages, and acknowledges no more than it was
 * granted.
 */
#ifndef FUZZ_HOSTILE_DAEMON_H
#define FUZZ_HOSTILE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts the thread at the first call. Returns the socket's path. */
const char *hostile_start(void);

/* The next connection is treated like this. `patient`: it does not hang up on who waits for an answer in vain. */
void hostile_begin(const uint8_t *script, size_t size, bool patient);

/* Waits until that connection has ended and nothing of it is left. */
void hostile_end(void);

#endif
