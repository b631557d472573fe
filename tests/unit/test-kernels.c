/* SPDX-License-Identifier: MIT
 *
 * test-kernels.c -- the kernels' own source, run thread by thread on the CPU (emulate.h), against the references in C.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "emulate.h"
#include "reference.h"

static const char *const types[] = { [ATTENTION_FP16] = "fp16", [ATTENTION_BF16] = "bf16", [ATTENTION_FP32] = "fp32" };

/* A shape, and how its K and V lie: `gap` bytes between heads, tokens and rows, rows in the order of `rows`. */
struct scene {
        enum attention_type type;
        uint32_t batch, query_tokens, kv_heads, queries_per_head, dim, v_dim, splits, gap;
        uint32_t lengths[4];
        bool paged;
};

struct built {
        struct kernel_attention attention;
        uint32_t element, rows[4], *blocks;
        char *memory[2];
        float *queries, *output, *partial;
        size_t output_floats;
};

static uint64_t address(const void *p)
{
        return (uint64_t)(uintptr_t)p;
}

static uint32_t random_bits(uint64_t *seed)
{
        return (uint32_t)(hash_mix(*seed += KERNEL_GOLDEN) >> 32);
}

/* A value between -1 and 1 of the type. */
static void put_value(enum attention_type type, char *at, uint64_t seed)
{
        const uint32_t bits = random_bits(&seed);
        const uint16_t half = (uint16_t)((bits & 0x83ff) | (bits >> 20 & 3) << 10 | 0x3000),
                       brain = (uint16_t)((bits & 0x80ff) | 0x3e00);
        const float single = (float)(int32_t)bits * 0x1p-31f;

        if (type == ATTENTION_FP32)
                memcpy(at, &single, sizeof(single));
        else
                memcpy(at, type == ATTENTION_FP16 ? &half : &brain, sizeof(half));
}

#define BLOCK_TOKENS 16u

static struct kernel_tensor lay_out(struct built *b, const struct scene *s, unsigned part, uint32_t most)
{
        const uint32_t dim = part ? s->v_dim : s->dim, per_row = s->paged ? BLOCK_TOKENS : most;
        const uint32_t rows = s->paged ? s->batch * b->attention.blocks_per_row : s->batch;
        struct kernel_tensor t = { .dim = dim, .head_stride = dim * b->element + s->gap };

        t.token_stride = s->kv_heads * t.head_stride + s->gap;
        t.row_stride = per_row * t.token_stride + s->gap;
        b->memory[part] = malloc(rows * t.row_stride);
        memset(b->memory[part], 0xff, rows * t.row_stride); /* NaN wherever no token is */
        t.data = address(b->memory[part]);
        for (uint32_t i = 0; i < s->batch; i++)
                for (uint32_t token = 0; token < s->lengths[i]; token++)
                        for (uint32_t head = 0; head < s->kv_heads; head++)
                                for (uint32_t k = 0; k < dim; k++) {
                                        const uint32_t *blocks = b->blocks + i * b->attention.blocks_per_row;
                                        const uint32_t row = s->paged ? blocks[token / BLOCK_TOKENS] : b->rows[i];
                                        const uint64_t where = (((i * 4096 + token) * 16 + head) * 1024 + k) * 2 + part;

                                        put_value(s->type,
                                                  b->memory[part] + row * t.row_stride +
                                                          token % per_row * t.token_stride + head * t.head_stride +
                                                          k * b->element,
                                                  where * KERNEL_GOLDEN);
                                }
        return t;
}

static struct built build(const struct scene *s)
{
        struct built b = { .element = s->type == ATTENTION_FP32 ? 4 : 2 };
        struct kernel_attention *a = &b.attention;
        uint32_t most = 0;
        uint64_t seed = 1;

        *a = (struct kernel_attention){ .batch = s->batch,
                                        .query_tokens = s->query_tokens,
                                        .kv_heads = s->kv_heads,
                                        .queries_per_head = s->queries_per_head,
                                        .splits = s->splits,
                                        .block_tokens = BLOCK_TOKENS,
                                        .scale = 0.4f };
        for (uint32_t i = 0; i < s->batch; i++) {
                most = s->lengths[i] > most ? s->lengths[i] : most;
                b.rows[i] = s->batch - 1 - i;
        }
        a->blocks_per_row = (most + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
        b.blocks = calloc(s->batch * a->blocks_per_row, sizeof(*b.blocks));
        for (uint32_t i = 0; i < s->batch * a->blocks_per_row; i++)
                b.blocks[i] = s->batch * a->blocks_per_row - 1 - i;
        a->keys = lay_out(&b, s, 0, most);
        a->values = lay_out(&b, s, 1, most);
        a->tile_tokens = kernel_tile_tokens(a, b.element);
        b.output_floats = kernel_query_rows(a) * s->v_dim;
        b.queries = malloc(kernel_query_rows(a) * s->dim * sizeof(float));
        b.output = malloc(b.output_floats * sizeof(float));
        b.partial = malloc(kernel_partial_floats(a) * sizeof(float));
        for (uint64_t i = 0; i < kernel_query_rows(a) * s->dim; i++)
                b.queries[i] = (float)(int32_t)random_bits(&seed) * 0x1p-31f;
        a->rows = address(b.rows); /* of the copy: see run() */
        a->lengths = address(s->lengths);
        a->blocks = address(b.blocks);
        a->queries = address(b.queries);
        a->output = address(b.output);
        a->partial = address(b.partial);
        return b;
}

static void clear(struct built *b)
{
        free(b->memory[0]);
        free(b->memory[1]);
        free(b->blocks);
        free(b->queries);
        free(b->output);
        free(b->partial);
}

/* What the kernel gives, in memory of its own; by the reference where `emulated` is not set. */
static float *run(const struct scene *s, bool emulated, bool backwards)
{
        struct built b = build(s);
        struct kernel_attention *a = &b.attention;
        const struct kernel_shape shape = kernel_attention_shape(a, b.element), combine = kernel_combine_shape(a);
        char name[64];
        float *output;

        a->rows = address(b.rows);
        (void)snprintf(name, sizeof(name), "kvp_attention_%s%s", s->paged ? "paged_" : "", types[s->type]);
        memset(b.output, 0xff, b.output_floats * sizeof(float));
        memset(b.partial, 0xff, kernel_partial_floats(a) * sizeof(float));
        if (!emulated)
                cr_assert_eq(kernel_reference(name, a), 0);
        else
                cr_assert(emulate_kernel(name, a, &shape, backwards));
        if (emulated && s->splits > 1)
                cr_assert(emulate_kernel("kvp_combine", a, &combine, backwards));
        output = b.output;
        b.output = NULL;
        clear(&b);
        return output;
}

static size_t output_floats(const struct scene *s)
{
        return (size_t)s->batch * s->query_tokens * s->kv_heads * s->queries_per_head * s->v_dim;
}

static const struct scene scenes[] = {
        { .type = ATTENTION_FP16, 1, 1, 1, 1, 64, 64, 1, 0, { 1 } },
        { .type = ATTENTION_FP16, 2, 1, 2, 4, 128, 128, 1, 0, { 65, 130 } },
        { .type = ATTENTION_BF16, 3, 1, 1, 8, 64, 64, 3, 0, { 1, 64, 300 } }, /* splits that have no token */
        { .type = ATTENTION_FP32, 2, 1, 2, 9, 32, 48, 4, 16, { 129, 500 } },  /* more queries than a tile has */
        { .type = ATTENTION_FP16, 1, 1, 3, 2, 33, 33, 2, 2, { 200 } },        /* nothing is aligned */
        { .type = ATTENTION_BF16, 1, 1, 1, 16, 576, 512, 2, 0, { 90 } },      /* more columns than threads */
        { .type = ATTENTION_FP32, 1, 1, 1, 2, 576, 576, 1, 4, { 20 } },       /* small tiles */
        { .type = ATTENTION_FP16, 2, 7, 2, 3, 64, 64, 1, 0, { 7, 100 } }, /* prefill from the start, and of a chunk */
        { .type = ATTENTION_BF16, 1, 40, 1, 1, 80, 80, 3, 2, { 150 } },   /* queries that see nothing of a split */
        { .type = ATTENTION_FP32, 2, 5, 1, 4, 20, 12, 2, 0, { 5, 66 } },
};

#define N_SCENES (sizeof(scenes) / sizeof(scenes[0]))

static void close_to(const float *found, const float *expected, size_t n, size_t scene)
{
        for (size_t i = 0; i < n; i++)
                cr_assert(fabsf(found[i] - expected[i]) <= 2e-5f, "scene %zu, float %zu: %g is not %g", scene, i,
                          (double)found[i], (double)expected[i]);
}

Test(kernels, attention_is_that_of_the_reference)
{
        for (size_t i = 0; i < N_SCENES; i++) {
                float *found = run(&scenes[i], true, false), *expected = run(&scenes[i], false, false);

                close_to(found, expected, output_floats(&scenes[i]), i);
                free(found);
                free(expected);
        }
}

/* Bit for bit: over a block table, with other strides, and whatever the threads' order. */
Test(kernels, where_the_memory_lies_changes_no_bit)
{
        for (size_t i = 0; i < N_SCENES; i++) {
                struct scene other = scenes[i];
                const size_t bytes = output_floats(&other) * sizeof(float);
                float *found = run(&scenes[i], true, false), *backwards = run(&scenes[i], true, true), *paged, *apart;

                other.paged = true;
                paged = run(&other, true, false);
                other = scenes[i];
                other.gap += 4;
                apart = run(&other, true, false);
                cr_assert(memcmp(found, backwards, bytes) == 0, "scene %zu depends on the order of threads", i);
                cr_assert(memcmp(found, paged, bytes) == 0, "scene %zu over a block table", i);
                cr_assert(memcmp(found, apart, bytes) == 0, "scene %zu with other strides", i);
                free(found);
                free(backwards);
                free(paged);
                free(apart);
        }
}

Test(kernels, the_paged_reference_is_the_contiguous_one)
{
        for (size_t i = 0; i < N_SCENES; i++) {
                struct scene other = scenes[i];
                float *found = run(&scenes[i], false, false), *paged;

                other.paged = true;
                paged = run(&other, false, false);
                cr_assert(memcmp(found, paged, output_floats(&other) * sizeof(float)) == 0);
                free(found);
                free(paged);
        }
}

/* ---- contents ---- */

enum { HEADS = 2, TOKENS = 9, PARTS = 4, ROWS = 2 };

struct store {
        uint32_t head_bytes, element;
        char *memory, *shadow;
        size_t bytes, shadow_bytes;
        struct kernel_tensor parts[PARTS];
        struct kernel_report report;
        struct kernel_contents contents;
};

static void store_make(struct store *s, uint32_t head_bytes, uint32_t element)
{
        const uint64_t stride = head_bytes + element, token = HEADS * stride, row = TOKENS * token, part = ROWS * row;

        *s = (struct store){ .head_bytes = head_bytes,
                             .element = element,
                             .bytes = PARTS * part,
                             .shadow_bytes = (size_t)PARTS * TOKENS * HEADS * head_bytes,
                             .report = { .first = UINT64_MAX, .first_stale = UINT64_MAX } };
        s->memory = calloc(1, s->bytes);
        s->shadow = calloc(1, s->shadow_bytes);
        for (uint64_t i = 0; i < PARTS; i++)
                s->parts[i] = (struct kernel_tensor){ .data = address(s->memory) + i * part,
                                                      .row_stride = row,
                                                      .token_stride = token,
                                                      .head_stride = stride,
                                                      .dim = head_bytes / element };
        s->contents = (struct kernel_contents){ .parts = address(s->parts),
                                                .shadow = address(s->shadow),
                                                .report = address(&s->report),
                                                .from = 2,
                                                .to = 7,
                                                .most_tokens = TOKENS,
                                                .keep = UINT64_C(0x87ff87ff87ff87ff),
                                                .base = UINT64_C(0x3000300030003000),
                                                .n_parts = PARTS,
                                                .heads = HEADS,
                                                .head_bytes = head_bytes,
                                                .element_bytes = element,
                                                .row = 1,
                                                .request = 5,
                                                .worker = 3 };
}

static void store_run(struct store *s, const char *name, bool emulated)
{
        const struct kernel_shape shape = kernel_words_shape(kernel_contents_words(&s->contents));

        if (emulated)
                cr_assert(emulate_kernel(name, &s->contents, &shape, false));
        else
                cr_assert_eq(kernel_reference(name, &s->contents), 0);
}

static void store_clear(struct store *s)
{
        free(s->memory);
        free(s->shadow);
}

/* Written, checked, written over the poison: the kernel and its reference leave the same bytes and find nothing wrong.
 */
Test(kernels, contents_are_those_of_the_reference)
{
        static const uint32_t sizes[][2] = { { 128, 2 }, { 66, 2 }, { 36, 4 } };

        for (size_t i = 0; i < 3; i++) {
                static const char *const steps[] = { "kvp_fill", "kvp_check", "kvp_fill" };
                struct store kernel, reference;

                store_make(&kernel, sizes[i][0], sizes[i][1]);
                store_make(&reference, sizes[i][0], sizes[i][1]);
                for (size_t step = 0; step < 3; step++) {
                        store_run(&kernel, steps[step], true);
                        store_run(&reference, steps[step], false);
                        cr_assert(memcmp(kernel.memory, reference.memory, kernel.bytes) == 0, "%s", steps[step]);
                        cr_assert(memcmp(kernel.shadow, reference.shadow, kernel.shadow_bytes) == 0, "%s", steps[step]);
                        cr_assert(kernel.report.mismatches == 0 && kernel.report.stale == 0, "%s", steps[step]);
                        cr_assert(memcmp(&kernel.report, &reference.report, sizeof(kernel.report)) == 0);
                }
                store_clear(&kernel);
                store_clear(&reference);
        }
}

Test(kernels, a_wrong_byte_is_found_and_named)
{
        for (int emulated = 0; emulated < 2; emulated++) {
                struct store s;
                uint64_t at;

                store_make(&s, 64, 2);
                at = s.parts[1].data - s.parts[0].data + s.parts[1].row_stride + 4 * s.parts[1].token_stride +
                     s.parts[1].head_stride;
                s.memory[at + 9] = 1; /* somebody else's, before anything is written */
                store_run(&s, "kvp_fill", emulated);
                cr_assert_eq(s.report.stale, 1);
                cr_assert_eq(s.report.first_stale, kernel_place(1, 4, 1));
                s.memory[at] ^= 1;
                store_run(&s, "kvp_check", emulated);
                cr_assert_eq(s.report.mismatches, 1);
                cr_assert_eq(s.report.first, kernel_place(1, 4, 1));
                store_clear(&s);
        }
}

Test(kernels, outputs_are_compared_bit_for_bit)
{
        for (int emulated = 0; emulated < 2; emulated++) {
                uint32_t found[3][10] = { { 1, 2 }, { 3 }, { 4 } }, expected[3][10];
                struct kernel_report report = { .first = UINT64_MAX };
                const struct kernel_compare compare = { .found = address(found),
                                                        .expected = address(expected),
                                                        .report = address(&report),
                                                        .token = 77,
                                                        .layers = 3,
                                                        .n = 10,
                                                        .request = 2,
                                                        .count = 1 };
                const struct kernel_shape shape = kernel_words_shape(30);
                uint64_t checksum = 0;

                memcpy(expected, found, sizeof(found));
                expected[2][7] ^= 1;
                if (emulated)
                        cr_assert(emulate_kernel("kvp_compare", &compare, &shape, false));
                else
                        cr_assert_eq(kernel_reference("kvp_compare", &compare), 0);
                for (uint32_t layer = 0; layer < 3; layer++)
                        for (uint32_t i = 0; i < 10; i++)
                                checksum += hash_fold(kernel_value_seed(2, 77, layer, 0) + i, found[layer][i]);
                cr_assert_eq(report.mismatches, 1);
                cr_assert_eq(report.first, kernel_place(4, 77, 0));
                cr_assert_eq(report.checksum, checksum);
        }
}
