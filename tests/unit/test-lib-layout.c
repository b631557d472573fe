/* SPDX-License-Identifier: MIT
 *
 * test-lib-layout.c -- where every element of a cache lies, against counting it out: geometries at random, with odd
 * sizes that divide nothing, in all layouts, element by element.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

#define PAGE UINT64_C(4096)

static uint64_t state = 1;

static uint32_t draw(uint32_t from, uint32_t to)
{
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return from + (uint32_t)((state >> 33) % (to - from + 1));
}

/* The cache under test, and a mark for each four bits of it: no two elements may share one. */
struct counted {
        struct layout layout;
        uint8_t *used;
        char *base; /* any address: nothing is touched */
};

static struct kvp_tensor tensor(const struct counted *c, uint32_t group, uint32_t layer, enum kvp_part part)
{
        struct kvp_tensor t;

        cr_assert_eq(layout_tensor(&c->layout, c->base, group, layer, part, &t), 0);
        return t;
}

/* In bits from the start of the reservation. */
static uint64_t place_of(const struct counted *c, const struct kvp_tensor *t, uint64_t row, uint64_t token,
                         uint64_t head, uint64_t dim)
{
        const uint64_t start = (uint64_t)((char *)t->data - c->base) * 8;

        return start +
               (row * t->stride[0] + token * t->stride[1] + head * t->stride[2] + dim * t->stride[3]) * t->element_bits;
}

/* Counts out one layer's part of one token, heads by heads and dims by dims, from bit `at`. Returns the bit after it.
 */
static uint64_t count_part(struct counted *c, uint32_t group, uint32_t layer, enum kvp_part part, uint32_t row,
                           uint64_t token, uint64_t at)
{
        const struct kvp_tensor t = tensor(c, group, layer, part);

        for (uint64_t head = 0; head < t.shape[2]; head++)
                for (uint64_t dim = 0; dim < t.shape[3]; dim++) {
                        cr_assert_eq(place_of(c, &t, row, token, head, dim), at);
                        cr_assert_leq(at + t.element_bits, c->layout.total_bytes * 8);
                        for (uint64_t bit = at; bit < at + t.element_bits; bit += 4) {
                                cr_assert_eq(c->used[bit / 4], 0, "two elements share bit %" PRIu64, bit);
                                c->used[bit / 4] = 1;
                        }
                        at += t.element_bits;
                }
        return at;
}

/* The plane that holds `offset`, which is the start of a row in it; checks that there is exactly one, of the right
 * group. */
static const struct layout_class *class_of(const struct counted *c, uint32_t group, uint32_t row, uint64_t offset)
{
        const struct layout_class *found = NULL;

        for (uint32_t i = 0; i < c->layout.n_classes; i++)
                for (uint32_t plane = 0; plane < c->layout.classes[i].planes; plane++)
                        if (layout_offset(&c->layout, &c->layout.classes[i], plane, row, 0) == offset) {
                                cr_assert_null(found, "one row in two planes");
                                found = &c->layout.classes[i];
                        }
        cr_assert_not_null(found);
        cr_assert_eq(found->group, group);
        return found;
}

/* A plane's row: tokens one after the other, each made of the listed (layer, part) pairs; page counts follow. */
static void count_row(struct counted *c, uint32_t group, uint32_t row, const uint32_t (*pieces)[2], uint32_t n)
{
        const struct kvp_tensor first = tensor(c, group, pieces[0][0], (enum kvp_part)pieces[0][1]);
        const uint64_t start = place_of(c, &first, row, 0, 0, 0);
        const struct layout_class *class = class_of(c, group, row, start / 8);
        uint64_t at = start;

        cr_assert_eq(start / 8 % PAGE, 0, "a row does not start on a page");
        cr_assert_eq(layout_pages(&c->layout, class, 0), 0);
        for (uint64_t token = 0; token < c->layout.max_tokens; token++) {
                uint64_t reach;

                for (uint32_t i = 0; i < n; i++)
                        at = count_part(c, group, pieces[i][0], (enum kvp_part)pieces[i][1], row, token, at);
                cr_assert_eq((at - start) / 8, (token + 1) * class->token_bytes);
                /* The pages of token + 1 tokens hold them and the overread, and one page less does not. */
                reach = (token + 1 + c->layout.overread_tokens) * class->token_bytes;
                cr_assert_geq(layout_pages(&c->layout, class, token + 1) * PAGE, reach);
                cr_assert_lt((layout_pages(&c->layout, class, token + 1) - 1) * PAGE, reach);
        }
        cr_assert_eq(layout_pages(&c->layout, class, c->layout.max_tokens), class->row_pages);
}

static void count_group(struct counted *c, const struct kvp_layer_group *group, uint32_t index)
{
        const uint32_t parts = group->parts == KVP_PARTS_K ? 1 : 2;
        uint32_t pieces[64][2];

        for (uint32_t row = 0; row < c->layout.rows; row++) {
                switch (c->layout.kind) {
                case KVP_LAYOUT_PER_LAYER:
                        for (uint32_t layer = 0; layer < group->layers; layer++)
                                for (uint32_t part = 0; part < parts; part++)
                                        count_row(c, index, row, (const uint32_t[][2]){ { layer, part } }, 1);
                        break;
                case KVP_LAYOUT_TOKEN_MAJOR:
                        for (uint32_t part = 0; part < parts; part++) {
                                for (uint32_t layer = 0; layer < group->layers; layer++) {
                                        pieces[layer][0] = layer;
                                        pieces[layer][1] = part;
                                }
                                count_row(c, index, row, (const uint32_t(*)[2])pieces, group->layers);
                        }
                        break;
                default:
                        for (uint32_t i = 0; i < group->layers * parts; i++) {
                                pieces[i][0] = i / parts;
                                pieces[i][1] = i % parts;
                        }
                        count_row(c, index, row, (const uint32_t(*)[2])pieces, group->layers * parts);
                }
        }
}

/* Every geometry of the protocol's bounds has classes within them, side by side, that cover the reservation. */
static void check_classes(const struct layout *layout)
{
        uint64_t at = 0;

        for (uint32_t i = 0; i < layout->n_classes; i++) {
                const struct layout_class *class = &layout->classes[i];

                cr_assert(class->planes >= 1 && class->planes <= WIRE_MAX_PLANES);
                cr_assert_eq(class->offset, at);
                cr_assert_eq(class->row_bytes, class->row_pages * (UINT64_C(1) << layout->page_shift));
                cr_assert_eq(class->plane_bytes, class->row_bytes * layout->rows);
                at += class->planes * class->plane_bytes;
        }
        cr_assert_eq(at, layout->total_bytes);
}

Test(layout, agrees_with_counting)
{
        for (int round = 0; round < 300; round++) {
                struct kvp_layer_group groups[3];
                struct kvp_geometry geometry = {
                        .size = sizeof(geometry), .layout = draw(0, 2), .max_seqs = draw(1, 3), .groups = groups
                };
                struct counted c = { .base = (char *)(uintptr_t)(PAGE << 20) };

                geometry.n_groups = draw(1, 3);
                geometry.max_tokens = draw(1, 40);
                geometry.overread_tokens = draw(0, 9);
                for (uint32_t i = 0; i < geometry.n_groups; i++) {
                        groups[i] = (struct kvp_layer_group){
                                .layers = draw(1, 4),
                                .kv_heads = draw(1, 5),
                                .head_dim = draw(1, 33),
                                .v_head_dim = draw(0, 1) ? draw(1, 33) : 0,
                                .element_bits = UINT32_C(4) << draw(0, 3),
                                .parts = draw(0, 1),
                        };
                        if (groups[i].element_bits == 4 && groups[i].kv_heads % 2 == 1) {
                                groups[i].head_dim *= 2;
                                groups[i].v_head_dim *= 2;
                        }
                }
                cr_assert_eq(layout_init(&c.layout, &geometry, PAGE), 0);
                check_classes(&c.layout);
                c.used = calloc(c.layout.total_bytes, 2);
                cr_assert_not_null(c.used);
                for (uint32_t i = 0; i < geometry.n_groups; i++)
                        count_group(&c, &groups[i], i);
                free(c.used);
        }
}

Test(layout, planes_are_what_the_layouts_say)
{
        const struct kvp_layer_group group = { .layers = 32, .kv_heads = 8, .head_dim = 128, .element_bits = 16 };
        struct kvp_geometry geometry = {
                .size = sizeof(geometry), .max_seqs = 4, .n_groups = 1, .max_tokens = 8192, .groups = &group
        };
        struct layout layout;

        geometry.layout = KVP_LAYOUT_PER_LAYER; /* 64 planes, 1,024 tokens a page of 2 MiB */
        cr_assert_eq(layout_init(&layout, &geometry, 2 << 20), 0);
        cr_assert_eq(layout.n_classes, 1);
        cr_assert_eq(layout.classes[0].planes, 64);
        cr_assert_eq(layout.tokens_per_page, 1024);
        geometry.layout = KVP_LAYOUT_TOKEN_MAJOR; /* 2 planes, 32 tokens a page */
        cr_assert_eq(layout_init(&layout, &geometry, 2 << 20), 0);
        cr_assert_eq(layout.classes[0].planes, 2);
        cr_assert_eq(layout.tokens_per_page, 32);
        geometry.layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED; /* one plane of 128 KiB a token */
        cr_assert_eq(layout_init(&layout, &geometry, 2 << 20), 0);
        cr_assert_eq(layout.classes[0].planes, 1);
        cr_assert_eq(layout.classes[0].row_pages, 512);
        cr_assert_eq(layout.tokens_per_page, 16);
}

Test(layout, long_groups_are_cut_into_classes)
{
        const struct kvp_layer_group groups[2] = {
                { .layers = 100,
                  .kv_heads = 2,
                  .head_dim = 3,
                  .v_head_dim = 5,
                  .element_bits = 8 },                                              /* K: 64 + 36; V the same */
                { .layers = 65, .kv_heads = 1, .head_dim = 7, .element_bits = 32 }, /* 130 alike: 64 + 64 + 2 */
        };
        const struct kvp_geometry geometry = {
                .size = sizeof(geometry), .max_seqs = 2, .n_groups = 2, .max_tokens = 999, .groups = groups
        };
        static const uint32_t planes[] = { 64, 36, 64, 36, 64, 64, 2 };
        struct layout layout;

        cr_assert_eq(layout_init(&layout, &geometry, PAGE), 0);
        cr_assert_eq(layout.n_classes, 7);
        for (uint32_t i = 0; i < 7; i++)
                cr_assert_eq(layout.classes[i].planes, planes[i]);
        check_classes(&layout);
}

static int init_with(const struct kvp_geometry *change, const struct kvp_layer_group *group)
{
        static const struct kvp_layer_group sane = { .layers = 1, .kv_heads = 1, .head_dim = 8, .element_bits = 8 };
        struct kvp_geometry geometry = *change;
        struct layout layout, before;
        int r;

        geometry.groups = group ? group : &sane;
        memset(&layout, 0x5a, sizeof(layout));
        before = layout;
        r = layout_init(&layout, &geometry, PAGE);
        cr_assert(r == 0 || memcmp(&layout, &before, sizeof(layout)) == 0, "an output was touched on failure");
        return r;
}

#define GEOMETRY(...)                                                                                                  \
        (&(struct kvp_geometry){                                                                                       \
                .size = sizeof(struct kvp_geometry), .max_seqs = 1, .n_groups = 1, .max_tokens = 1, __VA_ARGS__ })
#define GROUP(...)                                                                                                     \
        (&(struct kvp_layer_group){ .layers = 1, .kv_heads = 1, .head_dim = 8, .element_bits = 8, __VA_ARGS__ })

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
Test(layout, refuses_what_makes_no_sense)
{
        cr_assert_eq(init_with(GEOMETRY(), NULL), 0);
        cr_assert_eq(init_with(GEOMETRY(.layout = 3), NULL), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(.max_seqs = 0), NULL), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(.max_seqs = KVP_MAX_SEQS), NULL), 0);
        cr_assert_eq(init_with(GEOMETRY(.max_seqs = KVP_MAX_SEQS + 1), NULL), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(.n_groups = 0), NULL), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(.n_groups = KVP_MAX_GROUPS + 1), NULL), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(.max_tokens = 0), NULL), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.layers = 0)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.layers = KVP_MAX_LAYERS)), 0);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.layers = KVP_MAX_LAYERS + 1)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.kv_heads = 0)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.head_dim = 0)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.element_bits = 12)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.element_bits = 0)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.parts = 2)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.element_bits = 4, .head_dim = 7)),
                     -EINVAL); /* three and a half bytes */
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.element_bits = 4, .head_dim = 7, .kv_heads = 2)), 0);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.element_bits = 4, .v_head_dim = 7)), -EINVAL);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.element_bits = 4, .v_head_dim = 7, .parts = KVP_PARTS_K)), 0);
}

Test(layout, refuses_what_overflows)
{
        cr_assert_eq(init_with(GEOMETRY(.max_tokens = UINT64_MAX), NULL), -EOVERFLOW);
        cr_assert_eq(init_with(GEOMETRY(.overread_tokens = UINT64_MAX), NULL), -EOVERFLOW);
        cr_assert_eq(init_with(GEOMETRY(.max_tokens = UINT64_MAX / 2, .overread_tokens = UINT64_MAX / 2), NULL),
                     -EOVERFLOW);
        cr_assert_eq(init_with(GEOMETRY(.max_tokens = UINT64_C(1) << 45), NULL),
                     -ENOMEM); /* more pages a row than 32 bits count */
        cr_assert_eq(init_with(GEOMETRY(.max_tokens = UINT64_C(1) << 46, .max_seqs = KVP_MAX_SEQS), NULL), -EOVERFLOW);
        cr_assert_eq(init_with(GEOMETRY(), GROUP(.kv_heads = UINT32_MAX, .head_dim = UINT32_MAX, .element_bits = 32)),
                     -EOVERFLOW);
        for (uint32_t layout = 0; layout < 3; layout++)
                cr_assert_eq(init_with(GEOMETRY(.layout = layout),
                                       GROUP(.layers = 1024, .kv_heads = UINT32_MAX, .head_dim = UINT32_MAX - 7)),
                             -EOVERFLOW);
}

/* Whatever the numbers: an error, or a layout whose parts add up. */
Test(layout, takes_or_refuses_anything)
{
        static const uint64_t edges[] = { 0,
                                          1,
                                          2,
                                          3,
                                          7,
                                          63,
                                          64,
                                          65,
                                          4095,
                                          4096,
                                          65535,
                                          65536,
                                          UINT32_MAX - 1,
                                          UINT32_MAX,
                                          UINT64_C(1) << 32,
                                          UINT64_C(1) << 47,
                                          UINT64_C(1) << 62,
                                          UINT64_MAX - 1,
                                          UINT64_MAX };
#define EDGE   edges[draw(0, sizeof(edges) / sizeof(edges[0]) - 1)]
#define EDGE32 (uint32_t)(draw(0, 3) ? draw(1, 100) : EDGE)
        unsigned taken = 0;

        for (int round = 0; round < 200000; round++) {
                struct kvp_layer_group groups[4];
                struct kvp_geometry geometry = { .size = sizeof(geometry), .groups = groups };
                struct layout layout;
                int r;

                geometry.layout = draw(0, 3);
                geometry.n_groups = draw(1, 4);
                geometry.max_seqs = EDGE32;
                geometry.max_tokens = draw(0, 1) ? EDGE : draw(1, 100000);
                geometry.overread_tokens = draw(0, 2) ? 0 : EDGE;
                for (uint32_t i = 0; i < 4; i++)
                        groups[i] = (struct kvp_layer_group){ .layers = EDGE32,
                                                              .kv_heads = EDGE32,
                                                              .head_dim = EDGE32,
                                                              .v_head_dim = draw(0, 1) ? 0 : EDGE32,
                                                              .element_bits = UINT32_C(4) << draw(0, 4),
                                                              .parts = draw(0, 2) };
                r = layout_init(&layout, &geometry, UINT64_C(4096) << draw(0, 10));
                if (r == 0) {
                        check_classes(&layout);
                        taken++;
                } else {
                        cr_assert(r == -EINVAL || r == -EOVERFLOW || r == -ENOMEM, "%d", r);
                }
        }
        cr_assert_gt(taken, 1000);
}
#pragma GCC diagnostic pop

Test(layout, tensors_that_are_not_there)
{
        const struct kvp_layer_group groups[2] = {
                { .layers = 2, .kv_heads = 1, .head_dim = 8, .element_bits = 8 },
                { .layers = 1, .kv_heads = 1, .head_dim = 8, .element_bits = 8, .parts = KVP_PARTS_K }
        };
        const struct kvp_geometry geometry = {
                .size = sizeof(geometry), .device = 3, .max_seqs = 5, .n_groups = 2, .max_tokens = 9, .groups = groups
        };
        struct kvp_tensor t = { .n_dims = 77 };
        struct layout layout;

        cr_assert_eq(layout_init(&layout, &geometry, PAGE), 0);
        cr_assert_eq(layout_tensor(&layout, NULL, 2, 0, KVP_K, &t), -ENOENT);
        cr_assert_eq(layout_tensor(&layout, NULL, 0, 2, KVP_K, &t), -ENOENT);
        cr_assert_eq(layout_tensor(&layout, NULL, 1, 0, KVP_V, &t), -ENOENT);
        cr_assert_eq(layout_tensor(&layout, NULL, 0, 0, (enum kvp_part)2, &t), -ENOENT);
        cr_assert_eq(t.n_dims, 77);
        cr_assert_eq(layout_tensor(&layout, NULL, 0, 1, KVP_V, &t), 0);
        cr_assert(t.n_dims == 4 && t.device == 0 && t.element_bits == 8);
        cr_assert(t.shape[0] == 5 && t.shape[1] == 9 && t.shape[2] == 1 && t.shape[3] == 8);
}
