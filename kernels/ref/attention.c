/* SPDX-License-Identifier: MIT
 *
 * attention.c -- see attention.h.
 *
 * Tokens are taken in blocks: a block of K (then of V) of one head is converted to fp32 once and used by all queries
 * that share the head. Vectors are 8 floats of the compiler's generic vector type, which it lowers to what the machine
 * has; on x86-64 the code is there twice, the second time for machines with AVX2 (which all have FMA and F16C).
 */
#include "attention.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define LANES           8u
#define BLOCK_TOKENS    32u
#define PREFETCH_TOKENS 32u
#define VECTORS_MAX     (ATTENTION_DIM_MAX / LANES)
#define INLINE          static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(LANES * sizeof(float))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef uint16_t halves __attribute__((vector_size(LANES * sizeof(uint16_t))));

/* What one query has seen so far. */
struct accumulator {
        float maximum, weight; /* of the scores; sum of exponentials relative to it */
        floats output[VECTORS_MAX];
};

struct block {
        floats keys[BLOCK_TOKENS][VECTORS_MAX], values[BLOCK_TOKENS][VECTORS_MAX];
        uint32_t tokens, key_vectors, value_vectors;
};

#define VARIANT(name) name##_plain
#include "attention-body.h"
#undef VARIANT

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#define VARIANT(name) name##_avx2
#define F16C          /* _mm256_cvtph_ps() */
#include "attention-body.h"
#undef F16C
#undef VARIANT
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

int attention_decode(const struct attention *attention, float *ret_output)
{
        if (attention->tokens == 0 || attention->kv_heads == 0 || attention->queries_per_head == 0 ||
            attention->queries_per_head > ATTENTION_QUERIES_PER_HEAD_MAX || attention->keys.dim == 0 ||
            attention->keys.dim > ATTENTION_DIM_MAX || attention->values.dim == 0 ||
            attention->values.dim > ATTENTION_DIM_MAX || attention->type > ATTENTION_FP32)
                return -EINVAL;

#ifdef __x86_64__
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
                attend_avx2(attention, ret_output);
                return 0;
        }
#endif
        attend_plain(attention, ret_output);
        return 0;
}
