/* SPDX-License-Identifier: MIT
 *
 * trace-number.c -- the numbers and dates of trace files, read strictly: the whole text must be one.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "trace-line.h"

#define USEC_PER_SEC UINT64_C(1000000)

/* Reads digits; stops at the first other character. Returns how many there were, or -ERANGE. */
static int parse_digits(const char **text, uint64_t limit, uint64_t *ret_value)
{
        uint64_t value = 0;
        int n = 0;

        assert(limit <= (UINT64_MAX - 9) / 10);

        for (; isdigit((unsigned char)**text); (*text)++, n++) {
                value = value * 10 + (uint64_t)(**text - '0');
                if (value > limit)
                        return -ERANGE;
        }
        *ret_value = value;
        return n;
}

/* An optional fraction of a second; digits beyond microseconds are cut. */
static int parse_fraction(const char **text, uint64_t *ret_usec)
{
        uint64_t usec = 0, weight = USEC_PER_SEC / 10;

        if (**text == '.') {
                (*text)++;
                if (!isdigit((unsigned char)**text))
                        return -EINVAL;
                for (; isdigit((unsigned char)**text); (*text)++, weight /= 10)
                        usec += weight * (uint64_t)(**text - '0');
        }
        *ret_usec = usec;
        return 0;
}

int trace_parse_tokens(const char *text, uint32_t *ret_tokens)
{
        uint64_t value = 0;
        int r;

        r = parse_digits(&text, TRACE_TOKENS_MAX, &value);
        if (r < 0)
                return r;
        if (r == 0 || *text != '\0')
                return -EINVAL;
        *ret_tokens = (uint32_t)value;
        return 0;
}

int trace_parse_seconds(const char *text, uint64_t *ret_usec)
{
        uint64_t seconds = 0, usec = 0;
        int r;

        r = parse_digits(&text, UINT64_C(1) << 40, &seconds);
        if (r <= 0)
                return r < 0 ? r : -EINVAL;
        r = parse_fraction(&text, &usec);
        if (r < 0)
                return r;
        if (*text != '\0')
                return -EINVAL;
        *ret_usec = seconds * USEC_PER_SEC + usec;
        return 0;
}

/* Days since 1970-01-01 of the proleptic Gregorian calendar, for years from 1970 (Howard Hinnant's days_from_civil). */
static uint64_t days_since_epoch(uint64_t year, uint64_t month, uint64_t day)
{
        uint64_t shifted_year = year - (month <= 2), era = shifted_year / 400;
        uint64_t year_of_era = shifted_year % 400;
        uint64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
        uint64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

        return era * 146097 + day_of_era - 719468;
}

static uint64_t days_of_month(uint64_t year, uint64_t month)
{
        return month == 12 ? 31 : days_since_epoch(year, month + 1, 1) - days_since_epoch(year, month, 1);
}

/* One part of a date: digits within bounds, then one of the characters of `ends` (or the end of the text). */
static int parse_part(const char **text, uint64_t least, uint64_t most, char end, uint64_t *ret_value)
{
        uint64_t value = 0;
        int r;

        r = parse_digits(text, 9999, &value);
        if (r <= 0)
                return r < 0 ? r : -EINVAL;
        if (value < least || value > most)
                return -ERANGE;
        if (end) {
                if (**text != end && !(end == ' ' && **text == 'T'))
                        return -EINVAL;
                (*text)++;
        }
        *ret_value = value;
        return 0;
}

/* "", "Z", "+HH:MM" or "-HH:MM". The sign of the offset does not matter to a replay, but it is read all the same. */
static int parse_zone(const char *text, int64_t *ret_offset_sec)
{
        uint64_t hours = 0, minutes = 0;
        bool west = *text == '-';
        int r;

        if (*text == '\0' || strcmp(text, "Z") == 0) {
                *ret_offset_sec = 0;
                return 0;
        }
        if (*text != '+' && *text != '-')
                return -EINVAL;
        text++;
        r = parse_part(&text, 0, 23, ':', &hours);
        if (r < 0)
                return r;
        r = parse_part(&text, 0, 59, '\0', &minutes);
        if (r < 0)
                return r;
        if (*text != '\0')
                return -EINVAL;
        *ret_offset_sec = (int64_t)(hours * 3600 + minutes * 60) * (west ? -1 : 1);
        return 0;
}

int trace_parse_date(const char *text, uint64_t *ret_usec)
{
        uint64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, usec = 0;
        int64_t offset = 0, seconds;
        int r;

        if ((r = parse_part(&text, 1970, 9999, '-', &year)) < 0 || (r = parse_part(&text, 1, 12, '-', &month)) < 0 ||
            (r = parse_part(&text, 1, days_of_month(year, month), ' ', &day)) < 0 ||
            (r = parse_part(&text, 0, 23, ':', &hour)) < 0 || (r = parse_part(&text, 0, 59, ':', &minute)) < 0 ||
            (r = parse_part(&text, 0, 60, '\0', &second)) < 0 || (r = parse_fraction(&text, &usec)) < 0 ||
            (r = parse_zone(text, &offset)) < 0)
                return r;

        seconds = (int64_t)(days_since_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) - offset;
        if (seconds < 0)
                return -ERANGE;
        *ret_usec = (uint64_t)seconds * USEC_PER_SEC + usec;
        return 0;
}

const char *trace_what_is_wrong(const char *text, int error)
{
        if (*text == '\0')
                return "is empty";
        if (*text == '-')
                return "is negative";
        if (error == -ERANGE)
                return "is out of range";
        return "is not what belongs there";
}
