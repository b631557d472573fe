/* SPDX-License-Identifier: MIT
 *
 * random.h -- the simulator's own random numbers: xoshiro256** (Blackman and Vigna) seeded by splitmix64. The same seed
 * gives the same numbers on every machine, whatever the code under test uses.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random {
        uint64_t s[4];
        const uint8_t *script; /* while there is some left, numbers below 256 come from here: a fuzzer writes it */
        size_t script_size;
};

static inline uint64_t random_split(uint64_t *state)
{
        uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
}

static inline void random_seed(struct random *random, uint64_t seed)
{
        for (unsigned i = 0; i < 4; i++)
                random->s[i] = random_split(&seed);
        random->script = NULL;
        random->script_size = 0;
}

static inline uint64_t random_next(struct random *random)
{
        uint64_t *s = random->s, t = s[1] << 17, x = s[1] * 5;
        uint64_t ret = ((x << 7) | (x >> 57)) * 9;

        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = (s[3] << 45) | (s[3] >> 19);
        return ret;
}

/* 0 .. n - 1; 0 for n = 0. The bias of the modulo does not matter here. */
static inline uint32_t random_below(struct random *random, uint32_t n)
{
        if (n <= 1)
                return 0;
        if (random->script_size > 0) {
                random->script_size--;
                if (n <= 256)
                        return *random->script++ % n;
                random->s[0] ^= (uint64_t)*random->script++ << 8;
        }
        return (uint32_t)(random_next(random) % n);
}

/* Both ends included. */
static inline uint32_t random_between(struct random *random, uint32_t low, uint32_t high)
{
        return low + random_below(random, high - low + 1);
}

static inline bool random_chance(struct random *random, uint32_t percent)
{
        return random_below(random, 100) < percent;
}

#endif
