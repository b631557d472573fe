/* SPDX-License-Identifier: MIT
 *
 * gpu-speed.c -- what calls of the driver cost, what kvpager adds to them, and what an engine notices of it.
 *
 *      gpu-speed [--small] costs              of each call, by size of an extent and number of extents
 *      gpu-speed [--small] mapping            64 pages through kvp_step(), and the same by bare calls
 *      gpu-speed [--small] steps LAYOUT       decode steps of a batch, with attention running: still, and growing
 *
 * The latter two are workers of the daemon at $KVPAGER_SOCKET.
 */
#include <kvpager.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

#define PAGES 64u

_Noreturn static void fail(const char *what, const char *why)
{
        json_begin("error");
        json_text("what", what);
        json_text("why", why);
        json_end();
        exit(EXIT_FAILURE);
}

static void print_times(double *usec, unsigned n)
{
        json_number("usec_p50", median(usec, n));
        json_number("usec_p99", percentile(usec, n, 99));
        json_number("usec_max", percentile(usec, n, 100));
        json_number("n", n);
}

/* ---- costs ---- */

enum { CREATE, EXPORT, IMPORT, MAP, ACCESS, UNMAP, RELEASE_IMPORT, CLOSE, RELEASE, N_CALLS };

/* To release an import frees nothing, while its exporter has the memory; to release what was created, with nothing left
 * that keeps it, does. */
static const char *const call_names[] = { "create", "export",         "import", "map",    "set_access",
                                          "unmap",  "release_import", "close",  "release" };

/* usec a call, each over all extents; false: memory did not suffice, or kit->error. */
static bool costs_once(struct kit *kit, uint64_t size, unsigned n, double usec[static N_CALLS])
{
        CUmemGenericAllocationHandle *imports = calloc(n, sizeof(*imports));
        int *fds = calloc(n, sizeof(*fds));
        struct run run = { 0 };
        double at[N_CALLS + 1];
        unsigned exported = 0, imported = 0;
        bool good;

        good = imports && fds && run_reserve(kit, &run, size, n);
        at[CREATE] = now_usec();
        good = good && run_create(kit, &run);
        at[EXPORT] = now_usec();
        for (; exported < n && good; exported++)
                good = OK(
                        mem_export(&fds[exported], run.handles[exported], CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
        at[IMPORT] = now_usec();
        for (; imported < n && good; imported++)
                good = OK(mem_import(&imports[imported], (void *)(intptr_t)fds[imported],
                                     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
        at[MAP] = now_usec();
        good = good && run_map(kit, &run);
        at[ACCESS] = now_usec();
        good = good && run_access(kit, &run, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
        at[UNMAP] = now_usec();
        run_unmap(kit, &run);
        at[RELEASE_IMPORT] = now_usec();
        for (unsigned i = 0; i < imported; i++)
                (void)kit->cuda->mem_release(imports[i]);
        at[CLOSE] = now_usec();
        for (unsigned i = 0; i < exported; i++)
                (void)close(fds[i]);
        at[RELEASE] = now_usec();
        run_release(kit, &run);
        at[N_CALLS] = now_usec();
        run_free(kit, &run);
        free(imports);
        free(fds);
        for (unsigned call = 0; call < N_CALLS; call++)
                usec[call] = (at[call + 1] - at[call]) / (call == ACCESS ? 1 : n);
        return good;
}

static void costs(struct kit *kit)
{
        static const unsigned pages[] = { 1, 4, 8, 16, 64 }, counts[] = { 1, 8, 64, 512 };
        const unsigned rounds = kit->small ? 1 : 5;
        size_t available = 0, total = 0;

        if (!OK(mem_get_info(&available, &total)))
                fail("costs", kit->error);
        for (size_t p = 0; p < sizeof(pages) / sizeof(pages[0]); p++)
                for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
                        double usec[N_CALLS], all[N_CALLS][5];

                        if (pages[p] * counts[c] * KIT_PAGE > available / 2 || (kit->small && counts[c] > 8))
                                continue;
                        for (unsigned round = 0; round < rounds; round++) {
                                if (!costs_once(kit, pages[p] * KIT_PAGE, counts[c], usec))
                                        fail("costs", kit->error);
                                for (unsigned call = 0; call < N_CALLS; call++)
                                        all[call][round] = usec[call];
                        }
                        json_begin("cost");
                        json_number("pages", pages[p]);
                        json_number("count", counts[c]);
                        for (unsigned call = 0; call < N_CALLS; call++)
                                json_number(call_names[call], median(all[call], rounds));
                        json_end();
                }
}

/* ---- mapping 64 pages ---- */

enum direct { IMPORTED, IMPORT_TOO, NEW };

/* 64 pages as `n` extents by bare calls: one set-access for all of them, or one each where they are in planes apart. */
static void mapping_direct(struct kit *kit, const char *name, unsigned n, bool apart, enum direct how)
{
        const unsigned rounds = kit->small ? 3 : 50;
        const uint64_t size = PAGES / n * KIT_PAGE;
        double usec[50];
        struct run run;
        int fds[PAGES];

        if (!run_make(kit, &run, size, n))
                fail(name, kit->error);
        for (unsigned i = 0; i < n; i++)
                if (!OK(mem_export(&fds[i], run.handles[i], CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0)))
                        fail(name, kit->error);
        for (unsigned round = 0; round < rounds; round++) {
                const double start = now_usec();
                bool good = true;

                for (unsigned i = 0; i < n && good; i++) {
                        CUmemGenericAllocationHandle handle = run.handles[i];

                        if (how == IMPORT_TOO)
                                good = OK(mem_import(&handle, (void *)(intptr_t)fds[i],
                                                     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
                        if (how == NEW)
                                good = OK(mem_create(&handle, size, &kit->prop, 0));
                        good = good && OK(mem_map(run.base + i * size, size, 0, handle, 0));
                        if (how != IMPORTED)
                                good = good && OK(mem_release(handle));
                        if (apart)
                                good = good && OK(mem_set_access(run.base + i * size, size, &kit->access, 1));
                }
                if (!apart)
                        good = good && run_access(kit, &run, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
                usec[round] = now_usec() - start;
                if (!good)
                        fail(name, kit->error);
                run_unmap(kit, &run);
        }
        for (unsigned i = 0; i < n; i++)
                (void)close(fds[i]);
        run_free(kit, &run);
        json_begin(name);
        print_times(usec, rounds);
        json_end();
}

static void check(int r, const char *what)
{
        if (r < 0)
                fail(what, strerror(-r));
}

static struct kvp_conn *connect_to_daemon(struct kvp_device_info *device)
{
        struct kvp_conn *conn;

        check(kvp_connect(&(struct kvp_connect_options){ .size = sizeof(struct kvp_connect_options) }, &conn),
              "kvp_connect");
        *device = (struct kvp_device_info){ .size = sizeof(*device) };
        check(kvp_device_info(conn, 0, device), "kvp_device_info");
        if (strcmp(device->backend, "cuda") != 0)
                fail("the daemon's device", "is no GPU");
        return conn;
}

/* The same by one kvp_step() of a row with nothing mapped: a plane of 64 pages, or 64 planes of one. */
static void mapping_kvpager(struct kit *kit, const char *name, enum kvp_layout layout)
{
        const struct kvp_layer_group group = {
                .layers = 32, .kv_heads = 8, .head_dim = 128, .element_bits = 16, .parts = KVP_PARTS_KV
        };
        const struct kvp_geometry geometry = { .size = sizeof(geometry),
                                               .layout = layout,
                                               .max_seqs = 1,
                                               .n_groups = 1,
                                               .max_tokens = 1024,
                                               .groups = &group }; /* 128 KiB a token */
        const unsigned rounds = kit->small ? 3 : 50;
        struct kvp_device_info device;
        struct kvp_conn *conn = connect_to_daemon(&device);
        struct kvp_cache *cache;
        double usec[50];

        check(kvp_cache_create(conn, &geometry, &cache), "kvp_cache_create");
        for (unsigned round = 0; round < rounds; round++) {
                struct kvp_seq_step step = { .tokens = 1024 };
                double start;

                check(kvp_seq_acquire(cache, 1, 10000000, &step.seq), "kvp_seq_acquire");
                check(kvp_cache_settle(cache, 30000000),
                      "kvp_cache_settle"); /* what it asked for ahead, and what the daemon makes */
                start = now_usec();
                check(kvp_step(cache, &step, 1, 10000000), "kvp_step");
                usec[round] = now_usec() - start;
                check(kvp_seq_trim(cache, step.seq, 0), "kvp_seq_trim");
                check(kvp_cache_settle(cache, 30000000), "kvp_cache_settle"); /* else the row would keep its pages */
                check(kvp_seq_release(cache, step.seq), "kvp_seq_release");
                check(kvp_cache_settle(cache, 30000000), "kvp_cache_settle");
        }
        kvp_cache_destroy(cache);
        kvp_disconnect(conn);
        json_begin(name);
        print_times(usec, rounds);
        json_end();
}

static void mapping(struct kit *kit)
{
        mapping_direct(kit, "direct_64_as_1", 1, false, IMPORTED);
        mapping_direct(kit, "direct_64_as_64", PAGES, false, IMPORTED);
        mapping_direct(kit, "direct_64_in_64_planes", PAGES, true, IMPORTED);
        mapping_direct(kit, "direct_import_64_as_1", 1, false, IMPORT_TOO);
        mapping_direct(kit, "direct_import_64_in_64_planes", PAGES, true, IMPORT_TOO);
        mapping_direct(kit, "direct_new_64_as_1", 1, false, NEW);
        mapping_direct(kit, "direct_new_64_in_64_planes", PAGES, true, NEW);
        mapping_kvpager(kit, "kvpager_64_as_1", KVP_LAYOUT_TOKEN_MAJOR_FUSED);
        mapping_kvpager(kit, "kvpager_64_in_64_planes", KVP_LAYOUT_PER_LAYER);
}

/* ---- decode steps of a batch ---- */

struct batch {
        struct kit *kit;
        struct kvp_cache *cache;
        struct kvp_seq_step steps[64];
        uint32_t n, layers;
        struct kernel_attention attention;
        CUfunction function;
        CUdeviceptr lengths;
};

static struct kernel_tensor tensor_of(const struct batch *b, uint32_t layer, enum kvp_part part)
{
        struct kvp_tensor t;

        check(kvp_cache_tensor(b->cache, 0, layer, part, &t), "kvp_cache_tensor");
        return (struct kernel_tensor){ .data = (uint64_t)(uintptr_t)t.data,
                                       .row_stride = t.stride[0] * 2,
                                       .token_stride = t.stride[1] * 2,
                                       .head_stride = t.stride[2] * 2,
                                       .dim = (uint32_t)t.shape[3] };
}

static void batch_begin(struct batch *b, struct kvp_conn *conn, enum kvp_layout layout,
                        const struct kvp_device_info *device)
{
        const bool small = b->kit->small;
        const struct kvp_layer_group group = { .layers = small ? 4 : 32,
                                               .kv_heads = small ? 2 : 8,
                                               .head_dim = small ? 64 : 128,
                                               .element_bits = 16,
                                               .parts = KVP_PARTS_KV };
        const struct kvp_geometry geometry = { .size = sizeof(geometry),
                                               .layout = layout,
                                               .max_seqs = small ? 4 : 64,
                                               .n_groups = 1,
                                               .max_tokens = 4096,
                                               .groups = &group };
        struct kernel_attention *a = &b->attention;
        CUdeviceptr queries, output;

        /* As many rows as fit. In the layout that takes most, a row has 64 planes, of 1024 tokens a page: it ends with
         * two pages of each, 256 MiB, and from the 51st row on with three. */
        b->n = small ? 4 : 64;
        while (b->n > 1 && b->n * 300 * UINT64_C(1048576) > device->capacity && !small)
                b->n /= 2;
        b->layers = group.layers;
        check(kvp_cache_create(conn, &geometry, &b->cache), "kvp_cache_create");
        for (uint32_t i = 0; i < b->n; i++) {
                b->steps[i].tokens = (small ? 40 : 900) + 3 * i;
                check(kvp_seq_acquire(b->cache, b->steps[i].tokens, 10000000, &b->steps[i].seq), "kvp_seq_acquire");
        }
        check(kvp_step(b->cache, b->steps, b->n, 60000000), "kvp_step");
        *a = (struct kernel_attention){ .batch = b->n,
                                        .query_tokens = 1,
                                        .kv_heads = group.kv_heads,
                                        .queries_per_head = 4,
                                        .splits = 1,
                                        .scale = 1.0f / sqrtf((float)group.head_dim) };
        a->keys = tensor_of(b, 0, KVP_K);
        a->values = tensor_of(b, 0, KVP_V);
        a->tile_tokens = kernel_tile_tokens(a, 2);
        b->function = kit_kernel(b->kit, "kvp_attention_fp16");
        if (!b->function ||
            !kit_ok(b->kit, b->kit->cuda->alloc(&queries, kernel_query_rows(a) * group.head_dim * 4), "cuMemAlloc") ||
            !kit_ok(b->kit, b->kit->cuda->alloc(&output, kernel_query_rows(a) * group.head_dim * 4), "cuMemAlloc") ||
            !kit_ok(b->kit, b->kit->cuda->alloc(&b->lengths, 2 * sizeof(b->steps)), "cuMemAlloc") ||
            !kit_ok(b->kit, b->kit->cuda->set_bytes(queries, 0, kernel_query_rows(a) * group.head_dim * 4),
                    "cuMemsetD8"))
                fail("steps", b->kit->error);
        a->queries = queries;
        a->output = output;
        a->lengths = b->lengths;
        a->rows = b->lengths + sizeof(b->steps);
}

/* One iteration; how long the step took and the first launch. */
static void batch_iterate(struct batch *b, bool grow, double *ret_wait, double *ret_launch)
{
        const struct kernel_shape shape = kernel_attention_shape(&b->attention, 2);
        struct kit *kit = b->kit;
        uint32_t lengths[64], rows[64];
        double start;

        for (uint32_t i = 0; i < b->n; i++) {
                b->steps[i].tokens += grow;
                lengths[i] = (uint32_t)b->steps[i].tokens;
                rows[i] = b->steps[i].seq;
        }
        start = now_usec();
        check(kvp_step(b->cache, b->steps, b->n, 10000000), "kvp_step");
        *ret_wait = now_usec() - start;
        if (!OK(copy_in(b->lengths, lengths, sizeof(lengths))) ||
            !OK(copy_in(b->lengths + sizeof(b->steps), rows, sizeof(rows))))
                fail("steps", kit->error);
        for (uint32_t layer = 0; layer < b->layers; layer++) {
                b->attention.keys = tensor_of(b, layer, KVP_K);
                b->attention.values = tensor_of(b, layer, KVP_V);
                start = now_usec();
                if (!kit_launch(kit, b->function, &b->attention, &shape, NULL))
                        fail("steps", kit->error);
                if (layer == 0)
                        *ret_launch = now_usec() - start;
        }
        if (!OK(ctx_synchronize()))
                fail("steps", kit->error);
}

static void steps(struct kit *kit, enum kvp_layout layout)
{
        static double waits[1000], launches[1000];
        const unsigned n = kit->small ? 20 : 1000;
        struct kvp_cache_stats stats = { .size = sizeof(stats) };
        struct kvp_device_info device;
        struct kvp_conn *conn = connect_to_daemon(&device);
        struct batch batch = { .kit = kit };

        batch_begin(&batch, conn, layout, &device);
        for (int grow = 0; grow < 2; grow++) {
                unsigned quick = 0;

                for (unsigned i = 0; i < n / 10; i++)
                        batch_iterate(&batch, false, &waits[0], &launches[0]);
                for (unsigned i = 0; i < n; i++) {
                        batch_iterate(&batch, grow, &waits[i], &launches[i]);
                        quick += waits[i] < 20;
                }
                check(kvp_cache_stats(batch.cache, &stats), "kvp_cache_stats");
                json_begin(grow ? "steps_growing" : "steps_still");
                json_number("batch", batch.n);
                json_number("grants", (double)stats.grants);
                json_number("share_under_20_usec", (double)quick / n);
                json_number("launch_usec_p50", median(launches, n));
                json_number("launch_usec_p99", percentile(launches, n, 99));
                print_times(waits, n);
                json_end();
        }
        kvp_cache_destroy(batch.cache);
        kvp_disconnect(conn);
}

int main(int argc, char **argv)
{
        static const char *const layouts[] = { "per-layer", "token-major", "token-major-fused" };
        struct kit kit = { .small = argc > 1 && strcmp(argv[1], "--small") == 0 };
        const char *command = argc > 1 + kit.small ? argv[1 + kit.small] : "",
                   *layout = argc > 2 + kit.small ? argv[2 + kit.small] : "";

        kit_open(&kit, true);
        if (strcmp(command, "costs") == 0)
                costs(&kit);
        else if (strcmp(command, "mapping") == 0)
                mapping(&kit);
        else if (strcmp(command, "steps") == 0)
                for (int i = 0; i < 3; i++) {
                        if (strcmp(layout, layouts[i]) == 0)
                                steps(&kit, (enum kvp_layout)i);
                }
        else
                fail("usage", "gpu-speed [--small] costs | mapping | steps LAYOUT");
        return EXIT_SUCCESS;
}
