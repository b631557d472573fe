/* SPDX-License-Identifier: MIT
 *
 * bits.h -- rounding, minima, and the mixing function of the hash tables (the finaliser of SplitMix64, Steele et al.
 * 2014).
 */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <stdint.h>

static inline uint32_t bits_min_u32(uint32_t a, uint32_t b)
{
        return a < b ? a : b;
}
static inline uint32_t bits_max_u32(uint32_t a, uint32_t b)
{
        return a > b ? a : b;
}
static inline uint64_t bits_min_u64(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}
static inline uint64_t bits_max_u64(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}

/* The smallest power of two that is not below `value`; value at most 2^31. */
static inline uint32_t bits_round_up_pow2(uint32_t value)
{
        return value <= 1 ? 1 : 1u << (32 - __builtin_clz(value - 1));
}

static inline uint64_t bits_mix(uint64_t value)
{
        value ^= value >> 30;
        value *= UINT64_C(0xbf58476d1ce4e5b9);
        value ^= value >> 27;
        value *= UINT64_C(0x94d049bb133111eb);
        return value ^ (value >> 31);
}

#endif
