/* SPDX-License-Identifier: MIT
 *
 * kernels.h -- the kernels by name, and the one struct that each of them takes as its only parameter.
 *
 * Included by the kernels themselves, by those who launch them, and by their references in C (reference.c), which
 * compute the same from the same struct. Memory is passed as numbers, so that the struct is the same for all. Strides
 * are in bytes.
 *
 *      kvp_attention_TYPE         struct kernel_attention   over contiguous rows, decode (one token) and prefill (more)
 *      kvp_attention_paged_TYPE   struct kernel_attention   the same over a block table
 *      kvp_combine                struct kernel_attention   what several splits found, into one
 *      kvp_fill, kvp_check        struct kernel_contents    writes K and V; compares and poisons them
 *      kvp_compare                struct kernel_compare     two outputs, bit for bit
 *
 * TYPE is fp16, bf16 or fp32. Block and grid sizes follow from the struct: kernel_*_shape().
 */
#ifndef KVPAGER_KERNELS_H
#define KVPAGER_KERNELS_H

#include <stdint.h>

#include "hash.h"

#define KERNEL_THREADS         128u /* of each block */
#define KERNEL_WARPS           (KERNEL_THREADS / 32)
#define KERNEL_QUERIES         8u /* rows of queries that one block computes at once */
#define KERNEL_TILE_TOKENS_MAX 64u
#define KERNEL_DIM_MAX         576u
#define KERNEL_SHARED_MAX      49152u /* bytes: what every GPU gives without being asked */

#define KERNEL_ROUND_UP(n, to) (((n) + (to)-1) / (to) * (to))

/* Keys or values of all sequences in one layer. Element i of (row, token, head) is at
 * data + row * row_stride + token * token_stride + head * head_stride. Where there is a block table, a row is a block
 * of block_tokens tokens. */
struct kernel_tensor {
        uint64_t data;
        uint64_t row_stride, token_stride, head_stride;
        uint32_t dim, reserved;
};

/* `query_tokens` new tokens at the end of each of `batch` sequences: the i-th of them attends to all tokens before it
 * and to itself. Queries are [batch][query_tokens][kv_heads][queries_per_head][keys.dim], fp32; the output likewise,
 * with values.dim. */
struct kernel_attention {
        struct kernel_tensor keys, values;
        uint64_t rows;    /* uint32_t[batch]; 0: sequence i is in row first_row + i */
        uint64_t lengths; /* uint32_t[batch]: tokens, new ones included, at least query_tokens; 0: all have `length` */
        uint64_t blocks;  /* uint32_t[batch][blocks_per_row]: the block table of the paged kernels */
        uint64_t queries, output;
        uint64_t partial; /* kernel_partial_floats() of fp32, for more than one split */
        uint32_t batch, query_tokens, kv_heads, queries_per_head;
        uint32_t splits;      /* parts in which different blocks go over the tokens */
        uint32_t tile_tokens; /* that a block takes at once: kernel_tile_tokens() */
        uint32_t blocks_per_row, block_tokens;
        uint32_t first_row, length;
        float scale; /* of the scores */
        uint32_t reserved;
};

/* The first mismatch is the one of the least place: part << 48 | token << 8 | head (the lowest bits of it). */
struct kernel_report {
        uint64_t mismatches;         /* what is not what was written */
        uint64_t stale;              /* what was neither zero nor ours before it was written */
        uint64_t first, first_stale; /* UINT64_MAX: none */
        uint64_t checksum;
};

/* Tokens [from, to) of a row, in all parts; what is written is a hash of where and whose it is. */
struct kernel_contents {
        uint64_t parts;  /* struct kernel_tensor[n_parts]: K and V of each layer */
        uint64_t shadow; /* [n_parts][most_tokens][heads][head_bytes]: the same in plain memory; 0: do not verify */
        uint64_t report; /* struct kernel_report */
        uint64_t from, to, most_tokens;
        uint64_t keep, base; /* what of a hash becomes a value, and what is put beneath */
        uint32_t n_parts, heads, head_bytes, element_bytes;
        uint32_t row, request, worker;
        uint32_t first_part; /* the number of the first part, as far as values go */
};

/* Outputs of layers, n words of fp32 each: a word of `found` that is not that of `expected` is a mismatch in `report`.
 */
struct kernel_compare {
        uint64_t found, expected; /* uint32_t[layers][n]; expected 0: nothing to compare with */
        uint64_t report;
        uint64_t token;
        uint32_t layers, n, request;
        uint32_t count; /* 1: the words of `found` go into the checksum */
};

/* ---- what is written: between 1/8 and 1/2 of either sign, and what a row that was given back is overwritten with ----
 */

#define KERNEL_POISON_SEED UINT64_C(0x9015049015049015)
#define KERNEL_GOLDEN      UINT64_C(0x9e3779b97f4a7c15)
#define KERNEL_QUERY_PART  0x40000000u /* the number of layer 0's queries, as far as values go */

HASH_INLINE uint64_t kernel_value_seed(uint32_t request, uint64_t token, uint32_t part, uint32_t head)
{
        return hash_fold(hash_fold(token, request), (uint64_t)part << 32 | head);
}

/* The i-th word of a head. */
HASH_INLINE uint64_t kernel_value_word(uint64_t seed, uint64_t i, uint64_t keep, uint64_t base)
{
        return (hash_mix(seed + (i + 1) * KERNEL_GOLDEN) & keep) | base;
}

HASH_INLINE uint64_t kernel_poison_word(uint32_t worker, uint32_t row, uint64_t token, uint32_t part)
{
        return hash_fold(hash_fold(KERNEL_POISON_SEED + token, (uint64_t)row << 32 | part), worker);
}

HASH_INLINE uint64_t kernel_place(uint32_t part, uint64_t token, uint32_t head)
{
        return (uint64_t)part << 48 | (token & UINT64_C(0xffffffffff)) << 8 | (head & 0xff);
}

/* What of a hash becomes values of a type: sign, lowest bit of the exponent, mantissa; and the rest of the exponent of
 * 1/8. */
struct kernel_pattern {
        uint64_t keep, base;
};

#define KERNEL_PATTERN_FP16                                                                                            \
        {                                                                                                              \
                UINT64_C(0x87ff87ff87ff87ff), UINT64_C(0x3000300030003000)                                             \
        }
#define KERNEL_PATTERN_BF16                                                                                            \
        {                                                                                                              \
                UINT64_C(0x80ff80ff80ff80ff), UINT64_C(0x3e003e003e003e00)                                             \
        }
#define KERNEL_PATTERN_FP32                                                                                            \
        {                                                                                                              \
                UINT64_C(0x80ffffff80ffffff), UINT64_C(0x3e0000003e000000)                                             \
        }

/* ---- shapes: the order of operations, and so every bit of the result, depends on these alone ---- */

struct kernel_shape {
        uint32_t grid[3], shared_bytes;
};

HASH_INLINE uint32_t kernel_row_bytes(uint32_t dim, uint32_t element_bytes) /* of a token in shared memory */
{
        return KERNEL_ROUND_UP(dim * element_bytes, 16u) + 16; /* so that the threads' rows lie in different banks */
}

HASH_INLINE uint32_t kernel_shared_bytes(const struct kernel_attention *a, uint32_t element_bytes, uint32_t tile_tokens)
{
        const uint32_t dim = a->keys.dim > a->values.dim ? a->keys.dim : a->values.dim;

        return tile_tokens * kernel_row_bytes(dim, element_bytes) +
               KERNEL_QUERIES * KERNEL_ROUND_UP(a->keys.dim, 8u) * 4 + (tile_tokens + 4) * KERNEL_QUERIES * 4;
}

HASH_INLINE uint32_t kernel_tile_tokens(const struct kernel_attention *a, uint32_t element_bytes)
{
        uint32_t tokens = KERNEL_TILE_TOKENS_MAX;

        while (tokens > 1 && kernel_shared_bytes(a, element_bytes, tokens) > KERNEL_SHARED_MAX)
                tokens /= 2;
        return tokens;
}

/* Tiles of the rows of queries that share a head of K and V. */
HASH_INLINE uint32_t kernel_query_tiles(const struct kernel_attention *a)
{
        return (a->query_tokens * a->queries_per_head + KERNEL_QUERIES - 1) / KERNEL_QUERIES;
}

HASH_INLINE struct kernel_shape kernel_attention_shape(const struct kernel_attention *a, uint32_t element_bytes)
{
        const uint32_t columns = (a->values.dim + KERNEL_THREADS - 1) / KERNEL_THREADS;
        const struct kernel_shape shape = { { kernel_query_tiles(a) * a->splits * columns, a->kv_heads, a->batch },
                                            kernel_shared_bytes(a, element_bytes, a->tile_tokens) };

        return shape;
}

/* Splits that fill a GPU: of 256 tokens or more, and no more of them than 64. */
HASH_INLINE uint32_t kernel_splits(uint64_t length)
{
        const uint64_t splits = length / 256;

        return splits < 1 ? 1 : splits < 64 ? (uint32_t)splits : 64;
}

/* Of one split of one row of queries: the output so far, the largest score, the sum of weights. */
HASH_INLINE uint64_t kernel_partial_stride(const struct kernel_attention *a)
{
        return a->values.dim + 2;
}

HASH_INLINE uint64_t kernel_query_rows(const struct kernel_attention *a)
{
        return (uint64_t)a->batch * a->query_tokens * a->kv_heads * a->queries_per_head;
}

HASH_INLINE uint64_t kernel_partial_floats(const struct kernel_attention *a)
{
        return kernel_query_rows(a) * a->splits * kernel_partial_stride(a);
}

/* A block a row of queries. */
HASH_INLINE struct kernel_shape kernel_combine_shape(const struct kernel_attention *a)
{
        const struct kernel_shape shape = { { (uint32_t)kernel_query_rows(a), 1, 1 }, 0 };

        return shape;
}

/* Each thread goes over words at a distance of all threads, so any number of blocks would do. */
HASH_INLINE struct kernel_shape kernel_words_shape(uint64_t words)
{
        const uint64_t blocks = (words + KERNEL_THREADS - 1) / KERNEL_THREADS;
        const struct kernel_shape shape = { { (uint32_t)(blocks < 1 ? 1 : blocks < 2048 ? blocks : 2048), 1, 1 }, 0 };

        return shape;
}

HASH_INLINE uint64_t kernel_contents_words(const struct kernel_contents *c)
{
        return (c->to - c->from) * c->n_parts * c->heads * ((c->head_bytes + 7) / 8);
}

#endif
