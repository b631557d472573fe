/* SPDX-License-Identifier: MIT
 *
 * layout.c -- planes, plane classes and tensors of a geometry.
 *
 *      layout          planes of a group            a token in a plane
 *      per layer       one a layer and part         heads x dim
 *      token-major     one a part                   layers x heads x dim
 *      fused           one                          layers x (K heads x dim, V heads x dim)
 *
 * Once layout_init() has returned 0, nothing that is computed from the layout and from tokens up to max_tokens can
 * overflow: the reservation's size was checked, and everything else lies within it.
 */
#include "layout.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "util.h"

static bool group_is_sane(const struct kvp_layer_group *group)
{
        const uint32_t bits = group->element_bits;

        return group->layers >= 1 && group->layers <= KVP_MAX_LAYERS && group->kv_heads >= 1 && group->head_dim >= 1 &&
               (bits == 4 || bits == 8 || bits == 16 || bits == 32) &&
               (group->parts == KVP_PARTS_KV || group->parts == KVP_PARTS_K);
}

static bool geometry_is_sane(const struct kvp_geometry *geometry)
{
        return geometry->layout <= KVP_LAYOUT_TOKEN_MAJOR_FUSED && geometry->max_seqs >= 1 &&
               geometry->max_seqs <= KVP_MAX_SEQS && geometry->n_groups >= 1 && geometry->n_groups <= KVP_MAX_GROUPS &&
               geometry->groups && geometry->max_tokens >= 1;
}

/* heads * dim * bits / 8; -EINVAL where that is no whole number. */
static int part_bytes(uint32_t heads, uint32_t dim, uint32_t bits, uint64_t *ret)
{
        uint64_t total;

        if (__builtin_mul_overflow((uint64_t)heads * dim, (uint64_t)bits, &total))
                return -EOVERFLOW;
        if (total % 8 != 0)
                return -EINVAL;
        *ret = total / 8;
        return 0;
}

/* Appends `planes` planes whose tokens have `token_bytes` to the reservation, in classes. */
static int add_planes(struct layout *layout, uint32_t group, uint64_t planes, uint64_t token_bytes,
                      uint64_t *ret_row_bytes, uint64_t *ret_offset, uint64_t *ret_plane_bytes)
{
        const uint64_t page = UINT64_C(1) << layout->page_shift, offset = layout->total_bytes;
        uint64_t tokens, row_bytes, plane_bytes, bytes;

        assert(planes >= 1 && token_bytes >= 1);
        if (__builtin_add_overflow(layout->max_tokens, layout->overread_tokens, &tokens) ||
            __builtin_mul_overflow(tokens, token_bytes, &row_bytes) ||
            __builtin_add_overflow(row_bytes, page - 1, &row_bytes))
                return -EOVERFLOW;
        row_bytes &= ~(page - 1);
        if (__builtin_mul_overflow(row_bytes, (uint64_t)layout->rows, &plane_bytes) ||
            __builtin_mul_overflow(plane_bytes, planes, &bytes) ||
            __builtin_add_overflow(layout->total_bytes, bytes, &layout->total_bytes) ||
            layout->total_bytes > UINT64_MAX / 2 - page)
                return -EOVERFLOW;
        if (row_bytes >> layout->page_shift > UINT32_MAX)
                return -ENOMEM;
        for (uint64_t first = 0; first < planes; first += WIRE_MAX_PLANES) {
                if (layout->n_classes == WIRE_MAX_CLASSES)
                        return -ENOMEM;
                layout->classes[layout->n_classes++] = (struct layout_class){
                        .group = group,
                        .planes = (uint32_t)min_u64(planes - first, WIRE_MAX_PLANES),
                        .row_pages = (uint32_t)(row_bytes >> layout->page_shift),
                        .token_bytes = token_bytes,
                        .row_bytes = row_bytes,
                        .offset = offset + first * plane_bytes,
                        .plane_bytes = plane_bytes,
                };
        }
        layout->tokens_per_page = min_u64(layout->tokens_per_page, max_u64(page / token_bytes, 1));
        *ret_row_bytes = row_bytes;
        *ret_offset = offset;
        *ret_plane_bytes = plane_bytes;
        return 0;
}

static int group_fused(struct layout *layout, uint32_t index)
{
        struct layout_group *group = &layout->groups[index];
        uint64_t plane_bytes, token;
        int r;

        if (__builtin_add_overflow(group->part_bytes[KVP_K], group->part_bytes[KVP_V], &token) ||
            __builtin_mul_overflow(token, (uint64_t)group->shape.layers, &token))
                return -EOVERFLOW;
        r = add_planes(layout, index, 1, token, &group->row_bytes[KVP_K], &group->offset[KVP_K], &plane_bytes);
        if (r < 0)
                return r;
        group->row_bytes[KVP_V] = group->row_bytes[KVP_K];
        group->offset[KVP_V] = group->offset[KVP_K];
        group->token_bytes[KVP_K] = group->token_bytes[KVP_V] = token;
        return 0;
}

/* Per layer and token-major: planes of K and V side by side where they are alike, else those of K and then those of V.
 */
static int group_parted(struct layout *layout, uint32_t index)
{
        struct layout_group *group = &layout->groups[index];
        const bool per_layer = layout->kind == KVP_LAYOUT_PER_LAYER,
                   alike = group->part_bytes[KVP_K] == group->part_bytes[KVP_V];
        const uint32_t parts = group->shape.parts == KVP_PARTS_K ? 1 : 2, layers = group->shape.layers;
        const uint64_t planes = per_layer ? layers : 1;

        for (uint32_t part = 0; part < parts; part++) {
                uint64_t plane_bytes;
                int r;

                if (__builtin_mul_overflow(group->part_bytes[part], per_layer ? UINT64_C(1) : layers,
                                           &group->token_bytes[part]))
                        return -EOVERFLOW;
                if (part == KVP_V && alike) { /* came with those of K */
                        group->row_bytes[KVP_V] = group->row_bytes[KVP_K];
                        group->layer_step[KVP_V] = group->layer_step[KVP_K];
                        group->offset[KVP_V] = group->offset[KVP_K] + group->row_bytes[KVP_K] * layout->rows;
                        break;
                }
                r = add_planes(layout, index, alike ? 2 * planes : planes, group->token_bytes[part],
                               &group->row_bytes[part], &group->offset[part], &plane_bytes);
                if (r < 0)
                        return r;
                group->layer_step[part] = per_layer ? (alike ? 2 : 1) * plane_bytes : 0;
        }
        return 0;
}

int layout_init(struct layout *ret, const struct kvp_geometry *geometry, uint64_t page_size)
{
        struct layout layout = { 0 };

        assert(is_power_of_two(page_size));
        if (!geometry_is_sane(geometry))
                return -EINVAL;
        layout.device = geometry->device;
        layout.kind = geometry->layout;
        layout.rows = geometry->max_seqs;
        layout.n_groups = geometry->n_groups;
        layout.page_shift = (uint32_t)__builtin_ctzll(page_size);
        layout.max_tokens = geometry->max_tokens;
        layout.overread_tokens = geometry->overread_tokens;
        layout.tokens_per_page = UINT64_MAX;
        for (uint32_t i = 0; i < geometry->n_groups; i++) {
                struct layout_group *group = &layout.groups[i];
                struct kvp_layer_group *shape = &group->shape;
                int r;

                *shape = geometry->groups[i];
                if (!group_is_sane(shape))
                        return -EINVAL;
                if (shape->v_head_dim == 0)
                        shape->v_head_dim = shape->head_dim;
                r = part_bytes(shape->kv_heads, shape->head_dim, shape->element_bits, &group->part_bytes[KVP_K]);
                if (r >= 0 && shape->parts == KVP_PARTS_KV)
                        r = part_bytes(shape->kv_heads, shape->v_head_dim, shape->element_bits,
                                       &group->part_bytes[KVP_V]);
                if (r >= 0)
                        r = layout.kind == KVP_LAYOUT_TOKEN_MAJOR_FUSED ? group_fused(&layout, i)
                                                                        : group_parted(&layout, i);
                if (r < 0)
                        return r;
        }
        assert(layout.n_classes >= 1);
        *ret = layout;
        return 0;
}

int layout_tensor(const struct layout *layout, void *base, uint32_t group, uint32_t layer, enum kvp_part part,
                  struct kvp_tensor *ret)
{
        const struct layout_group *g;
        uint64_t within_token = 0;

        if (group >= layout->n_groups || (part != KVP_K && part != KVP_V))
                return -ENOENT;
        g = &layout->groups[group];
        if (layer >= g->shape.layers || (part == KVP_V && g->shape.parts == KVP_PARTS_K))
                return -ENOENT;
        if (layout->kind == KVP_LAYOUT_TOKEN_MAJOR)
                within_token = layer * g->part_bytes[part];
        else if (layout->kind == KVP_LAYOUT_TOKEN_MAJOR_FUSED)
                within_token = layer * (g->part_bytes[KVP_K] + g->part_bytes[KVP_V]) +
                               (part == KVP_V ? g->part_bytes[KVP_K] : 0);
        else
                assert(layout->kind == KVP_LAYOUT_PER_LAYER);

        const uint32_t bits = g->shape.element_bits, dim = part == KVP_V ? g->shape.v_head_dim : g->shape.head_dim;

        *ret = (struct kvp_tensor){
                .data = (char *)base + g->offset[part] + layer * g->layer_step[part] + within_token,
                .n_dims = 4,
                .shape = { layout->rows, layout->max_tokens, g->shape.kv_heads, dim },
                .stride = { g->row_bytes[part] / bits * 8, g->token_bytes[part] * 8 / bits, dim, 1 },
                .element_bits = bits,
        };
        return 0;
}
