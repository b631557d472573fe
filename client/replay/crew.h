/* SPDX-License-Identifier: MIT
 *
 * crew.h -- the worker processes of a replay and the clock that they run by.
 *
 * On the virtual clock the worker whose engine is furthest behind runs, alone, until it has caught up with the next one
 * or has asked the daemon for memory; so the same trace takes the same memory at the same time in every run, but for a
 * page or two where workers reclaim from each other: who of two answers first decides whom the daemon asks next. On the
 * wall clock all run at once.
 *
 * No worker outlives its coordinator, and every wait ends: with a report, a death, a signal or a timeout.
 */
#ifndef KVPAGER_REPLAY_CREW_H
#define KVPAGER_REPLAY_CREW_H

#include <sys/types.h>

#include "complaint.h"
#include "timeline.h"
#include "watch.h"
#include "worker.h"

struct member {
        pid_t pid; /* 0: gone, and waited for */
        int fd;
        const char *tenant;
        struct report report; /* the last one */
};

/* What was seen of all workers of a tenant. */
struct crew_tenant {
        struct timeline live, idle;
        uint64_t peak_live_bytes;
};

struct crew {
        struct member *members;
        uint32_t n;
        struct crew_tenant *tenants; /* worker i is of tenant i modulo their number */
        uint32_t n_tenants;
        int signal_fd; /* SIGCHLD, SIGINT, SIGTERM */
        pid_t daemon;  /* whose death is ours; 0: not ours */
        bool show_progress;
        uint64_t n_requests, shown_usec;
        uint64_t capacity;           /* bytes; 0: not known */
        const struct bursts *bursts; /* NULL: none */
        struct watch *watch;         /* NULL: the daemon's list is not looked at */
        /* What was seen of all workers together. */
        uint64_t peak_live_bytes, peak_idle_bytes, end_usec;
        struct timeline live, idle;
};

/* Forks a worker for each setup, of n_tenants tenants, and waits until all are connected; sets each one's `fd`. On
 * failure the complaint names the worker; crew_clear() is still due. */
int crew_start(struct crew *crew, struct worker_setup *setups, uint32_t n, uint32_t n_tenants,
               struct complaint *complaint);

/* Runs all engines to the end. -EINTR: a signal asked to stop. */
int crew_run_virtual(struct crew *crew, struct complaint *complaint);
int crew_run_wall(struct crew *crew, struct complaint *complaint);

/* Has all workers give everything back and leave, and takes their last reports. */
int crew_end(struct crew *crew, struct complaint *complaint);

/* Ends what still lives. */
void crew_clear(struct crew *crew);

#endif
