/* SPDX-License-Identifier: MIT
 *
 * bench-instructions.c -- work whose instructions are counted, by callgrind: the same on every machine, so a regression
 * of a few percent shows, which no clock does. tests/lint/instructions.sh runs it and holds it to instructions.txt.
 *
 *      bench-instructions step_256_rows|step_1_row|codec_grow|codec_grant_64
 *
 * The core's own is bench-core-scale. A step needs no daemon as long as nothing crosses a mark, so the cache here has
 * rows and a lock, and nothing behind them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

#include "client/lib/cache.h"
#include "wire.h"

#define TIMES 100u
#define ROWS  256u

static int count_steps(size_t n)
{
        static struct row_hot hot[ROWS];
        static struct kvp_seq_step steps[ROWS];
        static struct kvp_cache cache = { .hot = hot, .n_rows = ROWS };
        int r = 0;

        (void)pthread_mutex_init(&cache.lock, NULL);
        cache.generation = fork_generation();
        cache.layout.max_tokens = 1000;
        for (uint32_t i = 0; i < ROWS; i++) {
                hot[i] = (struct row_hot){ .ready = 1000, .mark = 1000 };
                steps[i].seq = i;
        }
        CALLGRIND_START_INSTRUMENTATION;
        for (uint32_t k = 0; k < TIMES; k++) {
                for (size_t i = 0; i < n; i++)
                        steps[i].tokens = k;
                r |= kvp_step(&cache, steps, n, 0);
        }
        CALLGRIND_STOP_INSTRUMENTATION;
        return r;
}

/* Encodes and decodes a message with so many items, which are all zero but for `item`. */
static int count_codec(enum wire_opcode opcode, enum wire_direction direction, const void *item, size_t size,
                       uint32_t n, unsigned n_fds)
{
        static uint64_t packet[WIRE_MAX_PACKET / sizeof(uint64_t)], items[WIRE_MAX_PACKET / sizeof(uint64_t)];
        struct wire_view view;
        int bad = 0;

        for (uint32_t i = 0; i < n; i++)
                memcpy((char *)items + i * size, item, size);
        CALLGRIND_START_INSTRUMENTATION;
        for (uint32_t k = 0; k < TIMES; k++) {
                const size_t length = wire_encode(packet, sizeof(packet), opcode, direction == WIRE_C2D, 0, NULL, items,
                                                  n);

                bad |= wire_decode(packet, length, n_fds, direction, &view) != WIRE_E_NONE;
        }
        CALLGRIND_STOP_INSTRUMENTATION;
        return bad;
}

int main(int argc, char **argv)
{
        const struct wire_item_grow grow = { .cache = 1, .need = 1, .max = 1 };
        const struct wire_item_grant grant = { .extent = 1, .request = 1 };
        const char *what = argc == 2 ? argv[1] : "";

        if (strcmp(what, "step_256_rows") == 0)
                return count_steps(ROWS);
        if (strcmp(what, "step_1_row") == 0)
                return count_steps(1);
        if (strcmp(what, "codec_grow") == 0)
                return count_codec(WIRE_GROW, WIRE_C2D, &grow, sizeof(grow), 1, 0);
        if (strcmp(what, "codec_grant_64") == 0)
                return count_codec(WIRE_GRANT, WIRE_D2C, &grant, sizeof(grant), 64, 64);
        (void)fprintf(stderr, "usage: bench-instructions step_256_rows|step_1_row|codec_grow|codec_grant_64\n");
        return 2;
}
