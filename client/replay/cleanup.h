/* SPDX-License-Identifier: MIT
 *
 * cleanup.h -- ownership by attribute: what a variable owns goes when the variable does.
 */
#ifndef KVPAGER_REPLAY_CLEANUP_H
#define KVPAGER_REPLAY_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

static inline void cleanup_free(void *pointer)
{
        free(*(void **)pointer);
}

static inline void cleanup_file(FILE **file)
{
        if (*file)
                (void)fclose(*file);
}

static inline void cleanup_fd(const int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
}

static inline int take_fd(int *fd)
{
        int taken = *fd;

        *fd = -1;
        return taken;
}

/* Moves ownership out of a variable that has a cleanup. */
#define TAKE_PTR(pointer)                                                                                              \
        ({                                                                                                             \
                __typeof__(pointer) taken_ = (pointer);                                                                \
                (pointer) = NULL;                                                                                      \
                taken_;                                                                                                \
        })

#endif
