/* SPDX-License-Identifier: MIT
 *
 * cli-run.h -- kvpagerctl inside a test: words in, exit status and output out.
 */
#ifndef TEST_CLI_RUN_H
#define TEST_CLI_RUN_H

struct outcome {
        int status;
        char *out, *err;
};

/* kvpagerctl with these words; the last one is NULL. */
struct outcome run(const char *first, ...);
void outcome_done(struct outcome *outcome);

#endif
