/* SPDX-License-Identifier: MIT
 *
 * layout.h -- from a geometry to planes, plane classes and tensors. Pure arithmetic; every product and sum is checked.
 *
 * All planes of a cache lie one after the other in one reservation. A plane has `rows` rows of row_bytes each, whole
 * pages, so that each row starts on a page. A plane class is at most WIRE_MAX_PLANES planes of one group whose tokens
 * have the same size: they grow alike, by one request. The planes of a class lie side by side.
 */
#ifndef LIB_LAYOUT_H
#define LIB_LAYOUT_H

#include <stdint.h>

#include "kvpager.h"
#include "messages.h"

struct layout_class {
        uint32_t group;
        uint32_t planes;
        uint32_t row_pages;
        uint32_t reserved;
        uint64_t token_bytes; /* in each plane */
        uint64_t row_bytes;   /* row_pages pages */
        uint64_t offset;      /* of its first plane in the reservation */
        uint64_t plane_bytes; /* from one plane to the next */
};

struct layout_group {
        struct kvp_layer_group shape; /* v_head_dim filled in */
        uint64_t part_bytes[2];       /* one layer's K and V of one token; V is 0 for KVP_PARTS_K */
        uint64_t token_bytes[2];      /* of the planes that hold K, V */
        uint64_t row_bytes[2];
        uint64_t offset[2];     /* of layer 0's plane */
        uint64_t layer_step[2]; /* from one layer's plane to the next; 0 in the token-major layouts */
};

struct layout {
        uint32_t device, kind; /* enum kvp_layout */
        uint32_t rows, n_groups, n_classes, page_shift;
        uint64_t max_tokens, overread_tokens;
        uint64_t total_bytes;
        uint64_t tokens_per_page; /* of the class with the largest tokens; at least 1 */
        struct layout_group groups[KVP_MAX_GROUPS];
        struct layout_class classes[WIRE_MAX_CLASSES];
};

/* -EINVAL: a geometry that makes no sense; -EOVERFLOW: its bytes are not a number of 64 bits; -ENOMEM: more pages a row
 * or more plane classes than the protocol has. `page_size` is a power of two. */
int layout_init(struct layout *ret, const struct kvp_geometry *geometry, uint64_t page_size);

/* All but the tensor's device. -ENOENT: no such group, layer or part. */
int layout_tensor(const struct layout *layout, void *base, uint32_t group, uint32_t layer, enum kvp_part part,
                  struct kvp_tensor *ret);

/* Pages of a row of `class` that back `tokens` and, unless there are none, the overread beyond them. */
static inline uint32_t layout_pages(const struct layout *layout, const struct layout_class *class, uint64_t tokens)
{
        const uint64_t round = (UINT64_C(1) << layout->page_shift) - 1;

        if (tokens == 0)
                return 0;
        return (uint32_t)(((tokens + layout->overread_tokens) * class->token_bytes + round) >> layout->page_shift);
}

/* Where page `page` of a row lies, from the start of the reservation. */
static inline uint64_t layout_offset(const struct layout *layout, const struct layout_class *class, uint32_t plane,
                                     uint32_t row, uint32_t page)
{
        return class->offset + plane * class->plane_bytes + row * class->row_bytes +
               ((uint64_t)page << layout->page_shift);
}

#endif
