/* SPDX-License-Identifier: MIT
 *
 * pager.c -- see pager.h. A sequence's `backed` is in tokens, as kvp_step() reported it.
 */
#include "pager.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "number.h"

#define SETTLE_TIMEOUT_USEC UINT64_C(30000000)

/* After so many prompts in a row that got no memory though nothing else ran here, what idle rows keep goes back: in
 * small extents it may have cost the daemon all its open files. */
#define SHED_AFTER 32u

static int pager_complain(struct pager *pager, int error, const char *what)
{
        return complain(&pager->complaint, error, "%s: %s", what, strerror(-error));
}

/* Of what may have failed on a GPU. */
static int pager_complain_contents(struct pager *pager, int error, const char *what)
{
        const char *why = gpu_why(pager->places.gpu);

        return complain(&pager->complaint, error, "%s: %s", what, why[0] ? why : strerror(-error));
}

/* Where the library put each layer's K and V, in bytes. */
static int pager_find_places(struct pager *pager)
{
        const struct geometry *geometry = &pager->options.geometry;
        uint32_t element = geometry_element_bytes(geometry);
        struct places *places = &pager->places;

        places->n_parts = 2 * geometry->layers;
        places->parts = calloc(places->n_parts, sizeof(*places->parts));
        if (!places->parts)
                return pager_complain(pager, -ENOMEM, "places");
        for (uint32_t i = 0; i < places->n_parts; i++) {
                struct kvp_tensor tensor;
                int r;

                r = kvp_cache_tensor(pager->cache, 0, i / 2, i % 2 ? KVP_V : KVP_K, &tensor);
                if (r < 0)
                        return pager_complain(pager, r, "kvp_cache_tensor");
                if (tensor.n_dims != 4 || tensor.stride[3] != 1 || tensor.shape[2] != geometry->kv_heads ||
                    tensor.shape[3] != geometry->head_dim || tensor.element_bits != 8 * element)
                        return complain(&pager->complaint, -EPROTO,
                                        "kvp_cache_tensor: not the shape that was asked for");
                places->parts[i] = (struct place){
                        .base = tensor.data,
                        .row_stride = tensor.stride[0] * element,
                        .token_stride = tensor.stride[1] * element,
                        .head_stride = tensor.stride[2] * element,
                };
        }
        return 0;
}

/* Addresses are reserved for all rows at their longest. */
static int pager_complain_cache(struct pager *pager, int error)
{
        const struct pager_options *options = &pager->options;
        const uint64_t token = geometry_token_bytes(&options->geometry);
        char size[32];

        if (error != -ENOMEM && error != -EOVERFLOW)
                return pager_complain(pager, error, "kvp_cache_create");
        return complain(&pager->complaint, error,
                        "kvp_cache_create: %s: %u rows (--max-seqs) of %ju tokens (--max-tokens) of %s are too much",
                        strerror(-error), options->max_seqs, (uintmax_t)options->max_tokens,
                        size_format(token, size, sizeof(size)));
}

static int pager_make_cache(struct pager *pager)
{
        const struct pager_options *options = &pager->options;
        const struct kvp_layer_group group = {
                .layers = options->geometry.layers,
                .kv_heads = options->geometry.kv_heads,
                .head_dim = options->geometry.head_dim,
                .element_bits = 8 * geometry_element_bytes(&options->geometry),
                .parts = KVP_PARTS_KV,
        };
        const struct kvp_geometry geometry = {
                .size = sizeof(geometry),
                .layout = options->layout,
                .max_seqs = options->max_seqs,
                .n_groups = 1,
                .max_tokens = options->max_tokens,
                .groups = &group,
        };

        return kvp_cache_create(pager->connection, &geometry, &pager->cache);
}

/* What is written into the cache, once that stands. */
static int pager_make_contents(struct pager *pager)
{
        const struct pager_options *options = &pager->options;
        int r;

        if (!options->compute)
                r = marks_new(&pager->places, &pager->contents);
        else if (!pager->places.gpu)
                r = compute_new(&pager->places, options->max_seqs, options->verify, &pager->contents);
        else if ((r = gpu_load(pager->places.gpu, &pager->complaint)) < 0)
                return r;
        else
                r = kernels_new(&pager->places, options->max_seqs, options->verify, &pager->contents);
        return r < 0 ? pager_complain_contents(pager, r, "contents") : 0;
}

int pager_open(const struct pager_options *options, struct pager *ret_pager)
{
        struct kvp_device_info device = { .size = sizeof(device) };
        struct pager *pager = ret_pager;
        int r;

        assert(options && options->max_seqs > 0);
        assert(ret_pager);

        memset(pager, 0, sizeof(*pager));
        pager->options = *options;
        pager->steps = calloc(options->max_seqs, sizeof(*pager->steps));
        if (!pager->steps)
                return pager_complain(pager, -ENOMEM, "steps");

        r = kvp_connect(&(struct kvp_connect_options){ .size = sizeof(struct kvp_connect_options),
                                                       .socket_path = options->socket_path,
                                                       .tenant = options->tenant },
                        &pager->connection);
        if (r < 0)
                return pager_complain(pager, r, "kvp_connect");
        r = kvp_device_info(pager->connection, 0, &device);
        if (r < 0)
                return pager_complain(pager, r, "kvp_device_info");
        pager->places = (struct places){
                .geometry = options->geometry,
                .layout = options->layout,
                .page_size = device.page_size,
        };
        if (getrandom(&pager->places.worker, sizeof(pager->places.worker), 0) != sizeof(pager->places.worker))
                return pager_complain(pager, -errno, "getrandom");
        if (strcmp(device.backend, "cuda") == 0 &&
            (r = gpu_open(device.uuid, &pager->places.gpu, &pager->complaint)) < 0)
                return r;
        r = pager_make_cache(pager);
        if (r < 0)
                return pager_complain_cache(pager, r);
        r = pager_find_places(pager);
        return r < 0 ? r : pager_make_contents(pager);
}

void pager_close(struct pager *pager)
{
        if (!pager)
                return;
        kvp_cache_destroy(pager->cache);
        kvp_disconnect(pager->connection);
        contents_free(&pager->contents);
        gpu_close(pager->places.gpu);
        free(pager->places.parts);
        free(pager->steps);
        pager->cache = NULL;
        pager->connection = NULL;
        pager->places.gpu = NULL;
        pager->places.parts = NULL;
        pager->steps = NULL;
}

int pager_settle(struct pager *pager)
{
        int r;

        gate_leave(pager->gate);
        r = kvp_cache_settle(pager->cache, SETTLE_TIMEOUT_USEC);
        gate_enter(pager->gate);
        return r < 0 ? pager_complain(pager, r, "kvp_cache_settle") : 0;
}

int pager_stats(struct pager *pager, struct kvp_cache_stats *ret_stats)
{
        struct kvp_cache_stats stats = { .size = sizeof(stats) };
        int r;

        r = kvp_cache_stats(pager->cache, &stats);
        if (r < 0)
                return pager_complain(pager, r, "kvp_cache_stats");
        *ret_stats = stats;
        return 0;
}

const char *pager_why_short(const struct pager *pager)
{
        if (pager->shortage == -EDQUOT)
                return "its tenant is at its memory.max, by what other workers hold";
        return "others hold it, or kvpagerd may open no more files, one for each extent (ulimit -n)";
}

/* kvp_step() over pager->steps, timed. */
static int pager_step_once(struct pager *pager, size_t n)
{
        struct timespec before, after;
        int r;

        gate_leave(pager->gate);
        (void)clock_gettime(CLOCK_MONOTONIC, &before);
        r = kvp_step(pager->cache, pager->steps, n, pager->options.timeout_usec);
        (void)clock_gettime(CLOCK_MONOTONIC, &after);
        gate_enter(pager->gate);
        histogram_add(&pager->wait_nsec,
                      (uint64_t)((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec));
        return r;
}

static int pager_step(struct pager *pager, size_t n)
{
        int r = pager_step_once(pager, n), rest;

        /* What others were asked for comes back however busy the machine is, and the outcome must not depend on that.
         */
        if (r == -ETIMEDOUT && pager->options.settle) {
                rest = pager_settle(pager);
                if (rest < 0)
                        return rest;
                r = pager_step_once(pager, n);
        }
        if (memory_is_short(r))
                pager->shortage = r;
        return r;
}

/* What came of a step, for the first n of its rows: what is no shortage gets a complaint, and so does a success that is
 * none. */
static int pager_judge(struct pager *pager, int r, size_t n)
{
        if (r < 0 && !memory_is_short(r))
                return pager_complain(pager, r, "kvp_step");
        for (size_t i = 0; r == 0 && i < n; i++)
                if (pager->steps[i].ret_status != 0 || pager->steps[i].ret_ready < pager->steps[i].tokens)
                        return complain(&pager->complaint, -EPROTO,
                                        "kvp_step: returned 0, but row %u is backed for %ju tokens of %ju (status %d)",
                                        pager->steps[i].seq, (uintmax_t)pager->steps[i].ret_ready,
                                        (uintmax_t)pager->steps[i].tokens, pager->steps[i].ret_status);
        return r;
}

/* On the virtual clock nothing may depend on when the mapper comes to it. */
static int pager_rest(struct pager *pager)
{
        return pager->options.settle && !pager->on_mapper ? pager_settle(pager) : 0;
}

/* Gives a row back. */
static int pager_let_go(struct pager *pager, uint32_t row)
{
        int r = kvp_seq_release(pager->cache, row);

        if (r < 0)
                return pager_complain(pager, r, "kvp_seq_release");
        return pager_rest(pager);
}

/* Gives back what idle rows keep. */
static int pager_shed(struct pager *pager)
{
        size_t n = 0;
        int r = 0;

        gate_leave(pager->gate);
        while (r == 0 && n < pager->options.max_seqs) {
                uint32_t row = 0;

                r = kvp_seq_acquire(pager->cache, 0, 0, &row);
                if (r == 0)
                        pager->steps[n++].seq = row;
        }
        gate_enter(pager->gate);
        if (r < 0 && r != -EAGAIN)
                return pager_complain(pager, r, "kvp_seq_acquire");
        for (size_t i = 0; i < n; i++) {
                r = kvp_seq_trim(pager->cache, pager->steps[i].seq, 0);
                if (r < 0)
                        return pager_complain(pager, r, "kvp_seq_trim");
        }
        r = pager_settle(pager); /* a row that is released keeps what has not been given back by then */
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = pager_let_go(pager, pager->steps[i].seq);
        return r;
}

/* Books what a prompt cost, from the counters before and after its step. */
static void pager_count_prompt(struct pager *pager, uint64_t tokens, const struct kvp_cache_stats *before,
                               const struct kvp_cache_stats *after)
{
        struct pager_counters *counters = &pager->counters;
        uint64_t extents = after->grants - before->grants, round_trips = after->requests - before->requests;
        uint64_t pages = geometry_pages(&pager->options.geometry, pager->options.layout, pager->places.page_size,
                                        tokens);

        counters->prompts++;
        counters->prompt_extents += extents;
        counters->prompt_round_trips += round_trips;
        if (after->granted_bytes - before->granted_bytes < pages * pager->places.page_size)
                return;
        counters->cold_prompts++;
        counters->cold_prompt_extents += extents;
        counters->cold_prompt_round_trips += round_trips;
}

static int pager_admit(void *memory, struct sequence *sequence, uint64_t tokens)
{
        struct pager *pager = memory;
        struct kvp_cache_stats before, after;
        uint32_t row = 0;
        int r, step;

        gate_leave(pager->gate); /* it may wait a while for the mapper */
        r = kvp_seq_acquire(pager->cache, tokens, 0, &row);
        gate_enter(pager->gate);
        if (r == -EAGAIN)
                return r;
        if (r < 0)
                return pager_complain(pager, r, "kvp_seq_acquire");
        r = pager_stats(pager, &before);
        if (r < 0)
                return r;
        pager->steps[0] = (struct kvp_seq_step){ .seq = row, .tokens = tokens };
        step = pager_judge(pager, pager_step(pager, 1), 1);
        if (step < 0 && !memory_is_short(step))
                return step;
        r = pager_stats(pager, &after); /* before the mapper adds look-ahead, which is not the prompt's */
        if (r < 0 || (r = pager_rest(pager)) < 0)
                return r;
        if (step < 0) {
                pager->counters.failed_admission_extents += after.grants - before.grants;
                r = pager_let_go(pager, row);
                if (r >= 0 && after.held_rows == 1 && ++pager->failed_alone == SHED_AFTER)
                        r = pager_shed(pager);
                return r < 0 ? r : step;
        }
        pager->failed_alone = 0;

        pager_count_prompt(pager, tokens, &before, &after);
        sequence->row = row;
        sequence->backed = pager->steps[0].ret_ready;
        sequence->prefill_backed = sequence->backed;
        r = pager->contents.ops->begin(pager->contents.data, sequence,
                                       (uint64_t)sequence->request->prompt_tokens +
                                               sequence->request->generated_tokens);
        return r < 0 ? pager_complain_contents(pager, r, "no memory to verify against") : 0;
}

static int pager_grow(void *memory, struct sequence *sequences, const size_t *n)
{
        struct pager *pager = memory;
        size_t asked;
        int r, rest;

        assert(*n <= pager->options.max_seqs);

        do { /* once more for those that are left, where some were given up meanwhile */
                asked = *n;
                for (size_t i = 0; i < asked; i++)
                        pager->steps[i] = (struct kvp_seq_step){ .seq = sequences[i].row,
                                                                 .tokens = sequences[i].length + 1 };
                r = asked > 0 ? pager_step(pager, asked) : 0;
                for (size_t i = 0; i < *n; i++)
                        if (pager->steps[i].ret_ready > sequences[i].backed)
                                sequences[i].backed = pager->steps[i].ret_ready;
        } while (r < 0 && *n < asked);
        r = pager_judge(pager, r, *n);
        rest = pager_rest(pager);
        return rest < 0 ? rest : r;
}

static int pager_compute(void *memory, struct sequence *sequence, uint64_t from)
{
        struct pager *pager = memory;
        int r = pager->contents.ops->write(pager->contents.data, sequence, from);

        gate_yield(pager->gate);
        return r < 0 ? pager_complain_contents(pager, r, "compute") : 0;
}

static uint64_t pager_footprint(const void *memory, uint64_t tokens)
{
        const struct pager *pager = memory;

        return geometry_pages(&pager->options.geometry, pager->options.layout, pager->places.page_size, tokens);
}

static int pager_release(void *memory, struct sequence *sequence)
{
        struct pager *pager = memory;
        struct sequence written = *sequence;
        int r;

        if (sequence->backed > sequence->prefill_backed)
                pager->counters.grown_after_prefill++;
        if (!written.prefilled) /* given up before anything was computed */
                written.length = 0;
        r = pager->contents.ops->end(pager->contents.data, &written);
        if (r < 0)
                return pager_complain_contents(pager, r, "compute");
        if (pager->options.cold && !pager->on_mapper) {
                r = kvp_seq_trim(pager->cache, sequence->row, 0);
                if (r < 0)
                        return pager_complain(pager, r, "kvp_seq_trim");
                r = pager_settle(pager); /* a row that is released keeps what has not been given back by then */
                if (r < 0)
                        return r;
        }
        return pager_let_go(pager, sequence->row);
}

const struct memory_ops pager_ops = {
        .admit = pager_admit,
        .grow = pager_grow,
        .compute = pager_compute,
        .footprint = pager_footprint,
        .release = pager_release,
};
