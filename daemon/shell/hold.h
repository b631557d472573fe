/* SPDX-License-Identifier: MIT
 *
 * hold.h -- the daemon's side of kvpager-holder, see held.h.
 *
 * Without a holder everything works but for a restart, which then loses what workers have. Nothing is waited for but
 * room in the socket: a holder that has not made any within HOLD_PATIENCE_MSEC is given up.
 */
#ifndef SHELL_HOLD_H
#define SHELL_HOLD_H

#include <stdbool.h>
#include <stddef.h>

#include "held.h"

#define HOLD_PATIENCE_MSEC 200
#define HOLD_LIST_MSEC     10000
#define HOLD_AT_ONCE_MSEC  1

struct hold {
        int fd;      /* -1: there is no holder */
        bool failed; /* it is of no use any more, and to be closed */
        bool silent; /* it has not answered yet, and is given nothing */
        unsigned n_puts, n_drops, n_releases;
        struct held_item puts[HELD_MAX], drops[HELD_MAX], releases[HELD_MAX];
        int fds[HELD_MAX]; /* of puts, the caller's */
};

/* Connects to the holder at `path`. -ENOENT, -ECONNREFUSED: there is none; -EPERM: it is another user's; -EAGAIN: it
 * has not taken those who came before, and did not within that time. */
int hold_connect(struct hold *hold, const char *path, unsigned patience_msec);
void hold_close(struct hold *hold);

static inline bool hold_is_up(const struct hold *hold)
{
        return hold->fd >= 0 && !hold->failed && !hold->silent;
}

/* Asks what is held; each is given to `found`, with an fd that it takes. A negative errno: the holder does not say. */
typedef int hold_found_fn(void *userdata, const struct held_item *item, int fd);
int hold_list(struct hold *hold, hold_found_fn *found, void *userdata);

/* Has an fd kept from hold_flush() on, which comes before the fd is closed; and no more. Without a holder: nothing. */
void hold_put(struct hold *hold, const struct held_item *item, int fd);
void hold_drop(struct hold *hold, uint64_t id);
void hold_clear(struct hold *hold);

/* Has it kept no more, and is told when that is so: hold_released() takes up to HELD_MAX such answers; a negative
 * errno: it has ended. */
void hold_release(struct hold *hold, uint64_t id, uint32_t device);
int hold_released(struct hold *hold, struct held_item ret[static HELD_MAX]);

/* Sends what was put and dropped. */
void hold_flush(struct hold *hold);

#endif
