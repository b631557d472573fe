/* SPDX-License-Identifier: MIT
 *
 * digest.h -- a 64-bit sum of bytes that tells memory that was cut or overwritten from memory that was not. Against
 * accidents, not against anybody. Each step is bijective, so a change within one word is always seen.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bits.h"

static inline uint64_t digest(uint64_t seed, const void *bytes, size_t size)
{
        const unsigned char *at = bytes;
        uint64_t sum = bits_mix(seed + size);

        for (; size >= 8; at += 8, size -= 8) {
                uint64_t word;

                memcpy(&word, at, 8);
                sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
                sum ^= sum >> 29;
        }
        for (; size > 0; at++, size--)
                sum = (sum ^ *at) * UINT64_C(0x9e3779b97f4a7c15);
        return bits_mix(sum);
}

#endif
