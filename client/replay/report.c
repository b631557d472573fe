/* SPDX-License-Identifier: MIT
 *
 * report.c -- the outcome of a replay as one JSON object, or as a table for people.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include "cleanup.h"
#include "number.h"
#include "outcome.h"
#include "utf8.h"

static double ratio(uint64_t part, uint64_t whole)
{
        return whole ? (double)part / (double)whole : 0;
}

static double wait_usec(const struct outcome *outcome, double share)
{
        return (double)histogram_quantile(&outcome->wait_nsec, share) / 1000;
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
        json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_real(json_t *object, const char *key, double value)
{
        json_object_set_new(object, key, json_real(value));
}

static void set_figures(json_t *object, const struct outcome *outcome)
{
        const struct simulation *simulation = &outcome->simulation;

        set_number(object, "requests", outcome->requests);
        set_number(object, "requests_completed", outcome->completed);
        set_number(object, "requests_rejected", outcome->rejected);
        set_number(object, "requests_failed_in_trace", outcome->trace_failed);
        set_number(object, "tokens", outcome->tokens);
        set_number(object, "preemptions", outcome->preemptions);
        set_number(object, "preemptions_pressure", outcome->given_up);
        set_number(object, "preemptions_paged16", simulation->preemptions);
        set_number(object, "verify_mismatches", outcome->mismatches);
        set_number(object, "grants_after_prefill", outcome->grants_after_prefill);
        set_number(object, "requests_grown_after_prefill", outcome->pager.grown_after_prefill);
        set_number(object, "peak_live_bytes", outcome->peak_live_bytes);
        set_number(object, "peak_idle_bytes", outcome->peak_idle_bytes);
        set_number(object, "paged16_peak_bytes", outcome_paged16_bytes(outcome, simulation->peak_blocks));
        set_number(object, "reserve_ahead_bytes", outcome_reserved_bytes(outcome, simulation->peak_running));
}

static void set_counters(json_t *object, const struct outcome *outcome)
{
        const struct pager_counters *pager = &outcome->pager;

        set_number(object, "iterations", outcome->iterations);
        set_number(object, "steps", outcome->steps);
        set_number(object, "steps_waited", outcome->steps_waited);
        set_number(object, "steps_with_syscalls", outcome->steps_with_syscalls);
        set_number(object, "messages", outcome->messages);
        set_number(object, "mapper_wakes", outcome->mapper_wakes);
        set_number(object, "grants", outcome->grants);
        set_number(object, "granted_bytes", outcome->granted_bytes);
        set_number(object, "round_trips", outcome->round_trips);
        set_number(object, "returns", outcome->returns);
        set_number(object, "refusals", outcome->refusals);
        set_number(object, "prompts", pager->prompts);
        set_real(object, "extents_per_prompt", ratio(pager->prompt_extents, pager->prompts));
        set_real(object, "round_trips_per_prompt", ratio(pager->prompt_round_trips, pager->prompts));
        set_number(object, "cold_prompts", pager->cold_prompts);
        set_real(object, "extents_per_cold_prompt", ratio(pager->cold_prompt_extents, pager->cold_prompts));
        set_real(object, "round_trips_per_cold_prompt", ratio(pager->cold_prompt_round_trips, pager->cold_prompts));
}

static void set_tenants(json_t *object, const struct outcome *outcome)
{
        json_t *list = json_array();

        for (uint32_t i = 0; i < outcome->options->tenants; i++) {
                const struct outcome_tenant *tenant = &outcome->tenants[i];
                json_t *item = json_object();

                json_object_set_new(item, "name", json_string(tenant->name));
                set_number(item, "requests_completed", tenant->completed);
                set_number(item, "tokens", tenant->tokens);
                set_number(item, "preemptions", tenant->preemptions);
                set_number(item, "preemptions_pressure", tenant->given_up);
                set_number(item, "peak_live_bytes", tenant->peak_live_bytes);
                set_number(item, "hungry_bytes", (uint64_t)tenant->hungry_bytes);
                json_array_append_new(list, item);
        }
        json_object_set_new(object, "by_tenant", list);
        set_real(object, "hungry_seconds", outcome->hungry_seconds);
}

static void set_setting(json_t *object, const struct outcome *outcome)
{
        const struct options *options = outcome->options;
        _cleanup_(cleanup_free) char *trace = options->trace ? utf8_repair(options->trace) : NULL;

        json_object_set_new(object, "trace", trace ? json_string(trace) : json_null());
        json_object_set_new(object, "format", json_string(outcome->format));
        json_object_set_new(object, "scenario",
                            options->scenario ? json_string(scenario_name(options->scenario)) : json_null());
        json_object_set_new(object, "fixed_split", json_boolean(options->fixed_split));
        set_number(object, "tenants", options->tenants);
        set_number(object, "workers", options->workers);
        set_number(object, "max_seqs", options->max_seqs);
        set_number(object, "max_tokens", outcome->max_tokens);
        json_object_set_new(object, "geometry", json_string(options->geometry.name));
        json_object_set_new(object, "layout", json_string(layout_name(options->layout)));
        set_number(object, "token_bytes", geometry_token_bytes(&options->geometry));
        set_number(object, "page_size", outcome->page_size);
        set_number(object, "capacity_bytes", outcome->capacity);
        json_object_set_new(object, "private_daemon", json_boolean(!outcome->external));
        json_object_set_new(object, "verify", json_boolean(options->verify));
        json_object_set_new(object, "no_compute", json_boolean(options->no_compute));
        set_real(object, "wall_seconds", outcome->wall_seconds);
        set_real(object, "virtual_seconds", outcome->trace_seconds);
        set_real(object, "tokens_per_second",
                 outcome->wall_seconds > 0 ? (double)outcome->tokens / outcome->wall_seconds : 0);
        set_real(object, "tokens_per_virtual_second", outcome_virtual_rate(outcome));
}

int report_print_json(const struct outcome *outcome, FILE *file)
{
        json_t *object = json_object(), *wait = json_object();
        char checksum[32];
        int r;

        assert(file);

        if (!object || !wait) {
                json_decref(object);
                json_decref(wait);
                return -ENOMEM;
        }
        set_figures(object, outcome);
        set_real(wait, "p50", wait_usec(outcome, 0.5));
        set_real(wait, "p99", wait_usec(outcome, 0.99));
        set_real(wait, "max", (double)outcome->wait_nsec.max / 1000);
        json_object_set_new(object, "step_wait_usec", wait);
        set_counters(object, outcome);
        if (!outcome->options->no_compute) { /* a JSON number would not hold 64 bits everywhere */
                (void)snprintf(checksum, sizeof(checksum), "%016" PRIx64, outcome->checksum);
                json_object_set_new(object, "attention_checksum", json_string(checksum));
        }
        if (outcome->first_mismatch[0])
                json_object_set_new(object, "first_mismatch", json_string(outcome->first_mismatch));
        set_tenants(object, outcome);
        set_setting(object, outcome);
        r = json_dumpf(object, file, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        json_decref(object);
        return r < 0 || fputc('\n', file) == EOF || fflush(file) != 0 ? -EIO : 0;
}

static void print_head(const struct outcome *outcome, FILE *file)
{
        const struct options *options = outcome->options;
        char page[32], capacity[32];

        (void)fprintf(file, "%s: %ju requests (%s), %u tenant%s x %u worker%s, up to %u sequences each\n",
                      options->trace      ? options->trace
                      : options->scenario ? scenario_name(options->scenario)
                                          : "made-up load",
                      (uintmax_t)outcome->requests, outcome->format, options->tenants, options->tenants == 1 ? "" : "s",
                      options->workers, options->workers == 1 ? "" : "s", options->max_seqs);
        (void)fprintf(file, "%s, %s, pages of %s, %s kvpagerd with %s; %s\n\n", options->geometry.name,
                      layout_name(options->layout), size_format(outcome->page_size, page, sizeof(page)),
                      outcome->external ? "the running" : "a private",
                      size_format(outcome->capacity, capacity, sizeof(capacity)),
                      options->no_compute ? "marks only, virtual clock"
                      : options->verify   ? "attention computed and verified"
                                          : "attention computed");
}

static void print_count(FILE *file, const char *label, uint64_t value, const char *note)
{
        (void)fprintf(file, "  %-30s %16" PRIu64 "%s%s\n", label, value, note[0] ? "  " : "", note);
}

static void print_bytes(FILE *file, const char *label, uint64_t bytes, const char *note)
{
        char size[32];

        (void)fprintf(file, "  %-30s %16s%s%s\n", label, size_format(bytes, size, sizeof(size)), note[0] ? "  " : "",
                      note);
}

static void print_real(FILE *file, const char *label, double value, const char *unit)
{
        (void)fprintf(file, "  %-30s %16.1f%s%s\n", label, value, unit[0] ? "  " : "", unit);
}

static void print_work(const struct outcome *outcome, FILE *file)
{
        char note[96];

        (void)fputs("work\n", file);
        print_count(file, "requests completed", outcome->completed, "");
        print_count(file, "requests rejected", outcome->rejected, outcome->rejected ? "can never fit" : "");
        if (outcome->trace_failed)
                print_count(file, "failed in the trace", outcome->trace_failed, "not replayed");
        (void)snprintf(note, sizeof(note), "%.0f a second of wall time",
                       outcome->wall_seconds > 0 ? (double)outcome->tokens / outcome->wall_seconds : 0);
        print_count(file, "tokens", outcome->tokens, note);
        (void)snprintf(note, sizeof(note), "16-token blocks on the same schedule: %" PRIu64,
                       outcome->simulation.preemptions);
        print_count(file, "preemptions", outcome->preemptions, note);
        if (outcome->given_up)
                print_count(file, "of these under pressure", outcome->given_up, "others wanted the memory");
        if (outcome->options->verify || outcome->options->no_compute)
                print_count(file, outcome->options->verify ? "verify mismatches" : "mark mismatches",
                            outcome->mismatches, outcome->first_mismatch);
        print_real(file, "wall time", outcome->wall_seconds, "s");
        print_real(file, options_virtual_clock(outcome->options) ? "virtual time" : "time of the trace",
                   outcome->trace_seconds, "s");
        if (options_virtual_clock(outcome->options))
                print_real(file, "tokens a virtual second", outcome_virtual_rate(outcome), "");
}

static void print_memory(const struct outcome *outcome, FILE *file)
{
        const struct simulation *simulation = &outcome->simulation;

        (void)fputs("\nmemory at its peak\n", file);
        print_bytes(file, "kvpager, live", outcome->peak_live_bytes, "mapped in rows that a sequence holds");
        print_bytes(file, "kvpager, idle", outcome->peak_idle_bytes, "kept in released rows for the next request");
        print_bytes(file, "16-token blocks", outcome_paged16_bytes(outcome, simulation->peak_blocks), "simulated");
        print_bytes(file, "reserve ahead", outcome_reserved_bytes(outcome, simulation->peak_running),
                    "simulated: the longest length for each sequence");
}

static void print_paging(const struct outcome *outcome, FILE *file)
{
        const struct pager_counters *pager = &outcome->pager;

        (void)fputs("\npaging\n", file);
        print_count(file, "steps", outcome->steps, "");
        print_count(file, "steps with a system call", outcome->steps_with_syscalls, "");
        print_count(file, "messages sent", outcome->messages, "");
        print_real(file, "wait in a step, median", wait_usec(outcome, 0.5), "us");
        print_real(file, "99th percentile", wait_usec(outcome, 0.99), "us");
        print_real(file, "longest", (double)outcome->wait_nsec.max / 1000, "us");
        print_real(file, "extents a cold prompt", ratio(pager->cold_prompt_extents, pager->cold_prompts), "");
        print_real(file, "round trips a cold prompt", ratio(pager->cold_prompt_round_trips, pager->cold_prompts), "");
        print_count(file, "extents granted after prefill", outcome->grants_after_prefill, "");
        print_count(file, "sequences grown after prefill", pager->grown_after_prefill, "");
}

/* In a scenario: who had what. */
static void print_tenants(const struct outcome *outcome, FILE *file)
{
        if (outcome->options->scenario == SCENARIO_NONE)
                return;
        (void)fputs("\ntenants\n", file);
        for (uint32_t i = 0; i < outcome->options->tenants; i++) {
                const struct outcome_tenant *tenant = &outcome->tenants[i];
                char note[96], hungry[32];

                (void)snprintf(note, sizeof(note), "at its peak; %ju preemptions%s%s", (uintmax_t)tenant->preemptions,
                               outcome->hungry_seconds > 0 ? ", while all were hungry " : "",
                               outcome->hungry_seconds > 0
                                       ? size_format((uint64_t)tenant->hungry_bytes, hungry, sizeof(hungry))
                                       : "");
                print_bytes(file, tenant->name, tenant->peak_live_bytes, note);
        }
}

int report_print_table(const struct outcome *outcome, FILE *file)
{
        assert(file);

        print_head(outcome, file);
        print_work(outcome, file);
        print_memory(outcome, file);
        print_tenants(outcome, file);
        print_paging(outcome, file);
        return fflush(file) == 0 ? 0 : -EIO;
}
