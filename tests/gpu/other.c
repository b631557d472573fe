/* SPDX-License-Identifier: MIT
 *
 * other.c -- see other.h.
 */
#include "other.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

bool other_start(struct other *other, const char *role, uint64_t bytes)
{
        char text[32];
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return false;
        (void)snprintf(text, sizeof(text), "%ju", (uintmax_t)bytes);
        other->pid = fork();
        if (other->pid == 0) {
                (void)dup2(fds[1], OTHER_SOCKET);
                if (fds[1] == OTHER_SOCKET)
                        (void)fcntl(OTHER_SOCKET, F_SETFD, 0);
                (void)execl("/proc/self/exe", "gpu-probe", role, text, (char *)NULL);
                _exit(127);
        }
        (void)close(fds[1]);
        other->socket = fds[0];
        return other->pid > 0;
}

bool other_hear(struct other *other, int *ret_fd)
{
        char byte, control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { &byte, 1 };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
        };
        struct pollfd pollfd = { .fd = other->socket, .events = POLLIN };
        struct cmsghdr *c;

        *ret_fd = -1;
        if (poll(&pollfd, 1, 30000) != 1 || recvmsg(other->socket, &message, MSG_CMSG_CLOEXEC) != 1)
                return false;
        c = CMSG_FIRSTHDR(&message);
        if (c && c->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
        return true;
}

void other_say(int fd)
{
        char byte = 'x', control[CMSG_SPACE(sizeof(int))] = { 0 };
        struct iovec iov = { &byte, 1 };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        struct cmsghdr *c;

        if (fd >= 0) {
                message.msg_control = control;
                message.msg_controllen = sizeof(control);
                c = CMSG_FIRSTHDR(&message);
                *c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
                                       .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS };
                memcpy(CMSG_DATA(c), &fd, sizeof(int));
        }
        (void)sendmsg(OTHER_SOCKET, &message, MSG_NOSIGNAL);
}

void other_kill(struct other *other)
{
        (void)kill(other->pid, SIGKILL);
        (void)waitpid(other->pid, NULL, 0);
        (void)close(other->socket);
}
