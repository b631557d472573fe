/* SPDX-License-Identifier: MIT
 *
 * json.c -- numbers and texts of the daemon's as JSON. By itself, for kvpager-observe uses them as well.
 */
#include "snapshot.h"

json_t *ctl_json_number(uint64_t value)
{
        return value <= INT64_MAX ? json_integer((json_int_t)value) : json_null();
}

json_t *ctl_json_text(const char *text)
{
        json_t *string = json_string(text);
        char ascii[512];
        size_t n = 0;

        if (string)
                return string;
        for (; text[n] && n + 1 < sizeof(ascii); n++)
                ascii[n] = (char)((unsigned char)text[n] < 0x80 ? text[n] : '?');
        ascii[n] = 0;
        return json_string(ascii);
}
