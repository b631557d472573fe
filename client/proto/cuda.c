/* SPDX-License-Identifier: MIT
 *
 * cuda.c -- see cuda.h.
 */
#include "cuda.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY     "libcuda.so.1"
#define MIN_VERSION 11040 /* CUDA 11.4, the first with cuDeviceGetUuid_v2() */
#define TOO_OLD     "driver 470 (CUDA 11.4) or newer is needed: update it"

static pthread_mutex_t cuda_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct cuda cuda_table;
static bool cuda_is_ready;

static int load(struct cuda *table, char *error, size_t error_size)
{
        void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        const char *missing = NULL;

        if (!library) {
                (void)snprintf(error, error_size, "NVIDIA's driver is not installed: %s", dlerror());
                return -ENOENT;
        }
#define X(field, symbol, arguments)                                                                                    \
        *(void **)&table->field = dlsym(library, #symbol);                                                             \
        missing = table->field ? missing : #symbol;
        CUDA_FUNCTIONS(X)
#undef X
        (void)dlclose(library); /* RTLD_NODELETE: it stays */
        if (!missing)
                return 0;
        (void)snprintf(error, error_size, "the driver's " LIBRARY " has no %s: " TOO_OLD, missing);
        return -ENOTSUP;
}

static int start(const struct cuda *table, char *error, size_t error_size)
{
        int version = 0;
        CUresult r = table->init(0);

        if (r == CUDA_SUCCESS)
                r = table->driver_get_version(&version);
        if (r == CUDA_SUCCESS && version >= MIN_VERSION)
                return 0;
        if (r == CUDA_SUCCESS) {
                (void)snprintf(error, error_size, "the driver is one of CUDA %d.%d: " TOO_OLD, version / 1000,
                               version % 1000 / 10);
                return -ENOTSUP;
        }
        if (r == CUDA_ERROR_NO_DEVICE) {
                (void)snprintf(error, error_size,
                               "the driver sees no GPU (CUDA_VISIBLE_DEVICES, or the nodes /dev/nvidia* of this "
                               "container or unit?)");
                return -ENODEV;
        }
        (void)snprintf(error, error_size, "cuInit: %s; nvidia-smi may know more", cuda_error_name(table, r));
        return -EIO;
}

const struct cuda *cuda_get(char *error, size_t error_size)
{
        struct cuda table;
        int r = 0;

        (void)pthread_mutex_lock(&cuda_mutex);
        if (!cuda_is_ready) {
                r = load(&table, error, error_size);
                if (r == 0)
                        r = start(&table, error, error_size);
                if (r == 0)
                        cuda_table = table;
                cuda_is_ready = r == 0;
        }
        (void)pthread_mutex_unlock(&cuda_mutex);
        errno = -r;
        return r == 0 ? &cuda_table : NULL;
}

int cuda_device_find(const struct cuda *cuda, const char *uuid, CUdevice *ret_device)
{
        int count = 0;

        if (cuda->device_get_count(&count) != CUDA_SUCCESS)
                return -ENODEV;
        for (int i = 0; i < count; i++) {
                char name[CUDA_UUID_SIZE];
                CUdevice device;
                CUuuid bytes;

                if (cuda->device_get(&device, i) != CUDA_SUCCESS ||
                    cuda->device_get_uuid(&bytes, device) != CUDA_SUCCESS)
                        continue;
                cuda_uuid_format(&bytes, name);
                if (strcmp(name, uuid) != 0)
                        continue;
                *ret_device = device;
                return 0;
        }
        return -ENODEV;
}

int cuda_errno(CUresult result)
{
        switch (result) {
        case CUDA_SUCCESS:
                return 0;
        case CUDA_ERROR_OUT_OF_MEMORY:
                return -ENOMEM;
        case CUDA_ERROR_INVALID_VALUE:
        case CUDA_ERROR_INVALID_HANDLE:
                return -EINVAL;
        case CUDA_ERROR_NO_DEVICE:
        case CUDA_ERROR_INVALID_DEVICE:
        case CUDA_ERROR_DEINITIALIZED:
        case CUDA_ERROR_CONTEXT_IS_DESTROYED:
                return -ENODEV;
        default:
                return -EIO;
        }
}

bool cuda_ended(CUresult result)
{
        switch (result) {
        case CUDA_ERROR_DEINITIALIZED:
        case CUDA_ERROR_INVALID_CONTEXT:
        case CUDA_ERROR_ECC_UNCORRECTABLE:
        case CUDA_ERROR_NVLINK_UNCORRECTABLE:
        case CUDA_ERROR_CONTAINED:
        case CUDA_ERROR_ILLEGAL_ADDRESS:
        case CUDA_ERROR_LAUNCH_TIMEOUT:
        case CUDA_ERROR_CONTEXT_IS_DESTROYED:
        case CUDA_ERROR_ASSERT:
        case CUDA_ERROR_HARDWARE_STACK_ERROR:
        case CUDA_ERROR_ILLEGAL_INSTRUCTION:
        case CUDA_ERROR_MISALIGNED_ADDRESS:
        case CUDA_ERROR_INVALID_ADDRESS_SPACE:
        case CUDA_ERROR_INVALID_PC:
        case CUDA_ERROR_LAUNCH_FAILED:
        case CUDA_ERROR_MPS_CLIENT_TERMINATED:
                return true;
        default:
                return false;
        }
}

const char *cuda_error_name(const struct cuda *cuda, CUresult result)
{
        const char *name = NULL;

        if (cuda->get_error_name(result, &name) != CUDA_SUCCESS || !name)
                return "an error that the driver has no name for";
        return name;
}

void cuda_uuid_format(const CUuuid *uuid, char ret[static CUDA_UUID_SIZE])
{
        static const char before[16][2] = { [4] = "-", [6] = "-", [8] = "-", [10] = "-" };
        int n = snprintf(ret, CUDA_UUID_SIZE, "GPU-");

        for (unsigned i = 0; i < 16; i++)
                n += snprintf(ret + n, CUDA_UUID_SIZE - (size_t)n, "%s%02x", before[i], (unsigned char)uuid->bytes[i]);
}
