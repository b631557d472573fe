/* SPDX-License-Identifier: MIT
 *
 * script.h -- a fuzzer's input as decisions: bytes, and numbers that are mostly small, sometimes at a bound, sometimes
 * any. Where the input ends everything is 0.
 */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct script {
        const uint8_t *at, *end;
};

static inline bool script_is_over(const struct script *script)
{
        return script->at == script->end;
}

static inline uint8_t script_byte(struct script *script)
{
        return script_is_over(script) ? 0 : *script->at++;
}

/* Up to `size` bytes of the input as they are; returns how many there were. */
static inline size_t script_bytes(struct script *script, void *bytes, size_t size)
{
        size_t left = (size_t)(script->end - script->at), n = size < left ? size : left;

        if (n > 0)
                memcpy(bytes, script->at, n);
        script->at += n;
        return n;
}

/*      00..bf  the number itself
 *      c0..df  4^n - 1, where n is the lower five bits: masks, and what overflows when one is added
 *      e0..ef  4^n
 *      f0..ff  the next eight bytes, little-endian */
static inline uint64_t script_number(struct script *script)
{
        const uint8_t b = script_byte(script);
        uint64_t number = 0;

        if (b < 0xc0)
                return b;
        if (b < 0xe0)
                return (UINT64_C(1) << 2 * (b & 0x1f)) - 1;
        if (b < 0xf0)
                return UINT64_C(1) << 2 * (b & 0x0f);
        (void)script_bytes(script, &number, sizeof(number));
        return number;
}

#endif
