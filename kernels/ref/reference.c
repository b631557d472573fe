/* SPDX-License-Identifier: MIT
 *
 * reference.c -- see reference.h.
 */
#include "reference.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "kernels.h"

static void *pointer(uint64_t address)
{
        return (void *)(uintptr_t)address;
}

static uint32_t element_bytes(enum attention_type type)
{
        return type == ATTENTION_FP32 ? 4 : 2;
}

/* ---- attention ---- */

/* A paged sequence's tokens, one after the other. NULL: no memory. */
static char *gather(const struct kernel_attention *a, const struct kernel_tensor *t, uint32_t element,
                    uint32_t sequence, uint64_t tokens)
{
        const uint32_t *blocks = (const uint32_t *)pointer(a->blocks) + (uint64_t)sequence * a->blocks_per_row;
        const size_t head_bytes = (size_t)t->dim * element;
        char *dense = malloc(tokens * a->kv_heads * head_bytes);

        for (uint64_t token = 0; dense && token < tokens; token++)
                for (uint32_t head = 0; head < a->kv_heads; head++)
                        memcpy(dense + (token * a->kv_heads + head) * head_bytes,
                               (const char *)pointer(t->data) + blocks[token / a->block_tokens] * t->row_stride +
                                       token % a->block_tokens * t->token_stride + head * t->head_stride,
                               head_bytes);
        return dense;
}

static struct attention_tensor tensor_of(const struct kernel_attention *a, const struct kernel_tensor *t,
                                         uint32_t element, uint32_t row, const char *dense)
{
        return (struct attention_tensor){
                .data = dense ? dense : (const char *)pointer(t->data) + row * t->row_stride,
                .token_stride = dense ? (uint64_t)a->kv_heads * t->dim : t->token_stride / element,
                .head_stride = dense ? t->dim : t->head_stride / element,
                .dim = t->dim,
        };
}

static int attend_sequence(const struct kernel_attention *a, enum attention_type type, bool paged, uint32_t sequence)
{
        const uint32_t element = element_bytes(type);
        const uint32_t length = a->lengths ? ((const uint32_t *)pointer(a->lengths))[sequence] : a->length;
        const uint32_t row = a->rows ? ((const uint32_t *)pointer(a->rows))[sequence] : a->first_row + sequence;
        char *keys = paged ? gather(a, &a->keys, element, sequence, length) : NULL;
        char *values = paged ? gather(a, &a->values, element, sequence, length) : NULL;
        struct attention attention = {
                .type = type,
                .keys = tensor_of(a, &a->keys, element, row, keys),
                .values = tensor_of(a, &a->values, element, row, values),
                .kv_heads = a->kv_heads,
                .queries_per_head = a->queries_per_head,
                .scale = a->scale,
        };
        int r = (paged && (!keys || !values)) ? -ENOMEM : length < a->query_tokens ? -EINVAL : 0;

        for (uint32_t i = 0; r == 0 && i < a->query_tokens; i++) {
                const uint64_t at = ((uint64_t)sequence * a->query_tokens + i) * a->kv_heads * a->queries_per_head;

                attention.tokens = length - a->query_tokens + i + 1;
                attention.queries = (const float *)pointer(a->queries) + at * a->keys.dim;
                r = attention_decode(&attention, (float *)pointer(a->output) + at * a->values.dim);
        }
        free(keys);
        free(values);
        return r;
}

static int attend(const void *parameters, enum attention_type type, bool paged)
{
        const struct kernel_attention *a = parameters;
        int r = a->splits > 0 && a->tile_tokens > 0 ? 0 : -EINVAL;

        for (uint32_t sequence = 0; r == 0 && sequence < a->batch; sequence++)
                r = attend_sequence(a, type, paged, sequence);
        return r;
}

static int fp16(const void *parameters)
{
        return attend(parameters, ATTENTION_FP16, false);
}

static int bf16(const void *parameters)
{
        return attend(parameters, ATTENTION_BF16, false);
}

static int fp32(const void *parameters)
{
        return attend(parameters, ATTENTION_FP32, false);
}

static int paged_fp16(const void *parameters)
{
        return attend(parameters, ATTENTION_FP16, true);
}

static int paged_bf16(const void *parameters)
{
        return attend(parameters, ATTENTION_BF16, true);
}

static int paged_fp32(const void *parameters)
{
        return attend(parameters, ATTENTION_FP32, true);
}

static int combine(const void *parameters)
{
        (void)parameters;
        return 0;
}

/* ---- contents ---- */

/* One head of one token in one part. */
struct item {
        uint64_t token;
        uint32_t part, head;
        char *place, *shadow; /* shadow NULL: there is none */
};

static void report(uint64_t *count, uint64_t *first, const struct item *item)
{
        const uint64_t place = kernel_place(item->part, item->token, item->head);

        ++*count;
        if (place < *first)
                *first = place;
}

static void fill_head(const struct kernel_contents *c, const struct item *item)
{
        const uint64_t seed = kernel_value_seed(c->request, item->token, c->first_part + item->part, item->head);
        const uint64_t poison = kernel_poison_word(c->worker, c->row, item->token, item->part);
        struct kernel_report *found = pointer(c->report);

        for (uint32_t at = 0; at < c->head_bytes; at += 8) {
                const uint64_t value = kernel_value_word(seed, at / 8, c->keep, c->base);
                const uint32_t bytes = c->head_bytes - at < 8 ? c->head_bytes - at : 8;
                bool stale = false;

                for (uint32_t e = 0; e < bytes; e += c->element_bytes) {
                        static const char zero[8];

                        stale |= memcmp(item->place + at + e, zero, c->element_bytes) != 0 &&
                                 memcmp(item->place + at + e, (const char *)&poison + e, c->element_bytes) != 0;
                }
                if (stale && c->shadow)
                        report(&found->stale, &found->first_stale, item);
                memcpy(item->place + at, &value, bytes);
                if (item->shadow)
                        memcpy(item->shadow + at, &value, bytes);
        }
}

static void check_head(const struct kernel_contents *c, const struct item *item)
{
        const uint64_t poison = kernel_poison_word(c->worker, c->row, item->token, item->part);
        struct kernel_report *found = pointer(c->report);

        for (uint32_t at = 0; at < c->head_bytes; at += 8) {
                const uint32_t bytes = c->head_bytes - at < 8 ? c->head_bytes - at : 8;

                if (memcmp(item->place + at, item->shadow + at, bytes) != 0)
                        report(&found->mismatches, &found->first, item);
                memcpy(item->place + at, &poison, bytes);
        }
}

static void each_head(const struct kernel_contents *c,
                      void (*visit)(const struct kernel_contents *, const struct item *))
{
        const struct kernel_tensor *parts = pointer(c->parts);

        for (uint64_t token = c->from; token < c->to; token++)
                for (uint32_t part = 0; part < c->n_parts; part++)
                        for (uint32_t head = 0; head < c->heads; head++) {
                                const struct kernel_tensor *t = &parts[part];
                                const uint64_t at = ((part * c->most_tokens + token) * c->heads + head) * c->head_bytes;

                                visit(c,
                                      &(struct item){ .token = token,
                                                      .part = part,
                                                      .head = head,
                                                      .place = (char *)pointer(t->data) + c->row * t->row_stride +
                                                               token * t->token_stride + head * t->head_stride,
                                                      .shadow = c->shadow ? (char *)pointer(c->shadow) + at : NULL });
                        }
}

static int fill(const void *parameters)
{
        each_head(parameters, fill_head);
        return 0;
}

static int check(const void *parameters)
{
        const struct kernel_contents *c = parameters;

        if (!c->shadow)
                return -EINVAL;
        each_head(c, check_head);
        return 0;
}

static int compare(const void *parameters)
{
        const struct kernel_compare *c = parameters;
        const uint32_t *found = pointer(c->found), *expected = pointer(c->expected);
        struct kernel_report *into = pointer(c->report);

        for (uint32_t layer = 0; layer < c->layers; layer++)
                for (uint32_t i = 0; i < c->n; i++) {
                        const uint64_t at = (uint64_t)layer * c->n + i;

                        if (expected && found[at] != expected[at])
                                report(&into->mismatches, &into->first,
                                       &(struct item){ .token = c->token, .part = 2 * layer });
                        if (c->count)
                                into->checksum += hash_fold(kernel_value_seed(c->request, c->token, layer, 0) + i,
                                                            found[at]);
                }
        return 0;
}

/* ---- by name ---- */

static const struct {
        const char *name;
        int (*run)(const void *parameters);
} references[] = {
        { "kvp_attention_fp16", fp16 },
        { "kvp_attention_bf16", bf16 },
        { "kvp_attention_fp32", fp32 },
        { "kvp_attention_paged_fp16", paged_fp16 },
        { "kvp_attention_paged_bf16", paged_bf16 },
        { "kvp_attention_paged_fp32", paged_fp32 },
        { "kvp_combine", combine },
        { "kvp_fill", fill },
        { "kvp_check", check },
        { "kvp_compare", compare },
};

#define N_REFERENCES (sizeof(references) / sizeof(references[0]))

bool kernel_reference_exists(const char *name)
{
        for (size_t i = 0; i < N_REFERENCES; i++)
                if (strcmp(references[i].name, name) == 0)
                        return true;
        return false;
}

int kernel_reference(const char *name, const void *parameters)
{
        for (size_t i = 0; i < N_REFERENCES; i++)
                if (strcmp(references[i].name, name) == 0)
                        return references[i].run(parameters);
        return -ENOENT;
}
