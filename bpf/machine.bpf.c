/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * machine.bpf.c -- what mappers wait for though nobody keeps memory from them: a CPU, the kernel itself; and pages that
 * have to be read from a disk.
 *
 *      runs | left the CPU ........ woken ........... | runs
 *           | asleep or blocked   | ready, no CPU     |
 *             the state it left in  sched_info.run_delay
 *
 * A mapper is a thread by its name. While it is off a CPU nothing is known of what it waited for, so each time is
 * counted when the thread leaves the CPU again. All switches of the machine come by here: nothing is done for the
 * others.
 */
#include "shared.h"
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "count.bpf.h"

#define TASK_INTERRUPTIBLE   0x1u
#define TASK_UNINTERRUPTIBLE 0x2u
#define TASK_DEAD            0x80u
#define TASK_RTLOCK_WAIT     0x1000u /* of a kernel whose spinlocks sleep */

/* The state that a thread leaves in is an argument since Linux 5.18. Read from the thread itself, it may have been
 * woken already, and is then taken for one that had to leave. */
extern int LINUX_KERNEL_VERSION __kconfig;
#define TELLS_STATE (LINUX_KERNEL_VERSION >= (5 << 16) + (18 << 8))

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct mapper {
        uint64_t started_ns; /* which thread of this number */
        uint64_t left_ns, came_ns;
        uint64_t delayed_ns; /* in all, until it left */
        uint64_t state;      /* in which it left */
};

/* By thread. Memory cannot be had while switching, so this and the next table have all they need from the start. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, uint32_t);
        __type(value, struct mapper);
} mappers SEC(".maps");

/* By cgroup. The observer takes out those that are gone. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, MACHINES_MAX);
        __type(key, uint64_t);
        __type(value, struct machine_stats);
} machines SEC(".maps");

struct cpu cpus[SHARED_CPUS] __attribute__((aligned(64)));
uint64_t faults;
uint64_t untracked; /* waits of groups that had no room */

static const struct machine_stats no_stats;

/* Two words compare faster than a string. */
static __always_inline bool is_mapper(const struct task_struct *task)
{
        const uint64_t *name = (const uint64_t *)task->comm;

        /* What lies behind the end of a name may be anything, up to Linux 5.16. */
        return name[0] == 0x7070616d2d70766bULL /* kvp-mapp */ && (name[1] & 0xffffff) == 0x7265 /* er */;
}

static __always_inline struct machine_stats *stats_get(void)
{
        const uint64_t id = bpf_get_current_cgroup_id();
        struct machine_stats *stats = bpf_map_lookup_elem(&machines, &id);

        if (!stats) {
                (void)bpf_map_update_elem(&machines, &id, &no_stats, BPF_NOEXIST);
                stats = bpf_map_lookup_elem(&machines, &id);
                if (stats)
                        name_group(stats->name);
        }
        if (stats)
                stats->pid = current_pid();
        else
                COUNT(untracked);
        return stats;
}

/* The time off the CPU before what ends now. */
static __always_inline void count_before(const struct mapper *mapper, uint64_t delayed_ns)
{
        const uint64_t off = mapper->came_ns - mapper->left_ns, delay = delayed_ns - mapper->delayed_ns;
        const uint64_t rest = off > delay ? off - delay : 0;
        struct machine_stats *stats = stats_get();

        if (!stats)
                return;
        count_stage(&stats->waits[WAIT_cpu], delay);
        if (mapper->state & (TASK_UNINTERRUPTIBLE | TASK_RTLOCK_WAIT))
                count_stage(&stats->waits[WAIT_blocked], rest);
        else if (mapper->state & TASK_INTERRUPTIBLE)
                count_stage(&stats->waits[WAIT_asleep], rest);
}

static __always_inline void leaves(struct task_struct *task, unsigned state)
{
        const uint32_t id = (uint32_t)task->pid;
        struct mapper *before = bpf_map_lookup_elem(&mappers, &id), now = { .started_ns = task->start_boottime };

        now.left_ns = bpf_ktime_get_ns();
        now.delayed_ns = task->sched_info.run_delay;
        now.state = state;
        if (before && before->started_ns == now.started_ns && before->came_ns)
                count_before(before, now.delayed_ns);
        if (now.state & TASK_DEAD)
                (void)bpf_map_delete_elem(&mappers, &id);
        else if (before)
                *before = now;
        else
                (void)bpf_map_update_elem(&mappers, &id, &now, BPF_ANY);
}

static __always_inline void comes(const struct task_struct *task)
{
        const uint32_t id = (uint32_t)task->pid;
        struct mapper *mapper = bpf_map_lookup_elem(&mappers, &id);

        if (mapper)
                mapper->came_ns = bpf_ktime_get_ns();
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switches, bool preempted, struct task_struct *before, struct task_struct *after)
{
        cpus[bpf_get_smp_processor_id() % SHARED_CPUS].switches++;
        if (is_mapper(before))
                leaves(before, preempted ? 0 : TELLS_STATE ? (unsigned)ctx[3] : before->__state);
        if (is_mapper(after))
                comes(after);
        return 0;
}

SEC("perf_event")
int major_fault(struct bpf_perf_event_data *ctx)
{
        const uint64_t id = bpf_get_current_cgroup_id();
        struct machine_stats *stats = bpf_map_lookup_elem(&machines, &id);

        (void)ctx;
        COUNT(faults);
        if (stats)
                COUNT(stats->major_faults);
        return 0;
}
