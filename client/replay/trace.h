/* SPDX-License-Identifier: MIT
 *
 * trace.h -- requests of a serving load, from a file in a public format or made up from a seed.
 *
 * Formats are told from the first line: Azure LLM inference CSV, BurstGPT CSV (old and new columns), Mooncake JSONL.
 * A row that is cut, negative, too large or no number is an error that names file, line and field.
 */
#ifndef KVPAGER_REPLAY_TRACE_H
#define KVPAGER_REPLAY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "complaint.h"

#define TRACE_TOKENS_MAX                                                                                               \
        (UINT32_C(1) << 28) /* of a prompt or an answer: far beyond any model, far below any overflow */

struct request {
        uint64_t arrival_usec;     /* since the first request of the trace, or since its burst began */
        uint32_t id;               /* place in the trace, from 0 */
        uint32_t prompt_tokens;    /* at least 1 */
        uint32_t generated_tokens; /* 0: done after prefill */
        uint32_t burst;            /* which it is of, in a load of bursts */
        bool impossible;           /* can never fit; set by who knows the memory */
};

struct trace {
        struct request *requests; /* by arrival, then by place in the file */
        size_t n;
        uint64_t failed;    /* rows of requests that failed when they were recorded (BurstGPT); not replayed */
        const char *format; /* "azure", "burstgpt", "mooncake", "synthetic" */
};

/* Reads at most `max_requests` (0: all) of `path`. -EINVAL: a bad row or no known format; else open and read errors. */
int trace_read(const char *path, uint64_t max_requests, struct trace *ret_trace, struct complaint *complaint);

/* The same from an open file; `name` is for complaints. */
int trace_read_file(FILE *file, const char *name, uint64_t max_requests, struct trace *ret_trace,
                    struct complaint *complaint);

/* A load of the code-completion kind: bursts of arrivals, prompts around 2,000 tokens with a long tail, short answers.
 * The same seed gives the same requests. */
int trace_make_up(uint64_t seed, uint64_t n_requests, struct trace *ret_trace);

/* A load of `n_bursts` bursts of about as many requests each, at most n_requests: those of a burst come within a
 * moment, with short prompts and answers of some hundred tokens. Seeded as above. */
int trace_make_bursts(uint64_t seed, uint64_t n_requests, uint32_t n_bursts, struct trace *ret_trace);

void trace_clear(struct trace *trace);

/* The longest prompt and answer together; 0 for an empty trace. */
uint64_t trace_longest_tokens(const struct trace *trace);

#endif
