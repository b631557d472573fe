/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * count.bpf.h -- counting without losing any: other CPUs, and whoever interrupts, count in the same place.
 */
#ifndef BPF_COUNT_H
#define BPF_COUNT_H

#include "shared.h"
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define COUNT(counter)  ((void)__sync_fetch_and_add(&(counter), 1))
#define ADD(counter, n) ((void)__sync_fetch_and_add(&(counter), (n)))

/* The value's slot in a histogram. */
static __always_inline void count_in(struct histogram *histogram, uint64_t value)
{
        uint32_t slot = 0;

#pragma unroll
        for (uint32_t bits = 32; bits > 0; bits >>= 1)
                if (value >> bits) {
                        value >>= bits;
                        slot += bits;
                }
        COUNT(histogram->slots[slot < SHARED_SLOTS ? slot : SHARED_SLOTS - 1]);
}

static __always_inline void count_stage(struct stage_stats *stage, uint64_t nsec)
{
        COUNT(stage->count);
        ADD(stage->nsec, nsec);
        count_in(&stage->histogram, nsec);
}

/* The pid namespace that the observer is in, so that both mean the same by a pid. A process of one below has, as
 * everywhere above it, a number of its own there: the first namespace's, which is right where the observer is in that.
 */
const volatile uint64_t namespace_device, namespace_inode;

static __always_inline uint32_t current_pid(void)
{
        struct bpf_pidns_info info = { 0 };

        if (bpf_get_ns_current_pid_tgid(namespace_device, namespace_inode, &info, sizeof(info)) == 0)
                return info.tgid;
        return (uint32_t)(bpf_get_current_pid_tgid() >> 32);
}

/* The last part of the current cgroup's path: it may be gone when the observer looks. */
static __always_inline void name_group(char name[SHARED_GROUP])
{
        struct task_struct *task = (struct task_struct *)bpf_get_current_task();

        (void)bpf_probe_read_kernel_str(name, SHARED_GROUP, BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, name));
}

#endif
