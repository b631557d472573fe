/* SPDX-License-Identifier: MIT
 *
 * simulate.c -- see simulate.h. Events are iterations: the engine whose clock is furthest behind runs next.
 */
#include "simulate.h"

#include <assert.h>
#include <stdlib.h>

#include "cleanup.h"
#include "paged16.h"

#define STALLED_MAX UINT64_C(1000000) /* iterations in a row in which nothing could be done */

struct fleet {
        struct engine *engines;
        uint64_t *clocks;
        size_t n;
};

static void fleet_clear(struct fleet *fleet)
{
        for (size_t i = 0; fleet->engines && i < fleet->n; i++)
                engine_clear(&fleet->engines[i]);
        free(fleet->engines);
        free(fleet->clocks);
}

/* The engine to run next and when; SIZE_MAX: all are done. */
static size_t fleet_next(const struct fleet *fleet, uint64_t *ret_usec)
{
        uint64_t best = UINT64_MAX;
        size_t chosen = SIZE_MAX;

        for (size_t i = 0; i < fleet->n; i++) {
                uint64_t next = engine_next(&fleet->engines[i], fleet->clocks[i]);

                if (next < best) {
                        best = next;
                        chosen = i;
                }
        }
        *ret_usec = best;
        return chosen;
}

static int fleet_run(struct fleet *fleet, const struct paged16 *pool, struct simulation *simulation)
{
        uint64_t now, n_stalled = 0, running = 0;
        size_t i;

        while ((i = fleet_next(fleet, &now)) != SIZE_MAX) {
                struct engine *engine = &fleet->engines[i];
                struct engine_iteration iteration;
                size_t before = engine->n_running;
                int r;

                r = engine_iterate(engine, now, &iteration);
                if (r < 0)
                        return r;
                n_stalled = iteration.stalled ? n_stalled + 1 : 0;
                if (n_stalled > STALLED_MAX)
                        return -ELOOP;
                simulation->iterations++;
                fleet->clocks[i] = now + iteration.duration_usec;
                if (fleet->clocks[i] > simulation->end_usec)
                        simulation->end_usec = fleet->clocks[i];

                running = running - before + engine->n_running;
                if (running > simulation->peak_running)
                        simulation->peak_running = running;
                timeline_record(&simulation->running, now, running);
                timeline_record(&simulation->blocks, now, pool->used_blocks);

                before = engine->n_running;
                r = engine_complete(engine);
                if (r < 0)
                        return r;
                running = running - before + engine->n_running;
        }
        return 0;
}

int simulate_paged16(const struct simulation_options *options, const struct request *const *shares,
                     const size_t *n_shares, struct simulation *ret_simulation)
{
        _cleanup_(fleet_clear) struct fleet fleet = { .n = options->n_engines };
        _cleanup_(cleanup_free) struct simulation *simulation = NULL;
        struct paged16 pool = { .capacity_blocks = options->capacity_blocks };
        struct ledger ledger = { .capacity = options->capacity_blocks, .spare = options->spare_blocks };
        int r;

        assert(options->n_engines > 0 && options->max_seqs > 0);
        assert(ret_simulation);

        simulation = calloc(1, sizeof(*simulation)); /* 16 KiB: too much for a stack */
        fleet.engines = calloc(fleet.n, sizeof(*fleet.engines));
        fleet.clocks = calloc(fleet.n, sizeof(*fleet.clocks));
        if (!simulation || !fleet.engines || !fleet.clocks)
                return -ENOMEM;
        for (size_t i = 0; i < fleet.n; i++) {
                r = engine_init(&fleet.engines[i], &paged16_ops, &pool, &ledger, shares[i], n_shares[i],
                                options->max_seqs);
                if (r < 0)
                        return r;
        }

        r = fleet_run(&fleet, &pool, simulation);
        if (r < 0)
                return r;
        assert(pool.used_blocks == 0 && ledger.booked == 0);

        simulation->peak_blocks = pool.peak_blocks;
        for (size_t i = 0; i < fleet.n; i++) {
                simulation->completed += fleet.engines[i].completed;
                simulation->rejected += fleet.engines[i].rejected;
                simulation->preemptions += fleet.engines[i].preemptions;
        }
        *ret_simulation = *simulation;
        return 0;
}
