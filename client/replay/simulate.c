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

/* A part of the memory, and the books of those that it is for. */
struct part {
        struct paged16 pool;
        struct ledger ledger;
};

struct fleet {
        struct engine *engines;
        uint64_t *clocks;
        size_t n;
        struct part *parts;
        uint32_t n_parts;
};

static void fleet_clear(struct fleet *fleet)
{
        for (size_t i = 0; fleet->engines && i < fleet->n; i++)
                engine_clear(&fleet->engines[i]);
        free(fleet->engines);
        free(fleet->clocks);
        free(fleet->parts);
}

static int fleet_init(struct fleet *fleet, const struct simulation_options *options,
                      const struct request *const *shares, const size_t *n_shares)
{
        const bool unlimited = options->capacity_blocks == UINT64_MAX;

        fleet->n = options->n_engines;
        fleet->n_parts = options->n_parts ? options->n_parts : 1;
        fleet->engines = calloc(fleet->n, sizeof(*fleet->engines));
        fleet->clocks = calloc(fleet->n, sizeof(*fleet->clocks));
        fleet->parts = calloc(fleet->n_parts, sizeof(*fleet->parts));
        if (!fleet->engines || !fleet->clocks || !fleet->parts)
                return -ENOMEM;
        for (uint32_t i = 0; i < fleet->n_parts; i++) {
                struct part *part = &fleet->parts[i];

                part->pool.capacity_blocks = unlimited ? UINT64_MAX : options->capacity_blocks / fleet->n_parts;
                part->ledger.capacity = part->pool.capacity_blocks;
                part->ledger.spare = options->spare_blocks / fleet->n_parts;
        }
        if (options->bursts)
                bursts_rewind(options->bursts);
        for (size_t i = 0; i < fleet->n; i++) {
                struct part *part = &fleet->parts[i % fleet->n_parts];
                int r = engine_init(&fleet->engines[i], &paged16_ops, &part->pool, &part->ledger, shares[i],
                                    n_shares[i], options->max_seqs);

                if (r < 0)
                        return r;
                fleet->engines[i].bursts = options->bursts;
        }
        return 0;
}

static uint64_t fleet_blocks(const struct fleet *fleet)
{
        uint64_t blocks = 0;

        for (uint32_t i = 0; i < fleet->n_parts; i++)
                blocks += fleet->parts[i].pool.used_blocks;
        return blocks;
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

static int fleet_run(struct fleet *fleet, struct simulation *simulation)
{
        uint64_t now, n_stalled = 0, running = 0, blocks;
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
                blocks = fleet_blocks(fleet);
                if (blocks > simulation->peak_blocks)
                        simulation->peak_blocks = blocks;
                timeline_record(&simulation->blocks, now, blocks);

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
        _cleanup_(fleet_clear) struct fleet fleet = { 0 };
        _cleanup_(cleanup_free) struct simulation *simulation = NULL;
        int r;

        assert(options->n_engines > 0 && options->max_seqs > 0);
        assert(ret_simulation);

        simulation = calloc(1, sizeof(*simulation)); /* 16 KiB: too much for a stack */
        if (!simulation)
                return -ENOMEM;
        r = fleet_init(&fleet, options, shares, n_shares);
        if (r >= 0)
                r = fleet_run(&fleet, simulation);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < fleet.n_parts; i++)
                assert(fleet.parts[i].pool.used_blocks == 0 && fleet.parts[i].ledger.booked == 0);

        if (fleet.n_parts == 1)
                simulation->peak_blocks = fleet.parts[0].pool.peak_blocks; /* in the middle of an iteration, too */
        for (size_t i = 0; i < fleet.n; i++) {
                simulation->completed += fleet.engines[i].completed;
                simulation->rejected += fleet.engines[i].rejected;
                simulation->preemptions += fleet.engines[i].preemptions;
        }
        *ret_simulation = *simulation;
        return 0;
}
