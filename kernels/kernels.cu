/* SPDX-License-Identifier: MIT
 *
 * kernels.cu -- all kernels, as one image.
 */
#include "attention.cu"
#include "contents.cu"
