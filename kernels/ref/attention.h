/* SPDX-License-Identifier: MIT
 *
 * attention.h -- decode attention for one query, in plain C: the reference that the other kernels are held against.
 *
 * It sees [tokens, heads, dim] by pointer and strides and knows nothing of where the memory comes from. Equal inputs
 * give equal bits, whatever the strides: the order of operations depends on the shape alone.
 */
#ifndef KVPAGER_ATTENTION_H
#define KVPAGER_ATTENTION_H

#include <stdint.h>

#define ATTENTION_DIM_MAX              576u /* elements of a head */
#define ATTENTION_QUERIES_PER_HEAD_MAX 64u

enum attention_type {
        ATTENTION_FP16, /* IEEE 754 binary16 */
        ATTENTION_BF16,
        ATTENTION_FP32,
};

/* Keys or values of one sequence in one layer: element (token, head, i) is at data[token * token_stride + head *
 * head_stride + i]. */
struct attention_tensor {
        const void *data;
        uint64_t token_stride, head_stride; /* elements */
        uint32_t dim;                       /* elements of a head, from 1 to ATTENTION_DIM_MAX */
};

struct attention {
        enum attention_type type;
        struct attention_tensor keys, values;
        uint64_t tokens; /* at least 1 */
        uint32_t kv_heads;
        uint32_t queries_per_head; /* grouped queries: query heads that share one head of K and V */
        float scale;               /* of the scores, 1/sqrt(dim) as a rule */
        const float *queries;      /* [kv_heads][queries_per_head][keys.dim] */
};

/* Softmax over all tokens of queries . keys * scale, times values; accumulates in fp32, in one pass with a running
 * maximum (Milakov and Gimelshein, arXiv 1805.02867). `ret_output` is [kv_heads][queries_per_head][values.dim]. 0, or
 * -EINVAL and nothing is written: a shape out of bounds. Needs no memory but 300 KiB of stack; safe from any thread. */
int attention_decode(const struct attention *attention, float *ret_output);

#endif
