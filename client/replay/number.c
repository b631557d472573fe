/* SPDX-License-Identifier: MIT
 *
 * number.c -- see number.h.
 */
#include "number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int number_parse(const char *text, uint64_t least, uint64_t most, uint64_t *ret_number)
{
        unsigned long long number;
        char *end;

        if (!isdigit((unsigned char)*text)) /* strtoull takes blanks and signs, we do not */
                return -EINVAL;
        errno = 0;
        number = strtoull(text, &end, 10);
        if (*end != '\0')
                return -EINVAL;
        if (errno == ERANGE || number < least || number > most)
                return -ERANGE;
        *ret_number = number;
        return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
        static const char units[] = "KMGTP";
        const char *unit;
        double number;
        char *end;

        if (!isdigit((unsigned char)*text) || text[strspn(text, "0123456789.")] == 'e')
                return -EINVAL;
        if (number_parse(text, 1, INT64_MAX, ret_bytes) == 0) /* a double would lose low bits */
                return 0;
        errno = 0;
        number = strtod(text, &end);
        if (end == text || (text[0] == '0' && tolower((unsigned char)text[1]) == 'x'))
                return -EINVAL;
        if (*end != '\0') {
                unit = strchr(units, toupper((unsigned char)*end));
                if (!unit)
                        return -EINVAL;
                number = ldexp(number, (int)(unit - units + 1) * 10);
                end++;
                if (*end == 'i')
                        end++;
                if (*end == 'B')
                        end++;
        }
        if (*end != '\0')
                return -EINVAL;
        if (errno == ERANGE || number >= 0x1p63)
                return -ERANGE;
        if (number < 1)
                return -EINVAL;
        *ret_bytes = (uint64_t)number;
        return 0;
}

const char *size_format(uint64_t bytes, char *buffer, size_t size)
{
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        double number = (double)bytes;
        size_t unit = 0;

        while (number >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
                number /= 1024;
                unit++;
        }
        (void)snprintf(buffer, size, unit == 0 ? "%.0f %s" : "%.1f %s", number, units[unit]);
        return buffer;
}
