/* SPDX-License-Identifier: MIT
 *
 * geometry.h -- the shape of a model's KV cache, by name or spelled out, and what it takes in bytes and pages.
 */
#ifndef KVPAGER_REPLAY_GEOMETRY_H
#define KVPAGER_REPLAY_GEOMETRY_H

#include <kvpager.h>
#include <stdint.h>

#include "attention.h"
#include "complaint.h"

struct geometry {
        char name[48];
        uint32_t layers, kv_heads, head_dim;
        uint32_t query_heads; /* a multiple of kv_heads */
        enum attention_type type;
};

/* A known name, or "layers=4,kv_heads=2,head_dim=64[,query_heads=2][,type=fp16|bf16|fp32]". -EINVAL. */
int geometry_parse(const char *text, struct geometry *ret_geometry, struct complaint *complaint);

/* The known names, separated by blanks. */
const char *geometry_names(void);

/* "per-layer", "token-major", "token-major-fused". -EINVAL. */
int layout_parse(const char *text, enum kvp_layout *ret_layout, struct complaint *complaint);
const char *layout_name(enum kvp_layout layout);

uint32_t geometry_element_bytes(const struct geometry *geometry);

/* Bytes of one token in all layers, K and V. */
uint64_t geometry_token_bytes(const struct geometry *geometry);

/* Planes that a layout cuts a cache into. */
uint32_t geometry_planes(const struct geometry *geometry, enum kvp_layout layout);

/* Pages that a sequence of that many tokens takes: each plane's share of a row begins on a page. */
uint64_t geometry_pages(const struct geometry *geometry, enum kvp_layout layout, uint64_t page_size, uint64_t tokens);

#endif
