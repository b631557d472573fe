/* SPDX-License-Identifier: MIT
 *
 * identity.c -- see identity.h.
 */
#include "identity.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "owner.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A process may have up to 65,536 groups; the kernel says how long its list is where ours is too short. */
static int identity_groups(int fd, struct identity *identity)
{
        _cleanup_(cleanup_free) gid_t *all = NULL;
        socklen_t size = sizeof(identity->groups);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, identity->groups, &size) < 0) {
                if (errno != ERANGE)
                        return -errno;
                all = malloc(size);
                if (!all)
                        return -ENOMEM;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &size) < 0)
                        return -errno;
                memcpy(identity->groups, all, sizeof(identity->groups));
                size = sizeof(identity->groups);
        }
        identity->n_groups = (uint32_t)(size / sizeof(gid_t));
        return 0;
}

/* The process at the other end, as the kernel noted it when it connected. Before Linux 6.5 found by its number: should it have
 * ended and its number been given to another process since, that one would be meant; the connection of a process that ended is
 * at its end as well, so there is next to no time for it. */
static int identity_pidfd(int fd, pid_t pid)
{
        int pidfd = -1;
        socklen_t size = sizeof(pidfd);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
                return pidfd;
        if (errno != ENOPROTOOPT)
                return -errno;
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        return pidfd < 0 ? -errno : pidfd;
}

int identity_kill(int fd, pid_t pid)
{
        _cleanup_fd_ int pidfd = identity_pidfd(fd, pid);

        if (pidfd < 0)
                return pidfd;
        return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

int identity_of_socket(int fd, struct identity *ret)
{
        struct identity identity = { 0 };
        struct ucred credentials;
        socklen_t size = sizeof(credentials);
        int r;

        assert(fd >= 0 && ret);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        identity.pid = credentials.pid;
        identity.uid = credentials.uid;
        identity.gid = credentials.gid;
        r = identity_groups(fd, &identity);
        if (r < 0)
                return r;
        *ret = identity;
        return 0;
}

static bool identity_has_group(const struct identity *identity, gid_t group)
{
        if (identity->gid == group)
                return true;
        for (uint32_t i = 0; i < identity->n_groups; i++)
                if (identity->groups[i] == group)
                        return true;
        return false;
}

bool identity_matches(const struct identity *identity, const struct config_tenant *tenant)
{
        assert(identity && tenant);

        for (uint32_t i = 0; i < tenant->n_matches; i++)
                switch (tenant->matches[i].kind) {
                case CONFIG_MATCH_ANY:
                        return true;
                case CONFIG_MATCH_UID:
                        if (identity->uid == tenant->matches[i].id)
                                return true;
                        break;
                case CONFIG_MATCH_GID:
                        if (identity_has_group(identity, tenant->matches[i].id))
                                return true;
                        break;
                }
        return false;
}

int identity_find_tenant(const struct identity *identity, const struct config *config, const char *name)
{
        assert(identity && config && name);

        for (uint32_t i = 0; i < config->n_tenants; i++)
                if ((!*name || strcmp(name, config->tenants[i].name) == 0) &&
                    identity_matches(identity, &config->tenants[i]))
                        return (int)i;
        return *name ? -ESRCH : -EACCES;
}
