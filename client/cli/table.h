/* SPDX-License-Identifier: MIT
 *
 * table.h -- columns of text, each as wide as its widest cell and no wider.
 */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ctl.h"

struct ctl_column {
        const char *title;
        bool right; /* aligned to the right: figures */
};

struct ctl_table;

/* `columns` must outlive the table. NULL: no memory. */
struct ctl_table *ctl_table_new(const struct ctl_column *columns, size_t n_columns);
struct ctl_table *ctl_table_free(struct ctl_table *table);

static inline void ctl_table_freep(struct ctl_table **table)
{
        ctl_table_free(*table);
}

/* Appends the next cell, row by row from the left; the text is copied. -ENOMEM is remembered and returned by every
 * later call, so that callers may look at it once, in ctl_table_print(). */
int ctl_table_cell(struct ctl_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whole rows only. -ENOMEM: a cell was lost; nothing is written then. Write errors are the stream's, see ferror(). */
int ctl_table_print(const struct ctl_table *table, FILE *stream, const struct ctl_options *options);

size_t ctl_table_rows(const struct ctl_table *table);

#endif
