/* SPDX-License-Identifier: MIT
 *
 * number.h -- numbers and sizes from the command line, read strictly, and sizes for people.
 */
#ifndef KVPAGER_REPLAY_NUMBER_H
#define KVPAGER_REPLAY_NUMBER_H

#include <stddef.h>
#include <stdint.h>

/* A whole decimal number within bounds. -EINVAL: it is none; -ERANGE: out of bounds. */
int number_parse(const char *text, uint64_t least, uint64_t most, uint64_t *ret_number);

/* Bytes: a whole or broken number with K, M, G, T (powers of 1024; "KiB" and "KB" are understood alike) or none.
 * -EINVAL: it is none, or 0; -ERANGE: not a number of 63 bits. */
int size_parse(const char *text, uint64_t *ret_bytes);

/* "1.5 GiB". Returns `buffer`. */
const char *size_format(uint64_t bytes, char *buffer, size_t size);

/* The bytes of as many whole pages as so many bytes need; of at most INT64_MAX. */
static inline uint64_t size_round_up(uint64_t bytes, uint64_t page_size)
{
        return (bytes + page_size - 1) / page_size * page_size;
}

#endif
