/* SPDX-License-Identifier: MIT
 *
 * image.h -- the compiled kernels, for cuModuleLoadData(): a fatbin of sm_80, sm_90 and sm_100, and PTX for what comes
 * later. Where there was no nvcc to build it, a line of text instead, which no driver takes for an image.
 */
#ifndef KVPAGER_KERNEL_IMAGE_H
#define KVPAGER_KERNEL_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

#define KERNEL_IMAGE_NONE "kvpager: built without kernels"

extern const char kernel_image[], kernel_image_end[];

/* Whether it has any kernels. */
bool kernel_image_exists(void);

#endif
