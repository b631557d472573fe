/* SPDX-License-Identifier: MIT
 *
 * test-lib-revoke.c -- what is given back when the daemon asks: which rows first, how much, and never what a step
 * relies on.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "lib-box.h"

/* Revokes, and waits until it was answered. Returns the pages that came back. */
static uint64_t revoke(struct box *box, enum wire_revoke_level level, uint64_t pages)
{
        static uint32_t id;
        const uint64_t before = fake_pages(box->fake), answers = fake_received(box->fake, WIRE_REVOKED);

        fake_revoke(box->fake, ++id, level, pages);
        cr_assert(fake_wait_received(box->fake, WIRE_REVOKED, answers + 1));
        return before - fake_pages(box->fake);
}

/* How far a free row is backed: acquired, stepped without waiting, released. */
static uint64_t row_ready(struct box *box, uint32_t seq, uint64_t tokens)
{
        struct kvp_seq_step step = { .seq = seq, .tokens = tokens };

        (void)kvp_step(box->cache, &step, 1, 0);
        return step.ret_ready;
}

Test(revoke, takes_the_least_recently_released_row_first_from_its_end)
{
        uint32_t seqs[3];
        struct kvp_cache *other;
        struct box box;

        box_open(&box, NULL, NULL);
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &other), 0);
        for (uint32_t i = 0; i < 3; i++) {
                seqs[i] = box_acquire(&box, 0);
                cr_assert_eq(box_step(&box, seqs[i], 3 * 1024 + 5, NULL), 0); /* 193 pages: 64, 64, 64, 1 */
        }
        cr_assert_eq(kvp_seq_release(box.cache, seqs[1]), 0);
        cr_assert_eq(kvp_seq_release(box.cache, seqs[0]), 0);
        cr_assert_eq(kvp_seq_release(box.cache, seqs[2]), 0);
        box_settle(&box);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_IDLE, 1), 1);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_IDLE, 1), 64); /* whole extents */
        cr_assert_eq(revoke(&box, WIRE_REVOKE_IDLE, 200),
                     128 + 1 + 64 + 64); /* the rest of it, and the next one's end */
        kvp_cache_destroy(other);
        box_close(&box);
}

Test(revoke, idle_level_leaves_held_rows_alone)
{
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 4000, NULL), 0);
        cr_assert_eq(box_step(&box, seq, 5, NULL), 0);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_IDLE, 1000), 0);
        cr_assert_eq(row_ready(&box, seq, 4000), 4096);
        box_close(&box);
}

Test(revoke, slack_level_takes_whole_extents_beyond_live_lengths)
{
        struct kvp_geometry geometry = box_fused;
        struct box box;
        uint32_t a, b;

        geometry.overread_tokens = 20;
        box_open(&box, NULL, &geometry);
        a = box_acquire(&box, 0);
        b = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, a, 4000, NULL), 0);
        cr_assert_eq(box_step(&box, b, 4000, NULL), 0);
        box_visit(&box, &geometry, a, 0, 1004, true);
        cr_assert_eq(box_step(&box, a, 1004, NULL), 0); /* and 20: the first extent of 1,024 is just enough */
        cr_assert_eq(revoke(&box, WIRE_REVOKE_SLACK, 1), 64);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_SLACK, 1000000), 128);
        cr_assert_eq(row_ready(&box, a, 1004), 1004);
        box_visit(&box, &geometry, a, 0, 1004, false);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_SLACK, 1000000), 0);
        cr_assert_geq(row_ready(&box, b, 4000), 4000);
        box_close(&box);
}

/* ---- several devices ---- */

/* The fake daemon has one device; this tells of as many as anybody asks for. */
static enum fake_verdict any_device(struct fake *fake, const struct wire_view *message, void *userdata)
{
        const struct wire_device device = { .page_size = PAGE, .capacity_bytes = PAGE << 20, .backend = "host" };

        (void)userdata;
        if (message->header.opcode != WIRE_DEVICE_GET)
                return FAKE_HANDLE;
        fake_send(fake, WIRE_DEVICE, message->header.request, &device, NULL, 0, NULL, 0);
        return FAKE_SWALLOW;
}

static uint64_t revoke_of(struct box *box, uint32_t device, enum wire_revoke_level level, uint64_t pages)
{
        const struct wire_revoke revoke = {
                .revoke = 1000 + device, .device = device, .level = level, .pages = pages, .deadline_usec = SECOND
        };
        const uint64_t before = fake_pages(box->fake), answers = fake_received(box->fake, WIRE_REVOKED);

        fake_send(box->fake, WIRE_REVOKE, 0, &revoke, NULL, 0, NULL, 0);
        cr_assert(fake_wait_received(box->fake, WIRE_REVOKED, answers + 1));
        return before - fake_pages(box->fake);
}

static void count_call(struct kvp_conn *conn, uint64_t bytes, uint64_t deadline_usec, void *userdata)
{
        (void)conn;
        (void)bytes;
        (void)deadline_usec;
        (*(int *)userdata)++;
}

Test(revoke, takes_from_caches_of_its_device_alone)
{
        struct kvp_geometry geometry = box_fused;
        struct kvp_seq_step step = { .tokens = 2000 };
        struct kvp_cache *second;
        int calls = 0;
        struct box box;

        box_open(&box, NULL, NULL);
        fake_set_hook(box.fake, any_device, NULL);
        geometry.device = 1;
        cr_assert_eq(kvp_cache_create(box.conn, &geometry, &second), 0);
        cr_assert_eq(kvp_set_pressure_handler(box.conn, count_call, &calls), 0);

        /* On each an idle row and one that is held by far too much; 128 pages in all of them. */
        for (int held = 0; held < 2; held++) {
                const uint32_t seq = box_acquire(&box, 0);

                cr_assert_eq(box_step(&box, seq, 2000, NULL), 0);
                cr_assert_eq(kvp_seq_acquire(second, 0, 0, &step.seq), 0);
                step.tokens = 2000;
                cr_assert_eq(kvp_step(second, &step, 1, 10 * SECOND), 0);
                step.tokens = 1000;
                if (!held) {
                        cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
                        cr_assert_eq(kvp_seq_release(second, step.seq), 0);
                        continue;
                }
                cr_assert_eq(box_step(&box, seq, 1000, NULL), 0);
                cr_assert_eq(kvp_step(second, &step, 1, 10 * SECOND), 0);
        }
        box_settle(&box);
        cr_assert_eq(revoke_of(&box, 2, WIRE_REVOKE_LIVE, 1000), 0, "one that this worker has no cache on");
        cr_assert_eq(calls, 0);
        cr_assert_eq(revoke_of(&box, 1, WIRE_REVOKE_IDLE, 1000), 128);
        cr_assert_eq(revoke_of(&box, 1, WIRE_REVOKE_SLACK, 1000), 64);
        cr_assert_eq(calls, 0);
        cr_assert_eq(revoke_of(&box, 1, WIRE_REVOKE_LIVE, 1000), 0);
        cr_assert_eq(calls, 1);
        cr_assert_eq(revoke_of(&box, 0, WIRE_REVOKE_LIVE, 1000), 128 + 64);
        cr_assert_eq(calls, 2);
        kvp_cache_destroy(second);
        box_close(&box);
}

/* ---- the application ---- */

struct pressed {
        struct box *box;
        uint32_t release, trim;
        uint64_t bytes, deadline;
        int calls;
};

static void on_pressure(struct kvp_conn *conn, uint64_t bytes, uint64_t deadline_usec, void *userdata)
{
        struct pressed *pressed = userdata;

        cr_assert_eq(conn, pressed->box->conn);
        pressed->calls++;
        pressed->bytes = bytes;
        pressed->deadline = deadline_usec;
        cr_assert_eq(kvp_seq_release(pressed->box->cache, pressed->release), 0);
        cr_assert_eq(kvp_seq_trim(pressed->box->cache, pressed->trim, 10), 0);
}

Test(revoke, live_level_asks_the_application)
{
        struct pressed pressed = { 0 };
        struct box box;

        box_open(&box, NULL, NULL);
        pressed.box = &box;
        pressed.release = box_acquire(&box, 0);
        pressed.trim = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, pressed.release, 1000, NULL), 0); /* 63 pages, or 64 */
        cr_assert_eq(box_step(&box, pressed.trim, 2040, NULL), 0);    /* 128 pages */
        cr_assert_eq(revoke(&box, WIRE_REVOKE_LIVE, 5), 0);           /* no handler: nothing to be had */
        cr_assert_eq(kvp_set_pressure_handler(box.conn, on_pressure, &pressed), 0);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_SLACK, 5), 0);
        cr_assert_eq(pressed.calls, 0);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_LIVE, 100), 64 + 64);
        cr_assert_eq(pressed.calls, 1);
        cr_assert_eq(pressed.bytes, 100 * PAGE);
        cr_assert(pressed.deadline <= SECOND && pressed.deadline > 0);
        cr_assert_eq(kvp_set_pressure_handler(box.conn, NULL, NULL), 0);
        box_close(&box);
}

struct told {
        uint32_t row;
        atomic_int held; /* when REVOKED came; -1: it has not come */
};

static enum fake_verdict on_answer(struct fake *fake, const struct wire_view *message, void *userdata)
{
        struct told *told = userdata;

        if (message->info->opcode == WIRE_REVOKED)
                atomic_store(&told->held, fake_row_is_held(fake, told->row));
        return FAKE_HANDLE;
}

/* Or the next one who wants some would press the application again. */
Test(revoke, what_the_application_released_is_told_before_the_answer)
{
        struct pressed pressed = { 0 };
        struct told told = { .held = -1 };
        struct box box;

        box_open(&box, NULL, NULL);
        pressed.box = &box;
        pressed.release = box_acquire(&box, 0);
        pressed.trim = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, pressed.release, 2040, NULL), 0); /* in two extents */
        cr_assert_eq(box_step(&box, pressed.trim, 10, NULL), 0);
        box_settle(&box);
        told.row = pressed.release;
        cr_assert(fake_row_is_held(box.fake, told.row));
        cr_assert_eq(kvp_set_pressure_handler(box.conn, on_pressure, &pressed), 0);
        fake_set_hook(box.fake, on_answer, &told);
        cr_assert_lt(revoke(&box, WIRE_REVOKE_LIVE, 40), 128, "half of it stays for now");
        cr_assert_eq(pressed.calls, 1);
        cr_assert_eq(told.held, 0);
        fake_set_hook(box.fake, NULL, NULL);
        box_close(&box);
}

struct waiting {
        struct box *box;
        struct kvp_seq_step steps[2];
        int r;
};

static void *waiting_main(void *userdata)
{
        struct waiting *waiting = userdata;

        waiting->r = kvp_step(waiting->box->cache, waiting->steps, 2, 10 * SECOND);
        return NULL;
}

/* As a handler does that preempts a sequence while the engine waits for memory. */
Test(revoke, a_step_lets_go_of_a_row_that_is_released_meanwhile)
{
        struct waiting waiting;
        pthread_t thread;
        struct box box;

        box_open(&box, NULL, NULL);
        waiting = (struct waiting){ .box = &box };
        for (uint32_t i = 0; i < 2; i++)
                waiting.steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 100 };
        fake_hold_grants(box.fake, true);
        cr_assert_eq(pthread_create(&thread, NULL, waiting_main, &waiting), 0);
        cr_assert(fake_wait_received(box.fake, WIRE_GROW, 1));
        cr_assert_eq(kvp_seq_release(box.cache, waiting.steps[1].seq), 0);
        fake_hold_grants(box.fake, false);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(waiting.r, -ECANCELED);
        cr_assert(waiting.steps[0].ret_status == 0 && waiting.steps[0].ret_ready >= 100);
        cr_assert_eq(waiting.steps[1].ret_status, -ECANCELED);
        box_settle(&box);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_IDLE, 7), 7);
        box_close(&box);
}

static int fence_status;
static atomic_int fence_calls;

static int fence(struct kvp_cache *cache, void *userdata)
{
        cr_assert_eq(cache, ((struct box *)userdata)->cache);
        atomic_fetch_add(&fence_calls, 1);
        return fence_status;
}

Test(revoke, nothing_is_unmapped_while_the_fence_refuses)
{
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        cr_assert_eq(kvp_cache_set_fence(box.cache, fence, &box), 0);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 2000, NULL), 0); /* two extents of 64 pages */
        box_visit(&box, &box_fused, seq, 0, 2000, true);
        cr_assert_eq(atomic_load(&fence_calls), 0);
        fence_status = -EBUSY;
        cr_assert_eq(kvp_seq_trim(box.cache, seq, 1), 0);
        box_settle(&box);
        cr_assert_eq(atomic_load(&fence_calls), 1);
        cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_LIVE, 1000), 0);
        cr_assert_eq(atomic_load(&fence_calls), 2); /* refused once, not asked again in the same revoke */
        box_visit(&box, &box_fused, seq, 0, 2000, false);
        cr_assert_eq(box_acquire(&box, 2000), seq);
        cr_assert_geq(row_ready(&box, seq, 2000), 2000);
        box_visit(&box, &box_fused, seq, 0, 2000, false);
        fence_status = 0;
        cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        cr_assert_eq(revoke(&box, WIRE_REVOKE_IDLE, 1000), 128);
        cr_assert_eq(atomic_load(&fence_calls), 3);
        cr_assert_eq(kvp_cache_set_fence(box.cache, NULL, NULL), 0);
        box_close(&box);
}

/* A fence that refuses as the cache is destroyed: the memory stays where it is. */
Test(revoke, a_destroyed_cache_stays_mapped_while_the_fence_refuses)
{
        struct kvp_tensor t;
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, NULL);
        cr_assert_eq(kvp_cache_set_fence(box.cache, fence, &box), 0);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
        cr_assert_eq(kvp_cache_tensor(box.cache, 0, 0, KVP_K, &t), 0);
        fence_status = -EBUSY;
        kvp_cache_destroy(box.cache);
        cr_assert_eq(atomic_load(&fence_calls), 1);
        cr_assert_eq(fake_received(box.fake, WIRE_CACHE_DESTROY), 0);
        ((volatile char *)t.data)[seq * t.stride[0]] = 1;
        kvp_disconnect(box.conn);
        fake_stop(box.fake);
}

/* ---- steps while memory goes ---- */

static atomic_bool stop;

static void *revoker(void *userdata)
{
        struct box *box = userdata;

        for (uint32_t id = 1000; !atomic_load(&stop); id++) {
                const uint64_t answers = fake_received(box->fake, WIRE_REVOKED);

                fake_revoke(box->fake, id, id % 3, 1 + id % 90);
                cr_assert(fake_wait_received(box->fake, WIRE_REVOKED, answers + 1));
        }
        return NULL;
}

/* What a step has backed stays written and read while revokes of all levels go on; rows come and go, are cut and grow
 * again. */
Test(revoke, steps_never_lose_what_they_were_given)
{
        const struct kvp_layer_group group = {
                .layers = 2, .kv_heads = 3, .head_dim = 100, .v_head_dim = 60, .element_bits = 16
        };
        const struct kvp_geometry geometry = { .size = sizeof(geometry),
                                               .layout = KVP_LAYOUT_PER_LAYER,
                                               .max_seqs = 8,
                                               .n_groups = 1,
                                               .max_tokens = 20000,
                                               .overread_tokens = 3,
                                               .groups = &group };
        uint32_t seed = 1;
        pthread_t thread;
        struct box box;

        box_open(&box, NULL, &geometry);
        cr_assert_eq(pthread_create(&thread, NULL, revoker, &box), 0);
        for (int round = 0; round < 150 || (box_stats(&box).returns <= 100 && round < 15000); round++) {
                uint32_t seq = box_acquire(&box, seed % 15000);
                uint64_t ready;

                for (int i = 0; i < 4; i++) {
                        uint64_t tokens;

                        seed = seed * 1103515245 + 12345;
                        tokens = 1 + (seed >> 8) % 19999;
                        cr_assert_eq(box_step(&box, seq, tokens, &ready), 0);
                        cr_assert_geq(ready, tokens);
                        box_visit(&box, &geometry, seq, tokens - 1, tokens, true);
                        box_visit(&box, &geometry, seq, tokens / 2, tokens / 2 + 1, true);
                        box_visit(&box, &geometry, seq, tokens - 1, tokens, false);
                        if (i == 2)
                                cr_assert_eq(kvp_seq_trim(box.cache, seq, tokens / 2 + 1), 0);
                        box_visit(&box, &geometry, seq, tokens / 2, tokens / 2 + 1, false);
                }
                cr_assert_eq(kvp_seq_release(box.cache, seq), 0);
        }
        atomic_store(&stop, true);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_gt(box_stats(&box).returns, 100);
        box_close(&box);
}

Test(revoke, sync_is_answered_by_an_acknowledgement)
{
        struct box box;

        box_open(&box, NULL, NULL);
        cr_assert_eq(box_step(&box, box_acquire(&box, 0), 100, NULL), 0);
        fake_sync(box.fake);
        cr_assert(fake_wait_received(box.fake, WIRE_ACK, 1));
        box_close(&box);
}

/* Nobody reads the grant of a step that gave up, until SYNC has the mapper do it. */
Test(revoke, sync_has_abandoned_grants_read)
{
        struct kvp_seq_step step;
        struct box box;

        box_open(&box, NULL, NULL);
        step = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 500 };
        fake_hold_grants(box.fake, true);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 1000), -ETIMEDOUT);
        fake_hold_grants(box.fake, false);
        fake_sync(box.fake);
        cr_assert(fake_wait_received(box.fake, WIRE_ACK, 1));
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), 0);
        box_close(&box);
}
