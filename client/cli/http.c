/* SPDX-License-Identifier: MIT
 *
 * http.c -- one request of HTTP/1 and its answer.
 *
 * RFC 9112 as far as a scrape needs it: a request line, headers of which Accept alone is looked at, no body.
 * Descriptors are sockets, or pipes and files where somebody tries it out; they stay blocking, for they are not ours
 * alone, so each call is one that cannot wait.
 */
#include "http.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"

#define HTTP_CHUNK      4096u          /* PIPE_BUF: a pipe that is ready takes so much without blocking */
#define HTTP_DRAIN_MAX  (1024u * 1024) /* bytes that are read and thrown away after an answer, and for how long */
#define HTTP_DRAIN_USEC 1000000u

/* ---- Reading ---- */

/* The line that begins at `*at`, without its end, which is CRLF or LF; `*at` moves on. false: there is no whole line.
 */
static bool next_line(const char **at, const char *end, const char **ret_line, size_t *ret_length)
{
        const char *line = *at, *newline = memchr(line, '\n', (size_t)(end - line));

        if (!newline)
                return false;
        *at = newline + 1;
        *ret_line = line;
        *ret_length = (size_t)(newline - line) - (newline > line && newline[-1] == '\r');
        return true;
}

static bool starts_with(const char *text, size_t length, const char *prefix)
{
        return length >= strlen(prefix) && strncasecmp(text, prefix, strlen(prefix)) == 0;
}

static size_t blanks(const char *text, size_t length)
{
        size_t n = 0;

        while (n < length && (text[n] == ' ' || text[n] == '\t'))
                n++;
        return n;
}

/* Whether the weight among a range's parameters is 0: "; q=0", "; q=0.000". */
static bool weight_is_zero(const char *text, size_t length)
{
        for (size_t i = 0; i + 2 < length; i++) {
                if (text[i] != ';')
                        continue;
                size_t at = i + 1 + blanks(text + i + 1, length - i - 1);
                if (!starts_with(text + at, length - at, "q=0"))
                        continue;
                at += strlen("q=0");
                while (at < length && (text[at] == '.' || text[at] == '0'))
                        at++;
                return at == length || text[at] < '1' || text[at] > '9';
        }
        return false;
}

static bool accepts_openmetrics(const char *text, size_t length)
{
        static const char type[] = "application/openmetrics-text";

        while (length > 0) {
                const char *comma = memchr(text, ',', length);
                size_t range = comma ? (size_t)(comma - text) : length;
                size_t at = blanks(text, range);

                if (starts_with(text + at, range - at, type)) {
                        at += strlen(type);
                        at += blanks(text + at, range - at);
                        if ((at == range || text[at] == ';') && !weight_is_zero(text + at, range - at))
                                return true;
                }
                range += comma ? 1 : 0;
                text += range;
                length -= range;
        }
        return false;
}

/* METHOD SP TARGET SP VERSION */
static enum http_status parse_request_line(const char *line, size_t length, struct http_request *request)
{
        static const char scheme[] = "http://";
        const char *first = memchr(line, ' ', length), *last = memrchr(line, ' ', length), *slash = line;
        size_t path;

        if (!first || first == line || first == last)
                return HTTP_BAD_REQUEST;
        const char *target = first + 1;
        size_t target_length = (size_t)(last - target), version_length = (size_t)(line + length - last - 1);
        for (size_t i = 0; i < target_length; i++)
                if (target[i] <= ' ' || target[i] > '~')
                        return HTTP_BAD_REQUEST;
        if (version_length != strlen("HTTP/1.1") || !starts_with(last + 1, version_length, "HTTP/") || last[7] != '.')
                return HTTP_BAD_REQUEST;
        if (last[6] != '1')
                return HTTP_BAD_VERSION;
        request->head = (size_t)(first - line) == strlen("HEAD") && memcmp(line, "HEAD", strlen("HEAD")) == 0;
        if (!request->head && ((size_t)(first - line) != strlen("GET") || memcmp(line, "GET", strlen("GET")) != 0))
                return HTTP_BAD_METHOD;
        if (starts_with(target, target_length, scheme)) { /* as to a proxy; a server takes it as well */
                slash = memchr(target + strlen(scheme), '/', target_length - strlen(scheme));
                target_length = slash ? target_length - (size_t)(slash - target) : 0;
                target = slash ? slash : target;
        }
        path = 0;
        while (path < target_length && target[path] != '?')
                path++;
        if (path >= HTTP_PATH_MAX)
                return HTTP_NOT_FOUND;
        memcpy(request->path, target, path);
        request->path[path] = 0;
        return HTTP_OK;
}

enum http_status http_parse(const char *head, size_t size, struct http_request *ret)
{
        static const char accept[] = "Accept:";
        struct http_request request = { 0 };
        const char *at = head, *end = head + size, *line = NULL;
        enum http_status status;
        size_t length;

        if (memchr(head, 0, size) || !next_line(&at, end, &line, &length))
                return HTTP_BAD_REQUEST;
        status = parse_request_line(line, length, &request);
        if (status != HTTP_OK)
                return status;
        while (next_line(&at, end, &line, &length) && length > 0) {
                if (line[0] == ' ' || line[0] == ':' || !memchr(line, ':', length))
                        return HTTP_BAD_REQUEST;
                if (starts_with(line, length, accept))
                        request.openmetrics |= accepts_openmetrics(line + strlen(accept), length - strlen(accept));
        }
        *ret = request;
        return HTTP_OK;
}

/* 0: ready; -ETIMEDOUT, or -errno. */
static int wait_for(int fd, short events, uint64_t deadline_usec)
{
        for (;;) {
                struct pollfd pollfd = { .fd = fd, .events = events };
                uint64_t now = ctl_now_usec(), left = now < deadline_usec ? deadline_usec - now : 0;
                struct timespec timeout = { .tv_sec = (time_t)(left / 1000000),
                                            .tv_nsec = (long)(left % 1000000) * 1000 };
                int n = ppoll(&pollfd, 1, &timeout, NULL);

                if (n > 0)
                        return 0;
                if (n == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}

/* Where the head ends, or 0: its end has not come yet. Lines end with LF, most with CR before it. */
static size_t head_size(const char *buffer, size_t n)
{
        for (size_t i = 0; i + 1 < n; i++) {
                if (buffer[i] != '\n')
                        continue;
                if (buffer[i + 1] == '\n')
                        return i + 2;
                if (i + 2 < n && buffer[i + 1] == '\r' && buffer[i + 2] == '\n')
                        return i + 3;
        }
        return 0;
}

int http_read(int fd, uint64_t deadline_usec, struct http_request *ret)
{
        char buffer[HTTP_HEAD_MAX];
        size_t n = 0, size = 0;

        while ((size = head_size(buffer, n)) == 0) {
                if (n == sizeof(buffer))
                        return HTTP_TOO_LARGE;
                int r = wait_for(fd, POLLIN, deadline_usec);
                if (r < 0)
                        return r == -ETIMEDOUT ? HTTP_TIMEOUT : 0;
                ssize_t got = read(fd, buffer + n, sizeof(buffer) - n);
                if (got < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (got <= 0)
                        return n > 0 && got == 0 ? HTTP_BAD_REQUEST : 0;
                n += (size_t)got;
        }
        return (int)http_parse(buffer, size, ret);
}

/* ---- Answering ---- */

static const char *reason_of(enum http_status status)
{
        switch (status) {
        case HTTP_OK:
                return "OK";
        case HTTP_BAD_REQUEST:
                return "Bad Request";
        case HTTP_NOT_FOUND:
                return "Not Found";
        case HTTP_BAD_METHOD:
                return "Method Not Allowed";
        case HTTP_TIMEOUT:
                return "Request Timeout";
        case HTTP_TOO_LARGE:
                return "Request Header Fields Too Large";
        case HTTP_UNAVAILABLE:
                return "Service Unavailable";
        case HTTP_BAD_VERSION:
                return "HTTP Version Not Supported";
        }
        return "";
}

static int write_all(int fd, uint64_t deadline_usec, const char *text, size_t size)
{
        while (size > 0) {
                int r = wait_for(fd, POLLOUT, deadline_usec);

                if (r < 0)
                        return r;
                ssize_t n = send(fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0 && errno == ENOTSOCK)
                        n = write(fd, text, size < HTTP_CHUNK ? size : HTTP_CHUNK);
                if (n < 0 && errno != EINTR && errno != EAGAIN)
                        return -errno;
                text += n > 0 ? n : 0;
                size -= n > 0 ? (size_t)n : 0;
        }
        return 0;
}

/* A socket that is closed with something unread resets the connection, and the peer may lose what it has not read yet.
 */
static void drain(int in_fd, int out_fd)
{
        uint64_t deadline_usec = ctl_now_usec() + HTTP_DRAIN_USEC;
        char buffer[HTTP_CHUNK];
        size_t total = 0;
        ssize_t n;

        if (shutdown(out_fd, SHUT_WR) < 0) /* no socket, or gone */
                return;
        while (total < HTTP_DRAIN_MAX && wait_for(in_fd, POLLIN, deadline_usec) == 0) {
                n = read(in_fd, buffer, sizeof(buffer));
                if (n <= 0)
                        return;
                total += (size_t)n;
        }
}

int http_answer(int in_fd, int out_fd, uint64_t deadline_usec, enum http_status status, const char *type,
                const char *body, size_t size, bool head)
{
        char headers[512];
        int n, r;

        n = snprintf(headers, sizeof(headers),
                     "HTTP/1.1 %d %s\r\n"
                     "Content-Type: %s\r\n"
                     "Content-Length: %zu\r\n"
                     "%s"
                     "Cache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\n"
                     "Connection: close\r\n"
                     "\r\n",
                     (int)status, reason_of(status), type, size,
                     status == HTTP_BAD_METHOD ? "Allow: GET, HEAD\r\n" : "");
        assert(n > 0 && (size_t)n < sizeof(headers));
        r = write_all(out_fd, deadline_usec, headers, (size_t)n);
        if (r == 0 && !head)
                r = write_all(out_fd, deadline_usec, body, size);
        if (r == 0)
                drain(in_fd, out_fd);
        return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}
