/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * vmlinux.h -- the fields of the kernel's structs that the programs read, and no more. Where each lies is found when a
 * program is loaded, from the running kernel's own description (BTF), so these need be neither complete nor in order.
 */
#ifndef BPF_VMLINUX_H
#define BPF_VMLINUX_H

#include <asm/ptrace.h>
#include <linux/bpf.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
        int counter;
} atomic_t;

struct kernfs_node {
        const char *name;
};

struct cgroup {
        struct kernfs_node *kn;
};

struct css_set {
        struct cgroup *dfl_cgrp;
};

struct mm_struct;

struct sched_info {
        unsigned long long run_delay; /* nanoseconds that it was ready and had no CPU */
};

struct signal_struct {
        atomic_t live; /* threads that have not ended */
        unsigned int flags;
        int group_exit_code;
        struct mm_struct *oom_mm; /* set: it was chosen when memory ran out */
};

struct task_struct {
        unsigned int __state;
        int pid, tgid;
        int exit_code;
        struct task_struct *group_leader;
        struct signal_struct *signal;
        struct css_set *cgroups;
        unsigned long long start_boottime;
        struct sched_info sched_info;
        char comm[16];
};

#pragma clang attribute pop

#endif
