/* SPDX-License-Identifier: MIT
 *
 * messages.h -- protocol v1: every message and every field of it, as tables.
 *
 * The structs, their size and offset checks, the reserved-must-be-zero checks of the codec, the opcode names and the
 * tables of kvpager-protocol(7) are all made from what stands here. To add a message: a WIRE_FIELDS_* list, an item
 * list if it has items, one row in WIRE_MESSAGES; then the compiler names the places that must handle it.
 *
 * One packet is one message: header, fixed part, items. All integers are little-endian and naturally aligned; padding
 * is explicit, RESERVED fields are zero or the message is refused.
 */
#ifndef KVP_PROTO_MESSAGES_H
#define KVP_PROTO_MESSAGES_H

#include <stdint.h>

#define WIRE_VERSION          1u
#define WIRE_MAX_PACKET       12288u               /* bytes; every message fits */
#define WIRE_MAX_FDS          253u                 /* SCM_MAX_FD */
#define WIRE_MAX_UNACKED      256u                 /* extents granted to a worker and not acknowledged */
#define WIRE_MAX_CLASSES      64u                  /* plane classes of a cache */
#define WIRE_MAX_PLANES       64u                  /* planes of a class */
#define WIRE_MAX_GROW         256u                 /* entries of a GROW */
#define WIRE_MAX_RETURN       512u                 /* extents of a RETURN */
#define WIRE_MAX_CACHE_IDS    64u                  /* caches of a RESUMED */
#define WIRE_MAX_ROWS         512u                 /* rows of a ROWS */
#define WIRE_MAX_SETTINGS     16u                  /* keys of a TENANT_SET */
#define WIRE_MAX_EVENTS       32u                  /* events of an EVENTS */
#define WIRE_MAX_ENDED        64u                  /* processes of an ENDED */
#define WIRE_MAX_UNBROKERED   32u                  /* processes of an UNBROKERED */
#define WIRE_MAX_TIMEOUT_USEC (60ull * 1000000ull) /* a request waits no longer; larger timeouts are cut to it */

/* Features, offered by HELLO and confirmed by WELCOME. None yet. */
#define WIRE_FEATURES 0ull

enum wire_role { WIRE_ROLE_WORKER = 1, WIRE_ROLE_ADMIN = 2 };
enum wire_revoke_level {
        WIRE_REVOKE_IDLE = 0,  /* idle rows */
        WIRE_REVOKE_SLACK = 1, /* and whole extents beyond the live lengths of held rows */
        WIRE_REVOKE_LIVE = 2,  /* and what the application's pressure handler gives up */
};
enum wire_return_reason {
        WIRE_RETURN_GIVEN = 0,   /* trimmed, idle, revoked: unmapped and given back */
        WIRE_RETURN_REFUSED = 1, /* could not be mapped */
};

#define WIRE_GROW_OPTIONAL 1u /* look-ahead: granted from what is free, or refused at once */
#define WIRE_GRANT_LAST    1u /* the last extent of its entry: the entry is complete */
#define WIRE_GRANT_SHORT   2u /* memory is short: give back what is far too much */

/* The tables are aligned by hand. */
/* clang-format off */
/* Fields. X(type, name): U8 U16 U32 U64 I32. X_CHARS(name, size): NUL-terminated text. X_RESERVED(type, name). */

#define WIRE_FIELDS_NONE(X, C, R)

#define WIRE_FIELDS_HELLO(X, C, R)                                                                                     \
        X(U32, version) X(U32, role) X(U64, features) C(tenant, 64)
#define WIRE_FIELDS_DEVICE_GET(X, C, R) X(U32, device) R(U32, reserved)
#define WIRE_FIELDS_CACHE_CREATE(X, C, R) X(U32, n_items) X(U32, device) X(U32, rows) R(U32, reserved)
#define WIRE_FIELDS_CACHE_DESTROY(X, C, R) X(U32, cache) R(U32, reserved)
#define WIRE_FIELDS_GROW(X, C, R) X(U32, n_items) R(U32, reserved) X(U64, timeout_usec)
#define WIRE_FIELDS_RETURN(X, C, R) X(U32, n_items) X(U32, reason)
#define WIRE_FIELDS_ROWS(X, C, R) X(U32, n_items) R(U32, reserved)
#define WIRE_FIELDS_REVOKED(X, C, R) X(U32, revoke) R(U32, reserved)
#define WIRE_FIELDS_LIST(X, C, R) X(U32, cursor) R(U32, reserved)
#define WIRE_FIELDS_TENANT_SET(X, C, R) X(U32, n_items) R(U32, reserved) C(tenant, 64)
#define WIRE_FIELDS_EVENTS_GET(X, C, R) X(U64, from) X(U32, follow) R(U32, reserved) /* follow: 0 or 1 */

#define WIRE_FIELDS_ENDED(X, C, R) X(U32, n_items) R(U32, reserved)
#define WIRE_FIELDS_UNBROKERED(X, C, R) X(U32, n_items) R(U32, reserved)

#define WIRE_FIELDS_RESUME(X, C, R)                                                                                    \
        X(U32, version) X(U32, worker) X(U64, features) X(U64, token_low) X(U64, token_high)
#define WIRE_FIELDS_HOLDS(X, C, R) X(U32, n_items) R(U32, reserved)
#define WIRE_FIELDS_RESUMED(X, C, R) X(U32, n_items) R(U32, reserved)

/* The token is zero where a connection that is lost cannot be resumed. */
#define WIRE_FIELDS_WELCOME(X, C, R)                                                                                   \
        X(U32, version) X(U32, worker) X(U64, features) X(U64, token_low) X(U64, token_high) C(tenant, 64)
#define WIRE_FIELDS_ERROR(X, C, R) X(U32, error) X(I32, status) C(text, 240)
#define WIRE_FIELDS_DEVICE(X, C, R)                                                                                    \
        X(U64, page_size) X(U64, capacity_bytes) C(name, 64) C(backend, 16) C(uuid, 48)
#define WIRE_FIELDS_CACHE(X, C, R) X(U32, cache) R(U32, reserved)
#define WIRE_FIELDS_GRANT(X, C, R) X(U32, n_items) R(U32, reserved)
#define WIRE_FIELDS_GROW_FAILED(X, C, R) X(U32, n_items) R(U32, reserved)
#define WIRE_FIELDS_PAGE_OF_LIST(X, C, R) X(U32, n_items) X(U32, next_cursor) /* next_cursor 0: no more */
#define WIRE_FIELDS_STATUS(X, C, R)                                                                                    \
        X(U64, pid) X(U64, uptime_usec) X(U32, devices) X(U32, tenants) X(U32, workers) X(U32, caches)                 \
        X(U64, waiting_requests) X(U64, core_bytes) X(U64, counted_usec) C(version, 32) C(socket, 112) C(config, 256)
#define WIRE_FIELDS_CHECKED(X, C, R) X(I32, status) R(U32, reserved) C(text, 240)
#define WIRE_FIELDS_LIMITS(X, C, R) X(U32, deferred) R(U32, reserved) /* deferred: 0 or 1 */
#define WIRE_FIELDS_EVENTS(X, C, R) X(U32, n_items) X(U32, more) X(U64, next) /* more: 0 or 1 */
#define WIRE_FIELDS_REVOKE(X, C, R)                                                                                    \
        X(U32, revoke) X(U32, level) X(U32, device) R(U32, reserved) X(U64, pages) X(U64, deadline_usec) /* relative */

#define WIRE_ITEM_NONE(X, C, R)
#define WIRE_ITEM_CLASS(X, C, R) X(U32, group) X(U32, planes) X(U32, row_pages) R(U32, reserved)
#define WIRE_ITEM_GROW(X, C, R)                                                                                        \
        X(U32, cache) X(U32, row) X(U16, plane_class) X(U16, flags) X(U32, first) X(U32, need) X(U32, max)
#define WIRE_ITEM_EXTENT_ID(X, C, R) X(U64, extent)
#define WIRE_ITEM_CACHE_ID(X, C, R) X(U32, cache) R(U32, reserved)
#define WIRE_ITEM_ROW(X, C, R) X(U32, cache) X(U32, row) X(U32, held) R(U32, reserved)
#define WIRE_ITEM_GRANT(X, C, R)                                                                                       \
        X(U64, extent) X(U32, request) X(U16, entry) X(U16, plane) X(U32, first) X(U16, order) X(U16, flags)
#define WIRE_ITEM_GROW_FAILED(X, C, R) X(U32, request) X(U16, entry) R(U16, reserved) X(U32, error) X(I32, status)
#define WIRE_ITEM_DEVICE(X, C, R)                                                                                      \
        X(U64, page_size) X(U64, capacity_bytes) X(U64, allocated_bytes) X(U64, virgin_bytes) X(U64, missing_bytes)    \
        C(name, 64) C(backend, 16) C(uuid, 48)
#define WIRE_ITEM_TENANT(X, C, R)                                                                                      \
        X(U64, current_bytes) X(U64, live_bytes) X(U64, idle_bytes) X(U64, min_bytes) X(U64, low_bytes)                \
        X(U64, high_bytes) X(U64, max_bytes) X(U64, reclaim_deadline_usec) X(U64, extents_granted)                     \
        X(U64, pages_granted) X(U64, requests) X(U64, requests_waited) X(U64, requests_failed) X(U64, wait_usec)       \
        X(U64, stall_usec) X(U64, revokes) X(U64, pages_revoked) X(U64, revokes_overdue) X(U64, unbrokered_bytes)      \
        X(U32, waiting) X(U32, overdue) X(U32, kills) R(U32, reserved) X(U32, workers) X(U32, weight) C(name, 64)
#define WIRE_ITEM_WORKER(X, C, R)                                                                                      \
        X(U64, pid) X(U64, current_bytes) X(U64, live_bytes) X(U64, idle_bytes) X(U64, unacknowledged_bytes)           \
        X(U32, worker) X(U32, caches) X(U32, uid) X(U32, overdue) C(tenant, 64)
#define WIRE_ITEM_CACHE(X, C, R)                                                                                       \
        X(U64, pid) X(U64, virtual_bytes) X(U64, live_bytes) X(U64, idle_bytes) X(U32, cache) X(U32, worker)           \
        X(U32, rows) X(U32, held_rows) X(U32, planes) R(U32, reserved) C(tenant, 64)
#define WIRE_ITEM_COUNTER(X, C, R) X(U64, value) C(name, 56)
#define WIRE_ITEM_ENDED(X, C, R)                                                                                       \
        X(U64, pid) X(U32, worker) X(U32, status) X(U32, oom) R(U32, reserved) /* status: as wait(2) has it; oom: 0 or 1 */
#define WIRE_ITEM_UNBROKERED(X, C, R)                                                                                  \
        X(U64, pid) X(U64, bytes) X(U32, uid) X(U32, gid) X(U32, device) R(U32, reserved)                 \
        C(cgroup, 256) /* device: the driver's number; UINT32_MAX: not known */
#define WIRE_ITEM_SETTING(X, C, R) C(key, 32) C(value, 64)
#define WIRE_ITEM_EVENT(X, C, R)                                                                                       \
        X(U64, sequence) X(U64, time_usec) X(U64, pid) X(U64, bytes) X(U32, worker) X(U32, uid) X(U32, count)          \
        R(U32, reserved) C(event, 32) C(tenant, 64) C(device, 64) C(text, 160)

/* Directions: C2D client to daemon, D2C reply on the same socket, EVT daemon to client on the event channel. Fds: NONE, ONE, EACH
 * (one an item). Privilege: ANY, WORKER (that role alone), OPERATOR (administrators who are root, the daemon's own user or of the
 * group kvpager). Reply "none" marks one-way messages.
 *
 * X(NAME, opcode, direction, item, max_items, fds, privilege, reply, documentation) */
#define WIRE_MESSAGES(X)                                                                                               \
        X(HELLO, 1, C2D, NONE, 0, NONE, ANY, "WELCOME", "first message of a connection: version, role, tenant wanted (empty: the first that matches)") \
        X(DEVICE_GET, 2, C2D, NONE, 0, NONE, ANY, "DEVICE", "what a device is, by index")                              \
        X(CACHE_CREATE, 3, C2D, CLASS, WIRE_MAX_CLASSES, NONE, WORKER, "CACHE", "a cache: rows and its plane classes") \
        X(CACHE_DESTROY, 4, C2D, NONE, 0, NONE, WORKER, "OK", "ends a cache, all of which is unmapped; its extents are returned") \
        X(GROW, 5, C2D, GROW, WIRE_MAX_GROW, NONE, WORKER, "GRANT, GROW_FAILED", "asks for pages first..first+need of a row in every plane of a class, up to max; waits up to timeout_usec") \
        X(RETURN, 6, C2D, EXTENT_ID, WIRE_MAX_RETURN, NONE, WORKER, "none", "extents that are unmapped and given back, or refused") \
        X(ROWS, 7, C2D, ROW, WIRE_MAX_ROWS, NONE, WORKER, "none", "rows that are now held or idle")                    \
        X(REVOKED, 8, C2D, NONE, 0, NONE, WORKER, "none", "answer to REVOKE, after the RETURNs that it led to")        \
        X(ACK, 9, C2D, NONE, 0, NONE, WORKER, "none", "carries nothing but the header's acknowledgement")              \
        X(LIST_DEVICES, 16, C2D, NONE, 0, NONE, ANY, "DEVICES", "a page of the devices from cursor on")                \
        X(LIST_TENANTS, 17, C2D, NONE, 0, NONE, ANY, "TENANTS", "a page of the tenants")                               \
        X(LIST_WORKERS, 18, C2D, NONE, 0, NONE, ANY, "WORKERS", "a page of the workers")                               \
        X(LIST_CACHES, 19, C2D, NONE, 0, NONE, ANY, "CACHES", "a page of the caches")                                  \
        X(LIST_COUNTERS, 20, C2D, NONE, 0, NONE, ANY, "COUNTERS", "a page of the counters")                            \
        X(STATUS_GET, 21, C2D, NONE, 0, NONE, ANY, "STATUS", "the daemon in a few figures")                            \
        X(CHECK, 22, C2D, NONE, 0, NONE, ANY, "CHECKED", "proves every invariant of the page table")                   \
        X(SETTLED, 23, C2D, NONE, 0, NONE, ANY, "OK", "asks whether nothing is under way, so that what comes next depends on nobody's speed; ERROR if something is") \
        X(TENANT_SET, 24, C2D, SETTING, WIRE_MAX_SETTINGS, NONE, OPERATOR, "LIMITS", "changes keys of a tenant as its section of the configuration would, all of them or none; until the configuration is read again") \
        X(RELOAD, 25, C2D, NONE, 0, NONE, OPERATOR, "OK", "reads the configuration again; ERROR has the first complaint, and everything stays as it was") \
        X(EVENTS_GET, 26, C2D, NONE, 0, NONE, OPERATOR, "EVENTS", "the events from the one numbered from on that are still remembered; with follow also those to come, as further replies to the same request") \
        X(ENDED, 27, C2D, ENDED, WIRE_MAX_ENDED, NONE, OPERATOR, "OK", "how processes ended that are or were workers, as the kernel told kvpager-observe") \
        X(UNBROKERED, 28, C2D, UNBROKERED, WIRE_MAX_UNBROKERED, NONE, OPERATOR, "OK", "device memory that processes have taken without kvpager, in place of what was said of them before; it holds as long as the connection") \
        X(RESUME, 32, C2D, NONE, 0, NONE, ANY, "WELCOME", "first message in place of HELLO, of a worker whose connection ended with a daemon: which it was, and its token") \
        X(HOLDS, 33, C2D, EXTENT_ID, WIRE_MAX_RETURN, NONE, WORKER, "none", "after RESUME: extents that are mapped; ROWS tells which rows are held") \
        X(RESUMED, 34, C2D, CACHE_ID, WIRE_MAX_CACHE_IDS, NONE, WORKER, "OK", "ends what is said after RESUME: the caches there are; what was not named is taken back, what was asked for has to be asked for again") \
        X(WELCOME, 64, D2C, NONE, 0, ONE, ANY, "none", "the connection stands; carries the event channel")             \
        X(ERROR, 65, D2C, NONE, 0, NONE, ANY, "none", "the request failed, and why in a sentence")                     \
        X(OK, 66, D2C, NONE, 0, NONE, ANY, "none", "the request is done")                                              \
        X(DEVICE, 67, D2C, NONE, 0, NONE, ANY, "none", "a device")                                                     \
        X(CACHE, 68, D2C, NONE, 0, NONE, ANY, "none", "the cache's id")                                                \
        X(GRANT, 69, D2C, GRANT, WIRE_MAX_FDS, EACH, ANY, "none", "extents granted, an fd each, of any requests under way") \
        X(GROW_FAILED, 70, D2C, GROW_FAILED, WIRE_MAX_GROW, NONE, ANY, "none", "entries of GROW requests that failed") \
        X(DEVICES, 80, D2C, DEVICE, 32, NONE, ANY, "none", "devices")                                                  \
        X(TENANTS, 81, D2C, TENANT, 32, NONE, ANY, "none", "tenants")                                                  \
        X(WORKERS, 82, D2C, WORKER, 64, NONE, ANY, "none", "workers")                                                  \
        X(CACHES, 83, D2C, CACHE, 64, NONE, ANY, "none", "caches")                                                     \
        X(COUNTERS, 84, D2C, COUNTER, 128, NONE, ANY, "none", "counters")                                              \
        X(STATUS, 85, D2C, NONE, 0, NONE, ANY, "none", "the daemon in a few figures")                                  \
        X(CHECKED, 86, D2C, NONE, 0, NONE, ANY, "none", "0, or what is broken")                                        \
        X(LIMITS, 87, D2C, NONE, 0, NONE, ANY, "none", "the tenant's limits were changed; deferred: memory has to be reclaimed before they hold") \
        X(EVENTS, 88, D2C, EVENT, WIRE_MAX_EVENTS, NONE, ANY, "none", "events by their numbers; more: there are more now; next: where to go on") \
        X(REVOKE, 96, EVT, NONE, 0, NONE, ANY, "REVOKED", "give back so many pages, by the deadline")                  \
        X(SYNC, 97, EVT, NONE, 0, NONE, ANY, "ACK", "acknowledge what is mapped")

/* Messages whose fixed part is another list's. */
#define WIRE_FIELDS_ACK(X, C, R) WIRE_FIELDS_NONE(X, C, R)
#define WIRE_FIELDS_OK(X, C, R) WIRE_FIELDS_NONE(X, C, R)
#define WIRE_FIELDS_STATUS_GET(X, C, R) WIRE_FIELDS_NONE(X, C, R)
#define WIRE_FIELDS_CHECK(X, C, R) WIRE_FIELDS_NONE(X, C, R)
#define WIRE_FIELDS_SETTLED(X, C, R) WIRE_FIELDS_NONE(X, C, R)
#define WIRE_FIELDS_SYNC(X, C, R) WIRE_FIELDS_NONE(X, C, R)
#define WIRE_FIELDS_RELOAD(X, C, R) WIRE_FIELDS_NONE(X, C, R)
#define WIRE_FIELDS_LIST_DEVICES(X, C, R) WIRE_FIELDS_LIST(X, C, R)
#define WIRE_FIELDS_LIST_TENANTS(X, C, R) WIRE_FIELDS_LIST(X, C, R)
#define WIRE_FIELDS_LIST_WORKERS(X, C, R) WIRE_FIELDS_LIST(X, C, R)
#define WIRE_FIELDS_LIST_CACHES(X, C, R) WIRE_FIELDS_LIST(X, C, R)
#define WIRE_FIELDS_LIST_COUNTERS(X, C, R) WIRE_FIELDS_LIST(X, C, R)
#define WIRE_FIELDS_DEVICES(X, C, R) WIRE_FIELDS_PAGE_OF_LIST(X, C, R)
#define WIRE_FIELDS_TENANTS(X, C, R) WIRE_FIELDS_PAGE_OF_LIST(X, C, R)
#define WIRE_FIELDS_WORKERS(X, C, R) WIRE_FIELDS_PAGE_OF_LIST(X, C, R)
#define WIRE_FIELDS_CACHES(X, C, R) WIRE_FIELDS_PAGE_OF_LIST(X, C, R)
#define WIRE_FIELDS_COUNTERS(X, C, R) WIRE_FIELDS_PAGE_OF_LIST(X, C, R)
/* clang-format on */

#endif
