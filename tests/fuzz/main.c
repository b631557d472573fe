/* SPDX-License-Identifier: MIT
 *
 * main.c -- feeds a fuzzer the files named on the command line, where libFuzzer's own main() is not there: to look at
 * what it found with another compiler, or under valgrind.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define INPUT_MAX (1u << 20)

int main(int argc, char *argv[])
{
        uint8_t *input = malloc(INPUT_MAX);

        for (int i = 1; input && i < argc; i++) {
                FILE *file = fopen(argv[i], "rbe");

                if (!file) {
                        perror(argv[i]);
                        free(input);
                        return 1;
                }
                (void)LLVMFuzzerTestOneInput(input, fread(input, 1, INPUT_MAX, file));
                (void)fclose(file);
        }
        free(input);
        return 0;
}
