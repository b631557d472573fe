/* SPDX-License-Identifier: MIT
 *
 * ctl.h -- what the files of kvpagerctl share: its options, its exit statuses, and cleanup by attribute.
 */
#ifndef CTL_H
#define CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef _cleanup_
#define _cleanup_(function) __attribute__((__cleanup__(function)))
#endif

#define CTL_TIMEOUT_USEC  5000000ull /* default of --timeout */
#define CTL_INTERVAL_USEC 1000000ull /* default of --interval */

enum ctl_exit {
        CTL_EXIT_OK = 0,
        CTL_EXIT_FAILED = 1, /* the daemon is not there, refused, answered wrongly, or is broken */
        CTL_EXIT_USAGE = 2,  /* the command line makes no sense */
};

/* Options that only some commands take. */
enum ctl_option {
        CTL_OPTION_ONCE = 1 << 0,
        CTL_OPTION_INTERVAL = 1 << 1,
        CTL_OPTION_ASCII = 1 << 2,
        CTL_OPTION_HTTP = 1 << 3,
        CTL_OPTION_FORMAT = 1 << 4,
        CTL_OPTION_FOLLOW = 1 << 5,
};

struct ctl_options {
        const char *socket_path; /* NULL: ctl_link_default_path() */
        uint64_t timeout_usec;   /* for the whole command */
        bool json;
        bool bytes;  /* exact figures in tables */
        bool legend; /* headings and a closing count in tables */
        bool colour; /* standard output is a terminal that wants it */

        unsigned given;         /* enum ctl_option */
        uint64_t interval_usec; /* top's */
        uint32_t format;        /* metrics', enum ctl_metrics_format */

        const char *const *words; /* what follows the command */
        size_t n_words;
};

/* Says why on `err`, and returns CTL_EXIT_FAILED. */
int ctl_complain(FILE *err, const char *why);

/* Of the clock that every deadline here is counted on. */
static inline uint64_t ctl_now_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline void ctl_free(void *pointer)
{
        free(*(void **)pointer);
}

#endif
