/* SPDX-License-Identifier: MIT
 *
 * The reference kernel against the definition of attention in double precision, over types, shapes and strides; and
 * that strides change no bit.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* The kernel itself and not its archive, so that both copies of its code can be had on one machine. */
static int without_avx2;

static int cpu_has_avx2(void)
{
#ifdef __x86_64__
        return !without_avx2 && __builtin_cpu_supports("avx2");
#else
        return 0;
#endif
}

#define __builtin_cpu_supports(feature) cpu_has_avx2()
#include "attention.c"
#undef __builtin_cpu_supports

struct shape {
        enum attention_type type;
        uint64_t tokens;
        uint32_t heads, queries_per_head, key_dim, value_dim;
};

static double number(uint64_t seed)
{
        return (double)(int64_t)hash_mix(seed) / 0x1p63;
}

/* fp32 to fp16 bits, for normal numbers and zero, by cutting; enough to make inputs. */
static uint16_t half_of(float value)
{
        uint32_t bits;

        memcpy(&bits, &value, sizeof(bits));
        if ((bits & 0x7fffffff) < 0x38800000)
                return (uint16_t)(bits >> 16 & 0x8000);
        return (uint16_t)((bits >> 16 & 0x8000) | (((bits & 0x7fffffff) - 0x38000000) >> 13 & 0x7fff));
}

/* The value of stored bits, by the definition of the format. */
static double value_of(enum attention_type type, const void *data, size_t index)
{
        if (type == ATTENTION_FP32)
                return ((const float *)data)[index];

        uint16_t bits = ((const uint16_t *)data)[index];

        if (type == ATTENTION_BF16) {
                uint32_t word = (uint32_t)bits << 16;
                float value;

                memcpy(&value, &word, sizeof(value));
                return value;
        }

        double sign = bits & 0x8000 ? -1 : 1, mantissa = bits & 0x3ff;
        int exponent = bits >> 10 & 31;

        return sign * (exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25));
}

static void value_store(enum attention_type type, void *data, size_t index, double value)
{
        float single = (float)value;
        uint32_t bits;

        memcpy(&bits, &single, sizeof(bits));
        if (type == ATTENTION_FP32)
                ((float *)data)[index] = single;
        else
                ((uint16_t *)data)[index] = type == ATTENTION_BF16 ? (uint16_t)(bits >> 16) : half_of(single);
}

/* [tokens, heads, dim] in memory of exactly its size, so that a sanitizer sees a read beyond; gaps between tokens and
 * heads. */
static struct attention_tensor tensor_make(const struct shape *shape, uint32_t dim, uint32_t gap, uint64_t seed,
                                           void **ret_memory)
{
        struct attention_tensor tensor = { .head_stride = dim + gap,
                                           .token_stride = (uint64_t)shape->heads * (dim + gap) + 3 * gap,
                                           .dim = dim };
        size_t n = (shape->tokens - 1) * tensor.token_stride + (shape->heads - 1) * tensor.head_stride + dim;
        void *memory = malloc(n * (shape->type == ATTENTION_FP32 ? 4 : 2));

        memset(memory, 0x7b, n * (shape->type == ATTENTION_FP32 ? 4 : 2));
        for (uint64_t t = 0; t < shape->tokens; t++)
                for (uint32_t h = 0; h < shape->heads; h++)
                        for (uint32_t i = 0; i < dim; i++)
                                value_store(shape->type, memory, t * tensor.token_stride + h * tensor.head_stride + i,
                                            number(seed + ((t * shape->heads + h) << 16 | i)));
        tensor.data = memory;
        *ret_memory = memory;
        return tensor;
}

static double element(const struct shape *shape, const struct attention_tensor *tensor, uint64_t token, uint32_t head,
                      uint32_t i)
{
        return value_of(shape->type, tensor->data, token * tensor->token_stride + head * tensor->head_stride + i);
}

static void attend_by_definition(const struct shape *shape, const struct attention *attention, uint32_t head,
                                 uint32_t query, double *ret_output)
{
        const float *q = attention->queries + ((size_t)head * shape->queries_per_head + query) * shape->key_dim;
        double *weights = calloc(shape->tokens, sizeof(*weights)), maximum = -DBL_MAX, sum = 0;

        for (uint64_t t = 0; t < shape->tokens; t++) {
                for (uint32_t i = 0; i < shape->key_dim; i++)
                        weights[t] += q[i] * element(shape, &attention->keys, t, head, i);
                weights[t] *= attention->scale;
                maximum = fmax(maximum, weights[t]);
        }
        for (uint64_t t = 0; t < shape->tokens; t++)
                sum += weights[t] = exp(weights[t] - maximum);
        for (uint32_t i = 0; i < shape->value_dim; i++) {
                ret_output[i] = 0;
                for (uint64_t t = 0; t < shape->tokens; t++)
                        ret_output[i] += weights[t] / sum * element(shape, &attention->values, t, head, i);
        }
        free(weights);
}

static void check_shape_here(const struct shape *shape, float spread)
{
        uint32_t n_queries = shape->heads * shape->queries_per_head;
        void *keys, *values, *keys_apart, *values_apart;
        float *queries = calloc((size_t)n_queries * shape->key_dim, sizeof(*queries));
        float *output = calloc((size_t)n_queries * shape->value_dim, sizeof(*output));
        float *output_apart = calloc((size_t)n_queries * shape->value_dim, sizeof(*output));
        double *expected = calloc(shape->value_dim, sizeof(*expected));
        struct attention attention = {
                .type = shape->type,
                .keys = tensor_make(shape, shape->key_dim, 0, 1, &keys),
                .values = tensor_make(shape, shape->value_dim, 0, 2, &values),
                .tokens = shape->tokens,
                .kv_heads = shape->heads,
                .queries_per_head = shape->queries_per_head,
                .scale = 1.0f / sqrtf((float)shape->key_dim),
                .queries = queries,
        };

        for (size_t i = 0; i < (size_t)n_queries * shape->key_dim; i++)
                queries[i] = spread * (float)number(3 + i * 977);
        cr_assert_eq(attention_decode(&attention, output), 0);
        for (uint32_t h = 0; h < shape->heads; h++)
                for (uint32_t q = 0; q < shape->queries_per_head; q++) {
                        attend_by_definition(shape, &attention, h, q, expected);
                        for (uint32_t i = 0; i < shape->value_dim; i++)
                                cr_assert_float_eq(
                                        output[((size_t)h * shape->queries_per_head + q) * shape->value_dim + i],
                                        expected[i], 3e-6 * fmax(1, (double)spread),
                                        "type %d, %ju tokens, head %u, query %u, %u: %g not %g", (int)shape->type,
                                        (uintmax_t)shape->tokens, h, q, i,
                                        (double)output[((size_t)h * shape->queries_per_head + q) * shape->value_dim +
                                                       i],
                                        expected[i]);
                }

        attention.keys = tensor_make(shape, shape->key_dim, 5, 1, &keys_apart);
        attention.values = tensor_make(shape, shape->value_dim, 7, 2, &values_apart);
        cr_assert_eq(attention_decode(&attention, output_apart), 0);
        cr_assert_eq(memcmp(output, output_apart, (size_t)n_queries * shape->value_dim * sizeof(*output)), 0);

        free(keys);
        free(values);
        free(keys_apart);
        free(values_apart);
        free(queries);
        free(output);
        free(output_apart);
        free(expected);
}

static void check_shape(const struct shape *shape, float spread)
{
        for (without_avx2 = 0; without_avx2 < 2; without_avx2++)
                check_shape_here(shape, spread);
}

Test(kernel_ref, agrees_with_the_definition)
{
        static const struct shape shapes[] = {
                { ATTENTION_FP16, 1, 1, 1, 64, 64 },    { ATTENTION_FP16, 31, 2, 1, 64, 64 },
                { ATTENTION_FP16, 32, 2, 4, 128, 128 }, { ATTENTION_FP16, 33, 3, 2, 40, 24 },
                { ATTENTION_FP16, 1000, 2, 1, 64, 64 }, { ATTENTION_BF16, 257, 1, 8, 96, 96 },
                { ATTENTION_BF16, 64, 2, 1, 1, 1 },     { ATTENTION_FP32, 100, 2, 3, 33, 7 },
                { ATTENTION_FP32, 65, 1, 1, 576, 512 }, { ATTENTION_FP16, 70, 1, 64, 576, 512 },
        };

        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
                check_shape(&shapes[i], 1);
}

/* Scores far apart: the running maximum moves, and weights fall below what a float holds. */
Test(kernel_ref, stands_large_scores)
{
        static const struct shape shape = { ATTENTION_FP16, 300, 2, 2, 64, 64 };

        check_shape(&shape, 30);
        check_shape(&shape, 1000);
}

/* Every finite binary16 number, subnormals and both zeros included, through a kernel that has one token: out comes V
 * itself. */
Test(kernel_ref, converts_every_half_exactly)
{
        static uint16_t all[65536];
        float query = 1, output;

        for (uint32_t bits = 0; bits < 65536; bits++)
                all[bits] = (uint16_t)bits;
        for (uint32_t i = 0; i < 2 * 65536; i++) {
                uint32_t bits = i % 65536;
                struct attention attention = {
                        .type = ATTENTION_FP16,
                        .keys = { all, 1, 1, 1 },
                        .values = { &all[bits], 1, 1, 1 },
                        .tokens = 1,
                        .kv_heads = 1,
                        .queries_per_head = 1,
                        .scale = 1,
                        .queries = &query,
                };

                without_avx2 = i >= 65536;
                cr_assert_eq(attention_decode(&attention, &output), 0);
                if ((bits >> 10 & 31) == 31)
                        cr_assert(bits & 0x3ff ? isnan(output) : isinf(output), "%04x", bits);
                else
                        cr_assert_eq((double)output, value_of(ATTENTION_FP16, all, bits), "%04x", bits);
        }
}

/* A score of minus infinity weighs nothing, however large its value; without any other, or where a score is no number,
 * neither is the result. */
Test(kernel_ref, takes_infinities_as_the_definition_does)
{
        enum { N = 80 }; /* several blocks of tokens */
        static const struct {
                float first, odd, rest, odd_value, expected;
        } scenes[] = {
                { 0, -INFINITY, 0, 1e38f, 2 },
                { 0, -1000, 0, 1e38f, 2 },
                { -INFINITY, 0, 0, 2, 2 }, /* no score in the first block */
                { -INFINITY, 0, -INFINITY, 7, 7 },
                { -INFINITY, -INFINITY, -INFINITY, 2, NAN },
                { 0, NAN, 0, 2, NAN },
                { NAN, NAN, NAN, 2, NAN },
                { 0, INFINITY, 0, 2, NAN },
        };
        float keys[N], values[N], query = 1, output;

        for (size_t i = 0; i < 2 * sizeof(scenes) / sizeof(scenes[0]); i++) {
                const struct attention attention = {
                        .type = ATTENTION_FP32,
                        .keys = { keys, 1, 1, 1 },
                        .values = { values, 1, 1, 1 },
                        .tokens = N,
                        .kv_heads = 1,
                        .queries_per_head = 1,
                        .scale = 1,
                        .queries = &query,
                };

                for (size_t t = 0; t < N; t++) {
                        keys[t] = t == 50 ? scenes[i / 2].odd : t < 40 ? scenes[i / 2].first : scenes[i / 2].rest;
                        values[t] = t == 50 ? scenes[i / 2].odd_value : 2;
                }
                without_avx2 = i % 2;
                cr_assert_eq(attention_decode(&attention, &output), 0);
                cr_assert(isnan(scenes[i / 2].expected) ? isnan(output)
                                                        : fabsf(output - scenes[i / 2].expected) < 1e-5f,
                          "scene %zu: %g", i / 2, (double)output);
        }
}

Test(kernel_ref, refuses_shapes_out_of_bounds)
{
        uint16_t half = 0;
        float query = 0, output = 42;
        const struct attention good = {
                .type = ATTENTION_FP16,
                .keys = { &half, 1, 1, 1 },
                .values = { &half, 1, 1, 1 },
                .tokens = 1,
                .kv_heads = 1,
                .queries_per_head = 1,
                .queries = &query,
        };
        struct attention bad[7];

        for (size_t i = 0; i < 7; i++)
                bad[i] = good;
        bad[0].tokens = 0;
        bad[1].kv_heads = 0;
        bad[2].queries_per_head = 0;
        bad[3].queries_per_head = ATTENTION_QUERIES_PER_HEAD_MAX + 1;
        bad[4].keys.dim = 0;
        bad[5].values.dim = ATTENTION_DIM_MAX + 1;
        bad[6].type = (enum attention_type)3;
        for (size_t i = 0; i < 7; i++) {
                cr_assert_eq(attention_decode(&bad[i], &output), -EINVAL);
                cr_assert_eq(output, 42);
        }
        cr_assert_eq(attention_decode(&good, &output), 0);
        cr_assert_eq(output, 0);
}
