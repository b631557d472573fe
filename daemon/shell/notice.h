/* SPDX-License-Identifier: MIT
 *
 * notice.h -- what is worth an event beyond the moment: limits that come into force later, devices that fail and
 * recover, requests that fail by the thousand, memory that cannot be taken back.
 */
#ifndef SHELL_NOTICE_H
#define SHELL_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "core.h"
#include "ratelimit.h"
#include "wire.h"

struct daemon;
struct peer;

struct notice {
        bool deferred[CORE_MAX_TENANTS]; /* its limits were set, and do not hold yet */
        uint32_t n_deferred;
        bool failing[CONFIG_MAX_DEVICES];
        struct {
                uint64_t told_usec;
                uint32_t n; /* not told of yet */
                enum wire_error_code error;
        } failed[CORE_MAX_TENANTS]; /* requests */
        uint64_t next_usec;         /* when some of them are to be told of; UINT64_MAX: there are none */
        uint64_t stuck_usec;        /* when destructions that are stuck are looked for; UINT64_MAX: there are none */
        struct ratelimit refused;
};

void notice_init(struct notice *notice);

/* The tenant of the core's index was set, by an operator or (NULL) by the configuration. Returns whether its limits
 * hold. */
bool notice_tenant_set(struct daemon *daemon, uint32_t tenant, bool is_new, const struct peer *by);

/* A connection that was not welcomed; `peer` NULL: nobody even looked who it was. */
void notice_refused(struct daemon *daemon, const struct peer *peer, const char *why);

/* A device call came to its end with this status. */
void notice_device(struct daemon *daemon, uint32_t device, int status, const char *what);

/* So many bytes of the device's capacity cannot be had at the moment; a worker may have kept what it gave back. */
void notice_missing(struct daemon *daemon, uint32_t device, uint64_t bytes);
void notice_suspect(struct daemon *daemon, struct peer *peer, uint32_t device);

/* A growth request of a worker failed. */
void notice_request_failed(struct daemon *daemon, const struct peer *peer, enum wire_error_code error);

/* Adds the events that have become due. */
void notice_turn(struct daemon *daemon);

#endif
