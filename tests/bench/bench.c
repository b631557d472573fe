/* SPDX-License-Identifier: MIT
 *
 * bench.c -- see bench.h.
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double bench_now(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

void bench_check(int r, const char *what)
{
        if (r >= 0)
                return;
        (void)fprintf(stderr, "%s: %s\n", what, strerror(-r));
        exit(1);
}

void bench_sample(struct bench_side *side, double nanoseconds)
{
        if (side->n_samples < BENCH_MAX_SAMPLES)
                side->samples[side->n_samples++] = nanoseconds;
}

static int compare(const void *a, const void *b)
{
        const double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

double bench_median(double *values, unsigned n)
{
        qsort(values, n, sizeof(*values), compare);
        return n == 0 ? 0 : n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void side_round_end(struct bench_side *side)
{
        if (side->n_rounds < BENCH_MAX_ROUNDS)
                side->rounds[side->n_rounds++] = bench_median(side->samples, side->n_samples);
        side->n_samples = 0;
}

void bench_round_end(struct bench *bench)
{
        side_round_end(&bench->ours);
        side_round_end(&bench->floor);
}

void bench_report(struct bench *bench, const char *name, const char *unit, double scale)
{
        const unsigned n = bench->ours.n_rounds;
        double ratios[BENCH_MAX_ROUNDS], ours, floor;

        for (unsigned i = 0; i < n; i++)
                ratios[i] = bench->ours.rounds[i] / bench->floor.rounds[i];
        (void)bench_median(ratios, n);
        ours = bench_median(bench->ours.rounds, n) / scale;
        floor = bench_median(bench->floor.rounds, n) / scale;
        (void)printf("%s\t%s\t%.6g\t%.6g\t%.4f\t%.4f\n", name, unit, ours, floor, ratios[n / 4], ratios[3 * n / 4]);
        (void)fflush(stdout);
        bench->ours.n_rounds = bench->floor.n_rounds = 0;
}

void bench_note(const char *format, ...)
{
        va_list list;

        (void)printf("# ");
        va_start(list, format);
        (void)vprintf(format, list);
        va_end(list);
        (void)printf("\n");
        (void)fflush(stdout);
}

unsigned long bench_switches(pid_t pid)
{
        unsigned long own = 0, others = 0;
        char path[32], text[4096], *at;
        size_t n;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        f = fopen(path, "re");
        n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
        if (f)
                (void)fclose(f);
        text[n] = 0;
        at = strstr(text, "\nvoluntary_ctxt_switches:");
        if (!at || sscanf(at, " voluntary_ctxt_switches: %lu nonvoluntary_ctxt_switches: %lu", &own, &others) != 2)
                bench_check(-ESRCH, path);
        return own + others;
}

void bench_pin(unsigned which)
{
        static cpu_set_t all;
        cpu_set_t one;
        unsigned seen = 0;
        size_t first = CPU_SETSIZE;

        if (CPU_COUNT(&all) == 0)
                bench_check(-sched_getaffinity(0, sizeof(all), &all), "sched_getaffinity");
        CPU_ZERO(&one);
        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &all)) {
                        if (first == CPU_SETSIZE)
                                first = cpu;
                        if (seen++ == which)
                                CPU_SET(cpu, &one);
                }
        if (CPU_COUNT(&one) == 0)
                CPU_SET(first, &one);
        (void)sched_setaffinity(0, sizeof(one), &one);
}

struct kvp_conn *bench_connect(void)
{
        struct kvp_conn *conn;

        bench_check(kvp_connect(NULL, &conn), "kvp_connect");
        return conn;
}

struct kvp_cache *bench_cache(struct kvp_conn *conn, enum kvp_layout layout, uint32_t rows, uint64_t max_tokens,
                              uint32_t layers, uint32_t kv_heads, uint32_t head_dim)
{
        const struct kvp_layer_group group = {
                .layers = layers, .kv_heads = kv_heads, .head_dim = head_dim, .element_bits = 16, .parts = KVP_PARTS_KV
        };
        const struct kvp_geometry geometry = {
                .size = sizeof(geometry),
                .layout = layout,
                .max_seqs = rows,
                .n_groups = 1,
                .max_tokens = max_tokens,
                .groups = &group,
        };
        struct kvp_cache *cache;

        bench_check(kvp_cache_create(conn, &geometry, &cache), "kvp_cache_create");
        return cache;
}

void bench_empty(struct kvp_cache *cache, uint32_t seq)
{
        bench_check(kvp_seq_trim(cache, seq, 0), "kvp_seq_trim");
        bench_check(kvp_cache_settle(cache, 10 * BENCH_SECOND), "kvp_cache_settle");
}
