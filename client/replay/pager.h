/* SPDX-License-Identifier: MIT
 *
 * pager.h -- a worker's memory for its engine: a kvpager cache, what is written into it, and how long each step took.
 *
 * Uses nothing but <kvpager.h>. Not thread-safe; a worker has one. Where there is a gate, its engine's thread leaves it
 * while it waits, and rows may be released meanwhile (pressure.h).
 */
#ifndef KVPAGER_REPLAY_PAGER_H
#define KVPAGER_REPLAY_PAGER_H

#include <kvpager.h>
#include <stdbool.h>

#include "complaint.h"
#include "contents.h"
#include "engine.h"
#include "gate.h"
#include "geometry.h"
#include "histogram.h"

struct pager_options {
        const char *socket_path; /* NULL: as the library finds it */
        const char *tenant;      /* NULL: the first that fits */
        struct geometry geometry;
        enum kvp_layout layout;
        uint32_t max_seqs;
        uint64_t max_tokens;
        bool compute, verify;  /* else marks alone */
        bool cold;             /* give a row's pages back when its request ends */
        bool settle;           /* wait for the mapper after each call, so that no outcome depends on its timing */
        uint64_t timeout_usec; /* of each wait for memory */
};

struct pager_counters {
        uint64_t prompts;            /* admitted, recomputed ones included */
        uint64_t prompt_extents;     /* granted for them */
        uint64_t prompt_round_trips; /* requests sent for them */
        uint64_t cold_prompts;       /* of these: in a row with nothing mapped */
        uint64_t cold_prompt_extents, cold_prompt_round_trips;
        uint64_t grown_after_prefill;      /* sequences whose row was backed further after their prompt */
        uint64_t failed_admission_extents; /* granted to a prompt that did not get all it needs */
};

struct pager {
        struct pager_options options;
        struct kvp_conn *connection;
        struct kvp_cache *cache;
        struct places places;
        struct contents contents;
        struct kvp_seq_step *steps;
        struct pager_counters counters;
        struct histogram wait_nsec; /* of each kvp_step() */
        struct complaint complaint; /* why an operation failed for good */
        int shortage;               /* what the last step without memory met; 0: none has */
        uint32_t failed_alone;      /* prompts in a row that got no memory while nothing else ran here */
        struct gate *gate;          /* NULL: nobody visits */
        bool on_mapper;             /* for the time of a visit: nothing can be waited for */
};

/* Connects and makes the cache. On failure ret_pager's complaint says why and pager_close() is still due. */
int pager_open(const struct pager_options *options, struct pager *ret_pager);
void pager_close(struct pager *pager);

/* Waits until the mapper is done, so that what follows does not depend on its timing. */
int pager_settle(struct pager *pager);

int pager_stats(struct pager *pager, struct kvp_cache_stats *ret_stats);

/* What may be in the way of a request that would fit, by what kvp_step() said last. */
const char *pager_why_short(const struct pager *pager);

/* Operations for an engine whose memory is a struct pager. */
extern const struct memory_ops pager_ops;

#endif
