/* SPDX-License-Identifier: MIT
 *
 * table.c -- columns of text, each as wide as its widest cell and no wider.
 *
 * Cells are formatted as they come and kept until all widths are known. The last column is never padded, so no line
 * ends in blanks. Names come from the daemon's configuration, which admits printable ASCII only: a byte is a column.
 */
#include "table.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_TITLE_ON  "\x1b[1m"
#define TABLE_TITLE_OFF "\x1b[0m"

struct ctl_table {
        const struct ctl_column *columns;
        size_t n_columns;
        char **cells;
        size_t n_cells, capacity;
        int error;
};

struct ctl_table *ctl_table_new(const struct ctl_column *columns, size_t n_columns)
{
        struct ctl_table *table = calloc(1, sizeof(*table));

        assert(columns && n_columns > 0);
        if (!table)
                return NULL;
        table->columns = columns;
        table->n_columns = n_columns;
        return table;
}

struct ctl_table *ctl_table_free(struct ctl_table *table)
{
        if (!table)
                return NULL;
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i]);
        free(table->cells);
        free(table);
        return NULL;
}

int ctl_table_cell(struct ctl_table *table, const char *format, ...)
{
        va_list arguments;
        char *text = NULL;

        if (table->error)
                return table->error;
        if (table->n_cells == table->capacity) {
                size_t capacity = table->capacity ? table->capacity * 2 : 64;
                char **cells = reallocarray(table->cells, capacity, sizeof(*cells));
                if (!cells)
                        return table->error = -ENOMEM;
                table->cells = cells;
                table->capacity = capacity;
        }
        va_start(arguments, format);
        int n = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (n < 0)
                return table->error = -ENOMEM;
        table->cells[table->n_cells++] = text;
        return 0;
}

size_t ctl_table_rows(const struct ctl_table *table)
{
        return table->n_cells / table->n_columns;
}

static size_t table_width(const struct ctl_table *table, size_t column, bool legend)
{
        size_t width = legend ? strlen(table->columns[column].title) : 0;

        for (size_t i = column; i < table->n_cells; i += table->n_columns) {
                size_t length = strlen(table->cells[i]);
                width = length > width ? length : width;
        }
        return width;
}

static void table_print_cell(const struct ctl_table *table, FILE *stream, size_t column, const char *text, size_t width)
{
        int pad = (int)(width - strlen(text));

        if (column > 0)
                (void)fputs("  ", stream);
        if (table->columns[column].right)
                (void)fprintf(stream, "%*s%s", pad, "", text);
        else if (column + 1 < table->n_columns)
                (void)fprintf(stream, "%s%*s", text, pad, "");
        else
                (void)fputs(text, stream);
}

int ctl_table_print(const struct ctl_table *table, FILE *stream, const struct ctl_options *options)
{
        _cleanup_(ctl_free) size_t *widths = calloc(table->n_columns, sizeof(*widths));

        if (!widths || table->error)
                return -ENOMEM;
        assert(table->n_cells % table->n_columns == 0);
        for (size_t i = 0; i < table->n_columns; i++)
                widths[i] = table_width(table, i, options->legend);
        if (options->legend) {
                (void)fputs(options->colour ? TABLE_TITLE_ON : "", stream);
                for (size_t i = 0; i < table->n_columns; i++)
                        table_print_cell(table, stream, i, table->columns[i].title, widths[i]);
                (void)fputs(options->colour ? TABLE_TITLE_OFF "\n" : "\n", stream);
        }
        for (size_t i = 0; i < table->n_cells; i++) {
                size_t column = i % table->n_columns;
                table_print_cell(table, stream, column, table->cells[i], widths[column]);
                if (column + 1 == table->n_columns)
                        (void)fputc('\n', stream);
        }
        return 0;
}
