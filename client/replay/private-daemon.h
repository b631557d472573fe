/* SPDX-License-Identifier: MIT
 *
 * private-daemon.h -- a kvpagerd of our own, for one replay. It leaves nothing behind, in no folder either, and ends
 * when the replay does, even by SIGKILL.
 */
#ifndef KVPAGER_REPLAY_PRIVATE_DAEMON_H
#define KVPAGER_REPLAY_PRIVATE_DAEMON_H

#include <stdint.h>
#include <sys/types.h>

#include "complaint.h"

struct private_daemon_tenant {
        uint32_t weight;    /* 0: the daemon's default */
        uint64_t min, most; /* bytes: its memory.min and memory.max; 0: none */
};

struct private_daemon_options {
        uint64_t capacity, page_size; /* bytes */
        uint32_t n_tenants;           /* t0, t1, ... */
        const struct private_daemon_tenant *tenants;
};

struct private_daemon {
        pid_t pid;             /* 0: none */
        int log_fd, socket_fd; /* -1: none */
        char socket_path[32];  /* for this process and those that it forks */
};

#define PRIVATE_DAEMON_NONE                                                                                            \
        {                                                                                                              \
                .log_fd = -1, .socket_fd = -1                                                                          \
        }

/* Starts it (from the folder of this program, else from $PATH) and waits until it says that it is ready. On failure the
 * complaint has its last words; private_daemon_stop() is still due. */
int private_daemon_start(const struct private_daemon_options *options, struct private_daemon *ret_daemon,
                         struct complaint *complaint);

/* Asks it to end and waits for it. -EIO: it did not end well. Does nothing where there is none. */
int private_daemon_stop(struct private_daemon *daemon, struct complaint *complaint);

#endif
