/* SPDX-License-Identifier: MIT
 *
 * foreign-daemon.h -- a kvpagerd that was running before we came: what it has, and how much of it may be ours.
 */
#ifndef KVPAGER_REPLAY_FOREIGN_DAEMON_H
#define KVPAGER_REPLAY_FOREIGN_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "complaint.h"
#include "wire.h"

struct foreign_daemon {
        uint64_t page_size, capacity; /* of its first device */
        bool named;                   /* it has a tenant for us of each name; else all our workers are one tenant's */
};

/* Asks the daemon at $KVPAGER_SOCKET, over connections that are closed again. ret_limits[i] is what tenant i of
 * `names` (of which there are n) can ever hold, in bytes. */
int foreign_daemon_ask(const char (*names)[16], uint32_t n, struct foreign_daemon *ret_daemon, uint64_t *ret_limits,
                       struct complaint *complaint);

/* The most that tenant `name` can ever hold of a device of `capacity` bytes: its memory.max, and what the memory.min of
 * the other tenants, in whole pages, leaves. */
uint64_t foreign_daemon_limit(const struct wire_item_tenant *tenants, size_t n, const char *name, uint64_t capacity,
                              uint64_t page_size);

#endif
