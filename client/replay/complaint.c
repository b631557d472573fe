/* SPDX-License-Identifier: MIT
 *
 * complaint.c -- see complaint.h.
 */
#include "complaint.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

int complain(struct complaint *complaint, int error, const char *format, ...)
{
        va_list arguments;

        assert(complaint);
        assert(error < 0);

        va_start(arguments, format);
        (void)vsnprintf(complaint->text, sizeof(complaint->text), format, arguments);
        va_end(arguments);
        return error;
}
