/* SPDX-License-Identifier: MIT
 *
 * kit.h -- what the programs that run on a GPU share: the driver, its context and our kernels; extents of plain driver
 * calls; time; and one JSON object a line on stdout.
 */
#ifndef TESTS_GPU_KIT_H
#define TESTS_GPU_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda.h"
#include "kernels.h"

#define KIT_PAGE (UINT64_C(2) << 20)

struct kit {
        const struct cuda *cuda;
        CUdevice device;
        CUcontext context; /* current in the thread that opened it; NULL: none was asked for */
        CUmodule module;
        bool small; /* sizes that suit a test of the program itself */
        char name[128], uuid[CUDA_UUID_SIZE];
        CUmemAllocationProp prop; /* of memory that can be exported */
        CUmemAccessDesc access;
        char error[300]; /* the call that failed last, and its result */
};

/* Finds the first device; ends the program with a sentence where there is none. */
void kit_open(struct kit *kit, bool context);

/* The result's name and the call, in kit->error; returns whether it was a success. */
bool kit_ok(struct kit *kit, CUresult result, const char *call);
#define OK(call) kit_ok(kit, kit->cuda->call, #call)

/* One of our kernels; NULL: the error says why. Loads the module at first. */
CUfunction kit_kernel(struct kit *kit, const char *name);

bool kit_launch(struct kit *kit, CUfunction function, const void *parameters, const struct kernel_shape *shape,
                CUstream stream);

#define RUN_MAX 512u

/* Extents as the daemon makes them, and a mapping of them one after the other. */
struct run {
        CUdeviceptr base;
        uint64_t size; /* of each */
        uint64_t room; /* that is reserved for all */
        unsigned n;
        CUmemGenericAllocationHandle handles[RUN_MAX];
};

bool run_reserve(struct kit *kit, struct run *run, uint64_t size, unsigned n);
bool run_create(struct kit *kit, struct run *run);
bool run_make(struct kit *kit, struct run *run, uint64_t size, unsigned n); /* both */
bool run_map(struct kit *kit, struct run *run);
bool run_access(struct kit *kit, struct run *run, int flags);
void run_unmap(struct kit *kit, struct run *run);
void run_release(struct kit *kit, struct run *run);
void run_free(struct kit *kit, struct run *run);

double now_usec(void);
double median(double *values, unsigned n); /* sorts them */
double percentile(const double *sorted, unsigned n, double percent);

/* Bytes of the device's memory, by NVML: total, free, used. False: there is no NVML. */
bool memory_ask(const struct kit *kit, unsigned long long ret[static 3]);
uint64_t memory_used(const struct kit *kit); /* UINT64_MAX: there is no NVML */
int memory_print(void);                      /* as JSON; an exit status */

/* {"name": ..., fields...}: json_begin(), any of the others, json_end(). */
void json_begin(const char *name);
void json_text(const char *key, const char *value);
void json_number(const char *key, double value);
void json_end(void);

#endif
