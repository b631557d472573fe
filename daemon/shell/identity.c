/* SPDX-License-Identifier: MIT
 *
 * identity.c -- see identity.h.
 */
#include "identity.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "owner.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Linux 6.13, as the kernel numbers them: what a pidfd says of its process. */
struct pidfd_facts {
        uint64_t mask, cgroup;
        uint32_t pid, tgid, ppid, ids[8], reserved;
};
#define PIDFD_FACTS        _IOWR(0xFF, 11, struct pidfd_facts)
#define PIDFD_FACTS_CGROUP (UINT64_C(1) << 2)
#define TEXT_SIZE          (CGROUP_PATH_MAX + 4096u) /* of a file in /proc/PID; cgroup has a line a hierarchy */
#define MOVES_MAX          3u                        /* how often a process may move while it is looked at */
_Static_assert(sizeof(struct pidfd_facts) == 64, "the first version of it");

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

/* ---- the process ---- */

static int process_read(pid_t pid, const char *file, char text[static TEXT_SIZE])
{
        _cleanup_fd_ int fd = -1;
        size_t used = 0;
        char path[64];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        do
                fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        while (fd < 0 && errno == EINTR);
        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        do {
                n = read(fd, text + used, TEXT_SIZE - 1 - used);
                used += n > 0 ? (size_t)n : 0;
        } while ((n > 0 && used < TEXT_SIZE - 1) || (n < 0 && errno == EINTR));
        text[used] = '\0';
        return n < 0 ? -errno : 0;
}

uint64_t identity_now(void)
{
        const uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
        struct timespec now;

        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * ticks + (uint64_t)now.tv_nsec * ticks / 1000000000u;
}

/* When the process started, in ticks since boot: the 22nd field. The second is its name, which may hold anything. */
static int process_start(pid_t pid, uint64_t *ret)
{
        char text[TEXT_SIZE], *at;
        int r = process_read(pid, "stat", text);

        if (r < 0)
                return r;
        at = strrchr(text, ')');
        for (unsigned field = 2; at && field < 22; field++)
                at = strchr(at + 1, ' ');
        if (!at)
                return -EIO;
        *ret = strtoull(at, NULL, 10);
        return 0;
}

/* 0; -ESRCH: it has ended. */
static int pidfd_check_alive(int pidfd)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, 0);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r > 0 ? -ESRCH : 0;
}

/* What became of reading a file of the process, once that is seen alive. The file of one that lives is missing only
 * where /proc is mounted so that others are not seen. */
static int process_read_while(int pidfd, int r)
{
        const int alive = pidfd_check_alive(pidfd);

        return alive < 0 ? alive : r == -ESRCH ? -EACCES : r;
}

/* Before Linux 6.5: see identity.h. The number is the process's for as long as that lives, so what is read before it is
 * seen alive is its own. */
static int pidfd_by_number(pid_t pid, uint64_t now)
{
        _cleanup_fd_ int pidfd = -1;
        uint64_t start = 0;
        int r;

        if (pid <= 0)
                return -ESRCH;
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0)
                return -errno;
        r = process_read_while(pidfd, process_start(pid, &start));
        if (r < 0)
                return r;
        return start > now ? -ESRCH : TAKE_FD(pidfd);
}

/* The process at the other end, as the kernel noted it when it connected. */
static int pidfd_of_socket(int fd, pid_t pid, uint64_t now)
{
        int pidfd = -1;
        socklen_t size = sizeof(pidfd);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
                return pidfd;
        if (errno == ENOPROTOOPT)
                return pidfd_by_number(pid, now);
        return errno == EINVAL ? -ESRCH : -errno; /* some kernels call it so */
}

int identity_process(int fd, pid_t pid, uint64_t now)
{
        return pidfd_of_socket(fd, pid, now);
}

int identity_process_by_number(pid_t pid, uint64_t now)
{
        return pidfd_by_number(pid, now);
}

int identity_kill(int fd, pid_t pid, uint64_t now)
{
        _cleanup_fd_ int pidfd = pidfd_of_socket(fd, pid, now);

        if (pidfd < 0)
                return pidfd;
        return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

/* ---- its cgroup ---- */

/* The number of its cgroup, 0 where the kernel does not tell it. -ESRCH: it has ended. */
static int pidfd_cgroup_number(int pidfd, uint64_t *ret)
{
        struct pidfd_facts facts = { .mask = PIDFD_FACTS_CGROUP };
        bool told = ioctl(pidfd, PIDFD_FACTS, &facts) == 0 && (facts.mask & PIDFD_FACTS_CGROUP);

        int r = pidfd_check_alive(pidfd);

        if (r == 0)
                *ret = told ? facts.cgroup : 0;
        return r;
}

/* The path is read by the process's number, which is its own as long as it lives, so it has to live afterwards. One
 * that moved meanwhile is looked at again: the path is that of the cgroup which it was in before and after. */
static int pidfd_cgroup(int pidfd, pid_t pid, char **ret)
{
        char text[TEXT_SIZE], path[CGROUP_PATH_MAX];
        uint64_t before = 0, after = 1;
        int r = 0;

        if (pid <= 0)
                return -ESRCH;
        for (unsigned i = 0; i < MOVES_MAX && before != after; i++) {
                r = pidfd_cgroup_number(pidfd, &before);
                if (r == 0)
                        r = process_read_while(pidfd, process_read(pid, "cgroup", text));
                if (r == 0)
                        r = pidfd_cgroup_number(pidfd, &after);
                if (r < 0)
                        return r;
        }
        if (before != after)
                return -EAGAIN;
        r = cgroup_path_from_text(text, path, sizeof(path));
        if (r < 0)
                return r;
        *ret = strdup(path);
        return *ret ? 0 : -ENOMEM;
}

int identity_cgroup(int fd, pid_t pid, uint64_t now, char **ret)
{
        _cleanup_fd_ int pidfd = pidfd_of_socket(fd, pid, now);

        assert(ret);

        return pidfd < 0 ? pidfd : pidfd_cgroup(pidfd, pid, ret);
}

int identity_cgroup_by_number(pid_t pid, uint64_t now, char **ret)
{
        _cleanup_fd_ int pidfd = pidfd_by_number(pid, now);

        assert(ret);

        return pidfd < 0 ? pidfd : pidfd_cgroup(pidfd, pid, ret);
}

/* NSpid: has a number for each pid namespace from ours down to its own. It stands behind the groups, of which there may
 * be more than we read: who has so many is not told apart from who wants to hide. */
static bool text_is_nested(const char *text)
{
        const char *line = strstr(text, "\nNSpid:");

        if (!line)
                return true;
        line += strlen("\nNSpid:");
        line += strspn(line, "\t ");
        line += strcspn(line, "\t\n");
        return *line == '\t';
}

int identity_contained(int fd, pid_t pid, uint64_t now, bool *ret)
{
        _cleanup_fd_ int pidfd = -1;
        char text[TEXT_SIZE];
        int r;

        assert(ret);

        if (pid <= 0) { /* it has no number here: it is outside of our own namespace, or in another's container */
                *ret = true;
                return 0;
        }
        pidfd = pidfd_of_socket(fd, pid, now);
        if (pidfd < 0)
                return pidfd;
        r = process_read(pid, "status", text);
        /* Where /proc is mounted so that others are not seen, nobody is told apart. */
        if (r == 0 || r == -ESRCH || r == -EACCES) {
                const bool nested = r == 0 && text_is_nested(text);

                r = pidfd_check_alive(pidfd);
                if (r == 0)
                        *ret = nested;
        }
        return r;
}

bool identity_is_nowhere(int error, pid_t pid)
{
        return error == -ENOENT || (error == -ESRCH && pid <= 0);
}

bool identity_is_for_lack(int error)
{
        return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

/* ---- whose it is ---- */

bool identity_has_group(const struct identity *identity, gid_t group)
{
        if (identity->gid == group)
                return true;
        for (uint32_t i = 0; i < identity->n_groups; i++)
                if (identity->groups[i] == group)
                        return true;
        return false;
}

static bool match_fits(const struct config_match *match, const struct identity *identity)
{
        switch (match->kind) {
        case CONFIG_MATCH_ANY:
                return true;
        case CONFIG_MATCH_UID:
                return identity->uid == match->id;
        case CONFIG_MATCH_GID:
                return identity_has_group(identity, match->id);
        case CONFIG_MATCH_UNIT:
                return identity->cgroup && cgroup_in_unit(identity->cgroup, match->id, match->text);
        case CONFIG_MATCH_SLICE:
                return identity->cgroup && cgroup_in_slice(identity->cgroup, match->id, match->text);
        case CONFIG_MATCH_CGROUP:
                return identity->cgroup && cgroup_in_group(identity->cgroup, match->text);
        }
        return false;
}

bool identity_matches(const struct identity *identity, const struct config_tenant *tenant)
{
        assert(identity && tenant);

        for (uint32_t i = 0; i < tenant->n_matches; i++)
                if (match_fits(&tenant->matches[i], identity))
                        return true;
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
