/* SPDX-License-Identifier: MIT
 *
 * plan.c -- see plan.h.
 */
#include "plan.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* Of the mean length, at a time: in bursts all of the device; in a hungry crowd a tenant's part, if all are alike. */
#define BURSTS_SEQUENCES 16u
#define HUNGRY_SEQUENCES 48u

#define ARRIVAL_USEC_MAX (UINT64_C(1) << 62) /* whatever comes later than in 100,000 years comes then */
#define CAPACITY_MAX     (UINT64_MAX / 4)

uint32_t plan_bursts(const struct options *options, uint64_t n_requests)
{
        uint64_t n = (uint64_t)options->tenants * BURSTS_A_TENANT;

        if (options->scenario != SCENARIO_BURSTS)
                return 0;
        if (n > BURSTS_MAX)
                n = BURSTS_MAX;
        return (uint32_t)(n < n_requests ? n : n_requests);
}

/* The worker that gets the next request; `next` is what each tenant's next one is, the first one's where all workers
 * take turns. */
static uint32_t deal(const struct options *options, const struct request *request, uint32_t *next)
{
        const uint32_t n_workers = options->tenants * options->workers;
        uint32_t tenant, worker;

        if (options->scenario != SCENARIO_BURSTS)
                return next[0]++ % n_workers;
        tenant = request->burst % options->tenants;
        worker = next[tenant]++ % options->workers;
        return worker * options->tenants + tenant;
}

static uint64_t request_tokens(const struct request *request)
{
        return (uint64_t)request->prompt_tokens + request->generated_tokens;
}

static uint64_t arrival_at_speed(uint64_t usec, double speed)
{
        const double slowed = (double)usec / speed;

        return slowed < (double)ARRIVAL_USEC_MAX ? (uint64_t)slowed : ARRIVAL_USEC_MAX;
}

int plan_deal(const struct options *options, const struct trace *trace, double speed, struct plan *ret_plan)
{
        struct plan plan = { .n_workers = options->tenants * options->workers };
        _cleanup_(cleanup_free) uint32_t *next = calloc(options->tenants, sizeof(*next));

        assert(trace->n > 0 && speed > 0);
        assert(plan.n_workers > 0);

        plan.max_tokens = options->max_tokens ? options->max_tokens : trace_longest_tokens(trace);
        plan.shares = calloc(plan.n_workers, sizeof(*plan.shares));
        plan.n_shares = calloc(plan.n_workers, sizeof(*plan.n_shares));
        for (size_t i = 0; plan.shares && plan.n_shares && next && i < trace->n; i++)
                plan.n_shares[deal(options, &trace->requests[i], next)]++;
        for (uint32_t i = 0; i < plan.n_workers; i++) {
                if (plan.shares && plan.n_shares && next)
                        plan.shares[i] = calloc(plan.n_shares[i] + 1, sizeof(**plan.shares));
                if (!plan.shares || !plan.n_shares || !next || !plan.shares[i]) {
                        plan_clear(&plan);
                        return -ENOMEM;
                }
                plan.n_shares[i] = 0;
        }
        memset(next, 0, options->tenants * sizeof(*next));
        for (size_t i = 0; i < trace->n; i++) {
                const uint32_t worker = deal(options, &trace->requests[i], next);
                struct request *request = &plan.shares[worker][plan.n_shares[worker]++];

                *request = trace->requests[i];
                request->arrival_usec = arrival_at_speed(request->arrival_usec, speed);
                request->impossible = request_tokens(request) > plan.max_tokens;
        }
        *ret_plan = plan;
        return 0;
}

void plan_fill_bursts(const struct plan *plan, uint32_t n_bursts, struct bursts *bursts)
{
        assert(n_bursts > 0 && n_bursts <= BURSTS_MAX);

        bursts->n = n_bursts;
        for (uint32_t i = 0; i < plan->n_workers; i++)
                for (size_t k = 0; k < plan->n_shares[i]; k++)
                        bursts->burst[plan->shares[i][k].burst].requests++;
        bursts_rewind(bursts);
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

/* No size is so large that it would wrap around: those beyond CAPACITY_MAX are as good as that. */
static uint64_t product(uint64_t a, uint64_t b)
{
        return a > 0 && b > CAPACITY_MAX / a ? CAPACITY_MAX : a * b;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
        return a > CAPACITY_MAX - b ? CAPACITY_MAX : a + b;
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
        *ret_bytes = product(simulation->peak_blocks * LEDGER_BLOCK_TOKENS, geometry_token_bytes(&options->geometry));
        *ret_running = simulation->peak_running;
        return 0;
}

static uint64_t largest_request_pages(const struct plan *plan, const struct options *options)
{
        uint64_t most = 0;

        for (uint32_t i = 0; i < plan->n_workers; i++)
                for (size_t k = 0; k < plan->n_shares[i]; k++) {
                        const struct request *request = &plan->shares[i][k];
                        uint64_t pages;

                        if (request->impossible)
                                continue;
                        pages = geometry_pages(&options->geometry, options->layout, plan->page_size,
                                               request_tokens(request));
                        most = pages > most ? pages : most;
                }
        return most;
}

/* As many sequences of the mean length as the scenario wants to see at a time, in pages. */
static uint64_t scenario_pages(const struct plan *plan, const struct options *options)
{
        const uint64_t sequences = options->scenario == SCENARIO_BURSTS ? BURSTS_SEQUENCES
                                                                        : (uint64_t)HUNGRY_SEQUENCES * options->tenants;
        uint64_t pages = 0, n = 0;

        for (uint32_t i = 0; i < plan->n_workers; i++)
                for (size_t k = 0; k < plan->n_shares[i]; k++) {
                        pages = sum(pages, geometry_pages(&options->geometry, options->layout, plan->page_size,
                                                          request_tokens(&plan->shares[i][k])));
                        n++;
                }
        return product(sequences, pages) / n;
}

/* The yardstick's peak in blocks, and what sequences leave half empty in the last page of each plane. On the virtual
 * clock ample, so that a run without --capacity shows what the load takes. With attention computed a quarter of that,
 * for engines there keep their own time: the device fills up, so that rows are trimmed, revoked and reclaimed, and
 * decoding asks for pages, while outputs are verified. Where memory is filled, what is free has the last word: a
 * request that does not fit then is rejected. */
int plan_capacity(struct plan *plan, const struct options *options, uint64_t available)
{
        const uint64_t planes = geometry_planes(&options->geometry, options->layout),
                       limit = available / (options->verify ? 4 : 2);
        uint64_t bytes, running, pages, least;
        int r;

        assert(plan->page_size > 0);

        least = largest_request_pages(plan, options) + 2 * planes;
        if (options->scenario != SCENARIO_NONE) {
                pages = scenario_pages(plan, options);
                least *= options->fixed_split ? options->tenants : 1;
        } else {
                r = run_yardstick(plan, options, &bytes, &running);
                if (r < 0)
                        return r;
                plan->unconstrained = options->no_compute;
                if (options->no_compute)
                        bytes = sum(bytes, sum(bytes / 4, product(8 * planes * running, plan->page_size)));
                else
                        bytes = sum(bytes, product(planes * running, plan->page_size) / 2) / 8;
                pages = bytes / plan->page_size;
        }
        if (pages < least)
                pages = least;
        if (!options->no_compute && available > 0 && pages > limit / plan->page_size)
                pages = limit / plan->page_size;
        plan->capacity = product(pages, plan->page_size) / plan->page_size * plan->page_size;
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
        const uint64_t parts = options->fixed_split ? options->tenants : 1, bytes = plan->capacity / parts,
                       block = LEDGER_BLOCK_TOKENS * geometry_token_bytes(&options->geometry);

        if (plan->unconstrained)
                return UINT64_MAX;
        return (bytes / block + (bytes % block > 0)) * parts;
}

void plan_mark_impossible(struct plan *plan, const struct options *options)
{
        uint64_t pages = plan->capacity / plan->page_size, longest = 1;

        for (uint32_t i = 0; i < plan->n_workers; i++) {
                uint64_t most = plan->limits ? plan->limits[i % options->tenants] / plan->page_size : pages;

                for (size_t k = 0; k < plan->n_shares[i]; k++) {
                        struct request *request = &plan->shares[i][k];
                        uint64_t tokens = request_tokens(request);

                        request->impossible = tokens > plan->max_tokens ||
                                              geometry_pages(&options->geometry, options->layout, plan->page_size,
                                                             tokens) > (most < pages ? most : pages);
                        if (!request->impossible && tokens > longest)
                                longest = tokens;
                }
        }
        if (!options->max_tokens)
                plan->max_tokens = longest;
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
