/* SPDX-License-Identifier: MIT
 *
 * standin.h -- what both stand-ins share: settings, the file of counts, and who has memory, asked of the kernel.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda.h"

#define PUBLIC       __attribute__((visibility("default")))
#define STANDIN_NAME "kvpager-standin" /* memory's name is this, whose it is, the device and the size in bytes */

enum function {
#define X(field, symbol, arguments) F_##field,
        CUDA_FUNCTIONS(X)
#undef X
                N_FUNCTIONS
};

struct state { /* in the shared file; zeroes are a good beginning */
        uint64_t calls[N_FUNCTIONS];
        uint64_t used[16], made_since[16];       /* by device, as of the last look; and what was made after it */
        uint64_t bytes[N_FUNCTIONS];             /* of calls that succeeded, where they are about bytes */
        uint64_t async_calls[2], async_bytes[2]; /* cuMemAllocAsync, cuMemFreeAsync */
};

/* Of the stand-in's memory: other tests on the machine have their own. */
void standin_name(char name[static 64], int device, uint64_t size);
uint64_t standin_setting(const char *name, uint64_t otherwise);
struct state *standin_state(void); /* NULL: no such file */
#define X(field, symbol, arguments) PUBLIC CUresult symbol arguments;
CUDA_FUNCTIONS(X)
#undef X

int standin_devices(void);
uint64_t standin_memory(void);       /* bytes of each device */
uint64_t standin_in_use(int device); /* bytes that any process has open or mapped */
unsigned standin_openers(int fd);    /* how many fds of all processes are of the same memory */
void standin_uuid(int device, CUuuid *ret);

/* ---- between the parts of libcuda ---- */

/* Counts, delays and fails calls as the environment says. */
CUresult standin_enter(enum function function);
#define ENTER(function)                                                                                                \
        do {                                                                                                           \
                const CUresult entered = standin_enter(F_##function);                                                  \
                if (entered != CUDA_SUCCESS)                                                                           \
                        return entered;                                                                                \
        } while (0)

/* A call that is about so many bytes has succeeded. */
static inline void standin_moved(enum function function, uint64_t bytes)
{
        (void)__atomic_add_fetch(&standin_state()->bytes[function], bytes, __ATOMIC_RELAXED);
}

/* What cuMemAlloc() and cuMemFree() do. */
CUresult standin_allocate(CUdeviceptr *ret, size_t size);
CUresult standin_free(CUdeviceptr address, uint64_t *ret_size);

/* A call that is unsafe in a graph, while one is captured: the capture is spoilt, and the call fails. */
CUresult standin_unsafe(void);
#define ENTER_UNSAFE(function)                                                                                         \
        do {                                                                                                           \
                ENTER(function);                                                                                       \
                if (standin_unsafe() != CUDA_SUCCESS)                                                                  \
                        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;                                                  \
        } while (0)

CUcontext standin_current_context(void);          /* of the calling thread; NULL: it has none */
int standin_current_device(void);                 /* of the calling thread's context; -1: it has none */
int standin_real_device(int device);              /* numbers may differ from process to process */
bool standin_has_room(int device, uint64_t size); /* and takes it; any thread */
CUresult standin_finish(void);                    /* runs what was launched; an error stays until the process ends */

#endif
