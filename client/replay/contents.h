/* SPDX-License-Identifier: MIT
 *
 * contents.h -- what a worker writes into its cache and how it finds out that the memory is not what it should be.
 *
 * Two kinds: marks (a few bytes a page, for traces larger than the machine) and compute (all K and V, and real
 * attention, with --verify compared to the same over plain memory), the second by the host or by kernels on a GPU. All
 * see the cache as pointers and strides.
 */
#ifndef KVPAGER_REPLAY_CONTENTS_H
#define KVPAGER_REPLAY_CONTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "geometry.h"
#include "gpu.h"

/* One tensor of the cache as the library describes it, strides in bytes. */
struct place {
        char *base;
        uint64_t row_stride, token_stride, head_stride;
};

/* K and V of each layer: parts[2 * layer + part]. */
struct places {
        struct geometry geometry;
        enum kvp_layout layout;
        uint64_t page_size;
        uint32_t worker; /* drawn at random: what another left, of this replay or of one before, is no mark of ours */
        struct gpu *gpu; /* whose memory it is; NULL: the host's */
        struct place *parts;
        uint32_t n_parts;
};

/* A few bytes of the cache, wherever that is. */
int place_read(const struct places *places, const char *place, void *ret_bytes, size_t size);
int place_write(const struct places *places, char *place, const void *bytes, size_t size);

struct contents_ops {
        /* The row is the sequence's from now on; it will not grow beyond `most_tokens`. */
        int (*begin)(void *contents, const struct sequence *sequence, uint64_t most_tokens);
        /* Tokens from `from` up to sequence->length are computed and written. */
        int (*write)(void *contents, const struct sequence *sequence, uint64_t from);
        /* The row is about to be given back: all sequence->length tokens in it are checked. */
        int (*end)(void *contents, const struct sequence *sequence);
        void (*free)(void *contents);
};

/* What the checks found. */
struct contents_report {
        uint64_t mismatches;
        char first[160];   /* the first mismatch, in words; empty if there was none */
        uint64_t checksum; /* of all attention outputs, whatever the order of requests */
};

struct contents {
        const struct contents_ops *ops;
        void *data;
        struct contents_report *report; /* belongs to data */
};

/* Counts a mismatch and keeps the words of the first. */
void contents_mismatch(struct contents_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `places` must outlive them. -ENOMEM. Of the two that compute, one is for the host's memory and one for a GPU's. */
int marks_new(const struct places *places, struct contents *ret_contents);
int compute_new(const struct places *places, uint32_t max_seqs, bool verify, struct contents *ret_contents);
int kernels_new(const struct places *places, uint32_t max_seqs, bool verify, struct contents *ret_contents);

void contents_free(struct contents *contents);

#endif
