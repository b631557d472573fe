/* SPDX-License-Identifier: MIT
 *
 * http.h -- one request of HTTP/1 from one descriptor, and its answer to another: what a socket-activated
 * `kvpagerctl metrics --http` needs, and no more.
 *
 * The peer is anybody who can reach the port. What it sends is bounded in size and time, nothing of it is ever repeated
 * in an answer, and every answer ends the connection.
 */
#ifndef CTL_HTTP_H
#define CTL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 8192u /* bytes of a request line and its headers */
#define HTTP_PATH_MAX 128u

enum http_status {
        HTTP_OK = 200,
        HTTP_BAD_REQUEST = 400,
        HTTP_NOT_FOUND = 404,
        HTTP_BAD_METHOD = 405,
        HTTP_TIMEOUT = 408,
        HTTP_TOO_LARGE = 431,
        HTTP_UNAVAILABLE = 503,
        HTTP_BAD_VERSION = 505,
};

struct http_request {
        bool head;                /* HEAD: the answer has no body */
        bool openmetrics;         /* Accept names application/openmetrics-text */
        char path[HTTP_PATH_MAX]; /* without a query */
};

/* Reads a request's head, `size` bytes that end with the empty line. Methods other than GET and HEAD are
 * HTTP_BAD_METHOD, a path longer than HTTP_PATH_MAX is HTTP_NOT_FOUND. Returns HTTP_OK and fills *ret; else it is
 * untouched. */
enum http_status http_parse(const char *head, size_t size, struct http_request *ret);

/* Reads from `fd` until there is a head, and parses it. 0: the peer left before it said anything. */
int http_read(int fd, uint64_t deadline_usec, struct http_request *ret);

/* Writes an answer, whole or as much of it as the peer reads by the deadline, then reads what the peer still sends, up
 * to a bound, so that the kernel does not cut the answer short. `type`: of the body. 0, also where the peer has left;
 * -ETIMEDOUT, or another negative errno. */
int http_answer(int in_fd, int out_fd, uint64_t deadline_usec, enum http_status status, const char *type,
                const char *body, size_t size, bool head);

#endif
