/* SPDX-License-Identifier: MIT
 *
 * contents-kernels.c -- what contents-compute.c does, by kernels on a GPU, where the host cannot touch the cache.
 *
 * The same values at the same places, the same queries, a shadow in the GPU's plain memory; and what is computed and
 * compared stays there: of each call one small report is read. Each decoded token attends to all before it; of each 512
 * tokens of a prompt the last few do, as a prefill.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "contents.h"
#include "gpu.h"

#define PREFILL_CHUNK_TOKENS UINT64_C(512)
#define PREFILL_QUERY_TOKENS 4u /* that attend, of each of these */

struct row {
        uint64_t shadow, most_tokens;
};

struct kernels {
        const struct places *places;
        struct gpu *gpu;
        bool verify;
        uint32_t element_bytes, head_bytes, vector_bytes; /* of one element, one head, all heads of a token */
        uint32_t output_floats;                           /* of one token in one layer */
        uint32_t n_rows;
        struct row *rows;
        uint64_t parts, query_parts; /* struct kernel_tensor[] on the GPU: of the cache, of the queries by layer */
        uint64_t queries, output, expected, partial, found;
        struct kernel_pattern pattern;
        struct contents_report report;
};

static void kernels_free(void *data)
{
        struct kernels *kernels = data;
        const uint64_t owned[] = { kernels->parts,    kernels->query_parts, kernels->queries, kernels->output,
                                   kernels->expected, kernels->partial,     kernels->found };

        for (uint32_t i = 0; kernels->rows && i < kernels->n_rows; i++)
                gpu_free(kernels->gpu, kernels->rows[i].shadow);
        for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
                gpu_free(kernels->gpu, owned[i]);
        free(kernels->rows);
        free(kernels);
}

/* ---- what was found ---- */

static int report_reset(struct kernels *kernels, uint64_t checksum)
{
        const struct kernel_report empty = { .first = UINT64_MAX, .first_stale = UINT64_MAX, .checksum = checksum };

        return gpu_copy_in(kernels->gpu, kernels->found, &empty, sizeof(empty));
}

/* Waits until all that was launched is done; `what` says what a mismatch would be. */
static int report_take(struct kernels *kernels, const struct sequence *sequence, const char *what)
{
        struct kernel_report found;
        int r = gpu_copy_out(kernels->gpu, &found, kernels->found, sizeof(found));

        if (r < 0)
                return r;
        kernels->report.checksum = found.checksum;
        if (found.stale > 0)
                contents_mismatch(&kernels->report,
                                  "stale page or missed zero: row %" PRIu32 ", token %" PRIu64 ", layer %" PRIu64
                                  " %c held neither zeros nor this worker's poison",
                                  sequence->row, found.first_stale >> 8 & UINT64_C(0xffffffffff),
                                  (found.first_stale >> 48) / 2, (found.first_stale >> 48) % 2 ? 'V' : 'K');
        if (found.mismatches > 0)
                contents_mismatch(&kernels->report,
                                  "%s: row %" PRIu32 ", request %" PRIu32 ", token %" PRIu64 ", layer %" PRIu64, what,
                                  sequence->row, sequence->request->id, found.first >> 8 & UINT64_C(0xffffffffff),
                                  (found.first >> 48) / 2);
        return found.stale > 0 || found.mismatches > 0 ? report_reset(kernels, found.checksum) : 0;
}

/* ---- what is launched ---- */

static int contents_launch(struct kernels *kernels, enum gpu_kernel kernel, const struct sequence *sequence,
                           uint64_t from, uint64_t to)
{
        const struct row *row = &kernels->rows[sequence->row];
        const struct kernel_contents contents = {
                .parts = kernels->parts,
                .shadow = row->shadow,
                .report = kernels->found,
                .from = from,
                .to = to,
                .most_tokens = row->most_tokens,
                .keep = kernels->pattern.keep,
                .base = kernels->pattern.base,
                .n_parts = kernels->places->n_parts,
                .heads = kernels->places->geometry.kv_heads,
                .head_bytes = kernels->head_bytes,
                .element_bytes = kernels->element_bytes,
                .row = sequence->row,
                .request = sequence->request->id,
                .worker = kernels->places->worker,
        };
        const struct kernel_shape shape = kernel_words_shape(kernel_contents_words(&contents));

        return gpu_launch(kernels->gpu, kernel, &contents, &shape);
}

/* Queries of `n` tokens from `first` on, in all layers. */
static int queries_launch(struct kernels *kernels, const struct sequence *sequence, uint64_t first, uint32_t n)
{
        static const struct kernel_pattern pattern = KERNEL_PATTERN_FP32;
        const uint32_t layers = kernels->places->geometry.layers, bytes = kernels->output_floats * 4;
        struct kernel_tensor tensors[KVP_MAX_LAYERS];
        struct kernel_contents contents = { .parts = kernels->query_parts,
                                            .report = kernels->found,
                                            .from = first,
                                            .to = first + n,
                                            .keep = pattern.keep,
                                            .base = pattern.base,
                                            .n_parts = layers,
                                            .heads = 1,
                                            .head_bytes = bytes,
                                            .element_bytes = 4,
                                            .request = sequence->request->id,
                                            .first_part = KERNEL_QUERY_PART };
        const struct kernel_shape shape = kernel_words_shape(kernel_contents_words(&contents));
        int r;

        /* Token `first` at the beginning of its layer's. */
        for (uint32_t layer = 0; layer < layers; layer++)
                tensors[layer] = (struct kernel_tensor){
                        .data = kernels->queries + (uint64_t)layer * n * bytes - first * bytes, .token_stride = bytes
                };
        r = gpu_copy_in(kernels->gpu, kernels->query_parts, tensors, layers * sizeof(tensors[0]));
        return r < 0 ? r : gpu_launch(kernels->gpu, GPU_FILL, &contents, &shape);
}

static struct kernel_tensor tensor_in_cache(const struct kernels *kernels, uint32_t part)
{
        const struct place *place = &kernels->places->parts[part];

        return (struct kernel_tensor){ .data = (uint64_t)(uintptr_t)place->base,
                                       .row_stride = place->row_stride,
                                       .token_stride = place->token_stride,
                                       .head_stride = place->head_stride,
                                       .dim = kernels->places->geometry.head_dim };
}

/* Of one row, so it is row 0. */
static struct kernel_tensor tensor_in_shadow(const struct kernels *kernels, uint32_t part, const struct row *row)
{
        return (struct kernel_tensor){ .data = row->shadow + part * row->most_tokens * kernels->vector_bytes,
                                       .token_stride = kernels->vector_bytes,
                                       .head_stride = kernels->head_bytes,
                                       .dim = kernels->places->geometry.head_dim };
}

static int attention_launch(struct kernels *kernels, const struct kernel_attention *attention)
{
        const struct kernel_shape shape = kernel_attention_shape(attention, kernels->element_bytes);
        const struct kernel_shape combine = kernel_combine_shape(attention);
        int r = gpu_launch(kernels->gpu, (enum gpu_kernel)kernels->places->geometry.type, attention, &shape);

        if (r == 0 && attention->splits > 1)
                r = gpu_launch(kernels->gpu, GPU_COMBINE, attention, &combine);
        return r;
}

/* The last `n` tokens of the first `length` attend, in every layer; `decoded`: into the checksum. */
static int tokens_attend(struct kernels *kernels, const struct sequence *sequence, uint64_t length, uint32_t n,
                         bool decoded)
{
        const struct geometry *geometry = &kernels->places->geometry;
        const uint64_t floats = (uint64_t)n * kernels->output_floats;
        const struct row *row = &kernels->rows[sequence->row];
        struct kernel_attention attention = {
                .batch = 1,
                .query_tokens = n,
                .kv_heads = geometry->kv_heads,
                .queries_per_head = geometry->query_heads / geometry->kv_heads,
                .splits = kernel_splits(length),
                .partial = kernels->partial,
                .length = (uint32_t)length,
                .scale = 1.0f / sqrtf((float)geometry->head_dim),
        };
        const struct kernel_compare compare = { .found = kernels->output,
                                                .expected = kernels->verify ? kernels->expected : 0,
                                                .report = kernels->found,
                                                .token = length - 1,
                                                .layers = geometry->layers,
                                                .n = (uint32_t)floats,
                                                .request = sequence->request->id,
                                                .count = decoded };
        const struct kernel_shape shape = kernel_words_shape(geometry->layers * floats);
        int r = queries_launch(kernels, sequence, length - n, n);

        for (uint32_t layer = 0; layer < geometry->layers && r == 0; layer++) {
                attention.queries = kernels->queries + layer * floats * 4;
                attention.output = kernels->output + layer * floats * 4;
                attention.keys = tensor_in_cache(kernels, 2 * layer);
                attention.values = tensor_in_cache(kernels, 2 * layer + 1);
                attention.tile_tokens = kernel_tile_tokens(&attention, kernels->element_bytes);
                attention.first_row = sequence->row;
                r = attention_launch(kernels, &attention);
                if (r < 0 || !kernels->verify)
                        continue;
                attention.output = kernels->expected + layer * floats * 4;
                attention.keys = tensor_in_shadow(kernels, 2 * layer, row);
                attention.values = tensor_in_shadow(kernels, 2 * layer + 1, row);
                attention.first_row = 0;
                r = attention_launch(kernels, &attention);
        }
        return r < 0 ? r : gpu_launch(kernels->gpu, GPU_COMPARE, &compare, &shape);
}

/* ---- the life of a sequence ---- */

static int kernels_begin(void *data, const struct sequence *sequence, uint64_t most_tokens)
{
        struct kernels *kernels = data;
        struct row *row = &kernels->rows[sequence->row];

        assert(sequence->row < kernels->n_rows);
        assert(row->shadow == 0);

        if (!kernels->verify)
                return 0;
        row->most_tokens = most_tokens;
        return gpu_alloc(kernels->gpu, most_tokens * kernels->vector_bytes * kernels->places->n_parts, &row->shadow) < 0
                       ? -ENOBUFS /* plain memory: not what the engine may preempt for */
                       : 0;
}

static int kernels_write(void *data, const struct sequence *sequence, uint64_t from)
{
        struct kernels *kernels = data;
        const bool decoded = from > 0;
        uint64_t next;
        int r = 0;

        assert(from < sequence->length);

        for (; from < sequence->length && r == 0; from = next) {
                next = (from / PREFILL_CHUNK_TOKENS + 1) * PREFILL_CHUNK_TOKENS;
                if (next > sequence->length)
                        next = sequence->length;
                r = contents_launch(kernels, GPU_FILL, sequence, from, next);
                if (r == 0)
                        r = tokens_attend(kernels, sequence, next,
                                          next - from < PREFILL_QUERY_TOKENS ? (uint32_t)(next - from)
                                                                             : PREFILL_QUERY_TOKENS,
                                          decoded);
        }
        return r < 0 ? r : report_take(kernels, sequence, "attention differs");
}

static int kernels_end(void *data, const struct sequence *sequence)
{
        struct kernels *kernels = data;
        struct row *row = &kernels->rows[sequence->row];
        int r = 0;

        if (!kernels->verify)
                return 0;
        if (sequence->length > 0)
                r = contents_launch(kernels, GPU_CHECK, sequence, 0, sequence->length);
        if (r == 0)
                r = report_take(kernels, sequence, "wrong page: not what was written");
        gpu_free(kernels->gpu, row->shadow);
        *row = (struct row){ 0 };
        return r;
}

static const struct contents_ops kernels_ops = {
        .begin = kernels_begin,
        .write = kernels_write,
        .end = kernels_end,
        .free = kernels_free,
};

/* The GPU's memory that is needed once. */
static int kernels_alloc(struct kernels *kernels)
{
        const struct geometry *geometry = &kernels->places->geometry;
        const uint64_t output = (uint64_t)geometry->layers * PREFILL_QUERY_TOKENS * kernels->output_floats * 4;
        const struct kernel_attention most = { .batch = 1,
                                               .query_tokens = PREFILL_QUERY_TOKENS,
                                               .kv_heads = geometry->kv_heads,
                                               .queries_per_head = geometry->query_heads / geometry->kv_heads,
                                               .values = { .dim = geometry->head_dim },
                                               .splits = kernel_splits(UINT64_MAX) };
        _cleanup_(cleanup_free) struct kernel_tensor *parts = calloc(kernels->places->n_parts, sizeof(*parts));
        const size_t bytes = kernels->places->n_parts * sizeof(*parts);
        int r;

        if (!parts)
                return -ENOMEM;
        for (uint32_t part = 0; part < kernels->places->n_parts; part++)
                parts[part] = tensor_in_cache(kernels, part);
        if ((r = gpu_alloc(kernels->gpu, bytes, &kernels->parts)) < 0 ||
            (r = gpu_alloc(kernels->gpu, bytes, &kernels->query_parts)) < 0 ||
            (r = gpu_alloc(kernels->gpu, output, &kernels->queries)) < 0 ||
            (r = gpu_alloc(kernels->gpu, output, &kernels->output)) < 0 ||
            (r = gpu_alloc(kernels->gpu, output, &kernels->expected)) < 0 ||
            (r = gpu_alloc(kernels->gpu, kernel_partial_floats(&most) * 4, &kernels->partial)) < 0 ||
            (r = gpu_alloc(kernels->gpu, sizeof(struct kernel_report), &kernels->found)) < 0 ||
            (r = report_reset(kernels, 0)) < 0)
                return r;
        return gpu_copy_in(kernels->gpu, kernels->parts, parts, bytes);
}

int kernels_new(const struct places *places, uint32_t max_seqs, bool verify, struct contents *ret_contents)
{
        static const struct kernel_pattern patterns[] = {
                [ATTENTION_FP16] = KERNEL_PATTERN_FP16,
                [ATTENTION_BF16] = KERNEL_PATTERN_BF16,
                [ATTENTION_FP32] = KERNEL_PATTERN_FP32,
        };
        const struct geometry *geometry = &places->geometry;
        struct kernels *kernels = calloc(1, sizeof(*kernels));
        int r;

        assert(places->gpu);

        if (!kernels)
                return -ENOMEM;
        *kernels = (struct kernels){
                .places = places,
                .gpu = places->gpu,
                .verify = verify,
                .element_bytes = geometry_element_bytes(geometry),
                .head_bytes = geometry->head_dim * geometry_element_bytes(geometry),
                .vector_bytes = geometry->kv_heads * geometry->head_dim * geometry_element_bytes(geometry),
                .output_floats = geometry->query_heads * geometry->head_dim,
                .n_rows = max_seqs,
                .rows = calloc(max_seqs, sizeof(struct row)),
                .pattern = patterns[geometry->type],
        };
        r = kernels->rows ? kernels_alloc(kernels) : -ENOMEM;
        if (r < 0) {
                kernels_free(kernels);
                return r;
        }
        *ret_contents = (struct contents){ .ops = &kernels_ops, .data = kernels, .report = &kernels->report };
        return 0;
}
