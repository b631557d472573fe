/* SPDX-License-Identifier: MIT
 *
 * hash.h -- one 64-bit mixing function (the finaliser of splitmix64, Steele et al., OOPSLA'14): values for the cache,
 * marks and poison come from it, and so does the made-up load.
 */
#ifndef KVPAGER_REPLAY_HASH_H
#define KVPAGER_REPLAY_HASH_H

#include <stdint.h>

static inline uint64_t hash_mix(uint64_t x)
{
        x ^= x >> 30;
        x *= UINT64_C(0xbf58476d1ce4e5b9);
        x ^= x >> 27;
        x *= UINT64_C(0x94d049bb133111eb);
        return x ^ x >> 31;
}

/* Folds one more value into a hash. */
static inline uint64_t hash_fold(uint64_t hash, uint64_t value)
{
        return hash_mix(hash + UINT64_C(0x9e3779b97f4a7c15) + value);
}

#endif
