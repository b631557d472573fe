/* SPDX-License-Identifier: MIT
 *
 * commands.c -- the command line of kvpagerctl, from its words to an exit status.
 *
 * A command is one row of the table below; `kvpagerctl help` and the shell completions' test read the same rows.
 */
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "format.h"
#include "link.h"
#include "snapshot.h"

#ifndef KVPAGER_VERSION
#define KVPAGER_VERSION "unknown"
#endif

struct command {
        const char *name;
        const char *help;
        int (*run)(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
        unsigned parts, json_parts; /* enum ctl_part, for command_show */
};

static int command_show(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_check(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_help(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);
static int command_version(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err);

static const struct command commands[] = {
        { "status", "the daemon, its devices and its tenants (the default)", command_show,
          CTL_STATUS | CTL_DEVICES | CTL_TENANTS, CTL_ALL },
        { "devices", "devices, and how much of their memory is in use", command_show, CTL_DEVICES, CTL_DEVICES },
        { "tenants", "tenants, what they use and their limits", command_show, CTL_TENANTS, CTL_TENANTS },
        { "workers", "connected processes and what they use", command_show, CTL_WORKERS, CTL_WORKERS },
        { "caches", "caches, their rows and what backs them", command_show, CTL_CACHES, CTL_CACHES },
        { "counters", "what the daemon has counted since its start", command_show, CTL_COUNTERS, CTL_COUNTERS },
        { "check", "let the daemon prove every invariant of its page table", command_check, 0, 0 },
        { "help", "this text", command_help, 0, 0 },
        { "version", "the version of this program", command_version, 0, 0 },
};

#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

static int complain(FILE *err, const char *why)
{
        (void)fprintf(err, "kvpagerctl: %s\n", why);
        return CTL_EXIT_FAILED;
}

/* Takes `json`, which may be NULL: no memory. */
static int print_json(json_t *json, FILE *out, FILE *err)
{
        int r = json ? json_dumpf(json, out, JSON_INDENT(2) | JSON_ENSURE_ASCII) : -1;

        json_decref(json);
        if (r < 0)
                return ferror(out) ? CTL_EXIT_FAILED : complain(err, "no memory for the answer.");
        (void)fputc('\n', out);
        return CTL_EXIT_OK;
}

static int open_link(struct ctl_link *link, const struct ctl_options *options, FILE *err)
{
        return ctl_link_open(link, options->socket_path, options->timeout_usec) < 0 ? complain(err, ctl_link_why(link))
                                                                                    : CTL_EXIT_OK;
}

static int command_show(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        _cleanup_(ctl_snapshot_done) struct ctl_snapshot snapshot = { 0 };

        if (open_link(&link, options, err) != CTL_EXIT_OK)
                return CTL_EXIT_FAILED;
        if (ctl_snapshot_fetch(&snapshot, &link, options->json ? command->json_parts : command->parts) < 0)
                return complain(err, ctl_link_why(&link));
        if (options->json)
                return print_json(ctl_snapshot_json(&snapshot), out, err);
        if (ctl_snapshot_print(&snapshot, out, options) < 0)
                return complain(err, "no memory for the answer.");
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
                return complain(err, ctl_link_why(&link));

        const struct wire_checked *checked = view.fixed;
        bool ok = checked->status == 0;
        int r = ok ? CTL_EXIT_OK : CTL_EXIT_FAILED;
        if (options->json) {
                int printed = print_json(json_pack("{s:b, s:s?}", "ok", ok, "broken", ok ? NULL : checked->text), out,
                                         err);
                return printed == CTL_EXIT_OK ? r : printed;
        }
        if (ok)
                (void)fprintf(out, "%sok%s\n", options->colour ? "\x1b[32m" : "", options->colour ? "\x1b[0m" : "");
        else
                (void)fprintf(out, "%sbroken%s: %s\n", options->colour ? "\x1b[31m" : "",
                              options->colour ? "\x1b[0m" : "", checked->text);
        return r;
}

static int command_version(const struct command *command, const struct ctl_options *options, FILE *out, FILE *err)
{
        (void)command;
        if (options->json)
                return print_json(json_pack("{s:s, s:i}", "version", KVPAGER_VERSION, "protocol", (int)WIRE_VERSION),
                                  out, err);
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
                return print_json(json_pack("{s:o}", "commands", list), out, err);
        }
        (void)fputs("usage: kvpagerctl [OPTION...] [COMMAND]\n\nLooks at a running kvpagerd.\n\nCommands:\n", out);
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

static int usage_error(FILE *err)
{
        (void)fputs("See `kvpagerctl help`.\n", err);
        return CTL_EXIT_USAGE;
}

/* Fills in the options; *ret_command is what -h and --version ask for, else untouched. Returns enum ctl_exit. */
static int parse_options(int argc, char **argv, struct ctl_options *options, const struct command **ret_command,
                         FILE *err)
{
        enum { OPTION_SOCKET = 256, OPTION_TIMEOUT, OPTION_JSON, OPTION_BYTES, OPTION_NO_LEGEND, OPTION_VERSION };
        static const struct option known[] = {
                { "socket", required_argument, NULL, OPTION_SOCKET },
                { "timeout", required_argument, NULL, OPTION_TIMEOUT },
                { "json", no_argument, NULL, OPTION_JSON },
                { "bytes", no_argument, NULL, OPTION_BYTES },
                { "no-legend", no_argument, NULL, OPTION_NO_LEGEND },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                { 0 },
        };
        int c;

        optind = 0; /* begin anew, also where a caller comes twice */
        opterr = 0; /* the complaint goes to `err`, and says where help is */
        while ((c = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
                switch (c) {
                case 'h':
                        *ret_command = command_find("help");
                        break;
                case OPTION_VERSION:
                        *ret_command = command_find("version");
                        break;
                case OPTION_SOCKET:
                        options->socket_path = optarg;
                        break;
                case OPTION_TIMEOUT:
                        if (ctl_parse_span(optarg, &options->timeout_usec) == 0)
                                break;
                        (void)fprintf(err,
                                      "kvpagerctl: --timeout=%s is no span of 1ms to 60min, such as 5, 500ms, 2min.\n",
                                      optarg);
                        return usage_error(err);
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
                        (void)fprintf(err, "kvpagerctl: %s needs a value.\n", argv[optind - 1]);
                        return usage_error(err);
                default:
                        (void)fprintf(err, "kvpagerctl: unknown option, or a value where none goes: %s\n",
                                      argv[optind - 1]);
                        return usage_error(err);
                }
        }
        return CTL_EXIT_OK;
}

int ctl_main(int argc, char **argv, FILE *out, FILE *err)
{
        char path[4096];
        struct ctl_options options = { .timeout_usec = CTL_TIMEOUT_USEC, .legend = true, .colour = wants_colour(out) };
        const struct command *command = NULL;
        int r = parse_options(argc, argv, &options, &command, err);

        if (r != CTL_EXIT_OK)
                return r;
        if (!command) {
                const char *name = optind < argc ? argv[optind++] : "status";
                command = command_find(name);
                if (!command) {
                        (void)fprintf(err, "kvpagerctl: unknown command: %s\n", name);
                        return usage_error(err);
                }
                if (optind < argc) {
                        (void)fprintf(err, "kvpagerctl: %s takes no arguments: %s\n", name, argv[optind]);
                        return usage_error(err);
                }
        }
        if (!options.socket_path)
                options.socket_path = ctl_link_default_path(path, sizeof(path));

        r = command->run(command, &options, out, err);
        if (fflush(out) != 0 || ferror(out)) {
                (void)fprintf(err, "kvpagerctl: cannot write the answer: %s.\n", strerror(errno));
                return CTL_EXIT_FAILED;
        }
        return r;
}
