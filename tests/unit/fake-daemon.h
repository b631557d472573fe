/* SPDX-License-Identifier: MIT
 *
 * fake-daemon.h -- a daemon in a thread, for tests of the library: it speaks the wire protocol, grants memfds, keeps
 * account of what it granted, and misbehaves on demand.
 *
 * It is honest by default and checks the worker: a request for pages that are granted already, a return of an extent
 * that is not granted, an acknowledgement of more than was granted, or a malformed message is a *violation*. One worker
 * at a time.
 */
#ifndef TEST_FAKE_DAEMON_H
#define TEST_FAKE_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

struct fake;

struct fake_options {
        uint64_t page_size;       /* 0: 64 KiB */
        uint64_t capacity;        /* pages; 0: no bound */
        uint32_t max_per_message; /* extents of a GRANT; 0: as many as there may be */
        const char *backend;      /* NULL: host */
        bool keeps;               /* what a worker has over a hang-up: it may resume */
};

struct fake *fake_start(const struct fake_options *options); /* NULL: all defaults */
void fake_stop(struct fake *fake);
const char *fake_path(const struct fake *fake);

/* ---- what the worker has said ---- */

uint64_t fake_received(struct fake *fake, enum wire_opcode opcode);
/* Waits until so many messages of that kind have come; false: not within ten seconds. */
bool fake_wait_received(struct fake *fake, enum wire_opcode opcode, uint64_t count);
/* Waits until the worker has hung up. */
bool fake_wait_gone(struct fake *fake);

/* How often it came back, and the first thing that it said wrongly then is a violation. */
uint64_t fake_resumed(struct fake *fake);
void fake_forget(struct fake *fake); /* the worker, which may not resume from now on */

uint64_t fake_pages(struct fake *fake);    /* granted and not returned */
uint64_t fake_refused(struct fake *fake);  /* extents returned as refused */
uint64_t fake_optional(struct fake *fake); /* entries that asked for look-ahead */
bool fake_row_is_held(struct fake *fake,
                      uint32_t row);           /* what the worker made the daemon believe; of the first cache */
const char *fake_violation(struct fake *fake); /* the first one; NULL: none */

/* ---- how it behaves from now on ---- */

void fake_fail_grows(struct fake *fake, enum wire_error_code error);    /* demands; WIRE_E_NONE: no longer */
void fake_fail_optional(struct fake *fake, enum wire_error_code error); /* look-ahead */
void fake_set_short(struct fake *fake, bool is_short);                  /* the flag of grants */
void fake_hold_grants(struct fake *fake, bool hold);                    /* admits, and grants nothing until told */

void fake_pause(struct fake *fake, bool pause); /* reads nothing */
void fake_spoil(struct fake *fake,
                uint32_t every); /* each so many-th extent has an fd that cannot be mapped; 0: none */
/* Makes `n` memfds of 64 pages now and grants those: for a process that is about to be at its fd limit, as this one is
 * both sides. */
void fake_stock(struct fake *fake, uint32_t n);

/* Asked about each message before it is handled, on the daemon's thread. */
enum fake_verdict { FAKE_HANDLE, FAKE_SWALLOW, FAKE_HANG_UP };
typedef enum fake_verdict fake_hook_fn(struct fake *fake, const struct wire_view *message, void *userdata);
void fake_set_hook(struct fake *fake, fake_hook_fn *hook, void *userdata);

/* ---- what it says unasked, from any thread or from the hook ---- */

void fake_revoke(struct fake *fake, uint32_t id, enum wire_revoke_level level, uint64_t pages);
void fake_sync(struct fake *fake);
void fake_send(struct fake *fake, enum wire_opcode opcode, uint32_t request, const void *fixed, const void *items,
               uint32_t n_items, const int *fds, unsigned n_fds);
void fake_send_bytes(struct fake *fake, bool event_channel, const void *bytes, size_t size, const int *fds,
                     unsigned n_fds);
void fake_hang_up(struct fake *fake);
int fake_memfd(uint64_t size);

#endif
