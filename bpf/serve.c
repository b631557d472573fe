/* SPDX-License-Identifier: MIT
 *
 * serve.c -- the service's figures for who asks: a connection gets the snapshot as JSON and is closed.
 *
 * So `kvpager-observe --json` beside the service shows what the service has counted since it started, and no program is
 * loaded a second time. The socket is for those who may see all of it: its owner and group.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "observer.h"

#define SERVE_DEFAULT      "/run/kvpager-observe/observe.sock"
#define SERVE_PATIENCE_SEC 5

const char *serve_path(void)
{
        const char *path = getenv("KVPAGER_OBSERVE_SOCKET");

        return path && *path ? path : SERVE_DEFAULT;
}

static int address_of(const char *path, struct sockaddr_un *ret)
{
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        memcpy(ret->sun_path, path, strlen(path));
        return 0;
}

/* Who does not read for some seconds gets a part of it, which is no JSON. */
static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        const struct timeval patience = { .tv_sec = SERVE_PATIENCE_SEC };
        const int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        json_t *snapshot;

        (void)source;
        (void)events;
        if (client < 0)
                return 0;
        (void)setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        snapshot = observer_json(userdata);
        if (snapshot)
                (void)json_dumpfd(snapshot, client, JSON_COMPACT);
        json_decref(snapshot);
        (void)close(client);
        return 0;
}

/* Takes away the socket of one that was killed; leaves one that somebody listens at, and whatever is no socket. */
static int remove_stale(const struct sockaddr_un *address)
{
        struct stat st;
        int fd, r = 0;

        if (lstat(address->sun_path, &st) < 0) /* where there is something all the same, bind() finds it */
                return 0;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN ||
            errno == EPROTOTYPE)
                r = -EADDRINUSE;
        else if (errno != ECONNREFUSED && errno != ENOENT)
                r = -errno;
        else
                (void)unlink(address->sun_path);
        (void)close(fd);
        return r;
}

int serve_open(struct observer *o)
{
        struct sockaddr_un address;
        int fd, r = address_of(serve_path(), &address);

        if (r >= 0)
                r = remove_stale(&address);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        (void)umask(0117);
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
                r = -errno;
        if (r == 0)
                r = sd_event_add_io(o->event, &o->serve.listening, fd, EPOLLIN, on_connection, o);
        if (r < 0) {
                (void)close(fd);
                return r;
        }
        (void)sd_event_source_set_io_fd_own(o->serve.listening, 1);
        memcpy(o->serve.path, address.sun_path, sizeof(o->serve.path));
        return 0;
}

void serve_close(struct observer *o)
{
        if (o->serve.listening)
                (void)unlink(o->serve.path);
        o->serve.listening = sd_event_source_disable_unref(o->serve.listening);
}

json_t *serve_ask(void)
{
        const struct timeval patience = { .tv_sec = SERVE_PATIENCE_SEC };
        struct sockaddr_un address;
        json_t *snapshot = NULL;
        int fd;

        if (address_of(serve_path(), &address) < 0)
                return NULL;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return NULL;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
                snapshot = json_loadfd(fd, 0, NULL);
        (void)close(fd);
        return snapshot;
}
