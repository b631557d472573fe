/* SPDX-License-Identifier: MIT
 *
 * scrape.c -- `kvpagerctl metrics`.
 *
 * With --http it is what kvpager-metrics@.service runs for each connection: one request, one answer, end. To read the
 * request, to ask the daemon and to write the answer may each take as long as --timeout says. The text is complete
 * before its first byte is sent, so that a daemon that hangs or dies midway is an answer of its own (503), and never
 * half a page of figures.
 */
#include "scrape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "http.h"
#include "link.h"
#include "metrics.h"

#define TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define TYPE_TEXT        "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_SENTENCE    "text/plain; charset=utf-8"

/* The figures as text, which is the caller's to free. 0, or a negative errno, for which ctl_link_why() or strerror()
 * has the words. */
static int scrape(struct ctl_link *link, const char *path, uint64_t timeout_usec, enum ctl_metrics_format format,
                  char **ret_text, size_t *ret_size)
{
        _cleanup_(ctl_snapshot_done) struct ctl_snapshot snapshot = { 0 };
        char *text = NULL;
        size_t size = 0;
        FILE *stream;
        int r;

        r = ctl_link_open(link, path, timeout_usec);
        if (r >= 0)
                r = ctl_snapshot_fetch(&snapshot, link, CTL_METRICS_PARTS);
        if (r < 0)
                return r;
        stream = open_memstream(&text, &size);
        if (!stream)
                return -errno;
        ctl_metrics_print(&snapshot, stream, format);
        if (fclose(stream) != 0) {
                free(text);
                return -ENOMEM;
        }
        *ret_text = text;
        *ret_size = size;
        return 0;
}

static const char *scrape_why(const struct ctl_link *link, int error)
{
        return *ctl_link_why(link) ? ctl_link_why(link) : strerror(-error);
}

static const char *http_why(enum http_status status)
{
        switch (status) {
        case HTTP_BAD_METHOD:
                return "Only GET and HEAD are known here.";
        case HTTP_NOT_FOUND:
                return "There is only /metrics here.";
        case HTTP_TIMEOUT:
                return "The request did not come in time.";
        case HTTP_TOO_LARGE:
                return "The request is too large.";
        case HTTP_BAD_VERSION:
                return "Only HTTP/1 is spoken here.";
        case HTTP_OK:
        case HTTP_BAD_REQUEST:
        case HTTP_UNAVAILABLE:
                break;
        }
        return "This is no request of HTTP.";
}

static int scrape_http(const struct ctl_options *options)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        _cleanup_(ctl_free) char *text = NULL;
        uint64_t timeout = options->timeout_usec;
        struct http_request request = { 0 };
        const char *type = TYPE_SENTENCE;
        char sentence[CTL_WHY_MAX + 2];
        size_t size = 0;
        int status = http_read(STDIN_FILENO, ctl_now_usec() + timeout, &request), r = 0;

        if (status == 0)
                return 0;
        if (status == HTTP_OK && strcmp(request.path, "/metrics") != 0)
                status = HTTP_NOT_FOUND;
        if (status == HTTP_OK) {
                r = scrape(&link, options->socket_path, timeout,
                           request.openmetrics ? CTL_METRICS_OPENMETRICS : CTL_METRICS_TEXT, &text, &size);
                status = r < 0 ? HTTP_UNAVAILABLE : HTTP_OK;
                type = r < 0 ? TYPE_SENTENCE : request.openmetrics ? TYPE_OPENMETRICS : TYPE_TEXT;
        }
        if (status != HTTP_OK)
                size = (size_t)snprintf(sentence, sizeof(sentence), "%s\n",
                                        r < 0 ? scrape_why(&link, r) : http_why((enum http_status)status));
        return http_answer(STDIN_FILENO, STDOUT_FILENO, ctl_now_usec() + timeout, (enum http_status)status, type,
                           text ? text : sentence, size, request.head);
}

int ctl_scrape(const struct ctl_options *options, FILE *out, FILE *err)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        _cleanup_(ctl_free) char *text = NULL;
        size_t size = 0;
        int r;

        if (options->json)
                return ctl_arguments_complain(err, "metrics are no JSON: see status --json, or --format=text.");
        if (options->given & CTL_OPTION_HTTP) {
                if (options->given & CTL_OPTION_FORMAT)
                        return ctl_arguments_complain(err, "with --http the request says which format.");
                r = scrape_http(options);
                return r < 0 ? ctl_complain(err, strerror(-r)) : CTL_EXIT_OK;
        }
        r = scrape(&link, options->socket_path, options->timeout_usec, (enum ctl_metrics_format)options->format, &text,
                   &size);
        if (r < 0)
                return ctl_complain(err, scrape_why(&link, r));
        (void)fwrite(text, 1, size, out);
        return CTL_EXIT_OK;
}
