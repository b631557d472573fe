/* SPDX-License-Identifier: MIT
 *
 * format.h -- figures as people read and type them. Pure functions.
 */
#ifndef CTL_FORMAT_H
#define CTL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_FORMAT_MAX 32u /* bytes that any figure here fits in, NUL included */

/* 512M, 2G, 1.5G, 4K, 17B, 0: the largest unit (powers of 1024) that leaves at least 1, with one decimal where it is
 * not whole. `exact`: the number of bytes alone. UINT64_MAX is a limit that is not set: "max". Returns `buffer`. */
const char *ctl_format_bytes(char buffer[static CTL_FORMAT_MAX], uint64_t bytes, bool exact);

/* A span of time by its two largest units: 3d 4h, 2h 5min, 41s. Returns `buffer`. */
const char *ctl_format_span(char buffer[static CTL_FORMAT_MAX], uint64_t usec);

/* "5", "0.5", "5s", "500ms", "2min" to microseconds; a number alone is seconds. From 1 ms to 1 h. Returns 0; -EINVAL:
 * not of this form; -ERANGE: outside. */
int ctl_parse_span(const char *text, uint64_t *ret_usec);

#endif
