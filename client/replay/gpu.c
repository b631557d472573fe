/* SPDX-License-Identifier: MIT
 *
 * gpu.c -- see gpu.h.
 */
#include "gpu.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cuda.h"
#include "image.h"

#define IMAGE_MAX ((size_t)64 << 20) /* bytes of $KVPAGER_KERNELS */

struct gpu {
        const struct cuda *cuda;
        CUdevice device;
        CUcontext context; /* NULL: not retained */
        CUmodule module;   /* NULL: not loaded */
        CUfunction functions[GPU_N_KERNELS];
        struct complaint why;
};

static const char *const names[] = {
        [GPU_ATTENTION_FP16] = "kvp_attention_fp16",
        [GPU_ATTENTION_BF16] = "kvp_attention_bf16",
        [GPU_ATTENTION_FP32] = "kvp_attention_fp32",
        [GPU_COMBINE] = "kvp_combine",
        [GPU_FILL] = "kvp_fill",
        [GPU_CHECK] = "kvp_check",
        [GPU_COMPARE] = "kvp_compare",
};

/* Keeps the sentence where something went wrong. */
static int result_of(struct gpu *gpu, CUresult result, const char *what)
{
        if (result == CUDA_SUCCESS)
                return 0;
        return complain(&gpu->why, cuda_errno(result), "%s: %s", what, cuda_error_name(gpu->cuda, result));
}

static int enter(struct gpu *gpu)
{
        return result_of(gpu, gpu->cuda->ctx_push_current(gpu->context), "cuCtxPushCurrent");
}

static int leave(struct gpu *gpu, CUresult result, const char *what)
{
        CUcontext popped;

        (void)gpu->cuda->ctx_pop_current(&popped);
        return result_of(gpu, result, what);
}

int gpu_open(const char *uuid, struct gpu **ret_gpu, struct complaint *complaint)
{
        struct gpu *gpu = calloc(1, sizeof(*gpu));
        char error[200];

        assert(uuid && ret_gpu);

        if (!gpu)
                return complain(complaint, -ENOMEM, "no memory for a GPU");
        gpu->cuda = cuda_get(error, sizeof(error));
        if (!gpu->cuda) {
                free(gpu);
                return complain(complaint, -ENODEV, "the cache is on GPU %s, and here: %s", uuid, error);
        }
        if (cuda_device_find(gpu->cuda, uuid, &gpu->device) < 0 ||
            gpu->cuda->primary_ctx_retain(&gpu->context, gpu->device) != CUDA_SUCCESS) {
                free(gpu);
                return complain(complaint, -ENODEV,
                                "GPU %s, on which the cache is, cannot be used here (CUDA_VISIBLE_DEVICES?)", uuid);
        }
        *ret_gpu = gpu;
        return 0;
}

void gpu_close(struct gpu *gpu)
{
        if (!gpu)
                return;
        if (gpu->module && enter(gpu) == 0)
                (void)leave(gpu, gpu->cuda->module_unload(gpu->module), "cuModuleUnload");
        (void)gpu->cuda->primary_ctx_release(gpu->device);
        free(gpu);
}

const char *gpu_why(const struct gpu *gpu)
{
        return gpu ? gpu->why.text : "";
}

/* NUL-terminated, for it may be PTX. */
static int image_read(const char *path, char **ret_image, struct complaint *complaint)
{
        _cleanup_(cleanup_file) FILE *file = fopen(path, "re");
        char *image = malloc(IMAGE_MAX + 1);
        size_t n;

        if (!file || !image) {
                free(image);
                return complain(complaint, -ENOENT, "KVPAGER_KERNELS=%s: %s", path, strerror(errno));
        }
        n = fread(image, 1, IMAGE_MAX, file);
        image[n] = '\0';
        *ret_image = image;
        return 0;
}

int gpu_load(struct gpu *gpu, struct complaint *complaint)
{
        const char *path = getenv("KVPAGER_KERNELS");
        _cleanup_(cleanup_free) char *image = NULL;
        CUresult result;
        int r = 0;

        assert(gpu && !gpu->module);

        if (path && path[0])
                r = image_read(path, &image, complaint);
        if (r < 0 || (r = enter(gpu)) < 0)
                return r;
        result = gpu->cuda->module_load(&gpu->module, image ? image : kernel_image);
        for (unsigned i = 0; i < GPU_N_KERNELS && result == CUDA_SUCCESS; i++)
                result = gpu->cuda->module_function(&gpu->functions[i], gpu->module, names[i]);
        if (leave(gpu, result, "cuModuleLoadData") == 0)
                return 0;
        if (!image && !kernel_image_exists())
                return complain(complaint, -ENOEXEC,
                                "kvpager was built without nvcc, so there are no kernels for a GPU: build it where "
                                "nvcc is, or take --no-compute");
        return complain(complaint, -ENOEXEC,
                        "the driver does not take the kernels (%s): update it, or compile kernels/kernels.cu with "
                        "its own nvcc to a fatbin and set KVPAGER_KERNELS to that file",
                        gpu->why.text);
}

int gpu_alloc(struct gpu *gpu, uint64_t bytes, uint64_t *ret_address)
{
        CUdeviceptr address = 0;
        int r = enter(gpu);

        if (r == 0)
                r = leave(gpu, gpu->cuda->alloc(&address, bytes), "cuMemAlloc");
        if (r == 0)
                *ret_address = address;
        return r;
}

void gpu_free(struct gpu *gpu, uint64_t address)
{
        if (address != 0 && enter(gpu) == 0)
                (void)leave(gpu, gpu->cuda->alloc_free(address), "cuMemFree");
}

int gpu_copy_in(struct gpu *gpu, uint64_t target, const void *source, size_t bytes)
{
        int r = enter(gpu);

        return r < 0 ? r : leave(gpu, gpu->cuda->copy_in(target, source, bytes), "cuMemcpyHtoD");
}

int gpu_copy_out(struct gpu *gpu, void *target, uint64_t source, size_t bytes)
{
        int r = enter(gpu);

        return r < 0 ? r : leave(gpu, gpu->cuda->copy_out(target, source, bytes), "cuMemcpyDtoH");
}

int gpu_launch(struct gpu *gpu, enum gpu_kernel kernel, const void *parameters, const struct kernel_shape *shape)
{
        union {
                const void *from;
                void *to;
        } parameter = { .from = parameters }; /* the driver only reads it */
        void *list[] = { parameter.to };
        int r = enter(gpu);

        assert(gpu->module);

        return r < 0 ? r
                     : leave(gpu,
                             gpu->cuda->launch(gpu->functions[kernel], shape->grid[0], shape->grid[1], shape->grid[2],
                                               KERNEL_THREADS, 1, 1, shape->shared_bytes, NULL, list, NULL),
                             names[kernel]);
}
