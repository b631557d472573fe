/* SPDX-License-Identifier: MIT
 *
 * cli-run.c -- see cli-run.h.
 */
#include "cli-run.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/commands.h"

void outcome_done(struct outcome *outcome)
{
        free(outcome->out);
        free(outcome->err);
}

struct outcome run(const char *first, ...)
{
        struct outcome outcome = { 0 };
        char *argv[16] = { strdup("kvpagerctl"), NULL };
        size_t out_size, err_size;
        FILE *out = open_memstream(&outcome.out, &out_size), *err = open_memstream(&outcome.err, &err_size);
        int argc = 1;
        va_list words;

        cr_assert(out && err);
        va_start(words, first);
        for (const char *word = first; word; word = va_arg(words, const char *)) {
                cr_assert_lt(argc, 15);
                argv[argc++] = strdup(word);
        }
        va_end(words);
        outcome.status = ctl_main(argc, argv, out, err);
        fclose(out);
        fclose(err);
        for (int i = 0; i < 16; i++) /* getopt has permuted them; all are still there */
                free(argv[i]);
        return outcome;
}
