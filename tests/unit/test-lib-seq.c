/* SPDX-License-Identifier: MIT
 *
 * test-lib-seq.c -- rows taken, given back and shortened; which one a sequence gets; what the daemon is told of it.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib-box.h"

/* Leaves `n` free rows with so many tokens behind. */
static void leave_rows(struct box *box, const uint64_t *tokens, uint32_t n)
{
        uint32_t seqs[8];

        for (uint32_t i = 0; i < n; i++)
                seqs[i] = box_acquire(box, 0);
        for (uint32_t i = 0; i < n; i++) {
                cr_assert_eq(seqs[i], i); /* cold rows: the first one */
                if (tokens[i] > 0)
                        cr_assert_eq(box_step(box, seqs[i], tokens[i], NULL), 0);
        }
        for (uint32_t i = 0; i < n; i++)
                cr_assert_eq(kvp_seq_release(box->cache, seqs[i]), 0);
}

Test(seq, acquire_takes_the_best_fit)
{
        static const uint64_t left[] = { 0, 1000, 200, 3000, 500 };
        static const struct {
                uint64_t expected;
                uint32_t row;
        } cases[] = { { 150, 2 }, { 400, 4 }, { 501, 4 }, { 700, 1 }, { 1500, 3 }, { 4000, 3 }, { 0, 0 }, { 1, 2 } };
        struct box box;
        uint64_t grants;

        box_open(&box, NULL, NULL);
        leave_rows(&box, left, 5);
        grants = box_stats(&box).grants;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const uint32_t seq = box_acquire(&box, cases[i].expected);

                cr_assert_eq(seq, cases[i].row, "%u tokens: row %u", (unsigned)cases[i].expected, seq);
                cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        }
        cr_assert_eq(box_stats(&box).grants, grants); /* maps nothing */
        box_close(&box);
}

Test(seq, acquire_waits_for_a_free_row_as_long_as_it_may)
{
        struct box box;
        uint32_t seq = 77;

        box_open(&box, NULL, NULL);
        cr_assert_eq(kvp_seq_acquire(box.cache, 4097, 0, &seq), -EINVAL);
        cr_assert_eq(kvp_seq_acquire(box.cache, 4096, 0, NULL), -EINVAL);
        for (int i = 0; i < 8; i++)
                (void)box_acquire(&box, 0);
        cr_assert_eq(kvp_seq_acquire(box.cache, 0, 0, &seq), -EAGAIN);
        cr_assert_eq(kvp_seq_acquire(box.cache, 0, 1000, &seq), -EAGAIN);
        cr_assert_eq(seq, 77);
        box_close(&box);
}

static void *acquire_main(void *userdata)
{
        static uint32_t seq;

        return kvp_seq_acquire(userdata, 0, 10 * SECOND, &seq) == 0 ? &seq : NULL;
}

Test(seq, acquire_gets_a_row_that_another_thread_releases)
{
        pthread_t thread;
        struct box box;
        void *got;

        box_open(&box, NULL, NULL);
        for (int i = 0; i < 8; i++)
                (void)box_acquire(&box, 0);
        cr_assert_eq(pthread_create(&thread, NULL, acquire_main, box.cache), 0);
        cr_assert_eq(kvp_seq_release(box.cache, 5), 0);
        cr_assert_eq(pthread_join(thread, &got), 0);
        cr_assert_not_null(got);
        cr_assert_eq(*(uint32_t *)got, 5);
        box_close(&box);
}

Test(seq, release_keeps_pages_and_contents)
{
        struct kvp_cache_stats stats;
        struct kvp_seq_step step;
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 1000, NULL), 0);
        box_visit(&box, &box_fused, seq, 0, 1000, true);
        stats = box_stats(&box);
        cr_assert(stats.live_bytes == stats.granted_bytes && stats.idle_bytes == 0 && stats.held_rows == 1 &&
                  stats.rows == 8);
        cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        cr_assert_eq(kvp_seq_release(box.cache, seq), -EINVAL);
        cr_assert_eq(kvp_seq_release(box.cache, 8), -EINVAL);
        stats = box_stats(&box);
        cr_assert(stats.idle_bytes == stats.granted_bytes && stats.live_bytes == 0 && stats.held_rows == 0);
        box_visit(&box, &box_fused, seq, 0, 1000, false);
        cr_assert_eq(box_acquire(&box, 1000), seq);
        step = (struct kvp_seq_step){ .seq = seq, .tokens = 1000 };
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), 0);
        box_visit(&box, &box_fused, seq, 0, 1000, false);
        cr_assert_eq(box_stats(&box).grants, stats.grants);
        box_close(&box);
}

Test(seq, the_daemon_is_told_who_holds_what)
{
        struct box box;
        uint32_t seq;
        uint64_t rows;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0); /* cold: it will be told by asking */
        box_settle(&box);
        cr_assert_eq(fake_received(box.fake, WIRE_ROWS), 0);
        cr_assert_eq(box_step(&box, seq, 10, NULL), 0);
        cr_assert(fake_row_is_held(box.fake, seq));
        cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        cr_assert(fake_wait_received(box.fake, WIRE_ROWS, 1));
        cr_assert_not(fake_row_is_held(box.fake, seq));
        cr_assert_eq(box_acquire(&box, 10), seq); /* warm: it is told */
        cr_assert(fake_wait_received(box.fake, WIRE_ROWS, 2));
        cr_assert(fake_row_is_held(box.fake, seq));
        for (int i = 0; i < 1000; i++) { /* back and forth: only what is so in the end has to be right */
                cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
                cr_assert_eq(box_acquire(&box, 10), seq);
        }
        cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        box_settle(&box);
        rows = box_stats(&box).messages; /* all sent; now all received */
        kvp_cache_destroy(box.cache);
        cr_assert_geq(rows, 5);
        cr_assert_not(fake_row_is_held(box.fake, seq));
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &box.cache), 0);
        box_close(&box);
}

static enum fake_verdict is_told(struct fake *fake, const struct wire_view *message, void *userdata)
{
        uint32_t *idle = userdata;

        if (message->header.opcode == WIRE_GROW && *idle < 8 && fake_row_is_held(fake, *idle))
                *idle = 99;
        return FAKE_HANDLE;
}

/* A daemon that is short of memory must know what it may reclaim by the time that it is asked for more. */
Test(seq, idle_rows_are_told_of_before_pages_are_asked_for)
{
        struct kvp_cache *other;
        struct box box;

        box_open(&box, NULL, NULL);
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &other), 0);
        for (int round = 0; round < 300; round++) {
                /* Before the mark: the mapper asks for nothing by itself. */
                struct kvp_seq_step step = { .tokens = 290 };
                uint32_t idle = 8, seq = box_acquire(&box, 0);

                cr_assert_eq(box_step(&box, seq, 290, NULL), 0);
                cr_assert_eq(kvp_seq_acquire(other, 0, 0, &step.seq), 0);
                idle = seq;
                fake_set_hook(box.fake, is_told, &idle);
                cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
                cr_assert_eq(kvp_step(other, &step, 1, SECOND), 0);
                fake_set_hook(box.fake, NULL, NULL);
                cr_assert_eq(idle, seq, "asked for pages before it said that row %u is idle", seq);
                cr_assert_eq(kvp_seq_trim(other, step.seq, 0), 0);
                box_settle(&box);
                cr_assert_eq(kvp_seq_release(other, step.seq), 0);
        }
        kvp_cache_destroy(other);
        box_close(&box);
}

Test(seq, trim_gives_back_whole_extents_beyond)
{
        struct kvp_seq_step step;
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(kvp_seq_trim(box.cache, seq, 0), 0);
        cr_assert_eq(box_step(&box, seq, 4000, NULL), 0); /* 250.5 pages: 256 in four extents */
        box_visit(&box, &box_fused, seq, 0, 4000, true);
        cr_assert_eq(kvp_seq_trim(box.cache, seq, 4097), -EINVAL);
        cr_assert_eq(kvp_seq_trim(box.cache, 8, 1), -EINVAL);
        cr_assert_eq(kvp_seq_trim(box.cache, (seq + 1) % 8, 1), -EINVAL);
        cr_assert_eq(kvp_seq_trim(box.cache, seq, 1025), 0); /* one token of the second extent of 1,024 */
        box_settle(&box);
        cr_assert(fake_wait_received(box.fake, WIRE_RETURN, 1));
        cr_assert_eq(fake_pages(box.fake), 128);
        cr_assert_eq(box_stats(&box).live_bytes, 128 * PAGE);
        cr_assert_eq(box_stats(&box).returns, 2);
        box_visit(&box, &box_fused, seq, 0, 1025, false);
        step = (struct kvp_seq_step){ .seq = seq, .tokens = 2048 };
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), 0); /* still there */
        cr_assert_eq(kvp_seq_trim(box.cache, seq, 0), 0);
        box_settle(&box);
        cr_assert_eq(box_stats(&box).live_bytes, 0);
        cr_assert_eq(box_step(&box, seq, 4096, NULL), 0);
        for (uint64_t token = 0; token < 4096; token += 100) { /* new pages, zeroed */
                struct kvp_tensor t;

                cr_assert_eq(kvp_cache_tensor(box.cache, 0, 0, KVP_K, &t), 0);
                cr_assert_eq(((char *)t.data)[seq * t.stride[0] + token * t.stride[1]], 0);
        }
        box_close(&box);
}

/* A trim that a step overtakes gives back nothing that the step relies on. */
Test(seq, trim_then_step_keeps_what_the_step_needs)
{
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 4000, NULL), 0);
        for (int i = 0; i < 200; i++) {
                cr_assert_eq(kvp_seq_trim(box.cache, seq, 10), 0);
                cr_assert_eq(box_step(&box, seq, 4000, NULL), 0);
                box_visit(&box, &box_fused, seq, 3999, 4000, true);
                box_visit(&box, &box_fused, seq, 3999, 4000, false);
        }
        box_close(&box);
}

enum { FENCE_FREE, FENCE_HOLDS, FENCE_HELD };

static int holding_fence(struct kvp_cache *cache, void *userdata)
{
        _Atomic int *state = userdata;
        int holds = FENCE_HOLDS;

        (void)cache;
        (void)atomic_compare_exchange_strong(state, &holds, FENCE_HELD);
        while (atomic_load(state) == FENCE_HELD)
                (void)usleep(100);
        return 0;
}

/* The mapper finds a row in its queue that wants nothing any more, behind as many as it can trim at once. */
Test(seq, a_queued_row_may_be_released_before_its_turn)
{
        static _Atomic int fence;
        struct kvp_geometry geometry = box_fused;
        struct kvp_seq_step step = { .tokens = 100 };
        uint32_t seqs[65];
        struct box box;

        geometry.max_seqs = 66;
        box_open(&box, NULL, &geometry);
        cr_assert_eq(kvp_cache_set_fence(box.cache, holding_fence, &fence), 0);
        for (uint32_t i = 0; i < 65; i++) {
                seqs[i] = box_acquire(&box, 0);
                cr_assert_eq(box_step(&box, seqs[i], 100, NULL), 0);
        }
        box_settle(&box);
        atomic_store(&fence, FENCE_HOLDS);
        cr_assert_eq(kvp_seq_trim(box.cache, seqs[64], 0), 0);
        while (atomic_load(&fence) != FENCE_HELD)
                (void)usleep(100);
        for (uint32_t i = 0; i < 64; i++)
                cr_assert_eq(kvp_seq_trim(box.cache, seqs[i], 0), 0);
        step.seq = box_acquire(&box, 0);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), -ETIMEDOUT);
        cr_assert_eq(kvp_seq_release(box.cache, step.seq), 0);
        atomic_store(&fence, FENCE_FREE);
        box_settle(&box);
        cr_assert_eq(fake_pages(box.fake), 0);
        box_close(&box);
}

/* While memory is short, a warm row that is far too large for its new holder is cut down: at most a page or 3 % beyond
 * stays. */
Test(seq, acquire_gives_back_what_is_far_too_much_when_memory_is_short)
{
        static const uint64_t left[] = { 4000 };
        struct box box;
        uint64_t other;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        leave_rows(&box, left, 1);
        for (uint32_t i = 1; i < 8; i++) /* so that this is the one free row */
                (void)box_acquire(&box, 0);
        seq = box_acquire(&box, 500);
        box_settle(&box);
        cr_assert_eq(box_stats(&box).live_bytes, 256 * PAGE); /* memory is not short */
        cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        fake_set_short(box.fake, true);
        cr_assert_eq(box_step(&box, 1, 10, NULL), 0);
        other = box_stats(&box).live_bytes;
        cr_assert_eq(box_acquire(&box, 1100), seq);
        box_settle(&box);
        cr_assert_eq(box_stats(&box).live_bytes,
                     other + 64 * PAGE); /* 69 pages would do: the second extent of 64 goes */
        cr_assert_eq(box_step(&box, seq, 1100, NULL), 0);
        box_settle(&box);
        cr_assert_eq(box_stats(&box).live_bytes, other + 70 * PAGE); /* the look-ahead is the mapper's, and no slack */
        other = box_stats(&box).live_bytes;
        cr_assert_eq(box_step(&box, 2, 1000, NULL), 0);
        cr_assert_eq(box_stats(&box).live_bytes, other + 63 * PAGE); /* not 64, though that were one extent */
        box_close(&box);
}
