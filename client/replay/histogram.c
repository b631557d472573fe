/* SPDX-License-Identifier: MIT
 *
 * histogram.c -- see histogram.h.
 */
#include "histogram.h"

#include <assert.h>

/* Values below 16 have a bin each; above, the four bits behind the highest one choose the step. */
static uint32_t bin_of(uint64_t value)
{
        uint32_t power, bin;

        if (value < HISTOGRAM_STEPS)
                return (uint32_t)value;
        power = 63 - (uint32_t)__builtin_clzll(value);
        bin = (power - 3) * HISTOGRAM_STEPS + (uint32_t)(value >> (power - 4) & (HISTOGRAM_STEPS - 1));
        return bin < HISTOGRAM_BINS ? bin : HISTOGRAM_BINS - 1;
}

/* The largest value of a bin. */
static uint64_t bin_end(uint32_t bin)
{
        uint32_t power = bin / HISTOGRAM_STEPS + 3;
        uint64_t step = bin % HISTOGRAM_STEPS;

        if (bin < HISTOGRAM_STEPS)
                return bin;
        return ((HISTOGRAM_STEPS + step + 1) << (power - 4)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
        histogram->n++;
        histogram->bins[bin_of(value)]++;
        if (value > histogram->max)
                histogram->max = value;
}

void histogram_merge(struct histogram *histogram, const struct histogram *other)
{
        histogram->n += other->n;
        for (uint32_t i = 0; i < HISTOGRAM_BINS; i++)
                histogram->bins[i] += other->bins[i];
        if (other->max > histogram->max)
                histogram->max = other->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
        uint64_t seen = 0, wanted = (uint64_t)(share * (double)histogram->n);

        assert(share >= 0 && share <= 1);

        if (wanted == histogram->n && wanted > 0)
                return histogram->max;
        for (uint32_t i = 0; i < HISTOGRAM_BINS; i++) {
                seen += histogram->bins[i];
                if (seen > wanted)
                        return bin_end(i) < histogram->max ? bin_end(i) : histogram->max;
        }
        return histogram->max;
}
