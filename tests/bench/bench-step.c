/* SPDX-License-Identifier: MIT
 *
 * bench-step.c -- kvp_step() where nothing crosses a mark, which is what nearly every iteration of an engine is.
 *
 * The floor is the least that gives the same answer: a loop over an array of structs that compares each length with
 * what is backed and writes status and readiness. It checks nothing that an engine could get wrong, and takes no lock.
 *
 * Beside it, how a step fares while the mapper maps: another thread drives a row of the same cache up and down on the
 * second CPU, where mapper and daemon are, so that the lock is taken and the rows' lines move between the CPUs.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

#define ROWS        256u
#define ROUNDS      200u
#define STEPS       200u  /* a round, each row advancing by a token */
#define PAGE_TOKENS 1024u /* a page of the cache: 2 KiB a token */

struct floor_row {
        uint64_t tokens, ready;
};

/* Not inlined, and its result is used: the compiler cannot know what comes of it. */
static __attribute__((noinline)) int floor_step(struct floor_row *rows, struct kvp_seq_step *steps, size_t n)
{
        uint64_t beyond = 0;

        for (size_t i = 0; i < n; i++) {
                struct floor_row *row = &rows[steps[i].seq];

                beyond |= steps[i].tokens > row->ready;
                row->tokens = steps[i].tokens;
                steps[i].ret_status = 0;
                steps[i].ret_ready = row->ready;
        }
        return beyond ? -ENOMEM : 0;
}

static struct kvp_cache *cache_full(struct kvp_conn *conn, struct kvp_seq_step *steps)
{
        struct kvp_cache *cache = bench_cache(conn, KVP_LAYOUT_TOKEN_MAJOR_FUSED, ROWS + 1, 64 * PAGE_TOKENS, 1, 4,
                                              128);

        for (unsigned i = 0; i < ROWS; i++) {
                bench_check(kvp_seq_acquire(cache, 1, 0, &steps[i].seq), "kvp_seq_acquire");
                steps[i].tokens = PAGE_TOKENS - 8;
        }
        bench_check(kvp_step(cache, steps, ROWS, 10 * BENCH_SECOND), "kvp_step");
        bench_check(kvp_cache_settle(cache, BENCH_SECOND), "kvp_cache_settle"); /* what was granted is acknowledged */
        return cache;
}

static void measure(struct kvp_cache *cache, struct kvp_seq_step *steps, size_t n, const char *name, const char *unit)
{
        static struct bench bench;
        static struct floor_row rows[ROWS + 1];
        struct kvp_cache_stats before = { .size = sizeof(before) }, after = { .size = sizeof(after) };

        for (unsigned i = 0; i <= ROWS; i++)
                rows[i].ready = PAGE_TOKENS;
        bench_check(kvp_cache_stats(cache, &before), "kvp_cache_stats");
        for (unsigned round = 0; round < ROUNDS; round++) {
                for (unsigned side = 0; side < 2; side++) {
                        const double began = bench_now();

                        for (unsigned k = 0; k < STEPS; k++) {
                                for (size_t i = 0; i < n; i++)
                                        steps[i].tokens = k + 1;
                                bench_check(side == 0 ? kvp_step(cache, steps, n, BENCH_SECOND)
                                                      : floor_step(rows, steps, n),
                                            "step");
                        }
                        bench_sample(side == 0 ? &bench.ours : &bench.floor, (bench_now() - began) / STEPS / (double)n);
                }
                bench_round_end(&bench);
        }
        bench_check(kvp_cache_stats(cache, &after), "kvp_cache_stats");
        bench_report(&bench, name, unit, 1);
        if (after.steps_with_syscalls != before.steps_with_syscalls || after.messages != before.messages) {
                (void)fprintf(stderr, "steps that cross no mark made system calls\n");
                exit(1);
        }
}

/* ---- while the mapper maps ---- */

struct driver {
        struct kvp_cache *cache;
        atomic_bool stop;
        uint64_t pages;
};

static void *drive(void *userdata)
{
        struct driver *driver = userdata;
        struct kvp_seq_step step = { 0 };

        bench_pin(1);
        bench_check(kvp_seq_acquire(driver->cache, 1, 0, &step.seq), "kvp_seq_acquire");
        while (!atomic_load(&driver->stop)) {
                step.tokens = PAGE_TOKENS - 8;
                bench_check(kvp_step(driver->cache, &step, 1, BENCH_SECOND), "kvp_step");
                for (unsigned page = 1; page < 60; page++) {
                        step.tokens = page * PAGE_TOKENS - 7; /* over the mark: the mapper fetches the page after */
                        do {
                                (void)sched_yield();
                                (void)kvp_step(driver->cache, &step, 1, 0);
                        } while (step.ret_ready <= page * PAGE_TOKENS && !atomic_load(&driver->stop));
                        driver->pages++;
                }
                (void)kvp_seq_trim(driver->cache, step.seq, 0);
                (void)kvp_cache_settle(driver->cache, BENCH_SECOND);
        }
        return NULL;
}

static void measure_while_mapping(struct kvp_cache *cache, struct kvp_seq_step *steps)
{
        enum { N = 20000 };
        static double alone[N], mapping[N];
        struct driver driver = { .cache = cache };
        pthread_t thread;

        for (unsigned k = 0; k < ROWS; k++)
                steps[k].tokens = 1;
        for (unsigned which = 0; which < 2; which++) {
                double *const times = which == 0 ? alone : mapping;

                if (which == 1)
                        bench_check(-pthread_create(&thread, NULL, drive, &driver), "pthread_create");
                for (unsigned k = 0; k < N; k++) {
                        const double began = bench_now();

                        bench_check(kvp_step(cache, steps, ROWS, BENCH_SECOND), "kvp_step");
                        times[k] = bench_now() - began;
                        /* An engine computes in between; back to back, the lock would never be free. */
                        while (bench_now() - began < 5 * times[k] && bench_now() - began < 20000)
                                ;
                }
        }
        atomic_store(&driver.stop, true);
        (void)pthread_join(thread, NULL);
        (void)bench_median(alone, N);
        (void)bench_median(mapping, N);
        bench_note(
                "step_256_rows: median %.2f us, p99 %.2f us alone (%.1f x the median); while the mapper mapped %ju pages: "
                "median %.2f us, p99 %.2f us (%.1f x, bar 4 x)",
                alone[N / 2] / 1e3, alone[N * 99 / 100] / 1e3, alone[N * 99 / 100] / alone[N / 2],
                (uintmax_t)driver.pages, mapping[N / 2] / 1e3, mapping[N * 99 / 100] / 1e3,
                mapping[N * 99 / 100] / mapping[N / 2]);
}

int main(void)
{
        static struct kvp_seq_step steps[ROWS];
        struct kvp_conn *conn;
        struct kvp_cache *cache;

        bench_pin(1); /* the mapper's CPU */
        conn = bench_connect();
        bench_pin(0);
        cache = cache_full(conn, steps);
        measure(cache, steps, ROWS, "step_256_rows", "ns/row");
        measure(cache, steps, 1, "step_1_row", "ns");
        measure_while_mapping(cache, steps);
        kvp_disconnect(conn);
        return 0;
}
