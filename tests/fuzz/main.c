/* SPDX-License-Identifier: MIT
 *
 * main.c -- feeds a fuzzer the files named on the command line, where libFuzzer's own main() is not there: to look at
 * what it found with another compiler, or under valgrind.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_MAX (1u << 20)

/* From a block of its own, so that a sanitizer sees where it ends. */
static void feed(const uint8_t *bytes, size_t size)
{
        uint8_t *input = malloc(size > 0 ? size : 1);

        if (!input)
                abort();
        memcpy(input, bytes, size);
        (void)LLVMFuzzerTestOneInput(input, size);
        free(input);
}

int main(int argc, char *argv[])
{
        static uint8_t bytes[INPUT_MAX];

        for (int i = 1; i < argc; i++) {
                FILE *file = fopen(argv[i], "rbe");

                if (!file) {
                        perror(argv[i]);
                        return 1;
                }
                feed(bytes, fread(bytes, 1, INPUT_MAX, file));
                (void)fclose(file);
        }
        return 0;
}
