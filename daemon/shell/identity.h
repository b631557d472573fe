/* SPDX-License-Identifier: MIT
 *
 * identity.h -- who is at the other end of a socket, by the kernel's word, and which tenant that is.
 */
#ifndef SHELL_IDENTITY_H
#define SHELL_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"

#define IDENTITY_MAX_GROUPS 256u /* of a process with more, the first so many count */

struct identity {
        pid_t pid;
        uid_t uid;
        gid_t gid;
        uint32_t n_groups; /* supplementary */
        gid_t groups[IDENTITY_MAX_GROUPS];
};

/* The credentials that the peer had when it connected. */
int identity_of_socket(int fd, struct identity *ret);

/* Sends SIGKILL to the process that connected, whatever shares its socket now. */
int identity_kill(int fd, pid_t pid);

bool identity_matches(const struct identity *identity, const struct config_tenant *tenant);

/* The index in `config` of the first tenant that matches, of that name where `name` is not empty. -ESRCH: none of that
 * name matches; -EACCES: none matches at all. */
int identity_find_tenant(const struct identity *identity, const struct config *config, const char *name);

#endif
