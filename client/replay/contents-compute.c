/* SPDX-License-Identifier: MIT
 *
 * contents-compute.c -- all K and V of every token, and attention over them.
 *
 * Every value is a hash of request, token, layer, head and part, so that no two places may hold the same. Each decoded
 * token attends to all before it; in prefill the last query of each 512 tokens does.
 *
 * With `verify` each sequence has a shadow in plain memory with the same values: the same kernel runs over both and the
 * outputs must be equal bit for bit. When a row is given back all of it is compared with the shadow and then poisoned,
 * with a pattern that only this worker writes at that place; where a new sequence writes a token, it must find zeros (a
 * fresh page) or that poison, page by page, else the page is someone else's or was never cleaned.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "contents.h"
#include "kernels.h"

#define PREFILL_CHUNK_TOKENS UINT64_C(512)

/* K and V of one sequence in plain memory: for each part [tokens, heads, dim], dense. */
struct shadow {
        char *data;
        uint64_t most_tokens;
};

struct compute {
        const struct places *places;
        bool verify;
        uint32_t element_bytes, head_bytes, vector_bytes; /* of one element, one head, all heads of a token */
        uint64_t keep, base;                              /* what of a hash becomes a value, and what is put beneath */
        uint32_t n_rows;
        struct shadow *shadows; /* by row */
        float *queries, *output, *expected;
        size_t output_bytes;
        struct contents_report report;
};

static void compute_free(void *data)
{
        struct compute *compute = data;

        for (uint32_t i = 0; compute->shadows && i < compute->n_rows; i++)
                free(compute->shadows[i].data);
        free(compute->shadows);
        free(compute->queries);
        free(compute->output);
        free(compute->expected);
        free(compute);
}

static char *place_of(const struct compute *compute, uint32_t part, uint32_t row, uint64_t token)
{
        const struct place *place = &compute->places->parts[part];

        return place->base + row * place->row_stride + token * place->token_stride;
}

static char *shadow_of(const struct compute *compute, uint32_t part, uint32_t row, uint64_t token)
{
        const struct shadow *shadow = &compute->shadows[row];

        assert(token < shadow->most_tokens);
        return shadow->data + (part * shadow->most_tokens + token) * compute->vector_bytes;
}

static void values_fill(char *target, size_t bytes, uint64_t seed, uint64_t keep, uint64_t base)
{
        for (uint64_t i = 0; bytes > 0; i++) {
                const uint64_t word = kernel_value_word(seed, i, keep, base);
                const size_t n = bytes < sizeof(word) ? bytes : sizeof(word);

                memcpy(target, &word, n);
                target += n;
                bytes -= n;
        }
}

static uint64_t value_seed(const struct sequence *sequence, uint64_t token, uint32_t part, uint32_t head)
{
        return kernel_value_seed(sequence->request->id, token, part, head);
}

static uint64_t poison_word(const struct compute *compute, uint32_t row, uint64_t token, uint32_t part)
{
        return kernel_poison_word(compute->places->worker, row, token, part);
}

static void word_fill(char *target, size_t bytes, uint64_t word)
{
        for (; bytes >= sizeof(word); target += sizeof(word), bytes -= sizeof(word))
                memcpy(target, &word, sizeof(word));
        memcpy(target, &word, bytes);
}

static bool word_fills(const char *source, size_t bytes, uint64_t word)
{
        uint64_t difference = 0;

        for (; bytes >= sizeof(word); source += sizeof(word), bytes -= sizeof(word)) {
                uint64_t found;

                memcpy(&found, source, sizeof(found));
                difference |= found ^ word;
        }
        return difference == 0 && memcmp(source, &word, bytes) == 0;
}

/* The word that repeats in a place, as it is seen from `offset` bytes into it. */
static uint64_t word_seen_from(uint64_t word, size_t offset)
{
        unsigned bits = 8 * (unsigned)(offset % sizeof(word));

        return bits == 0 ? word : word >> bits | word << (64 - bits);
}

/* Zeros or poison in what lies in one page: a head that crosses from one page to the next may have an old page and a
 * fresh one. */
static bool place_is_unused(const struct compute *compute, const char *place, uint64_t poison)
{
        size_t bytes;

        for (size_t offset = 0; offset < compute->head_bytes; offset += bytes) {
                const char *piece = place + offset;
                size_t rest_of_page = compute->places->page_size - (uintptr_t)piece % compute->places->page_size;

                bytes = compute->head_bytes - offset;
                if (bytes > rest_of_page)
                        bytes = rest_of_page;
                if (!word_fills(piece, bytes, 0) && !word_fills(piece, bytes, word_seen_from(poison, offset)))
                        return false;
        }
        return true;
}

/* Before a token's place is written for the first time since the row was taken. */
static void place_check_unused(struct compute *compute, const struct sequence *sequence, uint64_t token, uint32_t part)
{
        uint64_t poison = poison_word(compute, sequence->row, token, part);

        for (uint32_t head = 0; head < compute->places->geometry.kv_heads; head++) {
                const char *place = place_of(compute, part, sequence->row, token) +
                                    head * compute->places->parts[part].head_stride;

                if (!place_is_unused(compute, place, poison))
                        contents_mismatch(&compute->report,
                                          "stale page or missed zero: row %" PRIu32 ", token %" PRIu64
                                          ", layer %" PRIu32 " %c held neither zeros nor this worker's poison",
                                          sequence->row, token, part / 2, part % 2 ? 'V' : 'K');
        }
}

static void token_write(struct compute *compute, const struct sequence *sequence, uint64_t token, uint32_t part)
{
        const struct geometry *geometry = &compute->places->geometry;
        uint64_t head_stride = compute->places->parts[part].head_stride;
        char *place = place_of(compute, part, sequence->row, token);

        if (compute->verify)
                place_check_unused(compute, sequence, token, part);
        for (uint32_t head = 0; head < geometry->kv_heads; head++)
                values_fill(place + head * head_stride, compute->head_bytes, value_seed(sequence, token, part, head),
                            compute->keep, compute->base);
        if (!compute->verify)
                return;
        for (uint32_t head = 0; head < geometry->kv_heads; head++)
                values_fill(shadow_of(compute, part, sequence->row, token) + (size_t)head * compute->head_bytes,
                            compute->head_bytes, value_seed(sequence, token, part, head), compute->keep, compute->base);
}

static struct attention_tensor tensor_in_cache(const struct compute *compute, uint32_t part, uint32_t row)
{
        const struct place *place = &compute->places->parts[part];

        return (struct attention_tensor){
                .data = place_of(compute, part, row, 0),
                .token_stride = place->token_stride / compute->element_bytes,
                .head_stride = place->head_stride / compute->element_bytes,
                .dim = compute->places->geometry.head_dim,
        };
}

static struct attention_tensor tensor_in_shadow(const struct compute *compute, uint32_t part, uint32_t row)
{
        return (struct attention_tensor){
                .data = shadow_of(compute, part, row, 0),
                .token_stride = compute->vector_bytes / compute->element_bytes,
                .head_stride = compute->places->geometry.head_dim,
                .dim = compute->places->geometry.head_dim,
        };
}

static const struct kernel_pattern query_pattern = KERNEL_PATTERN_FP32;

/* The query of one token attends to it and all before it, in every layer. `decoded`: the output goes into the checksum,
 * which thus has each generated token once, whatever was recomputed. */
static int token_attend(struct compute *compute, const struct sequence *sequence, uint64_t token, bool decoded)
{
        const struct geometry *geometry = &compute->places->geometry;
        struct attention attention = {
                .type = geometry->type,
                .tokens = token + 1,
                .kv_heads = geometry->kv_heads,
                .queries_per_head = geometry->query_heads / geometry->kv_heads,
                .scale = 1.0f / sqrtf((float)geometry->head_dim),
                .queries = compute->queries,
        };

        for (uint32_t layer = 0; layer < geometry->layers; layer++) {
                uint32_t key = 2 * layer, value = 2 * layer + 1;
                int r;

                values_fill((char *)compute->queries, compute->output_bytes,
                            value_seed(sequence, token, KERNEL_QUERY_PART + layer, 0), query_pattern.keep,
                            query_pattern.base);
                attention.keys = tensor_in_cache(compute, key, sequence->row);
                attention.values = tensor_in_cache(compute, value, sequence->row);
                r = attention_decode(&attention, compute->output);
                if (r < 0)
                        return r;
                if (decoded)
                        for (size_t i = 0; i < compute->output_bytes / sizeof(float); i++) {
                                uint32_t bits;

                                memcpy(&bits, &compute->output[i], sizeof(bits));
                                compute->report.checksum += hash_fold(value_seed(sequence, token, layer, 0) + i, bits);
                        }
                if (!compute->verify)
                        continue;
                attention.keys = tensor_in_shadow(compute, key, sequence->row);
                attention.values = tensor_in_shadow(compute, value, sequence->row);
                r = attention_decode(&attention, compute->expected);
                if (r < 0)
                        return r;
                if (memcmp(compute->output, compute->expected, compute->output_bytes) != 0)
                        contents_mismatch(&compute->report,
                                          "attention differs: row %" PRIu32 ", request %" PRIu32 ", token %" PRIu64
                                          ", layer %" PRIu32,
                                          sequence->row, sequence->request->id, token, layer);
        }
        return 0;
}

static int compute_begin(void *data, const struct sequence *sequence, uint64_t most_tokens)
{
        struct compute *compute = data;
        struct shadow *shadow = &compute->shadows[sequence->row];

        assert(sequence->row < compute->n_rows);
        assert(!shadow->data);

        if (!compute->verify)
                return 0;
        shadow->data = malloc(most_tokens * compute->vector_bytes * compute->places->n_parts);
        shadow->most_tokens = most_tokens;
        return shadow->data ? 0 : -ENOBUFS; /* plain memory: not what the engine may preempt for */
}

static int compute_write(void *data, const struct sequence *sequence, uint64_t from)
{
        struct compute *compute = data;
        bool decoded = from > 0;
        int r;

        assert(from < sequence->length);

        for (uint64_t token = from; token < sequence->length; token++) {
                for (uint32_t part = 0; part < compute->places->n_parts; part++)
                        token_write(compute, sequence, token, part);
                if ((token + 1) % PREFILL_CHUNK_TOKENS != 0 && token + 1 != sequence->length)
                        continue;
                r = token_attend(compute, sequence, token, decoded);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compute_end(void *data, const struct sequence *sequence)
{
        struct compute *compute = data;
        const struct places *places = compute->places;
        struct shadow *shadow = &compute->shadows[sequence->row];

        if (!compute->verify)
                return 0;
        for (uint64_t token = 0; token < sequence->length; token++)
                for (uint32_t part = 0; part < places->n_parts; part++) {
                        const char *expected = shadow_of(compute, part, sequence->row, token);
                        char *place = place_of(compute, part, sequence->row, token);
                        uint64_t poison = poison_word(compute, sequence->row, token, part);

                        for (uint32_t head = 0; head < places->geometry.kv_heads; head++) {
                                char *found = place + head * places->parts[part].head_stride;

                                if (memcmp(found, expected + (size_t)head * compute->head_bytes, compute->head_bytes) !=
                                    0)
                                        contents_mismatch(&compute->report,
                                                          "wrong page: row %" PRIu32 ", request %" PRIu32
                                                          ", token %" PRIu64 ", layer %" PRIu32
                                                          " %c is not what was written",
                                                          sequence->row, sequence->request->id, token, part / 2,
                                                          part % 2 ? 'V' : 'K');
                                word_fill(found, compute->head_bytes, poison);
                        }
                }
        free(shadow->data);
        *shadow = (struct shadow){ 0 };
        return 0;
}

static const struct contents_ops compute_ops = {
        .begin = compute_begin,
        .write = compute_write,
        .end = compute_end,
        .free = compute_free,
};

int compute_new(const struct places *places, uint32_t max_seqs, bool verify, struct contents *ret_contents)
{
        static const struct kernel_pattern patterns[] = {
                [ATTENTION_FP16] = KERNEL_PATTERN_FP16,
                [ATTENTION_BF16] = KERNEL_PATTERN_BF16,
                [ATTENTION_FP32] = KERNEL_PATTERN_FP32,
        };
        const struct geometry *geometry = &places->geometry;
        struct compute *compute;

        compute = calloc(1, sizeof(*compute));
        if (!compute)
                return -ENOMEM;
        *compute = (struct compute){
                .places = places,
                .verify = verify,
                .element_bytes = geometry_element_bytes(geometry),
                .head_bytes = geometry->head_dim * geometry_element_bytes(geometry),
                .vector_bytes = geometry->kv_heads * geometry->head_dim * geometry_element_bytes(geometry),
                .keep = patterns[geometry->type].keep,
                .base = patterns[geometry->type].base,
                .n_rows = max_seqs,
                .shadows = calloc(max_seqs, sizeof(struct shadow)),
                .output_bytes = (size_t)geometry->query_heads * geometry->head_dim * sizeof(float),
        };
        compute->queries = malloc(compute->output_bytes);
        compute->output = malloc(compute->output_bytes);
        compute->expected = malloc(compute->output_bytes);
        if (!compute->shadows || !compute->queries || !compute->output || !compute->expected) {
                compute_free(compute);
                return -ENOMEM;
        }
        *ret_contents = (struct contents){ .ops = &compute_ops, .data = compute, .report = &compute->report };
        return 0;
}
