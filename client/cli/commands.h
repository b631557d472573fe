/* SPDX-License-Identifier: MIT
 *
 * commands.h -- the command line of kvpagerctl, from its words to an exit status.
 */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include <stdio.h>

/* Runs what `argv` (as of main) says. Writes results to `out`, complaints to `err`. Returns enum ctl_exit. Uses
 * getopt's globals: one call at a time. */
int ctl_main(int argc, char **argv, FILE *out, FILE *err);

#endif
