/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * shared.h -- what the programs in the kernel and the observer that loads them both know: keys, values, records.
 *
 * Plain C with fixed widths, for two compilers. Times are nanoseconds, pids those of the first pid
 * namespace.
 */
#ifndef BPF_SHARED_H
#define BPF_SHARED_H

#ifdef __bpf__
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif

#define SHARED_COMM  16u
#define PROBES_MAX   1024u /* places that are attached to; a power of two */
#define SHARED_GROUP 64u   /* of a cgroup's own name, cut to so much */

/* ---- the ring: every record begins with its kind and the pid that it is about ---- */

enum record_kind {
        RECORD_EXIT = 1,    /* struct record_exit: a process that is marked ended */
        RECORD_PROCESS = 2, /* struct record_process: what a process has of a device changed; look at it */
};

struct record_exit {
        uint32_t kind, pid;
        uint64_t started_ns; /* since boot, as /proc/PID/stat has it */
        uint64_t ended_ns;   /* since boot */
        uint32_t status;     /* as wait(2) has it */
        uint32_t oom;        /* 1: the kernel chose it when memory ran out */
        char comm[SHARED_COMM];
};

struct record_process {
        uint32_t kind, pid;
};

/* ---- cudamem ---- */

/* Calls of libcuda.so.1 that have to do with memory. X(name, frequent, symbol, what else it is called): `frequent`, 0
 * or 1: a call that programs make so often that a slow probe would be felt. */
#define SHARED_CALLS(X)                                                                                                \
        X(create, 0, "cuMemCreate", NULL)                                                                              \
        X(release, 0, "cuMemRelease", NULL)                                                                            \
        X(map, 0, "cuMemMap", NULL)                                                                                    \
        X(unmap, 0, "cuMemUnmap", NULL)                                                                                \
        X(set_access, 0, "cuMemSetAccess", NULL)                                                                       \
        X(alloc, 0, "cuMemAlloc_v2", NULL)                                                                             \
        X(alloc_pitch, 0, "cuMemAllocPitch_v2", NULL)                                                                  \
        X(alloc_managed, 0, "cuMemAllocManaged", NULL)                                                                 \
        X(free, 0, "cuMemFree_v2", NULL)                                                                               \
        X(alloc_async, 1, "cuMemAllocAsync", "cuMemAllocAsync_ptsz")                                                   \
        X(alloc_from_pool, 1, "cuMemAllocFromPoolAsync", "cuMemAllocFromPoolAsync_ptsz")                               \
        X(free_async, 1, "cuMemFreeAsync", "cuMemFreeAsync_ptsz")

enum call {
#define X(name, frequent, symbol, other) CALL_##name,
        SHARED_CALLS(X)
#undef X
                CALLS
};

/* A cookie of call_begins and call_returns: which call, and the number of the probe that was hit. */
#define COOKIE(call, probe)  ((uint64_t)(probe) << 8 | (uint64_t)(call))
#define COOKIE_CALL(cookie)  ((cookie)&0xff)
#define COOKIE_PROBE(cookie) ((cookie) >> 8)

#define SHARED_SLOTS   32u /* of a histogram; the last takes all that is longer */
#define SHARED_DEVICES 17u /* by number; the last: of a context, which does not say */
#define DEVICE_UNKNOWN (SHARED_DEVICES - 1)

/* Slot i counts values from 2^i up to 2^(i+1) - 1; slot 0 has 0 as well. */
struct histogram {
        uint64_t slots[SHARED_SLOTS];
};

struct call_stats {
        uint64_t calls;    /* begun */
        uint64_t returned; /* of those */
        uint64_t failed;   /* of those that returned */
        uint64_t bytes;    /* of those that succeeded */
        struct histogram nsec;
};

/* By cgroup. */
struct group {
        struct call_stats calls[CALLS];
        char name[SHARED_GROUP]; /* the last part of its path */
};

/* By process, from its first call on. Bytes of a device that it took by itself and still has. */
struct process {
        uint64_t cgroup;
        uint32_t serial; /* never used twice */
        uint32_t uid, gid;
        uint32_t objects;
        uint64_t bytes[SHARED_DEVICES];
        char comm[SHARED_COMM];
};

/* ---- pager ---- */

/* The probes of kvpager, provider "kvpager". X(name, arguments, 1: of the library, 0: of the daemon) */
#define SHARED_PROBES(X)                                                                                               \
        X(ask, "request, entries", 1)                                                                                  \
        X(granted, "request", 1)                                                                                       \
        X(import_done, "bytes", 1)                                                                                     \
        X(map_done, "request, bytes, status", 1)                                                                       \
        X(access_done, "bytes", 1)                                                                                     \
        X(ended, "request", 1)                                                                                         \
        X(step_miss, "rows, timeout in microseconds", 1)                                                               \
        X(step_done, "status", 1)                                                                                      \
        X(grow, "pid, request, entries", 0)                                                                            \
        X(grant, "pid, request, pages", 0)                                                                             \
        X(revoke, "pid, pages, level", 0)                                                                              \
        X(reclaim, "pid, extents", 0)

/* A cookie of those: the number of the probe that was hit, and where in struct pt_regs its arguments are, in words
 * from 1. */
#define PLACE(probe)                  ((uint64_t)(probe))
#define PLACE_WITH(which, offset)     (((uint64_t)(offset) / 8 + 1) << (16 + 8 * (which)))
#define PLACE_PROBE(cookie)           ((cookie)&0xffff)
#define PLACE_ARGUMENT(cookie, which) ((((cookie) >> (16 + 8 * (which)) & 0xff) - 1) * 8)

/* Where the time of a request goes, and a step's stall. X(name, what it is) */
#define SHARED_STAGES(X)                                                                                               \
        X(socket, "on the way to the daemon and back")                                                                 \
        X(queue, "in the daemon, while nobody was asked for memory")                                                   \
        X(reclaim, "in the daemon, while others were asked for memory")                                                \
        X(import, "taking an extent in, where the device has handles")                                                 \
        X(map, "mapping extents")                                                                                      \
        X(access, "making them accessible")

enum stage {
#define X(name, what) STAGE_##name,
        SHARED_STAGES(X)
#undef X
                STAGES
};

struct stage_stats {
        uint64_t count, nsec;
        struct histogram histogram;
};

/* What kvpager's own probes tell of a process: stages of its requests, and stalls of its steps by the stage that took
 * most of each; the last: none of them, so the library itself. */
struct pager_stats {
        struct stage_stats stages[STAGES];
        struct stage_stats stalls[STAGES + 1];
        char name[SHARED_GROUP]; /* of the cgroup, as above */
};

/* ---- machine ---- */

#define SHARED_CPUS  1024u
#define MACHINES_MAX 1024u

/* What a mapper thread that is off a CPU waits for. X(name, what it is) */
#define SHARED_WAITS(X)                                                                                                \
        X(cpu, "ready to run, while others had the CPUs")                                                              \
        X(blocked, "in the kernel, where no signal wakes it: for the disk, a lock of it, a driver")                    \
        X(asleep, "until there is something to do")

enum wait {
#define X(name, what) WAIT_##name,
        SHARED_WAITS(X)
#undef X
                WAITS
};

/* By cgroup of mapper threads. */
struct machine_stats {
        struct stage_stats waits[WAITS]; /* of its mapper threads */
        uint64_t major_faults;           /* of all its threads */
        uint64_t pid;                    /* of the process whose mapper was seen last */
        char name[SHARED_GROUP];         /* of the cgroup, as above */
};

/* Each CPU counts on a cache line of its own. */
struct cpu {
        uint64_t switches, unused[7];
};

#endif
