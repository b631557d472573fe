/* SPDX-License-Identifier: MIT
 *
 * main.c -- kvpagerctl: looks at a running kvpagerd.
 *
 * commands.c turns words into an exit status, snapshot.c and print.c show what the daemon said, link.c speaks to it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "commands.h"

/* Nothing that is opened later may take the number of a standard stream: what is printed would go there. What stays
 * closed to us is an error when it is written to, as it was. */
static void hold_standard_fds(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                (void)close(fd);
}

int main(int argc, char **argv)
{
        hold_standard_fds();
        return ctl_main(argc, argv, stdout, stderr);
}
