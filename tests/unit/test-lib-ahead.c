/* SPDX-License-Identifier: MIT
 *
 * test-lib-ahead.c -- look-ahead: no step waits for what could have been foreseen, nothing is asked twice, little is
 * mapped too much.
 */
#include "lib-box.h"

#include <sched.h>
#include <sys/socket.h>

#include "cache.h"
#include "grow.h"
#include "mapper.h"

/* Decoding token by token, with time between steps: after the prompt no step waits, each crossing is one request and
 * at most one wake. */
Test(ahead, decoding_never_waits)
{
        struct kvp_cache_stats before, after;
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
        box_settle(&box); /* the mapper has come to rest once */
        before = box_stats(&box);
        for (uint64_t tokens = 101; tokens <= 4096; tokens++) {
                struct kvp_seq_step step = { .seq = seq, .tokens = tokens };

                cr_assert_eq(kvp_step(box.cache, &step, 1, 0), 0, "at %u", (unsigned)tokens);
                box_settle(&box);
        }
        after = box_stats(&box);
        cr_assert_eq(after.steps_waited, before.steps_waited);
        cr_assert_eq(after.granted_bytes, 256 * PAGE);
        cr_assert_leq(after.requests - before.requests, 256);
        cr_assert_leq(after.mapper_wakes - before.mapper_wakes, after.requests - before.requests); /* two may meet */
        /* A step that finds the mapper awake has no need to wake it. */
        cr_assert_leq(after.steps_with_syscalls - before.steps_with_syscalls, after.requests - before.requests);
        cr_assert_eq(fake_optional(box.fake), after.requests - before.requests);
        box_close(&box);
}

/* Speculation advances by several tokens: the look-ahead grows with it. */
Test(ahead, follows_the_advance)
{
        struct box box;
        uint32_t seq;
        uint64_t waited;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 3, NULL), 0);
        waited = box_stats(&box).steps_waited;
        for (uint64_t tokens = 7; tokens <= 4096; tokens += 4) {
                struct kvp_seq_step step = { .seq = seq, .tokens = tokens };

                cr_assert_eq(kvp_step(box.cache, &step, 1, 0), 0, "at %u", (unsigned)tokens);
                box_settle(&box);
        }
        cr_assert_eq(box_stats(&box).steps_waited, waited);
        box_close(&box);
}

/* Many rows cross in one step: one system call, one message; whether the step sends it, or wakes the mapper, depends on
 * what that last waited for. */
Test(ahead, one_call_for_all_rows)
{
        struct kvp_cache_stats before, after;
        struct kvp_seq_step steps[8];
        struct box box;

        box_open(&box, NULL, NULL);
        for (uint32_t i = 0; i < 8; i++)
                steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 20 };
        cr_assert_eq(kvp_step(box.cache, steps, 8, SECOND), 0);
        box_settle(&box); /* the mapper has come to rest once */
        before = box_stats(&box);
        for (uint32_t i = 0; i < 8; i++)
                steps[i].tokens = 30;
        cr_assert_eq(kvp_step(box.cache, steps, 8, 0), 0);
        box_settle(&box);
        after = box_stats(&box);
        cr_assert_leq(after.mapper_wakes, before.mapper_wakes + 1);
        cr_assert_eq(after.requests, before.requests + 1);
        cr_assert(after.steps_with_syscalls == before.steps_with_syscalls + 1 && after.grants == before.grants + 8);
        box_close(&box);
}

/* Steps, without waiting in the call, until so many tokens are backed and the mapper listens for the next answer. */
static void step_until(struct box *box, uint32_t seq, uint64_t tokens, uint64_t ready)
{
        const uint64_t deadline = deadline_in(10 * SECOND);
        struct kvp_seq_step step = { .seq = seq, .tokens = tokens };

        do {
                cr_assert_lt(time_now_usec(), deadline);
                (void)sched_yield();
                cr_assert_eq(kvp_step(box->cache, &step, 1, 0), 0);
        } while (step.ret_ready < ready || !mapper_listens(box->conn));
}

/* Once the mapper has read the answer to look-ahead, it listens for the next one: the step asks by itself, and wakes
 * nobody. */
Test(ahead, the_step_asks_while_the_mapper_listens)
{
        struct kvp_cache_stats before, after;
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 20, NULL), 0);
        step_until(&box, seq, 30, 48);
        before = box_stats(&box);
        for (uint64_t tokens = 46; tokens < 4000; tokens += 16)
                step_until(&box, seq, tokens, tokens + 18);
        after = box_stats(&box);
        cr_assert_eq(after.requests - before.requests, 248);
        cr_assert_eq(after.steps_with_syscalls - before.steps_with_syscalls, 248);
        cr_assert_eq(after.messages - before.messages, 248);
        cr_assert_eq(after.mapper_wakes, before.mapper_wakes);
        cr_assert_eq(fake_optional(box.fake), after.requests - 1);
        box_close(&box);
}

/* A step does not wait for room in the socket either: what it cannot ask for now counts as refused, and is asked for
 * again on the way. */
Test(ahead, a_daemon_that_does_not_read_holds_up_no_step)
{
        struct kvp_geometry geometry = box_fused;
        uint32_t seqs[15], cooling = 0;
        struct box box;

        geometry.max_seqs = 15;
        box_open(&box, NULL, &geometry);
        for (uint32_t i = 0; i < 15; i++) {
                seqs[i] = box_acquire(&box, 0);
                cr_assert_eq(box_step(&box, seqs[i], 20, NULL), 0);
        }
        box_settle(&box);
        step_until(&box, seqs[0], 30, 48);
        fake_pause(box.fake, true);
        cr_assert_eq(setsockopt(box.conn->socket, SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int)), 0);
        for (uint32_t i = 1; i < 15; i++) {
                const uint64_t began = time_now_usec();

                cr_assert_eq(box_step(&box, seqs[i], 30, NULL), 0);
                cr_assert_lt(time_now_usec() - began, box.conn->patience_usec);
                cooling += (box.cache->rows[seqs[i]].flags & ROW_COOLING) != 0;
        }
        cr_assert_gt(cooling, 0, "the socket took everything");
        fake_pause(box.fake, false);
        for (uint32_t i = 0; i < 15; i++)
                for (uint64_t tokens = 30; tokens <= 100; tokens++)
                        cr_assert_eq(box_step(&box, seqs[i], tokens, NULL), 0);
        box_settle(&box);
        box_close(&box);
}

/* Refused, it is asked for a few times more on the way, and the step that needs the page asks itself. */
Test(ahead, refused_it_is_not_asked_for_at_every_step)
{
        struct box box;
        uint32_t seq;
        uint64_t optional;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 20, NULL), 0);
        fake_fail_optional(box.fake, WIRE_E_BUSY);
        for (uint64_t tokens = 21; tokens <= 4096; tokens++) {
                cr_assert_eq(box_step(&box, seq, tokens, NULL), 0);
                box_settle(&box);
        }
        cr_assert_eq(box_stats(&box).granted_bytes, 256 * PAGE);
        optional = fake_optional(box.fake);
        cr_assert_gt(optional, 200);
        cr_assert_leq(optional, 254 * 4); /* halving eight tokens: 4, 2, 1 */
        fake_fail_optional(box.fake, WIRE_E_NONE);
        box_close(&box);
}

/* The bound: mapped beyond need (the overread and look-ahead included) stays under a page or 3 % in each plane,
 * whatever the steps. */
static void check_bound(const struct box *box, uint32_t row, uint64_t longest)
{
        const struct kvp_cache *cache = box->cache;

        for (uint32_t c = 0; c < cache->layout.n_classes; c++) {
                const struct layout_class *class = &cache->layout.classes[c];
                const uint32_t need = layout_pages(&cache->layout, class, longest),
                               mapped = cache_extents(cache, row, c)->mapped;

                cr_assert_leq(cache->rows[row].ahead, max_u64(cache->layout.tokens_per_page, 1));
                cr_assert(mapped <= need || (mapped - need) * UINT64_C(100) <= UINT64_C(3) * need, "%u pages for %u",
                          mapped, need);
        }
}

static void walk(const struct kvp_geometry *geometry, uint64_t seed)
{
        uint64_t state = seed, longest[8] = { 0 };
        struct kvp_seq_step steps[4];
        struct box box;

        box_open(&box, &(struct fake_options){ .max_per_message = (uint32_t)(seed % 3) }, geometry);
        for (uint32_t i = 0; i < 4; i++)
                steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0) };
        for (int round = 0; round < 400; round++) {
                for (uint32_t i = 0; i < 4; i++) {
                        uint64_t advance;

                        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
                        advance = state >> 60 == 0 ? state >> 33 & 511 : state >> 60 < 3 ? 0 : (state >> 40) % 5;
                        if (state >> 59 == 3 && steps[i].tokens > 9)
                                steps[i].tokens -= 7;
                        steps[i].tokens = min_u64(steps[i].tokens + advance, geometry->max_tokens);
                }
                cr_assert_eq(kvp_step(box.cache, steps, 4, 10 * SECOND), 0);
                if (round % 3 == 0)
                        box_settle(&box);
                for (uint32_t i = 0; i < 4; i++) {
                        const uint64_t ahead = steps[i].tokens + box.cache->rows[steps[i].seq].ahead;

                        /* What a longer length or look-ahead took before is not given back for a rollback. */
                        longest[i] = max_u64(longest[i], min_u64(ahead, geometry->max_tokens));
                        cr_assert_geq(steps[i].ret_ready, steps[i].tokens);
                        if (round % 3 == 0)
                                check_bound(&box, steps[i].seq, longest[i]);
                }
        }
        box_close(&box);
}

Test(ahead, little_is_mapped_beyond_need)
{
        static const struct kvp_layer_group groups[2] = {
                { .layers = 2, .kv_heads = 5, .head_dim = 40, .v_head_dim = 72, .element_bits = 16 },
                { .layers = 3, .kv_heads = 1, .head_dim = 999, .element_bits = 32, .parts = KVP_PARTS_K },
        };
        for (uint64_t seed = 1; seed <= 12; seed++) {
                struct kvp_geometry geometry = { .size = sizeof(geometry),
                                                 .layout = (uint32_t)(seed % 3),
                                                 .max_seqs = 8,
                                                 .n_groups = 2,
                                                 .max_tokens = 2000 + seed,
                                                 .overread_tokens = seed * 5,
                                                 .groups = groups };

                if (seed % 4 == 0)
                        geometry = box_fused;
                walk(&geometry, seed);
        }
}
