/* SPDX-License-Identifier: MIT
 *
 * top.h -- `kvpagerctl top`: tenants and workers as they go.
 */
#ifndef CTL_TOP_H
#define CTL_TOP_H

#include <stdio.h>

#include "ctl.h"

/* Returns enum ctl_exit. Without --once it takes the terminal, which must be standard input and output both, until the
 * user quits. */
int ctl_top(const struct ctl_options *options, FILE *out, FILE *err);

#endif
