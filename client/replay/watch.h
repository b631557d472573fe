/* SPDX-License-Identifier: MIT
 *
 * watch.h -- what the daemon says that each tenant is charged for, while all of them would like more.
 *
 * Looked at as kvpagerctl would, in the daemon's own list, while every tenant has requests that wait and the device is
 * full: the mean over that time shows whether memory is shared by weights. The first second is left out: who came first
 * has filled the device, and gives way.
 */
#ifndef KVPAGER_REPLAY_WATCH_H
#define KVPAGER_REPLAY_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "complaint.h"

struct ctl_link;

struct watch {
        struct ctl_link *link;
        const char (*names)[16]; /* of tenants */
        uint32_t n;
        uint64_t capacity;  /* bytes */
        bool hungry;        /* all were, when it was looked last */
        uint64_t now_usec;  /* of the last look */
        uint64_t full_usec; /* when the device was first full; 0: not yet */
        uint64_t *current;  /* bytes of each tenant then */
        double *sums;       /* bytes times seconds */
        double seconds;     /* in which all were hungry */
};

/* `names` and `path` must outlive it. `watch` is zeroed before; watch_close() is due whatever this returns. */
int watch_open(struct watch *watch, const char *path, const char (*names)[16], uint32_t n, uint64_t capacity,
               struct complaint *complaint);
void watch_close(struct watch *watch);

/* It is `now_usec`, and every tenant has requests that wait, or not. Looks at most every 20 ms of that clock. */
int watch_look(struct watch *watch, uint64_t now_usec, bool all_wait, struct complaint *complaint);

/* Bytes that the tenant was charged for, in the mean over the hungry time; 0 if there was none. */
double watch_mean(const struct watch *watch, uint32_t tenant);

#endif
