/* SPDX-License-Identifier: MIT
 *
 * attention.cu -- attention of new tokens over K and V that lie anywhere, by pointer and strides (kernels.h).
 *
 * One template for all: decode is a prefill of one token, with the tokens before it split among blocks; the paged kernels differ in
 * token_address() alone. A block takes one head of K and V of one sequence, a tile of its queries, and one split of the tokens that they
 * see, a tile of tokens at a time: K to shared memory, scores, softmax with a running maximum (Milakov and Gimelshein, arXiv
 * 1805.02867), V to shared memory, sum. It reads no token beyond a sequence's length, and computes in an order that depends on the shape
 * alone, so equal contents give equal bits wherever they lie.
 *
 * Written to be read, not to be the fastest: as the same work over contiguous memory, over cudaMalloc's and over a block table it is
 * a yardstick of the memory beneath.
 */
#include "kernels.h"
#ifndef KERNEL_EMULATED /* as tests/unit/emulate.cc does it */
#include <cuda_fp16.h>
#define KERNEL_SHARED(name)                                                                                            \
        extern __shared__ uint4 name##_words[];                                                                        \
        char *name = (char *)name##_words
#endif

typedef unsigned int uint;
enum { queries = KERNEL_QUERIES };

struct fp16 {
        enum { bytes = 2, lanes = 8 }; /* of an element; elements of 16 bytes */
        static __device__ __forceinline__ float load(const void *p, uint i)
        {
                return __half2float(((const __half *)p)[i]);
        }
};

struct bf16 {
        enum { bytes = 2, lanes = 8 };
        static __device__ __forceinline__ float load(const void *p, uint i)
        {
                return __uint_as_float((uint)((const unsigned short *)p)[i] << 16);
        }
};

struct fp32 {
        enum { bytes = 4, lanes = 4 };
        static __device__ __forceinline__ float load(const void *p, uint i)
        {
                return ((const float *)p)[i];
        }
};

/* Where a token's head begins: the only difference that a block table makes. */
template <bool paged>
static __device__ __forceinline__ const char *token_address(const struct kernel_attention &a, const struct kernel_tensor &t,
                                                            uint sequence, uint row, uint token, uint head)
{
        if (paged) {
                const uint *blocks = (const uint *)a.blocks + (uint64_t)sequence * a.blocks_per_row;

                row = blocks[token / a.block_tokens];
                token %= a.block_tokens;
        }
        return (const char *)t.data + row * t.row_stride + token * t.token_stride + head * t.head_stride;
}

/* Tokens [first, first + n) of one head to shared memory, each filled up with zeros to 16 bytes. 16 bytes at a time where addresses
 * allow it, else element by element. */
template <class type, bool paged>
static __device__ void load_tile(const struct kernel_attention &a, const struct kernel_tensor &t, uint sequence, uint row,
                                 uint head, uint first, uint n, char *tile)
{
        const uint stride = kernel_row_bytes(t.dim, type::bytes), pieces = KERNEL_ROUND_UP(t.dim * type::bytes, 16u) / 16;
        const bool aligned =
                ((t.data | t.row_stride | t.token_stride | t.head_stride | (uint64_t)t.dim * type::bytes) & 15) == 0;

        for (uint i = threadIdx.x; i < n * pieces; i += KERNEL_THREADS) {
                const uint token = i / pieces, piece = i % pieces;
                const char *source = token_address<paged>(a, t, sequence, row, first + token, head) + piece * 16;
                char *target = tile + token * stride + piece * 16;

                if (aligned) {
                        *(uint4 *)target = *(const uint4 *)source;
                        continue;
                }
                for (uint e = 0; e < type::lanes; e++) {
                        const bool inside = piece * type::lanes + e < t.dim;

                        if (type::bytes == 2)
                                ((unsigned short *)target)[e] = inside ? ((const unsigned short *)source)[e] : 0;
                        else
                                ((uint *)target)[e] = inside ? ((const uint *)source)[e] : 0;
                }
        }
}

static __device__ __forceinline__ float warp_max(float x)
{
        for (uint distance = 16; distance > 0; distance /= 2)
                x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
        return x;
}

static __device__ __forceinline__ float warp_sum(float x)
{
        for (uint distance = 16; distance > 0; distance /= 2)
                x += __shfl_xor_sync(0xffffffffu, x, distance);
        return x;
}

/* Scores of a tile: four rows of queries and one token a thread at a time. What a query may not see is minus infinity. */
template <class type>
static __device__ void score_tile(const struct kernel_attention &a, const char *tile, const float *query, const uint *sees,
                                  uint first, uint n, float *scores)
{
        const uint stride = kernel_row_bytes(a.keys.dim, type::bytes), dim = KERNEL_ROUND_UP(a.keys.dim, 8u);
        const uint pieces = KERNEL_ROUND_UP(a.keys.dim * type::bytes, 16u) / 16;

        for (uint i = threadIdx.x; i < a.tile_tokens * (queries / 4); i += KERNEL_THREADS) {
                const uint token = i % a.tile_tokens, q = i / a.tile_tokens * 4;
                const char *key = tile + token * stride;
                float sum[4] = { 0, 0, 0, 0 };

#pragma unroll 1
                for (uint piece = 0; piece < pieces && token < n; piece++) {
                        const uint4 words = *(const uint4 *)(key + piece * 16);
#pragma unroll
                        for (uint e = 0; e < type::lanes; e++) {
                                const float k = type::load(&words, e);
#pragma unroll
                                for (uint j = 0; j < 4; j++)
                                        sum[j] += query[(q + j) * dim + piece * type::lanes + e] * k;
                        }
                }
#pragma unroll
                for (uint j = 0; j < 4; j++)
                        scores[token * queries + q + j] =
                                token < n && first + token < sees[q + j] ? sum[j] * a.scale : -INFINITY;
        }
}

/* A warp a row of queries: scores become weights, and what was summed before is corrected by `correction`. */
static __device__ void soften_tile(uint tile_tokens, float *scores, float *maximum, float *weight, float *correction)
{
        const uint lane = threadIdx.x % 32;

        for (uint q = threadIdx.x / 32; q < queries; q += KERNEL_WARPS) {
                float most = maximum[q], sum = 0, factor;

                for (uint t = lane; t < tile_tokens; t += 32)
                        most = fmaxf(most, scores[t * queries + q]);
                most = warp_max(most);
                factor = most == -INFINITY ? 1 : expf(maximum[q] - most);
                for (uint t = lane; t < tile_tokens; t += 32) {
                        const float w = most == -INFINITY ? 0 : expf(scores[t * queries + q] - most);

                        scores[t * queries + q] = w;
                        sum += w;
                }
                sum = warp_sum(sum);
                if (lane == 0) {
                        correction[q] = factor;
                        weight[q] = weight[q] * factor + sum;
                        maximum[q] = most;
                }
        }
}

/* Of a tile's query q: where it stands among all rows of queries. */
static __device__ __forceinline__ uint64_t query_row(const struct kernel_attention &a, uint sequence, uint head, uint q)
{
        return (((uint64_t)sequence * a.query_tokens + q / a.queries_per_head) * a.kv_heads + head) * a.queries_per_head +
               q % a.queries_per_head;
}

/* Each thread sums one column of the values; heads of more columns than threads are given to several blocks. */
template <class type, bool paged> static __device__ void attend(const struct kernel_attention &a, char *shared)
{
        const uint tiles = kernel_query_tiles(&a), split = blockIdx.x / tiles % a.splits;
        const uint first_query = blockIdx.x % tiles * queries, column = blockIdx.x / tiles / a.splits * KERNEL_THREADS + threadIdx.x;
        const uint head = blockIdx.y, sequence = blockIdx.z, n_queries = a.query_tokens * a.queries_per_head;
        const uint row = a.rows ? ((const uint *)a.rows)[sequence] : a.first_row + sequence;
        const uint length = a.lengths ? ((const uint *)a.lengths)[sequence] : a.length;
        const uint dim = a.keys.dim > a.values.dim ? a.keys.dim : a.values.dim, key_dim = KERNEL_ROUND_UP(a.keys.dim, 8u);
        /* A split is a whole number of tiles. */
        const uint share = KERNEL_ROUND_UP((length + a.splits - 1) / a.splits, a.tile_tokens);
        const uint begin = split * share, end = begin + share < length ? begin + share : length;
        char *tile = shared;
        float *query = (float *)(tile + a.tile_tokens * kernel_row_bytes(dim, type::bytes));
        float *scores = query + queries * key_dim, *maximum = scores + a.tile_tokens * queries;
        float *correction = maximum + queries, *weight = correction + queries;
        uint *sees = (uint *)(weight + queries);
        float sum[queries] = {};

        for (uint i = threadIdx.x; i < queries * key_dim; i += KERNEL_THREADS) {
                const uint q = first_query + i / key_dim, k = i % key_dim;

                query[i] = q < n_queries && k < a.keys.dim
                                   ? ((const float *)a.queries)[query_row(a, sequence, head, q) * a.keys.dim + k]
                                   : 0;
        }
        if (threadIdx.x < queries) {
                const uint q = first_query + threadIdx.x;

                sees[threadIdx.x] = q < n_queries ? length - a.query_tokens + q / a.queries_per_head + 1 : 0;
                maximum[threadIdx.x] = -INFINITY;
                weight[threadIdx.x] = 0;
        }
        __syncthreads();

        for (uint first = begin; first < end; first += a.tile_tokens) {
                const uint n = end - first < a.tile_tokens ? end - first : a.tile_tokens;

                load_tile<type, paged>(a, a.keys, sequence, row, head, first, n, tile);
                __syncthreads();
                score_tile<type>(a, tile, query, sees, first, n, scores);
                __syncthreads();
                load_tile<type, paged>(a, a.values, sequence, row, head, first, n, tile);
                soften_tile(a.tile_tokens, scores, maximum, weight, correction);
                __syncthreads();
#pragma unroll
                for (uint q = 0; q < queries; q++)
                        sum[q] *= correction[q];
                for (uint t = 0; t < n && column < a.values.dim; t++) {
                        const float v = type::load(tile + t * kernel_row_bytes(a.values.dim, type::bytes), column);

#pragma unroll
                        for (uint q = 0; q < queries; q++)
                                sum[q] += scores[t * queries + q] * v;
                }
                __syncthreads();
        }

#pragma unroll
        for (uint q = 0; q < queries; q++) {
                const uint64_t at = query_row(a, sequence, head, first_query + q);
                float *partial = (float *)a.partial + (at * a.splits + split) * kernel_partial_stride(&a);

                if (first_query + q >= n_queries || column >= a.values.dim)
                        continue;
                if (a.splits == 1) {
                        ((float *)a.output)[at * a.values.dim + column] = sum[q] / weight[q];
                        continue;
                }
                partial[column] = sum[q];
                if (column == 0) {
                        partial[a.values.dim] = maximum[q];
                        partial[a.values.dim + 1] = weight[q];
                }
        }
}

/* Splits in their order; one that has no token has a maximum of minus infinity and weighs nothing. */
extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) kvp_combine(const struct kernel_attention a)
{
        const uint64_t stride = kernel_partial_stride(&a);
        const float *partial = (const float *)a.partial + blockIdx.x * a.splits * stride;
        float most = -INFINITY, weight = 0;

        for (uint s = 0; s < a.splits; s++)
                most = fmaxf(most, partial[s * stride + a.values.dim]);
        for (uint s = 0; s < a.splits; s++)
                weight += partial[s * stride + a.values.dim + 1] * expf(partial[s * stride + a.values.dim] - most);
        for (uint column = threadIdx.x; column < a.values.dim; column += KERNEL_THREADS) {
                float sum = 0;

                for (uint s = 0; s < a.splits; s++)
                        sum += partial[s * stride + column] * expf(partial[s * stride + a.values.dim] - most);
                ((float *)a.output)[(uint64_t)blockIdx.x * a.values.dim + column] = sum / weight;
        }
}

#define ATTENTION(name, type, paged)                                                                                    \
        extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) name##_##type(const struct kernel_attention a)    \
        {                                                                                                              \
                KERNEL_SHARED(shared);                                                                                 \
                attend<type, paged>(a, shared);                                                                        \
        }

ATTENTION(kvp_attention, fp16, false)
ATTENTION(kvp_attention, bf16, false)
ATTENTION(kvp_attention, fp32, false)
ATTENTION(kvp_attention_paged, fp16, true)
ATTENTION(kvp_attention_paged, bf16, true)
ATTENTION(kvp_attention_paged, fp32, true)
