/* SPDX-License-Identifier: MIT
 *
 * wrap.c -- the functions that enter the kernel.
 */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "wrap.h"

/* ---- memory ---- */

WRAP(void *, MAP_FAILED, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
WRAP(int, -1, munmap, (void *at, size_t size), (at, size))
WRAP(int, -1, mprotect, (void *at, size_t size, int protection), (at, size, protection))
WRAP(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, -1, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, -1, truncate, (const char *path, off_t size), (path, size))
WRAP(int, -1, fallocate, (int fd, int mode, off_t offset, off_t size), (fd, mode, offset, size))

/* ---- sockets ---- */

WRAP(int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, -1, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
WRAP(int, -1, bind, (int fd, __CONST_SOCKADDR_ARG address, socklen_t size), (fd, address, size))
WRAP(int, -1, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, -1, accept4, (int fd, __SOCKADDR_ARG address, socklen_t *size, int flags), (fd, address, size, flags))
WRAP(int, -1, connect, (int fd, __CONST_SOCKADDR_ARG address, socklen_t size), (fd, address, size))
WRAP(int, -1, shutdown, (int fd, int how), (fd, how))

/* A connection that is said to be broken is. */
static ssize_t fail_on_socket(int fd, int error)
{
        if (error == EPIPE || error == ECONNRESET)
                (void)REAL(shutdown)(fd, SHUT_RDWR);
        errno = error;
        return -1;
}

EXPORT ssize_t send(int fd, const void *data, size_t size, int flags)
{
        const int error = FAULT(send);

        return error == 0 ? REAL(send)(fd, data, size, flags) : fail_on_socket(fd, error);
}

/* Without fds there are no references to be too many. */
EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
        const int error = FAULT(sendmsg);

        if (error == 0 || (error == ETOOMANYREFS && message->msg_controllen == 0))
                return REAL(sendmsg)(fd, message, flags);
        return fail_on_socket(fd, error);
}

WRAP(int, -1, getsockopt, (int fd, int level, int option, void *value, socklen_t *size),
     (fd, level, option, value, size))
WRAP(int, -1, setsockopt, (int fd, int level, int option, const void *value, socklen_t size),
     (fd, level, option, value, size))
WRAP(int, -1, getsockname, (int fd, __SOCKADDR_ARG address, socklen_t *size), (fd, address, size))

/* As at the limit of open files: those that do not fit are gone. */
static void drop_fds(struct msghdr *message)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = n / 2; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        (void)close(fd);
                }
                c->cmsg_len = CMSG_LEN(n / 2 * sizeof(int));
        }
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
        const int error = FAULT(recvmsg);
        ssize_t n;

        if (error != 0 && error < FAULTS_SPURIOUS)
                return fail_on_socket(fd, error);
        n = REAL(recvmsg)(fd, message, flags);
        if (n < 0 || error == 0)
                return n;
        if (error == FAULTS_TRUNC) {
                message->msg_flags |= MSG_TRUNC;
                return n;
        }
        drop_fds(message);
        message->msg_flags |= MSG_CTRUNC;
        return n;
}

/* ---- descriptors ---- */

/* Who may wait does not read "again". */
EXPORT ssize_t read(int fd, void *data, size_t size)
{
        const int error = FAULT(read);

        if (error == 0 || (error == EAGAIN && !(REAL(fcntl)(fd, F_GETFL) & O_NONBLOCK)))
                return REAL(read)(fd, data, size);
        errno = error;
        return -1;
}

WRAP(ssize_t, -1, pread, (int fd, void *data, size_t size, off_t offset), (fd, data, size, offset))
WRAP(ssize_t, -1, pwrite, (int fd, const void *data, size_t size, off_t offset), (fd, data, size, offset))
WRAP(off_t, -1, lseek, (int fd, off_t offset, int from), (fd, offset, from))
WRAP(int, -1, dup3, (int fd, int as, int flags), (fd, as, flags))
WRAP(ssize_t, -1, getrandom, (void *data, size_t size, unsigned flags), (data, size, flags))
WRAP_DONE(int, -1, close, (int fd), (fd))
WRAP(int, -1, close_range, (unsigned first, unsigned last, int flags), (first, last, flags))
WRAP(int, -1, poll, (struct pollfd * fds, nfds_t n, int timeout), (fds, n, timeout))
WRAP(int, -1, ppoll, (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
     (fds, n, timeout, mask))
WRAP(int, -1, eventfd, (unsigned value, int flags), (value, flags))
WRAP(int, -1, eventfd_read, (int fd, eventfd_t *value), (fd, value))
WRAP(int, -1, eventfd_write, (int fd, eventfd_t value), (fd, value))
WRAP(int, -1, epoll_create1, (int flags), (flags))

/* Taking an fd out of the set takes no memory. */
EXPORT int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
        const int error = what == EPOLL_CTL_DEL ? 0 : FAULT(epoll_ctl);

        if (error == 0)
                return REAL(epoll_ctl)(epoll, what, fd, event);
        errno = error;
        return -1;
}

WRAP(int, -1, epoll_wait, (int epoll, struct epoll_event *events, int max, int timeout), (epoll, events, max, timeout))
WRAP(int, -1, timerfd_create, (clockid_t clock, int flags), (clock, flags))
WRAP(int, -1, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags))

/* Eight bytes are an eventfd's, which can only be interrupted. */
EXPORT ssize_t write(int fd, const void *data, size_t size)
{
        const int error = FAULT(write);

        if (error == 0 || (size == sizeof(uint64_t) && error != EINTR))
                return REAL(write)(fd, data, size);
        if (error == FAULTS_SHORT && size > 1)
                return REAL(write)(fd, data, size / 2);
        errno = error == FAULTS_SHORT ? EINTR : error;
        return -1;
}

EXPORT int fcntl(int fd, int command, ...)
{
        const int error = FAULT(fcntl);
        va_list list;
        void *argument;

        va_start(list, command);
        argument = va_arg(list, void *); /* as wide as any that it takes */
        va_end(list);
        if (error == 0)
                return REAL(fcntl)(fd, command, argument);
        errno = error;
        return -1;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
        const int error = FAULT(ioctl);
        va_list list;
        void *argument;

        va_start(list, request);
        argument = va_arg(list, void *);
        va_end(list);
        if (error == 0)
                return REAL(ioctl)(fd, request, argument);
        errno = error;
        return -1;
}

/* ---- files ---- */

EXPORT int open(const char *path, int flags, ...)
{
        const int error = FAULT(open);
        va_list list;
        unsigned mode;

        va_start(list, flags);
        mode = flags & O_CREAT ? va_arg(list, unsigned) : 0;
        va_end(list);
        if (error == 0 || (error == ENOSPC && !(flags & O_CREAT)))
                return REAL(open)(path, flags, mode);
        errno = error;
        return -1;
}

WRAP(FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode))
WRAP(char *, NULL, fgets, (char *text, int size, FILE *file), (text, size, file))
WRAP(ssize_t, -1, __getdelim, (char **text, size_t *size, int delimiter, FILE *file), (text, size, delimiter, file))
WRAP_DONE(int, EOF, fclose, (FILE * file), (file))
WRAP(int, -1, stat, (const char *path, struct stat *ret), (path, ret))
WRAP(int, -1, lstat, (const char *path, struct stat *ret), (path, ret))
WRAP(int, -1, fstat, (int fd, struct stat *ret), (fd, ret))
WRAP(int, -1, access, (const char *path, int mode), (path, mode))
WRAP(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, -1, unlink, (const char *path), (path))
WRAP(int, -1, chmod, (const char *path, mode_t mode), (path, mode))
WRAP(int, -1, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, -1, chown, (const char *path, uid_t user, gid_t group), (path, user, group))
WRAP(int, -1, flock, (int fd, int what), (fd, what))
WRAP(struct group *, NULL, getgrnam, (const char *name), (name))
WRAP(struct passwd *, NULL, getpwnam, (const char *name), (name))

/* ---- the process and its threads ---- */

WRAP_RETURNS(pthread_create,
             (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument),
             (thread, attributes, start, argument))

/* Waits that end for nothing let go of the mutex for a moment, and have their end in time all the same. */
EXPORT int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
        static const struct timespec long_ago;

        if (FAULT(pthread_cond_wait) == 0)
                return REAL(pthread_cond_wait)(condition, mutex);
        (void)REAL(pthread_cond_timedwait)(condition, mutex, &long_ago);
        return 0;
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
        static const struct timespec long_ago;
        struct timespec now;

        if (FAULT(pthread_cond_timedwait) == 0)
                return REAL(pthread_cond_timedwait)(condition, mutex, until);
        (void)REAL(pthread_cond_timedwait)(condition, mutex, &long_ago);
        (void)clock_gettime(CLOCK_MONOTONIC, &now); /* the clock of all our conditions */
        return now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec) ? ETIMEDOUT
                                                                                                            : 0;
}

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object);
WRAP_RETURNS(__register_atfork, (void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object),
             (prepare, parent, child, object))
WRAP(int, -1, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
WRAP(int, -1, getrlimit, (__rlimit_resource_t resource, struct rlimit *ret), (resource, ret))
WRAP(int, -1, setrlimit, (__rlimit_resource_t resource, const struct rlimit *limit), (resource, limit))

EXPORT long syscall(long number, ...)
{
        const int error = FAULT(syscall);
        long arguments[6];
        va_list list;

        va_start(list, number);
        for (unsigned i = 0; i < 6; i++)
                arguments[i] = va_arg(list, long);
        va_end(list);
        if (error == 0)
                return REAL(syscall)(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                                     arguments[5]);
        errno = error;
        return -1;
}
