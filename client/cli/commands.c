/* SPDX-License-Identifier: MIT
 *
 * commands.c -- the command line of kvpagerctl, from its words to an exit status.
 *
 * A command is one row of the table below; `kvpagerctl help` and the shell completions' test read the same rows.
 */
#include "commands.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "link.h"
#include "operate.h"
#include "scrape.h"
#include "snapshot.h"
#include "top.h"

#ifndef KVPAGER_VERSION
#define KVPAGER_VERSION "unknown"
#endif

struct command {
        const char *name;
        const char *help;
        int (*run)(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
        unsigned parts, json_parts; /* enum ctl_part, for command_show */
        unsigned takes;             /* enum ctl_option */
        const char *words;          /* what follows the command's name; NULL: nothing */
        size_t min_words;
};

static int command_show(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_check(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_top(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_metrics(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_set(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_reload(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_events(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_help(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_version(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);

static const struct command commands[] = {
        { .name = "status",
          .help = "the daemon, its devices and its tenants (the default)",
          .run = command_show,
          .parts = CTL_STATUS | CTL_DEVICES | CTL_TENANTS,
          .json_parts = CTL_ALL },
        { .name = "devices",
          .help = "devices, and how much of their memory is in use",
          .run = command_show,
          .parts = CTL_DEVICES,
          .json_parts = CTL_DEVICES },
        { .name = "tenants",
          .help = "tenants, what they use and their limits",
          .run = command_show,
          .parts = CTL_TENANTS,
          .json_parts = CTL_TENANTS },
        { .name = "workers",
          .help = "connected processes and what they use",
          .run = command_show,
          .parts = CTL_WORKERS,
          .json_parts = CTL_WORKERS },
        { .name = "caches",
          .help = "caches, their rows and what backs them",
          .run = command_show,
          .parts = CTL_CACHES,
          .json_parts = CTL_CACHES },
        { .name = "counters",
          .help = "what the daemon has counted since its start",
          .run = command_show,
          .parts = CTL_COUNTERS,
          .json_parts = CTL_COUNTERS },
        { .name = "top",
          .help = "tenants and workers as they go, on the whole terminal",
          .run = command_top,
          .takes = CTL_OPTION_ONCE | CTL_OPTION_INTERVAL | CTL_OPTION_ASCII },
        { .name = "metrics",
          .help = "all figures for Prometheus, as OpenMetrics text",
          .run = command_metrics,
          .takes = CTL_OPTION_HTTP | CTL_OPTION_FORMAT },
        { .name = "events",
          .help = "what happened, as far as the daemon remembers it",
          .run = command_events,
          .takes = CTL_OPTION_FOLLOW },
        { .name = "set",
          .help = "change limits of a tenant: set TENANT KEY=VALUE...",
          .run = command_set,
          .words = "TENANT KEY=VALUE...",
          .min_words = 2 },
        { .name = "reload", .help = "let the daemon read its configuration again", .run = command_reload },
        { .name = "check", .help = "let the daemon prove every invariant of its page table", .run = command_check },
        { .name = "help", .help = "this text", .run = command_help },
        { .name = "version", .help = "the version of this program", .run = command_version },
};

#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

int ctl_complain(FILE *err, const char *why)
{
        (void)fprintf(err, "kvpagerctl: %s\n", why);
        return CTL_EXIT_FAILED;
}

static int open_link(struct ctl_link *link, const struct ctl_options *options, FILE *err)
{
        return ctl_link_open(link, options->socket_path, options->timeout_usec) < 0
                       ? ctl_complain(err, ctl_link_why(link))
                       : CTL_EXIT_OK;
}

static int command_show(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        _cleanup_(ctl_snapshot_done) struct ctl_snapshot snapshot = { 0 };

        if (open_link(&link, options, err) != CTL_EXIT_OK)
                return CTL_EXIT_FAILED;
        if (ctl_snapshot_fetch(&snapshot, &link, options->json ? command->json_parts : command->parts) < 0)
                return ctl_complain(err, ctl_link_why(&link));
        if (options->json)
                return ctl_json_print(ctl_snapshot_json(&snapshot), JSON_INDENT(2), out, err);
        if (ctl_snapshot_print(&snapshot, out, options) < 0)
                return ctl_complain(err, "no memory for the answer.");
        return CTL_EXIT_OK;
}

static int command_check(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        struct wire_view view;

        (void)command;
        if (open_link(&link, options, err) != CTL_EXIT_OK)
                return CTL_EXIT_FAILED;
        if (ctl_link_call(&link, WIRE_CHECK, NULL, WIRE_CHECKED, &view) < 0)
                return ctl_complain(err, ctl_link_why(&link));

        const struct wire_checked *checked = view.fixed;
        bool ok = checked->status == 0;
        int r = ok ? CTL_EXIT_OK : CTL_EXIT_FAILED;
        if (options->json) {
                int printed = ctl_json_print(json_pack("{s:b, s:s?}", "ok", ok, "broken", ok ? NULL : checked->text),
                                             JSON_INDENT(2), out, err);
                return printed == CTL_EXIT_OK ? r : printed;
        }
        if (ok)
                (void)fprintf(out, "%sok%s\n", options->colour ? "\x1b[32m" : "", options->colour ? "\x1b[0m" : "");
        else
                (void)fprintf(out, "%sbroken%s: %s\n", options->colour ? "\x1b[31m" : "",
                              options->colour ? "\x1b[0m" : "", checked->text);
        return r;
}

static int command_top(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        return ctl_top(options, out, err);
}

static int command_metrics(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        return ctl_scrape(options, out, err);
}

static int command_set(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        return ctl_set(options, out, err);
}

static int command_reload(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        return ctl_reload(options, out, err);
}

static int command_events(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        return ctl_events(options, out, err);
}

static int command_version(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        if (options->json)
                return ctl_json_print(
                        json_pack("{s:s, s:i}", "version", KVPAGER_VERSION, "protocol", (int)WIRE_VERSION),
                        JSON_INDENT(2), out, err);
        (void)fprintf(out, "kvpagerctl %s, protocol %u\n", KVPAGER_VERSION, WIRE_VERSION);
        return CTL_EXIT_OK;
}

static int command_help(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        if (options->json) {
                json_t *list = json_array();
                for (size_t i = 0; i < N_COMMANDS; i++)
                        (void)json_array_append_new(
                                list, json_pack("{s:s, s:s}", "name", commands[i].name, "help", commands[i].help));
                return ctl_json_print(json_pack("{s:o}", "commands", list), JSON_INDENT(2), out, err);
        }
        (void)fputs("usage: kvpagerctl [OPTION...] [COMMAND [WORD...]]\n\n"
                    "Looks at a running kvpagerd, and changes what it does.\n\nCommands:\n",
                    out);
        for (size_t i = 0; i < N_COMMANDS; i++)
                (void)fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
        (void)fputs("\nOptions:\n"
                    "  --socket PATH   the daemon's socket; default: $KVPAGER_SOCKET, else\n"
                    "                  /run/kvpager/kvpager.sock, where it exists, else\n"
                    "                  $XDG_RUNTIME_DIR/kvpager/kvpager.sock\n"
                    "  --timeout SPAN  give up after so long: 5, 500ms, 2min (default: 5s)\n"
                    "  --json          JSON instead of tables, bytes as exact numbers\n"
                    "  --bytes         exact numbers of bytes in tables, instead of 512M, 2G\n"
                    "  --no-legend     no headings and no closing counts in tables\n"
                    "  --once          top: one picture as plain text, of what was since the daemon\n"
                    "                  started, or with --interval of so long; also with --json\n"
                    "  --interval SPAN top: time between two pictures: 1s, the default, 500ms, 2min\n"
                    "  --ascii         top: no characters beyond ASCII\n"
                    "  --follow        events: and those to come, until the daemon ends\n"
                    "  --format NAME   metrics: common (the default), openmetrics, or text\n"
                    "  --http          metrics: answers a request of HTTP from standard input\n"
                    "  -h, --help      this text\n"
                    "  --version       the version of this program\n"
                    "\nExit status: 0 if all is well, 1 if not, 2 if the command line makes no sense.\n",
                    out);
        return CTL_EXIT_OK;
}

static const struct command *command_find(const char *name)
{
        for (size_t i = 0; i < N_COMMANDS; i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}

static bool wants_colour(FILE *out)
{
        const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
        int fd = fileno(out);

        return fd >= 0 && isatty(fd) && term && strcmp(term, "dumb") != 0 && !(no_colour && *no_colour);
}

int ctl_main(int argc, char **argv, FILE *out, FILE *err)
{
        char path[4096];
        struct ctl_options options = { .timeout_usec = CTL_TIMEOUT_USEC,
                                       .legend = true,
                                       .colour = wants_colour(out),
                                       .interval_usec = CTL_INTERVAL_USEC };
        const struct command *command;
        const char *name = NULL;
        int r = ctl_arguments_parse(&options, argc, argv, &name, err);

        if (r != CTL_EXIT_OK)
                return r;
        if (!name) {
                name = optind < argc ? argv[optind++] : "status";
                if (!command_find(name))
                        return ctl_arguments_complain(err, "unknown command: %s", name);
                options.words = (const char *const *)argv + optind;
                options.n_words = (size_t)(argc - optind);
                if (options.n_words > 0 && !command_find(name)->words)
                        return ctl_arguments_complain(err, "%s takes no arguments: %s", name, argv[optind]);
                if (options.n_words < command_find(name)->min_words)
                        return ctl_arguments_complain(err, "%s needs %s", name, command_find(name)->words);
                r = ctl_arguments_check(&options, command_find(name)->takes, name, err);
                if (r != CTL_EXIT_OK)
                        return r;
        }
        command = command_find(name);
        if (!options.socket_path)
                options.socket_path = ctl_link_default_path(path, sizeof(path));

        r = command->run(command, &options, out, err);
        if (fflush(out) != 0 || ferror(out)) {
                (void)fprintf(err, "kvpagerctl: cannot write the answer: %s.\n", strerror(errno));
                return CTL_EXIT_FAILED;
        }
        return r;
}
