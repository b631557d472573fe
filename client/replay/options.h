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
        struct geometry geometry;
        enum kvp_layout layout;
        bool verify, no_compute, cold, json, help, version;
};

/* -EINVAL, and the complaint names the option. */
int options_parse(int argc, char **argv, struct options *ret_options, struct complaint *complaint);

void options_print_help(FILE *file);

#endif
