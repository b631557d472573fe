/* SPDX-License-Identifier: MIT
 *
 * identity.h -- who is at the other end of a socket, by the kernel's word, and which tenant that is.
 *
 * User, groups and process are those that connected: the kernel keeps them with the connection, whoever has its socket
 * since. Where the process stands in the cgroup tree is asked when the connection is accepted, of that very process: by
 * the descriptor that the kernel gives out for it (Linux 6.5), which no other process can come to stand behind.
 *
 * Before Linux 6.5 the process is found by its number, and one that started after we accepted the connection is told
 * apart by its start time. What is left is this: between connect() and accept() the process ends while another holds
 * its socket, and its number is given out anew. The process that got it is then taken for the one that connected.
 */
#ifndef SHELL_IDENTITY_H
#define SHELL_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"

#define IDENTITY_MAX_GROUPS 256u /* of a process with more, the first so many count */

struct identity {
        pid_t pid; /* 0: of a pid namespace that we do not see */
        uid_t uid;
        gid_t gid;
        uint32_t n_groups; /* supplementary */
        gid_t groups[IDENTITY_MAX_GROUPS];
        const char *cgroup; /* NULL: not known, or not asked for; the caller's */
};

/* The credentials that the peer had when it connected; `cgroup` is left for the caller to fill in. */
int identity_of_socket(int fd, struct identity *ret);

/* The cgroup of the process that connected, as a path of the unified hierarchy. `now` is identity_now() of when it was
 * accepted. -ESRCH: the process has ended, or is of a pid namespace that we do not see; -ENOENT: it has none that we
 * see; -EAGAIN: it moves all the time; other negative errno: the kernel does not say. Free with free(). */
int identity_cgroup(int fd, pid_t pid, uint64_t now, char **ret);

/* The same by the process's number alone, as before Linux 6.5. */
int identity_cgroup_by_number(pid_t pid, uint64_t now, char **ret);

/* Whether the process that connected is in a container, or outside of ours: its pid namespace is not our own. Root of
 * there, and any group, may be what an image says. -ESRCH: it has ended. */
int identity_contained(int fd, pid_t pid, uint64_t now, bool *ret);

/* Whether that error says that there is no cgroup which a rule could mean. After any other the process may well be in
 * one, and must not be taken for somebody who is not. */
bool identity_is_nowhere(int error, pid_t pid);

/* Whether it could not be told for lack of memory or descriptors: then it is not to be taken for one that has none. */
bool identity_is_for_lack(int error);

/* The present, in ticks since boot, as processes' start times are. */
uint64_t identity_now(void);

/* A descriptor of the process that connected, readable once that has ended, whoever has its socket then. -ESRCH: it has
 * ended, or is of a pid namespace that we do not see. The caller's to close. */
int identity_process(int fd, pid_t pid, uint64_t now);

/* The same of a process that connected before `now`, by its number alone. */
int identity_process_by_number(pid_t pid, uint64_t now);

/* Sends SIGKILL to the process that connected, whatever shares its socket now. */
int identity_kill(int fd, pid_t pid, uint64_t now);

bool identity_has_group(const struct identity *identity, gid_t group);
bool identity_matches(const struct identity *identity, const struct config_tenant *tenant);

/* The index in `config` of the first tenant that matches, of that name where `name` is not empty. -ESRCH: none of that
 * name matches; -EACCES: none matches at all. */
int identity_find_tenant(const struct identity *identity, const struct config *config, const char *name);

#endif
