/* SPDX-License-Identifier: MIT
 *
 * standard-fds.h -- what every program of ours does first.
 */
#ifndef PROTO_STANDARD_FDS_H
#define PROTO_STANDARD_FDS_H

#include <fcntl.h>
#include <unistd.h>

/* Nothing that is opened later may take the number of a standard stream that was closed: what is printed would go
 * there. What stays closed to us is an error when it is written to, as it was. */
static inline void standard_fds_hold(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                (void)close(fd);
}

#endif
