/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * ring.bpf.h -- the one ring buffer, which all programs write to, and what did not fit.
 *
 * Each object declares it; the observer makes one and gives it to all of them.
 */
#ifndef BPF_RING_H
#define BPF_RING_H

#include "count.bpf.h"

struct {
        __uint(type, BPF_MAP_TYPE_RINGBUF);
        __uint(max_entries, 256 * 1024);
} ring SEC(".maps");

uint64_t lost; /* records */

/* Space for a record, or NULL, which is counted. */
#define ring_reserve(type)                                                                                             \
        ({                                                                                                             \
                type *reserved = bpf_ringbuf_reserve(&ring, sizeof(type), 0);                                          \
                if (!reserved)                                                                                         \
                        COUNT(lost);                                                                                   \
                reserved;                                                                                              \
        })

#endif
