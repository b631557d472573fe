/* SPDX-License-Identifier: MIT
 *
 * wire.h -- the structs of protocol v1, made from messages.h, and the codec: pure functions between bytes and views of
 * them.
 *
 * The codec does no I/O, allocates nothing and keeps no state; all functions may be called from any thread.
 */
#ifndef KVP_PROTO_WIRE_H
#define KVP_PROTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "counters.h"
#include "errors.h"
#include "events.h"
#include "messages.h"

struct wire_header {
        uint16_t opcode; /* enum wire_opcode */
        uint16_t reserved;
        uint32_t size; /* of the whole packet, this header included */
        /* Chosen by the client, echoed in the reply; 0 in one-way messages and on the event channel. */
        uint32_t request;
        uint32_t reserved2;
        /* Client to daemon: how many of the extents granted to this worker so far have been dealt with; else 0. */
        uint64_t ack;
};
_Static_assert(sizeof(struct wire_header) == 24, "header");

#define WIRE_TYPE_U8              uint8_t
#define WIRE_TYPE_U16             uint16_t
#define WIRE_TYPE_U32             uint32_t
#define WIRE_TYPE_U64             uint64_t
#define WIRE_TYPE_I32             int32_t
#define WIRE_STRUCT_X(type, name) WIRE_TYPE_##type name;
#define WIRE_STRUCT_C(name, size) char name[size];
#define WIRE_STRUCT_R(type, name) WIRE_TYPE_##type name;
#define WIRE_DEFINE(tag, fields)                                                                                       \
        struct tag {                                                                                                   \
                fields(WIRE_STRUCT_X, WIRE_STRUCT_C, WIRE_STRUCT_R)                                                    \
        };

WIRE_DEFINE(wire_hello, WIRE_FIELDS_HELLO)
WIRE_DEFINE(wire_device_get, WIRE_FIELDS_DEVICE_GET)
WIRE_DEFINE(wire_cache_create, WIRE_FIELDS_CACHE_CREATE)
WIRE_DEFINE(wire_cache_destroy, WIRE_FIELDS_CACHE_DESTROY)
WIRE_DEFINE(wire_grow, WIRE_FIELDS_GROW)
WIRE_DEFINE(wire_return, WIRE_FIELDS_RETURN)
WIRE_DEFINE(wire_rows, WIRE_FIELDS_ROWS)
WIRE_DEFINE(wire_revoked, WIRE_FIELDS_REVOKED)
WIRE_DEFINE(wire_list, WIRE_FIELDS_LIST)
WIRE_DEFINE(wire_tenant_set, WIRE_FIELDS_TENANT_SET)
WIRE_DEFINE(wire_events_get, WIRE_FIELDS_EVENTS_GET)
WIRE_DEFINE(wire_ended, WIRE_FIELDS_ENDED)
WIRE_DEFINE(wire_unbrokered, WIRE_FIELDS_UNBROKERED)
WIRE_DEFINE(wire_resume, WIRE_FIELDS_RESUME)
WIRE_DEFINE(wire_holds, WIRE_FIELDS_HOLDS)
WIRE_DEFINE(wire_resumed, WIRE_FIELDS_RESUMED)
WIRE_DEFINE(wire_welcome, WIRE_FIELDS_WELCOME)
WIRE_DEFINE(wire_error, WIRE_FIELDS_ERROR)
WIRE_DEFINE(wire_device, WIRE_FIELDS_DEVICE)
WIRE_DEFINE(wire_cache, WIRE_FIELDS_CACHE)
WIRE_DEFINE(wire_grant, WIRE_FIELDS_GRANT)
WIRE_DEFINE(wire_grow_failed, WIRE_FIELDS_GROW_FAILED)
WIRE_DEFINE(wire_page_of_list, WIRE_FIELDS_PAGE_OF_LIST)
WIRE_DEFINE(wire_status, WIRE_FIELDS_STATUS)
WIRE_DEFINE(wire_checked, WIRE_FIELDS_CHECKED)
WIRE_DEFINE(wire_limits, WIRE_FIELDS_LIMITS)
WIRE_DEFINE(wire_events, WIRE_FIELDS_EVENTS)
WIRE_DEFINE(wire_revoke, WIRE_FIELDS_REVOKE)

WIRE_DEFINE(wire_item_class, WIRE_ITEM_CLASS)
WIRE_DEFINE(wire_item_grow, WIRE_ITEM_GROW)
WIRE_DEFINE(wire_item_extent_id, WIRE_ITEM_EXTENT_ID)
WIRE_DEFINE(wire_item_cache_id, WIRE_ITEM_CACHE_ID)
WIRE_DEFINE(wire_item_row, WIRE_ITEM_ROW)
WIRE_DEFINE(wire_item_grant, WIRE_ITEM_GRANT)
WIRE_DEFINE(wire_item_grow_failed, WIRE_ITEM_GROW_FAILED)
WIRE_DEFINE(wire_item_device, WIRE_ITEM_DEVICE)
WIRE_DEFINE(wire_item_tenant, WIRE_ITEM_TENANT)
WIRE_DEFINE(wire_item_worker, WIRE_ITEM_WORKER)
WIRE_DEFINE(wire_item_cache, WIRE_ITEM_CACHE)
WIRE_DEFINE(wire_item_counter, WIRE_ITEM_COUNTER)
WIRE_DEFINE(wire_item_setting, WIRE_ITEM_SETTING)
WIRE_DEFINE(wire_item_ended, WIRE_ITEM_ENDED)
WIRE_DEFINE(wire_item_unbrokered, WIRE_ITEM_UNBROKERED)
WIRE_DEFINE(wire_item_event, WIRE_ITEM_EVENT)

enum wire_opcode {
#define X(name, opcode, direction, item, max_items, fds, privilege, reply, doc) WIRE_##name = (opcode),
        WIRE_MESSAGES(X)
#undef X
};

enum wire_direction { WIRE_C2D, WIRE_D2C, WIRE_EVT };
enum wire_fds { WIRE_FDS_NONE, WIRE_FDS_ONE, WIRE_FDS_EACH };
enum wire_privilege { WIRE_PRIVILEGE_ANY, WIRE_PRIVILEGE_WORKER, WIRE_PRIVILEGE_OPERATOR };

/* It takes an X macro without a semicolon for an expression. */
/* clang-format off */
enum wire_error_code {
#define X(name, number, sentence) WIRE_E_##name,
        WIRE_ERRORS(X)
#undef X
        WIRE_E_MAX_
};

enum wire_counter {
#define X(name, owner, doc) WIRE_COUNTER_##name,
        WIRE_COUNTERS(X)
#undef X
        WIRE_COUNTER_MAX_
};

enum wire_event {
#define X(name, doc) WIRE_EVENT_##name,
        WIRE_EVENT_KINDS(X)
#undef X
        WIRE_EVENT_MAX_
};
/* clang-format on */

/* One row of the message table, at run time. */
struct wire_message_info {
        const char *name;
        uint16_t opcode;
        enum wire_direction direction;
        enum wire_fds fds;
        enum wire_privilege privilege;
        uint32_t fixed_size, item_size; /* bytes */
        uint32_t min_items, max_items;  /* an empty page of a list counts; any other message with items has one */
        const char *reply;              /* names of what answers it, in words; "none": one-way */
        const char *doc;
};

/* A message in a buffer: pointers into it, checked. `fixed` and `items` are aligned as the buffer is (give 8-byte
 * aligned ones). */
struct wire_view {
        const struct wire_message_info *info;
        struct wire_header header;
        const void *fixed;
        const void *items;
        uint32_t n_items;
};

/* NULL where there is none. */
const struct wire_message_info *wire_message_info(uint16_t opcode);
const char *wire_error_name(enum wire_error_code code);
const char *wire_error_sentence(enum wire_error_code code);
int wire_error_errno(enum wire_error_code code); /* a negative errno; 0 for NONE */
bool wire_error_is_fatal(enum wire_error_code code);
const char *wire_counter_name(enum wire_counter counter);
const char *wire_counter_doc(enum wire_counter counter);
const char *wire_event_name(enum wire_event event);
const char *wire_event_doc(enum wire_event event);

/* Makes of a text one that a field takes: each control character becomes a question mark. */
void wire_text_clean(char *text);

/* Checks a received packet of `size` bytes with `n_fds` file descriptors that came in `direction` against the table:
 * sizes, item counts, reserved fields and flags, text fields, ranges of enumerations, number of fds. A HELLO of another
 * version is BAD_VERSION, whatever its size. Returns WIRE_E_NONE and fills *ret, else the error (and *ret is
 * untouched). `buffer` must be aligned to 8 bytes and outlive the view. */
enum wire_error_code wire_decode(const void *buffer, size_t size, unsigned n_fds, enum wire_direction direction,
                                 struct wire_view *ret);

/* Writes a packet into `buffer` of `capacity` bytes, aligned to 8: header, fixed part, items. `fixed` NULL writes
 * zeroes (there may be no fixed part, or nothing in it but n_items); for messages with items its n_items field is set
 * from n_items. Returns the packet's size, or 0 where it does not fit or the counts are out of bounds. Inverse of
 * wire_decode. */
size_t wire_encode(void *buffer, size_t capacity, enum wire_opcode opcode, uint32_t request, uint64_t ack,
                   const void *fixed, const void *items, uint32_t n_items);

#endif
