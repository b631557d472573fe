/* SPDX-License-Identifier: MIT
 *
 * format.c -- figures as people read and type them.
 *
 * All arithmetic is in integers, so that a figure never depends on the locale or on rounding of the machine.
 */
#include "format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *ctl_format_bytes(char buffer[static CTL_FORMAT_MAX], uint64_t bytes, bool exact)
{
        static const char units[] = "BKMGTPE";
        unsigned unit = 0;

        if (bytes == UINT64_MAX) {
                (void)snprintf(buffer, CTL_FORMAT_MAX, "max");
                return buffer;
        }
        if (exact || bytes == 0) {
                (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64, bytes);
                return buffer;
        }
        while (unit + 2 < sizeof(units) && bytes >> (10 * (unit + 1)))
                unit++;

        uint64_t one = UINT64_C(1) << (10 * unit);
        uint64_t whole = bytes / one, rest = bytes % one;
        if (rest == 0) {
                (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64 "%c", whole, units[unit]);
                return buffer;
        }
        /* rest < 2^60, so that rest * 10 stays within 64 bits; below 2^60 `one` is small enough to add half of it. */
        uint64_t tenths = whole * 10 + (rest * 10 + one / 2) / one;
        if (tenths >= 10240 && unit + 2 < sizeof(units)) { /* 1023.97M reads as 1.0G */
                tenths = 10;
                unit++;
        }
        (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10, units[unit]);
        return buffer;
}

const char *ctl_format_span(char buffer[static CTL_FORMAT_MAX], uint64_t usec)
{
        static const struct {
                uint64_t seconds;
                const char *name;
        } units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
        uint64_t seconds = usec / 1000000;
        size_t i = 0;

        while (i + 1 < sizeof(units) / sizeof(*units) && seconds < units[i].seconds)
                i++;
        uint64_t large = seconds / units[i].seconds, rest = seconds % units[i].seconds;
        if (i + 1 < sizeof(units) / sizeof(*units) && rest / units[i + 1].seconds > 0)
                (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64 "%s %" PRIu64 "%s", large, units[i].name,
                               rest / units[i + 1].seconds, units[i + 1].name);
        else
                (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64 "%s", large, units[i].name);
        return buffer;
}

int ctl_parse_span(const char *text, uint64_t *ret_usec)
{
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = { { "", 1000000 }, { "s", 1000000 }, { "ms", 1000 }, { "min", 60000000 } };
        const uint64_t longest = UINT64_C(3600) * 1000000;
        uint64_t millionths = 0, scale = 1000000; /* of the unit, whichever it is */
        const char *p = text;

        if (*p < '0' || *p > '9')
                return -EINVAL;
        for (; *p >= '0' && *p <= '9'; p++) {
                millionths = millionths * 10 + (uint64_t)(*p - '0') * scale;
                if (millionths > longest * 1000)
                        return -ERANGE;
        }
        if (*p == '.') {
                p++;
                if (*p < '0' || *p > '9')
                        return -EINVAL;
                for (; *p >= '0' && *p <= '9'; p++) {
                        scale /= 10;
                        millionths += (uint64_t)(*p - '0') * scale;
                }
        }
        for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
                if (strcmp(p, units[i].name) != 0)
                        continue;
                uint64_t usec = millionths / 1000000 * units[i].usec + millionths % 1000000 * units[i].usec / 1000000;
                if (usec < 1000 || usec > longest)
                        return -ERANGE;
                *ret_usec = usec;
                return 0;
        }
        return -EINVAL;
}
