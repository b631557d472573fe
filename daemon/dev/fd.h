/* SPDX-License-Identifier: MIT
 *
 * fd.h -- file descriptors with an owner.
 */
#ifndef DEV_FD_H
#define DEV_FD_H

#include <errno.h>
#include <unistd.h>

#include "cleanup.h"

/* Closes `fd` where there is one and keeps errno. Returns -1, what the owner's variable holds from then on. */
static inline int fd_close(int fd)
{
        int saved = errno;

        if (fd >= 0)
                (void)close(fd);
        errno = saved;
        return -1;
}

static inline void fd_cleanup(int *fd)
{
        *fd = fd_close(*fd);
}

#define _cleanup_fd_ _cleanup_(fd_cleanup)

/* The descriptor; the variable holds -1 from here on. */
static inline int fd_take(int *fd)
{
        int taken = *fd;

        *fd = -1;
        return taken;
}
#define TAKE_FD(fd) fd_take(&(fd))

#endif
