/* SPDX-License-Identifier: MIT
 *
 * async.c -- allocations in the order of a stream, which nothing of ours calls but others do. Here they happen at once.
 *
 * Compiled so that a function begins with endbr64, as some builds of the driver may: a probe on that is of the slow
 * kind.
 */
#include "standin.h"

PUBLIC CUresult cuMemAllocAsync(CUdeviceptr *ret, size_t size, CUstream stream);
PUBLIC CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream);

static CUresult done(unsigned which, CUresult result, uint64_t bytes)
{
        if (result == CUDA_SUCCESS)
                (void)__atomic_add_fetch(&standin_state()->async_bytes[which], bytes, __ATOMIC_RELAXED);
        return result;
}

CUresult cuMemAllocAsync(CUdeviceptr *ret, size_t size, CUstream stream)
{
        (void)stream;
        if (!standin_state())
                return CUDA_ERROR_NOT_INITIALIZED;
        (void)__atomic_add_fetch(&standin_state()->async_calls[0], 1, __ATOMIC_RELAXED);
        return done(0, standin_allocate(ret, size), size);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
        uint64_t size = 0;
        CUresult result;

        (void)stream;
        if (!standin_state())
                return CUDA_ERROR_NOT_INITIALIZED;
        (void)__atomic_add_fetch(&standin_state()->async_calls[1], 1, __ATOMIC_RELAXED);
        result = standin_free(address, &size);
        return done(1, result, size);
}
