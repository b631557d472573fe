/* SPDX-License-Identifier: MIT
 *
 * reference.h -- what the kernels compute, in plain C, from the same struct: for machines without a GPU, and to hold
 * them against.
 */
#ifndef KVPAGER_REFERENCE_H
#define KVPAGER_REFERENCE_H

#include <stdbool.h>

bool kernel_reference_exists(const char *name);

/* Runs the kernel of that name (kernels.h) on memory that this process can touch. It is done when this returns; of
 * several splits the attention kernels make one, and kvp_combine has nothing left to do. 0, -ENOENT: no such kernel,
 * -EINVAL: a shape out of bounds, -ENOMEM. */
int kernel_reference(const char *name, const void *parameters);

#endif
