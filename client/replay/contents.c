/* SPDX-License-Identifier: MIT
 *
 * contents.c -- see contents.h.
 */
#include "contents.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void contents_mismatch(struct contents_report *report, const char *format, ...)
{
        va_list arguments;

        assert(report);

        if (report->mismatches++ > 0)
                return;
        va_start(arguments, format);
        (void)vsnprintf(report->first, sizeof(report->first), format, arguments);
        va_end(arguments);
}

void contents_free(struct contents *contents)
{
        if (!contents->data)
                return;
        contents->ops->free(contents->data);
        *contents = (struct contents){ 0 };
}

int place_read(const struct places *places, const char *place, void *ret_bytes, size_t size)
{
        if (places->gpu)
                return gpu_copy_out(places->gpu, ret_bytes, (uint64_t)(uintptr_t)place, size);
        memcpy(ret_bytes, place, size);
        return 0;
}

int place_write(const struct places *places, char *place, const void *bytes, size_t size)
{
        if (places->gpu)
                return gpu_copy_in(places->gpu, (uint64_t)(uintptr_t)place, bytes, size);
        memcpy(place, bytes, size);
        return 0;
}
