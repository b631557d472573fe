/* SPDX-License-Identifier: MIT
 *
 * options.h -- the command line of kvpager-replay.
 */
#ifndef KVPAGER_REPLAY_OPTIONS_H
#define KVPAGER_REPLAY_OPTIONS_H

#include <kvpager.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "complaint.h"
#include "geometry.h"

#define OPTIONS_TENANTS_MAX 64u /* of those that --weights and --mins say something of */

enum scenario {
        SCENARIO_NONE,
        SCENARIO_BURSTS, /* tenants peak by turns */
        SCENARIO_HUNGRY, /* all requests wait from the start */
};

struct options {
        const char *trace;         /* NULL: a made-up load */
        const char *plot;          /* NULL: none */
        uint32_t tenants, workers; /* workers of each tenant */
        uint32_t max_seqs;         /* of each worker */
        uint64_t requests;         /* 0: all of the trace, or DEFAULT_REQUESTS */
        uint64_t seed;
        uint64_t page_size;     /* 0: the daemon's, or 2 MiB */
        uint64_t capacity;      /* 0: not given */
        uint64_t max_tokens;    /* 0: the longest of the trace */
        uint64_t spare_percent; /* of the capacity, kept free at admission */
        double speed;           /* 0: not given */
        enum scenario scenario;
        uint32_t n_weights, n_mins;            /* 0: not given; else one for each tenant */
        uint32_t weights[OPTIONS_TENANTS_MAX]; /* of the private daemon's tenants */
        uint64_t mins[OPTIONS_TENANTS_MAX];    /* bytes */
        bool fixed_split;
        struct geometry geometry;
        enum kvp_layout layout;
        bool verify, no_compute, cold, json, help, version;
};

/* One engine runs at a time, and keeps time by the cost model. */
static inline bool options_virtual_clock(const struct options *options)
{
        return options->no_compute || options->scenario != SCENARIO_NONE;
}

/* NULL: none. */
const char *scenario_name(enum scenario scenario);

/* -EINVAL, and the complaint names the option. */
int options_parse(int argc, char **argv, struct options *ret_options, struct complaint *complaint);

void options_print_help(FILE *file);

#endif
