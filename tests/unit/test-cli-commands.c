/* SPDX-License-Identifier: MIT
 *
 * test-cli-commands.c -- kvpagerctl from its words to its output, in front of daemons that do well and daemons that do
 * not.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli-run.h"
#include "client/cli/commands.h"
#include "client/cli/ctl.h"
#include "client/cli/link.h"
#include "ctl-daemon.h"

static json_t *parse(const struct outcome *outcome)
{
        json_error_t error;
        json_t *json = json_loads(outcome->out, JSON_REJECT_DUPLICATES, &error);

        cr_assert_eq(outcome->status, 0, "%s", outcome->err);
        cr_assert(json, "%s\n%s", error.text, outcome->out);
        return json;
}

static json_int_t integer_of(const json_t *object, const char *key)
{
        const json_t *value = json_object_get(object, key);

        cr_expect(json_is_integer(value), "%s", key);
        return json_integer_value(value);
}

static int open_fds(void)
{
        DIR *folder = opendir("/proc/self/fd");
        int n = 0;

        while (readdir(folder))
                n++;
        closedir(folder);
        return n;
}

Test(cli_commands, lists_as_json)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome devices = run("devices", "--json", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome tenants = run("--json", "tenants", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome workers = run("workers", "--json", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome caches = run("caches", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);

        json_t *json = parse(&devices), *device = json_array_get(json_object_get(json, "devices"), 0);
        cr_expect_eq(json_object_size(json), 1);
        cr_expect_str_eq(json_string_value(json_object_get(device, "name")), "main");
        cr_expect_str_eq(json_string_value(json_object_get(device, "backend")), "host");
        cr_expect_eq(integer_of(device, "page_size"), 2 << 20);
        cr_expect_eq(integer_of(device, "capacity_bytes"), 8ll << 30);
        cr_expect_eq(integer_of(device, "allocated_bytes"), 7ll << 29);
        cr_expect_eq(integer_of(device, "virgin_bytes"), 1 << 29);
        cr_expect_eq(integer_of(device, "missing_bytes"), 0);
        json_decref(json);

        json = parse(&tenants);
        json_t *green = json_array_get(json_object_get(json, "tenants"), 0);
        cr_expect_str_eq(json_string_value(json_object_get(green, "name")), "green");
        cr_expect_eq(integer_of(green, "current_bytes"), 3ll << 30);
        cr_expect_eq(integer_of(green, "live_bytes"), 2ll << 30);
        cr_expect_eq(integer_of(green, "idle_bytes"), 1ll << 30);
        cr_expect_eq(integer_of(green, "max_bytes"), 4ll << 30);
        cr_expect_eq(integer_of(green, "workers"), 75);
        static const char *const figures[] = {
                "reclaim_deadline_usec", "extents_granted", "pages_granted", "requests", "requests_waited",
                "requests_failed",       "wait_usec",       "stall_usec",    "revokes",  "pages_revoked",
                "revokes_overdue"
        };
        for (size_t i = 0; i < sizeof(figures) / sizeof(*figures); i++)
                cr_expect_eq(integer_of(green, figures[i]), (json_int_t)(11 + i), "%s", figures[i]);
        cr_expect_eq(integer_of(green, "waiting"), 7);
        cr_expect_eq(integer_of(green, "overdue"), 1);
        cr_expect_eq(integer_of(green, "kills"), 1);
        cr_expect_null(json_object_get(green, "reserved"));
        cr_expect(json_is_null(json_object_get(green, "high_bytes")), "a limit that is not set is null");
        json_decref(json);

        json = parse(&workers);
        const json_t *list = json_object_get(json, "workers");
        cr_assert_eq(json_array_size(list), CTL_DAEMON_WORKERS);
        for (size_t i = 0; i < CTL_DAEMON_WORKERS; i++) {
                const json_t *worker = json_array_get(list, i);
                cr_expect_eq(integer_of(worker, "pid"), (json_int_t)(1000 + i));
                cr_expect_eq(integer_of(worker, "current_bytes"), (json_int_t)(i << 21));
                cr_expect_eq(integer_of(worker, "overdue"), (json_int_t)(i == 1));
                cr_expect_str_eq(json_string_value(json_object_get(worker, "tenant")), i % 2 ? "blue" : "green");
        }
        json_decref(json);

        json = parse(&caches);
        cr_expect(json_is_array(json_object_get(json, "caches")));
        cr_expect_eq(json_array_size(json_object_get(json, "caches")), 0);
        json_decref(json);
}

Test(cli_commands, status_as_json_has_all)
{
        static const char *const members[] = { "daemon", "devices", "tenants", "workers", "caches", "counters" };
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome status = run("status", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);

        json_t *json = parse(&status);
        for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
                cr_expect(json_object_get(json, members[i]), "%s", members[i]);
        cr_expect_eq(json_object_size(json), sizeof(members) / sizeof(*members));
        cr_expect_eq(integer_of(json_object_get(json, "daemon"), "pid"), 4711);
        const json_t *counters = json_object_get(json, "counters"), *third = json_array_get(counters, 3);
        cr_expect_eq(json_array_size(counters), (size_t)WIRE_COUNTER_MAX_ + 1);
        cr_expect_str_eq(json_string_value(json_object_get(third, "name")), wire_counter_name((enum wire_counter)3));
        cr_expect_eq(integer_of(third, "value"), 21);
        json_decref(json);
}

Test(cli_commands, path_that_is_no_text)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, WIRE_STATUS_GET, FAULT_NOT_UTF8);
        _cleanup_(outcome_done) struct outcome status = run("status", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);

        json_t *json = parse(&status);
        cr_expect_str_eq(json_string_value(json_object_get(json_object_get(json, "daemon"), "config")), "/caf?");
        json_decref(json);
}

Test(cli_commands, tables)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome tenants = run("tenants", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome exact = run("tenants", "--bytes", "--no-legend", "--socket", daemon.path,
                                                           NULL);
        _cleanup_(outcome_done) struct outcome workers = run("workers", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome caches = run("caches", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome none = run("caches", "--no-legend", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome status = run("--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome counters = run("counters", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);

        cr_expect_str_eq(tenants.out,
                         "TENANT  CURRENT  LIVE  IDLE  MIN  LOW  HIGH  MAX  WEIGHT  WORKERS  WAITING  OVERDUE\n"
                         "green        3G    2G    1G   1G    0   max   4G     100       75        7        1\n"
                         "blue          0     0     0    0    0   max  max     100       75        0        0\n"
                         "\n2 tenants.\n");
        cr_expect_str_eq(exact.out,
                         "green  3221225472  2147483648  1073741824  1073741824  0  max  4294967296  100  75  7  1\n"
                         "blue            0           0           0           0  0  max         max  100  75  0  0\n");
        cr_expect(strstr(workers.out, "OVERDUE\n1000  green    42        0     0     0        0       1       no\n"
                                      "1001  blue     42       2M    1M    1M        0       1      yes\n"),
                  "%s", workers.out);
        cr_expect_str_eq(caches.out, "0 caches.\n");
        cr_expect_str_eq(none.out, "");
        cr_expect(strstr(status.out, "kvpagerd 9.8.7, pid 4711, up 1h 2min\n"), "%s", status.out);
        cr_expect(strstr(status.out, "/etc/kvpager/kvpagerd.conf"), "%s", status.out);
        cr_expect(strstr(status.out, "main    host       2M        8G       3.5G    512M        0\n"), "%s",
                  status.out);
        cr_expect(strstr(counters.out, "of_a_later_version"), "%s", counters.out);
        cr_expect(strstr(counters.out, wire_counter_doc((enum wire_counter)2)), "%s", counters.out);
}

Test(cli_commands, check)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome ok = run("check", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome ok_json = run("check", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(ok.status, 0);
        cr_expect_str_eq(ok.out, "ok\n");
        json_t *json = parse(&ok_json);
        cr_expect(json_is_true(json_object_get(json, "ok")));
        json_decref(json);

        ctl_daemon_start(&daemon, WIRE_CHECK, FAULT_BROKEN);
        _cleanup_(outcome_done) struct outcome broken = run("check", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome broken_json = run("check", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(broken.status, 1);
        cr_expect_str_eq(broken.out, "broken: extent 3 is in two rows\n");
        cr_expect_eq(broken_json.status, 1);
        cr_expect(strstr(broken_json.out, "\"broken\": \"extent 3 is in two rows\""));
}

Test(cli_commands, faults_are_errors)
{
        static const struct {
                enum ctl_daemon_fault fault;
                enum wire_opcode at;
                const char *says;
        } cases[] = {
                { FAULT_HANG, WIRE_HELLO, "did not answer in time" },
                { FAULT_HANG, WIRE_LIST_WORKERS, "did not answer in time" },
                { FAULT_DIE, WIRE_HELLO, "ended the connection" },
                { FAULT_DIE, WIRE_LIST_WORKERS, "ended the connection" },
                { FAULT_REFUSE, WIRE_HELLO, "refused: no [tenant] of the configuration matches this process." },
                { FAULT_REFUSE, WIRE_LIST_WORKERS, "refused: no [tenant]" },
                { FAULT_GARBAGE, WIRE_HELLO, "does not speak protocol version" },
                { FAULT_GARBAGE, WIRE_LIST_WORKERS, "does not speak protocol version" },
                { FAULT_SHORT, WIRE_HELLO, "shorter" },
                { FAULT_SHORT, WIRE_LIST_WORKERS, "shorter" },
                { FAULT_LONG, WIRE_LIST_WORKERS, "cut off" },
                { FAULT_WRONG_REPLY, WIRE_HELLO, "was not asked" },
                { FAULT_WRONG_REPLY, WIRE_LIST_WORKERS, "was not asked" },
                { FAULT_WRONG_REQUEST, WIRE_LIST_WORKERS, "was not asked" },
                { FAULT_EXTRA_FDS, WIRE_HELLO, "file descriptors" },
                { FAULT_EXTRA_FDS, WIRE_LIST_WORKERS, "file descriptors" },
                { FAULT_NO_PROGRESS, WIRE_LIST_WORKERS, "does not get on" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct ctl_daemon daemon;
                ctl_daemon_start(&daemon, cases[i].at, cases[i].fault);
                int before = open_fds();
                _cleanup_(outcome_done) struct outcome outcome = run("workers", "--timeout",
                                                                     cases[i].fault == FAULT_HANG ? "100ms" : "20s",
                                                                     "--socket", daemon.path, NULL);
                int after = open_fds();
                ctl_daemon_stop(&daemon);
                cr_expect_eq(outcome.status, 1, "case %zu", i);
                cr_expect_str_eq(outcome.out, "", "case %zu", i);
                cr_expect(strstr(outcome.err, cases[i].says), "case %zu: %s", i, outcome.err);
                cr_expect(strstr(outcome.err, daemon.path), "case %zu: %s", i, outcome.err);
                cr_expect(after <= before + 1, "case %zu: %d fds, then %d", i, before,
                          after); /* the daemon's own end */
        }
}

Test(cli_commands, endless_list_is_bounded)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, WIRE_LIST_WORKERS, FAULT_ENDLESS);
        _cleanup_(outcome_done) struct outcome outcome = run("workers", "--timeout=60", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(outcome.status, 1);
        cr_expect(strstr(outcome.err, "does not end"), "%s", outcome.err);
}

/* A listener whose queue is full: connect() itself has to end. */
Test(cli_commands, full_queue)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), waiting[8];

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/full-%d.sock",
                       getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
        cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(listener, 1), 0);
        for (int i = 0; i < 8; i++) {
                waiting[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                (void)connect(waiting[i], (struct sockaddr *)&address, sizeof(address));
        }
        _cleanup_(outcome_done) struct outcome outcome = run("devices", "--timeout=100ms", "--socket", address.sun_path,
                                                             NULL);
        cr_expect_eq(outcome.status, 1);
        cr_expect(strstr(outcome.err, "takes no connections"), "%s", outcome.err);
        for (int i = 0; i < 8; i++)
                close(waiting[i]);
        close(listener);
        unlink(address.sun_path);
}

Test(cli_commands, nobody_there)
{
        char folder[] = "/tmp/kvp-cli-XXXXXX", path[64];

        cr_assert(mkdtemp(folder));
        (void)snprintf(path, sizeof(path), "%s/nobody.sock", folder);
        _cleanup_(outcome_done) struct outcome absent = run("status", "--socket", path, NULL);
        cr_expect_eq(absent.status, 1);
        cr_expect(strstr(absent.err, path) && strstr(absent.err, "no such socket") && strstr(absent.err, "systemctl"));

        close(open(path, O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
        _cleanup_(outcome_done) struct outcome refused = run("status", "--socket", path, NULL);
        cr_expect_eq(refused.status, 1);
        cr_expect(strstr(refused.err, "nobody listens"), "%s", refused.err);
        unlink(path);

        struct sockaddr_un address = { .sun_family = AF_UNIX };
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(stream, (struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(stream, 1), 0);
        _cleanup_(outcome_done) struct outcome other = run("status", "--socket", path, NULL);
        cr_expect_eq(other.status, 1);
        cr_expect(strstr(other.err, "another kind"), "%s", other.err);
        close(stream);
        unlink(path);
        rmdir(folder);
}

Test(cli_commands, path_too_long)
{
        char path[200];

        memset(path, 'a', sizeof(path));
        path[0] = '/';
        path[sizeof(path) - 1] = 0;
        _cleanup_(outcome_done) struct outcome outcome = run("status", "--socket", path, NULL);
        cr_expect_eq(outcome.status, 1);
        cr_expect(strstr(outcome.err, "longer than 107 bytes"), "%s", outcome.err);
}

Test(cli_commands, usage_errors)
{
        static const char *const words[][3] = {
                { "frobnicate", NULL, NULL },
                { "top", "--json", NULL },
                { "top", "--http", NULL },
                { "top", "--once", "--interval=0" },
                { "metrics", "--json", NULL },
                { "metrics", "--once", NULL },
                { "metrics", "--format=xml", NULL },
                { "metrics", "--http", "--format=text" },
                { "status", "--once", NULL },
                { "set", NULL, NULL },
                { "reload", "now", NULL },
                { "events", "x", NULL },
                { "status", "--follow", NULL },
                { "--frobnicate", NULL, NULL },
                { "-x", NULL, NULL },
                { "devices", "extra", NULL },
                { "--timeout", NULL, NULL },
                { "--socket", NULL, NULL },
                { "--timeout=0", NULL, NULL },
                { "--timeout=abc", NULL, NULL },
                { "--json=yes", NULL, NULL },
                { "", NULL, NULL },
                { "help", "status", NULL },
        };

        for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
                _cleanup_(outcome_done) struct outcome outcome = run(words[i][0], words[i][1], words[i][2], NULL);
                cr_expect_eq(outcome.status, 2, "case %zu: %d", i, outcome.status);
                cr_expect_str_eq(outcome.out, "", "case %zu", i);
                cr_expect(strstr(outcome.err, "kvpagerctl help"), "case %zu: %s", i, outcome.err);
        }
}

Test(cli_commands, top_needs_a_terminal)
{
        _cleanup_(outcome_done) struct outcome outcome = run("top", NULL);

        cr_expect_eq(outcome.status, 1);
        cr_expect(strstr(outcome.err, "needs a terminal") && strstr(outcome.err, "--once"), "%s", outcome.err);
}

Test(cli_commands, top_once)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        unsetenv("COLUMNS");
        _cleanup_(outcome_done) struct outcome text = run("top", "--once", "--ascii", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome json = run("top", "--once", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(text.status, 0);
        cr_expect(strstr(text.out, "\ngreen         3G       2G       1G      0.0%        7        12        1  "
                                   "###m###===...M............\n"),
                  "%s", text.out);
        json_t *all = parse(&json);
        cr_expect_eq(json_array_size(json_object_get(all, "tenants")), 2);
        cr_expect_eq(json_array_size(json_object_get(all, "workers")), CTL_DAEMON_WORKERS);
        cr_expect(json_is_null(json_object_get(all, "interval_usec")));
        json_decref(all);
}

Test(cli_commands, metrics)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome open = run("metrics", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome text = run("metrics", "--format=text", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(open.status, 0);
        cr_expect(strstr(open.out, "\nkvpager_tenant_stall_seconds_total{tenant=\"green\"} 0.000018\n"), "%s",
                  open.out);
        cr_expect(strstr(open.out, "# EOF\n"));
        cr_expect_eq(text.status, 0);
        cr_expect(strstr(text.out, "# TYPE kvpager_revokes_total counter\n"), "%s", text.out);

        /* All of it or nothing. */
        ctl_daemon_start(&daemon, WIRE_LIST_COUNTERS, FAULT_DIE);
        _cleanup_(outcome_done) struct outcome none = run("metrics", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(none.status, 1);
        cr_expect_str_eq(none.out, "");
}

Test(cli_commands, help_and_version_need_no_daemon)
{
        static const char *const words[] = { "help", "--help", "-h", "version", "--version" };

        for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
                _cleanup_(outcome_done) struct outcome text = run("--socket=/nowhere", words[i], NULL);
                _cleanup_(outcome_done) struct outcome json = run("--json", words[i], NULL);
                cr_expect_eq(text.status, 0);
                cr_expect(strstr(text.out, "kvpagerctl"));
                json_decref(parse(&json));
        }
        _cleanup_(outcome_done) struct outcome of_command = run("top", "--once", "--help", NULL);
        cr_expect_eq(of_command.status, 0);
        _cleanup_(outcome_done) struct outcome help = run("help", NULL);
        for (const char *line = help.out; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                cr_expect(strcspn(line, "\n") <= 80, "%.*s", (int)strcspn(line, "\n"), line);
        cr_expect(strstr(help.out, "counters") && strstr(help.out, "reload") && strstr(help.out, "events"));
}

/* A full disk is an error, not a short answer with status 0. */
Test(cli_commands, answer_that_cannot_be_written)
{
        char *argv[] = { strdup("kvpagerctl"), strdup("help"), NULL };
        FILE *full = fopen("/dev/full", "we"), *err = fopen("/dev/null", "we");

        cr_assert(full && err);
        cr_expect_eq(ctl_main(2, argv, full, err), 1);
        fclose(full);
        fclose(err);
        free(argv[0]);
        free(argv[1]);
}

Test(cli_commands, default_socket)
{
        char path[4096];

        setenv("KVPAGER_SOCKET", "/from/environment", 1);
        cr_expect_str_eq(ctl_link_default_path(path, sizeof(path)), "/from/environment");
        setenv("KVPAGER_SOCKET", "", 1);
        setenv("XDG_RUNTIME_DIR", "/run/user/12", 1);
        cr_expect_str_eq(ctl_link_default_path(path, sizeof(path)), access("/run/kvpager/kvpager.sock", F_OK) == 0
                                                                            ? "/run/kvpager/kvpager.sock"
                                                                            : "/run/user/12/kvpager/kvpager.sock");
        unsetenv("XDG_RUNTIME_DIR");
        cr_expect_str_eq(ctl_link_default_path(path, sizeof(path)), "/run/kvpager/kvpager.sock");
}
