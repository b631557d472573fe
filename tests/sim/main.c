/* SPDX-License-Identifier: MIT
 *
 * main.c -- the simulator's command line.
 *
 *      sim [--seeds A-B] [--events N]          runs these seeds; without: as many as $SIM_SEEDS, $SIM_EVENTS say
 *      sim --seed S [--events N] [--trace]     one seed, all of it in words
 *      sim --scenarios                         lists them
 *      sim --golden FILE... [--update]         compares the scenario that a file is named after with the file, or
 * rewrites it
 *
 * The seeds run in a child, so that a failed assertion, a sanitizer's abort or a loop without end still ends in words:
 * the parent runs the seed again and prints the last events before it broke.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

#define LAST_EVENTS  30u
#define SEED_SECONDS 120u /* a seed takes milliseconds; valgrind and sanitizers take longer */

struct options {
        uint64_t first, last;
        uint32_t events;
        bool one, trace, update;
};

static void run_seed(uint64_t seed, uint32_t events, FILE *out, uint32_t out_from, volatile struct progress *progress)
{
        struct core_params params;
        struct world world;

        sim_params(seed, out != NULL, &params);
        world_init(&world, seed, &params);
        world.out = out;
        world.out_from = out_from;
        world.progress = progress;
        alarm(SEED_SECONDS);
        sim_run(&world, events);
        alarm(0);
        world_done(&world);
}

static void run_seeds(const struct options *options, volatile struct progress *progress)
{
        for (uint64_t seed = options->first; seed <= options->last; seed++)
                run_seed(seed, options->events, NULL, 0, progress);
}

/* 0, or what the child ended with. */
static int wait_for(pid_t child)
{
        int status;

        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        if (WIFSIGNALED(status))
                fprintf(stderr, "sim: ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
        return status;
}

static int supervise(const struct options *options)
{
        volatile struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
                                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pid_t child;

        if (progress == MAP_FAILED)
                return 1;
        child = fork();
        if (child == 0) {
                run_seeds(options, progress);
                exit(0);
        }
        if (child > 0 && wait_for(child) == 0) {
                printf("%" PRIu64 " seeds x %u events: all invariants hold\n", options->last - options->first + 1,
                       options->events);
                return 0;
        }
        printf("\nsim: failed at seed %" PRIu64 ", event %u. The last events before that:\n", progress->seed,
               progress->event);
        fflush(stdout);
        child = fork();
        if (child == 0) {
                run_seed(progress->seed, options->events, stdout,
                         progress->event > LAST_EVENTS ? progress->event - LAST_EVENTS : 0, NULL);
                exit(0);
        }
        if (child > 0 && wait_for(child) == 0)
                printf("sim: it does not fail when it is run again alone, with tracing\n");
        printf("sim: replay it with: sim --seed %" PRIu64 " --events %u --trace\n", progress->seed, options->events);
        return 1;
}

static char *read_file(const char *path)
{
        FILE *file = fopen(path, "r");
        char *text = NULL;
        size_t size = 0;

        if (!file)
                return NULL;
        if (getdelim(&text, &size, '\0', file) < 0) {
                free(text);
                text = NULL;
        }
        fclose(file);
        return text;
}

static void print_difference(const char *path, const char *want, const char *have)
{
        unsigned line = 1;

        for (; *want && *want == *have; want++, have++)
                line += *want == '\n';
        while (line > 1 && want[-1] != '\n')
                want--, have--;
        fprintf(stderr, "%s:%u: expected: %.*s\n%*s  now: %.*s\n", path, line, (int)strcspn(want, "\n"), want, 8, "",
                (int)strcspn(have, "\n"), have);
}

static int golden(const char *path, bool update)
{
        const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
        char name[80], *have = NULL, *want;
        size_t size = 0;
        int r = 0;
        FILE *out;

        snprintf(name, sizeof(name), "%.*s", dot ? (int)(dot - base) : (int)strlen(base), base);
        out = open_memstream(&have, &size);
        if (!out || !scenario_run(name, out)) {
                fprintf(stderr, "sim: no scenario '%s'\n", name);
                return 1;
        }
        fclose(out);
        if (update) {
                out = fopen(path, "w");
                r = !out || fputs(have, out) < 0 || fclose(out) != 0;
                free(have);
                return r;
        }
        want = read_file(path);
        if (!want || strcmp(want, have) != 0) {
                print_difference(path, want ? want : "", have);
                r = 1;
        } else
                printf("ok: %s\n", name);
        free(want);
        free(have);
        return r;
}

static uint64_t number(const char *text, uint64_t otherwise)
{
        return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static _Noreturn void usage(void)
{
        fprintf(stderr,
                "usage: sim [--seeds A-B] [--events N] | --seed S [--events N] [--trace] | --scenarios | --golden FILE... [--update]\n");
        exit(2);
}

int main(int argc, char **argv)
{
        static const struct option long_options[] = {
                { "seeds", required_argument, NULL, 's' },  { "seed", required_argument, NULL, 'o' },
                { "events", required_argument, NULL, 'e' }, { "trace", no_argument, NULL, 't' },
                { "golden", required_argument, NULL, 'g' }, { "update", no_argument, NULL, 'u' },
                { "scenarios", no_argument, NULL, 'l' },    { NULL, 0, NULL, 0 },
        };
        struct options options = { .first = 1,
                                   .last = number(getenv("SIM_SEEDS"), 1000),
                                   .events = (uint32_t)number(getenv("SIM_EVENTS"), 2000) };
        const char *golden_path = NULL, *dash;
        int c, r = 0;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
                if (c == 's') {
                        dash = strchr(optarg, '-');
                        options.first = number(optarg, 1);
                        options.last = dash ? number(dash + 1, 1) : options.first;
                } else if (c == 'o') {
                        options.first = options.last = number(optarg, 1);
                        options.one = true;
                } else if (c == 'e')
                        options.events = (uint32_t)number(optarg, 2000);
                else if (c == 't')
                        options.trace = true;
                else if (c == 'g')
                        golden_path = optarg;
                else if (c == 'u')
                        options.update = true;
                else if (c == 'l') {
                        for (unsigned i = 0; scenario_name(i); i++)
                                puts(scenario_name(i));
                        return 0;
                } else
                        usage();
        }
        if (golden_path) {
                r = golden(golden_path, options.update);
                for (; optind < argc; optind++)
                        r |= golden(argv[optind], options.update);
                return r;
        }
        if (optind < argc || options.events == 0 || options.last < options.first)
                usage();
        if (!options.one)
                return supervise(&options);
        run_seed(options.first, options.events, options.trace ? stdout : NULL, 0, NULL);
        printf("seed %" PRIu64 ": all invariants hold\n", options.first);
        return 0;
}
