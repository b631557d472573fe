/* SPDX-License-Identifier: MIT
 *
 * mem-cuda.c -- extents of a GPU's memory: each is imported from its fd and mapped whole; adjacent ones are made
 * accessible by one call.
 *
 * All calls are made in one context: the one that was current when the cache was made, or else the device's primary
 * context, which is what the runtime API and the frameworks on it use. They may come from any thread, so each pushes
 * the context and pops it again. What takes memory away names addresses alone and needs no context, so where that is
 * gone it is done without. The device is found by its UUID, for CUDA_VISIBLE_DEVICES renumbers.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "cuda.h"
#include "mem.h"
#include "probe.h"
#include "util.h"

struct mem_device {
        const struct cuda *cuda;
        CUdevice device;
        CUcontext context;
        bool retained; /* the primary context, by us */
};

static CUdeviceptr pointer(const void *address)
{
        return (CUdeviceptr)(uintptr_t)address;
}

/* What a driver says when something went wrong that may go right the next time is no different from having no memory:
 * the extent is refused, and the caller may ask again. */
static int result_of(CUresult result)
{
        const int r = cuda_errno(result);

        return r == -EIO ? -ENOMEM : r;
}

/* While a thread is in the context. Others may capture graphs meanwhile, and by default the driver then prohibits all
 * threads what may be unsafe in a graph, and spoils the capture of whoever is not to blame: none of our calls is part
 * of any graph, so the thread is none of those. */
struct visit {
        CUresult entered;
        int mode; /* of the thread before; -1: it has it still */
};

static struct visit enter(const struct mem_device *d)
{
        struct visit visit = { .mode = CU_STREAM_CAPTURE_MODE_RELAXED };

        if (d->cuda->exchange_capture_mode(&visit.mode) != CUDA_SUCCESS)
                visit.mode = -1;
        visit.entered = d->cuda->ctx_push_current(d->context);
        return visit;
}

static void leave(const struct mem_device *d, struct visit visit)
{
        CUcontext popped;

        if (visit.entered == CUDA_SUCCESS)
                (void)d->cuda->ctx_pop_current(&popped);
        if (visit.mode >= 0)
                (void)d->cuda->exchange_capture_mode(&visit.mode);
}

/* The caller's context, if it is of the device. */
static int find_context(struct mem_device *d)
{
        CUdevice device;

        if (d->cuda->ctx_get_current(&d->context) == CUDA_SUCCESS && d->context) {
                if (d->cuda->ctx_get_device(&device) != CUDA_SUCCESS || device != d->device)
                        return -EXDEV;
                return 0;
        }
        if (d->cuda->primary_ctx_retain(&d->context, d->device) != CUDA_SUCCESS)
                return -ENODEV;
        d->retained = true;
        return 0;
}

static void cuda_close(struct mem_device *d)
{
        if (d && d->retained)
                (void)d->cuda->primary_ctx_release(d->device);
        free(d);
}

static int cuda_open(const char *uuid, struct mem_device **ret)
{
        struct mem_device *d = calloc(1, sizeof(*d));
        char error[200];
        int r;

        assert(uuid && ret);

        if (!d)
                return -ENOMEM;
        d->cuda = cuda_get(error, sizeof(error));
        r = d->cuda ? cuda_device_find(d->cuda, uuid, &d->device) : -ENODEV;
        if (r == 0)
                r = find_context(d);
        if (r < 0) {
                cuda_close(d);
                return r;
        }
        *ret = d;
        return 0;
}

static uint32_t cuda_number(const struct mem_device *d)
{
        return (uint32_t)d->device;
}

static int cuda_reserve(struct mem_device *d, size_t size, size_t align, void **ret_base)
{
        const struct visit visit = enter(d);
        int r = result_of(visit.entered);
        CUdeviceptr base;

        if (r == 0)
                r = result_of(d->cuda->mem_reserve(&base, size, align, 0, 0));
        leave(d, visit);
        if (r == 0)
                *ret_base = (void *)(uintptr_t)base;
        return r;
}

/* The mapping keeps the memory, so the handle is not kept. Where the context is gone nothing is wrong with the extent:
 * it is refused. */
static int cuda_map(struct mem_device *d, void *address, size_t size, int fd)
{
        const struct visit visit = enter(d);
        CUmemGenericAllocationHandle handle;
        int r = visit.entered == CUDA_SUCCESS ? 0 : -ENOMEM;

        if (r == 0)
                r = result_of(
                        d->cuda->mem_import(&handle, (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
        if (r == 0) {
                PROBE1(import_done, size);
                r = result_of(d->cuda->mem_map(pointer(address), size, 0, handle, 0));
                (void)d->cuda->mem_release(handle);
        }
        leave(d, visit);
        return r == -ENODEV ? -ENOMEM : r;
}

static int cuda_access(struct mem_device *d, void *address, size_t size)
{
        const CUmemAccessDesc desc = { { CU_MEM_LOCATION_TYPE_DEVICE, d->device }, CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
        const struct visit visit = enter(d);
        int r = result_of(visit.entered);

        if (r == 0)
                r = result_of(d->cuda->mem_set_access(pointer(address), size, &desc, 1));
        leave(d, visit);
        return r;
}

static int cuda_unmap(struct mem_device *d, void *address, size_t size)
{
        const struct visit visit = enter(d);
        const int r = result_of(d->cuda->mem_unmap(pointer(address), size));

        leave(d, visit);
        return r;
}

static void cuda_release(struct mem_device *d, void *base, size_t size)
{
        const struct visit visit = enter(d);

        (void)d->cuda->mem_free(pointer(base), size);
        leave(d, visit);
}

/* Where the context is gone, or has failed for good, nothing computes with the memory any more. While a stream of it is
 * captured the driver may refuse to wait: then something may compute. */
static int cuda_fence(struct mem_device *d)
{
        const struct visit visit = enter(d);
        const CUresult r = visit.entered == CUDA_SUCCESS ? d->cuda->ctx_synchronize() : visit.entered;

        leave(d, visit);
        if (r >= CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED && r <= CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD)
                return -EBUSY;
        return cuda_ended(r) ? 0 : result_of(r);
}

const struct mem_backend mem_cuda = {
        .name = "cuda",
        .whole = true,
        .open = cuda_open,
        .close = cuda_close,
        .number = cuda_number,
        .reserve = cuda_reserve,
        .map = cuda_map,
        .access = cuda_access,
        .unmap = cuda_unmap,
        .release = cuda_release,
        .fence = cuda_fence,
};
