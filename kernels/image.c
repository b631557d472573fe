/* SPDX-License-Identifier: MIT
 *
 * image.c -- see image.h. KERNEL_IMAGE is the file's name, from the Makefile.
 */
#include "image.h"

#include <string.h>

/* clang-format off */
__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        ".globl kernel_image, kernel_image_end\n"
        ".hidden kernel_image, kernel_image_end\n"
        "kernel_image: .incbin \"" KERNEL_IMAGE "\"\n"
        "kernel_image_end: .byte 0\n"
        ".popsection\n");
/* clang-format on */

bool kernel_image_exists(void)
{
        return strncmp(kernel_image, KERNEL_IMAGE_NONE, strlen(KERNEL_IMAGE_NONE)) != 0;
}
