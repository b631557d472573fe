/* SPDX-License-Identifier: MIT
 *
 * utf8.c -- see utf8.h.
 */
#include "utf8.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* How many bytes the character at the beginning has; 0: there is none. The terminator continues none. */
static size_t character_bytes(const char *text)
{
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const unsigned char *bytes = (const unsigned char *)text;
        const size_t n = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc0 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
        uint32_t point;

        if (n <= 1 || bytes[0] >= 0xf8)
                return n == 1;
        point = bytes[0] & (0x7fu >> n);
        for (size_t i = 1; i < n; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return 0;
                point = point << 6 | (bytes[i] & 0x3fu);
        }
        if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) || (point & 0xfffe) == 0xfffe)
                return 0;
        return n;
}

char *utf8_repair(const char *text)
{
        char *copy, *to;

        assert(text);

        copy = to = malloc(strlen(text) * strlen(REPLACEMENT) + 1);
        if (!copy)
                return NULL;
        while (*text) {
                const size_t n = character_bytes(text);

                memcpy(to, n > 0 ? text : REPLACEMENT, n > 0 ? n : strlen(REPLACEMENT));
                to += n > 0 ? n : strlen(REPLACEMENT);
                text += n > 0 ? n : 1;
        }
        *to = '\0';
        return copy;
}
