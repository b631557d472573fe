/* SPDX-License-Identifier: MIT
 *
 * gpu-attention.c -- the same attention over kvpager's memory, over cuMemAlloc's in the same layout, and over a block
 * table.
 *
 *      gpu-attention [--small] LAYOUT
 *
 * One layer in the middle of a Llama-3-8B, decode (one token) and prefill (a chunk of 512 at the end), at
 * $KVPAGER_SOCKET; and before these, with the first layout, each type of the kernels against its reference. The three
 * are timed in turns, and must give the same bits. A round is as many launches as take 5 ms: what differs by 1 % is to
 * be told apart from what is as fast.
 */
#include <kvpager.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit.h"
#include "reference.h"

#define BLOCK_TOKENS 16u
#define CHUNK_TOKENS 512u
#define ROUNDS       15u /* at most */
#define ROUND_USEC   5000.0
#define SCENE_USEC   2e6 /* of which all rounds of the three take about as much, but at least 3 rounds */

enum memory { KVPAGER, PLAIN, PAGED, N_MEMORIES };

struct scene {
        struct kit *kit;
        struct kvp_cache *cache;
        uint32_t batch, tokens, layer;
        uint64_t bytes; /* of all the cache's addresses */
        struct kernel_attention attention[N_MEMORIES];
        CUdeviceptr plain, pool, blocks, queries, output[N_MEMORIES], partial;
        CUfunction function[N_MEMORIES], combine;
};

_Noreturn static void fail(const char *what, const char *why)
{
        json_begin("error");
        json_text("what", what);
        json_text("why", why);
        json_end();
        exit(EXIT_FAILURE);
}

static void check(int r, const char *what)
{
        if (r < 0)
                fail(what, strerror(-r));
}

static CUdeviceptr memory_new(struct kit *kit, uint64_t bytes)
{
        CUdeviceptr p;

        if (!OK(alloc(&p, bytes)))
                fail("cuMemAlloc", kit->error);
        return p;
}

/* What a token holds: the same in all memories, and different from token to token. */
static unsigned char byte_of(uint32_t row, uint32_t token)
{
        return (unsigned char)(0x20 + (row * 5 + token / BLOCK_TOKENS * 3) % 16); /* of fp16: from 0.008 to 2 */
}

/* Block by block; blocks of the pool lie in an order of their own. */
static void scene_fill(struct scene *s)
{
        const uint32_t per_row = s->attention[PAGED].blocks_per_row, n_blocks = s->batch * per_row;
        uint32_t *table = calloc(n_blocks, sizeof(*table));
        struct kit *kit = s->kit;
        bool good = table != NULL;

        for (uint32_t i = 0; i < n_blocks && good; i++)
                table[i] = (uint32_t)((uint64_t)i * 7919 %
                                      n_blocks); /* a prime: each block once, where it does not divide n_blocks */
        for (uint32_t row = 0; row < s->batch && good; row++)
                for (uint32_t token = 0; token < s->tokens && good; token += BLOCK_TOKENS)
                        for (int m = 0; m < N_MEMORIES && good; m++)
                                for (int part = 0; part < 2 && good; part++) {
                                        const struct kernel_tensor *t = part ? &s->attention[m].values
                                                                             : &s->attention[m].keys;
                                        const uint32_t block = table[row * per_row + token / BLOCK_TOKENS];
                                        const uint64_t at = m == PAGED ? t->data + block * t->row_stride
                                                                       : t->data + row * t->row_stride +
                                                                                 token * t->token_stride;
                                        const uint64_t head_bytes = t->dim * 2,
                                                       dense = s->attention[m].kv_heads * head_bytes;

                                        for (uint32_t i = 0; i < BLOCK_TOKENS && token + i < s->tokens && good; i++) {
                                                const uint64_t n = t->token_stride == dense ? BLOCK_TOKENS * dense
                                                                                            : dense;

                                                good = OK(set_bytes(at + i * t->token_stride, byte_of(row, token), n));
                                                if (n > dense)
                                                        break;
                                        }
                                }
        if (!good || !OK(copy_in(s->blocks, table, n_blocks * sizeof(*table))))
                fail("fill", kit->error);
        free(table);
}

static struct kernel_tensor tensor_of(const struct scene *s, enum kvp_part part)
{
        struct kvp_tensor t;

        check(kvp_cache_tensor(s->cache, 0, s->layer, part, &t), "kvp_cache_tensor");
        return (struct kernel_tensor){ .data = (uint64_t)(uintptr_t)t.data,
                                       .row_stride = t.stride[0] * 2,
                                       .token_stride = t.stride[1] * 2,
                                       .head_stride = t.stride[2] * 2,
                                       .dim = (uint32_t)t.shape[3] };
}

static void scene_lay_out(struct scene *s, uint32_t kv_heads)
{
        struct kernel_attention *k = &s->attention[KVPAGER], *p = &s->attention[PAGED];
        const uint64_t token = kv_heads * (uint64_t)k->keys.dim * 2;
        struct kvp_tensor first;

        check(kvp_cache_tensor(s->cache, 0, 0, KVP_K, &first), "kvp_cache_tensor");
        s->attention[PLAIN] = *k;
        s->attention[PLAIN].keys.data += s->plain - (uint64_t)(uintptr_t)first.data;
        s->attention[PLAIN].values.data += s->plain - (uint64_t)(uintptr_t)first.data;
        *p = *k;
        p->blocks_per_row = (s->tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
        p->block_tokens = BLOCK_TOKENS;
        s->pool = memory_new(s->kit, 2 * s->batch * (uint64_t)p->blocks_per_row * BLOCK_TOKENS * token);
        s->blocks = memory_new(s->kit, s->batch * (uint64_t)p->blocks_per_row * 4);
        p->blocks = s->blocks;
        p->keys = (struct kernel_tensor){ .data = s->pool,
                                          .row_stride = BLOCK_TOKENS * token,
                                          .token_stride = token,
                                          .head_stride = k->keys.dim * 2,
                                          .dim = k->keys.dim };
        p->values = p->keys;
        p->values.data += s->batch * (uint64_t)p->blocks_per_row * BLOCK_TOKENS * token;
}

static void scene_open(struct scene *s, struct kvp_conn *conn, const struct kvp_layer_group *group,
                       enum kvp_layout layout)
{
        const struct kvp_geometry geometry = { .size = sizeof(geometry),
                                               .layout = layout,
                                               .max_seqs = s->batch,
                                               .n_groups = 1,
                                               .max_tokens = s->tokens,
                                               .groups = group };
        struct kernel_attention *a = &s->attention[KVPAGER];
        struct kvp_cache_stats stats = { .size = sizeof(stats) };

        check(kvp_cache_create(conn, &geometry, &s->cache), "kvp_cache_create");
        for (uint32_t i = 0; i < s->batch; i++) {
                struct kvp_seq_step step = { .tokens = s->tokens };

                check(kvp_seq_acquire(s->cache, s->tokens, 10000000, &step.seq), "kvp_seq_acquire");
                check(kvp_step(s->cache, &step, 1, 60000000), "kvp_step");
        }
        check(kvp_cache_stats(s->cache, &stats), "kvp_cache_stats");
        s->bytes = stats.virtual_bytes;
        s->layer = group->layers / 2;
        s->plain = memory_new(s->kit, s->bytes);
        *a = (struct kernel_attention){ .batch = s->batch,
                                        .kv_heads = group->kv_heads,
                                        .queries_per_head = 4,
                                        .length = s->tokens,
                                        .keys = tensor_of(s, KVP_K),
                                        .values = tensor_of(s, KVP_V),
                                        .scale = 1.0f / sqrtf((float)group->head_dim) };
        a->tile_tokens = kernel_tile_tokens(a, 2);
        scene_lay_out(s, group->kv_heads);
        scene_fill(s);
        for (int m = 0; m < N_MEMORIES; m++)
                s->function[m] = kit_kernel(s->kit, m == PAGED ? "kvp_attention_paged_fp16" : "kvp_attention_fp16");
        s->combine = kit_kernel(s->kit, "kvp_combine");
        if (!s->function[PAGED] || !s->combine)
                fail("kernels", s->kit->error);
}

static bool launch_once(struct scene *s, enum memory m)
{
        const struct kernel_attention *a = &s->attention[m];
        const struct kernel_shape shape = kernel_attention_shape(a, 2), combine = kernel_combine_shape(a);

        return kit_launch(s->kit, s->function[m], a, &shape, NULL) &&
               (a->splits == 1 || kit_launch(s->kit, s->combine, a, &combine, NULL));
}

static double time_once(struct scene *s, enum memory m, unsigned repeats, CUevent events[2])
{
        struct kit *kit = s->kit;
        float msec = 0;
        bool good = OK(event_record(events[0], NULL));

        for (unsigned i = 0; i < repeats && good; i++)
                good = launch_once(s, m);
        if (!good || !OK(event_record(events[1], NULL)) || !OK(event_synchronize(events[1])) ||
            !OK(event_elapsed(&msec, events[0], events[1])))
                fail("attention", kit->error);
        return (double)msec * 1e3 / repeats;
}

static uint64_t outputs_differ(struct scene *s, uint64_t floats)
{
        float *outputs[N_MEMORIES] = { 0 };
        struct kit *kit = s->kit;
        uint64_t differ = 0;

        for (int m = 0; m < N_MEMORIES; m++) {
                outputs[m] = malloc(floats * 4);
                if (!outputs[m] || !OK(copy_out(outputs[m], s->output[m], floats * 4)))
                        fail("copy", kit->error);
                for (uint64_t i = 0; i < floats; i++)
                        differ += memcmp(&outputs[m][i], &outputs[0][i], 4) != 0 || isnan(outputs[m][i]);
        }
        for (int m = 0; m < N_MEMORIES; m++)
                free(outputs[m]);
        return differ;
}

/* The largest difference between what the GPU computed and what the reference in C does, on copies. */
static double reference_error(struct scene *s, uint64_t floats)
{
        struct kernel_attention a = s->attention[PLAIN];
        struct kit *kit = s->kit;
        char *cache = malloc(s->bytes);
        float *queries = malloc(floats * 4), *found = malloc(floats * 4), *expected = malloc(floats * 4);
        double error = 0;

        if (!cache || !queries || !found || !expected || !OK(copy_out(cache, s->plain, s->bytes)) ||
            !OK(copy_out(queries, s->queries, floats * 4)) || !OK(copy_out(found, s->output[PLAIN], floats * 4)))
                fail("reference", kit->error);
        a.keys.data += (uint64_t)(uintptr_t)cache - s->plain;
        a.values.data += (uint64_t)(uintptr_t)cache - s->plain;
        a.queries = (uint64_t)(uintptr_t)queries;
        a.output = (uint64_t)(uintptr_t)expected;
        check(kernel_reference("kvp_attention_fp16", &a), "kernel_reference");
        for (uint64_t i = 0; i < floats; i++)
                error = fmax(error, isnan(found[i]) ? 1e9 : fabs((double)found[i] - (double)expected[i]));
        free(cache);
        free(queries);
        free(found);
        free(expected);
        return error;
}

/* How often what takes so long is launched in a round, and how many rounds there are. */
static void choose_rounds(double usec, unsigned *ret_repeats, unsigned *ret_rounds)
{
        const double repeats = fmin(fmax(ROUND_USEC / fmax(usec, 1), 1), 500);
        const double rounds = SCENE_USEC / (N_MEMORIES * usec * repeats);

        *ret_repeats = (unsigned)repeats;
        *ret_rounds = (unsigned)fmin(fmax(rounds, 3), ROUNDS);
}

static void scene_time(struct scene *s, const char *layout, uint32_t query_tokens)
{
        static const char *const names[] = { "kvpager_usec", "cuMemAlloc_usec", "paged_usec" };
        double usec[N_MEMORIES][ROUNDS];
        unsigned rounds = 1, repeats = 1;
        struct kit *kit = s->kit;
        CUevent events[2];
        uint64_t floats;

        for (int m = 0; m < N_MEMORIES; m++) {
                s->attention[m].query_tokens = query_tokens;
                s->attention[m].splits = query_tokens > 1 || s->batch >= 16 ? 1 : kernel_splits(s->tokens);
        }
        floats = kernel_query_rows(&s->attention[0]) * s->attention[0].keys.dim;
        s->queries = memory_new(kit, floats * 4);
        s->partial = memory_new(kit, kernel_partial_floats(&s->attention[0]) * 4);
        for (int m = 0; m < N_MEMORIES; m++) {
                s->output[m] = memory_new(kit, floats * 4);
                s->attention[m].queries = s->queries;
                s->attention[m].partial = s->partial;
                s->attention[m].output = s->output[m];
        }
        if (!OK(set_bytes(s->queries, 0x3d, floats * 4)) || !OK(event_create(&events[0], 0)) ||
            !OK(event_create(&events[1], 0)))
                fail("attention", kit->error);
        for (int m = 0; m < N_MEMORIES; m++)
                (void)time_once(s, (enum memory)m, 1, events);
        if (!s->kit->small)
                choose_rounds(time_once(s, PLAIN, 1, events), &repeats, &rounds);
        for (unsigned round = 0; round < rounds; round++)
                for (unsigned i = 0; i < N_MEMORIES; i++) { /* each is as often the first */
                        const unsigned m = (round + i) % N_MEMORIES;

                        usec[m][round] = time_once(s, (enum memory)m, repeats, events);
                }
        json_begin("attention");
        json_text("layout", layout);
        json_text("kind", query_tokens > 1 ? "prefill" : "decode");
        json_number("batch", s->batch);
        json_number("tokens", s->tokens);
        for (int m = 0; m < N_MEMORIES; m++)
                json_number(names[m], median(usec[m], rounds));
        json_number("launches", (double)repeats * rounds);
        json_number("differing", (double)outputs_differ(s, floats));
        if (s->tokens <= 1024 && s->batch <= 8 && query_tokens == 1)
                json_number("reference_error", reference_error(s, floats));
        json_end();
        for (int m = 0; m < N_MEMORIES; m++)
                (void)kit->cuda->alloc_free(s->output[m]);
        (void)kit->cuda->alloc_free(s->queries);
        (void)kit->cuda->alloc_free(s->partial);
        (void)kit->cuda->event_destroy(events[0]);
        (void)kit->cuda->event_destroy(events[1]);
}

/* ---- every type against the reference in C: decode and prefill, in one part and in several ---- */

struct trial {
        const char *kernel;
        uint32_t element_bytes;
        struct kernel_pattern pattern;
};

/* The same here and on the GPU. */
static void *values_new(struct kit *kit, const struct trial *trial, uint64_t seed, uint64_t bytes, CUdeviceptr *ret)
{
        uint64_t *words = malloc(bytes);

        for (uint64_t i = 0; words && i < bytes / 8; i++)
                words[i] = kernel_value_word(seed, i, trial->pattern.keep, trial->pattern.base);
        *ret = memory_new(kit, bytes);
        if (!words || !OK(copy_in(*ret, words, bytes)))
                fail("values", kit->error);
        return words;
}

/* The largest difference of the output. */
static double trial_run(struct kit *kit, const struct trial *trial, struct kernel_attention *a,
                        const void *const plain[3], uint64_t floats)
{
        const CUfunction function = kit_kernel(kit, trial->kernel), combine = kit_kernel(kit, "kvp_combine");
        const struct kernel_shape shape = kernel_attention_shape(a, trial->element_bytes),
                                  combine_shape = kernel_combine_shape(a);
        float *found = malloc(floats * 4), *expected = malloc(floats * 4);
        double error = 0;

        if (!function || !combine || !found || !expected || !kit_launch(kit, function, a, &shape, NULL) ||
            (a->splits > 1 && !kit_launch(kit, combine, a, &combine_shape, NULL)) ||
            !OK(copy_out(found, a->output, floats * 4)))
                fail(trial->kernel, kit->error);
        a->keys.data = (uint64_t)(uintptr_t)plain[0];
        a->values.data = (uint64_t)(uintptr_t)plain[1];
        a->queries = (uint64_t)(uintptr_t)plain[2];
        a->output = (uint64_t)(uintptr_t)expected;
        check(kernel_reference(trial->kernel, a), "kernel_reference");
        for (uint64_t i = 0; i < floats; i++)
                error = fmax(error, isnan(found[i]) ? 1e9 : fabs((double)found[i] - (double)expected[i]));
        free(found);
        free(expected);
        return error;
}

static void trial_make(struct kit *kit, const struct trial *trial, uint32_t query_tokens, uint32_t splits)
{
        enum { batch = 2, tokens = 300, heads = 2, per_head = 3, key_dim = 80, value_dim = 144 };
        static const struct trial fp32 = { "", 4, KERNEL_PATTERN_FP32 };
        const uint64_t token[2] = { heads * key_dim * trial->element_bytes, heads * value_dim * trial->element_bytes },
                       rows = (uint64_t)batch * query_tokens * heads * per_head;
        CUdeviceptr memory[5]; /* K, V, queries, output, partial */
        void *plain[3] = { values_new(kit, trial, 1, batch * tokens * token[0], &memory[0]),
                           values_new(kit, trial, 2, batch * tokens * token[1], &memory[1]),
                           values_new(kit, &fp32, 3, rows * key_dim * 4, &memory[2]) };
        struct kernel_attention a = { .queries = memory[2],
                                      .batch = batch,
                                      .query_tokens = query_tokens,
                                      .kv_heads = heads,
                                      .queries_per_head = per_head,
                                      .splits = splits,
                                      .length = tokens,
                                      .scale = 1.0f / sqrtf(key_dim) };
        double error;

        for (int part = 0; part < 2; part++)
                *(part ? &a.values : &a.keys) = (struct kernel_tensor){ .data = memory[part],
                                                                        .row_stride = tokens * token[part],
                                                                        .token_stride = token[part],
                                                                        .head_stride = token[part] / heads,
                                                                        .dim = part ? value_dim : key_dim };
        a.tile_tokens = kernel_tile_tokens(&a, trial->element_bytes);
        a.output = memory[3] = memory_new(kit, rows * value_dim * 4);
        a.partial = memory[4] = memory_new(kit, kernel_partial_floats(&a) * 4);
        error = trial_run(kit, trial, &a, (const void *const *)plain, rows * value_dim);
        json_begin("reference");
        json_text("kernel_name", trial->kernel);
        json_number("query_tokens", query_tokens);
        json_number("splits", splits);
        json_number("reference_error", error);
        json_end();
        for (int i = 0; i < 5; i++)
                (void)kit->cuda->alloc_free(memory[i]);
        for (int i = 0; i < 3; i++)
                free(plain[i]);
}

static void try_types(struct kit *kit)
{
        static const struct trial types[] = { { "kvp_attention_fp16", 2, KERNEL_PATTERN_FP16 },
                                              { "kvp_attention_bf16", 2, KERNEL_PATTERN_BF16 },
                                              { "kvp_attention_fp32", 4, KERNEL_PATTERN_FP32 } };

        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                for (uint32_t query_tokens = 1; query_tokens <= 17; query_tokens += 16)
                        for (uint32_t splits = 1; splits <= 7; splits += 3) /* of 7 the last are empty */
                                trial_make(kit, &types[i], query_tokens, splits);
}

static void scene_close(struct scene *s)
{
        (void)s->kit->cuda->alloc_free(s->plain);
        (void)s->kit->cuda->alloc_free(s->pool);
        (void)s->kit->cuda->alloc_free(s->blocks);
        kvp_cache_destroy(s->cache);
}

int main(int argc, char **argv)
{
        static const struct {
                uint32_t batch, tokens;
        } sizes[] = { { 1, 1024 }, { 1, 8192 }, { 1, 32768 }, { 1, 131072 },
                      { 8, 1024 }, { 8, 8192 }, { 16, 4096 }, { 64, 1024 } },
          few[] = { { 1, 70 }, { 3, 600 } };
        static const char *const layouts[] = { "per-layer", "token-major", "token-major-fused" };
        struct kit kit = { .small = argc > 1 && strcmp(argv[1], "--small") == 0 };
        const struct kvp_layer_group group = { .layers = kit.small ? 2 : 32,
                                               .kv_heads = kit.small ? 2 : 8,
                                               .head_dim = kit.small ? 64 : 128,
                                               .element_bits = 16,
                                               .parts = KVP_PARTS_KV };
        const char *name = argc > 1 + kit.small ? argv[1 + kit.small] : "";
        struct kvp_device_info device = { .size = sizeof(device) };
        struct kvp_conn *conn;
        int layout = 0;

        while (layout < 3 && strcmp(layouts[layout], name) != 0)
                layout++;
        if (layout == 3)
                fail("usage", "gpu-attention [--small] per-layer | token-major | token-major-fused");
        kit_open(&kit, true);
        check(kvp_connect(&(struct kvp_connect_options){ .size = sizeof(struct kvp_connect_options) }, &conn),
              "kvp_connect");
        check(kvp_device_info(conn, 0, &device), "kvp_device_info");
        if (strcmp(device.backend, "cuda") != 0)
                fail("the daemon's device", "is no GPU");
        if (layout == 0)
                try_types(&kit);
        for (size_t i = 0; i < (kit.small ? 2 : sizeof(sizes) / sizeof(sizes[0])); i++) {
                struct scene scene = { .kit = &kit,
                                       .batch = kit.small ? few[i].batch : sizes[i].batch,
                                       .tokens = kit.small ? few[i].tokens : sizes[i].tokens };
                size_t available = 0, total = 0;
                const uint64_t bytes = (uint64_t)scene.batch * scene.tokens * 4 * group.layers * group.kv_heads *
                                       group.head_dim;

                if (kit.cuda->mem_get_info(&available, &total) != CUDA_SUCCESS || bytes > device.capacity * 9 / 10 ||
                    bytes > available / 2) {
                        json_begin("left_out");
                        json_number("batch", scene.batch);
                        json_number("tokens", scene.tokens);
                        json_text("why", "memory");
                        json_end();
                        continue;
                }
                scene_open(&scene, conn, &group, (enum kvp_layout)layout);
                scene_time(&scene, name, 1);
                scene_time(&scene, name, kit.small ? 12 : CHUNK_TOKENS);
                scene_close(&scene);
        }
        kvp_disconnect(conn);
        return EXIT_SUCCESS;
}
