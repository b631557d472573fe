/* SPDX-License-Identifier: MIT
 *
 * load.h -- a worker's load for measuring how long its steps wait: sequences that grow, end and begin anew, on a device
 * that has too little for all. When the daemon wants memory back, the youngest are given up.
 */
#ifndef TEST_SYSTEM_LOAD_H
#define TEST_SYSTEM_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <kvpager.h>

#define LOAD_MAX_ROWS 256u

struct load_options {
        uint64_t usec;    /* how long */
        uint32_t rows;    /* sequences at a time */
        uint64_t tokens;  /* the longest */
        uint64_t timeout; /* of a step, usec */
        uint64_t seed;
        uint64_t pause; /* between steps, usec: the time that a GPU would compute */
        bool fresh;     /* no row keeps its pages: each sequence waits for all of its own */
};

/* What came of it; times of kvp_step() in microseconds. `failed`: steps that got less than they asked for, after which
 * the youngest sequence ended; `given_up`: sequences that others wanted the memory of. */
struct load_result {
        uint64_t steps, failed, completed, given_up;
        double p50, p90, p99, max;
};

/* 0, or a negative errno that is no shortage. */
int load_run(struct kvp_conn *conn, struct kvp_cache *cache, const struct load_options *options,
             struct load_result *ret_result);

#endif
