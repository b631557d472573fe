/* SPDX-License-Identifier: MIT
 *
 * bench-grant.c -- a page from the daemon: from kvp_step() to memory that can be touched.
 *
 * Worker and daemon (floor: client and server) share one CPU, because between two CPUs of a virtual machine it is
 * mostly their wake-ups that are measured. So does the daemon's device thread, which makes memfds ahead: one that was
 * made on another CPU lies in that one's cache, which costs half a microsecond, and the floor's server makes its own on
 * this CPU too. Neither makes any while a grant is measured.
 *
 * Lengths are chosen so that a step takes exactly what its name says: 8 tokens, the look-ahead, are left at the end.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "floor.h"

#define AHEAD             8u
#define ROUNDS            150u
#define GRANTS            16u /* a round */
#define PAGE_TOKENS       64u /* of the fused cache */
#define PLANE_PAGE_TOKENS 1024u
#define ROW_PAGES         (GRANTS + 1) /* of the cache of planes: in each of them */
#define PROMPT_ROW_PAGES  128u

struct grants {
        struct bench bench;
        struct kvp_conn *conn;
        int socket;
        char *base; /* the floor's reservation */
};

static uint64_t step(struct kvp_cache *cache, uint32_t seq, uint64_t tokens, uint64_t timeout_usec)
{
        struct kvp_seq_step steps = { .seq = seq, .tokens = tokens };
        const int r = kvp_step(cache, &steps, 1, timeout_usec);

        if (r != -ETIMEDOUT || timeout_usec > 0)
                bench_check(r, "kvp_step");
        return steps.ret_ready;
}

static struct kvp_cache_stats stats_of(const struct kvp_cache *cache)
{
        struct kvp_cache_stats stats = { .size = sizeof(stats) };

        bench_check(kvp_cache_stats(cache, &stats), "kvp_cache_stats");
        return stats;
}

static uint32_t acquire(struct kvp_cache *cache)
{
        uint32_t seq;

        bench_check(kvp_seq_acquire(cache, 1, 0, &seq), "kvp_seq_acquire");
        return seq;
}

/* What was measured is what was meant: so many extents, so many pages, by so many requests. */
static void expect(const struct kvp_cache *cache, const struct kvp_cache_stats *before, uint64_t extents,
                   uint64_t pages, uint64_t requests)
{
        const struct kvp_cache_stats now = stats_of(cache);

        if (now.grants - before->grants == extents && now.granted_bytes - before->granted_bytes == pages * BENCH_PAGE &&
            now.requests - before->requests == requests)
                return;
        (void)fprintf(stderr, "granted %ju extents of %ju pages by %ju requests, not %ju of %ju by %ju\n",
                      (uintmax_t)(now.grants - before->grants),
                      (uintmax_t)((now.granted_bytes - before->granted_bytes) / BENCH_PAGE),
                      (uintmax_t)(now.requests - before->requests), (uintmax_t)extents, (uintmax_t)pages,
                      (uintmax_t)requests);
        exit(1);
}

/* `n` memfds a grant, of `pages` each, at the places where ours are: what the kernel's tree of mappings costs depends
 * on what lies beside them. It is so many pages from one grant to the next, and so many between the memfds of one. */
static void floor_round(struct grants *g, unsigned grants, unsigned n, size_t pages, size_t from_grant,
                        size_t from_memfd)
{
        const size_t bytes = pages * BENCH_PAGE;
        struct iovec places[FLOOR_MAX_FDS];

        floor_prepare(g->socket, grants * n, bytes);
        for (unsigned i = 0; i < grants; i++) {
                double began;

                for (unsigned k = 0; k < n; k++)
                        places[k] = (struct iovec){
                                .iov_base = g->base + (i * from_grant + k * from_memfd) * BENCH_PAGE, .iov_len = bytes
                        };
                began = bench_now();
                floor_grant(g->socket, places, n);
                bench_sample(&g->bench.floor, bench_now() - began);
        }
        floor_forget(g->base, ((grants - 1) * from_grant + (n - 1) * from_memfd + pages) * BENCH_PAGE);
}

/* A row grows page by page, in all planes. */
static void measure_pages(struct grants *g, const char *name, struct kvp_cache *cache, uint64_t page_tokens,
                          unsigned planes, unsigned grants)
{
        const uint32_t seq = acquire(cache);

        for (unsigned round = 0; round < ROUNDS; round++) {
                const struct kvp_cache_stats before = stats_of(cache);

                for (unsigned i = 1; i <= grants; i++) {
                        const double began = bench_now();

                        (void)step(cache, seq, i * page_tokens - AHEAD, BENCH_SECOND);
                        bench_sample(&g->bench.ours, bench_now() - began);
                }
                expect(cache, &before, grants * planes, grants * planes, grants);
                bench_empty(cache, seq);
                floor_round(g, grants, planes, 1, 1, ROW_PAGES);
                bench_round_end(&g->bench);
        }
        bench_report(&g->bench, name, "us", 1e3);
        bench_check(kvp_seq_release(cache, seq), "kvp_seq_release");
}

/* A prompt: a row that was empty takes its extents of 64 pages at once. */
static void measure_prompts(struct grants *g, const char *name, struct kvp_cache *cache, uint64_t tokens,
                            unsigned extents)
{
        const unsigned grants = GRANTS;
        uint32_t seqs[GRANTS];

        for (unsigned i = 0; i < grants; i++)
                seqs[i] = acquire(cache);
        for (unsigned round = 0; round < ROUNDS; round++) {
                const struct kvp_cache_stats before = stats_of(cache);

                for (unsigned i = 0; i < grants; i++) {
                        const double began = bench_now();

                        (void)step(cache, seqs[i], tokens, BENCH_SECOND);
                        bench_sample(&g->bench.ours, bench_now() - began);
                }
                expect(cache, &before, (uint64_t)grants * extents, (uint64_t)grants * 64 * extents, grants);
                for (unsigned i = 0; i < grants; i++)
                        bench_empty(cache, seqs[i]);
                floor_round(g, grants, extents, 64, PROMPT_ROW_PAGES, 64);
                bench_round_end(&g->bench);
        }
        bench_report(&g->bench, name, "us", 1e3);
        for (unsigned i = 0; i < grants; i++)
                bench_check(kvp_seq_release(cache, seqs[i]), "kvp_seq_release");
}

/* Look-ahead: the step returns at once, and the mapper thread asks and maps. The caller gives the CPU away until the
 * page is there. The floor is the bare round trip, without another thread. */
static void measure_mapper(struct grants *g, const char *name, struct kvp_cache *cache)
{
        const uint32_t seq = acquire(cache);

        for (unsigned round = 0; round < ROUNDS; round++) {
                struct kvp_cache_stats before;

                (void)step(cache, seq, PAGE_TOKENS - AHEAD, BENCH_SECOND);
                before = stats_of(cache);
                for (unsigned i = 1; i <= GRANTS; i++) {
                        const uint64_t tokens = i * PAGE_TOKENS - AHEAD + 1;
                        const double began = bench_now();

                        (void)step(cache, seq, tokens, 0);
                        while (step(cache, seq, tokens, 0) <= i * PAGE_TOKENS)
                                (void)sched_yield();
                        bench_sample(&g->bench.ours, bench_now() - began);
                }
                expect(cache, &before, GRANTS, GRANTS, GRANTS);
                bench_empty(cache, seq);
                floor_round(g, GRANTS, 1, 1, 1, ROW_PAGES);
                bench_round_end(&g->bench);
        }
        bench_report(&g->bench, name, "us", 1e3);
        bench_check(kvp_seq_release(cache, seq), "kvp_seq_release");
}

/* From kvp_seq_trim() until the mapper has unmapped an extent of 64 pages and told the daemon; nobody touched it. */
static void measure_return(struct grants *g, const char *name, struct kvp_cache *cache)
{
        const uint32_t seq = acquire(cache);

        for (unsigned round = 0; round < ROUNDS; round++) {
                for (unsigned i = 0; i < 4; i++) {
                        uint64_t before;
                        double began;

                        (void)step(cache, seq, 64 * PAGE_TOKENS - AHEAD, BENCH_SECOND);
                        before = stats_of(cache).returns;
                        began = bench_now();
                        bench_check(kvp_seq_trim(cache, seq, 0), "kvp_seq_trim");
                        while (stats_of(cache).returns == before)
                                (void)sched_yield();
                        bench_sample(&g->bench.ours, bench_now() - began);
                        bench_check(kvp_cache_settle(cache, 10 * BENCH_SECOND), "kvp_cache_settle");

                        floor_prepare(g->socket, 1, 64 * BENCH_PAGE);
                        floor_grant(g->socket, &(struct iovec){ .iov_base = g->base, .iov_len = 64 * BENCH_PAGE }, 1);
                        began = bench_now();
                        floor_return(g->socket, g->base, 64 * BENCH_PAGE);
                        bench_sample(&g->bench.floor, bench_now() - began);
                }
                bench_round_end(&g->bench);
        }
        bench_report(&g->bench, name, "us", 1e3);
        bench_check(kvp_seq_release(cache, seq), "kvp_seq_release");
}

int main(void)
{
        static struct grants g;
        struct kvp_cache *fused, *planes, *llama;

        bench_pin(0);
        floor_start(1, &g.socket);
        g.base = floor_reserve(GRANTS * 64 * 4 * BENCH_PAGE);
        g.conn = bench_connect();
        fused = bench_cache(g.conn, KVP_LAYOUT_TOKEN_MAJOR_FUSED, GRANTS, PROMPT_ROW_PAGES * PAGE_TOKENS, 8, 8, 128);
        planes = bench_cache(g.conn, KVP_LAYOUT_PER_LAYER, 1, ROW_PAGES * PLANE_PAGE_TOKENS, 32, 8, 128);
        llama = bench_cache(g.conn, KVP_LAYOUT_TOKEN_MAJOR_FUSED, GRANTS, 2048, 32, 8, 128);

        measure_pages(&g, "grant_1_page", fused, PAGE_TOKENS, 1, GRANTS);
        measure_prompts(&g, "grant_64_pages_one_extent", fused, 64 * PAGE_TOKENS - AHEAD, 1);
        measure_pages(&g, "grant_64_extents", planes, PLANE_PAGE_TOKENS, 64, GRANTS / 2);
        measure_mapper(&g, "grant_1_page_via_mapper", fused);
        measure_prompts(&g, "prompt_2048_llama3_8b_fused", llama, 2048, 2);
        measure_return(&g, "return_64_pages", fused);
        kvp_disconnect(g.conn);
        return 0;
}
