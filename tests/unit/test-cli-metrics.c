/* SPDX-License-Identifier: MIT
 *
 * test-cli-metrics.c -- figures as text for Prometheus, and the one request of HTTP that asks for them. The text as a
 * whole is parsed by tests/system/85-metrics.py.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/cli/ctl.h"
#include "client/cli/http.h"
#include "client/cli/metrics.h"

static struct wire_item_tenant tenants[2];
static struct wire_item_device devices[1];
static struct wire_item_counter counters[2];

static struct ctl_snapshot snapshot_of_two(void)
{
        struct ctl_snapshot snapshot = { .parts = CTL_METRICS_PARTS,
                                         .status = { .uptime_usec = 61000007, .workers = 3, .version = "1.2.3" },
                                         .devices = { devices, 1 },
                                         .tenants = { tenants, 2 },
                                         .counters = { counters, 2 } };

        devices[0] = (struct wire_item_device){ .capacity_bytes = UINT64_MAX, .name = "main", .backend = "host" };
        tenants[0] =
                (struct wire_item_tenant){ .max_bytes = UINT64_MAX, .stall_usec = 5, .requests = 9, .weight = 100 };
        strcpy(tenants[0].name, "a \"quoted\" \\ back\nslash \xe9");
        tenants[1] = (struct wire_item_tenant){ .max_bytes = 4096, .stall_usec = 12345678, .kills = 1, .name = "b" };
        counters[0] = (struct wire_item_counter){ .value = 7, .name = "of_a_later_version" };
        counters[1] = (struct wire_item_counter){ .value = 8, .name = "revokes" };
        return snapshot;
}

static char *text_of(const struct ctl_snapshot *snapshot, enum ctl_metrics_format format)
{
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        cr_assert(stream);
        ctl_metrics_print(snapshot, stream, format);
        cr_assert_eq(fclose(stream), 0);
        return text;
}

static void expect_in(const char *text, const char *part)
{
        cr_expect(strstr(text, part), "%s\nis not in\n%s", part, text);
}

Test(cli_metrics, openmetrics)
{
        struct ctl_snapshot snapshot = snapshot_of_two();
        _cleanup_(ctl_free) char *text = text_of(&snapshot, CTL_METRICS_OPENMETRICS);

        expect_in(text, "kvpager_build_info{version=\"1.2.3\",protocol=\"1\"} 1\n");
        expect_in(text, "# TYPE kvpager_uptime_seconds gauge\n# UNIT kvpager_uptime_seconds seconds\n# HELP ");
        expect_in(text, "\nkvpager_uptime_seconds 61.000007\n");
        expect_in(text, "\nkvpager_device_capacity_bytes{device=\"main\"} 18446744073709551615\n");
        expect_in(text, "\nkvpager_device_info{device=\"main\",backend=\"host\",uuid=\"\"} 1\n");
        expect_in(text,
                  "# TYPE kvpager_tenant_stall_seconds counter\n# UNIT kvpager_tenant_stall_seconds seconds\n# HELP ");
        expect_in(text, "\nkvpager_tenant_stall_seconds_total{tenant=\"b\"} 12.345678\n");
        expect_in(text, "\nkvpager_tenant_max_bytes{tenant=\"b\"} 4096\n");
        expect_in(text, "\nkvpager_tenant_on_overdue_kill{tenant=\"b\"} 1\n");
        expect_in(text, "# TYPE kvpager_revokes counter\n# HELP kvpager_revokes ");
        expect_in(text, "\nkvpager_revokes_total 8\n");
        cr_expect(!strstr(text, "kvpager_requests_total"), "the daemon did not tell that counter");
        cr_expect(!strstr(text, "later_version"));
        cr_expect_str_eq(text + strlen(text) - 7, "\n# EOF\n");
}

Test(cli_metrics, labels_are_escaped)
{
        struct ctl_snapshot snapshot = snapshot_of_two();
        _cleanup_(ctl_free) char *text = text_of(&snapshot, CTL_METRICS_OPENMETRICS);

        expect_in(text, "\nkvpager_tenant_requests_total{tenant=\"a \\\"quoted\\\" \\\\ back?slash ?\"} 9\n");
        expect_in(text, "\nkvpager_tenant_max_bytes{tenant=\"a \\\"quoted\\\" \\\\ back?slash ?\"} +Inf\n");
}

Test(cli_metrics, older_text)
{
        struct ctl_snapshot snapshot = snapshot_of_two();
        _cleanup_(ctl_free) char *text = text_of(&snapshot, CTL_METRICS_TEXT);

        expect_in(text, "# TYPE kvpager_revokes_total counter\n# HELP kvpager_revokes_total ");
        expect_in(text, "\nkvpager_revokes_total 8\n");
        expect_in(text, "# TYPE kvpager_uptime_seconds gauge\n# HELP ");
        cr_expect(!strstr(text, "# UNIT") && !strstr(text, "# EOF"));
}

/* Names are kept, so they have to be right the first time. */
Test(cli_metrics, table)
{
        const struct ctl_metric *metric, *other;

        for (size_t i = 0; (metric = ctl_metric_at(i)); i++) {
                cr_expect_eq(strspn(metric->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(metric->name), "%s",
                             metric->name);
                cr_expect(!strpbrk(metric->help, "\"\\\n"), "%s", metric->help);
                if (metric->unit) {
                        const char *last = strrchr(metric->name, '_');
                        cr_expect(last && strcmp(last + 1, metric->unit) == 0, "%s ends with its unit", metric->name);
                }
                for (size_t j = 0; j < i && (other = ctl_metric_at(j)); j++)
                        cr_expect_str_neq(metric->name, other->name);
        }
}

/* ---- HTTP ---- */

static enum http_status parse(const char *head, struct http_request *ret)
{
        return http_parse(head, strlen(head), ret);
}

Test(cli_http, requests)
{
        struct http_request r;

        cr_expect_eq(parse("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", &r), HTTP_OK);
        cr_expect_str_eq(r.path, "/metrics");
        cr_expect(!r.head && !r.openmetrics);
        cr_expect_eq(parse("HEAD /metrics?x=y HTTP/1.0\n\n", &r), HTTP_OK);
        cr_expect_str_eq(r.path, "/metrics");
        cr_expect(r.head);
        cr_expect_eq(parse("GET http://[::1]:10587/metrics HTTP/1.1\r\n\r\n", &r), HTTP_OK);
        cr_expect_str_eq(r.path, "/metrics");
        cr_expect_eq(parse("GET http://host HTTP/1.1\r\n\r\n", &r), HTTP_OK);
        cr_expect_str_eq(r.path, "");
}

Test(cli_http, accept)
{
        static const struct {
                const char *accept;
                bool openmetrics;
        } cases[] = {
                { "", false },
                { "Accept: */*\r\n", false },
                { "Accept: application/openmetrics-text\r\n", true },
                { "ACCEPT:application/OpenMetrics-Text; version=1.0.0\r\n", true },
                { "Accept: text/plain;q=0.5 , application/openmetrics-text;version=1.0.0;q=0.8\r\n", true },
                { "Accept: application/openmetrics-text;version=1.0.0;q=0.05,*/*;q=0.1\r\n", true },
                { "Accept: text/plain\r\nAccept: application/openmetrics-text\r\n", true },
                { "Accept: application/openmetrics-text; q=0\r\n", false },
                { "Accept: application/openmetrics-text;version=1.0.0;q=0.000\r\n", false },
                { "Accept: application/openmetrics-textual\r\n", false },
                { "Accept: text/plain; note=application/openmetrics-text\r\n", false },
                { "X-Accept: application/openmetrics-text\r\n", false },
                { "Accept: ,,;,\r\n", false },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct http_request r;
                char head[512];
                (void)snprintf(head, sizeof(head), "GET / HTTP/1.1\r\n%s\r\n", cases[i].accept);
                cr_expect_eq(parse(head, &r), HTTP_OK, "%s", head);
                cr_expect_eq(r.openmetrics, cases[i].openmetrics, "%s", head);
        }
}

Test(cli_http, refusals)
{
        static const struct {
                const char *head;
                enum http_status status;
        } cases[] = {
                { "\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET /metrics\r\n\r\n", HTTP_BAD_REQUEST },
                { " GET / HTTP/1.1\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET  / HTTP/1.1\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET /a b HTTP/1.1\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET /\xe9 HTTP/1.1\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET / HTTP/1.1 \r\n\r\n", HTTP_BAD_REQUEST },
                { "GET / HTTP/11\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET / HTTPS/1\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET / HTTP/2.0\r\n\r\n", HTTP_BAD_VERSION },
                { "POST / HTTP/1.1\r\n\r\n", HTTP_BAD_METHOD },
                { "get / HTTP/1.1\r\n\r\n", HTTP_BAD_METHOD },
                { "HEADER / HTTP/1.1\r\n\r\n", HTTP_BAD_METHOD },
                { "GET / HTTP/1.1\r\nno colon\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET / HTTP/1.1\r\n: empty\r\n\r\n", HTTP_BAD_REQUEST },
                { "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", HTTP_BAD_REQUEST },
        };
        char longest[HTTP_PATH_MAX + 64];

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct http_request r = { .path = "untouched" };
                cr_expect_eq(parse(cases[i].head, &r), cases[i].status, "case %zu: %s", i, cases[i].head);
                cr_expect_str_eq(r.path, "untouched");
        }
        (void)snprintf(longest, sizeof(longest), "GET /%0*d HTTP/1.1\r\n\r\n", (int)HTTP_PATH_MAX, 0);
        cr_expect_eq(parse(longest, &(struct http_request){ 0 }), HTTP_NOT_FOUND);
        cr_expect_eq(http_parse("GET /\0 HTTP/1.1\r\n\r\n", 20, &(struct http_request){ 0 }), HTTP_BAD_REQUEST);
}

/* What http_read() makes of bytes that come on a socket, which the peer then closes (or not). */
static int read_of(const char *bytes, size_t size, bool closes, uint64_t usec, struct http_request *ret)
{
        int fds[2], r;

        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        for (size_t sent = 0; sent < size; sent += 4000) {
                size_t n = size - sent < 4000 ? size - sent : 4000;
                cr_assert_eq(send(fds[1], bytes + sent, n, 0), (ssize_t)n);
        }
        if (closes)
                cr_assert_eq(shutdown(fds[1], SHUT_WR), 0);
        r = http_read(fds[0], ctl_now_usec() + usec, ret);
        close(fds[0]);
        close(fds[1]);
        return r;
}

Test(cli_http, reading_is_bounded)
{
        static const char whole[] = "GET /metrics HTTP/1.1\r\nA: b\r\n\r\nmore than was asked for";
        char large[HTTP_HEAD_MAX + 100];
        struct http_request r;

        cr_expect_eq(read_of(whole, strlen(whole), false, 10000000, &r), HTTP_OK);
        cr_expect_str_eq(r.path, "/metrics");
        cr_expect_eq(read_of("", 0, true, 10000000, &r), 0, "it left, and there is nobody to answer");
        cr_expect_eq(read_of(whole, 30, true, 10000000, &r), HTTP_BAD_REQUEST);
        cr_expect_eq(read_of(whole, 30, false, 10000, &r), HTTP_TIMEOUT);
        memset(large, 'x', sizeof(large));
        memcpy(large, whole, 22);
        cr_expect_eq(read_of(large, sizeof(large), false, 10000000, &r), HTTP_TOO_LARGE);
        cr_expect_eq(read_of(large, HTTP_HEAD_MAX, false, 10000000, &r), HTTP_TOO_LARGE, "a buffer that is just full");
}

Test(cli_http, answering_ends_though_nobody_reads)
{
        const size_t size = 16u << 20;
        _cleanup_(ctl_free) char *body = calloc(1, size);
        int fds[2];

        cr_assert(body);
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        cr_expect_eq(http_answer(fds[0], fds[0], ctl_now_usec() + 50000, HTTP_OK, "text/plain", body, size, false),
                     -ETIMEDOUT);
        close(fds[0]);
        close(fds[1]);
}
