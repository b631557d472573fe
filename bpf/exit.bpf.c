/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * exit.bpf.c -- how processes end.
 *
 * The end of each process is noted in a table of the last some thousand; that of a process which the observer has
 * marked is told of at once. So a worker whose end comes before anybody has heard of it is found there all the same: a
 * connection is closed after this program has run, and the daemon says that it is.
 */
#include "ring.bpf.h"
#include "shared.h"
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define GROUP_EXIT 4u /* SIGNAL_GROUP_EXIT: all threads end with group_exit_code */

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, uint32_t);
        __type(value, struct record_exit);
} ended SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, uint32_t);
        __type(value, uint32_t);
} marked SEC(".maps");

uint64_t hits; /* processes */

/* The status that wait(2) gives: what all threads ended with, or what the first one returned. */
static __always_inline uint32_t status_of(struct task_struct *task)
{
        if (BPF_CORE_READ(task, signal, flags) & GROUP_EXIT)
                return (uint32_t)BPF_CORE_READ(task, signal, group_exit_code);
        return (uint32_t)BPF_CORE_READ(task, group_leader, exit_code);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
        struct record_exit end = { .kind = RECORD_EXIT }, *record, *before;

        if (BPF_CORE_READ(task, signal, live.counter) > 0)
                return 0; /* other threads live on */
        end.pid = current_pid();
        end.started_ns = BPF_CORE_READ(task, group_leader, start_boottime);
        before = bpf_map_lookup_elem(&ended, &end.pid);
        if (before && before->started_ns == end.started_ns)
                return 0; /* two threads ended at once, and each saw itself as the last one */
        end.ended_ns = bpf_ktime_get_boot_ns();
        end.status = status_of(task);
        end.oom = BPF_CORE_READ(task, signal, oom_mm) != NULL;
        (void)BPF_CORE_READ_STR_INTO(&end.comm, task, group_leader, comm);
        COUNT(hits);
        (void)bpf_map_update_elem(&ended, &end.pid, &end, BPF_ANY);
        if (!bpf_map_lookup_elem(&marked, &end.pid))
                return 0;
        (void)bpf_map_delete_elem(&marked, &end.pid);
        record = ring_reserve(struct record_exit);
        if (record) {
                *record = end;
                bpf_ringbuf_submit(record, 0);
        }
        return 0;
}
