/* SPDX-License-Identifier: MIT
 *
 * ctl.h -- what the files of kvpagerctl share: its options, its exit statuses, and cleanup by attribute.
 */
#ifndef CTL_H
#define CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifndef _cleanup_
#define _cleanup_(function) __attribute__((__cleanup__(function)))
#endif

#define CTL_TIMEOUT_USEC 5000000ull /* default of --timeout */

enum ctl_exit {
        CTL_EXIT_OK = 0,
        CTL_EXIT_FAILED = 1, /* the daemon is not there, refused, answered wrongly, or is broken */
        CTL_EXIT_USAGE = 2,  /* the command line makes no sense */
};

struct ctl_options {
        const char *socket_path; /* NULL: ctl_link_default_path() */
        uint64_t timeout_usec;   /* for the whole command */
        bool json;
        bool bytes;  /* exact figures in tables */
        bool legend; /* headings and a closing count in tables */
        bool colour; /* standard output is a terminal that wants it */
};

static inline void ctl_free(void *pointer)
{
        free(*(void **)pointer);
}

#endif
