/* SPDX-License-Identifier: MIT
 *
 * timeline.h -- a quantity over time in a fixed number of buckets, for the plot: each keeps the largest value seen in
 * it. When time runs past the last one, neighbours are merged and each bucket lasts twice as long.
 */
#ifndef KVPAGER_REPLAY_TIMELINE_H
#define KVPAGER_REPLAY_TIMELINE_H

#include <stdint.h>

#define TIMELINE_BUCKETS 1024u

struct timeline {
        uint64_t bucket_usec; /* 0: nothing recorded yet */
        uint64_t end_usec;    /* of the last record */
        uint64_t last;        /* recorded last: what holds until the next record */
        uint64_t values[TIMELINE_BUCKETS];
};

/* The quantity is `value` from `usec` on. Times do not run backwards by more than a bucket or so; what is late counts
 * for its bucket. */
void timeline_record(struct timeline *timeline, uint64_t usec, uint64_t value);

#endif
