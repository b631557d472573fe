/* SPDX-License-Identifier: MIT
 *
 * geometry.c -- see geometry.h. The bounds keep every product of this replay within 64 bits.
 */
#include "geometry.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "number.h"
#include "trace.h"

#define LAYERS_MAX KVP_MAX_LAYERS
#define HEADS_MAX  1024u

static const struct geometry known[] = {
        { "tiny", 4, 2, 64, 2, ATTENTION_FP16 },
        { "llama2-7b", 32, 32, 128, 32, ATTENTION_FP16 },
        { "llama3-8b", 32, 8, 128, 32, ATTENTION_FP16 },
        { "llama3-70b", 80, 8, 128, 64, ATTENTION_FP16 },
        { "llama3-405b", 126, 8, 128, 128, ATTENTION_BF16 },
        { "mistral-7b", 32, 8, 128, 32, ATTENTION_BF16 },
        { "qwen2.5-7b", 28, 4, 128, 28, ATTENTION_BF16 },
        { "qwen2.5-32b", 64, 8, 128, 40, ATTENTION_BF16 },
};

static const struct {
        const char *name;
        enum attention_type type;
} types[] = {
        { "fp16", ATTENTION_FP16 },
        { "bf16", ATTENTION_BF16 },
        { "fp32", ATTENTION_FP32 },
};

static const char *const layouts[] = {
        [KVP_LAYOUT_PER_LAYER] = "per-layer",
        [KVP_LAYOUT_TOKEN_MAJOR] = "token-major",
        [KVP_LAYOUT_TOKEN_MAJOR_FUSED] = "token-major-fused",
};

const char *geometry_names(void)
{
        return "tiny llama2-7b llama3-8b llama3-70b llama3-405b mistral-7b qwen2.5-7b qwen2.5-32b";
}

static int geometry_set(struct geometry *geometry, const char *key, const char *value, struct complaint *complaint)
{
        const struct {
                const char *key;
                uint32_t *field;
                uint64_t most;
        } numbers[] = {
                { "layers", &geometry->layers, LAYERS_MAX },
                { "kv_heads", &geometry->kv_heads, HEADS_MAX },
                { "head_dim", &geometry->head_dim, ATTENTION_DIM_MAX },
                { "query_heads", &geometry->query_heads, (uint64_t)ATTENTION_QUERIES_PER_HEAD_MAX * HEADS_MAX },
        };
        uint64_t number;

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                if (strcmp(key, numbers[i].key) != 0)
                        continue;
                if (*numbers[i].field != 0)
                        return complain(complaint, -EINVAL, "geometry: '%s' is given twice", key);
                if (number_parse(value, 1, numbers[i].most, &number) < 0)
                        return complain(complaint, -EINVAL, "geometry: '%s' must be from 1 to %ju, not '%s'", key,
                                        (uintmax_t)numbers[i].most, value);
                *numbers[i].field = (uint32_t)number;
                return 0;
        }
        if (strcmp(key, "type") != 0)
                return complain(complaint, -EINVAL, "geometry: unknown key '%s'", key);
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                if (strcmp(value, types[i].name) == 0) {
                        geometry->type = types[i].type;
                        return 0;
                }
        return complain(complaint, -EINVAL, "geometry: 'type' is one of fp16, bf16, fp32, not '%s'", value);
}

static int geometry_parse_keys(char *text, struct geometry *ret_geometry, struct complaint *complaint)
{
        struct geometry geometry = { .type = ATTENTION_FP16 };
        char *rest = NULL;

        for (char *item = strtok_r(text, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
                char *value = strchr(item, '=');
                int r;

                if (!value)
                        return complain(complaint, -EINVAL, "geometry: '%s' is neither a known name nor KEY=VALUE (%s)",
                                        item, geometry_names());
                *value++ = '\0';
                r = geometry_set(&geometry, item, value, complaint);
                if (r < 0)
                        return r;
        }
        if (geometry.layers == 0 || geometry.kv_heads == 0 || geometry.head_dim == 0)
                return complain(complaint, -EINVAL, "geometry: layers, kv_heads and head_dim are all needed");
        if (geometry.query_heads == 0)
                geometry.query_heads = geometry.kv_heads;
        if (geometry.query_heads % geometry.kv_heads != 0 ||
            geometry.query_heads / geometry.kv_heads > ATTENTION_QUERIES_PER_HEAD_MAX)
                return complain(complaint, -EINVAL, "geometry: query_heads must be 1 to %u times kv_heads",
                                ATTENTION_QUERIES_PER_HEAD_MAX);
        (void)snprintf(geometry.name, sizeof(geometry.name), "%ux%ux%u", geometry.layers, geometry.kv_heads,
                       geometry.head_dim);
        *ret_geometry = geometry;
        return 0;
}

int geometry_parse(const char *text, struct geometry *ret_geometry, struct complaint *complaint)
{
        char copy[256];

        assert(text);
        assert(ret_geometry);

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strcmp(text, known[i].name) == 0) {
                        *ret_geometry = known[i];
                        return 0;
                }
        if (strlen(text) >= sizeof(copy))
                return complain(complaint, -EINVAL, "geometry: more than %zu characters", sizeof(copy) - 1);
        (void)strcpy(copy, text);
        return geometry_parse_keys(copy, ret_geometry, complaint);
}

int layout_parse(const char *text, enum kvp_layout *ret_layout, struct complaint *complaint)
{
        for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
                if (strcmp(text, layouts[i]) == 0) {
                        *ret_layout = (enum kvp_layout)i;
                        return 0;
                }
        return complain(complaint, -EINVAL, "layout: '%s' is none of per-layer, token-major, token-major-fused", text);
}

const char *layout_name(enum kvp_layout layout)
{
        assert((size_t)layout < sizeof(layouts) / sizeof(layouts[0]));
        return layouts[layout];
}

uint32_t geometry_element_bytes(const struct geometry *geometry)
{
        return geometry->type == ATTENTION_FP32 ? 4 : 2;
}

uint64_t geometry_token_bytes(const struct geometry *geometry)
{
        return UINT64_C(2) * geometry->layers * geometry->kv_heads * geometry->head_dim *
               geometry_element_bytes(geometry);
}

uint32_t geometry_planes(const struct geometry *geometry, enum kvp_layout layout)
{
        switch (layout) {
        case KVP_LAYOUT_PER_LAYER:
                return 2 * geometry->layers;
        case KVP_LAYOUT_TOKEN_MAJOR:
                return 2;
        case KVP_LAYOUT_TOKEN_MAJOR_FUSED:
                return 1;
        }
        return 0;
}

uint64_t geometry_pages(const struct geometry *geometry, enum kvp_layout layout, uint64_t page_size, uint64_t tokens)
{
        uint32_t planes = geometry_planes(geometry, layout);
        uint64_t bytes;

        assert(planes > 0 && page_size > 0);
        assert(tokens <= UINT64_C(2) * TRACE_TOKENS_MAX);

        bytes = tokens * (geometry_token_bytes(geometry) / planes);
        return planes * (bytes / page_size + (bytes % page_size > 0));
}
