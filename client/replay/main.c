/* SPDX-License-Identifier: MIT
 *
 * main.c -- kvpager-replay: replays a serving load as engines would, and says what it took.
 *
 * 0: every request was completed, or rejected because it can never fit, and nothing that was read back was wrong. 1:
 * something was lost or wrong, or the replay failed. 2: the command line.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "replay.h"
#include "standard-fds.h"

#define EXIT_USAGE 2

/* What came of it, on stdout and in a picture, and what is wrong with it, on stderr. Returns the exit status. */
static int conclude(const struct outcome *outcome)
{
        const struct options *options = outcome->options;
        struct complaint complaint = { 0 };
        int r = options->json ? report_print_json(outcome, stdout) : report_print_table(outcome, stdout);

        if (r >= 0 && options->plot)
                r = plot_write(outcome, options->plot, &complaint);
        if (r < 0) {
                (void)fprintf(stderr, "kvpager-replay: %s\n",
                              complaint.text[0] ? complaint.text : "cannot write the report");
                return EXIT_FAILURE;
        }
        if (outcome->mismatches > 0)
                (void)fprintf(stderr, "kvpager-replay: %ju mismatches; the first: %s\n", (uintmax_t)outcome->mismatches,
                              outcome->first_mismatch);
        else if (!outcome_is_good(outcome))
                (void)fprintf(stderr, "kvpager-replay: %ju requests were lost\n",
                              (uintmax_t)(outcome->requests - outcome->completed - outcome->rejected));
        return outcome_is_good(outcome) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
        _cleanup_(cleanup_free) struct outcome *outcome = calloc(1, sizeof(*outcome)); /* too large for a stack */
        struct complaint complaint = { 0 };
        struct options options;
        int r;

        standard_fds_hold();
        if (!outcome || options_parse(argc, argv, &options, &complaint) < 0) {
                (void)fprintf(stderr, "kvpager-replay: %s\n", complaint.text);
                return EXIT_USAGE;
        }
        if (options.help) {
                options_print_help(stdout);
                return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        if (options.version) {
                (void)printf("kvpager-replay %s\n", KVPAGER_VERSION);
                return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }

        r = replay_run(&options, outcome, &complaint);
        if (r < 0) {
                (void)fprintf(stderr, "kvpager-replay: %s\n", complaint.text);
                r = r == -EINTR ? 128 + SIGINT : EXIT_FAILURE;
        } else
                r = conclude(outcome);
        outcome_clear(outcome);
        return r;
}
