/* SPDX-License-Identifier: MIT
 *
 * gpu.h -- what a worker whose cache is a GPU's memory needs to compute in it: memory of its own, copies, and the
 * kernels.
 *
 * In the device's primary context, which is the one that the library takes where none is current. Each call enters it,
 * so they may come from any thread, one at a time. A failure leaves a sentence.
 */
#ifndef KVPAGER_REPLAY_GPU_H
#define KVPAGER_REPLAY_GPU_H

#include <stddef.h>
#include <stdint.h>

#include "complaint.h"
#include "kernels.h"

struct gpu;

enum gpu_kernel {
        GPU_ATTENTION_FP16, /* in the order of enum attention_type */
        GPU_ATTENTION_BF16,
        GPU_ATTENTION_FP32,
        GPU_COMBINE,
        GPU_FILL,
        GPU_CHECK,
        GPU_COMPARE,
        GPU_N_KERNELS,
};

/* The device of that UUID, in this process. -ENODEV. */
int gpu_open(const char *uuid, struct gpu **ret_gpu, struct complaint *complaint);
void gpu_close(struct gpu *gpu);

/* Loads the kernels: those that were built in, or the file $KVPAGER_KERNELS. -ENOEXEC: the driver takes none of them.
 */
int gpu_load(struct gpu *gpu, struct complaint *complaint);

/* The sentence of the last failure; empty: there was none. */
const char *gpu_why(const struct gpu *gpu);

/* -ENOMEM, -EIO. */
int gpu_alloc(struct gpu *gpu, uint64_t bytes, uint64_t *ret_address);
void gpu_free(struct gpu *gpu, uint64_t address); /* 0 is fine */

/* Both wait for what was launched before. */
int gpu_copy_in(struct gpu *gpu, uint64_t target, const void *source, size_t bytes);
int gpu_copy_out(struct gpu *gpu, void *target, uint64_t source, size_t bytes);

/* Returns before it is done. `parameters` is copied. */
int gpu_launch(struct gpu *gpu, enum gpu_kernel kernel, const void *parameters, const struct kernel_shape *shape);

#endif
