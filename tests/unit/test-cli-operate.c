/* SPDX-License-Identifier: MIT
 *
 * test-cli-operate.c -- the commands of operators, from their words to their output.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli-run.h"
#include "client/cli/ctl.h"
#include "ctl-daemon.h"

#define UNTIL "; holds until the configuration is read again or kvpagerd is restarted\n"

Test(cli_operate, set)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome applied = run("set", "green", "memory.max=2G", "weight=7", "--socket",
                                                             daemon.path, NULL);
        cr_expect_str_eq(daemon.set, "green: memory.max=2G weight=7");
        _cleanup_(outcome_done) struct outcome deferred = run("--socket", daemon.path, "set", "blue",
                                                              "memory.min=later", NULL);
        cr_expect_str_eq(daemon.set, "blue: memory.min=later");
        _cleanup_(outcome_done) struct outcome json = run("set", "--json", "blue", "memory.min=later", "--socket",
                                                          daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome odd = run("set", "blue", "x==y", "--socket", daemon.path, NULL);
        cr_expect_str_eq(daemon.set, "blue: x==y", "what it means is the daemon's to say");
        ctl_daemon_stop(&daemon);
        cr_expect_eq(odd.status, 0, "%s", odd.err);
        cr_expect_eq(applied.status, 0, "%s", applied.err);
        cr_expect_str_eq(applied.out, "applied" UNTIL);
        cr_expect_str_eq(deferred.out, "deferred until enough memory was reclaimed" UNTIL);
        json_t *object = json_loads(json.out, 0, NULL);
        cr_expect_str_eq(json_string_value(json_object_get(object, "tenant")), "blue");
        cr_expect_str_eq(json_string_value(json_object_get(object, "result")), "deferred");
        json_decref(object);
}

Test(cli_operate, set_that_makes_no_sense)
{
        static const char long_value[] = "memory.max=00000000000000000000000000000000000000000000000000000000000000001";
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome nothing = run("set", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome no_key = run("set", "green", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome no_value = run("set", "green", "weight", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome no_name = run("set", "green", "weight=1", "=1", "--socket", daemon.path,
                                                             NULL);
        _cleanup_(outcome_done) struct outcome too_long = run("set", "green", long_value, "--socket", daemon.path,
                                                              NULL);
        cr_expect_str_eq(daemon.set, "", "nothing was sent");
        ctl_daemon_stop(&daemon);
        cr_expect(nothing.status == 2 && no_key.status == 2 && no_value.status == 2 && no_name.status == 2);
        cr_expect(strstr(no_key.err, "set needs TENANT KEY=VALUE...\n"), "%s", no_key.err);
        cr_expect(strstr(no_value.err, "weight is not of the form KEY=VALUE."), "%s", no_value.err);
        cr_expect(strstr(no_name.err, "=1 is not of the form KEY=VALUE."), "%s", no_name.err);
        cr_expect_eq(too_long.status, 1);
        cr_expect(strstr(too_long.err, "is too long."), "%s", too_long.err);
}

Test(cli_operate, what_is_refused)
{
        static const struct {
                enum wire_opcode at;
                const char *words[3];
        } cases[] = { { WIRE_TENANT_SET, { "set", "green", "weight=1" } },
                      { WIRE_RELOAD, { "reload", "--json", NULL } },
                      { WIRE_EVENTS_GET, { "events", "--json", NULL } } };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct ctl_daemon daemon;

                ctl_daemon_start(&daemon, cases[i].at, FAULT_REFUSE);
                _cleanup_(outcome_done) struct outcome outcome = run("--socket", daemon.path, cases[i].words[0],
                                                                     cases[i].words[1], cases[i].words[2], NULL);
                ctl_daemon_stop(&daemon);
                cr_expect_eq(outcome.status, 1);
                cr_expect_str_eq(outcome.out, "");
                cr_expect(strstr(outcome.err, "refused: no [tenant] of the configuration matches this process."), "%s",
                          outcome.err);
        }
}

Test(cli_operate, reload)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome text = run("reload", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome json = run("reload", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(text.status, 0, "%s", text.err);
        cr_expect_str_eq(text.out, "the configuration is in force, and what was set by hand is not\n");
        cr_expect_str_eq(json.out, "{\n  \"ok\": true\n}\n");
}

static size_t lines_of(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

#define FORGOTTEN "kvpagerctl: 5 events were forgotten before they were read.\n"

Test(cli_operate, events)
{
        static const char first[] =
                "2023-11-14 22:13:20.123  worker_gone           [tenant green], pid 4711 (uid 42), 3M: it is so\n"
                "2023-11-14 22:13:20.123  of_a_later_version    5 times: it is so\n"
                "2023-11-14 22:13:20.123  of_a_later_version    [tenant green], [device main], pid 4711 (uid 42): it is so\n"
                "2023-11-14 22:13:20.123  of_a_later_version    it is so\n";
        struct ctl_daemon daemon;

        (void)setenv("TZ", "UTC", 1);
        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome text = run("events", "--socket", daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome exact = run("events", "--bytes", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(text.status, 0, "%s", text.err);
        cr_expect_eq(strncmp(text.out, first, sizeof(first) - 1), 0, "%s", text.out);
        cr_expect_eq(lines_of(text.out), 40);
        cr_expect_str_eq(text.err, FORGOTTEN);
        cr_expect(strstr(exact.out, ", 3145728: it is so\n"), "%s", exact.out);
}

Test(cli_operate, events_as_json)
{
        struct ctl_daemon daemon;
        json_int_t last = 100;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome outcome = run("events", "--json", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(outcome.status, 0, "%s", outcome.err);
        cr_expect_eq(lines_of(outcome.out), 40);
        for (char *save = NULL, *line = strtok_r(outcome.out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                json_t *event = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
                json_int_t sequence = json_integer_value(json_object_get(event, "sequence"));

                cr_assert(event, "%s", line);
                cr_expect_eq(json_object_size(event), 11);
                cr_expect_eq(sequence, last == 120 ? 126 : last + 1);
                cr_expect_eq(json_integer_value(json_object_get(event, "time_usec")), 1700000000123456 + sequence);
                cr_expect_str_eq(json_string_value(json_object_get(event, "tenant")), sequence % 2 ? "green" : "");
                cr_expect_str_eq(json_string_value(json_object_get(event, "text")), "it is so");
                last = sequence;
                json_decref(event);
        }
        cr_expect_eq(last, 145);
}

Test(cli_operate, events_as_they_come)
{
        struct ctl_daemon daemon;

        ctl_daemon_start(&daemon, 0, FAULT_NONE);
        _cleanup_(outcome_done) struct outcome outcome = run("events", "--follow", "--timeout=20s", "--socket",
                                                             daemon.path, NULL);
        _cleanup_(outcome_done) struct outcome other = run("tenants", "--follow", "--socket", daemon.path, NULL);
        ctl_daemon_stop(&daemon);
        cr_expect_eq(outcome.status, 1, "the daemon ended");
        cr_expect_eq(lines_of(outcome.out), 40);
        cr_expect_eq(strncmp(outcome.err, FORGOTTEN, sizeof(FORGOTTEN) - 1), 0, "%s", outcome.err);
        cr_expect(strstr(outcome.err, "refused: the daemon is stopping."), "%s", outcome.err);
        cr_expect_eq(other.status, 2);
        cr_expect(strstr(other.err, "tenants takes no option --follow."), "%s", other.err);
}
