/* SPDX-License-Identifier: MIT
 *
 * cuda.h -- the part of the CUDA driver API that kvpager calls, as one typed table.
 *
 * libcuda.so.1 comes with NVIDIA's driver and is loaded at run time, so neither the driver nor its headers are needed
 * to build, and one build runs with and without a GPU. Types and numbers are those of <cuda.h> (they are ABI: stable
 * since CUDA 10.2, when virtual memory management came); where that header is at hand, tests/lint/cuda.sh compares the
 * two.
 *
 * Used by the daemon's backend (create, export) and by the library's (import, map); the table is the same, so that
 * whoever looks for what we ask of a driver finds it here.
 */
#ifndef KVP_PROTO_CUDA_H
#define KVP_PROTO_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef struct CUuuid_st {
        char bytes[16];
} CUuuid;

enum {
        CUDA_SUCCESS = 0,
        CUDA_ERROR_INVALID_VALUE = 1,
        CUDA_ERROR_OUT_OF_MEMORY = 2,
        CUDA_ERROR_NOT_INITIALIZED = 3,
        CUDA_ERROR_DEINITIALIZED = 4,
        CUDA_ERROR_NO_DEVICE = 100,
        CUDA_ERROR_INVALID_DEVICE = 101,
        CUDA_ERROR_INVALID_IMAGE = 200,
        CUDA_ERROR_INVALID_CONTEXT = 201,
        CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
        CUDA_ERROR_ECC_UNCORRECTABLE = 214,
        CUDA_ERROR_NVLINK_UNCORRECTABLE = 220,
        CUDA_ERROR_CONTAINED = 226,
        CUDA_ERROR_OPERATING_SYSTEM = 304,
        CUDA_ERROR_INVALID_HANDLE = 400,
        CUDA_ERROR_NOT_FOUND = 500,
        CUDA_ERROR_NOT_READY = 600,
        CUDA_ERROR_ILLEGAL_ADDRESS = 700,
        CUDA_ERROR_LAUNCH_TIMEOUT = 702,
        CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
        CUDA_ERROR_ASSERT = 710,
        CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
        CUDA_ERROR_ILLEGAL_INSTRUCTION = 715,
        CUDA_ERROR_MISALIGNED_ADDRESS = 716,
        CUDA_ERROR_INVALID_ADDRESS_SPACE = 717,
        CUDA_ERROR_INVALID_PC = 718,
        CUDA_ERROR_LAUNCH_FAILED = 719,
        CUDA_ERROR_NOT_PERMITTED = 800,
        CUDA_ERROR_NOT_SUPPORTED = 801,
        CUDA_ERROR_MPS_CLIENT_TERMINATED = 810,
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
        CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
        CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
        CUDA_ERROR_UNKNOWN = 999,
};

enum { CU_MEM_ALLOCATION_TYPE_PINNED = 1 };
enum { CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 1 };
enum { CU_MEM_LOCATION_TYPE_DEVICE = 1, CU_MEM_LOCATION_TYPE_HOST_NUMA = 3 };
enum { CU_STREAM_NON_BLOCKING = 1 };
enum { CU_STREAM_CAPTURE_MODE_GLOBAL = 0, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1, CU_STREAM_CAPTURE_MODE_RELAXED = 2 };
enum { CU_MEM_ACCESS_FLAGS_PROT_NONE = 0, CU_MEM_ACCESS_FLAGS_PROT_READ = 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3 };
enum { CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0 };
enum {
        CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
        CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103,
};

typedef struct CUmemLocation_st {
        int type, id;
} CUmemLocation;

typedef struct CUmemAllocationProp_st {
        int type, requestedHandleTypes;
        CUmemLocation location;
        void *win32HandleMetaData;
        struct {
                unsigned char compressionType, gpuDirectRDMACapable;
                unsigned short usage;
                unsigned char reserved[4];
        } allocFlags;
} CUmemAllocationProp;
_Static_assert(sizeof(CUmemAllocationProp) == 32, "as in cuda.h");

typedef struct CUmemAccessDesc_st {
        CUmemLocation location;
        int flags;
} CUmemAccessDesc;
_Static_assert(sizeof(CUmemAccessDesc) == 12, "as in cuda.h");

/* X(field, symbol, arguments) */
/* clang-format off */
#define CUDA_FUNCTIONS(X)                                                                                                     \
        X(init, cuInit, (unsigned flags))                                                                                     \
        X(driver_get_version, cuDriverGetVersion, (int *ret))                                                                 \
        X(get_error_name, cuGetErrorName, (CUresult error, const char **ret))                                                 \
        X(device_get_count, cuDeviceGetCount, (int *ret))                                                                     \
        X(device_get, cuDeviceGet, (CUdevice *ret, int ordinal))                                                              \
        X(device_get_uuid, cuDeviceGetUuid_v2, (CUuuid *ret, CUdevice device))                                                \
        X(device_get_attribute, cuDeviceGetAttribute, (int *ret, int attribute, CUdevice device))                             \
        X(device_total_mem, cuDeviceTotalMem_v2, (size_t *ret, CUdevice device))                                              \
        X(ctx_get_current, cuCtxGetCurrent, (CUcontext *ret))                                                                 \
        X(ctx_get_device, cuCtxGetDevice, (CUdevice *ret))                                                                    \
        X(ctx_push_current, cuCtxPushCurrent_v2, (CUcontext context))                                                         \
        X(ctx_pop_current, cuCtxPopCurrent_v2, (CUcontext *ret))                                                              \
        X(ctx_synchronize, cuCtxSynchronize, (void))                                                                          \
        X(exchange_capture_mode, cuThreadExchangeStreamCaptureMode, (int *mode))                                              \
        X(primary_ctx_retain, cuDevicePrimaryCtxRetain, (CUcontext *ret, CUdevice device))                                    \
        X(primary_ctx_release, cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                               \
        X(mem_get_info, cuMemGetInfo_v2, (size_t *ret_free, size_t *ret_total))                                               \
        X(mem_get_granularity, cuMemGetAllocationGranularity, (size_t *ret, const CUmemAllocationProp *prop, int option))     \
        X(mem_create, cuMemCreate, (CUmemGenericAllocationHandle *ret, size_t size, const CUmemAllocationProp *prop, unsigned long long flags)) \
        X(mem_release, cuMemRelease, (CUmemGenericAllocationHandle handle))                                                   \
        X(mem_export, cuMemExportToShareableHandle, (void *ret, CUmemGenericAllocationHandle handle, int type, unsigned long long flags)) \
        X(mem_import, cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle *ret, void *os_handle, int type))         \
        X(mem_reserve, cuMemAddressReserve, (CUdeviceptr *ret, size_t size, size_t alignment, CUdeviceptr address, unsigned long long flags)) \
        X(mem_free, cuMemAddressFree, (CUdeviceptr address, size_t size))                                                     \
        X(mem_map, cuMemMap, (CUdeviceptr address, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags)) \
        X(mem_unmap, cuMemUnmap, (CUdeviceptr address, size_t size))                                                          \
        X(mem_set_access, cuMemSetAccess, (CUdeviceptr address, size_t size, const CUmemAccessDesc *desc, size_t count))       \
        /* What programs need that compute: kvpager-replay and those of tests/gpu. */                                         \
        X(device_get_name, cuDeviceGetName, (char *ret, int size, CUdevice device))                                           \
        X(alloc, cuMemAlloc_v2, (CUdeviceptr *ret, size_t size))                                                              \
        X(alloc_free, cuMemFree_v2, (CUdeviceptr address))                                                                    \
        X(copy_in, cuMemcpyHtoD_v2, (CUdeviceptr target, const void *source, size_t size))                                    \
        X(copy_out, cuMemcpyDtoH_v2, (void *target, CUdeviceptr source, size_t size))                                         \
        X(set_bytes, cuMemsetD8_v2, (CUdeviceptr address, unsigned char byte, size_t size))                                   \
        X(module_load, cuModuleLoadData, (CUmodule *ret, const void *image))                                                  \
        X(module_unload, cuModuleUnload, (CUmodule module))                                                                   \
        X(module_function, cuModuleGetFunction, (CUfunction *ret, CUmodule module, const char *name))                         \
        X(launch, cuLaunchKernel, (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters, void **extra)) \
        X(stream_create, cuStreamCreate, (CUstream *ret, unsigned flags))                                                     \
        X(stream_synchronize, cuStreamSynchronize, (CUstream stream))                                                         \
        X(stream_destroy, cuStreamDestroy_v2, (CUstream stream))                                                              \
        X(event_create, cuEventCreate, (CUevent *ret, unsigned flags))                                                        \
        X(event_record, cuEventRecord, (CUevent event, CUstream stream))                                                      \
        X(event_synchronize, cuEventSynchronize, (CUevent event))                                                             \
        X(event_elapsed, cuEventElapsedTime, (float *ret_msec, CUevent from, CUevent to))                                     \
        X(event_destroy, cuEventDestroy_v2, (CUevent event))
/* clang-format on */

struct cuda {
#define X(field, symbol, arguments) CUresult(*field) arguments;
        CUDA_FUNCTIONS(X)
#undef X
};

/* The driver of this process, loaded and initialised once; NULL: there is none that is fit, and `error` says why and
 * what to do, errno is ENOENT (no driver), ENODEV (it sees no GPU), ENOTSUP (too old) or EIO. Thread-safe. The driver
 * stays loaded: it cannot be taken out of a process. */
const struct cuda *cuda_get(char *error, size_t error_size);

/* The device of that UUID, whatever its number here: CUDA_VISIBLE_DEVICES renumbers. -ENODEV. */
int cuda_device_find(const struct cuda *cuda, const char *uuid, CUdevice *ret_device);

/* The errno that stands for a result: 0, -ENOMEM, -EINVAL, -ENODEV (the device is lost), -EIO (all else). */
int cuda_errno(CUresult result);

/* Whether a context that gives it is gone, or computes nothing any more: what <cuda.h> says leaves no way on but a new
 * process. */
bool cuda_ended(CUresult result);

/* "CUDA_ERROR_OUT_OF_MEMORY" or the like. */
const char *cuda_error_name(const struct cuda *cuda, CUresult result);

/* "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", as nvidia-smi writes it. */
#define CUDA_UUID_SIZE 41u
void cuda_uuid_format(const CUuuid *uuid, char ret[static CUDA_UUID_SIZE]);

#endif
