/* SPDX-License-Identifier: MIT
 *
 * The engine over the block allocator: what one iteration does, to the token; and that many random loads, memories and
 * numbers of engines always come to an end with nothing lost, the same way each time.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "hash.h"
#include "paged16.h"
#include "patience.h"
#include "simulate.h"

struct bench {
        struct paged16 pool;
        struct ledger ledger;
        struct engine engine;
        struct engine_iteration iteration;
        uint64_t now;
};

static void bench_init(struct bench *bench, const struct request *requests, size_t n, size_t rows, uint64_t blocks)
{
        *bench = (struct bench){ .pool.capacity_blocks = blocks, .ledger.capacity = blocks };
        cr_assert_eq(engine_init(&bench->engine, &paged16_ops, &bench->pool, &bench->ledger, requests, n, rows), 0);
}

static void bench_iterate(struct bench *bench)
{
        bench->now = engine_next(&bench->engine, bench->now);
        cr_assert_neq(bench->now, UINT64_MAX);
        cr_assert_eq(engine_iterate(&bench->engine, bench->now, &bench->iteration), 0);
        cr_assert_eq(bench->pool.used_blocks, bench->ledger.booked);
        cr_assert_eq(engine_complete(&bench->engine), 0);
        bench->now += bench->iteration.duration_usec;
}

Test(replay_engine, an_iteration_lasts_as_its_tokens_say)
{
        static const struct request requests[] = {
                { .arrival_usec = 500, .prompt_tokens = 1000, .generated_tokens = 2 },
                { .arrival_usec = 600, .id = 1, .prompt_tokens = 100 }
        };
        struct bench bench;

        bench_init(&bench, requests, 2, 4, UINT64_MAX);
        cr_assert_eq(engine_next(&bench.engine, 0), 500);
        bench_iterate(&bench); /* prefill of the first */
        cr_assert_eq(bench.iteration.duration_usec, 8000 + 60 + 80 * 1000);
        cr_assert_eq(bench.iteration.prefill_tokens, 1000);
        cr_assert_eq(bench.pool.used_blocks, 63); /* 1001 tokens */
        bench_iterate(&bench);                    /* a token of it, and prefill of the second, which is done by that */
        cr_assert_eq(bench.iteration.duration_usec, 8000 + (1001 + 100) * 60 / 1000 + 80 * 100);
        cr_assert_eq(bench.engine.completed, 1);
        bench_iterate(&bench);
        cr_assert_eq(bench.iteration.kv_tokens, 1002);
        cr_assert_eq(bench.engine.completed, 2);
        cr_assert_eq(bench.engine.tokens, 1002 + 100);
        cr_assert_eq(engine_next(&bench.engine, bench.now), UINT64_MAX);
        cr_assert_eq(bench.pool.used_blocks, 0);
        engine_clear(&bench.engine);
}

Test(replay_engine, preempts_the_youngest_and_recomputes_it)
{
        static const struct request requests[] = { { .prompt_tokens = 31, .generated_tokens = 40 },
                                                   { .id = 1, .prompt_tokens = 31, .generated_tokens = 5 },
                                                   { .id = 2, .prompt_tokens = 15, .generated_tokens = 1 } };
        struct bench bench;

        bench_init(&bench, requests, 3, 4, 5); /* two blocks each for the first two, one for the third */
        bench_iterate(&bench);
        cr_assert_eq(bench.engine.n_running, 3);
        cr_assert_eq(bench.pool.used_blocks, 5);
        bench_iterate(&bench); /* all have their 32nd or 16th token, and the third is done */
        cr_assert_eq(bench.engine.completed, 1);
        bench_iterate(&bench); /* the first takes the block of the third, and the second must go */
        cr_assert_eq(bench.engine.preemptions, 1);
        cr_assert_eq(bench.engine.n_running, 1);
        cr_assert_eq(bench.engine.running[0].request->id, 0);
        cr_assert_eq(bench.engine.n_preempted, 1);
        cr_assert_eq(bench.engine.preempted[0].generated, 1);
        cr_assert_eq(bench.iteration.prefill_tokens, 0, "nobody is admitted in an iteration that preempted");
        while (bench.engine.completed < 2)
                bench_iterate(&bench);
        bench_iterate(&bench);
        cr_assert_eq(bench.iteration.prefill_tokens, 32, "its prompt and the token that it had made");
        while (engine_next(&bench.engine, bench.now) != UINT64_MAX)
                bench_iterate(&bench);
        cr_assert_eq(bench.engine.completed, 3);
        cr_assert_eq(bench.engine.preemptions, 1);
        engine_clear(&bench.engine);
}

Test(replay_engine, admits_in_order_and_keeps_the_spare)
{
        static const struct request requests[] = { { .prompt_tokens = 79, .generated_tokens = 1 },
                                                   { .id = 1, .prompt_tokens = 63, .generated_tokens = 1 },
                                                   { .id = 2, .prompt_tokens = 1, .generated_tokens = 1 } };
        struct bench bench;

        bench_init(&bench, requests, 3, 4, 10);
        bench.ledger.spare = 2;
        bench_iterate(&bench);
        cr_assert_eq(bench.engine.n_running, 1,
                     "the second would need 9 of 8 blocks, and the third does not overtake it");
        bench_iterate(&bench);
        bench_iterate(&bench);
        cr_assert_eq(bench.engine.n_running, 2);
        engine_clear(&bench.engine);
}

Test(replay_engine, an_engine_with_nothing_running_may_use_the_spare)
{
        static const struct request request = { .prompt_tokens = 159, .generated_tokens = 1 };
        struct bench bench;

        bench_init(&bench, &request, 1, 4, 10);
        bench.ledger.spare = 5;
        bench_iterate(&bench);
        bench_iterate(&bench);
        cr_assert_eq(bench.engine.completed, 1);
        engine_clear(&bench.engine);
}

Test(replay_engine, turns_away_what_is_impossible)
{
        static const struct request requests[] = { { .prompt_tokens = 500, .impossible = true },
                                                   { .id = 1, .prompt_tokens = 5 },
                                                   { .id = 2, .prompt_tokens = 150, .generated_tokens = 11 },
                                                   { .id = 3, .prompt_tokens = 5 },
                                                   { .id = 4, .prompt_tokens = 150, .generated_tokens = 10 },
                                                   { .id = 5, .prompt_tokens = 5 } };
        struct bench bench;

        bench_init(&bench, requests, 6, 4, 10);
        bench_iterate(&bench); /* nobody said that the third is impossible: it is a block too large */
        cr_assert_eq(bench.engine.rejected, 2);
        cr_assert_eq(bench.engine.completed, 2);
        bench.ledger.booked = bench.pool.used_blocks = 1;
        for (uint32_t i = 0; i < 100; i++) {
                bench_iterate(&bench); /* somebody holds what the fifth waits for, and those behind it do too */
                cr_assert(bench.iteration.stalled);
        }
        engine_clear(&bench.engine);
}

static int compute_nothing(void *memory, struct sequence *sequence, uint64_t from)
{
        (void)memory;
        (void)sequence;
        (void)from;
        return 0;
}

/* An engine on the memory that another one's long request holds, seen every second: while that one gets on, however
 * long it takes, the memory will come; once it does not, a minute is enough. */
Test(replay_engine, waits_for_memory_as_long_as_a_sibling_gets_on)
{
        static const struct request requests[] = { { .prompt_tokens = 100, .generated_tokens = 1000 } },
                                    large = { .prompt_tokens = 1100 };
        struct memory_ops ops = paged16_ops;
        struct bench bench;
        struct engine waiting;
        struct patience patience;
        uint64_t usec = 0, since = 0;

        ops.compute = compute_nothing;
        bench_init(&bench, requests, 1, 4, 70);
        bench.engine.ops = &ops;
        cr_assert_eq(engine_init(&waiting, &ops, &bench.pool, &bench.ledger, &large, 1, 4), 0);
        bench_iterate(&bench);
        patience_renew(&patience, &bench.ledger, 0);
        for (bool ended = false; !ended; usec += 1000000) {
                struct engine_iteration iteration;

                cr_assert_eq(engine_iterate(&waiting, usec, &iteration), 0);
                cr_assert(iteration.stalled);
                ended = patience_ends(&patience, &bench.ledger, usec);
                cr_assert_eq(ended, usec > since + 60000000, "at %ju s", (uintmax_t)usec / 1000000);
                if (usec < 500000000 && usec / 1000000 % 50 == 0) { /* an iteration of it takes that long */
                        bench_iterate(&bench);
                        since = usec + 1000000; /* seen with the next look */
                }
        }
        cr_assert_geq(usec, 500000000);
        engine_clear(&waiting);
        engine_clear(&bench.engine);
}

static uint64_t coarse_footprint(const void *memory, uint64_t tokens)
{
        (void)memory;
        return 2 * ledger_blocks(tokens);
}

/* What a length takes is the memory's to say. */
Test(replay_engine, admits_by_units_of_its_memory)
{
        static const struct request requests[] = { { .prompt_tokens = 40 }, { .id = 1, .prompt_tokens = 40 } };
        struct memory_ops coarse = paged16_ops;
        struct ledger ledger = { .capacity = 11 }; /* one takes 6 of it, of the pool 3 */
        struct paged16 pool = { .capacity_blocks = 100 };
        struct engine_iteration iteration;
        struct engine engine;

        coarse.footprint = coarse_footprint;
        cr_assert_eq(engine_init(&engine, &coarse, &pool, &ledger, requests, 2, 4), 0);
        cr_assert_eq(engine_iterate(&engine, 0, &iteration), 0);
        cr_assert(iteration.n_running == 1 && ledger.booked == 6 && pool.used_blocks == 3);
        cr_assert_eq(engine_complete(&engine), 0);
        cr_assert_eq(ledger.booked, 0);
        ledger.capacity = 12;
        cr_assert_eq(engine_iterate(&engine, 1000000, &iteration), 0);
        cr_assert_eq(engine_complete(&engine), 0);
        cr_assert_eq(engine.completed, 2);
        engine_clear(&engine);
}

/* Every block is counted twice here: by the pool, and from the sequences; and tokens made may only grow. */
static void check_books(const struct bench *bench)
{
        uint64_t blocks = 0;

        for (size_t i = 0; i < bench->engine.n_running; i++) {
                const struct sequence *sequence = &bench->engine.running[i];

                cr_assert_eq(sequence->length, (uint64_t)sequence->request->prompt_tokens + sequence->generated);
                cr_assert_leq(ledger_blocks(sequence->length), sequence->backed);
                blocks += sequence->backed;
        }
        cr_assert_eq(blocks, bench->pool.used_blocks);
        cr_assert_leq(blocks, bench->pool.capacity_blocks);
        cr_assert_leq(bench->engine.n_running + bench->engine.n_preempted, bench->engine.max_running);
}

Test(replay_engine, keeps_its_books_under_random_loads)
{
        for (uint64_t seed = 0; seed < 200; seed++) {
                struct request requests[60];
                struct bench bench;
                uint64_t clock = 0, tokens = 0, state = seed * 1000;

                for (uint32_t i = 0; i < 60; i++) {
                        clock += hash_mix(++state) % 300000;
                        requests[i] = (struct request){ .arrival_usec = clock, .id = i };
                        requests[i].prompt_tokens = 1 + (uint32_t)(hash_mix(++state) % 300);
                        requests[i].generated_tokens = (uint32_t)(hash_mix(++state) % 200);
                        tokens += requests[i].prompt_tokens + requests[i].generated_tokens;
                }
                bench_init(&bench, requests, 60, 1 + seed % 16, 32 + seed % 40);
                bench.ledger.spare = seed % 7;
                while (engine_next(&bench.engine, bench.now) != UINT64_MAX) {
                        bench_iterate(&bench);
                        check_books(&bench);
                        cr_assert_not(bench.iteration.stalled, "alone, it can always go on");
                }
                cr_assert_eq(bench.engine.completed, 60);
                cr_assert_eq(bench.engine.tokens, tokens);
                cr_assert_eq(bench.pool.used_blocks, 0);
                engine_clear(&bench.engine);
        }
}

/* A memory that others want back at any time: in the middle of each operation, youngest sequences are given up. */
struct pressed {
        struct paged16 pool;
        struct engine *engine;
        uint64_t state, given_up;
        bool giving;
};

static void press(struct pressed *pressed)
{
        uint64_t n = hash_mix(++pressed->state) % 16;

        if (pressed->giving || n > 2)
                return;
        pressed->giving = true;
        for (; n > 0; n--) {
                const uint64_t before = pressed->engine->n_running;
                int r = engine_give_up(pressed->engine);

                cr_assert_eq(r, before > 0 ? 0 : -ENOENT);
                pressed->given_up += before > 0;
                cr_assert_eq(pressed->engine->n_running, before > 0 ? before - 1 : 0);
        }
        pressed->giving = false;
}

static int pressed_admit(void *memory, struct sequence *sequence, uint64_t tokens)
{
        press(memory);
        return paged16_ops.admit(&((struct pressed *)memory)->pool, sequence, tokens);
}

static int pressed_grow(void *memory, struct sequence *sequences, const size_t *n)
{
        int r = paged16_ops.grow(&((struct pressed *)memory)->pool, sequences, n);

        press(memory);
        return r;
}

static int pressed_compute(void *memory, struct sequence *sequence, uint64_t from)
{
        cr_assert_lt(from, sequence->length);
        press(memory);
        return 0;
}

static int pressed_release(void *memory, struct sequence *sequence)
{
        press(memory);
        return paged16_ops.release(&((struct pressed *)memory)->pool, sequence);
}

Test(replay_engine, gives_up_sequences_at_any_time_and_loses_none)
{
        const struct memory_ops ops = { .admit = pressed_admit,
                                        .grow = pressed_grow,
                                        .compute = pressed_compute,
                                        .footprint = paged16_ops.footprint,
                                        .release = pressed_release };

        for (uint64_t seed = 0; seed < 200; seed++) {
                struct request requests[40];
                struct bench bench = { .ledger.capacity = 32 + seed % 40 };
                struct pressed pressed = { .state = seed * 1000, .engine = &bench.engine };
                uint64_t tokens = 0;

                for (uint32_t i = 0; i < 40; i++) {
                        requests[i] = (struct request){ .arrival_usec = i * 50000, .id = i };
                        requests[i].prompt_tokens = 1 + (uint32_t)(hash_mix(++pressed.state) % 300);
                        requests[i].generated_tokens = (uint32_t)(hash_mix(++pressed.state) % 100);
                        tokens += requests[i].prompt_tokens + requests[i].generated_tokens;
                }
                pressed.pool.capacity_blocks = bench.ledger.capacity;
                cr_assert_eq(engine_init(&bench.engine, &ops, &pressed, &bench.ledger, requests, 40, 1 + seed % 16), 0);
                while ((bench.now = engine_next(&bench.engine, bench.now)) != UINT64_MAX) {
                        cr_assert_eq(engine_iterate(&bench.engine, bench.now, &bench.iteration), 0);
                        bench.pool = pressed.pool;
                        check_books(&bench);
                        cr_assert_eq(bench.pool.used_blocks, bench.ledger.booked);
                        cr_assert_eq(engine_complete(&bench.engine), 0);
                        press(&pressed); /* between iterations, too */
                        bench.now += bench.iteration.duration_usec;
                }
                cr_assert_eq(bench.engine.completed, 40);
                cr_assert_eq(bench.engine.tokens, tokens);
                cr_assert_gt(pressed.given_up, 0);
                cr_assert_eq(bench.engine.given_up, pressed.given_up);
                cr_assert_geq(bench.engine.preemptions, pressed.given_up);
                cr_assert_eq(pressed.pool.used_blocks, 0);
                engine_clear(&bench.engine);
        }
}

Test(replay_engine, what_was_given_up_is_not_taken_back_at_once)
{
        static const struct request requests[] = { { .prompt_tokens = 30, .generated_tokens = 100 },
                                                   { .id = 1, .prompt_tokens = 30, .generated_tokens = 100 } };
        struct bench bench;

        bench_init(&bench, requests, 2, 4, 100);
        bench_iterate(&bench);
        cr_assert_eq(bench.engine.n_running, 2);
        cr_assert_eq(engine_give_up(&bench.engine), 0);
        cr_assert_eq(bench.engine.running[0].request->id, 0, "the youngest goes");
        cr_assert_eq(engine_waiting(&bench.engine), 1);
        for (int i = 0; i < 4; i++) {
                bench_iterate(&bench);
                cr_assert_eq(bench.engine.n_running, 1);
        }
        bench_iterate(&bench);
        cr_assert_eq(bench.engine.n_running, 2);
        cr_assert_eq(engine_give_up(&bench.engine), 0);
        cr_assert_eq(engine_give_up(&bench.engine), 0);
        cr_assert_eq(engine_give_up(&bench.engine), -ENOENT);
        cr_assert_eq(bench.engine.preempted[1].request->id, 0, "and stands behind the older one in the queue");
        while (engine_next(&bench.engine, bench.now) != UINT64_MAX)
                bench_iterate(&bench);
        cr_assert_eq(bench.engine.completed, 2);
        engine_clear(&bench.engine);
}

/* Several engines that hold each other's memory: all finish, and twice the same. */
Test(replay_engine, engines_never_lock_each_other_up)
{
        static struct simulation first, second;
        uint64_t preemptions = 0;

        for (uint64_t seed = 0; seed < 300; seed++) {
                const size_t n_engines = 2 + seed % 4;
                struct request requests[5][20];
                const struct request *shares[5];
                size_t n_shares[5];
                uint64_t state = seed * 1000;
                struct simulation_options options = {
                        .n_engines = n_engines,
                        .max_seqs = 1 + seed % 6,
                        .capacity_blocks = 26 + seed % 20, /* the longest request takes 26 */
                        .spare_blocks = seed % 3,
                };

                for (size_t k = 0; k < n_engines; k++) {
                        for (uint32_t i = 0; i < 20; i++) {
                                requests[k][i] = (struct request){ .arrival_usec = i * 1000, .id = i };
                                requests[k][i].prompt_tokens = 1 + (uint32_t)(hash_mix(++state) % 250);
                                requests[k][i].generated_tokens = (uint32_t)(hash_mix(++state) % 150);
                        }
                        shares[k] = requests[k];
                        n_shares[k] = 20;
                }
                memset(&first, 0, sizeof(first));
                memset(&second, 0, sizeof(second));
                cr_assert_eq(simulate_paged16(&options, shares, n_shares, &first), 0, "seed %ju", (uintmax_t)seed);
                cr_assert_eq(simulate_paged16(&options, shares, n_shares, &second), 0);
                cr_assert_eq(memcmp(&first, &second, sizeof(first)), 0);
                cr_assert_eq(first.completed, 20 * n_engines);
                cr_assert_eq(first.rejected, 0);
                cr_assert_leq(first.peak_blocks, options.capacity_blocks);
                preemptions += first.preemptions;
        }
        cr_assert_gt(preemptions, 1000, "the loads must be such that memory runs short");
}
