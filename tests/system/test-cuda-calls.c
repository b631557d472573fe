/* SPDX-License-Identifier: MIT
 *
 * test-cuda-calls.c -- a program that takes GPU memory by itself, as a framework does: lines on stdin tell it what.
 *
 *      run N SEED    N calls of all kinds, some of which fail; what is still held then stays held
 *      take BYTES    cuMemAlloc()             create BYTES   cuMemCreate(), mapped, its handle released at once
 *      drop          all that was taken so    exec           becomes this program anew
 *      reload        unloads the library in the middle of it, and loads it again
 *
 * Each line is answered by "ok". It ends at the end of its input.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda.h"

#define HELD   64u
#define PAGE   (UINT64_C(2) << 20)
#define WINDOW (UINT64_C(1) << 30)

static struct {
#define X(field, symbol, arguments) CUresult(*field) arguments;
        CUDA_FUNCTIONS(X)
#undef X
        CUresult (*alloc_async)(CUdeviceptr *ret, size_t size, CUstream stream);
        CUresult (*free_async)(CUdeviceptr address, CUstream stream);
} cu;

struct chunk {
        CUdeviceptr address;
        CUmemGenericAllocationHandle handle;
        uint64_t size;
        bool mapped, async;
};

static struct chunk held[HELD];
static CUdeviceptr window;
static void *library;
static uint64_t state;

static uint64_t draw(uint64_t below)
{
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (state >> 33) % below;
}

static void must(CUresult result, const char *what)
{
        if (result == CUDA_SUCCESS)
                return;
        (void)fprintf(stderr, "%s: %d\n", what, result);
        exit(1);
}

static void *symbol(const char *name)
{
        void *p = dlsym(library, name);

        if (!p) {
                (void)fprintf(stderr, "no %s\n", name);
                exit(1);
        }
        return p;
}

static void load(void)
{
        CUcontext context;

        library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) {
                (void)fprintf(stderr, "%s\n", dlerror());
                exit(1);
        }
#define X(field, name, arguments) *(void **)&cu.field = symbol(#name);
        CUDA_FUNCTIONS(X)
#undef X
        *(void **)&cu.alloc_async = symbol("cuMemAllocAsync");
        *(void **)&cu.free_async = symbol("cuMemFreeAsync");
        must(cu.init(0), "cuInit");
        must(cu.primary_ctx_retain(&context, 0), "cuDevicePrimaryCtxRetain");
        must(cu.ctx_push_current(context), "cuCtxPushCurrent");
        must(cu.mem_reserve(&window, WINDOW, 0, 0, 0), "cuMemAddressReserve");
}

/* One page of memory at its place in the window. */
static unsigned create(struct chunk *chunk, uint64_t bytes, CUdeviceptr at)
{
        const CUmemAllocationProp prop = { .type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                           .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                           .location = { CU_MEM_LOCATION_TYPE_DEVICE, 0 } };
        const CUmemAccessDesc access = { { CU_MEM_LOCATION_TYPE_DEVICE, 0 }, CU_MEM_ACCESS_FLAGS_PROT_READWRITE };

        must(cu.mem_create(&chunk->handle, bytes, &prop, 0), "cuMemCreate");
        must(cu.mem_map(at, bytes, 0, chunk->handle, 0), "cuMemMap");
        must(cu.mem_set_access(at, bytes, &access, 1), "cuMemSetAccess");
        *chunk = (struct chunk){ .address = at, .handle = chunk->handle, .size = bytes, .mapped = true };
        return 3;
}

static unsigned drop(struct chunk *chunk)
{
        unsigned calls = 1;

        if (chunk->mapped) {
                must(cu.mem_unmap(chunk->address, chunk->size), "cuMemUnmap");
                if (chunk->handle) {
                        must(cu.mem_release(chunk->handle), "cuMemRelease");
                        calls = 2;
                }
        } else if (chunk->async) {
                must(cu.free_async(chunk->address, NULL), "cuMemFreeAsync");
        } else {
                must(cu.alloc_free(chunk->address), "cuMemFree");
        }
        memset(chunk, 0, sizeof(*chunk));
        return calls;
}

/* Some call that must fail. */
static unsigned err(void)
{
        CUdeviceptr address;

        switch (draw(4)) {
        case 0:
                return cu.alloc(&address, 0) == CUDA_SUCCESS ? abort(), 0u : 1u;
        case 1:
                return cu.alloc_free(4096) == CUDA_SUCCESS ? abort(), 0u : 1u;
        case 2:
                return cu.mem_unmap(4096, 4096) == CUDA_SUCCESS ? abort(), 0u : 1u;
        default:
                return cu.mem_release(UINT64_MAX) == CUDA_SUCCESS ? abort(), 0u : 1u;
        }
}

static void run(uint64_t n, uint64_t seed)
{
        uint64_t calls = 0;

        state = seed;
        while (calls < n) {
                const uint64_t slot = draw(HELD);
                struct chunk *chunk = &held[slot];
                const uint64_t kind = draw(16);

                if (chunk->address) {
                        calls += drop(chunk);
                } else if (kind == 0) {
                        calls += err();
                } else if (kind < 5) {
                        calls += create(chunk, PAGE, window + slot * PAGE);
                        if (draw(2)) { /* the mapping keeps it */
                                must(cu.mem_release(chunk->handle), "cuMemRelease");
                                chunk->handle = 0;
                                calls++;
                        }
                } else if (kind < 10) {
                        must(cu.alloc_async(&chunk->address, 1 + draw(100000), NULL), "cuMemAllocAsync");
                        chunk->async = true;
                        calls++;
                } else {
                        must(cu.alloc(&chunk->address, 1 + draw(100000)), "cuMemAlloc");
                        calls++;
                }
        }
}

int main(int argc, char **argv)
{
        char line[100];
        unsigned long long a = 0, b = 0;

        (void)argc;
        load();
        (void)puts("ok");
        (void)fflush(stdout);
        while (fgets(line, sizeof(line), stdin)) {
                unsigned free_slot = 0;

                while (free_slot < HELD - 1 && held[free_slot].address)
                        free_slot++;
                if (sscanf(line, "run %llu %llu", &a, &b) == 2)
                        run(a, b);
                else if (sscanf(line, "take %llu", &a) == 1)
                        must(cu.alloc(&held[free_slot].address, a), "cuMemAlloc");
                else if (sscanf(line, "create %llu", &a) == 1) {
                        (void)create(&held[free_slot], a, window);
                        must(cu.mem_release(held[free_slot].handle), "cuMemRelease");
                        held[free_slot].handle = 0;
                } else if (strcmp(line, "drop\n") == 0) {
                        for (unsigned i = 0; i < HELD; i++)
                                if (held[i].address)
                                        (void)drop(&held[i]);
                } else if (strcmp(line, "reload\n") == 0) {
                        (void)dlclose(library);
                        memset(held, 0, sizeof(held));
                        load();
                } else if (strcmp(line, "exec\n") == 0) {
                        (void)execv("/proc/self/exe", argv);
                } else {
                        (void)fprintf(stderr, "what is: %s", line);
                        return 2;
                }
                (void)puts("ok");
                (void)fflush(stdout);
        }
        return 0;
}
