/* SPDX-License-Identifier: MIT
 *
 * gpu-probe.c -- what the design believes of the driver, asked of a driver: each question is a short experiment.
 *
 *      gpu-probe list                   the questions, a line each
 *      gpu-probe memory                 bytes of the GPU that are free and in use, by NVML, while this program has it
 * open gpu-probe [--small] QUESTION     {"name": ..., "answer": "yes", "no" or a figure, "detail": ...}
 *
 * One question a process, for some answers are faults that end a context. Where others die, they are this program
 * started again.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"
#include "kit.h"
#include "other.h"

#define PATTERN 0x5au
#define LOOK_AT (UINT64_C(16) << 20) /* bytes that a kernel compares at a time */

struct answer {
        char text[ANSWER_TEXT], detail[ANSWER_DETAIL];
};

static void yes(struct answer *a, const char *detail)
{
        (void)snprintf(a->text, sizeof(a->text), "yes");
        (void)snprintf(a->detail, sizeof(a->detail), "%s", detail);
}

static void no(struct answer *a, const char *detail)
{
        (void)snprintf(a->text, sizeof(a->text), "no");
        (void)snprintf(a->detail, sizeof(a->detail), "%s", detail);
}

/* No answer: something else went wrong. */
static void unknown(struct answer *a, const char *detail)
{
        (void)snprintf(a->text, sizeof(a->text), "unknown");
        (void)snprintf(a->detail, sizeof(a->detail), "%s", detail);
}

/* ---- memory that can be known again ---- */

static bool fill(struct kit *kit, CUdeviceptr at, uint64_t bytes)
{
        return OK(set_bytes(at, PATTERN, bytes)) && OK(ctx_synchronize());
}

/* Bytes that are not `byte`; UINT64_MAX: the copy failed. */
static uint64_t differing(struct kit *kit, CUdeviceptr at, uint64_t bytes, unsigned char byte)
{
        static unsigned char buffer[4 << 20];
        uint64_t n = 0;

        for (uint64_t done = 0, size; done < bytes; done += size) {
                size = bytes - done < sizeof(buffer) ? bytes - done : sizeof(buffer);
                if (!OK(copy_out(buffer, at + done, size)))
                        return UINT64_MAX;
                for (uint64_t i = 0; i < size; i++)
                        n += buffer[i] != byte;
        }
        return n;
}

/* Whether words of the memory are not 0, by a kernel, for there may be much of it: compared with the zeroed words at
 * `scratch`, with a report behind them. False: kit->error. */
static bool look(struct kit *kit, CUdeviceptr at, uint64_t bytes, CUdeviceptr scratch, uint64_t *ret_dirty)
{
        CUfunction compare = kit_kernel(kit, "kvp_compare");
        struct kernel_report report = { .first = UINT64_MAX };
        const CUdeviceptr into = scratch + LOOK_AT;

        if (!compare || !OK(copy_in(into, &report, sizeof(report))))
                return false;
        for (uint64_t done = 0, part; done < bytes; done += part) {
                struct kernel_compare parameters = { .expected = scratch, .report = into, .layers = 1 };
                struct kernel_shape shape;

                part = bytes - done < LOOK_AT ? bytes - done : LOOK_AT;
                parameters.found = at + done;
                parameters.n = (uint32_t)(part / 4);
                shape = kernel_words_shape(parameters.n);
                if (!kit_launch(kit, compare, &parameters, &shape, NULL))
                        return false;
        }
        if (!OK(ctx_synchronize()) || !OK(copy_out(&report, into, sizeof(report))))
                return false;
        *ret_dirty = report.mismatches;
        return true;
}

/* ---- other processes: this program with a role ---- */

/* An extent of up to `most` bytes, mapped, and kept until the process ends. Returns its size; 0: no more, but for what
 * the driver and kernels need themselves, or kit->error. */
static uint64_t take(struct kit *kit, uint64_t most, CUdeviceptr *ret_at)
{
        CUmemGenericAllocationHandle handle;
        size_t available = 0, total = 0;
        uint64_t size;

        if (!OK(mem_get_info(&available, &total)))
                return 0;
        available -= available < total / 64 ? available : total / 64;
        size = available < 32 * KIT_PAGE ? available : 32 * KIT_PAGE;
        size = (size < most ? size : most) / KIT_PAGE * KIT_PAGE;
        if (size == 0 || !OK(mem_reserve(ret_at, size, 0, 0, 0)) || !OK(mem_create(&handle, size, &kit->prop, 0)) ||
            !OK(mem_map(*ret_at, size, 0, handle, 0)) || !OK(mem_set_access(*ret_at, size, &kit->access, 1)))
                return 0;
        return size;
}

/* Roles. Each waits to be killed, or for the other end to go. */
static int role(const char *name, uint64_t bytes)
{
        struct kit kit_here = { 0 }, *kit = &kit_here;
        struct run run;
        char byte;
        int fd = -1;

        kit_open(kit, strcmp(name, "export-plain") != 0);
        if (strcmp(name, "export-plain") == 0) { /* without a context, as the daemon does it */
                CUmemGenericAllocationHandle handle;

                if (!OK(mem_create(&handle, bytes, &kit->prop, 0)) ||
                    !OK(mem_export(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0)))
                        return EXIT_FAILURE;
        } else if (strcmp(name, "fill") == 0) { /* nearly all memory */
                CUdeviceptr at;

                for (uint64_t done = 0, part; (part = take(kit, bytes - done, &at)) > 0; done += part)
                        if (!fill(kit, at, part))
                                return EXIT_FAILURE;
        } else if (!run_make(kit, &run, bytes, 1) || !run_map(kit, &run) ||
                   !run_access(kit, &run, CU_MEM_ACCESS_FLAGS_PROT_READWRITE) || !fill(kit, run.base, bytes)) {
                return EXIT_FAILURE;
        }
        if (strcmp(name, "export") == 0 &&
            !OK(mem_export(&fd, run.handles[0], CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0)))
                return EXIT_FAILURE;
        other_say(fd);
        (void)!read(OTHER_SOCKET, &byte, 1);
        return EXIT_SUCCESS;
}

/* An import of what another process exported, mapped. */
static bool import(struct kit *kit, int fd, uint64_t bytes, struct run *run)
{
        *run = (struct run){ .size = bytes, .room = bytes, .n = 1 };
        return OK(mem_reserve(&run->base, bytes, 0, 0, 0)) &&
               OK(mem_import(&run->handles[0], (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)) &&
               run_map(kit, run) && run_access(kit, run, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

/* ---- questions ---- */

/* Plain memory is all that it needs: what else the driver cannot do is for other questions. */
static void kernels_load_and_run(struct kit *kit, struct answer *a)
{
        CUdeviceptr memory, scratch;
        uint64_t dirty = 0;

        if (!OK(alloc(&memory, KIT_PAGE)) || !OK(alloc(&scratch, LOOK_AT + KIT_PAGE)) ||
            !OK(set_bytes(scratch, 0, LOOK_AT)) || !fill(kit, memory, KIT_PAGE))
                unknown(a, kit->error);
        else if (!look(kit, memory, KIT_PAGE, scratch, &dirty))
                no(a, kit->error);
        else if (dirty != KIT_PAGE / 4)
                no(a, "a kernel runs, and does not see what is in memory");
        else
                yes(a, "of those built in, or of $KVPAGER_KERNELS, one");
}

static void create_without_context(struct kit *kit, struct answer *a)
{
        CUmemGenericAllocationHandle handle;
        int fd = -1;

        if (!OK(mem_create(&handle, KIT_PAGE, &kit->prop, 0))) {
                no(a, kit->error);
                return;
        }
        if (!OK(mem_export(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0)))
                no(a, kit->error);
        else
                yes(a, "cuMemCreate and cuMemExportToShareableHandle succeed with no context in the process");
        (void)close(fd);
        (void)kit->cuda->mem_release(handle);
}

static void footprint(struct kit *kit, struct answer *a)
{
        const uint64_t before = memory_used(kit);
        CUmemGenericAllocationHandle handle;
        CUcontext context;
        uint64_t created, with_context;

        if (before == UINT64_MAX) {
                unknown(a, "there is no NVML (libnvidia-ml.so.1) to ask");
                return;
        }
        if (!OK(mem_create(&handle, KIT_PAGE, &kit->prop, 0))) {
                unknown(a, kit->error);
                return;
        }
        created = memory_used(kit);
        if (!OK(primary_ctx_retain(&context, kit->device))) {
                unknown(a, kit->error);
                return;
        }
        with_context = memory_used(kit);
        (void)snprintf(a->text, sizeof(a->text), "%.1f",
                       ((double)created - (double)before - (double)KIT_PAGE) / 1048576);
        (void)snprintf(
                a->detail, sizeof(a->detail),
                "MiB that a process takes beyond the extent that it has created without a context; a context: %.1f MiB more",
                ((double)with_context - (double)created) / 1048576);
}

static void granularity(struct kit *kit, struct answer *a)
{
        size_t least = 0, best = 0;

        if (!OK(mem_get_granularity(&least, &kit->prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM)) ||
            !OK(mem_get_granularity(&best, &kit->prop, 1))) {
                unknown(a, kit->error);
                return;
        }
        (void)snprintf(a->text, sizeof(a->text), "%zu", least);
        (void)snprintf(a->detail, sizeof(a->detail), "bytes at least; %zu recommended", best);
}

static void set_access_over_many(struct kit *kit, struct answer *a)
{
        const unsigned n = kit->small ? 8 : 64;
        struct run run;

        if (!run_make(kit, &run, KIT_PAGE, n) || !run_map(kit, &run))
                unknown(a, kit->error);
        else if (!run_access(kit, &run, CU_MEM_ACCESS_FLAGS_PROT_READWRITE) || !fill(kit, run.base, KIT_PAGE * n))
                no(a, kit->error);
        else if (differing(kit, run.base, KIT_PAGE * n, PATTERN) != 0)
                no(a, "one call succeeds, and the memory is not what was written");
        else
                yes(a, "one call over adjacent handles, all of it can be written and read");
        run_unmap(kit, &run);
        run_free(kit, &run);
}

static void set_access_over_part(struct kit *kit, struct answer *a)
{
        struct run run;

        if (!run_make(kit, &run, 2 * KIT_PAGE, 1) || !run_map(kit, &run))
                unknown(a, kit->error);
        else if (!OK(mem_set_access(run.base, KIT_PAGE, &kit->access, 1)))
                no(a, kit->error);
        else
                yes(a, "half of a mapping of 4 MiB");
        run_unmap(kit, &run);
        run_free(kit, &run);
}

/* Maps as is said, into room for two extents of 4 MiB. */
static void try_map(struct kit *kit, struct answer *a, uint64_t size, uint64_t offset, bool twice, const char *what)
{
        struct run run;

        if (!run_make(kit, &run, 2 * KIT_PAGE, 2))
                unknown(a, kit->error);
        else if (twice && !OK(mem_map(run.base + 2 * KIT_PAGE, 2 * KIT_PAGE, 0, run.handles[0], 0)))
                unknown(a, kit->error);
        else if (!OK(mem_map(run.base, size, offset, run.handles[0], 0)))
                no(a, kit->error);
        else if (!OK(mem_set_access(run.base, size, &kit->access, 1)) || !fill(kit, run.base, size))
                no(a, kit->error);
        else
                yes(a, what);
        (void)kit->cuda->mem_unmap(run.base, size);
        run_unmap(kit, &run);
        run_free(kit, &run);
}

static void map_smaller_than_handle(struct kit *kit, struct answer *a)
{
        try_map(kit, a, KIT_PAGE, 0, false, "2 MiB of a handle of 4");
}

static void map_at_offset(struct kit *kit, struct answer *a)
{
        try_map(kit, a, KIT_PAGE, KIT_PAGE, false, "the second half of a handle");
}

static void map_twice(struct kit *kit, struct answer *a)
{
        try_map(kit, a, 2 * KIT_PAGE, 0, true, "one handle at two addresses");
}

static void unmap_several_at_once(struct kit *kit, struct answer *a)
{
        struct run run;

        if (!run_make(kit, &run, KIT_PAGE, 4) || !run_map(kit, &run))
                unknown(a, kit->error);
        else if (!OK(mem_unmap(run.base, 4 * KIT_PAGE)))
                no(a, kit->error);
        else
                yes(a, "four adjacent mappings by one cuMemUnmap");
        run_unmap(kit, &run);
        run_free(kit, &run);
}

static void unmap_part(struct kit *kit, struct answer *a)
{
        struct run run;

        if (!run_make(kit, &run, 2 * KIT_PAGE, 1) || !run_map(kit, &run))
                unknown(a, kit->error);
        else if (!OK(mem_unmap(run.base, KIT_PAGE)))
                no(a, kit->error);
        else
                yes(a, "half of a mapping of 4 MiB");
}

/* Compares words of `at` with themselves: an attention-free kernel that writes its report there. */
static bool touch(struct kit *kit, CUdeviceptr at, bool write)
{
        CUfunction compare = kit_kernel(kit, "kvp_compare");
        const struct kernel_compare parameters = {
                .found = at, .expected = at, .report = at, .layers = 1, .n = 256, .count = write
        };
        const struct kernel_shape shape = kernel_words_shape(256);

        return compare && kit_launch(kit, compare, &parameters, &shape, NULL) && OK(ctx_synchronize());
}

/* The kernel ran into a fault: that it could not be had or launched is no answer. */
static bool faulted(const struct kit *kit)
{
        static const char wait[] = "ctx_synchronize:";

        return strncmp(kit->error, wait, strlen(wait)) == 0;
}

static void read_only_faults_on_write(struct kit *kit, struct answer *a)
{
        struct run run;

        if (!run_make(kit, &run, KIT_PAGE, 1) || !run_map(kit, &run) ||
            !run_access(kit, &run, CU_MEM_ACCESS_FLAGS_PROT_READ) || !touch(kit, run.base, false)) {
                unknown(a, kit->error);
                return;
        }
        if (touch(kit, run.base, true))
                no(a, "a kernel wrote to memory that was mapped for reading");
        else
                (faulted(kit) ? yes : unknown)(a, kit->error);
}

static void no_access_faults(struct kit *kit, struct answer *a)
{
        struct run run;

        if (!run_make(kit, &run, KIT_PAGE, 1) || !run_map(kit, &run)) {
                unknown(a, kit->error);
                return;
        }
        if (touch(kit, run.base, false))
                no(a, "a kernel read memory before cuMemSetAccess");
        else
                (faulted(kit) ? yes : unknown)(a, kit->error);
}

/* Memory that holds the pattern, with nobody else left who has it, is as it was and can be written. */
static void still_there(struct kit *kit, struct answer *a, const struct run *run, const char *how)
{
        const uint64_t wrong = differing(kit, run->base, run->size, PATTERN);

        if (wrong == 0 && OK(set_bytes(run->base, 1, run->size)) && differing(kit, run->base, run->size, 1) == 0)
                yes(a, how);
        else
                no(a, wrong == UINT64_MAX ? kit->error
                      : wrong > 0         ? "the memory is not what was written"
                                          : "it cannot be written");
}

static void fd_outlives_exporter(struct kit *kit, struct answer *a)
{
        const uint64_t bytes = 2 * KIT_PAGE;
        struct other other;
        struct run run;
        int fd;

        if (!other_start(&other, "export", bytes) || !other_hear(&other, &fd)) {
                unknown(a, "the exporter did not start");
                return;
        }
        other_kill(&other);
        if (!import(kit, fd, bytes, &run))
                no(a, kit->error);
        else
                still_there(kit, a, &run, "imported after the exporter was killed, with what it had written");
}

/* Nothing is left but a mapping: the exporter is killed with its handle and its fd, ours are closed. */
static void mapping_alone(struct kit *kit, struct answer *a, const char *role, bool write, const char *how)
{
        const uint64_t bytes = 2 * KIT_PAGE;
        struct other other;
        struct run run;
        int fd;

        if (!other_start(&other, role, bytes) || !other_hear(&other, &fd)) {
                unknown(a, "the exporter did not start");
                return;
        }
        if (!import(kit, fd, bytes, &run) || (write && !fill(kit, run.base, bytes))) {
                unknown(a, kit->error);
                other_kill(&other);
                return;
        }
        other_kill(&other);
        (void)close(fd);
        if (!OK(mem_release(run.handles[0])))
                no(a, kit->error);
        else
                still_there(kit, a, &run, how);
}

static void mapping_outlives_exporter(struct kit *kit, struct answer *a)
{
        mapping_alone(kit, a, "export", false, "what the exporter had written, by a mapping alone after it was killed");
}

/* As the daemon exports, and as a worker closes its fd and lets its handle go. */
static void mapping_alone_keeps_memory(struct kit *kit, struct answer *a)
{
        mapping_alone(kit, a, "export-plain", true,
                      "a mapping alone keeps memory that a process without a context exported, which was killed");
}

/* What a process wrote that was killed is not seen by the next one. Nearly all memory is filled, and nearly all looked
 * at, so that most of what is looked at is what was filled, whatever order the driver takes it in. */
static void fresh_memory_is_scrubbed(struct kit *kit, struct answer *a)
{
        const uint64_t most = kit->small ? 8 * KIT_PAGE : UINT64_MAX;
        uint64_t seen = 0, dirty = 0, part = 0;
        size_t before = 0, filled = 0, now = 0, total = 0, enough;
        CUdeviceptr scratch, at;
        struct other other;
        double start;
        int fd;

        if (!kit_kernel(kit, "kvp_compare") || !OK(alloc(&scratch, LOOK_AT + KIT_PAGE)) ||
            !OK(set_bytes(scratch, 0, LOOK_AT)) || !OK(mem_get_info(&before, &total))) {
                unknown(a, kit->error);
                return;
        }
        enough = before - before / 64;
        if (!other_start(&other, "fill", most) || !other_hear(&other, &fd) || !OK(mem_get_info(&filled, &total))) {
                unknown(a, "the other process did not start, or could not fill memory");
                return;
        }
        other_kill(&other);
        for (start = now_usec(); now_usec() - start < 2e7 && OK(mem_get_info(&now, &total)) && now < enough;)
                (void)poll(NULL, 0, 1);
        /* What was looked at is kept, so that the next is other memory. */
        for (; dirty == 0 && (part = take(kit, most - seen, &at)) > 0; seen += part)
                if (!look(kit, at, part, scratch, &dirty)) {
                        unknown(a, kit->error);
                        return;
                }
        if (seen == 0) {
                unknown(a, kit->error);
                return;
        }
        (void)snprintf(
                a->detail, sizeof(a->detail),
                "%ju words of %ju MiB were not 0, after another process had taken %ju of %ju MiB that were free, "
                "filled them and was killed",
                (uintmax_t)dirty, (uintmax_t)(seen >> 20), (uintmax_t)((before - filled) >> 20),
                (uintmax_t)(before >> 20));
        /* Of half of each, one need not have touched what the other did. */
        (void)snprintf(a->text, sizeof(a->text), "%s",
                       dirty > 0                                                                    ? "no"
                       : !kit->small && (seen < before / 4 * 3 || before - filled < before / 4 * 3) ? "unknown"
                                                                                                    : "yes");
}

static void host_numa_export(struct kit *kit, struct answer *a)
{
        CUmemAllocationProp prop = kit->prop;
        CUmemGenericAllocationHandle handle;
        int fd = -1;

        prop.location = (CUmemLocation){ CU_MEM_LOCATION_TYPE_HOST_NUMA, 0 };
        if (!OK(mem_create(&handle, KIT_PAGE, &prop, 0)) ||
            !OK(mem_export(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0)))
                no(a, kit->error);
        else
                yes(a, "host memory of NUMA node 0 as an fd");
}

static void reexport_of_import(struct kit *kit, struct answer *a)
{
        struct other other;
        struct run run;
        int fd, again = -1;

        if (!other_start(&other, "export", KIT_PAGE) || !other_hear(&other, &fd) || !import(kit, fd, KIT_PAGE, &run)) {
                unknown(a, kit->error);
                return;
        }
        if (!OK(mem_export(&again, run.handles[0], CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0)))
                no(a, kit->error);
        else
                yes(a, "an imported handle can be exported again");
        other_kill(&other);
}

static void killed_memory_is_free_after(struct kit *kit, struct answer *a)
{
        const uint64_t bytes = kit->small ? 8 * KIT_PAGE : UINT64_C(4) << 30;
        size_t before, total, now = 0;
        struct other other;
        double start;
        int fd;

        if (!OK(mem_get_info(&before, &total)) || !other_start(&other, "hold", bytes) || !other_hear(&other, &fd)) {
                unknown(a, "the other process did not start");
                return;
        }
        start = now_usec();
        (void)kill(other.pid, SIGKILL);
        while (now_usec() - start < 2e7 && OK(mem_get_info(&now, &total)) && now + KIT_PAGE < before)
                (void)poll(NULL, 0, 1);
        (void)snprintf(a->text, sizeof(a->text), "%.0f", (now_usec() - start) / 1e3);
        (void)snprintf(a->detail, sizeof(a->detail),
                       "ms from SIGKILL until %ju MiB (and a context) of a process are free%s",
                       (uintmax_t)(bytes >> 20), now + KIT_PAGE < before ? ": they were not in 20 s" : "");
        other_kill(&other);
}

static void reserve_cost(struct kit *kit, struct answer *a)
{
        const uint64_t sizes[] = { UINT64_C(8) << 30, UINT64_C(1) << 40 };
        double usec[2] = { 0, 0 };

        for (int i = 0; i < 2; i++) {
                CUdeviceptr base;
                double start = now_usec();

                if (!OK(mem_reserve(&base, sizes[i], KIT_PAGE, 0, 0))) {
                        unknown(a, kit->error);
                        return;
                }
                usec[i] = now_usec() - start;
                (void)kit->cuda->mem_free(base, sizes[i]);
        }
        (void)snprintf(a->text, sizeof(a->text), "%.1f", usec[0]);
        (void)snprintf(a->detail, sizeof(a->detail), "us to reserve 8 GiB; 1 TiB: %.1f us", usec[1]);
}

/* Do calls that map wait for kernels that run? */
static void mapping_waits_for_kernels(struct kit *kit, struct answer *a)
{
        const uint64_t words = kit->small ? 1 << 16 : 1 << 26;
        CUfunction compare = kit_kernel(kit, "kvp_compare");
        struct kernel_compare parameters = { .layers = 1, .n = (uint32_t)words };
        const struct kernel_shape shape = kernel_words_shape(words);
        double idle[3], busy[3], start, kernels;
        CUdeviceptr memory;
        struct run run;

        if (!compare || !OK(alloc(&memory, words * 4 + 4096)) || !run_make(kit, &run, KIT_PAGE, 1)) {
                unknown(a, kit->error);
                return;
        }
        parameters.found = memory + 4096;
        parameters.report = memory;
        parameters.count = 1;
        for (int round = 0; round < 2; round++) {
                double *usec = round ? busy : idle;

                if (!OK(ctx_synchronize()))
                        break;
                start = now_usec();
                for (int i = 0; i < (round ? 50 : 0); i++)
                        (void)kit_launch(kit, compare, &parameters, &shape, NULL);
                kernels = now_usec();
                (void)OK(mem_map(run.base, KIT_PAGE, 0, run.handles[0], 0));
                usec[0] = now_usec() - kernels;
                start = now_usec();
                (void)OK(mem_set_access(run.base, KIT_PAGE, &kit->access, 1));
                usec[1] = now_usec() - start;
                start = now_usec();
                (void)OK(mem_unmap(run.base, KIT_PAGE));
                usec[2] = now_usec() - start;
        }
        start = now_usec();
        (void)OK(ctx_synchronize());
        (void)snprintf(a->text, sizeof(a->text), "%s",
                       busy[0] + busy[1] + busy[2] > 10 * (idle[0] + idle[1] + idle[2]) ? "yes" : "no");
        (void)snprintf(
                a->detail, sizeof(a->detail),
                "map, set-access, unmap in us: idle %.1f, %.1f, %.1f; under kernels that ran %.0f us longer %.1f, %.1f, %.1f",
                idle[0], idle[1], idle[2], now_usec() - start, busy[0], busy[1], busy[2]);
}

static void capture_survives_mapping(struct kit *kit, struct answer *a)
{
        capture_survives(kit, false, a->text, a->detail);
}

static void capture_survives_waiting(struct kit *kit, struct answer *a)
{
        capture_survives(kit, true, a->text, a->detail);
}

static const struct {
        const char *name;
        void (*ask)(struct kit *kit, struct answer *a);
        bool context;
} questions[] = {
        { "kernels_load_and_run", kernels_load_and_run, true },
        { "create_without_context", create_without_context, false },
        { "footprint_without_context_mib", footprint, false },
        { "granularity_bytes", granularity, true },
        { "set_access_over_many_handles", set_access_over_many, true },
        { "set_access_over_part_of_a_mapping", set_access_over_part, true },
        { "map_smaller_than_handle", map_smaller_than_handle, true },
        { "map_at_offset", map_at_offset, true },
        { "map_one_handle_twice", map_twice, true },
        { "unmap_several_at_once", unmap_several_at_once, true },
        { "unmap_part_of_a_mapping", unmap_part, true },
        { "no_access_before_set_access", no_access_faults, true },
        { "read_only_faults_on_write", read_only_faults_on_write, true },
        { "fd_outlives_exporter", fd_outlives_exporter, true },
        { "mapping_outlives_exporter", mapping_outlives_exporter, true },
        { "fresh_memory_is_scrubbed", fresh_memory_is_scrubbed, true },
        { "host_numa_export", host_numa_export, true },
        { "reexport_of_import", reexport_of_import, true },
        { "mapping_alone_keeps_memory", mapping_alone_keeps_memory, true },
        { "killed_memory_is_free_after_ms", killed_memory_is_free_after, true },
        { "reserve_usec", reserve_cost, true },
        { "mapping_waits_for_kernels", mapping_waits_for_kernels, true },
        { "capture_survives_mapping", capture_survives_mapping, true },
        { "capture_survives_waiting", capture_survives_waiting, true },
};

#define N_QUESTIONS (sizeof(questions) / sizeof(questions[0]))

int main(int argc, char **argv)
{
        struct kit kit = { 0 };
        struct answer answer = { .text = "unknown" };
        const char *name;

        if (argc == 3 &&
            (strncmp(argv[1], "export", 6) == 0 || strcmp(argv[1], "hold") == 0 || strcmp(argv[1], "fill") == 0))
                return role(argv[1], strtoull(argv[2], NULL, 10));
        if (argc == 2 && strcmp(argv[1], "memory") == 0)
                return memory_print();
        kit.small = argc > 1 && strcmp(argv[1], "--small") == 0;
        name = argv[argc - 1];
        for (size_t i = 0; i < N_QUESTIONS; i++) {
                if (argc < 2 || strcmp(name, "list") == 0) {
                        (void)puts(questions[i].name);
                        continue;
                }
                if (strcmp(name, questions[i].name) != 0)
                        continue;
                kit_open(&kit, questions[i].context);
                questions[i].ask(&kit, &answer);
                json_begin(name);
                json_text("answer", answer.text);
                json_text("detail", answer.detail);
                json_text("device", kit.name);
                json_end();
                return EXIT_SUCCESS;
        }
        if (argc >= 2 && strcmp(name, "list") != 0)
                (void)fprintf(stderr, "gpu-probe: no question is called %s\n", name);
        return argc >= 2 && strcmp(name, "list") == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
