/* SPDX-License-Identifier: MIT
 *
 * main.c -- kvpagerctl: looks at a running kvpagerd.
 *
 * commands.c turns words into an exit status, snapshot.c and print.c show what the daemon said, link.c speaks to it.
 */
#include <stdio.h>

#include "commands.h"
#include "standard-fds.h"

int main(int argc, char **argv)
{
        standard_fds_hold();
        return ctl_main(argc, argv, stdout, stderr);
}
