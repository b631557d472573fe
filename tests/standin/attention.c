/* SPDX-License-Identifier: MIT
 *
 * attention.c -- as reference.c.
 */
#include "../../kernels/ref/attention.c"
