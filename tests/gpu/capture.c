/* SPDX-License-Identifier: MIT
 *
 * capture.c -- see capture.h. kvpager itself captures nothing, so these functions are not in its table.
 */
#include "capture.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

struct caller {
        struct kit *kit;
        struct run run; /* one extent, and room for it; none: it waits */
        CUresult result;
};

static CUresult map_and_unmap(const struct cuda *cuda, const struct run *run, const CUmemAccessDesc *access)
{
        CUresult r = cuda->mem_map(run->base, run->size, 0, run->handles[0], 0);

        if (r == CUDA_SUCCESS)
                r = cuda->mem_set_access(run->base, run->size, access, 1);
        return r == CUDA_SUCCESS ? cuda->mem_unmap(run->base, run->size) : r;
}

static void *caller_run(void *data)
{
        struct caller *caller = data;
        const struct cuda *cuda = caller->kit->cuda;
        int mode = CU_STREAM_CAPTURE_MODE_RELAXED;

        caller->result = cuda->exchange_capture_mode(&mode);
        if (caller->result == CUDA_SUCCESS)
                caller->result = cuda->ctx_push_current(caller->kit->context);
        if (caller->result == CUDA_SUCCESS)
                caller->result = caller->run.n > 0 ? map_and_unmap(cuda, &caller->run, &caller->kit->access)
                                                   : cuda->ctx_synchronize();
        return NULL;
}

/* False: kit->error. */
static bool capture_while(struct kit *kit, struct caller *caller, CUresult *ret_end)
{
        void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *graph = NULL;
        CUresult (*begin)(CUstream, int), (*end)(CUstream, void **);
        pthread_t thread;
        CUstream stream;

        if (!library || !OK(stream_create(&stream, CU_STREAM_NON_BLOCKING)))
                return false;
        *(void **)&begin = dlsym(library, "cuStreamBeginCapture_v2");
        *(void **)&end = dlsym(library, "cuStreamEndCapture");
        if (!begin || !end || !kit_ok(kit, begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "cuStreamBeginCapture") ||
            pthread_create(&thread, NULL, caller_run, caller) != 0)
                return false;
        (void)pthread_join(thread, NULL);
        *ret_end = end(stream, &graph);
        return true;
}

void capture_survives(struct kit *kit, bool waits, char text[static ANSWER_TEXT], char detail[static ANSWER_DETAIL])
{
        struct caller caller = { .kit = kit };
        CUresult end = CUDA_SUCCESS;

        if ((!waits && !run_make(kit, &caller.run, KIT_PAGE, 1)) || !capture_while(kit, &caller, &end)) {
                (void)snprintf(text, ANSWER_TEXT, "unknown");
                (void)snprintf(detail, ANSWER_DETAIL, "%s", kit->error);
                return;
        }
        (void)snprintf(text, ANSWER_TEXT, "%s", end == CUDA_SUCCESS ? "yes" : "no");
        (void)snprintf(detail, ANSWER_DETAIL, "%s in another thread: %s (%d); cuStreamEndCapture: %s (%d)",
                       waits ? "cuCtxSynchronize" : "map, set-access, unmap", cuda_error_name(kit->cuda, caller.result),
                       caller.result, cuda_error_name(kit->cuda, end), end);
}
