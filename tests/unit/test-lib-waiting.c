/* SPDX-License-Identifier: MIT
 *
 * test-lib-waiting.c -- what other threads do while a step waits for memory, and what that leaves each of them.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"
#include "conn.h"
#include "lib-box.h"

#define MANY (CONN_MAX_REQUESTS + 4)

struct stepper {
        struct box *box;
        struct kvp_seq_step step;
        uint64_t timeout_usec;
        int r;
        pthread_t thread;
};

static void *stepper_main(void *userdata)
{
        struct stepper *stepper = userdata;

        stepper->r = kvp_step(stepper->box->cache, &stepper->step, 1, stepper->timeout_usec);
        return NULL;
}

static void stepper_start(struct stepper *stepper, struct box *box, uint32_t seq, uint64_t tokens)
{
        *stepper = (struct stepper){
                .box = box, .step = { .seq = seq, .tokens = tokens }, .timeout_usec = UINT64_MAX, .r = 1
        };
        cr_assert_eq(pthread_create(&stepper->thread, NULL, stepper_main, stepper), 0);
}

static int stepper_end(struct stepper *stepper)
{
        cr_assert_eq(pthread_join(stepper->thread, NULL), 0);
        cr_assert_eq(stepper->r, stepper->step.ret_status);
        return stepper->r;
}

/* So many that no request is left for another, and all of them wait. */
static void steppers_start(struct stepper *steppers, struct box *box)
{
        fake_hold_grants(box->fake, true);
        for (uint32_t i = 0; i < MANY; i++)
                stepper_start(&steppers[i], box, box_acquire(box, 0), 10);
        for (bool starved = false; !starved;) {
                (void)pthread_mutex_lock(&box->conn->mutex);
                starved = box->conn->starved;
                (void)pthread_mutex_unlock(&box->conn->mutex);
        }
}

static void steppers_end(struct stepper *steppers, struct box *box)
{
        fake_hold_grants(box->fake, false);
        for (uint32_t i = 0; i < MANY; i++)
                cr_assert_eq(stepper_end(&steppers[i]), 0);
}

static struct kvp_geometry many_rows(void)
{
        struct kvp_geometry geometry = box_fused;

        geometry.max_seqs = MANY + 8;
        return geometry;
}

/* To destroy another cache may be what gives them their memory. */
Test(waiting, leaves_room_for_calls)
{
        const struct kvp_geometry geometry = many_rows();
        struct kvp_device_info info = { .size = sizeof(info) };
        struct stepper steppers[MANY];
        struct kvp_cache *other;
        struct box box;

        box_open(&box, NULL, &geometry);
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &other), 0);
        atomic_store(&box.conn->patience_usec, SECOND);
        steppers_start(steppers, &box);
        cr_assert_eq(kvp_device_info(box.conn, 0, &info), 0);
        kvp_cache_destroy(other);
        cr_assert_eq(fake_received(box.fake, WIRE_CACHE_DESTROY), 1);
        atomic_store(&box.conn->patience_usec, CONN_PATIENCE_USEC);
        steppers_end(steppers, &box);
        box_close(&box);
}

struct trimmer {
        struct kvp_cache *cache;
        uint32_t seq;
};

static enum fake_verdict trim_hook(struct fake *fake, const struct wire_view *message, void *userdata)
{
        const struct trimmer *trimmer = userdata;

        (void)fake;
        if (message->header.opcode == WIRE_GROW)
                cr_assert_eq(kvp_seq_trim(trimmer->cache, trimmer->seq, 1), 0);
        return FAKE_HANDLE;
}

/* As a pressure handler does. What it waits for is not coming, and it is told so, instead of asking on and on. */
Test(waiting, fails_though_its_row_is_trimmed_meanwhile)
{
        struct trimmer trimmer;
        struct box box;

        box_open(&box, NULL, NULL);
        trimmer = (struct trimmer){ .cache = box.cache, .seq = box_acquire(&box, 0) };
        fake_fail_grows(box.fake, WIRE_E_DEVICE_FULL);
        fake_set_hook(box.fake, trim_hook, &trimmer);
        cr_assert_eq(box_step(&box, trimmer.seq, 1000, NULL), -ENOMEM);
        cr_assert_leq(fake_received(box.fake, WIRE_GROW), 2, "once more, without look-ahead");
        fake_set_hook(box.fake, NULL, NULL);
        box_close(&box);
}

Test(waiting, keeps_what_it_returned_though_its_row_is_trimmed_meanwhile)
{
        struct stepper stepper;
        struct box box;

        box_open(&box, NULL, NULL);
        fake_hold_grants(box.fake, true);
        stepper_start(&stepper, &box, box_acquire(&box, 0), 2040); /* two extents of 64 pages */
        cr_assert(fake_wait_received(box.fake, WIRE_GROW, 1));
        cr_assert_eq(kvp_seq_trim(box.cache, stepper.step.seq, 1), 0);
        fake_hold_grants(box.fake, false);
        cr_assert_eq(stepper_end(&stepper), 0);
        box_settle(&box);
        box_visit(&box, &box_fused, stepper.step.seq, 0, 2040, true);
        fake_revoke(box.fake, 1, WIRE_REVOKE_SLACK, 1000);
        cr_assert(fake_wait_received(box.fake, WIRE_REVOKED, 1));
        box_visit(&box, &box_fused, stepper.step.seq, 0, 2040, false);
        box_close(&box);
}

/* By its number alone it would take the row of another sequence for its own. */
Test(waiting, is_cancelled_where_its_row_has_changed_hands)
{
        struct kvp_geometry geometry = box_fused;
        struct stepper stepper;
        struct box box;

        geometry.max_seqs = 1;
        box_open(&box, NULL, &geometry);
        fake_hold_grants(box.fake, true);
        stepper_start(&stepper, &box, box_acquire(&box, 0), 100);
        cr_assert(fake_wait_received(box.fake, WIRE_GROW, 1));
        cr_assert_eq(kvp_seq_release(box.cache, stepper.step.seq), 0);
        cr_assert_eq(box_acquire(&box, 0), stepper.step.seq);
        fake_hold_grants(box.fake, false);
        cr_assert_eq(stepper_end(&stepper), -ECANCELED);
        cr_assert_eq(box_step(&box, stepper.step.seq, 200, NULL), 0);
        box_close(&box);
}

/* The daemon may take as long as it likes, or the step's timeout, to answer. */
Test(waiting, ends_when_all_of_its_rows_are_released, .timeout = 60)
{
        struct stepper steppers[2];
        struct box box;

        box_open(&box, NULL, NULL);
        fake_hold_grants(box.fake, true);
        for (uint32_t i = 0; i < 2; i++)
                stepper_start(&steppers[i], &box, box_acquire(&box, 0), 100);
        cr_assert(fake_wait_received(box.fake, WIRE_GROW, 2));
        for (uint32_t i = 0; i < 2; i++)
                cr_assert_eq(kvp_seq_release(box.cache, steppers[i].step.seq), 0);
        for (uint32_t i = 0; i < 2; i++)
                cr_assert_eq(stepper_end(&steppers[i]), -ECANCELED);
        cr_assert_eq(fake_pages(box.fake), 14, "asked for, and not granted yet");
        fake_hold_grants(box.fake, false);
        box_settle(&box);
        cr_assert_eq(box_stats(&box).idle_bytes, 14 * PAGE);
        box_close(&box);
}

/* The mapper has no request for the rows that want one; those behind them want none. */
Test(waiting, leaves_room_for_what_needs_no_request)
{
        const struct kvp_geometry geometry = many_rows();
        struct stepper steppers[MANY];
        struct kvp_seq_step step = { .tokens = 10 };
        struct box box;
        uint32_t seq;

        box_open(&box, NULL, &geometry);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 4000, NULL), 0);
        box_settle(&box);
        steppers_start(steppers, &box);
        for (int i = 0; i < 4; i++) {
                step.seq = box_acquire(&box, 0);
                cr_assert_eq(kvp_step(box.cache, &step, 1, 0), -ETIMEDOUT);
        }
        cr_assert_eq(kvp_seq_trim(box.cache, seq, 1), 0);
        cr_assert(fake_wait_received(box.fake, WIRE_RETURN, 1));
        steppers_end(steppers, &box);
        box_close(&box);
}

static uint64_t now_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec / 1000;
}

/* A daemon that does not read: the mapper waits for it, and a step that would tell of released rows first does not. */
Test(waiting, keeps_to_its_timeout_though_there_is_much_to_tell)
{
        static struct kvp_seq_step steps[2000];
        struct kvp_geometry geometry = box_fused;
        struct kvp_seq_step step = { .tokens = 1000 };
        struct box box;
        uint64_t before;
        int wait = 10000; /* in all */

        geometry.max_seqs = 2001;
        box_open(&box, NULL, &geometry);
        for (uint32_t i = 0; i < 2000; i++)
                steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 1 };
        step.seq = box_acquire(&box, 0);
        cr_assert_eq(kvp_step(box.cache, steps, 2000, 20 * SECOND), 0);
        box_settle(&box);
        atomic_store(&box.conn->patience_usec, 60 * SECOND);
        fake_pause(box.fake, true);
        for (uint32_t i = 0; i < 2000; i++) { /* each has its own message, as long as there is room */
                const uint64_t told = box_stats(&box).messages;

                cr_assert_eq(kvp_seq_release(box.cache, steps[i].seq), 0);
                for (; wait > 0 && box_stats(&box).messages == told; wait--)
                        (void)usleep(100);
        }
        before = now_usec();
        cr_assert_eq(kvp_step(box.cache, &step, 1, 50000), -ETIMEDOUT);
        cr_assert_lt(now_usec() - before, 30 * SECOND);
        fake_pause(box.fake, false);
        box_settle(&box);
        for (uint32_t i = 0; i < 64; i++) /* as many as the fake remembers */
                cr_assert_eq(fake_row_is_held(box.fake, i), i == step.seq);
        box_close(&box);
}

/* The answer that came too late is nobody's, and nothing is lost by it: as many times as there are requests. */
Test(lib_waiting, settle_keeps_to_its_timeout)
{
        struct box box;

        box_open(&box, NULL, NULL);
        box_settle(&box);
        fake_pause(box.fake, true);
        for (uint32_t i = 0; i < CONN_MAX_REQUESTS + 1; i++)
                cr_expect_eq(kvp_cache_settle(box.cache, 1000), -ETIMEDOUT, "%u", i);
        fake_pause(box.fake, false);
        box_settle(&box);
        (void)pthread_mutex_lock(&box.conn->mutex);
        cr_expect_eq(box.conn->n_requests, 0);
        for (uint32_t i = 0; i < CONN_MAX_REQUESTS; i++)
                cr_expect_eq(box.conn->requests[i].state, REQUEST_FREE, "%u", i);
        (void)pthread_mutex_unlock(&box.conn->mutex);
        box_close(&box);
}

/* The daemon reads nothing while the step that waits is to acknowledge: that is the mapper's to wait for. */
Test(waiting, ends_in_time_though_nothing_can_be_acknowledged, .timeout = 60)
{
        struct stepper stepper;
        uint64_t filler[8], sent;
        struct box box;
        size_t size;

        box_open(&box, NULL, NULL);
        fake_hold_grants(box.fake, true);
        stepper = (struct stepper){ .box = &box,
                                    .step = { .seq = box_acquire(&box, 0), .tokens = 100 },
                                    .timeout_usec = 2 * SECOND };
        cr_assert_eq(pthread_create(&stepper.thread, NULL, stepper_main, &stepper), 0);
        cr_assert(fake_wait_received(box.fake, WIRE_GROW, 1));
        atomic_store(&box.conn->patience_usec, 20 * SECOND);
        fake_pause(box.fake, true);
        size = wire_encode(filler, sizeof(filler), WIRE_ACK, 0, 0, NULL, NULL, 0);
        for (sent = 0; send(box.conn->socket, filler, size, MSG_DONTWAIT) > 0; sent++)
                ;
        fake_sync(box.fake);
        cr_assert_eq(stepper_end(&stepper), -ETIMEDOUT);
        fake_pause(box.fake, false);
        cr_assert(fake_wait_received(box.fake, WIRE_ACK, sent + 1));
        fake_hold_grants(box.fake, false);
        cr_assert_eq(box_step(&box, stepper.step.seq, 100, NULL), 0);
        box_close(&box);
}
