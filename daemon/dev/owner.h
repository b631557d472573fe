/* SPDX-License-Identifier: MIT
 *
 * owner.h -- ownership in sight: a variable with _cleanup_(fn) gives up what it holds at the end of its scope; TAKE_PTR
 * and TAKE_FD hand it on.
 */
#ifndef DEV_OWNER_H
#define DEV_OWNER_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* The pointer's value; the variable holds NULL from here on. */
#define TAKE_PTR(pointer)                                                                                              \
        __extension__({                                                                                                \
                __typeof__(pointer) *take_from_ = &(pointer);                                                          \
                __typeof__(pointer) taken_ = *take_from_;                                                              \
                *take_from_ = NULL;                                                                                    \
                taken_;                                                                                                \
        })

/* For variables of any pointer type. */
static inline void cleanup_free(void *pointer_to_variable)
{
        free(*(void **)pointer_to_variable);
}

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
