/* SPDX-License-Identifier: MIT
 *
 * observe.h -- what kvpager-observe tells us: how workers' processes ended, and who takes device memory by himself.
 *
 * It is an operator, so it is believed; what it says of processes that we do not know is nobody's. What others have
 * taken counts as missing from a device where the device does not tell that by itself, as far as it goes beyond what
 * the capacity leaves to them. It is forgotten when the connection ends.
 */
#ifndef SHELL_OBSERVE_H
#define SHELL_OBSERVE_H

#include <stdint.h>

#include "core.h"
#include "wire.h"

#define OBSERVE_MAX 4096u /* processes that have device memory without us */

struct daemon;
struct peer;

struct observe_process {
        uint64_t pid, bytes;
        uint64_t by;     /* cookie of the peer that told */
        uint32_t number; /* the driver's, of the device; UINT32_MAX: not known */
        uint32_t device; /* ours; UINT32_MAX: none, or not known which */
        uint32_t tenant; /* the core's; UINT32_MAX: of none */
};

struct observe {
        struct observe_process *processes;
        uint32_t n;
        uint64_t tenants[CORE_MAX_TENANTS]; /* bytes */
};

void observe_close(struct observe *observe);

/* Answers ENDED and UNBROKERED. */
void observe_message(struct peer *peer, const struct wire_view *view);

/* The peer ends, and what it told with it. */
void observe_forget(struct peer *peer);

/* Tenants are about to change: what was told of one that is gone is nobody's, whoever comes in its place. */
void observe_tenants(struct daemon *daemon);

/* Bytes of a device that are not to be had, because others have taken them, beyond those that its capacity leaves to
 * them. */
uint64_t observe_missing(const struct daemon *daemon, uint32_t device);

#endif
