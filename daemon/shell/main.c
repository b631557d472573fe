/* SPDX-License-Identifier: MIT
 *
 * main.c -- kvpagerd(8): options, the configuration, and the daemon in the foreground.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backoff.h"
#include "config.h"
#include "daemon.h"
#include "log.h"
#include "standard-fds.h"

#define EXIT_USAGE 2 /* the command line makes no sense */

struct options {
        const char *config; /* NULL: the default place, where nothing is fine too */
        int log_level;      /* -1: as configured */
        bool check;
};

static const char help[] =
        "Usage: kvpagerd [OPTION]...\n"
        "The pager for the KV caches of language model servers.\n"
        "\n"
        "  --config FILE       configuration (default: " CONFIG_DEFAULT_PATH " where it exists)\n"
        "  --check-config      checks the configuration and exits\n"
        "  --log-level LEVEL   error, warning, notice, info or debug; goes before the configuration\n"
        "  --help              this text\n"
        "  --version           the version\n"
        "\n"
        "The socket is $KVPAGER_SOCKET, else " LISTEN_SYSTEM_PATH " for root and services,\n"
        "else $XDG_RUNTIME_DIR/kvpager/kvpager.sock. SIGHUP reloads, SIGTERM stops. See kvpagerd(8).\n";

enum { OPTION_CONFIG = 256, OPTION_CHECK, OPTION_LEVEL, OPTION_HELP, OPTION_VERSION };

/* 0: go on; 1: exit with success; negative: exit with failure. */
static int parse_options(int argc, char *argv[], struct options *options)
{
        static const struct option known[] = { { "config", required_argument, NULL, OPTION_CONFIG },
                                               { "check-config", no_argument, NULL, OPTION_CHECK },
                                               { "log-level", required_argument, NULL, OPTION_LEVEL },
                                               { "help", no_argument, NULL, OPTION_HELP },
                                               { "version", no_argument, NULL, OPTION_VERSION },
                                               { NULL, 0, NULL, 0 } };

        for (int c; (c = getopt_long(argc, argv, "", known, NULL)) >= 0;)
                switch (c) {
                case OPTION_CONFIG:
                        options->config = optarg;
                        break;
                case OPTION_CHECK:
                        options->check = true;
                        break;
                case OPTION_LEVEL:
                        options->log_level = log_level_from_name(optarg);
                        if (options->log_level < 0) {
                                (void)fprintf(
                                        stderr,
                                        "kvpagerd: --log-level %s: expected error, warning, notice, info or debug\n",
                                        optarg);
                                return -EINVAL;
                        }
                        break;
                case OPTION_HELP:
                        (void)fputs(help, stdout);
                        return 1;
                case OPTION_VERSION:
                        (void)puts("kvpagerd " KVPAGER_VERSION);
                        return 1;
                default:
                        (void)fputs("Try 'kvpagerd --help'.\n", stderr);
                        return -EINVAL;
                }
        if (optind < argc) {
                (void)fprintf(stderr, "kvpagerd: unexpected argument '%s'\nTry 'kvpagerd --help'.\n", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

static void complain(void *userdata, const char *sentence)
{
        (void)userdata;
        log_error_of(configuration_invalid, "%s", sentence);
}

/* The file that was named must be there; the default one may be missing. `ret_path` is empty where no file holds. */
static int load_config(const struct options *options, const char **ret_path, struct config **ret)
{
        const char *path = options->config;

        if (!path && access(CONFIG_DEFAULT_PATH, F_OK) == 0)
                path = CONFIG_DEFAULT_PATH;
        *ret_path = path ? path : "";
        if (path)
                return config_load(path, complain, NULL, ret);
        *ret = config_default();
        if (!*ret)
                log_error("out of memory");
        return *ret ? 0 : -ENOMEM;
}

int main(int argc, char *argv[])
{
        struct options options = { .log_level = -1 };
        struct config *config = NULL;
        struct daemon *daemon = NULL;
        const char *path;
        int r;

        standard_fds_hold();
        r = parse_options(argc, argv, &options);
        if (r != 0)
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
        log_open();
        if (!options.check)
                backoff_start();
        r = load_config(&options, &path, &config);
        if (r < 0) {
                log_flush();
                return EXIT_FAILURE;
        }
        if (options.check) {
                free(config);
                return EXIT_SUCCESS;
        }
        r = daemon_new(config, path, options.log_level, &daemon);
        if (r == 0)
                r = daemon_run(daemon);
        daemon_free(daemon);
        if (r < 0)
                log_flush();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
