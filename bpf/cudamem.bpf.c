/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * cudamem.bpf.c -- who takes memory of a GPU: calls of libcuda.so.1, counted by cgroup, and what each process has taken
 * and not given back.
 *
 * One program is attached where each call begins and one where it returns; which call it is comes as the cookie. A call
 * is counted when it begins, so one that its process does not survive counts; bytes and time when it has succeeded.
 *
 * Memory that was created by cuMemCreate() lives as long as its handle or a mapping of it, as with the driver; that
 * which a process imports is its exporter's. All of it ends with the process, or with its next exec.
 */
#include "shared.h"
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "ring.bpf.h"

#define GROUPS_MAX    1024
#define PROCESSES_MAX 16384
#define OBJECTS_MAX   131072
#define DEPTH_MAX     4u      /* calls that a call makes */
#define RANGE_MAX     131072u /* steps of cuMemUnmap() over a range, of 2 MiB where nothing is known */
#define STEP          (2ull << 20)

#define LOCATION_DEVICE 1 /* CU_MEM_LOCATION_TYPE_DEVICE */

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum object_kind { OBJECT_HANDLE = 1, OBJECT_POINTER, OBJECT_MAPPING };

struct object_key {
        uint32_t serial, kind; /* serial: of the process */
        uint64_t id;           /* handle, or address */
};

struct object {
        uint64_t bytes;
        uint64_t handle; /* of a mapping */
        uint32_t device;
        uint32_t references; /* of a handle: itself, until it is released, and mappings */
};

struct frame {
        uint64_t began_ns, call;
        uint64_t a, b, c, d; /* the first arguments */
};

struct frames {
        uint32_t depth, reserved;
        struct frame frames[DEPTH_MAX];
};

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, GROUPS_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, uint64_t);
        __type(value, struct group);
} groups SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, PROCESSES_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, uint32_t);
        __type(value, struct process);
} processes SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, OBJECTS_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, struct object_key);
        __type(value, struct object);
} objects SEC(".maps");

/* Calls under way, by thread. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, uint32_t);
        __type(value, struct frames);
} under_way SEC(".maps");

/* Processes that the observer was told to look at, and has not yet: so it is told once. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, PROCESSES_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, uint32_t);
        __type(value, uint32_t);
} told SEC(".maps");

uint64_t hits[PROBES_MAX]; /* of the probes, by the number in the cookie */
uint64_t exits, execs;     /* those of the tracepoints */
uint64_t untracked;        /* what did not fit into a table */
uint32_t serials;

static const struct group no_group;
static const struct process no_process;
static const struct frames no_frames;

static __always_inline struct group *group_get(uint64_t id)
{
        struct group *group = bpf_map_lookup_elem(&groups, &id);

        if (group)
                return group;
        if (bpf_map_update_elem(&groups, &id, &no_group, BPF_NOEXIST) == 0) {
                group = bpf_map_lookup_elem(&groups, &id);
                if (group)
                        name_group(group->name);
                return group;
        }
        return bpf_map_lookup_elem(&groups, &id); /* another CPU made it, or there is no room */
}

static __always_inline void tell(uint32_t pid)
{
        struct record_process *record;
        const uint32_t one = 1;

        if (bpf_map_update_elem(&told, &pid, &one, BPF_NOEXIST) < 0)
                return;
        record = ring_reserve(struct record_process);
        if (!record) {
                (void)bpf_map_delete_elem(&told, &pid);
                return;
        }
        record->kind = RECORD_PROCESS;
        record->pid = pid;
        bpf_ringbuf_submit(record, 0);
}

static __always_inline struct process *process_get(uint32_t pid)
{
        struct process *process = bpf_map_lookup_elem(&processes, &pid);
        uint64_t ids;

        if (process)
                return process;
        if (bpf_map_update_elem(&processes, &pid, &no_process, BPF_NOEXIST) == 0) {
                process = bpf_map_lookup_elem(&processes, &pid);
                if (!process)
                        return NULL;
                ids = bpf_get_current_uid_gid();
                process->cgroup = bpf_get_current_cgroup_id();
                process->uid = (uint32_t)ids;
                process->gid = (uint32_t)(ids >> 32);
                process->serial = __sync_fetch_and_add(&serials, 1);
                (void)bpf_get_current_comm(process->comm, sizeof(process->comm));
                tell(pid);
                return process;
        }
        return bpf_map_lookup_elem(&processes, &pid);
}

/* ---- what a process has ---- */

static __always_inline void took(struct process *process, uint32_t pid, uint32_t device, uint64_t bytes)
{
        if (device >= SHARED_DEVICES)
                device = DEVICE_UNKNOWN;
        ADD(process->bytes[device], bytes);
        tell(pid);
}

static __always_inline void object_add(struct process *process, uint32_t pid, enum object_kind kind, uint64_t id,
                                       uint64_t bytes, uint32_t device)
{
        const struct object_key key = { .serial = process->serial, .kind = kind, .id = id };
        const struct object object = { .bytes = bytes, .device = device, .references = 1 };

        if (bpf_map_update_elem(&objects, &key, &object, BPF_ANY) < 0) {
                COUNT(untracked);
                return;
        }
        ADD(process->objects, 1);
        took(process, pid, device, bytes);
}

/* One reference to it goes; with the last one its bytes. Returns those that it had, or 0: it is none of this process.
 */
static __always_inline uint64_t object_drop(struct process *process, uint32_t pid, enum object_kind kind, uint64_t id)
{
        const struct object_key key = { .serial = process->serial, .kind = kind, .id = id };
        struct object *object = bpf_map_lookup_elem(&objects, &key);
        uint64_t bytes;

        if (!object)
                return 0;
        bytes = object->bytes;
        if (__sync_fetch_and_add(&object->references, -1) == 1) {
                took(process, pid, object->device, -bytes);
                (void)bpf_map_delete_elem(&objects, &key);
                ADD(process->objects, -1);
        }
        return bytes;
}

static __always_inline void mapping_add(struct process *process, uint64_t address, uint64_t bytes, uint64_t handle)
{
        const struct object_key of_handle = { .serial = process->serial, .kind = OBJECT_HANDLE, .id = handle };
        const struct object_key key = { .serial = process->serial, .kind = OBJECT_MAPPING, .id = address };
        const struct object mapping = { .bytes = bytes, .handle = handle };
        struct object *object = bpf_map_lookup_elem(&objects, &of_handle);

        if (!object)
                return; /* imported: the exporter's */
        if (bpf_map_update_elem(&objects, &key, &mapping, BPF_ANY) < 0) {
                COUNT(untracked);
                return;
        }
        ADD(object->references, 1);
        ADD(process->objects, 1);
}

struct range {
        uint64_t at, end;
        uint32_t pid, reserved;
};

static int unmap_one(uint32_t index, struct range *range)
{
        struct object_key key = { .kind = OBJECT_MAPPING };
        struct object *mapping;
        struct process *process;
        uint64_t handle;

        if (range->at >= range->end)
                return 1;
        process = bpf_map_lookup_elem(&processes, &range->pid);
        if (!process)
                return 1;
        key.serial = process->serial;
        key.id = range->at;
        mapping = bpf_map_lookup_elem(&objects, &key);
        if (!mapping || mapping->bytes == 0) {
                range->at += STEP;
                return 0;
        }
        range->at += mapping->bytes;
        handle = mapping->handle;
        (void)bpf_map_delete_elem(&objects, &key);
        ADD(process->objects, -1);
        (void)object_drop(process, range->pid, OBJECT_HANDLE, handle);
        return 0;
}

static __always_inline void mappings_drop(struct process *process, uint32_t pid, uint64_t address, uint64_t bytes)
{
        struct range range = { .at = address, .end = address + bytes, .pid = pid };

        if (process->objects > 0)
                (void)bpf_loop(RANGE_MAX, unmap_one, &range, 0);
}

static long object_of(void *map, struct object_key *key, struct object *object, uint32_t *serial)
{
        if (key->serial == *serial)
                (void)bpf_map_delete_elem(map, key);
        return 0;
}

/* Its address space is gone, and all that it had. */
static __always_inline void process_end(uint32_t pid)
{
        struct process *process = bpf_map_lookup_elem(&processes, &pid);
        uint32_t serial;

        if (!process)
                return;
        serial = process->serial;
        if (process->objects > 0)
                (void)bpf_for_each_map_elem(&objects, object_of, &serial, 0);
        (void)bpf_map_delete_elem(&processes, &pid);
        tell(pid);
}

/* ---- calls ---- */

static __always_inline uint64_t user_word(uint64_t address)
{
        uint64_t value = 0;

        (void)bpf_probe_read_user(&value, sizeof(value), (void *)address);
        return value;
}

/* Where cuMemCreate() is asked to: the number of a device; DEVICE_UNKNOWN and false: not on a device. */
static __always_inline bool device_of(uint64_t prop, uint32_t *ret)
{
        struct {
                int32_t type, handles, location, id;
        } head = { 0 };

        if (bpf_probe_read_user(&head, sizeof(head), (void *)prop) < 0 || head.location != LOCATION_DEVICE)
                return false;
        *ret = (uint32_t)head.id;
        return true;
}

/* A call succeeded. Returns the bytes that it was about. */
static __always_inline uint64_t succeeded(const struct frame *f, struct process *process, uint32_t pid)
{
        uint32_t device = DEVICE_UNKNOWN;
        uint64_t bytes = f->b;

        switch (f->call) {
        case CALL_create:
                if (device_of(f->c, &device))
                        object_add(process, pid, OBJECT_HANDLE, user_word(f->a), bytes, device);
                return bytes;
        case CALL_release:
                return object_drop(process, pid, OBJECT_HANDLE, f->a);
        case CALL_map:
                mapping_add(process, f->a, bytes, f->d);
                return bytes;
        case CALL_unmap:
                mappings_drop(process, pid, f->a, bytes);
                return bytes;
        case CALL_alloc_pitch:
                bytes = user_word(f->b) * f->d; /* as wide as it was made */
                object_add(process, pid, OBJECT_POINTER, user_word(f->a), bytes, device);
                return bytes;
        case CALL_alloc:
        case CALL_alloc_async:
        case CALL_alloc_from_pool:
                object_add(process, pid, OBJECT_POINTER, user_word(f->a), bytes, device);
                return bytes;
        case CALL_free:
        case CALL_free_async:
                return object_drop(process, pid, OBJECT_POINTER, f->a);
        default: /* set_access, alloc_managed: no memory of a device for good */
                return bytes;
        }
}

SEC("uprobe")
int call_begins(struct pt_regs *ctx)
{
        const uint64_t cookie = bpf_get_attach_cookie(ctx), call = COOKIE_CALL(cookie);
        const uint32_t thread = (uint32_t)bpf_get_current_pid_tgid();
        struct group *group;
        struct frames *frames;
        struct frame *frame;

        if (call >= CALLS)
                return 0;
        COUNT(hits[COOKIE_PROBE(cookie) & (PROBES_MAX - 1)]);
        group = group_get(bpf_get_current_cgroup_id());
        if (group)
                COUNT(group->calls[call].calls);
        else
                COUNT(untracked);
        frames = bpf_map_lookup_elem(&under_way, &thread);
        if (!frames) {
                (void)bpf_map_update_elem(&under_way, &thread, &no_frames, BPF_NOEXIST);
                frames = bpf_map_lookup_elem(&under_way, &thread);
        }
        if (!frames || frames->depth >= DEPTH_MAX) {
                COUNT(untracked);
                return 0;
        }
        frame = &frames->frames[frames->depth & (DEPTH_MAX - 1)];
        frames->depth++;
        frame->call = call;
        frame->a = PT_REGS_PARM1(ctx);
        frame->b = PT_REGS_PARM2(ctx);
        frame->c = PT_REGS_PARM3(ctx);
        frame->d = PT_REGS_PARM4(ctx);
        frame->began_ns = bpf_ktime_get_ns();
        return 0;
}

/* The call that returns: the last of its kind that this thread began. Any begun after it never returned (longjmp). */
static __always_inline bool frame_take(uint32_t thread, uint64_t call, struct frame *ret)
{
        struct frames *frames = bpf_map_lookup_elem(&under_way, &thread);
        uint32_t depth;

        if (!frames)
                return false;
        depth = frames->depth;
#pragma unroll
        for (uint32_t i = DEPTH_MAX; i-- > 0;) {
                if (i >= depth || frames->frames[i].call != call)
                        continue;
                *ret = frames->frames[i];
                frames->depth = i;
                return true;
        }
        return false;
}

SEC("uretprobe")
int call_returns(struct pt_regs *ctx)
{
        const uint64_t now = bpf_ktime_get_ns(), cookie = bpf_get_attach_cookie(ctx), call = COOKIE_CALL(cookie);
        const uint64_t ids = bpf_get_current_pid_tgid();
        const uint32_t pid = current_pid();
        struct process *process;
        struct call_stats *stats;
        struct group *group;
        struct frame frame;
        uint64_t bytes;

        if (call >= CALLS)
                return 0;
        COUNT(hits[COOKIE_PROBE(cookie) & (PROBES_MAX - 1)]);
        if (!frame_take((uint32_t)ids, call, &frame))
                return 0;
        group = group_get(bpf_get_current_cgroup_id());
        process = process_get(pid);
        if (!group || !process) {
                COUNT(untracked);
                return 0;
        }
        stats = &group->calls[call];
        COUNT(stats->returned);
        count_in(&stats->nsec, now - frame.began_ns);
        if ((int32_t)PT_REGS_RC(ctx) != 0) {
                COUNT(stats->failed);
                return 0;
        }
        bytes = succeeded(&frame, process, pid);
        ADD(stats->bytes, bytes);
        return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(memory_exit, struct task_struct *task)
{
        const uint32_t thread = (uint32_t)BPF_CORE_READ(task, pid);

        (void)bpf_map_delete_elem(&under_way, &thread);
        if (BPF_CORE_READ(task, signal, live.counter) > 0)
                return 0;
        COUNT(exits);
        process_end(current_pid());
        return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(memory_exec, struct task_struct *task)
{
        const uint32_t thread = (uint32_t)BPF_CORE_READ(task, pid);

        COUNT(execs);
        (void)bpf_map_delete_elem(&under_way, &thread);
        process_end(current_pid());
        return 0;
}
