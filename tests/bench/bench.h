/* SPDX-License-Identifier: MIT
 *
 * bench.h -- what the benchmarks share. tests/bench/run starts each of them beside a private daemon, which
 * $KVPAGER_SOCKET names (its process is $BENCH_DAEMON), and turns the lines that they print into a table and into
 * bench.json.
 *
 * Ours and the floor alternate in many short rounds. A round's figure is the median of its samples, what is reported is
 * the median of the rounds; how far the rounds' ratios lie apart is reported too, as the noise of this run.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <sys/types.h>

#include "kvpager.h"

#define BENCH_PAGE        (UINT64_C(2) << 20) /* bytes: the daemon's page size */
#define BENCH_MAX_ROUNDS  400u
#define BENCH_MAX_SAMPLES 1024u
#define BENCH_SECOND      UINT64_C(1000000) /* usec */

/* Samples of the round under way, and a median for each round that has ended. */
struct bench_side {
        double samples[BENCH_MAX_SAMPLES];
        unsigned n_samples;
        double rounds[BENCH_MAX_ROUNDS];
        unsigned n_rounds;
};

struct bench {
        struct bench_side ours, floor;
};

/* Nanoseconds, of the monotonic clock. */
double bench_now(void);

void bench_sample(struct bench_side *side, double nanoseconds);
void bench_round_end(struct bench *bench);

/* Prints the figure; `scale` is nanoseconds a unit. Forgets the rounds. */
void bench_report(struct bench *bench, const char *name, const char *unit, double scale);

/* Prints a line beside the figures. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

double bench_median(double *values, unsigned n); /* sorts them */

/* Ends the program with `what` and errno r, where r < 0. */
void bench_check(int r, const char *what);

/* How often a process's first thread has left a CPU, by itself or for another one. */
unsigned long bench_switches(pid_t pid);

/* Pins the calling thread, and threads that it starts from here on, to one of the CPUs that this process may use: 0 the
 * first, 1 the second (the first again where there is only one). */
void bench_pin(unsigned which);

/* A cache of one group of layers with K and V, 16-bit elements. */
struct kvp_cache *bench_cache(struct kvp_conn *conn, enum kvp_layout layout, uint32_t rows, uint64_t max_tokens,
                              uint32_t layers, uint32_t kv_heads, uint32_t head_dim);

struct kvp_conn *bench_connect(void);

/* Gives back what the row has, and waits until that is done on both sides. */
void bench_empty(struct kvp_cache *cache, uint32_t seq);

#endif
