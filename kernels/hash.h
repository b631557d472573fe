/* SPDX-License-Identifier: MIT
 *
 * hash.h -- one 64-bit mixing function (the finaliser of splitmix64, Steele et al., OOPSLA'14): values for the cache,
 * marks and poison come from it, and so does the made-up load. The same on the host and in kernels.
 */
#ifndef KVPAGER_HASH_H
#define KVPAGER_HASH_H

#include <stdint.h>

#ifdef __CUDACC__
#define HASH_INLINE static inline __host__ __device__
#else
#define HASH_INLINE static inline
#endif

HASH_INLINE uint64_t hash_mix(uint64_t x)
{
        x ^= x >> 30;
        x *= UINT64_C(0xbf58476d1ce4e5b9);
        x ^= x >> 27;
        x *= UINT64_C(0x94d049bb133111eb);
        return x ^ x >> 31;
}

/* Folds one more value into a hash. */
HASH_INLINE uint64_t hash_fold(uint64_t hash, uint64_t value)
{
        return hash_mix(hash + UINT64_C(0x9e3779b97f4a7c15) + value);
}

#endif
