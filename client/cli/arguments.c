/* SPDX-License-Identifier: MIT
 *
 * arguments.c -- the options of kvpagerctl. Some belong to some commands only: those note that they were given, and
 * ctl_arguments_check() compares with what the command takes.
 */
#include "arguments.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "format.h"
#include "metrics.h"

static const char *const formats[] = {
        [CTL_METRICS_COMMON] = "common", [CTL_METRICS_OPENMETRICS] = "openmetrics", [CTL_METRICS_TEXT] = "text"
};

enum {
        OPTION_SOCKET = 256,
        OPTION_TIMEOUT,
        OPTION_JSON,
        OPTION_BYTES,
        OPTION_NO_LEGEND,
        OPTION_VERSION,
        OPTION_ONCE,
        OPTION_INTERVAL,
        OPTION_ASCII,
        OPTION_HTTP,
        OPTION_FORMAT,
        OPTION_FOLLOW,
};

static const struct option known[] = {
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "timeout", required_argument, NULL, OPTION_TIMEOUT },
        { "json", no_argument, NULL, OPTION_JSON },
        { "bytes", no_argument, NULL, OPTION_BYTES },
        { "no-legend", no_argument, NULL, OPTION_NO_LEGEND },
        { "once", no_argument, NULL, OPTION_ONCE },
        { "interval", required_argument, NULL, OPTION_INTERVAL },
        { "ascii", no_argument, NULL, OPTION_ASCII },
        { "http", no_argument, NULL, OPTION_HTTP },
        { "format", required_argument, NULL, OPTION_FORMAT },
        { "follow", no_argument, NULL, OPTION_FOLLOW },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, OPTION_VERSION },
        { 0 },
};

static const struct {
        enum ctl_option option;
        const char *name;
} some[] = {
        { CTL_OPTION_ONCE, "once" }, { CTL_OPTION_INTERVAL, "interval" }, { CTL_OPTION_ASCII, "ascii" },
        { CTL_OPTION_HTTP, "http" }, { CTL_OPTION_FORMAT, "format" },     { CTL_OPTION_FOLLOW, "follow" },
};

int ctl_arguments_complain(FILE *err, const char *format, ...)
{
        va_list arguments;

        (void)fputs("kvpagerctl: ", err);
        va_start(arguments, format);
        (void)vfprintf(err, format, arguments);
        va_end(arguments);
        (void)fputs("\nSee `kvpagerctl help`.\n", err);
        return CTL_EXIT_USAGE;
}

int ctl_arguments_check(const struct ctl_options *options, unsigned takes, const char *command, FILE *err)
{
        for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++)
                if (options->given & ~takes & (unsigned)some[i].option)
                        return ctl_arguments_complain(err, "%s takes no option --%s.", command, some[i].name);
        return CTL_EXIT_OK;
}

static int parse_span(const char *name, uint64_t *ret_usec, FILE *err)
{
        if (ctl_parse_span(optarg, ret_usec) == 0)
                return CTL_EXIT_OK;
        return ctl_arguments_complain(err, "--%s=%s is no span of 1ms to 60min, such as 5, 500ms, 2min.", name, optarg);
}

/* The options of some commands. */
static int parse_some(struct ctl_options *options, int c, FILE *err)
{
        switch (c) {
        case OPTION_ONCE:
                options->given |= CTL_OPTION_ONCE;
                return CTL_EXIT_OK;
        case OPTION_INTERVAL:
                options->given |= CTL_OPTION_INTERVAL;
                return parse_span("interval", &options->interval_usec, err);
        case OPTION_ASCII:
                options->given |= CTL_OPTION_ASCII;
                return CTL_EXIT_OK;
        case OPTION_HTTP:
                options->given |= CTL_OPTION_HTTP;
                return CTL_EXIT_OK;
        case OPTION_FOLLOW:
                options->given |= CTL_OPTION_FOLLOW;
                return CTL_EXIT_OK;
        default:
                options->given |= CTL_OPTION_FORMAT;
                for (options->format = 0; options->format < sizeof(formats) / sizeof(formats[0]); options->format++)
                        if (strcmp(optarg, formats[options->format]) == 0)
                                return CTL_EXIT_OK;
                return ctl_arguments_complain(err, "--format=%s is none of common, openmetrics, text.", optarg);
        }
}

int ctl_arguments_parse(struct ctl_options *options, int argc, char **argv, const char **ret_command, FILE *err)
{
        int c, r = CTL_EXIT_OK;

        optind = 0; /* begin anew, also where a caller comes twice */
        opterr = 0; /* the complaint goes to `err`, and says where help is */
        while (r == CTL_EXIT_OK && (c = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
                switch (c) {
                case 'h':
                        *ret_command = "help";
                        break;
                case OPTION_VERSION:
                        *ret_command = "version";
                        break;
                case OPTION_SOCKET:
                        options->socket_path = optarg;
                        break;
                case OPTION_TIMEOUT:
                        r = parse_span("timeout", &options->timeout_usec, err);
                        break;
                case OPTION_JSON:
                        options->json = true;
                        break;
                case OPTION_BYTES:
                        options->bytes = true;
                        break;
                case OPTION_NO_LEGEND:
                        options->legend = false;
                        break;
                case ':':
                        return ctl_arguments_complain(err, "%s needs a value.", argv[optind - 1]);
                case '?':
                        return ctl_arguments_complain(err, "unknown option, or a value where none goes: %s",
                                                      argv[optind - 1]);
                default:
                        r = parse_some(options, c, err);
                }
        }
        return r;
}
