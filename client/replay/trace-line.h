/* SPDX-License-Identifier: MIT
 *
 * trace-line.h -- inside of the trace readers: one line of a file, and the numbers in it.
 *
 * A reader turns one line into one request. Where it is in the file comes along, so that every complaint names it.
 */
#ifndef KVPAGER_REPLAY_TRACE_LINE_H
#define KVPAGER_REPLAY_TRACE_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "trace.h"

#define TRACE_COLUMNS_MAX 32u

struct trace_line {
        const char *file;
        uint64_t number; /* from 1 */
        char *text;      /* no line end in it; may be changed by the reader */
        size_t length;
};

/* What a row holds before arrivals are made relative: the file's own clock in microseconds. */
struct trace_row {
        uint64_t clock_usec;
        uint32_t prompt_tokens, generated_tokens;
};

/* Where a CSV file has its columns, found from its header. */
struct trace_csv {
        const char *format;
        size_t n_columns;
        size_t clock, prompt, generated; /* indices of columns */
        const char *clock_name, *prompt_name, *generated_name;
        int (*parse_clock)(const char *text, uint64_t *ret_usec);
};

/* 1: the line is the header of a known CSV format; 0: it is not; -EINVAL: it is one, but not a good one. Changes the
 * line. */
int trace_csv_recognise(struct trace_line *line, struct trace_csv *ret_csv, struct complaint *complaint);
int trace_csv_parse(const struct trace_csv *csv, struct trace_line *line, struct trace_row *ret_row,
                    struct complaint *complaint);

int trace_mooncake_parse(struct trace_line *line, struct trace_row *ret_row, struct complaint *complaint);

/* "2023-11-16 18:17:03.9799600", with an offset such as "+00:00" or none: microseconds since 1970. -EINVAL, -ERANGE. */
int trace_parse_date(const char *text, uint64_t *ret_usec);

/* "12" or "12.345" seconds. -EINVAL, -ERANGE. */
int trace_parse_seconds(const char *text, uint64_t *ret_usec);

/* A whole number of tokens. -EINVAL: no number, negative; -ERANGE: more than TRACE_TOKENS_MAX. */
int trace_parse_tokens(const char *text, uint32_t *ret_tokens);

/* "is negative", "is too large", "is not a number" -- for a complaint about `text` that failed with `error`. */
const char *trace_what_is_wrong(const char *text, int error);

#endif
