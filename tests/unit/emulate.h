/* SPDX-License-Identifier: MIT
 *
 * emulate.h -- runs the kernels' own source on the CPU, thread by thread, so that it is tested where there is no GPU.
 */
#ifndef TESTS_EMULATE_H
#define TESTS_EMULATE_H

#include <stdbool.h>

#include "kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The kernel of that name over its whole grid; `backwards`: threads take their turns in the opposite order, which
 * changes nothing unless a barrier is missing. Aborts where threads wait for each other forever. False: no such kernel.
 */
bool emulate_kernel(const char *name, const void *parameters, const struct kernel_shape *shape, bool backwards);

#ifdef __cplusplus
}
#endif

#endif
