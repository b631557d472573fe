/* SPDX-License-Identifier: MIT
 *
 * trace.c -- reads a trace file line by line, whatever its format, and puts its requests in order of arrival.
 *
 * A line is held to 1 MiB, so that a file of something else cannot eat the memory. Line ends may be LF or CRLF, the
 * last one may be missing, empty lines are passed over.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "trace-line.h"
#include "trace.h"

#define LINE_BYTES_MAX (UINT64_C(1) << 20)
#define REQUESTS_MAX   (UINT64_C(1) << 27)

enum trace_format {
        TRACE_UNKNOWN,
        TRACE_CSV,
        TRACE_MOONCAKE,
};

struct reader {
        FILE *file;
        enum trace_format format;
        struct trace_csv csv;
        struct trace_line line;
        char *buffer;
        size_t allocated; /* requests there is room for */
        struct trace trace;
};

static void reader_clear(struct reader *reader)
{
        free(reader->buffer);
        trace_clear(&reader->trace);
}

/* The next line that is not empty into reader->line. 1: there is one, 0: the file ends, or a negative errno. */
static int reader_next_line(struct reader *reader, struct complaint *complaint)
{
        struct trace_line *line = &reader->line;

        assert(reader->buffer);

        for (;;) {
                size_t length = 0;
                int c;

                while ((c = getc(reader->file)) != EOF && c != '\n') {
                        if (c == '\0')
                                return complain(complaint, -EINVAL, "%s:%ju: a NUL byte: not a text file", line->file,
                                                (uintmax_t)line->number + 1);
                        if (length >= LINE_BYTES_MAX)
                                return complain(complaint, -EINVAL, "%s:%ju: a line of more than %ju bytes", line->file,
                                                (uintmax_t)line->number + 1, (uintmax_t)LINE_BYTES_MAX);
                        reader->buffer[length++] = (char)c;
                        if (line->number == 0 && length == 2 && memcmp(reader->buffer, "\x1f\x8b", 2) == 0)
                                return complain(complaint, -EINVAL, "%s: compressed by gzip: gunzip it first",
                                                line->file);
                }
                if (c == EOF && ferror(reader->file))
                        return complain(complaint, -EIO, "%s: cannot read: %s", line->file, strerror(errno));
                if (c == EOF && length == 0)
                        return 0;
                line->number++;
                while (length > 0 && isspace((unsigned char)reader->buffer[length - 1]))
                        length--;
                if (length == 0)
                        continue;
                reader->buffer[length] = '\0';
                line->text = reader->buffer;
                line->length = length;
                return 1;
        }
}

/* 1: the line was a header and is used up; 0: it is a row. */
static int reader_recognise(struct reader *reader, struct complaint *complaint)
{
        struct trace_line *line = &reader->line;
        int r;

        if (line->length >= 3 &&
            memcmp(line->text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark, from spreadsheets */
                line->text += 3;
                line->length -= 3;
        }
        if (line->text[strspn(line->text, " \t")] == '{') {
                reader->format = TRACE_MOONCAKE;
                reader->trace.format = "mooncake";
                return 0;
        }
        r = trace_csv_recognise(line, &reader->csv, complaint);
        if (r < 0)
                return r;
        if (r > 0) {
                reader->format = TRACE_CSV;
                reader->trace.format = reader->csv.format;
                return 1;
        }
        return complain(complaint, -EINVAL,
                        "%s:%ju: neither the header of an Azure or BurstGPT CSV file nor a line of Mooncake JSON",
                        line->file, (uintmax_t)line->number);
}

static int reader_add(struct reader *reader, const struct trace_row *row)
{
        struct trace *trace = &reader->trace;

        if (trace->n == reader->allocated) {
                size_t n = reader->allocated ? reader->allocated * 2 : 1024;
                struct request *requests = reallocarray(trace->requests, n, sizeof(*requests));

                if (!requests)
                        return -ENOMEM;
                trace->requests = requests;
                reader->allocated = n;
        }
        trace->requests[trace->n] = (struct request){
                .arrival_usec = row->clock_usec,
                .id = (uint32_t)trace->n,
                .prompt_tokens = row->prompt_tokens > 0 ? row->prompt_tokens : 1,
                .generated_tokens = row->generated_tokens,
        };
        trace->n++;
        return 0;
}

static int reader_row(struct reader *reader, struct complaint *complaint)
{
        struct trace_row row;
        int r;

        if (reader->format == TRACE_CSV)
                r = trace_csv_parse(&reader->csv, &reader->line, &row, complaint);
        else
                r = trace_mooncake_parse(&reader->line, &row, complaint);
        if (r < 0)
                return r;

        if (row.generated_tokens == 0 && strcmp(reader->trace.format, "burstgpt") == 0) {
                reader->trace.failed++; /* an answer of no tokens is how BurstGPT records a failure */
                return 0;
        }
        if (reader->trace.n >= REQUESTS_MAX)
                return complain(complaint, -E2BIG, "%s: more than %ju requests", reader->line.file,
                                (uintmax_t)REQUESTS_MAX);
        if (reader_add(reader, &row) < 0)
                return complain(complaint, -ENOMEM, "%s: no memory for %zu requests", reader->line.file,
                                reader->trace.n);
        return 0;
}

static int request_compare(const void *left, const void *right)
{
        const struct request *a = left, *b = right;

        if (a->arrival_usec != b->arrival_usec)
                return a->arrival_usec < b->arrival_usec ? -1 : 1;
        return (a->id > b->id) - (a->id < b->id);
}

static void trace_order(struct trace *trace)
{
        uint64_t first;

        if (trace->n == 0)
                return;
        qsort(trace->requests, trace->n, sizeof(*trace->requests), request_compare);
        first = trace->requests[0].arrival_usec;
        for (size_t i = 0; i < trace->n; i++) {
                trace->requests[i].arrival_usec -= first;
                trace->requests[i].id = (uint32_t)i;
        }
}

int trace_read_file(FILE *file, const char *name, uint64_t max_requests, struct trace *ret_trace,
                    struct complaint *complaint)
{
        _cleanup_(reader_clear) struct reader reader = { .file = file, .line.file = name };
        int r;

        assert(file);
        assert(ret_trace);

        reader.buffer = malloc(LINE_BYTES_MAX + 1);
        if (!reader.buffer)
                return complain(complaint, -ENOMEM, "%s: no memory to read it", name);

        while (max_requests == 0 || reader.trace.n < max_requests) {
                r = reader_next_line(&reader, complaint);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                if (reader.format == TRACE_UNKNOWN) {
                        r = reader_recognise(&reader, complaint);
                        if (r < 0)
                                return r;
                        if (r > 0)
                                continue;
                }
                r = reader_row(&reader, complaint);
                if (r < 0)
                        return r;
        }
        if (reader.trace.n == 0 && reader.trace.failed > 0)
                return complain(complaint, -EINVAL,
                                "%s: holds no requests but failed ones (%ju, with no response tokens)", name,
                                (uintmax_t)reader.trace.failed);
        if (reader.trace.n == 0)
                return complain(complaint, -EINVAL, "%s: holds no requests", name);
        trace_order(&reader.trace);
        *ret_trace = reader.trace;
        reader.trace = (struct trace){ 0 };
        return 0;
}

int trace_read(const char *path, uint64_t max_requests, struct trace *ret_trace, struct complaint *complaint)
{
        _cleanup_(cleanup_file) FILE *file = NULL;
        struct stat status;

        file = fopen(path, "re");
        if (!file)
                return complain(complaint, -errno, "%s: %s", path, strerror(errno));
        if (fstat(fileno(file), &status) == 0 && S_ISDIR(status.st_mode))
                return complain(complaint, -EISDIR, "%s: %s", path, strerror(EISDIR));
        return trace_read_file(file, path, max_requests, ret_trace, complaint);
}

void trace_clear(struct trace *trace)
{
        if (!trace)
                return;
        free(trace->requests);
        *trace = (struct trace){ 0 };
}

uint64_t trace_longest_tokens(const struct trace *trace)
{
        uint64_t longest = 0;

        for (size_t i = 0; i < trace->n; i++) {
                uint64_t tokens = (uint64_t)trace->requests[i].prompt_tokens + trace->requests[i].generated_tokens;

                if (tokens > longest)
                        longest = tokens;
        }
        return longest;
}
