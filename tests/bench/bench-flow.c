/* SPDX-License-Identifier: MIT
 *
 * bench-flow.c -- memory that flows from one tenant to another: how long until an idle tenant's first pages are with
 * the other, and at which rate the rest follows.
 *
 * One tenant has filled the device, written to all of it, and released its rows. The other then grows a row page by
 * page, up to 32, of which the longest wait counts, and takes prompts of 32 pages after that, one after the other,
 * until it has the device: the daemon revokes, the mapper of the first unmaps, the device's thread truncates and makes
 * anew, the other maps. The floor does the same in one process and one thread, in bare C: unmap, truncate, create, map,
 * an extent of 16 pages at a time, without asking anybody.
 */
#include <stdbool.h>

#include "bench.h"
#include "floor.h"

#define ROWS         8u /* that fill the device: 256 pages */
#define ROW_TOKENS   512u
#define ROW_PAGES    32u /* of 16 tokens: two extents */
#define EXTENT_PAGES 16u
#define EXTENTS      (ROWS * ROW_PAGES / EXTENT_PAGES)
#define ROUNDS       24u
#define TOUCH        4096u

struct tenant {
        struct kvp_conn *conn;
        struct kvp_cache *cache;
        uint32_t rows[ROWS];
};

static struct tenant tenant_open(const char *name)
{
        const struct kvp_connect_options options = { .size = sizeof(options), .tenant = name };
        struct tenant tenant = { 0 };

        bench_check(kvp_connect(&options, &tenant.conn), name);
        tenant.cache = bench_cache(tenant.conn, KVP_LAYOUT_TOKEN_MAJOR_FUSED, ROWS, ROW_TOKENS, 32, 8, 128);
        return tenant;
}

static void tenant_close(struct tenant *tenant)
{
        kvp_cache_destroy(tenant->cache);
        kvp_disconnect(tenant->conn);
}

static void take_row(struct tenant *tenant, unsigned i)
{
        struct kvp_seq_step step = { .tokens = ROW_TOKENS };

        bench_check(kvp_seq_acquire(tenant->cache, ROW_TOKENS, 0, &tenant->rows[i]), "kvp_seq_acquire");
        step.seq = tenant->rows[i];
        bench_check(kvp_step(tenant->cache, &step, 1, 10 * BENCH_SECOND), "kvp_step");
}

/* The longest wait for a page. */
static double grow_row(struct tenant *tenant, unsigned i)
{
        struct kvp_seq_step step = { 0 };
        double longest = 0;

        bench_check(kvp_seq_acquire(tenant->cache, ROW_TOKENS, 0, &tenant->rows[i]), "kvp_seq_acquire");
        step.seq = tenant->rows[i];
        for (step.tokens = 1; step.tokens <= ROW_TOKENS; step.tokens += ROW_TOKENS / ROW_PAGES) {
                const double begin = bench_now();
                double took;

                bench_check(kvp_step(tenant->cache, &step, 1, 10 * BENCH_SECOND), "kvp_step");
                took = bench_now() - begin;
                longest = took > longest ? took : longest;
        }
        return longest;
}

static void touch(char *base, size_t bytes)
{
        for (size_t at = 0; at < bytes; at += TOUCH)
                base[at] = 1;
}

/* All of the device, written to. */
static void fill(struct tenant *tenant)
{
        struct kvp_tensor k;

        bench_check(kvp_cache_tensor(tenant->cache, 0, 0, KVP_K, &k), "kvp_cache_tensor");
        for (unsigned i = 0; i < ROWS; i++) {
                take_row(tenant, i);
                touch((char *)k.data + tenant->rows[i] * k.stride[0] * 2, ROW_PAGES * BENCH_PAGE);
        }
}

static void release(struct tenant *tenant)
{
        for (unsigned i = 0; i < ROWS; i++)
                bench_check(kvp_seq_release(tenant->cache, tenant->rows[i]), "kvp_seq_release");
        bench_check(kvp_cache_settle(tenant->cache, 10 * BENCH_SECOND), "kvp_cache_settle");
}

/* Nothing is left of its rows, with either of them. */
static void empty(struct tenant *tenant)
{
        for (unsigned i = 0; i < ROWS; i++)
                bench_check(kvp_seq_trim(tenant->cache, tenant->rows[i], 0), "kvp_seq_trim");
        bench_check(kvp_cache_settle(tenant->cache, 10 * BENCH_SECOND), "kvp_cache_settle");
        for (unsigned i = 0; i < ROWS; i++)
                bench_check(kvp_seq_release(tenant->cache, tenant->rows[i]), "kvp_seq_release");
}

static uint64_t idle_pages(const struct tenant *tenant)
{
        struct kvp_cache_stats stats = { .size = sizeof(stats) };

        bench_check(kvp_cache_stats(tenant->cache, &stats), "kvp_cache_stats");
        return stats.idle_bytes / BENCH_PAGE;
}

/* What has flowed ahead of need by the time that the rest begins is not counted in it. */
static void flow_ours(struct tenant *idle, struct tenant *busy, struct bench *first, struct bench *rest)
{
        uint64_t pages;
        double begin;

        fill(idle);
        release(idle);
        bench_sample(&first->ours, grow_row(busy, 0));
        pages = idle_pages(idle);
        begin = bench_now();
        for (unsigned i = 1; i < ROWS; i++)
                take_row(busy, i);
        bench_sample(&rest->ours, (bench_now() - begin) / (double)(pages - idle_pages(idle)));
        empty(busy);
}

static void flow_floor(char *idle, char *busy, struct bench *first, struct bench *rest)
{
        const size_t bytes = EXTENT_PAGES * BENCH_PAGE;
        double begin, middle = 0;
        int fds[EXTENTS];

        for (unsigned i = 0; i < EXTENTS; i++) {
                fds[i] = floor_create(bytes);
                floor_map(fds[i], idle + i * bytes, bytes);
                touch(idle + i * bytes, bytes);
        }
        begin = bench_now();
        for (unsigned i = 0; i < EXTENTS; i++) {
                floor_forget(idle + i * bytes, bytes);
                floor_destroy(fds[i]);
                fds[i] = floor_create(bytes);
                floor_map(fds[i], busy + i * bytes, bytes);
                if (i == 0)
                        middle = bench_now();
        }
        bench_sample(&first->floor, middle - begin);
        bench_sample(&rest->floor, (bench_now() - middle) / ((EXTENTS - 1) * EXTENT_PAGES));
        for (unsigned i = 0; i < EXTENTS; i++) {
                floor_forget(busy + i * bytes, bytes);
                floor_destroy(fds[i]);
        }
}

int main(void)
{
        static struct bench first, rest;
        struct tenant a, b;
        char *idle, *busy;

        bench_pin(0);
        a = tenant_open("a");
        b = tenant_open("b");
        idle = floor_reserve(ROWS * ROW_PAGES * BENCH_PAGE);
        busy = floor_reserve(ROWS * ROW_PAGES * BENCH_PAGE);
        for (unsigned round = 0; round < ROUNDS; round++) {
                flow_ours(round % 2 ? &b : &a, round % 2 ? &a : &b, &first, &rest);
                flow_floor(idle, busy, &first, &rest);
                bench_round_end(&first);
                bench_round_end(&rest);
        }
        bench_report(&first, "flow_first_page", "ms", 1e6);
        bench_report(&rest, "flow_rate", "us/page", 1e3);
        tenant_close(&a);
        tenant_close(&b);
        return 0;
}
