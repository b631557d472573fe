/* SPDX-License-Identifier: MIT
 *
 * bench-attention.c -- the same kernel over memory that the daemon paged in, and over malloc().
 *
 * 16 layers of a sequence of 1,000 tokens, decode attention over one after the other: 2 MiB pages of shared memory
 * against an anonymous heap, equal strides, equal contents. What differs is what the kernel must not notice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "bench.h"

#define LAYERS   16u
#define HEADS    4u
#define DIM      64u
#define QUERIES  2u /* a head */
#define TOKENS   1000u
#define CAPACITY 1024u /* of the malloced tensors: the mapped row's length too */
#define ROUNDS   120u

struct tensors {
        uint16_t *k[LAYERS], *v[LAYERS]; /* [tokens][heads][dim] */
};

static void fill(const struct tensors *t)
{
        for (uint32_t layer = 0; layer < LAYERS; layer++)
                for (uint32_t i = 0; i < TOKENS * HEADS * DIM; i++) {
                        /* Halves of 0.125 to 0.25. */
                        t->k[layer][i] = (uint16_t)(0x3000u + (i * 2654435761u >> 20 & 0x3ffu));
                        t->v[layer][i] = (uint16_t)(0x3000u + (i * 2246822519u >> 20 & 0x3ffu));
                }
}

static double attend(const struct tensors *t, uint32_t layer, const float *queries, float *output)
{
        const double began = bench_now();
        const struct attention attention = {
                .type = ATTENTION_FP16,
                .keys = { .data = t->k[layer], .token_stride = HEADS * DIM, .head_stride = DIM, .dim = DIM },
                .values = { .data = t->v[layer], .token_stride = HEADS * DIM, .head_stride = DIM, .dim = DIM },
                .tokens = TOKENS,
                .kv_heads = HEADS,
                .queries_per_head = QUERIES,
                .scale = 0.125f,
                .queries = queries,
        };

        bench_check(attention_decode(&attention, output + layer * HEADS * QUERIES * DIM), "attention_decode");
        return bench_now() - began;
}

static void map_all(struct kvp_cache *cache, struct tensors *ret)
{
        struct kvp_seq_step step = { .tokens = TOKENS };

        bench_check(kvp_seq_acquire(cache, TOKENS, 0, &step.seq), "kvp_seq_acquire");
        bench_check(kvp_step(cache, &step, 1, 10 * BENCH_SECOND), "kvp_step");
        for (uint32_t layer = 0; layer < LAYERS; layer++)
                for (enum kvp_part part = KVP_K; part <= KVP_V; part++) {
                        struct kvp_tensor tensor;

                        bench_check(kvp_cache_tensor(cache, 0, layer, part, &tensor), "kvp_cache_tensor");
                        if (tensor.stride[1] != HEADS * DIM)
                                exit(1);
                        (part == KVP_K ? ret->k : ret->v)[layer] = (uint16_t *)tensor.data +
                                                                   step.seq * tensor.stride[0];
                }
}

/* As aligned as the mapped ones are, so that nothing but the memory itself differs. */
static void allocate_all(struct tensors *ret)
{
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
                ret->k[layer] = aligned_alloc(4096, CAPACITY * HEADS * DIM * sizeof(uint16_t));
                ret->v[layer] = aligned_alloc(4096, CAPACITY * HEADS * DIM * sizeof(uint16_t));
                if (!ret->k[layer] || !ret->v[layer])
                        exit(1);
        }
}

int main(void)
{
        static struct bench bench;
        static float queries[HEADS * QUERIES * DIM], outputs[2][LAYERS * HEADS * QUERIES * DIM];
        struct tensors mapped, allocated;
        struct kvp_conn *conn;
        struct kvp_cache *cache;

        bench_pin(0);
        conn = bench_connect();
        cache = bench_cache(conn, KVP_LAYOUT_PER_LAYER, 1, CAPACITY, LAYERS, HEADS, DIM);
        map_all(cache, &mapped);
        allocate_all(&allocated);
        fill(&mapped);
        fill(&allocated);
        for (uint32_t i = 0; i < HEADS * QUERIES * DIM; i++)
                queries[i] = (float)(i % 17) / 16.0f;
        for (unsigned round = 0; round < ROUNDS; round++) {
                for (uint32_t layer = 0; layer < LAYERS; layer++)
                        for (unsigned i = 0; i < 2; i++)
                                if ((layer + i) % 2 == 0) /* either comes first as often as the other */
                                        bench_sample(&bench.ours, attend(&mapped, layer, queries, outputs[0]));
                                else
                                        bench_sample(&bench.floor, attend(&allocated, layer, queries, outputs[1]));
                bench_round_end(&bench);
        }
        if (memcmp(outputs[0], outputs[1], sizeof(outputs[0])) != 0) {
                (void)fprintf(stderr, "mapped and malloced memory give different results\n");
                return 1;
        }
        bench_report(&bench, "attention_mapped_vs_malloc", "us", 1e3);
        kvp_disconnect(conn);
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
                free(allocated.k[layer]);
                free(allocated.v[layer]);
        }
        return 0;
}
