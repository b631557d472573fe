/* SPDX-License-Identifier: MIT
 *
 * main.c -- kvpager-observe: as a service, or to look once.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "format.h"
#include "observer.h"
#include "standard-fds.h"

enum mode { MODE_SERVICE, MODE_ONCE, MODE_JSON, MODE_HIST };

struct options {
        enum mode mode;
        uint64_t usec; /* how long to look, where no service does */
        uint32_t ring_bytes;
        const char *libcuda;
        bool slow;
        bool own; /* do not ask the service */
};

static const char help[] =
        "Usage: kvpager-observe [OPTION...]\n"
        "Lets the kernel tell how workers end, who takes GPU memory, and where a grant's time goes.\n"
        "\n"
        "Without --once, --json or --hist it stays, and tells kvpagerd. With one of them it shows what the service has\n"
        "counted, or, where no service runs, what it sees itself for a moment.\n"
        "\n"
        "  --once          show a summary\n"
        "  --json          show everything as JSON\n"
        "  --hist          show histograms\n"
        "  --own           do not ask the service, look\n"
        "  --for SPAN      look for so long; default 1s\n"
        "  --libcuda FILE  attach to this library at once, not only when a process has it\n"
        "  --slow          attach also to calls that are made often, where a probe costs some 15 us\n"
        "  --ring BYTES    size of the ring buffer, a power of two from 4K up; default 256K\n"
        "  --help          this text\n"
        "  --version       the version\n"
        "\n"
        "See kvpager-observe(8).\n";

enum { OPT_ONCE = 256, OPT_JSON, OPT_HIST, OPT_OWN, OPT_FOR, OPT_LIBCUDA, OPT_RING, OPT_SLOW, OPT_HELP, OPT_VERSION };

static int complain(const char *what, const char *value)
{
        (void)fprintf(stderr, "kvpager-observe: %s%s%s\nTry `kvpager-observe --help`.\n", what, value ? ": " : "",
                      value ? value : "");
        return -EINVAL;
}

static int parse_ring(const char *text, uint32_t *ret)
{
        char *end;
        unsigned long value = strtoul(text, &end, 10);

        if (*end == 'K' || *end == 'M')
                value <<= *end++ == 'K' ? 10 : 20;
        if (*end || end == text || value < 4096 || value > 64ul << 20 || (value & (value - 1)) != 0)
                return complain("--ring must be a power of two from 4K to 64M", text);
        *ret = (uint32_t)value;
        return 0;
}

/* 1: everything is said. */
static int parse_option(int option, struct options *ret)
{
        switch (option) {
        case OPT_ONCE:
        case OPT_JSON:
        case OPT_HIST:
                if (ret->mode != MODE_SERVICE)
                        return complain("only one of --once, --json and --hist can be", NULL);
                ret->mode = option == OPT_ONCE ? MODE_ONCE : option == OPT_JSON ? MODE_JSON : MODE_HIST;
                return 0;
        case OPT_OWN:
                ret->own = true;
                return 0;
        case OPT_FOR:
                return ctl_parse_span(optarg, &ret->usec) < 0
                               ? complain("--for must be a span of time like 500ms or 10s", optarg)
                               : 0;
        case OPT_LIBCUDA:
                ret->libcuda = optarg;
                return 0;
        case OPT_SLOW:
                ret->slow = true;
                return 0;
        case OPT_RING:
                return parse_ring(optarg, &ret->ring_bytes);
        case OPT_HELP:
                (void)fputs(help, stdout);
                return 1;
        case OPT_VERSION:
                (void)puts("kvpager-observe " KVPAGER_VERSION);
                return 1;
        default:
                (void)fputs("Try `kvpager-observe --help`.\n", stderr);
                return -EINVAL;
        }
}

static int parse(int argc, char **argv, struct options *ret)
{
        static const struct option known[] = {
                { "once", no_argument, NULL, OPT_ONCE },
                { "json", no_argument, NULL, OPT_JSON },
                { "hist", no_argument, NULL, OPT_HIST },
                { "own", no_argument, NULL, OPT_OWN },
                { "for", required_argument, NULL, OPT_FOR },
                { "libcuda", required_argument, NULL, OPT_LIBCUDA },
                { "ring", required_argument, NULL, OPT_RING },
                { "help", no_argument, NULL, OPT_HELP },
                { "version", no_argument, NULL, OPT_VERSION },
                { "slow", no_argument, NULL, OPT_SLOW },
                { 0 },
        };
        int option, r;

        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
                r = parse_option(option, ret);
                if (r != 0)
                        return r;
        }
        return optind < argc ? complain("it takes no arguments", argv[optind]) : 0;
}

static int show(const struct options *options, json_t *snapshot)
{
        if (!snapshot)
                return -ENOMEM;
        if (options->mode == MODE_JSON) {
                int r = json_dumpf(snapshot, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);

                (void)fputc('\n', stdout);
                return r < 0 ? -EIO : 0;
        }
        return options->mode == MODE_ONCE ? show_summary(snapshot, stdout) : show_histograms(snapshot, stdout);
}

static int on_end(sd_event_source *source, uint64_t usec, void *userdata)
{
        (void)usec;
        (void)userdata;
        return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int watch_signals(sd_event *event)
{
        sigset_t set;
        int r;

        (void)signal(SIGPIPE, SIG_IGN);
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
        return r < 0 ? r : sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
}

/* Serves, or looks for a while. What does not work was said. */
static int observe(const struct options *options)
{
        struct observer o = { .reports = options->mode == MODE_SERVICE,
                              .ring_bytes = options->ring_bytes,
                              .slow = options->slow,
                              .libcuda = options->libcuda };
        const int opened = observer_open(&o);
        int r = opened < 0 && !o.event ? opened : 0;

        if (r == 0 && options->mode == MODE_SERVICE && opened == 0) {
                r = watch_signals(o.event);
                if (r >= 0)
                        r = sd_event_set_watchdog(o.event, true);
                const int serves = r >= 0 ? serve_open(&o) : 0;
                if (serves < 0)
                        observer_say(LOG_NOTICE, "nobody can ask it: no socket at %s: %s", serve_path(),
                                     strerror(-serves));
                if (r >= 0) {
                        (void)sd_notify(0, "READY=1");
                        r = sd_event_loop(o.event);
                }
                serve_close(&o);
        } else if (r == 0 && options->mode != MODE_SERVICE) {
                if (opened == 0) {
                        r = watch_signals(o.event);
                        if (r >= 0)
                                r = sd_event_add_time_relative(o.event, NULL, CLOCK_MONOTONIC, options->usec, 1000,
                                                               on_end, NULL);
                        if (r >= 0)
                                r = sd_event_loop(o.event);
                }
                if (r >= 0) {
                        json_t *snapshot = observer_json(&o);

                        r = show(options, snapshot);
                        json_decref(snapshot);
                }
        }
        observer_close(&o);
        return r < 0 ? r : opened;
}

int main(int argc, char **argv)
{
        struct options options = { .usec = 1000000, .ring_bytes = 256 * 1024 };
        json_t *snapshot = NULL;
        int r;

        standard_fds_hold();
        r = parse(argc, argv, &options);
        if (r != 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        if (options.mode != MODE_SERVICE && !options.own)
                snapshot = serve_ask();
        r = snapshot ? show(&options, snapshot) : observe(&options);
        json_decref(snapshot);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
