/* SPDX-License-Identifier: MIT
 *
 * options.c -- see options.h.
 */
#include "options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"
#include "trace.h"

#define WORKERS_MAX   1024u
#define PAGE_SIZE_MAX (UINT64_C(1) << 30) /* the daemon's */

enum option_id {
        OPTION_TRACE = 256,
        OPTION_REQUESTS,
        OPTION_SEED,
        OPTION_SPEED,
        OPTION_TENANTS,
        OPTION_WORKERS,
        OPTION_GEOMETRY,
        OPTION_LAYOUT,
        OPTION_MAX_SEQS,
        OPTION_MAX_TOKENS,
        OPTION_CAPACITY,
        OPTION_PAGE_SIZE,
        OPTION_SPARE,
        OPTION_SCENARIO,
        OPTION_FIXED_SPLIT,
        OPTION_WEIGHTS,
        OPTION_MINS,
        OPTION_VERIFY,
        OPTION_NO_COMPUTE,
        OPTION_COLD,
        OPTION_JSON,
        OPTION_PLOT,
        OPTION_HELP,
        OPTION_VERSION,
};

/* One row an option: its name, what its argument is called (NULL: it has none), and a line of help. */
static const struct {
        const char *name, *argument, *help;
        enum option_id id;
} table[] = {
        { "trace", "FILE", "Azure CSV, BurstGPT CSV or Mooncake JSONL; without it a made-up load", OPTION_TRACE },
        { "requests", "N", "the first N requests of it (default all; of the made-up load 1000)", OPTION_REQUESTS },
        { "seed", "N", "of the made-up load (default 1)", OPTION_SEED },
        { "speed", "FACTOR",
          "arrivals by the trace's clock times FACTOR (default 1 with --no-compute;\n"
          "else each engine keeps its own time, by the cost model)",
          OPTION_SPEED },
        { "tenants", "N", "tenants t0, t1, ... (default 1; of a scenario 2)", OPTION_TENANTS },
        { "workers", "N", "worker processes of each tenant (default 1)", OPTION_WORKERS },
        { "geometry", "NAME",
          "of the model, or layers=N,kv_heads=N,head_dim=N[,query_heads=N]\n"
          "[,type=fp16|bf16|fp32] (default tiny)",
          OPTION_GEOMETRY },
        { "layout", "NAME", "per-layer, token-major or token-major-fused (default per-layer)", OPTION_LAYOUT },
        { "max-seqs", "N", "sequences that a worker runs at a time (default 128)", OPTION_MAX_SEQS },
        { "max-tokens", "N",
          "a sequence's longest length; requests beyond are rejected\n"
          "(default the longest of the trace that can fit)",
          OPTION_MAX_TOKENS },
        { "capacity", "SIZE",
          "start a private kvpagerd with that much memory, even if $KVPAGER_SOCKET\n"
          "is set (default ample with --no-compute, else so that memory is short)",
          OPTION_CAPACITY },
        { "page-size", "SIZE", "of the private kvpagerd (default 2M)", OPTION_PAGE_SIZE },
        { "spare", "PERCENT", "of the capacity that admission keeps free for growth (default 5)", OPTION_SPARE },
        { "scenario", "NAME",
          "bursts: tenants peak by turns; hungry: all requests wait from the\n"
          "start. On the virtual clock, each tenant with its own books",
          OPTION_SCENARIO },
        { "fixed-split", NULL, "the private kvpagerd gives each tenant an equal part and no more", OPTION_FIXED_SPLIT },
        { "weights", "N,N,...", "of the tenants of the private kvpagerd", OPTION_WEIGHTS },
        { "mins", "SIZE,...", "their memory.min; 0 for none", OPTION_MINS },
        { "verify", NULL, "compare attention bit for bit with the same over plain memory", OPTION_VERIFY },
        { "no-compute", NULL, "mark and check a few bytes of each page, on a virtual clock", OPTION_NO_COMPUTE },
        { "cold", NULL, "give a row's pages back when its request ends", OPTION_COLD },
        { "json", NULL, "print one JSON object", OPTION_JSON },
        { "plot", "FILE.svg", "draw memory over time", OPTION_PLOT },
        { "help", NULL, "print this", OPTION_HELP },
        { "version", NULL, "print the version", OPTION_VERSION },
};

#define N_OPTIONS (sizeof(table) / sizeof(table[0]))

void options_print_help(FILE *file)
{
        (void)fputs(
                "usage: kvpager-replay [OPTION...]\n\n"
                "Replays a trace of LLM requests as serving engines would, on KV caches paged by kvpagerd: the daemon at\n"
                "$KVPAGER_SOCKET, or a private one.\n\n",
                file);
        for (size_t i = 0; i < N_OPTIONS; i++) {
                const char *line = table[i].help, *end;
                char left[32];

                (void)snprintf(left, sizeof(left), "--%s%s%s", table[i].name, table[i].argument ? " " : "",
                               table[i].argument ? table[i].argument : "");
                for (; (end = strchr(line, '\n')); line = end + 1) {
                        (void)fprintf(file, "  %-18s  %.*s\n", left, (int)(end - line), line);
                        left[0] = '\0';
                }
                (void)fprintf(file, "  %-18s  %s\n", left, line);
        }
        (void)fprintf(file, "\nGeometries: %s.\nSizes are as 512M or 2G, in powers of 1024.\n", geometry_names());
}

static int parse_count(const char *name, const char *text, uint64_t most, uint64_t *ret_number,
                       struct complaint *complaint)
{
        if (number_parse(text, 1, most, ret_number) < 0)
                return complain(complaint, -EINVAL, "--%s: '%s' is not a whole number from 1 to %ju", name, text,
                                (uintmax_t)most);
        return 0;
}

static int parse_count32(const char *name, const char *text, uint32_t most, uint32_t *ret_number,
                         struct complaint *complaint)
{
        uint64_t number;
        int r = parse_count(name, text, most, &number, complaint);

        if (r >= 0)
                *ret_number = (uint32_t)number;
        return r;
}

static int parse_size(const char *name, const char *text, uint64_t *ret_bytes, struct complaint *complaint)
{
        if (size_parse(text, ret_bytes) < 0)
                return complain(complaint, -EINVAL, "--%s: '%s' is not a size such as 512M", name, text);
        return 0;
}

static int parse_page_size(const char *name, const char *text, uint64_t *ret_bytes, struct complaint *complaint)
{
        uint64_t bytes = 0;
        int r = parse_size(name, text, &bytes, complaint);

        if (r < 0)
                return r;
        if (bytes < 65536 || bytes > PAGE_SIZE_MAX || (bytes & (bytes - 1)) != 0)
                return complain(complaint, -EINVAL, "--%s: '%s' is not a power of two from 64K to 1G", name, text);
        *ret_bytes = bytes;
        return 0;
}

static int parse_speed(const char *name, const char *text, double *ret_speed, struct complaint *complaint)
{
        char *end = NULL;
        double speed = strtod(text, &end);

        if (end == text || *end != '\0' || !isfinite(speed) || speed < 1e-3 || speed > 1e6)
                return complain(complaint, -EINVAL, "--%s: '%s' is not a factor from 0.001 to 1000000", name, text);
        *ret_speed = speed;
        return 0;
}

static int parse_percent(const char *name, const char *text, uint64_t *ret_percent, struct complaint *complaint)
{
        if (number_parse(text, 0, 90, ret_percent) < 0)
                return complain(complaint, -EINVAL, "--%s: '%s' is not a percentage from 0 to 90", name, text);
        return 0;
}

static const char *const scenarios[] = { [SCENARIO_BURSTS] = "bursts", [SCENARIO_HUNGRY] = "hungry" };

#define N_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

const char *scenario_name(enum scenario scenario)
{
        return scenarios[scenario];
}

static int parse_scenario(const char *name, const char *text, enum scenario *ret_scenario, struct complaint *complaint)
{
        for (size_t i = SCENARIO_NONE + 1; i < N_SCENARIOS; i++)
                if (strcmp(text, scenarios[i]) == 0) {
                        *ret_scenario = (enum scenario)i;
                        return 0;
                }
        return complain(complaint, -EINVAL, "--%s: '%s' is neither bursts nor hungry", name, text);
}

/* Calls `take` for each part between commas. */
static int parse_list(struct options *options, const char *name, const char *text,
                      int (*take)(struct options *, const char *, const char *, struct complaint *),
                      struct complaint *complaint)
{
        const char *end;
        char part[32];
        int r;

        do {
                end = text + strcspn(text, ",");
                (void)snprintf(part, sizeof(part), "%.*s", (int)(end - text), text);
                r = take(options, name, part, complaint);
                text = end + 1;
        } while (r >= 0 && *end == ',');
        return r;
}

static int take_weight(struct options *options, const char *name, const char *text, struct complaint *complaint)
{
        if (options->n_weights == OPTIONS_TENANTS_MAX)
                return complain(complaint, -EINVAL, "--%s: for at most %u tenants", name, OPTIONS_TENANTS_MAX);
        return parse_count32(name, text, 10000, &options->weights[options->n_weights++], complaint);
}

static int take_min(struct options *options, const char *name, const char *text, struct complaint *complaint)
{
        if (options->n_mins == OPTIONS_TENANTS_MAX)
                return complain(complaint, -EINVAL, "--%s: for at most %u tenants", name, OPTIONS_TENANTS_MAX);
        if (strcmp(text, "0") == 0) {
                options->mins[options->n_mins++] = 0;
                return 0;
        }
        return parse_size(name, text, &options->mins[options->n_mins++], complaint);
}

static int option_take(struct options *options, enum option_id id, const char *name, const char *text,
                       struct complaint *complaint)
{
        switch (id) {
        case OPTION_TRACE:
                options->trace = text;
                return 0;
        case OPTION_PLOT:
                options->plot = text;
                return 0;
        case OPTION_REQUESTS:
                return parse_count(name, text, UINT64_C(1) << 27, &options->requests, complaint);
        case OPTION_SEED:
                return parse_count(name, text, UINT64_MAX, &options->seed, complaint);
        case OPTION_SPEED:
                return parse_speed(name, text, &options->speed, complaint);
        case OPTION_TENANTS:
                return parse_count32(name, text, WORKERS_MAX, &options->tenants, complaint);
        case OPTION_WORKERS:
                return parse_count32(name, text, WORKERS_MAX, &options->workers, complaint);
        case OPTION_GEOMETRY:
                return geometry_parse(text, &options->geometry, complaint);
        case OPTION_LAYOUT:
                return layout_parse(text, &options->layout, complaint);
        case OPTION_MAX_SEQS:
                return parse_count32(name, text, KVP_MAX_SEQS, &options->max_seqs, complaint);
        case OPTION_MAX_TOKENS:
                return parse_count(name, text, UINT64_C(2) * TRACE_TOKENS_MAX, &options->max_tokens, complaint);
        case OPTION_CAPACITY:
                return parse_size(name, text, &options->capacity, complaint);
        case OPTION_PAGE_SIZE:
                return parse_page_size(name, text, &options->page_size, complaint);
        case OPTION_SPARE:
                return parse_percent(name, text, &options->spare_percent, complaint);
        case OPTION_SCENARIO:
                return parse_scenario(name, text, &options->scenario, complaint);
        case OPTION_FIXED_SPLIT:
                options->fixed_split = true;
                return 0;
        case OPTION_WEIGHTS:
                options->n_weights = 0;
                return parse_list(options, name, text, take_weight, complaint);
        case OPTION_MINS:
                options->n_mins = 0;
                return parse_list(options, name, text, take_min, complaint);
        case OPTION_VERIFY:
                options->verify = true;
                return 0;
        case OPTION_NO_COMPUTE:
                options->no_compute = true;
                return 0;
        case OPTION_COLD:
                options->cold = true;
                return 0;
        case OPTION_JSON:
                options->json = true;
                return 0;
        case OPTION_HELP:
                options->help = true;
                return 0;
        case OPTION_VERSION:
                options->version = true;
                return 0;
        }
        return -EINVAL;
}

/* What is said of each tenant says how many there are. */
static int options_count_tenants(struct options *options, struct complaint *complaint)
{
        const uint32_t n = options->n_weights ? options->n_weights : options->n_mins;

        if (options->tenants == 0)
                options->tenants = n ? n : options->scenario != SCENARIO_NONE ? 2 : 1;
        if (options->n_weights && options->n_weights != options->tenants)
                return complain(complaint, -EINVAL, "--weights: %u of them for %u tenants", options->n_weights,
                                options->tenants);
        if (options->n_mins && options->n_mins != options->tenants)
                return complain(complaint, -EINVAL, "--mins: %u of them for %u tenants", options->n_mins,
                                options->tenants);
        return 0;
}

static int options_check(const struct options *options, struct complaint *complaint)
{
        if (options->scenario != SCENARIO_NONE && (options->trace || options->speed > 0))
                return complain(complaint, -EINVAL, "--scenario makes up its load: without --trace and --speed");
        if (options->fixed_split && options->n_mins)
                return complain(complaint, -EINVAL, "--fixed-split says what each tenant has, and so does --mins");
        if (options->verify && options->no_compute)
                return complain(complaint, -EINVAL, "--verify compares attention, and --no-compute computes none");
        if ((uint64_t)options->tenants * options->workers > WORKERS_MAX)
                return complain(complaint, -EINVAL, "--tenants times --workers is more than %u", WORKERS_MAX);
        return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options, struct complaint *complaint)
{
        struct options options = { .workers = 1, .max_seqs = 128, .seed = 1, .spare_percent = 5 };
        struct option longopts[N_OPTIONS + 1] = { 0 };
        int index = 0, id, r;

        for (size_t i = 0; i < N_OPTIONS; i++)
                longopts[i] = (struct option){ .name = table[i].name,
                                               .has_arg = table[i].argument ? required_argument : no_argument,
                                               .val = (int)table[i].id };
        r = geometry_parse("tiny", &options.geometry, complaint);
        assert(r >= 0);

        optind = 0; /* tests call this more than once */
        opterr = 0;
        while ((id = getopt_long(argc, argv, ":", longopts, &index)) != -1) {
                if (id == ':')
                        return complain(complaint, -EINVAL, "%s needs an argument", argv[optind - 1]);
                if (id == '?')
                        return complain(complaint, -EINVAL,
                                        "unknown option '%s', or one that takes no argument; see --help",
                                        argv[optind - 1]);
                r = option_take(&options, (enum option_id)id, table[id - OPTION_TRACE].name, optarg, complaint);
                if (r < 0)
                        return r;
        }
        if (optind < argc)
                return complain(complaint, -EINVAL, "'%s' is no option; see --help", argv[optind]);
        if ((r = options_count_tenants(&options, complaint)) < 0 || (r = options_check(&options, complaint)) < 0)
                return r;
        *ret_options = options;
        return 0;
}
