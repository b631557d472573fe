/* SPDX-License-Identifier: MIT
 *
 * dev-cuda.c -- a GPU's memory as a device: one cuMemCreate() handle and its exported fd an extent.
 *
 * No context is made here: creating and exporting need none, and a context would cost hundreds of MiB of what is shared
 * out (not yet seen on a GPU). A driver that asks for one all the same gets the device's primary context, on the
 * device's thread. The driver scrubs memory between free and create on bare metal, so a fresh extent holds nobody's
 * data. Nothing can be taken from a worker that keeps an import: the memory comes free when the last reference to it
 * goes.
 *
 * What others use of the GPU is asked of NVML where it is installed; without it the capacity has to be told.
 */
#include <assert.h>
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"
#include "dev.h"
#include "owner.h"

#define CUDA_DEFAULT_PAGE    (UINT64_C(2) << 20)
#define CUDA_MAX_PAGE        (UINT64_C(1) << 30)
#define CUDA_DEFAULT_PERCENT 90u /* of what is free at the start: the rest is for contexts, weights and workspaces */
#define CUDA_MAX_PAGES       (UINT64_C(1) << 30)

struct nvml_memory {
        unsigned long long total, free, used;
};

struct nvml {
        void *handle, *device;
        bool ready, instance; /* instance: of a partitioned GPU, which has a name of its own */
        int (*done)(void), (*memory)(void *, struct nvml_memory *), (*persistence)(void *, unsigned *);
};

struct dev {
        const struct cuda *cuda;
        struct nvml nvml;
        uint64_t made;     /* bytes of extents that stand; the device thread's */
        CUcontext context; /* NULL: the driver has not asked for one; the device thread's */
        bool entered;      /* it is that thread's current one */
        CUdevice device;
        CUmemAllocationProp prop;
        uint64_t page_size, capacity, total;
        bool alone; /* the driver has no other one */
        char uuid[CUDA_UUID_SIZE];
        char warning[DEV_WARNING];
};

/* ---- NVML: what others use, and whether the GPU keeps its state while nobody has it open ---- */

static int nvml_open(struct dev *dev)
{
        struct nvml *n = &dev->nvml;
        int (*init)(void), (*by_uuid)(const char *, void **);
        char name[CUDA_UUID_SIZE];

        n->handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!n->handle)
                return -ENOENT;
        *(void **)&init = dlsym(n->handle, "nvmlInit_v2");
        *(void **)&by_uuid = dlsym(n->handle, "nvmlDeviceGetHandleByUUID");
        *(void **)&n->done = dlsym(n->handle, "nvmlShutdown");
        *(void **)&n->memory = dlsym(n->handle, "nvmlDeviceGetMemoryInfo");
        *(void **)&n->persistence = dlsym(n->handle, "nvmlDeviceGetPersistenceMode");
        if (!init || !by_uuid || !n->done || !n->memory || init() != 0)
                return -ENOENT;
        n->ready = by_uuid(dev->uuid, &n->device) == 0;
        if (n->ready)
                return 0;
        (void)snprintf(name, sizeof(name), "MIG-%s", dev->uuid + strlen("GPU-"));
        n->instance = by_uuid(name, &n->device) == 0;
        (void)n->done();
        return -ENOENT;
}

static void nvml_close(struct dev *dev)
{
        if (dev->nvml.ready)
                (void)dev->nvml.done();
        if (dev->nvml.handle)
                (void)dlclose(dev->nvml.handle);
}

/* Bytes that are free now; -ENOENT: nobody can tell. */
static int nvml_free_memory(struct dev *dev, uint64_t *ret)
{
        struct nvml_memory sizes;

        if (!dev->nvml.ready || dev->nvml.memory(dev->nvml.device, &sizes) != 0)
                return -ENOENT;
        *ret = sizes.free;
        return 0;
}

/* ---- options ---- */

/* "GPU-1234..." (as much of it as is needed to tell it from others), or the number that the driver gives it. */
static bool uuid_is_index(const char *text)
{
        return isdigit((unsigned char)text[0]) && strlen(text) <= 3 && strspn(text, "0123456789") == strlen(text);
}

static int cuda_check(const struct dev_options *options, dev_complain_fn *complain, void *userdata)
{
        const uint64_t page = options->page_size ? options->page_size : CUDA_DEFAULT_PAGE;
        int r = 0;

        assert(options && complain);

        if (options->uuid && options->uuid[0] && !uuid_is_index(options->uuid) &&
            strncmp(options->uuid, "GPU-", 4) != 0) {
                complain(userdata, "uuid",
                         strncmp(options->uuid, "MIG-", 4) == 0
                                 ? "an instance of a partitioned GPU (MIG) is not supported, only a whole one"
                                 : "it must be as nvidia-smi -L writes it, GPU-..., or the number of the GPU");
                r = -EINVAL;
        }
        if (page < CUDA_DEFAULT_PAGE || page > CUDA_MAX_PAGE || (page & (page - 1)) != 0) {
                complain(userdata, "page-size", "on a GPU it must be a power of two from 2M to 1G");
                r = -EINVAL;
        }
        if (options->hugepages || options->populate) {
                complain(userdata, options->hugepages ? "hugepages" : "populate", "only the host backend has this key");
                r = -EINVAL;
        }
        if (r == 0 && options->capacity > 0 &&
            (options->capacity < page || options->capacity / page > CUDA_MAX_PAGES)) {
                complain(userdata, "capacity", "it must be from one page to 2^30 pages");
                r = -EINVAL;
        }
        return r;
}

/* ---- opening ---- */

__attribute__((format(printf, 3, 4))) static int fail(char *error, size_t size, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        (void)vsnprintf(error, size, format, args);
        va_end(args);
        return -ENODEV;
}

/* The device that `wanted` names; empty: the only one there is, or `any`: the first. */
static int find_device(struct dev *dev, const char *wanted, bool any, char *error, size_t size)
{
        int count = 0, found = -1, matches = 0;
        char name[CUDA_UUID_SIZE];

        if (dev->cuda->device_get_count(&count) != CUDA_SUCCESS || count == 0)
                return fail(error, size, "the driver sees no GPU (CUDA_VISIBLE_DEVICES?)");
        dev->alone = count == 1;
        for (int i = 0; i < count; i++) {
                CUdevice device;
                CUuuid uuid;

                if (dev->cuda->device_get(&device, i) != CUDA_SUCCESS ||
                    dev->cuda->device_get_uuid(&uuid, device) != CUDA_SUCCESS)
                        continue;
                cuda_uuid_format(&uuid, name);
                if (wanted[0] && (uuid_is_index(wanted) ? strtol(wanted, NULL, 10) != i
                                                        : strncmp(name, wanted, strlen(wanted)) != 0))
                        continue;
                if (matches++ > 0 && any)
                        continue;
                found = device;
                memcpy(dev->uuid, name, sizeof(name));
        }
        if (matches == 0)
                return fail(error, size, "uuid: no GPU is called %s (%d are there: nvidia-smi -L lists them)", wanted,
                            count);
        if (matches > 1 && any)
                (void)snprintf(
                        dev->warning, sizeof(dev->warning),
                        "%d GPUs are there, and this is the first: a section [device NAME] with backend = cuda and uuid = "
                        "GPU-... for each takes others",
                        matches);
        else if (matches > 1)
                return fail(error, size, "uuid: %d GPUs are meant: say which, nvidia-smi -L lists them", matches);
        dev->device = found;
        return 0;
}

static int check_device(struct dev *dev, char *error, size_t size)
{
        int vmm = 0, fds = 0;
        size_t granularity = 0;

        (void)dev->cuda->device_get_attribute(&vmm, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
                                              dev->device);
        (void)dev->cuda->device_get_attribute(&fds, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
                                              dev->device);
        if (!vmm || !fds)
                return fail(error, size, "GPU %s has no %s", dev->uuid,
                            !vmm ? "virtual memory management (vGPU or WSL?)" : "export of memory as file descriptors");
        dev->prop = (CUmemAllocationProp){ .type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                           .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                           .location = { CU_MEM_LOCATION_TYPE_DEVICE, dev->device } };
        if (dev->cuda->mem_get_granularity(&granularity, &dev->prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) !=
                    CUDA_SUCCESS ||
            granularity == 0)
                return fail(error, size, "GPU %s does not say in what units memory comes", dev->uuid);
        if (dev->page_size % granularity != 0)
                return fail(error, size,
                            "page-size: GPU %s gives memory in units of %zu bytes: it must be a multiple of that",
                            dev->uuid, granularity);
        return 0;
}

static int set_capacity(struct dev *dev, const struct dev_options *options, char *error, size_t size)
{
        uint64_t available = 0;
        unsigned persistence = 1;
        const bool known = nvml_open(dev) == 0 && nvml_free_memory(dev, &available) == 0;
        const bool told = options->capacity_before || options->capacity || options->capacity_percent;
        size_t total = 0;

        if (dev->cuda->device_total_mem(&total, dev->device) != CUDA_SUCCESS)
                return fail(error, size, "GPU %s does not say how much memory it has", dev->uuid);
        if (dev->nvml.instance)
                return fail(
                        error, size,
                        "uuid: MIG-%s is an instance of a partitioned GPU (MIG), which is not supported: take a whole "
                        "GPU, or end the partition with nvidia-smi -mig 0",
                        dev->uuid + strlen("GPU-"));
        if (!known && !told)
                return fail(error, size,
                            "capacity: without NVML nobody can tell what of GPU %s is free: install libnvidia-ml.so.1, "
                            "which comes with the driver, or set capacity in a [device] section of backend cuda",
                            dev->uuid);
        dev->total = total;
        dev->made = options->made_before;
        dev->capacity = options->capacity_before ? options->capacity_before : options->capacity;
        if (dev->capacity == 0)
                dev->capacity = (uint64_t)((double)(options->capacity_percent ? total : available) / 100.0 *
                                           (options->capacity_percent ? options->capacity_percent
                                                                      : CUDA_DEFAULT_PERCENT));
        dev->capacity -= dev->capacity % dev->page_size;
        if (dev->capacity == 0)
                return fail(error, size, "capacity: less than one page of it is free on GPU %s", dev->uuid);
        if (!options->capacity_before && dev->capacity > (known ? available : total))
                return fail(error, size,
                            "capacity: %" PRIu64 " MiB are asked for, and %" PRIu64
                            " MiB of GPU %s are free: set it lower, or "
                            "stop what uses the rest (nvidia-smi shows it)",
                            dev->capacity >> 20, (known ? available : total) >> 20, dev->uuid);
        if (known && dev->nvml.persistence && dev->nvml.persistence(dev->nvml.device, &persistence) == 0 &&
            !persistence)
                (void)snprintf(dev->warning + strlen(dev->warning), sizeof(dev->warning) - strlen(dev->warning),
                               "%spersistence mode is off: memory is lost when the last process closes the GPU; enable "
                               "nvidia-persistenced or nvidia-smi -pm 1",
                               dev->warning[0] ? "; " : "");
        return 0;
}

static int cuda_open(const struct dev_options *options, struct dev **ret, char *error, size_t size)
{
        struct dev *dev = calloc(1, sizeof(*dev));
        int r;

        assert(options && ret && error);

        if (!dev)
                return -ENOMEM;
        dev->page_size = options->page_size ? options->page_size : CUDA_DEFAULT_PAGE;
        dev->cuda = cuda_get(error, size);
        r = dev->cuda ? 0 : errno == ENOENT || errno == ENODEV ? -ENOENT : -ENODEV;
        if (r == 0)
                r = find_device(dev, options->uuid ? options->uuid : "", options->any, error, size);
        if (r == 0)
                r = check_device(dev, error, size);
        if (r == 0)
                r = set_capacity(dev, options, error, size);
        if (r < 0) {
                nvml_close(dev);
                free(dev);
                return r;
        }
        *ret = dev;
        return 0;
}

static void cuda_close(struct dev *dev)
{
        if (dev->context)
                (void)dev->cuda->primary_ctx_release(dev->device);
        nvml_close(dev);
        free(dev);
}

static void cuda_info(const struct dev *dev, struct dev_info *ret)
{
        *ret = (struct dev_info){ .page_size = dev->page_size,
                                  .capacity = dev->capacity,
                                  .total = dev->total,
                                  .number = (uint32_t)dev->device,
                                  .alone = dev->alone,
                                  .tells_missing = dev->nvml.ready,
                                  .backend = "cuda" };
        memcpy(ret->uuid, dev->uuid, sizeof(dev->uuid));
        memcpy(ret->warning, dev->warning, sizeof(ret->warning));
}

/* ---- extents ---- */

/* For a driver that makes nothing without a context: this thread has one from now on. */
static bool enter_context(struct dev *dev)
{
        CUcontext context;

        if (dev->entered)
                return false;
        if (!dev->context) {
                if (dev->cuda->primary_ctx_retain(&context, dev->device) != CUDA_SUCCESS)
                        return false;
                dev->context = context;
        }
        dev->entered = dev->cuda->ctx_push_current(dev->context) == CUDA_SUCCESS;
        return dev->entered;
}

static int cuda_create(struct dev *dev, uint32_t order, struct dev_extent *ret)
{
        CUmemGenericAllocationHandle handle;
        CUresult result;
        int fd = -1, r;

        assert(dev && ret);

        result = dev->cuda->mem_create(&handle, dev->page_size << order, &dev->prop, 0);
        if (result == CUDA_ERROR_INVALID_CONTEXT && enter_context(dev))
                result = dev->cuda->mem_create(&handle, dev->page_size << order, &dev->prop, 0);
        r = cuda_errno(result);
        if (r < 0)
                return r;
        r = cuda_errno(dev->cuda->mem_export(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
        if (r == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                r = -errno;
        if (r < 0) {
                (void)fd_close(fd);
                (void)dev->cuda->mem_release(handle);
                return r;
        }
        *ret = (struct dev_extent){ .fd = fd, .order = order, .handle = handle };
        dev->made += dev->page_size << order;
        return 0;
}

static int cuda_destroy(struct dev *dev, struct dev_extent *extent)
{
        int r;

        assert(dev && extent);

        r = extent->handle ? cuda_errno(dev->cuda->mem_release(extent->handle)) : 0;
        if (r < 0 && r != -EINVAL && r != -ENODEV) /* those two: it is gone with its device */
                return r;
        extent->fd = fd_close(extent->fd); /* it kept the memory as a mapping does */
        dev->made -= dev->page_size << extent->order;
        return 0;
}

/* All that we have and all that is free is what we could have. */
static int cuda_missing(struct dev *dev, uint64_t *ret)
{
        uint64_t available;
        int r = nvml_free_memory(dev, &available);

        if (r < 0)
                return r;
        available += dev->made;
        *ret = available < dev->capacity ? dev->capacity - available : 0;
        return 0;
}

const struct dev_backend dev_backend_cuda = {
        .name = "cuda",
        .check = cuda_check,
        .open = cuda_open,
        .close = cuda_close,
        .info = cuda_info,
        .create = cuda_create,
        .destroy = cuda_destroy,
        .missing = cuda_missing,
};
