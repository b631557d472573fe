/* SPDX-License-Identifier: MIT
 *
 * lib-box.h -- what the library's tests begin and end with: a fake daemon, a connection to it, a cache.
 */
#ifndef TEST_LIB_BOX_H
#define TEST_LIB_BOX_H

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "fake-daemon.h"
#include "kvpager.h"

#define SECOND UINT64_C(1000000)
#define PAGE   UINT64_C(65536)

struct box {
        struct fake *fake;
        struct kvp_conn *conn;
        struct kvp_cache *cache;
};

/* 4,096 bytes a token in one plane: 16 tokens a page, as llama3-8b has in pages of 2 MiB. */
static const struct kvp_layer_group box_group = { .layers = 1, .kv_heads = 16, .head_dim = 128, .element_bits = 8 };
static const struct kvp_geometry box_fused = {
        .size = sizeof(box_fused),
        .layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED,
        .max_seqs = 8,
        .n_groups = 1,
        .max_tokens = 4096,
        .groups = &box_group,
};

static inline void box_open(struct box *box, const struct fake_options *options, const struct kvp_geometry *geometry)
{
        struct kvp_connect_options connect = { .size = sizeof(connect) };
        int r;

        box->fake = fake_start(options);
        connect.socket_path = fake_path(box->fake);
        r = kvp_connect(&connect, &box->conn);
        cr_assert_eq(r, 0, "%s", strerror(-r));
        r = kvp_cache_create(box->conn, geometry ? geometry : &box_fused, &box->cache);
        cr_assert_eq(r, 0, "%s", strerror(-r));
}

/* Whatever a test did, the worker kept to the protocol and left nothing behind. */
static inline void box_close(struct box *box)
{
        const char *violation;

        kvp_cache_destroy(box->cache);
        kvp_disconnect(box->conn);
        violation = fake_violation(box->fake);
        cr_assert_null(violation, "%s", violation);
        cr_assert_eq(fake_pages(box->fake), 0);
        fake_stop(box->fake);
}

static inline struct kvp_cache_stats box_stats(const struct box *box)
{
        struct kvp_cache_stats stats = { .size = sizeof(stats) };

        cr_assert_eq(kvp_cache_stats(box->cache, &stats), 0);
        return stats;
}

static inline uint32_t box_acquire(struct box *box, uint64_t expected)
{
        uint32_t seq;

        cr_assert_eq(kvp_seq_acquire(box->cache, expected, 0, &seq), 0);
        return seq;
}

/* Steps one row, waiting up to ten seconds. */
static inline int box_step(struct box *box, uint32_t seq, uint64_t tokens, uint64_t *ret_ready)
{
        struct kvp_seq_step step = { .seq = seq, .tokens = tokens };
        const int r = kvp_step(box->cache, &step, 1, 10 * SECOND);

        cr_assert_eq(step.ret_status, r);
        if (ret_ready)
                *ret_ready = step.ret_ready;
        return r;
}

static inline void box_settle(struct box *box)
{
        const int r = kvp_cache_settle(box->cache, 10 * SECOND);

        cr_assert_eq(r, 0, "%s", strerror(-r));
}

/* Every byte of tokens [from, to) of a row: what it is made of tells row, layer, part and place. */
static inline uint8_t box_byte(uint32_t seq, uint32_t layer, unsigned part, uint64_t token, uint64_t i)
{
        return (uint8_t)(1 + seq * 7 + layer * 31 + part * 53 + token * 11 + i * 3);
}

static inline void box_visit(const struct box *box, const struct kvp_geometry *geometry, uint32_t seq, uint64_t from,
                             uint64_t to, bool write)
{
        for (uint32_t g = 0; g < geometry->n_groups; g++)
                for (uint32_t layer = 0; layer < geometry->groups[g].layers; layer++)
                        for (unsigned part = 0; part < (geometry->groups[g].parts == KVP_PARTS_K ? 1 : 2); part++) {
                                struct kvp_tensor t;

                                cr_assert_eq(kvp_cache_tensor(box->cache, g, layer, (enum kvp_part)part, &t), 0);
                                for (uint64_t token = from; token < to; token++) {
                                        uint8_t *p = (uint8_t *)t.data +
                                                     (seq * t.stride[0] + token * t.stride[1]) * t.element_bits / 8;
                                        const uint64_t n = t.shape[2] * t.shape[3] * t.element_bits / 8;

                                        for (uint64_t i = 0; i < n; i++)
                                                if (write)
                                                        p[i] = box_byte(seq, layer + 5 * g, part, token, i);
                                                else
                                                        cr_assert_eq(p[i],
                                                                     box_byte(seq, layer + 5 * g, part, token, i));
                                }
                        }
}

#endif
