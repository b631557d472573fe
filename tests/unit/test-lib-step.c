/* SPDX-License-Identifier: MIT
 *
 * test-lib-step.c -- kvp_step(), sentence by sentence of its description in kvpager.h.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"
#include "lib-box.h"

Test(step, backs_every_row_in_every_plane_of_every_layout)
{
        static const struct kvp_layer_group groups[3] = {
                { .layers = 3, .kv_heads = 3, .head_dim = 24, .v_head_dim = 40, .element_bits = 16 },
                { .layers = 2, .kv_heads = 1, .head_dim = 576, .element_bits = 8, .parts = KVP_PARTS_K },
                { .layers = 5, .kv_heads = 2, .head_dim = 33, .element_bits = 4 },
        };
        for (uint32_t layout = 0; layout < 3; layout++) {
                const struct kvp_geometry geometry = { .size = sizeof(geometry),
                                                       .layout = layout,
                                                       .max_seqs = 3,
                                                       .n_groups = 3,
                                                       .max_tokens = 3000,
                                                       .overread_tokens = 13,
                                                       .groups = groups };
                struct kvp_seq_step steps[3];
                struct box box;
                uint64_t ready;

                box_open(&box, NULL, &geometry);
                for (uint32_t i = 0; i < 3; i++)
                        steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0),
                                                          .tokens = 100 + 400 * i,
                                                          .ret_status = 1 };
                cr_assert_eq(kvp_step(box.cache, steps, 3, SECOND), 0);
                for (uint32_t i = 0; i < 3; i++) {
                        cr_assert(steps[i].ret_status == 0 && steps[i].ret_ready >= steps[i].tokens);
                        box_visit(&box, &geometry, steps[i].seq, 0, steps[i].ret_ready, true);
                }
                cr_assert_eq(box_step(&box, steps[0].seq, 3000, &ready), 0);
                cr_assert_eq(ready, 3000);
                box_visit(&box, &geometry, steps[0].seq, steps[0].ret_ready, 3000, true);
                box_visit(&box, &geometry, steps[0].seq, 0, 3000, false);
                for (uint32_t i = 1; i < 3; i++)
                        box_visit(&box, &geometry, steps[i].seq, 0, steps[i].ret_ready, false);
                box_close(&box);
        }
}

Test(step, backs_the_overread_too)
{
        struct kvp_geometry geometry = box_fused;
        struct kvp_tensor t;
        struct box box;
        uint32_t seq;

        geometry.overread_tokens = 100;
        box_open(&box, NULL, &geometry);
        seq = box_acquire(&box, 0);
        for (uint64_t tokens = 1; tokens <= 4096; tokens += 13) {
                uint64_t ready;

                cr_assert_eq(box_step(&box, seq, tokens, &ready), 0);
                cr_assert_geq(ready, tokens);
                cr_assert_eq(kvp_cache_tensor(box.cache, 0, 0, KVP_V, &t), 0);
                ((volatile char *)t.data)[seq * t.stride[0] + (ready + 99) * t.stride[1] + t.stride[1] / 2 - 1] = 1;
        }
        box_close(&box);
}

Test(step, a_prompt_is_one_round_trip_of_few_extents)
{
        struct box box;
        struct kvp_cache_stats stats;

        box_open(&box, NULL, NULL);
        cr_assert_eq(box_step(&box, box_acquire(&box, 0), 2040, NULL), 0); /* 128 pages with the look-ahead */
        box_settle(&box);
        stats = box_stats(&box);
        cr_assert(stats.requests == 1 && stats.grants == 2 && stats.granted_bytes == 128 * PAGE);
        cr_assert(stats.steps == 1 && stats.steps_waited == 1 && stats.steps_with_syscalls == 1 &&
                  stats.mapper_wakes == 0);
        cr_assert_eq(fake_received(box.fake, WIRE_GROW), 1);
        box_close(&box);
}

/* ---- no system call: the thread is killed by one ---- */

struct steady {
        struct box *box;
        struct kvp_seq_step steps[8];
        int r;
};

static void *steady_main(void *userdata)
{
        static struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        };
        const struct sock_fprog program = { .len = 4, .filter = filter };
        struct steady *steady = userdata;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                return NULL;
        for (int i = 0; i < 1000; i++)
                steady->r |= kvp_step(steady->box->cache, steady->steps, 8, SECOND);
        steady->r -= 1000;
        (void)syscall(SYS_exit, 0);
        return NULL;
}

Test(step, makes_no_system_call_within_its_marks)
{
        struct steady steady = { 0 };
        struct kvp_cache_stats before, after;
        pthread_t thread;
        struct box box;

        box_open(&box, NULL, NULL);
        steady.box = &box;
        for (uint32_t i = 0; i < 8; i++)
                steady.steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 17 + i % 4 };
        cr_assert_eq(kvp_step(box.cache, steady.steps, 8, SECOND), 0);
        box_settle(&box);
        before = box_stats(&box);
        cr_assert_eq(pthread_create(&thread, NULL, steady_main, &steady), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(steady.r, -1000);
        after = box_stats(&box);
        cr_assert(after.steps == before.steps + 1000 && after.messages == before.messages);
        cr_assert(after.steps_with_syscalls == before.steps_with_syscalls && after.mapper_wakes == before.mapper_wakes);
        box_close(&box);
}

/* ---- what it refuses ---- */

static void refused(struct box *box, struct kvp_seq_step *steps, size_t n)
{
        struct row_hot before[8];

        for (size_t i = 0; i < n; i++) {
                steps[i].ret_status = 77;
                steps[i].ret_ready = 77;
        }
        memcpy(before, box->cache->hot, sizeof(before));
        cr_assert_eq(kvp_step(box->cache, steps, n, SECOND), -EINVAL);
        for (uint32_t row = 0; row < 8; row++)
                cr_assert(before[row].tokens == box->cache->hot[row].tokens &&
                          before[row].ready == box->cache->hot[row].ready);
        for (size_t i = 0; i < n; i++)
                cr_assert(steps[i].ret_status == 77 && steps[i].ret_ready == 77);
}

Test(step, refuses_a_row_twice_not_held_or_too_long_and_changes_nothing)
{
        struct kvp_seq_step steps[9];
        struct box box;
        uint32_t a, b;
        uint64_t messages;

        box_open(&box, NULL, NULL);
        a = box_acquire(&box, 0);
        b = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, a, 10, NULL), 0);
        messages = box_stats(&box).messages;
        steps[0] = (struct kvp_seq_step){ .seq = a, .tokens = 1000 };
        steps[1] = (struct kvp_seq_step){ .seq = b, .tokens = 4097 };
        refused(&box, steps, 2);
        steps[1] = (struct kvp_seq_step){ .seq = a, .tokens = 10 };
        refused(&box, steps, 2);
        steps[1] = (struct kvp_seq_step){ .seq = 7, .tokens = 10 };
        refused(&box, steps, 2);
        steps[1] = (struct kvp_seq_step){ .seq = 8, .tokens = 10 };
        refused(&box, steps, 2);
        steps[1] = (struct kvp_seq_step){ .seq = UINT32_MAX, .tokens = 10 };
        refused(&box, steps, 2);
        cr_assert_eq(kvp_seq_release(box.cache, b), 0);
        steps[1] = (struct kvp_seq_step){ .seq = b, .tokens = 10 };
        refused(&box, steps, 2);
        cr_assert_eq(kvp_step(box.cache, NULL, 1, 0), -EINVAL);
        cr_assert_eq(kvp_step(box.cache, NULL, 0, 0), 0);
        cr_assert_eq(box_stats(&box).messages, messages);
        cr_assert_eq(box_step(&box, a, 4096, NULL), 0);
        box_close(&box);
}

Test(step, tells_a_row_twice_when_its_stamps_wrap_around)
{
        struct kvp_seq_step steps[2];
        struct box box;

        box_open(&box, NULL, NULL);
        steps[0] = steps[1] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 5 };
        cr_assert_eq(kvp_step(box.cache, steps, 1, SECOND), 0);
        box.cache->stamp = ROW_FREE - 3;
        for (int i = 0; i < 6; i++) {
                cr_assert_eq(kvp_step(box.cache, steps, 1, SECOND), 0);
                cr_assert_eq(kvp_step(box.cache, steps, 2, SECOND), -EINVAL);
        }
        box_close(&box);
}

/* ---- rows that rest or shrink ---- */

Test(step, a_paused_row_keeps_its_pages_and_a_rollback_unmaps_nothing)
{
        struct box box;
        uint32_t a, b;
        uint64_t ready, again, live;

        box_open(&box, NULL, NULL);
        a = box_acquire(&box, 0);
        b = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, a, 1000, &ready), 0);
        cr_assert_eq(box_step(&box, b, 1000, NULL), 0);
        box_visit(&box, &box_fused, a, 0, 1000, true);
        cr_assert_eq(box_step(&box, b, 4000, NULL), 0);
        box_settle(&box);
        live = box_stats(&box).live_bytes;
        cr_assert_eq(box_step(&box, b, 1, NULL), 0);
        cr_assert_eq(box_step(&box, a, 3, &again), 0);
        cr_assert_eq(again, ready);
        box_settle(&box);
        cr_assert_eq(box_stats(&box).live_bytes, live);
        box_visit(&box, &box_fused, a, 0, 1000, false);
        box_close(&box);
}

/* ---- waiting ---- */

static uint64_t now_usec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

Test(step, timeout_0_does_not_wait_and_the_mapper_gets_on_with_it)
{
        struct kvp_seq_step step;
        struct box box;

        box_open(&box, NULL, NULL);
        step = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 500 };
        fake_hold_grants(box.fake, true);
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(kvp_step(box.cache, &step, 1, 0), -ETIMEDOUT);
                cr_assert(step.ret_status == -ETIMEDOUT && step.ret_ready == 0);
        }
        cr_assert(fake_wait_received(box.fake, WIRE_GROW, 1));
        fake_hold_grants(box.fake, false);
        box_settle(&box);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), 0);
        cr_assert_geq(step.ret_ready, 500);
        cr_assert_eq(fake_received(box.fake, WIRE_GROW), 1); /* asked once, however often it was stepped */
        cr_assert_eq(box_stats(&box).steps_waited, 0);
        box_close(&box);
}

Test(step, timeout_0_tells_why_the_mapper_failed)
{
        struct kvp_seq_step step;
        struct box box;

        box_open(&box, NULL, NULL);
        step = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 486 };
        /* A prompt's growth has no look-ahead; this one's next has. */
        cr_assert_eq(box_step(&box, step.seq, 470, NULL), 0);
        fake_fail_grows(box.fake, WIRE_E_DEVICE_FULL);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), -ETIMEDOUT);
        box_settle(&box); /* asked with look-ahead, and without */
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), -ETIMEDOUT);
        box_settle(&box);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), -ENOMEM);
        fake_fail_grows(box.fake, WIRE_E_NONE);
        cr_assert_eq(kvp_step(box.cache, &step, 1, SECOND), 0);
        box_close(&box);
}

Test(step, gives_up_at_its_timeout_and_takes_what_comes_later)
{
        struct box box;
        struct kvp_seq_step step;
        uint64_t before;

        box_open(&box, NULL, NULL);
        step = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 500 };
        fake_hold_grants(box.fake, true);
        before = now_usec();
        cr_assert_eq(kvp_step(box.cache, &step, 1, 50000), -ETIMEDOUT);
        cr_assert_geq(now_usec() - before, 50000);
        cr_assert_eq(step.ret_ready, 0);
        fake_hold_grants(box.fake, false);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 10 * SECOND), 0);
        cr_assert_eq(fake_received(box.fake, WIRE_GROW), 1); /* the first request was still good */
        box_close(&box);
}

struct stepper {
        struct box *box;
        uint32_t seq;
        int r;
        pthread_t thread;
};

static void *stepper_main(void *userdata)
{
        struct stepper *stepper = userdata;

        stepper->r = box_step(stepper->box, stepper->seq, 700, NULL);
        return NULL;
}

/* All of them wait for one message; one reads, and each gets its own. */
Test(step, many_threads_wait_at_once)
{
        struct stepper steppers[8];
        struct box box;

        box_open(&box, &(struct fake_options){ .max_per_message = 3 }, NULL);
        fake_hold_grants(box.fake, true);
        for (int i = 0; i < 8; i++) {
                steppers[i] = (struct stepper){ .box = &box, .seq = box_acquire(&box, 0), .r = 1 };
                cr_assert_eq(pthread_create(&steppers[i].thread, NULL, stepper_main, &steppers[i]), 0);
        }
        cr_assert(fake_wait_received(box.fake, WIRE_GROW, 8));
        fake_hold_grants(box.fake, false);
        for (int i = 0; i < 8; i++) {
                cr_assert_eq(pthread_join(steppers[i].thread, NULL), 0);
                cr_assert_eq(steppers[i].r, 0);
        }
        box_close(&box);
}

/* ---- errors ---- */

static const struct {
        enum wire_error_code code;
        int error;
} told[] = {
        { WIRE_E_DEVICE_FULL, -ENOMEM }, { WIRE_E_DEVICE_FAILED, -ENOMEM },  { WIRE_E_TENANT_FULL, -EDQUOT },
        { WIRE_E_BAD_RANGE, -EPROTO },   { WIRE_E_ALREADY_MAPPED, -EPROTO },
};

Test(step, passes_on_what_the_daemon_says_and_can_be_repeated)
{
        for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
                struct box box;
                uint32_t seq;
                uint64_t ready;

                box_open(&box, NULL, NULL);
                seq = box_acquire(&box, 0);
                cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
                box_visit(&box, &box_fused, seq, 0, 100, true);
                fake_fail_grows(box.fake, told[i].code);
                for (int round = 0; round < 2; round++) {
                        cr_assert_eq(box_step(&box, seq, 1000, &ready), told[i].error);
                        cr_assert(ready >= 100 && ready < 1000);
                }
                box_visit(&box, &box_fused, seq, 0, 100, false);
                fake_fail_grows(box.fake, WIRE_E_NONE);
                cr_assert_eq(box_step(&box, seq, 1000, &ready), 0);
                box_visit(&box, &box_fused, seq, 0, 100, false);
                box_close(&box);
        }
}

Test(step, a_request_that_timed_out_at_the_daemon_is_repeated_until_the_caller_is_out_of_time)
{
        struct box box;
        struct kvp_seq_step step;

        box_open(&box, NULL, NULL);
        step = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 10 };
        fake_fail_grows(box.fake, WIRE_E_TIMED_OUT);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 20000), -ETIMEDOUT);
        cr_assert_gt(fake_received(box.fake, WIRE_GROW), 1);
        fake_fail_grows(box.fake, WIRE_E_TOO_MANY_REQUESTS);
        cr_assert_eq(kvp_step(box.cache, &step, 1, 20000), -ETIMEDOUT);
        fake_fail_grows(box.fake, WIRE_E_NONE);
        cr_assert_eq(kvp_step(box.cache, &step, 1, SECOND), 0);
        box_close(&box);
}

Test(step, returns_the_first_failing_rows_error_and_each_row_has_its_own)
{
        struct kvp_seq_step steps[3];
        struct box box;

        box_open(&box, &(struct fake_options){ .capacity = 40 }, NULL);
        for (uint32_t i = 0; i < 3; i++)
                steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 290 }; /* 19 pages each */
        cr_assert_eq(kvp_step(box.cache, steps, 3, SECOND), -ENOMEM);
        cr_assert(steps[0].ret_status == 0 && steps[1].ret_status == 0 && steps[2].ret_status == -ENOMEM);
        cr_assert(steps[0].ret_ready >= 290 && steps[1].ret_ready >= 290 && steps[2].ret_ready == 0);
        cr_assert_eq(kvp_seq_release(box.cache, steps[1].seq), 0);
        fake_revoke(box.fake, 1, WIRE_REVOKE_IDLE, 20);
        cr_assert(fake_wait_received(box.fake, WIRE_REVOKED, 1));
        steps[1] = steps[2];
        cr_assert_eq(kvp_step(box.cache, steps, 2, SECOND), 0);
        box_close(&box);
}

/* The last pages of a device: what is needed is had, look-ahead is not. */
Test(step, does_without_look_ahead_before_it_fails)
{
        struct box box;
        uint64_t ready;
        uint32_t seq;

        box_open(&box, &(struct fake_options){ .capacity = 10 }, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 160, &ready), 0);
        cr_assert_eq(ready, 160);
        cr_assert_eq(box_step(&box, seq, 161, &ready), -ENOMEM);
        cr_assert_eq(ready, 160);
        box_close(&box);
}
