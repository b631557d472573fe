/* SPDX-License-Identifier: MIT
 *
 * contents.c -- see contents.h.
 */
#include "contents.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

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
