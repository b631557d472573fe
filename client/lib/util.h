/* SPDX-License-Identifier: MIT
 *
 * util.h -- what every module of the library uses: ownership by attribute, checked arithmetic, deadlines, export.
 *
 * Deadlines are CLOCK_MONOTONIC microseconds; UINT64_MAX is never.
 */
#ifndef LIB_UTIL_H
#define LIB_UTIL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define KVP_PUBLIC    __attribute__((visibility("default")))
#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))

/* The value; the variable holds NULL (or -1) from here on. */
#define TAKE_PTR(pointer)                                                                                              \
        __extension__({                                                                                                \
                __typeof__(pointer) *take_from_ = &(pointer);                                                          \
                __typeof__(pointer) taken_ = *take_from_;                                                              \
                *take_from_ = NULL;                                                                                    \
                taken_;                                                                                                \
        })
#define TAKE_FD(fd)                                                                                                    \
        __extension__({                                                                                                \
                int *take_from_ = &(fd);                                                                               \
                int taken_ = *take_from_;                                                                              \
                *take_from_ = -1;                                                                                      \
                taken_;                                                                                                \
        })

static inline void cleanup_close(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
        return a < b ? a : b;
}

static inline uint64_t add_saturated(uint64_t a, uint64_t b)
{
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline uint64_t subtract_saturated(uint64_t a, uint64_t b)
{
        return a > b ? a - b : 0;
}

static inline bool is_power_of_two(uint64_t x)
{
        return x != 0 && (x & (x - 1)) == 0;
}

static inline uint64_t time_now_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static inline uint64_t deadline_in(uint64_t usec)
{
        return usec == UINT64_MAX ? UINT64_MAX : add_saturated(time_now_usec(), usec);
}

static inline struct timespec timespec_of(uint64_t usec)
{
        const uint64_t longest = UINT64_C(1) << 52; /* keeps seconds within any time_t; 142 years */

        usec = min_u64(usec, longest);
        return (struct timespec){ .tv_sec = (time_t)(usec / 1000000u), .tv_nsec = (long)(usec % 1000000u) * 1000 };
}

#endif
