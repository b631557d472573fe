/* SPDX-License-Identifier: MIT
 *
 * floor.c -- see floor.h. It includes no header of kvpager's, and is to stay so.
 */
#include "floor.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define POOL_SIZE 4096u

enum { FLOOR_GRANT, FLOOR_PREPARE, FLOOR_RETURN };

struct message {
        uint32_t what, n;
        uint64_t bytes;
};

union control {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * FLOOR_MAX_FDS)];
};

static int pool[POOL_SIZE];
static unsigned pool_made, pool_left;
static size_t pool_bytes;

static void need(int truth, const char *what)
{
        if (truth)
                return;
        (void)fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
        _exit(1);
}

/* ---- the server ---- */

/* As many as kvpagerd keeps, and the newest is taken first, as there: a memfd of a small pool would still be in the
 * cache. */
static void pool_make(unsigned n, size_t bytes)
{
        need(n <= POOL_SIZE, "too many memfds");
        if (n <= pool_left && bytes == pool_bytes)
                return;
        for (unsigned i = 0; i < pool_made; i++)
                (void)close(pool[i]);
        for (unsigned i = 0; i < POOL_SIZE; i++) {
                pool[i] = memfd_create("floor", MFD_CLOEXEC);
                need(pool[i] >= 0 && ftruncate(pool[i], (off_t)bytes) == 0, "memfd_create");
        }
        pool_made = pool_left = POOL_SIZE;
        pool_bytes = bytes;
}

static void send_fds(int socket, unsigned n)
{
        union control control;
        struct message reply = { .n = n };
        struct iovec iov = { .iov_base = &reply, .iov_len = sizeof(reply) };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(sizeof(int) * n)
        };

        need(n <= pool_left, "nothing was prepared");
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * n);
        pool_left -= n;
        memcpy(CMSG_DATA(&control.header), pool + pool_left, sizeof(int) * n);
        need(sendmsg(socket, &message, MSG_NOSIGNAL) >= 0, "sendmsg");
}

/* 0: the client is gone. */
static int serve(int socket)
{
        struct message request;

        if (recv(socket, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
                return 0;
        if (request.what == FLOOR_GRANT) {
                send_fds(socket, request.n);
        } else if (request.what == FLOOR_PREPARE) {
                pool_make(request.n, request.bytes);
                need(send(socket, &request, sizeof(request), MSG_NOSIGNAL) >= 0, "send");
        }
        return 1;
}

static _Noreturn void serve_many(const int *sockets, unsigned n)
{
        const int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event events[64];

        for (unsigned i = 0; i < n; i++) {
                struct epoll_event event = { .events = EPOLLIN, .data.fd = sockets[i] };

                need(epoll_ctl(epoll, EPOLL_CTL_ADD, sockets[i], &event) == 0, "epoll_ctl");
        }
        for (unsigned left = n; left > 0;) {
                const int count = epoll_wait(epoll, events, 64, -1);

                need(count >= 0 || errno == EINTR, "epoll_wait");
                for (int i = 0; i < count; i++)
                        if (!serve(events[i].data.fd)) {
                                (void)close(events[i].data.fd);
                                left--;
                        }
        }
        _exit(0);
}

pid_t floor_start(unsigned n, int *ret_sockets)
{
        int theirs[256];
        pid_t pid;

        need(n <= 256, "too many clients");
        for (unsigned i = 0; i < n; i++) {
                int pair[2];

                need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
                ret_sockets[i] = pair[0];
                theirs[i] = pair[1];
        }
        (void)fflush(stdout);
        pid = fork();
        need(pid >= 0, "fork");
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (unsigned i = 0; i < n; i++)
                        (void)close(ret_sockets[i]);
                if (n > 1)
                        serve_many(theirs, n);
                while (serve(theirs[0]))
                        ;
                _exit(0);
        }
        for (unsigned i = 0; i < n; i++)
                (void)close(theirs[i]);
        return pid;
}

/* ---- the client ---- */

void floor_prepare(int socket, unsigned n, size_t bytes)
{
        struct message message = { .what = FLOOR_PREPARE, .n = n, .bytes = bytes };

        need(send(socket, &message, sizeof(message), 0) >= 0, "send");
        need(recv(socket, &message, sizeof(message), 0) > 0, "recv");
}

void *floor_reserve(size_t bytes)
{
        void *address = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        need(address != MAP_FAILED, "mmap");
        return address;
}

void floor_grant(int socket, const struct iovec *places, unsigned n)
{
        union control control;
        struct message request = { .what = FLOOR_GRANT, .n = n };
        struct iovec iov = { .iov_base = &request, .iov_len = sizeof(request) };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(sizeof(int) * n)
        };
        int fds[FLOOR_MAX_FDS];

        need(send(socket, &request, sizeof(request), 0) >= 0, "send");
        need(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) >= 0, "recvmsg");
        memcpy(fds, CMSG_DATA(&control.header), sizeof(int) * n);
        for (unsigned i = 0; i < n; i++)
                need(mmap(places[i].iov_base, places[i].iov_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fds[i],
                          0) != MAP_FAILED,
                     "mmap");
        if (n > 1 && fds[n - 1] == fds[0] + (int)n - 1)
                need(close_range((unsigned)fds[0], (unsigned)fds[n - 1], 0) == 0, "close_range");
        else
                for (unsigned i = 0; i < n; i++)
                        (void)close(fds[i]);
}

int floor_create(size_t bytes)
{
        const int fd = memfd_create("floor", MFD_CLOEXEC);

        need(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "memfd_create");
        return fd;
}

void floor_map(int fd, void *address, size_t bytes)
{
        need(mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED, "mmap");
}

void floor_destroy(int fd)
{
        need(ftruncate(fd, 0) == 0 && close(fd) == 0, "ftruncate");
}

void floor_forget(void *address, size_t bytes)
{
        need(mmap(address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) !=
                     MAP_FAILED,
             "mmap");
}

void floor_return(int socket, void *address, size_t bytes)
{
        const struct message message = { .what = FLOOR_RETURN, .n = 1 };

        floor_forget(address, bytes);
        need(send(socket, &message, sizeof(message), 0) >= 0, "send");
}

/* ---- a client that is new ---- */

static struct sockaddr_un address_of(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        need(strlen(path) < sizeof(address.sun_path), "a path that is too long");
        (void)strcpy(address.sun_path, path);
        return address;
}

void floor_listen(const char *path, unsigned n, size_t bytes)
{
        const struct sockaddr_un address = address_of(path);
        const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        pid_t pid;

        need(listener >= 0 && bind(listener, (const void *)&address, sizeof(address)) == 0 && listen(listener, 16) == 0,
             "listen");
        (void)fflush(stdout);
        pid = fork();
        need(pid >= 0, "fork");
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                pool_make(n, bytes);
                for (;;) {
                        const int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

                        need(client >= 0, "accept");
                        while (serve(client))
                                ;
                        (void)close(client);
                }
        }
        (void)close(listener);
}

void *floor_attach(const char *path, size_t bytes)
{
        const struct sockaddr_un address = address_of(path);
        const int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        void *base;

        need(client >= 0 && connect(client, (const void *)&address, sizeof(address)) == 0, "connect");
        base = floor_reserve(bytes);
        floor_grant(client, &(struct iovec){ .iov_base = base, .iov_len = bytes }, 1);
        return base;
}
