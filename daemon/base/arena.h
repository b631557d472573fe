/* SPDX-License-Identifier: MIT
 *
 * arena.h -- carves tables out of one block of memory by offset, so that what lies in it can refer by index and be
 * copied.
 *
 * Run it once over a NULL base to learn the size and once over the memory to get the tables: same calls, same offsets.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena {
        uint64_t used; /* bytes, rounded up to 64 after each table */
};

/* Takes `count` records of `size` bytes, aligned to 64; returns the offset from the arena's start. Callers bound both
 * factors to 32 bits, so 64-bit arithmetic cannot overflow for a handful of tables. */
static inline uint64_t arena_take(struct arena *arena, uint32_t count, uint32_t size)
{
        uint64_t offset = arena->used;

        arena->used += ((uint64_t)count * size + 63u) & ~UINT64_C(63);
        return offset;
}

#endif
