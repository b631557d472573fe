/* SPDX-License-Identifier: MIT
 *
 * trace-mooncake.c -- Mooncake traces: one JSON object a line, times in milliseconds. Prefix hashes are checked for
 * their type and otherwise left alone: this replay shares nothing between requests.
 */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "cleanup.h"
#include "trace-line.h"

#define CLOCK_MSEC_MAX 1e15

static void cleanup_json(json_t **json)
{
        json_decref(*json);
}

static int field_complain(const struct trace_line *line, const char *name, const char *what,
                          struct complaint *complaint)
{
        return complain(complaint, -EINVAL, "%s:%ju: field '%s' %s", line->file, (uintmax_t)line->number, name, what);
}

static int parse_tokens(const struct trace_line *line, const json_t *object, const char *name, uint32_t *ret_tokens,
                        struct complaint *complaint)
{
        const json_t *value = json_object_get(object, name);

        if (!value)
                return field_complain(line, name, "is missing", complaint);
        if (!json_is_integer(value))
                return field_complain(line, name, "is not a whole number", complaint);
        if (json_integer_value(value) < 0)
                return field_complain(line, name, "is negative", complaint);
        if (json_integer_value(value) > (json_int_t)TRACE_TOKENS_MAX)
                return field_complain(line, name, "is out of range", complaint);
        *ret_tokens = (uint32_t)json_integer_value(value);
        return 0;
}

static int parse_clock(const struct trace_line *line, const json_t *object, uint64_t *ret_usec,
                       struct complaint *complaint)
{
        const json_t *value = json_object_get(object, "timestamp");
        double milliseconds;

        if (!value)
                return field_complain(line, "timestamp", "is missing", complaint);
        if (!json_is_number(value))
                return field_complain(line, "timestamp", "is not a number", complaint);
        milliseconds = json_number_value(value);
        if (milliseconds < 0)
                return field_complain(line, "timestamp", "is negative", complaint);
        if (!(milliseconds <= CLOCK_MSEC_MAX))
                return field_complain(line, "timestamp", "is out of range", complaint);
        *ret_usec = (uint64_t)(milliseconds * 1000);
        return 0;
}

/* The text is no JSON object. A number that fits no type has a field, which the parser does not tell: it is the last
 * key before the place where it stopped. */
static int syntax_complain(const struct trace_line *line, const json_error_t *error, struct complaint *complaint)
{
        size_t n = error->position > 0 ? (size_t)error->position : 0;
        const char *colon, *end, *start;
        char name[40];

        if (json_error_code(error) == json_error_numeric_overflow && n <= line->length) {
                colon = memrchr(line->text, ':', n);
                end = colon ? memrchr(line->text, '"', (size_t)(colon - line->text)) : NULL;
                start = end ? memrchr(line->text, '"', (size_t)(end - line->text)) : NULL;
                if (start) {
                        (void)snprintf(name, sizeof(name), "%.*s", (int)(end - start - 1), start + 1);
                        return field_complain(line, name, "is out of range", complaint);
                }
        }
        return complain(complaint, -EINVAL, "%s:%ju: column %d: no JSON object (%s): is the row cut?", line->file,
                        (uintmax_t)line->number, error->column, error->text);
}

int trace_mooncake_parse(struct trace_line *line, struct trace_row *ret_row, struct complaint *complaint)
{
        _cleanup_(cleanup_json) json_t *object = NULL;
        struct trace_row row = { 0 };
        json_error_t error;
        const json_t *hashes;
        int r;

        assert(line);
        assert(ret_row);

        object = json_loadb(line->text, line->length, JSON_REJECT_DUPLICATES, &error);
        if (!object)
                return syntax_complain(line, &error, complaint);
        if (!json_is_object(object))
                return complain(complaint, -EINVAL, "%s:%ju: not a JSON object", line->file, (uintmax_t)line->number);

        r = parse_clock(line, object, &row.clock_usec, complaint);
        if (r < 0)
                return r;
        r = parse_tokens(line, object, "input_length", &row.prompt_tokens, complaint);
        if (r < 0)
                return r;
        r = parse_tokens(line, object, "output_length", &row.generated_tokens, complaint);
        if (r < 0)
                return r;
        hashes = json_object_get(object, "hash_ids");
        if (hashes && !json_is_array(hashes))
                return field_complain(line, "hash_ids", "is not a list", complaint);
        *ret_row = row;
        return 0;
}
