/* SPDX-License-Identifier: MIT
 *
 * histogram.h -- many durations in little room: counts by size, 16 steps to a power of two, so that a percentile is
 * true to 6 %. Can be sent as bytes and added up.
 */
#ifndef KVPAGER_REPLAY_HISTOGRAM_H
#define KVPAGER_REPLAY_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 16u
#define HISTOGRAM_BINS  (48u * HISTOGRAM_STEPS)

struct histogram {
        uint64_t n, max;
        uint64_t bins[HISTOGRAM_BINS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *histogram, const struct histogram *other);

/* The value that a share (0 to 1) of all values does not exceed, rounded up to its step; 0 for an empty one. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
