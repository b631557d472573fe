/* SPDX-License-Identifier: MIT
 *
 * timeline.c -- see timeline.h.
 */
#include "timeline.h"

#include <assert.h>

#define FIRST_BUCKET_USEC UINT64_C(1000)

static void timeline_stretch(struct timeline *timeline)
{
        for (uint32_t i = 0; i < TIMELINE_BUCKETS; i++) {
                uint64_t left = 2 * i < TIMELINE_BUCKETS ? timeline->values[2 * i] : 0;
                uint64_t right = 2 * i + 1 < TIMELINE_BUCKETS ? timeline->values[2 * i + 1] : 0;

                timeline->values[i] = left > right ? left : right;
        }
        timeline->bucket_usec *= 2;
}

void timeline_record(struct timeline *timeline, uint64_t usec, uint64_t value)
{
        uint64_t bucket;

        assert(timeline);

        if (timeline->bucket_usec == 0)
                timeline->bucket_usec = FIRST_BUCKET_USEC;
        while (usec / timeline->bucket_usec >= TIMELINE_BUCKETS)
                timeline_stretch(timeline);

        /* What held until now holds in the buckets that were passed over, too. */
        bucket = usec / timeline->bucket_usec;
        for (uint64_t i = timeline->end_usec / timeline->bucket_usec; i <= bucket; i++)
                if (timeline->values[i] < timeline->last)
                        timeline->values[i] = timeline->last;
        if (timeline->values[bucket] < value)
                timeline->values[bucket] = value;
        timeline->last = value;
        if (usec > timeline->end_usec)
                timeline->end_usec = usec;
}
