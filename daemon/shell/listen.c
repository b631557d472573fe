/* SPDX-License-Identifier: MIT
 *
 * listen.c -- see listen.h.
 *
 * Of two daemons for one path the second must fail and leave the first alone, and a socket that a killed daemon left
 * behind must not be in the way. A lock on a file beside the socket decides; it goes with the process, however that
 * ends.
 */
#include "listen.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "owner.h"

int listen_path(char path[LISTEN_PATH_MAX], char *error, size_t error_size)
{
        const char *given = getenv("KVPAGER_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
        char buffer[512];
        int n;

        assert(path && error);

        if (given && *given) {
                n = snprintf(buffer, sizeof(buffer), "%s", given);
        } else if (geteuid() == 0 || getenv("RUNTIME_DIRECTORY")) {
                n = snprintf(buffer, sizeof(buffer), "%s", LISTEN_SYSTEM_PATH);
        } else if (runtime && *runtime) {
                n = snprintf(buffer, sizeof(buffer), "%s/kvpager/kvpager.sock", runtime);
        } else {
                (void)snprintf(error, error_size,
                               "no place for the socket: set KVPAGER_SOCKET to a path, or XDG_RUNTIME_DIR to a folder");
                return -ENOENT;
        }
        if (n >= LISTEN_PATH_MAX) {
                (void)snprintf(
                        error, error_size,
                        "the socket's path has %d bytes and may have %d: %.200s; set KVPAGER_SOCKET to a shorter one",
                        n, LISTEN_PATH_MAX - 1, buffer);
                return -ENAMETOOLONG;
        }
        memcpy(path, buffer, (size_t)n + 1);
        return 0;
}

/* Each connection has it from the listener, from connect() on. Before Linux 6.16 there is no such option: see
 * remains.h.
 */
static void listen_refuse_descriptors(int fd)
{
        const int off = 0;

        (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

/* A socket that systemd holds for us. 0: there is none. */
static int listen_activated(struct listener *listener, char *error, size_t error_size)
{
        struct sockaddr_un address = { 0 };
        socklen_t size = sizeof(address);
        int n = sd_listen_fds(1);

        if (n == 0)
                return 0;
        if (n != 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
                (void)snprintf(error, error_size,
                               "activated with %d descriptors: there must be one, a listening unix socket of type "
                               "SOCK_SEQPACKET (ListenSequentialPacket= in kvpagerd.socket)",
                               n);
                return -EINVAL;
        }
        if (getsockname(SD_LISTEN_FDS_START, (struct sockaddr *)&address, &size) == 0)
                (void)snprintf(listener->path, sizeof(listener->path), "%.*s", (int)sizeof(address.sun_path),
                               address.sun_path);
        if (fcntl(SD_LISTEN_FDS_START, F_SETFL, O_NONBLOCK) < 0 ||
            fcntl(SD_LISTEN_FDS_START, F_SETFD, FD_CLOEXEC) < 0) {
                (void)snprintf(error, error_size, "the activated socket cannot be set up: %s", strerror(errno));
                return -errno;
        }
        listen_refuse_descriptors(SD_LISTEN_FDS_START);
        listener->fd = SD_LISTEN_FDS_START;
        listener->activated = true;
        return 1;
}

static int listen_make_folder(const char *path, char *error, size_t error_size)
{
        char folder[LISTEN_PATH_MAX];
        char *slash;

        (void)snprintf(folder, sizeof(folder), "%s", path);
        slash = strrchr(folder, '/');
        if (!slash || slash == folder)
                return 0;
        *slash = '\0';
        if (mkdir(folder, 0755) < 0 && errno != EEXIST) {
                (void)snprintf(error, error_size,
                               "the socket's folder %s cannot be made: %s; make it, or set KVPAGER_SOCKET", folder,
                               strerror(errno));
                return -errno;
        }
        return 0;
}

/* The pid that the lock's holder wrote into it; 0: unknown. */
static int listen_lock_owner(int fd)
{
        char text[32] = "";

        return pread(fd, text, sizeof(text) - 1, 0) > 0 ? (int)strtol(text, NULL, 10) : 0;
}

static int listen_complain_of_lock(const struct listener *listener, int fd, int why, char *error, size_t error_size)
{
        if (why != EWOULDBLOCK) {
                (void)snprintf(error, error_size, "the lock %s cannot be taken: %s", listener->lock_path,
                               strerror(why));
                return -why;
        }
        (void)snprintf(error, error_size,
                       "another kvpagerd (pid %d) serves %s: stop it, or set KVPAGER_SOCKET to another path",
                       listen_lock_owner(fd), listener->path);
        return -EADDRINUSE;
}

/* A lock file may be removed by its holder between our open() and flock(): then it is not the file of that name any
 * more. */
static int listen_lock(struct listener *listener, char *error, size_t error_size)
{
        for (int attempt = 0; attempt < 16; attempt++) {
                _cleanup_fd_ int fd = open(listener->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                struct stat ours, theirs;

                if (fd < 0) {
                        int r = -errno;

                        if (r == -EINTR)
                                continue;
                        (void)snprintf(error, error_size, "the lock %s cannot be made: %s; is the folder ours?",
                                       listener->lock_path, strerror(-r));
                        return r;
                }
                if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                        if (errno == EINTR)
                                continue;
                        return listen_complain_of_lock(listener, fd, errno, error, error_size);
                }
                if (fstat(fd, &ours) < 0 || stat(listener->lock_path, &theirs) < 0 || ours.st_ino != theirs.st_ino ||
                    ours.st_dev != theirs.st_dev)
                        continue;
                if (ftruncate(fd, 0) == 0)
                        (void)dprintf(fd, "%d\n", (int)getpid());
                listener->lock_fd = TAKE_FD(fd);
                return 0;
        }
        (void)snprintf(error, error_size, "the lock %s is taken away all the time", listener->lock_path);
        return -EBUSY;
}

/* 0: nobody listens at this socket; 1: somebody does. */
static int listen_probe(const struct sockaddr_un *address)
{
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r;

        if (fd < 0)
                return -errno;
        do
                r = connect(fd, (const struct sockaddr *)address, sizeof(*address));
        while (r < 0 && errno == EINTR);
        if (r == 0 || errno == EAGAIN || errno == EPROTOTYPE)
                return 1;
        return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* Takes away a socket that nobody listens at; leaves anything else. We hold the lock, but a daemon that systemd started
 * has none. */
static int listen_remove_stale(const char *path, const struct sockaddr_un *address, char *error, size_t error_size)
{
        struct stat st;
        int r;

        if (lstat(path, &st) < 0) /* where there is something all the same, bind() finds it */
                return 0;
        if (!S_ISSOCK(st.st_mode)) {
                (void)snprintf(error, error_size, "%s exists and is no socket: take it away, or set KVPAGER_SOCKET",
                               path);
                return -EEXIST;
        }
        r = listen_probe(address);
        if (r < 0) {
                (void)snprintf(error, error_size, "%s is there, and whether anybody serves it cannot be told: %s", path,
                               strerror(-r));
                return r;
        }
        if (r > 0) {
                (void)snprintf(error, error_size,
                               "another program serves %s: stop it, or set KVPAGER_SOCKET to another path", path);
                return -EADDRINUSE;
        }
        (void)unlink(path);
        return 0;
}

static int listen_bind(struct listener *listener, mode_t mode, gid_t group, char *error, size_t error_size)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_fd_ int fd = -1;
        mode_t before;
        int r;

        memcpy(address.sun_path, listener->path, strlen(listener->path));
        r = listen_remove_stale(listener->path, &address, error, error_size);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                r = -errno;
        else
                listen_refuse_descriptors(fd);
        /* Nobody gets in before mode and group are right. */
        before = umask(0777);
        if (r == 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                r = -errno;
        (void)umask(before);
        if (r < 0) {
                (void)snprintf(error, error_size, "%s cannot be bound: %s; may this user write to the folder?",
                               listener->path, strerror(-r));
                return r;
        }
        if ((group != (gid_t)-1 && chown(listener->path, (uid_t)-1, group) < 0) || chmod(listener->path, mode) < 0 ||
            listen(fd, LISTEN_BACKLOG) < 0) {
                r = -errno;
                (void)snprintf(error, error_size, "%s cannot be given its mode and group: %s", listener->path,
                               strerror(-r));
                (void)unlink(listener->path);
                return r;
        }
        listener->fd = TAKE_FD(fd);
        return 0;
}

int listen_open(struct listener *listener, mode_t mode, gid_t group, char *error, size_t error_size)
{
        int r;

        assert(listener && error);

        *listener = (struct listener){ .fd = -1, .lock_fd = -1 };
        error[0] = '\0';
        r = listen_activated(listener, error, error_size);
        if (r != 0)
                return r < 0 ? r : 0;
        r = listen_path(listener->path, error, error_size);
        if (r == 0)
                r = listen_make_folder(listener->path, error, error_size);
        if (r < 0)
                return r;
        (void)snprintf(listener->lock_path, sizeof(listener->lock_path), "%s.lock", listener->path);
        r = listen_lock(listener, error, error_size);
        if (r == 0)
                r = listen_bind(listener, mode, group, error, error_size);
        if (r < 0)
                listen_close(listener);
        return r;
}

void listen_close(struct listener *listener)
{
        assert(listener);

        if (listener->fd >= 0 && !listener->activated)
                (void)unlink(listener->path);
        if (listener->lock_fd >= 0)
                (void)unlink(listener->lock_path); /* while it is still ours */
        listener->lock_fd = fd_close(listener->lock_fd);
        listener->fd = fd_close(listener->fd); /* last: it may take long, with what was sent and never accepted */
}
