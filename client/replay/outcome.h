/* SPDX-License-Identifier: MIT
 *
 * outcome.h -- all that a replay found out, for the report and the plot.
 */
#ifndef KVPAGER_REPLAY_OUTCOME_H
#define KVPAGER_REPLAY_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "complaint.h"
#include "histogram.h"
#include "options.h"
#include "pager.h"
#include "simulate.h"
#include "trace.h"

/* What one tenant did and had. */
struct outcome_tenant {
        char name[16];
        uint64_t completed, preemptions, given_up, tokens, peak_live_bytes;
        double hungry_bytes; /* that the daemon charged it for, in the mean while all tenants were hungry */
        struct timeline live, idle;
};

struct outcome {
        const struct options *options;
        const char *format; /* of the trace */
        uint64_t requests, trace_failed;
        uint64_t page_size, capacity, max_tokens;
        bool external; /* the daemon is not ours */
        /* All workers together. */
        uint64_t completed, rejected, preemptions, given_up, tokens, iterations;
        uint64_t steps, steps_waited, steps_with_syscalls, messages, mapper_wakes;
        uint64_t grants, granted_bytes, round_trips, returns, refusals, grants_after_prefill;
        uint64_t mismatches, checksum;
        char first_mismatch[160];
        struct pager_counters pager;
        struct histogram wait_nsec;
        uint64_t peak_live_bytes, peak_idle_bytes;
        struct timeline live, idle;
        struct outcome_tenant *tenants; /* options->tenants of them; outcome_clear() frees them */
        double hungry_seconds;          /* in which all tenants had requests that waited, and the device was full */
        double wall_seconds, trace_seconds;
        /* The yardsticks. */
        struct simulation simulation;
};

static inline uint64_t outcome_paged16_bytes(const struct outcome *outcome, uint64_t blocks)
{
        return blocks * LEDGER_BLOCK_TOKENS * geometry_token_bytes(&outcome->options->geometry);
}

static inline uint64_t outcome_reserved_bytes(const struct outcome *outcome, uint64_t running)
{
        return running * outcome->max_tokens * geometry_token_bytes(&outcome->options->geometry);
}

static inline void outcome_clear(struct outcome *outcome)
{
        free(outcome->tenants);
        outcome->tenants = NULL;
}

/* By the clock that engines keep by the cost model; 0 where they do not. */
static inline double outcome_virtual_rate(const struct outcome *outcome)
{
        return options_virtual_clock(outcome->options) && outcome->trace_seconds > 0
                       ? (double)outcome->tokens / outcome->trace_seconds
                       : 0;
}

/* Nothing was lost and nothing was wrong. */
static inline bool outcome_is_good(const struct outcome *outcome)
{
        return outcome->mismatches == 0 && outcome->completed + outcome->rejected == outcome->requests;
}

/* -EIO: the stream. */
int report_print_json(const struct outcome *outcome, FILE *file);
int report_print_table(const struct outcome *outcome, FILE *file);

/* Draws bytes over time as SVG. */
int plot_write(const struct outcome *outcome, const char *path, struct complaint *complaint);

#endif
