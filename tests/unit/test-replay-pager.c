/* SPDX-License-Identifier: MIT
 *
 * The replay's engine over a cache, with all that it writes and checks: right memory passes in every layout, and each
 * kind of wrong memory is caught, by --verify and by the marks alike.
 */
#include <criterion/criterion.h>

#include "fake-kvpager.h"

#include "pager.h"

static const enum kvp_layout layouts[] = { KVP_LAYOUT_PER_LAYER, KVP_LAYOUT_TOKEN_MAJOR, KVP_LAYOUT_TOKEN_MAJOR_FUSED };

struct run {
        const char *geometry;
        enum kvp_layout layout;
        bool compute, verify, cold;
        uint32_t capacity; /* pages */
        enum fake_fault fault;
        uint32_t fault_after;
        /* What came of it. */
        uint64_t completed, preemptions, mismatches, checksum, prompts, cold_prompts, extents;
        struct kvp_cache_stats stats;
};

static const struct request requests[] = {
        { 0, 0, 700, 20, 0, false },    { 0, 1, 40, 90, 0, false },      { 10, 2, 1100, 12, 0, false },
        { 20, 3, 5, 30, 0, false },     { 30000, 4, 300, 40, 0, false }, { 30000, 5, 513, 7, 0, false },
        { 50000, 6, 512, 0, 0, false }, { 60000, 7, 90, 60, 0, false },  { 400000, 8, 800, 30, 0, false },
        { 900000, 9, 1, 50, 0, false },
};

#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

static void run_engine(struct run *run)
{
        struct pager_options options = {
                .layout = run->layout,
                .max_seqs = 6,
                .max_tokens = 1200,
                .compute = run->compute,
                .verify = run->verify,
                .cold = run->cold,
        };
        struct ledger ledger = { .capacity = UINT64_MAX };
        struct complaint complaint;
        struct engine engine;
        static struct pager pager;
        uint64_t now = 0;

        fake.capacity = run->capacity;
        fake.fault = run->fault;
        fake.fault_after = run->fault_after;
        fake.grants = 0;
        cr_assert_eq(geometry_parse(run->geometry, &options.geometry, &complaint), 0);
        cr_assert_eq(pager_open(&options, &pager), 0, "%s", pager.complaint.text);
        cr_assert_eq(engine_init(&engine, &pager_ops, &pager, &ledger, requests, N_REQUESTS, options.max_seqs), 0);
        for (uint64_t next; (next = engine_next(&engine, now)) != UINT64_MAX;) {
                struct engine_iteration iteration;

                cr_assert_eq(engine_iterate(&engine, next, &iteration), 0, "%s", pager.complaint.text);
                cr_assert_eq(engine_complete(&engine), 0, "%s", pager.complaint.text);
                now = next + iteration.duration_usec;
        }
        run->completed = engine.completed;
        run->preemptions = engine.preemptions;
        run->mismatches = pager.contents.report->mismatches;
        run->checksum = pager.contents.report->checksum;
        run->prompts = pager.counters.prompts;
        run->cold_prompts = pager.counters.cold_prompts;
        run->extents = pager.counters.prompt_extents;
        cr_assert_eq(pager_stats(&pager, &run->stats), 0);
        cr_assert_eq(run->mismatches > 0, pager.contents.report->first[0] != '\0');
        engine_clear(&engine);
        pager_close(&pager);
        cr_assert_eq(fake.used, 0);
        cr_assert_eq(ledger.booked, 0);
}

Test(replay_pager, verified_attention_is_the_same_in_every_layout)
{
        static const char *const geometries[] = {
                "layers=2,kv_heads=2,head_dim=64",
                "layers=3,kv_heads=1,head_dim=40,query_heads=3",
                "layers=1,kv_heads=2,head_dim=24,type=bf16",
                "layers=2,kv_heads=1,head_dim=33,type=fp32",
        };

        for (size_t g = 0; g < sizeof(geometries) / sizeof(geometries[0]); g++) {
                uint64_t checksum = 0;

                for (size_t i = 0; i < 3; i++) {
                        struct run run = {
                                .geometry = geometries[g],
                                .layout = layouts[i],
                                .compute = true,
                                .verify = true,
                                .capacity = 4096,
                        };

                        run_engine(&run);
                        cr_assert_eq(run.mismatches, 0);
                        cr_assert_eq(run.completed, N_REQUESTS);
                        cr_assert_eq(run.preemptions, 0);
                        if (i > 0)
                                cr_assert_eq(run.checksum, checksum, "geometry %zu layout %zu", g, i);
                        checksum = run.checksum;
                }
                cr_assert_neq(checksum, 0);
        }
}

Test(replay_pager, preemption_changes_no_result)
{
        struct run ample = {
                .geometry = "tiny", .layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED, .compute = true, .capacity = 4096
        };
        struct run scarce = ample;

        scarce.capacity = 45; /* pages of 32 tokens: the longest request takes 35 */
        scarce.verify = true;
        run_engine(&ample);
        run_engine(&scarce);
        cr_assert_eq(scarce.completed, N_REQUESTS);
        cr_assert_gt(scarce.preemptions, 0);
        cr_assert_eq(scarce.mismatches, 0);
        cr_assert_eq(scarce.checksum, ample.checksum);
}

Test(replay_pager, cold_prompts_take_all_their_pages)
{
        struct run run = { .geometry = "tiny", .layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED, .cold = true, .capacity = 4096 };
        uint64_t pages = 0;

        for (size_t i = 0; i < N_REQUESTS; i++)
                pages += (requests[i].prompt_tokens + (requests[i].generated_tokens > 0) + 31) / 32;
        run_engine(&run);
        cr_assert_eq(run.prompts, N_REQUESTS);
        cr_assert_eq(run.cold_prompts, N_REQUESTS);
        cr_assert_eq(run.extents, pages);
        cr_assert_eq(run.stats.live_bytes + run.stats.idle_bytes, 0);
}

/* A row that is never backed is taken again by each try, with all that it has; but not for ever. */
Test(replay_pager, gives_back_what_idle_rows_keep_when_it_fails_again_and_again)
{
        static const struct request last = { .prompt_tokens = 1000, .generated_tokens = 5 };
        struct pager_options options = { .layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED, .max_seqs = 6, .max_tokens = 1200 };
        struct ledger ledger = { .capacity = UINT64_MAX };
        struct engine_iteration iteration;
        struct kvp_cache_stats stats;
        struct complaint complaint;
        static struct pager pager;
        struct engine engine;
        uint32_t tries = 0;

        fake.capacity = 20; /* pages of 32 tokens */
        cr_assert_eq(geometry_parse("tiny", &options.geometry, &complaint), 0);
        cr_assert_eq(pager_open(&options, &pager), 0);
        cr_assert_eq(engine_init(&engine, &pager_ops, &pager, &ledger, &last, 1, options.max_seqs), 0);
        do {
                cr_assert_eq(engine_iterate(&engine, 0, &iteration), 0, "%s", pager.complaint.text);
                cr_assert(iteration.stalled);
                cr_assert_eq(pager_stats(&pager, &stats), 0);
                cr_assert(stats.held_rows == 0 && stats.live_bytes == 0);
                cr_assert_eq(stats.idle_bytes, fake.used * FAKE_PAGE);
        } while (stats.idle_bytes > 0 && ++tries < 100);
        cr_assert(tries > 10 && tries < 100, "%u", tries);
        cr_assert(strstr(pager_why_short(&pager), "ulimit -n"), "%s", pager_why_short(&pager));
        fake.capacity = 40;
        cr_assert_eq(engine_iterate(&engine, 0, &iteration), 0);
        cr_assert_eq(engine.n_running, 1);
        engine_clear(&engine);
        pager_close(&pager);
}

Test(replay_pager, marks_pass_over_right_memory)
{
        for (size_t i = 0; i < 3; i++)
                for (uint32_t scarce = 0; scarce < 2; scarce++) {
                        struct run run = { .geometry = "tiny", .layout = layouts[i], .capacity = scarce ? 48 : 4096 };

                        run_engine(&run);
                        cr_assert_eq(run.mismatches, 0);
                        cr_assert_eq(run.completed, N_REQUESTS);
                }
}

/* Memory that changes under a sequence's hands: found when the request ends, if not before. */
Test(replay_pager, catches_what_changes_behind_its_back)
{
        for (uint32_t kind = 0; kind < 2; kind++) {
                const struct request request = { .prompt_tokens = 400, .generated_tokens = 3 };
                struct pager_options options = { .layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED,
                                                 .max_seqs = 2,
                                                 .max_tokens = 500 };
                struct ledger ledger = { .capacity = UINT64_MAX };
                struct engine_iteration iteration;
                struct complaint complaint;
                struct engine engine;
                static struct pager pager;

                options.compute = options.verify = kind == 0;
                cr_assert_eq(geometry_parse("tiny", &options.geometry, &complaint), 0);
                cr_assert_eq(pager_open(&options, &pager), 0, "%s", pager.complaint.text);
                cr_assert_eq(engine_init(&engine, &pager_ops, &pager, &ledger, &request, 1, 2), 0);
                for (uint32_t i = 0; i < 4; i++) {
                        cr_assert_eq(engine_iterate(&engine, 0, &iteration), 0);
                        if (i == 3) /* all is computed: what is left is the look at the end */
                                fake_address(pager.cache, 0, 0, 5)[3] ^= 1;
                        cr_assert_eq(pager.contents.report->mismatches, 0);
                        cr_assert_eq(engine_complete(&engine), 0);
                }
                cr_assert_eq(engine.completed, 1);
                cr_assert_eq(pager.contents.report->mismatches, 1, "kind %u", kind);
                engine_clear(&engine);
                pager_close(&pager);
        }
}

/* Each fault, early and late, in each layout, must be seen by both kinds of contents. */
static void catch_fault(enum fake_fault fault, uint32_t capacity)
{
        for (uint32_t kind = 0; kind < 2; kind++)
                for (size_t i = 0; i < 3; i++)
                        for (uint32_t after = 1; after <= 33; after += 16) {
                                struct run run = {
                                        .geometry = "tiny",
                                        .layout = layouts[i],
                                        .compute = kind == 0,
                                        .verify = kind == 0,
                                        .capacity = capacity,
                                        .fault = fault,
                                        .fault_after = after,
                                };

                                run_engine(&run);
                                cr_assert_gt(run.mismatches, 0, "kind %u, layout %zu, after %u", kind, i, after);
                        }
}

Test(replay_pager, catches_a_wrong_page)
{
        catch_fault(FAKE_WRONG_PAGE, 4096);
}

Test(replay_pager, catches_a_missed_zero)
{
        catch_fault(FAKE_DIRTY_PAGE, 4096);
}

Test(replay_pager, catches_a_stale_page)
{
        catch_fault(FAKE_STALE_PAGE, 40);
}

/* Pages of a worker that has ended, as they were, and just where the next one writes at the same places. */
Test(replay_pager, catches_what_an_earlier_replay_left)
{
        for (uint32_t kind = 0; kind < 2; kind++)
                for (size_t i = 0; i < 3; i++) {
                        struct run run = {
                                .geometry = "tiny",
                                .layout = layouts[i],
                                .compute = kind == 0,
                                .verify = kind == 0,
                                .capacity = 4096,
                                .fault = FAKE_STALE_PAGE,
                        };

                        run_engine(&run);
                        run_engine(&run);
                        cr_assert_gt(run.mismatches, 0, "kind %u, layout %zu", kind, i);
                }
}
