/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * pager.bpf.c -- where the time of a grant goes, and what a step waited for, by kvpager's own probes.
 *
 *      library   ask ------------------------------> granted, import_done, map_done, access_done ..., ended
 *      daemon          grow ... revoke ... grant ->
 *                 socket |     queue or reclaim  |
 *
 * A request is known in both by its process and number. Stages of a thread that maps follow each other, so each lasts
 * from the one before. What a step's thread waited for is the stage that took most of what its process spent meanwhile.
 *
 * All tables but the figures forget by themselves: a request whose end is never seen is in nobody's way.
 */
#include "shared.h"
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "count.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct request_key {
        uint32_t pid, request;
};

struct request {
        uint64_t asked_ns, came_ns, granted_ns;
        uint64_t reclaims; /* somebody was asked for memory meanwhile */
};

struct sums {
        uint64_t nsec[STAGES];
};

struct thread {
        uint64_t since_ns, stalled_ns;
        struct sums before; /* of the process, when the step began to wait */
};

#define FORGETFUL(name, n, key_type, value_type)                                                                       \
        struct {                                                                                                       \
                __uint(type, BPF_MAP_TYPE_LRU_HASH);                                                                   \
                __uint(max_entries, n);                                                                                \
                __type(key, key_type);                                                                                 \
                __type(value, value_type);                                                                             \
        } name SEC(".maps")

FORGETFUL(requests, 16384, struct request_key, struct request);
FORGETFUL(threads, 4096, uint32_t, struct thread);
FORGETFUL(spent, 4096, uint32_t, struct sums);

/* By cgroup. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 1024);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, uint64_t);
        __type(value, struct pager_stats);
} pagers SEC(".maps");

uint64_t hits[PROBES_MAX]; /* of the probes, by the number in the cookie */
uint64_t revoked_ns;       /* when anybody was asked for memory last */
uint64_t granted_pages, revoked_pages, reclaimed_extents;

static const struct pager_stats no_stats;
static const struct sums no_sums;
static const struct thread no_thread;

/* An argument of a probe: which register it is in came with the cookie. */
static __always_inline uint64_t argument(struct pt_regs *ctx, unsigned which)
{
        uint64_t offset = PLACE_ARGUMENT(bpf_get_attach_cookie(ctx), which), value = 0;

        if (offset < sizeof(struct pt_regs))
                (void)bpf_probe_read_kernel(&value, sizeof(value), (char *)ctx + offset);
        return value;
}

static __always_inline void hit(struct pt_regs *ctx)
{
        COUNT(hits[PLACE_PROBE(bpf_get_attach_cookie(ctx)) & (PROBES_MAX - 1)]);
}

static __always_inline struct pager_stats *stats_get(void)
{
        const uint64_t id = bpf_get_current_cgroup_id();
        struct pager_stats *stats = bpf_map_lookup_elem(&pagers, &id);

        if (stats)
                return stats;
        if (bpf_map_update_elem(&pagers, &id, &no_stats, BPF_NOEXIST) < 0)
                return bpf_map_lookup_elem(&pagers, &id);
        stats = bpf_map_lookup_elem(&pagers, &id);
        if (stats)
                name_group(stats->name);
        return stats;
}

/* This process spent so much in a stage. */
static __always_inline void spend(enum stage stage, uint64_t nsec)
{
        const uint32_t pid = current_pid();
        struct sums *sums = bpf_map_lookup_elem(&spent, &pid);
        struct pager_stats *stats = stats_get();

        if ((int64_t)nsec < 0)
                return; /* of two CPUs' clocks */
        if (!sums) {
                (void)bpf_map_update_elem(&spent, &pid, &no_sums, BPF_NOEXIST);
                sums = bpf_map_lookup_elem(&spent, &pid);
        }
        if (sums)
                ADD(sums->nsec[stage], nsec);
        if (stats)
                count_stage(&stats->stages[stage], nsec);
}

static __always_inline struct thread *thread_get(void)
{
        const uint32_t id = (uint32_t)bpf_get_current_pid_tgid();
        struct thread *thread = bpf_map_lookup_elem(&threads, &id);

        if (thread)
                return thread;
        (void)bpf_map_update_elem(&threads, &id, &no_thread, BPF_NOEXIST);
        return bpf_map_lookup_elem(&threads, &id);
}

static __always_inline struct request *request_find(uint64_t pid, uint64_t number)
{
        const struct request_key key = { .pid = (uint32_t)pid, .request = (uint32_t)number };

        return bpf_map_lookup_elem(&requests, &key);
}

/* ---- the library ---- */

SEC("uprobe")
int ask(struct pt_regs *ctx)
{
        const uint64_t number = argument(ctx, 0);
        const struct request_key key = { .pid = current_pid(), .request = (uint32_t)number };
        const struct request request = { .asked_ns = bpf_ktime_get_ns() };

        hit(ctx);
        (void)bpf_map_update_elem(&requests, &key, &request, BPF_ANY);
        return 0;
}

SEC("uprobe")
int granted(struct pt_regs *ctx)
{
        const uint64_t number = argument(ctx, 0);
        const uint64_t now = bpf_ktime_get_ns();
        struct request *request = request_find(current_pid(), number);
        struct thread *thread = thread_get();

        hit(ctx);
        if (thread)
                thread->since_ns = now;
        if (!request || !request->came_ns || !request->granted_ns)
                return 0; /* the daemon was not watched then, or this is more of the same */
        spend(STAGE_socket, request->came_ns - request->asked_ns + now - request->granted_ns);
        if (request->reclaims)
                spend(STAGE_reclaim, request->granted_ns - request->came_ns);
        else
                spend(STAGE_queue, request->granted_ns - request->came_ns);
        request->came_ns = 0;
        return 0;
}

static __always_inline void stage_done(enum stage stage)
{
        const uint64_t now = bpf_ktime_get_ns();
        struct thread *thread = thread_get();

        if (!thread || !thread->since_ns)
                return;
        spend(stage, now - thread->since_ns);
        thread->since_ns = now;
}

SEC("uprobe")
int import_done(struct pt_regs *ctx)
{
        hit(ctx);
        stage_done(STAGE_import);
        return 0;
}

SEC("uprobe")
int map_done(struct pt_regs *ctx)
{
        hit(ctx);
        stage_done(STAGE_map);
        return 0;
}

SEC("uprobe")
int access_done(struct pt_regs *ctx)
{
        hit(ctx);
        stage_done(STAGE_access);
        return 0;
}

SEC("uprobe")
int ended(struct pt_regs *ctx)
{
        const uint64_t number = argument(ctx, 0);
        const struct request_key key = { .pid = current_pid(), .request = (uint32_t)number };

        hit(ctx);
        (void)bpf_map_delete_elem(&requests, &key);
        return 0;
}

SEC("uprobe")
int step_miss(struct pt_regs *ctx)
{
        const uint32_t pid = current_pid();
        struct sums *sums = bpf_map_lookup_elem(&spent, &pid);
        struct thread *thread = thread_get();

        hit(ctx);
        if (!thread)
                return 0;
        thread->before = sums ? *sums : no_sums;
        thread->stalled_ns = bpf_ktime_get_ns();
        return 0;
}

SEC("uprobe")
int step_done(struct pt_regs *ctx)
{
        const uint32_t pid = current_pid();
        struct sums *sums = bpf_map_lookup_elem(&spent, &pid);
        const uint64_t now = bpf_ktime_get_ns();
        struct pager_stats *stats = stats_get();
        struct thread *thread = thread_get();
        uint64_t most = 0, nsec;
        uint32_t cause = STAGES;

        hit(ctx);
        if (!thread || !thread->stalled_ns || !stats)
                return 0;
        nsec = now - thread->stalled_ns;
        thread->stalled_ns = 0;
#pragma unroll
        for (uint32_t i = 0; i < STAGES; i++) {
                const uint64_t took = sums ? sums->nsec[i] - thread->before.nsec[i] : 0;

                if (took > most) {
                        most = took;
                        cause = i;
                }
        }
        if (cause <= STAGES)
                count_stage(&stats->stalls[cause], nsec);
        return 0;
}

/* ---- the daemon ---- */

SEC("uprobe")
int grow(struct pt_regs *ctx)
{
        const uint64_t pid = argument(ctx, 0);
        const uint64_t number = argument(ctx, 1);
        struct request *request = request_find(pid, number);

        hit(ctx);
        if (request)
                request->came_ns = bpf_ktime_get_ns();
        return 0;
}

SEC("uprobe")
int grant(struct pt_regs *ctx)
{
        const uint64_t pid = argument(ctx, 0);
        const uint64_t number = argument(ctx, 1);
        const uint64_t pages = argument(ctx, 2);
        struct request *request = request_find(pid, number);

        hit(ctx);
        ADD(granted_pages, pages);
        if (!request)
                return 0;
        request->granted_ns = bpf_ktime_get_ns();
        request->reclaims = revoked_ns > request->came_ns;
        return 0;
}

SEC("uprobe")
int revoke(struct pt_regs *ctx)
{
        const uint64_t pages = argument(ctx, 1);
        hit(ctx);
        ADD(revoked_pages, pages);
        revoked_ns = bpf_ktime_get_ns();
        return 0;
}

SEC("uprobe")
int reclaim(struct pt_regs *ctx)
{
        const uint64_t extents = argument(ctx, 1);
        hit(ctx);
        ADD(reclaimed_extents, extents);
        return 0;
}
