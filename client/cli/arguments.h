/* SPDX-License-Identifier: MIT
 *
 * arguments.h -- the options of kvpagerctl, from words to struct ctl_options.
 */
#ifndef CTL_ARGUMENTS_H
#define CTL_ARGUMENTS_H

#include <stdio.h>

#include "ctl.h"

/* Fills in `options` from the command line and leaves optind at the first word that is none. *ret_command: the command
 * that -h or
 * --version stand for, else untouched. Returns CTL_EXIT_OK, or CTL_EXIT_USAGE with a complaint on `err`. Uses getopt's
 * globals. */
int ctl_arguments_parse(struct ctl_options *options, int argc, char **argv, const char **ret_command, FILE *err);

/* Complains of an option that was given and that `command` does not take; CTL_EXIT_OK where there is none. */
int ctl_arguments_check(const struct ctl_options *options, unsigned takes, const char *command, FILE *err);

/* Says what is wrong with the command line and where help is, and returns CTL_EXIT_USAGE. */
int ctl_arguments_complain(FILE *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
