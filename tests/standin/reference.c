/* SPDX-License-Identifier: MIT
 *
 * reference.c -- the references in C once more, for a shared library.
 */
#include "../../kernels/ref/reference.c"
