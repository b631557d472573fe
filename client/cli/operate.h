/* SPDX-License-Identifier: MIT
 *
 * operate.h -- commands for operators: they change what the daemon does, or follow it. Each returns enum ctl_exit.
 */
#ifndef CTL_OPERATE_H
#define CTL_OPERATE_H

#include <stdio.h>

#include "ctl.h"

/* `options->words`: a tenant, and at least one KEY=VALUE. */
int ctl_set(const struct ctl_options *options, FILE *out, FILE *err);
int ctl_reload(const struct ctl_options *options, FILE *out, FILE *err);

/* Those that the daemon remembers, a line each; with --follow those to come as well, until it ends. */
int ctl_events(const struct ctl_options *options, FILE *out, FILE *err);

#endif
