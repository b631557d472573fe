/* SPDX-License-Identifier: MIT
 *
 * plan.c -- see plan.h.
 */
#include "plan.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cleanup.h"

int plan_deal(const struct options *options, const struct trace *trace, double speed, struct plan *ret_plan)
{
        struct plan plan = { .n_workers = options->tenants * options->workers };

        assert(trace->n > 0 && speed > 0);
        assert(plan.n_workers > 0);

        plan.max_tokens = options->max_tokens ? options->max_tokens : trace_longest_tokens(trace);
        plan.shares = calloc(plan.n_workers, sizeof(*plan.shares));
        plan.n_shares = calloc(plan.n_workers, sizeof(*plan.n_shares));
        for (uint32_t i = 0; plan.shares && plan.n_shares && i < plan.n_workers; i++) {
                plan.n_shares[i] = trace->n / plan.n_workers + (i < trace->n % plan.n_workers);
                plan.shares[i] = calloc(plan.n_shares[i] + 1, sizeof(**plan.shares));
        }
        for (uint32_t i = 0; i < plan.n_workers; i++)
                if (!plan.shares || !plan.n_shares || !plan.shares[i]) {
                        plan_clear(&plan);
                        return -ENOMEM;
                }
        for (size_t i = 0; i < trace->n; i++) {
                struct request *request = &plan.shares[i % plan.n_workers][i / plan.n_workers];

                *request = trace->requests[i];
                request->arrival_usec = (uint64_t)((double)request->arrival_usec / speed);
        }
        *ret_plan = plan;
        return 0;
}

void plan_clear(struct plan *plan)
{
        for (uint32_t i = 0; plan->shares && i < plan->n_workers; i++)
                free(plan->shares[i]);
        free(plan->shares);
        free(plan->n_shares);
        free(plan->limits);
        *plan = (struct plan){ 0 };
}

static uint64_t request_tokens(const struct request *request)
{
        return (uint64_t)request->prompt_tokens + request->generated_tokens;
}

static int run_yardstick(const struct plan *plan, const struct options *options, uint64_t *ret_bytes,
                         uint64_t *ret_running)
{
        const struct simulation_options simulation_options = {
                .n_engines = plan->n_workers,
                .max_seqs = options->max_seqs,
                .capacity_blocks = UINT64_MAX,
        };
        _cleanup_(cleanup_free) struct simulation *simulation = calloc(1, sizeof(*simulation));
        int r;

        if (!simulation)
                return -ENOMEM;
        r = simulate_paged16(&simulation_options, (const struct request *const *)plan->shares, plan->n_shares,
                             simulation);
        if (r < 0)
                return r;
        *ret_bytes = simulation->peak_blocks * LEDGER_BLOCK_TOKENS * geometry_token_bytes(&options->geometry);
        *ret_running = simulation->peak_running;
        return 0;
}

static uint64_t largest_request_pages(const struct plan *plan, const struct options *options)
{
        uint64_t most = 0;

        for (uint32_t i = 0; i < plan->n_workers; i++)
                for (size_t k = 0; k < plan->n_shares[i]; k++) {
                        uint64_t pages = geometry_pages(&options->geometry, options->layout, plan->page_size,
                                                        request_tokens(&plan->shares[i][k]));

                        most = pages > most ? pages : most;
                }
        return most;
}

/* The yardstick's peak in blocks, and what sequences leave half empty in the last page of each plane. On the virtual
 * clock ample, so that a run without --capacity shows what the load takes. With attention computed hardly more than
 * that: the device fills up, so that rows are trimmed, revoked and reclaimed while outputs are verified. */
int plan_capacity(struct plan *plan, const struct options *options, uint64_t available)
{
        const uint64_t planes = geometry_planes(&options->geometry, options->layout),
                       limit = available / (options->verify ? 4 : 2);
        uint64_t bytes, running, pages, least;
        int r;

        assert(plan->page_size > 0);

        r = run_yardstick(plan, options, &bytes, &running);
        if (r < 0)
                return r;
        plan->unconstrained = options->no_compute;
        if (options->no_compute)
                bytes += bytes / 4 + 8 * planes * running * plan->page_size;
        else
                bytes = (bytes + planes * running * plan->page_size / 2) / 2;
        if (!options->no_compute && limit > 0 && bytes > limit)
                bytes = limit;
        pages = bytes / plan->page_size;
        least = largest_request_pages(plan, options) + 2 * planes;
        plan->capacity = (pages > least ? pages : least) * plan->page_size;
        return 0;
}

void plan_limit(struct plan *plan, const struct options *options, uint64_t device, uint64_t *limits, bool shared)
{
        uint64_t sum = 0;

        assert(plan->page_size > 0);
        assert(limits);

        for (uint32_t i = 0; i < (shared ? 1 : options->tenants); i++)
                sum += limits[i] < device - sum ? limits[i] : device - sum;
        plan->capacity = sum / plan->page_size * plan->page_size;
        plan->limits = limits;
}

uint64_t plan_capacity_blocks(const struct plan *plan, const struct options *options)
{
        if (plan->unconstrained)
                return UINT64_MAX;
        return plan->capacity / (LEDGER_BLOCK_TOKENS * geometry_token_bytes(&options->geometry));
}

void plan_mark_impossible(struct plan *plan, const struct options *options)
{
        uint64_t blocks = plan_capacity_blocks(plan, options), pages = plan->capacity / plan->page_size;

        for (uint32_t i = 0; i < plan->n_workers; i++) {
                uint64_t most = plan->limits ? plan->limits[i % options->tenants] / plan->page_size : pages;

                for (size_t k = 0; k < plan->n_shares[i]; k++) {
                        struct request *request = &plan->shares[i][k];
                        uint64_t tokens = request_tokens(request);

                        request->impossible = tokens > plan->max_tokens || ledger_blocks(tokens) > blocks ||
                                              geometry_pages(&options->geometry, options->layout, plan->page_size,
                                                             tokens) > (most < pages ? most : pages);
                }
        }
}

uint64_t memory_available(void)
{
        _cleanup_(cleanup_file) FILE *file = fopen("/proc/meminfo", "re");
        char line[128];
        uint64_t kibibytes;

        while (file && fgets(line, sizeof(line), file))
                if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kibibytes) == 1)
                        return kibibytes * 1024;
        return 0;
}
