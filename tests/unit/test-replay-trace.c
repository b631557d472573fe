/* SPDX-License-Identifier: MIT
 *
 * The readers of trace files: good and bad rows of each format, from memory, and the public traces where they are at
 * hand.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace-line.h"
#include "trace.h"

#define AZURE    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
#define BURST    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
#define BURSTNEW "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"

static int read_bytes(const char *bytes, size_t n, uint64_t most, struct trace *ret_trace, struct complaint *complaint)
{
        FILE *file = n > 0 ? fmemopen((void *)(uintptr_t)bytes, n, "r") : fopen("/dev/null", "r");
        int r;

        complaint->text[0] = '\0';
        r = trace_read_file(file, "load", most, ret_trace, complaint);
        (void)fclose(file);
        return r;
}

static int read_text(const char *text, struct trace *ret_trace, struct complaint *complaint)
{
        return read_bytes(text, strlen(text), 0, ret_trace, complaint);
}

static void expect(const struct trace *trace, size_t i, uint64_t usec, uint32_t prompt, uint32_t generated)
{
        cr_assert_lt(i, trace->n);
        cr_expect_eq(trace->requests[i].arrival_usec, usec, "%zu: %" PRIu64, i, trace->requests[i].arrival_usec);
        cr_expect_eq(trace->requests[i].prompt_tokens, prompt);
        cr_expect_eq(trace->requests[i].generated_tokens, generated);
        cr_expect_eq(trace->requests[i].id, i);
}

Test(replay_trace, reads_azure)
{
        struct complaint complaint;
        struct trace trace;

        cr_assert_eq(read_text(AZURE "2023-11-16 18:17:03.9799600,4808,10\n"
                                     "2023-11-16 18:17:04.0319600,3180,8\r\n"
                                     "\n"
                                     "2023-11-17 00:00:00,1,0",
                               &trace, &complaint),
                     0, "%s", complaint.text);
        cr_assert_str_eq(trace.format, "azure");
        cr_assert_eq(trace.n, 3);
        expect(&trace, 0, 0, 4808, 10);
        expect(&trace, 1, 52000, 3180, 8);
        expect(&trace, 2, UINT64_C(20576020040), 1, 0);
        trace_clear(&trace);
}

Test(replay_trace, reads_azure_with_offsets_and_moved_columns)
{
        struct complaint complaint;
        struct trace trace;

        cr_assert_eq(read_text("\xef\xbb\xbfGeneratedTokens,extra,ContextTokens,TIMESTAMP\n"
                               "7,x,20,2024-02-29T23:59:59.5+00:00\n"
                               "8,\"a,b\",30,2024-03-01 02:00:00+02:00\n",
                               &trace, &complaint),
                     0, "%s", complaint.text);
        expect(&trace, 0, 0, 20, 7);
        expect(&trace, 1, 500000, 30, 8);
        trace_clear(&trace);
}

/* Every month's last day is one. */
Test(replay_trace, knows_the_calendar)
{
        static const char *const days[] = { "2023-01-31", "2023-02-28", "2024-02-29", "2000-02-29", "2023-04-30",
                                            "2023-06-30", "2023-09-30", "2023-11-30", "2023-12-31", "2100-02-28" };
        uint64_t usec = 0;

        for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
                char text[32];

                (void)snprintf(text, sizeof(text), "%s 00:00:00", days[i]);
                cr_expect_eq(trace_parse_date(text, &usec), 0, "%s", text);
        }
        cr_assert_eq(trace_parse_date("2000-02-29 00:00:00", &usec), 0);
        cr_expect_eq(usec, UINT64_C(951782400) * 1000000);
}

Test(replay_trace, reads_burstgpt_old_and_new)
{
        struct complaint complaint;
        struct trace trace;

        cr_assert_eq(read_text(BURST "5,ChatGPT,472,18,490,Conversation log\n"
                                     "45,ChatGPT,1087,0,1087,Conversation log\n"
                                     "118.25,GPT-4,417,276,693,API log\n",
                               &trace, &complaint),
                     0, "%s", complaint.text);
        cr_assert_str_eq(trace.format, "burstgpt");
        cr_assert_eq(trace.n, 2);
        cr_assert_eq(trace.failed, 1);
        expect(&trace, 0, 0, 472, 18);
        expect(&trace, 1, 113250000, 417, 276);
        trace_clear(&trace);

        cr_assert_eq(read_text(BURSTNEW "0.5,,1.2,ChatGPT,10,20,30,API log\n2,7,,GPT-4,11,21,32,Conversation log\n",
                               &trace, &complaint),
                     0, "%s", complaint.text);
        expect(&trace, 0, 0, 10, 20);
        expect(&trace, 1, 1500000, 11, 21);
        trace_clear(&trace);
}

Test(replay_trace, reads_mooncake)
{
        struct complaint complaint;
        struct trace trace;

        cr_assert_eq(
                read_text(
                        " \t{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47]}\n"
                        "{\"timestamp\": 27000.5, \"input_length\": 0, \"output_length\": 3}",
                        &trace, &complaint),
                0, "%s", complaint.text);
        cr_assert_str_eq(trace.format, "mooncake");
        expect(&trace, 0, 0, 1, 3); /* arrivals are put in order, and a prompt has at least a token */
        expect(&trace, 1, 481500, 6955, 52);
        trace_clear(&trace);
}

Test(replay_trace, stops_at_the_requests_asked_for)
{
        static const char text[] = AZURE "2023-11-16 18:17:03,5,1\n2023-11-16 18:17:04,6,1\nrubbish\n";
        struct complaint complaint;
        struct trace trace;

        cr_assert_eq(read_bytes(text, strlen(text), 2, &trace, &complaint), 0, "%s", complaint.text);
        cr_assert_eq(trace.n, 2);
        trace_clear(&trace);
        cr_assert_eq(read_bytes(text, strlen(text), 3, &trace, &complaint), -EINVAL);
}

/* Each names file, line and what is wrong. */
Test(replay_trace, complains_of_bad_rows)
{
        static const struct {
                const char *text, *complaint;
        } rows[] = {
                { "", "load: holds no requests" },
                { "\n\n", "load: holds no requests" },
                { AZURE, "load: holds no requests" },
                { "what is this\n", "load:1: neither" },
                { "TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,5\n", "load:1: neither" },
                { AZURE "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,31",
                  "load:3: the row has 2 fields, the header 3: there is no field 'GeneratedTokens': is it cut?" },
                { AZURE "2023-11-16 18:17:03,4808,", "load:2: field 'GeneratedTokens' is empty" },
                { AZURE "2023-11-16 18:17:03,-4808,1", "load:2: field 'ContextTokens' is negative" },
                { AZURE "2023-11-16 18:17:03,4808,-1", "load:2: field 'GeneratedTokens' is negative" },
                { AZURE "2023-11-16 18:17:03,12x,1", "load:2: field 'ContextTokens' is not what belongs there: '12x'" },
                { AZURE "2023-11-16 18:17:03,0x12,1", "load:2: field 'ContextTokens'" },
                { AZURE "2023-11-16 18:17:03,+12,1", "load:2: field 'ContextTokens'" },
                { AZURE "2023-11-16 18:17:03,99999999999999999999999,1",
                  "load:2: field 'ContextTokens' is out of range" },
                { AZURE "2023-11-16 18:17:03,268435457,1", "load:2: field 'ContextTokens' is out of range" },
                { AZURE "2023-13-16 18:17:03,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { AZURE "2023-02-29 18:17:03,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { AZURE "2023-02-31 18:17:03,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { AZURE "2100-02-29 18:17:03,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { AZURE "2023-11-31 18:17:03,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { AZURE "2023-12-32 18:17:03,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { "TIMESTAMP,ContextTokens,GeneratedTokens,contexttokens\n2023-11-16 18:17:03,5,1,1",
                  "load:1: column 'ContextTokens' stands twice" },
                { "TIMESTAMP,TIMESTAMP,ContextTokens,GeneratedTokens\n", "load:1: column 'TIMESTAMP' stands twice" },
                { AZURE "2023-11-16 18:17,5,1", "load:2: field 'TIMESTAMP'" },
                { AZURE "2023-11-16,5,1", "load:2: field 'TIMESTAMP'" },
                { AZURE "17,5,1", "load:2: field 'TIMESTAMP'" },
                { AZURE "1969-11-16 18:17:03,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { AZURE "2023-11-16 18:17:03.,5,1", "load:2: field 'TIMESTAMP'" },
                { AZURE "2023-11-16 18:17:03+25:00,5,1", "load:2: field 'TIMESTAMP' is out of range" },
                { AZURE "2023-11-16 18:17:03+01:00x,5,1", "load:2: field 'TIMESTAMP'" },
                { AZURE "2023-11-16 18:17:03,5,1,9", "load:2: the row has 4 fields, the header 3" },
                { AZURE "2023-11-16 18:17:03,\"5,1", "load:2: a quote that does not end" },
                { BURST "5,ChatGPT,472,18,490", "load:2: the row has 5 fields, the header 6: is it cut?" },
                { BURSTNEW "5,1,2.5,ChatGPT",
                  "load:2: the row has 4 fields, the header 8: there is no field 'Request tokens': is it cut?" },
                { BURST "-5,ChatGPT,472,18,490,x", "load:2: field 'Timestamp' is negative" },
                { BURST "nan,ChatGPT,472,18,490,x", "load:2: field 'Timestamp'" },
                { BURST "5s,ChatGPT,472,18,490,x", "load:2: field 'Timestamp' is not what belongs there: '5s'" },
                { BURST "5,ChatGPT,472,1.5,490,x", "load:2: field 'Response tokens'" },
                { BURST "99999999999999,ChatGPT,472,1,490,x", "load:2: field 'Timestamp' is out of range" },
                { BURST "5,ChatGPT,472,0,490,x\n6,ChatGPT,472,0,490,x",
                  "load: holds no requests but failed ones (2, with no response tokens)" },
                { "{\"timestamp\": 1, \"input_length\": 2, \"output_le", "load:1: column" },
                { "{\"timestamp\": 1, \"input_length\": 2}", "load:1: field 'output_length' is missing" },
                { "{\"timestamp\": -1, \"input_length\": 2, \"output_length\": 3}",
                  "load:1: field 'timestamp' is negative" },
                { "{\"timestamp\": 1, \"input_length\": -2, \"output_length\": 3}",
                  "load:1: field 'input_length' is negative" },
                { "{\"timestamp\": 1, \"input_length\": 2.5, \"output_length\": 3}",
                  "load:1: field 'input_length' is not a whole" },
                { "{\"timestamp\": \"1\", \"input_length\": 2, \"output_length\": 3}",
                  "load:1: field 'timestamp' is not a number" },
                { "{\"timestamp\": 1, \"input_length\": 999999999999, \"output_length\": 3}",
                  "load:1: field 'input_length' is out" },
                { "{\"timestamp\": 1, \"input_length\": 99999999999999999999999, \"output_length\": 3}",
                  "load:1: field 'input_length' is out of range" },
                { "{\"timestamp\": 1e999, \"input_length\": 2, \"output_length\": 3}",
                  "load:1: field 'timestamp' is out of range" },
                { "{\"timestamp\": 1, \"hash_ids\": [1, 99999999999999999999999]}",
                  "load:1: field 'hash_ids' is out of range" },
                { "[99999999999999999999999]", "load:1: neither" },
                { "{\"timestamp\": 1e300, \"input_length\": 2, \"output_length\": 3}",
                  "load:1: field 'timestamp' is out" },
                { "{\"timestamp\": 1, \"input_length\": 2, \"output_length\": 3, \"hash_ids\": 4}",
                  "load:1: field 'hash_ids' is not" },
                { "{\"timestamp\": 1, \"input_length\": 2, \"output_length\": 3}\n[1]\n", "load:2: not a JSON object" },
                { "{\"timestamp\": 1, \"input_length\": 2, \"output_length\": 3}\n" AZURE, "load:2: column" },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct trace trace = { .n = 4711 };
                struct complaint complaint;

                cr_expect_eq(read_text(rows[i].text, &trace, &complaint), -EINVAL, "%zu", i);
                cr_expect_eq(strncmp(complaint.text, rows[i].complaint, strlen(rows[i].complaint)), 0, "%zu: %s", i,
                             complaint.text);
                cr_expect_eq(strstr(complaint.text, "is it cut?") != NULL, strstr(rows[i].complaint, "cut?") != NULL,
                             "%zu: %s", i, complaint.text);
                cr_expect_eq(trace.n, 4711, "an output was touched");
        }
}

Test(replay_trace, complains_of_files_that_are_no_text)
{
        static char line[(1 << 20) + 100];
        struct complaint complaint;
        struct trace trace;

        cr_assert_eq(read_bytes("TIME\0STAMP\n", 11, 0, &trace, &complaint), -EINVAL);
        cr_assert_str_eq(complaint.text, "load:1: a NUL byte: not a text file");
        cr_assert_eq(read_bytes("\x1f\x8b\x08\0\0", 5, 0, &trace, &complaint), -EINVAL);
        cr_assert_str_eq(complaint.text, "load: compressed by gzip: gunzip it first");
        memset(line, '{', sizeof(line));
        cr_assert_eq(read_bytes(line, sizeof(line), 0, &trace, &complaint), -EINVAL);
        cr_assert(strstr(complaint.text, "load:1: a line of more than"), "%s", complaint.text);
        cr_assert_eq(trace_read("/nonexistent/trace", 0, &trace, &complaint), -ENOENT);
        cr_assert_str_eq(complaint.text, "/nonexistent/trace: No such file or directory");
        cr_assert_eq(trace_read("/", 0, &trace, &complaint), -EISDIR);
}

/* Good rows with bytes changed at random: an error or not, but never a crash (the sanitizers look on). */
Test(replay_trace, stands_random_damage)
{
        static const char *const texts[] = {
                AZURE "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n",
                BURSTNEW "0.5,,1.2,\"ChatGPT\",10,20,30,API log\n2,7,,GPT-4,11,21,32,Conversation log\n",
                "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47]}\n",
        };
        uint64_t state = 1;

        for (size_t i = 0; i < 30000; i++) {
                const char *text = texts[i % 3];
                struct complaint complaint;
                struct trace trace;
                char copy[512];
                size_t n = strlen(text);

                memcpy(copy, text, n);
                for (size_t k = 0; k < 3; k++) {
                        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
                        copy[(state >> 33) % n] = "0,\"-.\n{}: \0x9"[(state >> 20) % 13];
                }
                if (read_bytes(copy, n, 0, &trace, &complaint) == 0)
                        trace_clear(&trace);
                else
                        cr_assert_neq(complaint.text[0], '\0');
        }
}

Test(replay_trace, makes_up_the_same_load_from_the_same_seed)
{
        struct trace a, b, c;
        uint64_t prompt = 0, generated = 0;

        cr_assert_eq(trace_make_up(1, 1000, &a), 0);
        cr_assert_eq(trace_make_up(1, 1000, &b), 0);
        cr_assert_eq(trace_make_up(2, 1000, &c), 0);
        cr_assert_eq(memcmp(a.requests, b.requests, 1000 * sizeof(*a.requests)), 0);
        cr_assert_neq(memcmp(a.requests, c.requests, 1000 * sizeof(*a.requests)), 0);
        for (size_t i = 0; i < a.n; i++) {
                cr_assert(i == 0 || a.requests[i].arrival_usec >= a.requests[i - 1].arrival_usec);
                cr_assert_gt(a.requests[i].prompt_tokens, 0);
                prompt += a.requests[i].prompt_tokens;
                generated += a.requests[i].generated_tokens;
        }
        cr_assert(prompt / a.n > 1000 && prompt / a.n < 3000);
        cr_assert(generated / a.n > 10 && generated / a.n < 60);
        cr_assert_eq(trace_make_up(1, 0, &b), -EINVAL);
        trace_clear(&a);
        trace_clear(&b);
        trace_clear(&c);
}

/* The figures of the folder's own README. */
Test(replay_trace, makes_up_bursts)
{
        struct trace first, second, other;

        cr_assert_eq(trace_make_bursts(7, 100, 8, &first), 0);
        cr_assert_eq(trace_make_bursts(7, 100, 8, &second), 0);
        cr_assert_eq(trace_make_bursts(8, 100, 8, &other), 0);
        cr_assert(first.n == 100 && memcmp(first.requests, second.requests, 100 * sizeof(*first.requests)) == 0);
        cr_assert_neq(memcmp(first.requests, other.requests, 100 * sizeof(*first.requests)), 0);
        for (size_t i = 0; i < 100; i++) {
                const struct request *request = &first.requests[i];

                cr_assert_eq(request->id, i);
                cr_assert_eq(request->burst, i * 8 / 100);
                if (i > 0 && request[-1].burst == request->burst)
                        cr_assert_geq(request->arrival_usec, request[-1].arrival_usec);
                else
                        cr_assert_eq(request->arrival_usec, 0);
        }
        cr_assert_eq(trace_make_bursts(7, 3, 8, &other), -EINVAL);
        cr_assert_eq(trace_make_bursts(7, 0, 0, &other), -EINVAL);
        trace_clear(&first);
        trace_clear(&second);
        trace_clear(&other);
}

Test(replay_trace, reads_the_public_traces)
{
        const char *folder = getenv("KVPAGER_TRACES");
        struct complaint complaint;
        char path[4096];
        struct trace trace;
        uint64_t prompt = 0;

        if (!folder || !folder[0]) {
                (void)fprintf(stderr, "no folder of traces: set KVPAGER_TRACES\n");
                return;
        }
        (void)snprintf(path, sizeof(path), "%s/azure-llm-2023-code.csv", folder);
        cr_assert_eq(trace_read(path, 0, &trace, &complaint), 0, "%s", complaint.text);
        cr_assert_eq(trace.n, 8819);
        for (size_t i = 0; i < trace.n; i++)
                prompt += trace.requests[i].prompt_tokens;
        cr_assert_eq(prompt / trace.n, 2047);
        trace_clear(&trace);
        (void)snprintf(path, sizeof(path), "%s/mooncake-fast25-synthetic.jsonl", folder);
        cr_assert_eq(trace_read(path, 0, &trace, &complaint), 0, "%s", complaint.text);
        cr_assert_eq(trace.n, 3993);
        cr_assert_eq(trace_longest_tokens(&trace), 191386);
        trace_clear(&trace);
}
