/* SPDX-License-Identifier: MIT
 *
 * scrape.h -- `kvpagerctl metrics`: to standard output, or as the answer to one request of HTTP.
 */
#ifndef CTL_SCRAPE_H
#define CTL_SCRAPE_H

#include <stdio.h>

#include "ctl.h"

/* Returns enum ctl_exit. A request that was answered is CTL_EXIT_OK, whatever the answer: who asked has been told. */
int ctl_scrape(const struct ctl_options *options, FILE *out, FILE *err);

#endif
