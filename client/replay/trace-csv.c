/* SPDX-License-Identifier: MIT
 *
 * trace-csv.c -- Azure and BurstGPT traces: CSV with a header that says which columns there are.
 *
 * Columns are found by name, so that old and new files of a family, and ones with columns added or moved, need no code
 * of their own. Quoted fields are understood as far as spreadsheets write them; a quote inside a field is not.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "trace-line.h"

static const struct {
        const char *format, *clock, *prompt, *generated;
        int (*parse_clock)(const char *text, uint64_t *ret_usec);
} csv_formats[] = {
        { "azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", trace_parse_date },
        { "burstgpt", "Timestamp", "Request tokens", "Response tokens", trace_parse_seconds },
};

static char *strip(char *text)
{
        char *end = text + strlen(text);

        while (end > text && isspace((unsigned char)end[-1]))
                *--end = '\0';
        while (isspace((unsigned char)*text))
                text++;
        return text;
}

/* Cuts the line at its commas, in place. Returns the number of fields (more than the table holds are counted, not
 * kept), or -EINVAL for a quote that does not end. */
static int csv_split(char *text, char *fields[static TRACE_COLUMNS_MAX])
{
        int n = 0;

        for (;;) {
                char *start = text, *end;

                while (*start == ' ' || *start == '\t')
                        start++;
                if (*start == '"') {
                        start++;
                        end = strchr(start, '"');
                        if (!end)
                                return -EINVAL;
                        text = end + 1;
                        text += strcspn(text, ",");
                } else {
                        text = start + strcspn(start, ",");
                        end = text;
                }
                char next = *text;

                *end = '\0';
                if (n < (int)TRACE_COLUMNS_MAX)
                        fields[n] = strip(start);
                n++;
                if (next == '\0')
                        return n;
                text++;
        }
}

static size_t column_find(char *const *fields, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcasecmp(fields[i], name) == 0)
                        return i;
        return SIZE_MAX;
}

/* Which of two columns of the same name is meant cannot be known. */
static int csv_check_header(const struct trace_csv *csv, char *const *fields, const struct trace_line *line,
                            struct complaint *complaint)
{
        const struct {
                size_t column;
                const char *name;
        } read[] = { { csv->clock, csv->clock_name },
                     { csv->prompt, csv->prompt_name },
                     { csv->generated, csv->generated_name } };

        for (size_t i = 0; i < sizeof(read) / sizeof(read[0]); i++) {
                size_t after = read[i].column + 1;

                if (column_find(fields + after, csv->n_columns - after, read[i].name) != SIZE_MAX)
                        return complain(complaint, -EINVAL, "%s:%ju: column '%s' stands twice", line->file,
                                        (uintmax_t)line->number, read[i].name);
        }
        return 0;
}

int trace_csv_recognise(struct trace_line *line, struct trace_csv *ret_csv, struct complaint *complaint)
{
        char *fields[TRACE_COLUMNS_MAX];
        int n;

        assert(line);
        assert(ret_csv);

        n = csv_split(line->text, fields);
        if (n <= 0 || n > (int)TRACE_COLUMNS_MAX)
                return 0;

        for (size_t i = 0; i < sizeof(csv_formats) / sizeof(csv_formats[0]); i++) {
                struct trace_csv csv = {
                        .format = csv_formats[i].format,
                        .n_columns = (size_t)n,
                        .clock = column_find(fields, (size_t)n, csv_formats[i].clock),
                        .prompt = column_find(fields, (size_t)n, csv_formats[i].prompt),
                        .generated = column_find(fields, (size_t)n, csv_formats[i].generated),
                        .clock_name = csv_formats[i].clock,
                        .prompt_name = csv_formats[i].prompt,
                        .generated_name = csv_formats[i].generated,
                        .parse_clock = csv_formats[i].parse_clock,
                };

                if (csv.clock == SIZE_MAX || csv.prompt == SIZE_MAX || csv.generated == SIZE_MAX)
                        continue;
                if (csv_check_header(&csv, fields, line, complaint) < 0)
                        return -EINVAL;
                *ret_csv = csv;
                return 1;
        }
        return 0;
}

/* The first column, of those that are read, that a row of `n` fields does not have; NULL: it has them all. */
static const char *csv_missing(const struct trace_csv *csv, size_t n)
{
        if (csv->clock >= n)
                return csv->clock_name;
        if (csv->prompt >= n)
                return csv->prompt_name;
        return csv->generated >= n ? csv->generated_name : NULL;
}

int trace_csv_parse(const struct trace_csv *csv, struct trace_line *line, struct trace_row *ret_row,
                    struct complaint *complaint)
{
        char *fields[TRACE_COLUMNS_MAX];
        struct trace_row row = { 0 };
        int n, r;

        assert(csv && csv->n_columns <= TRACE_COLUMNS_MAX);
        assert(line);

        n = csv_split(line->text, fields);
        if (n < 0)
                return complain(complaint, -EINVAL, "%s:%ju: a quote that does not end", line->file,
                                (uintmax_t)line->number);
        if ((size_t)n != csv->n_columns) {
                const char *missing = csv_missing(csv, (size_t)n);

                return complain(complaint, -EINVAL, "%s:%ju: the row has %d fields, the header %zu%s%s%s%s", line->file,
                                (uintmax_t)line->number, n, csv->n_columns, missing ? ": there is no field '" : "",
                                missing ? missing : "", missing ? "'" : "",
                                (size_t)n < csv->n_columns ? ": is it cut?" : "");
        }

        const char *text = fields[csv->clock], *name = csv->clock_name;

        r = csv->parse_clock(text, &row.clock_usec);
        if (r >= 0) {
                text = fields[csv->prompt];
                name = csv->prompt_name;
                r = trace_parse_tokens(text, &row.prompt_tokens);
        }
        if (r >= 0) {
                text = fields[csv->generated];
                name = csv->generated_name;
                r = trace_parse_tokens(text, &row.generated_tokens);
        }
        if (r < 0)
                return complain(complaint, -EINVAL, "%s:%ju: field '%s' %s: '%.40s'", line->file,
                                (uintmax_t)line->number, name, trace_what_is_wrong(text, r), text);
        *ret_row = row;
        return 0;
}
