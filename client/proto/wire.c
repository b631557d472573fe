/* SPDX-License-Identifier: MIT
 *
 * wire.c -- the codec of protocol v1, made from the tables of messages.h.
 *
 * Every message has two lists of field descriptors, for its fixed part and for one item; decoding walks them, so a
 * field that is added to the table is checked without a line here. What the tables cannot say (ranges of enumerations
 * and flags) stands in wire_check_values(). Nothing is read beyond the packet's size, and a view points only at what
 * was checked.
 */
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the structs are the wire format: little-endian");

#define WIRE_OPCODES 128u

enum field_kind { FIELD_END, FIELD_NUMBER, FIELD_CHARS, FIELD_RESERVED };

/* One field; where it lies follows from the sizes of those before it: there is no padding (layout.c). */
struct field {
        uint16_t kind;
        uint16_t size;
};

struct message {
        struct wire_message_info info;
        const struct field *fixed, *item;
};

#define FIELD_X(type, name) { FIELD_NUMBER, sizeof(WIRE_TYPE_##type) },
#define FIELD_C(name, size) { FIELD_CHARS, (size) },
#define FIELD_R(type, name) { FIELD_RESERVED, sizeof(WIRE_TYPE_##type) },
#define SIZE_X(type, name)  +sizeof(WIRE_TYPE_##type)
#define SIZE_C(name, size)  +(size)
#define SIZE_R(type, name)  +sizeof(WIRE_TYPE_##type)
#define FIXED_SIZE(name)    ((size_t)0 WIRE_FIELDS_##name(SIZE_X, SIZE_C, SIZE_R))
#define ITEM_SIZE(item)     ((size_t)0 WIRE_ITEM_##item(SIZE_X, SIZE_C, SIZE_R))

#define X(name, opcode, direction, item, max_items, fds, privilege, reply, doc)                                        \
        static const struct field fixed_fields_##name[] = { WIRE_FIELDS_##name(FIELD_X, FIELD_C, FIELD_R){ FIELD_END,  \
                                                                                                           0 } };      \
        static const struct field item_fields_##name[] = { WIRE_ITEM_##item(FIELD_X, FIELD_C, FIELD_R){ FIELD_END,     \
                                                                                                        0 } };         \
        _Static_assert((opcode) > 0 && (opcode) < WIRE_OPCODES, #name ": opcode out of bounds");                       \
        _Static_assert(FIXED_SIZE(name) % 8 == 0 && ITEM_SIZE(item) % 8 == 0, #name ": a part is not aligned");        \
        _Static_assert(sizeof(struct wire_header) + FIXED_SIZE(name) + ITEM_SIZE(item) * (size_t)(max_items) <=        \
                               WIRE_MAX_PACKET,                                                                        \
                       #name ": does not fit into a packet");
WIRE_MESSAGES(X)
#undef X

/* The lists' pages may be empty, and a worker need not have caches. */
#define MIN_ITEMS(opcode, max_items)                                                                                   \
        ((max_items) == 0 || ((opcode) >= WIRE_DEVICES && (opcode) <= WIRE_COUNTERS) || (opcode) == WIRE_EVENTS ||     \
                         (opcode) == WIRE_RESUMED                                                                      \
                 ? 0u                                                                                                  \
                 : 1u)

/* clang-format off */
static const struct message messages[WIRE_OPCODES] = {
#define X(name_, opcode_, direction_, item_, max_items_, fds_, privilege_, reply_, doc_)                               \
        [opcode_] = {                                                                                                  \
                .info = {                                                                                              \
                        .name = #name_,                                                                                \
                        .opcode = (opcode_),                                                                           \
                        .direction = WIRE_##direction_,                                                                \
                        .fds = WIRE_FDS_##fds_,                                                                        \
                        .privilege = WIRE_PRIVILEGE_##privilege_,                                                      \
                        .fixed_size = FIXED_SIZE(name_),                                                               \
                        .item_size = ITEM_SIZE(item_),                                                                 \
                        .min_items = MIN_ITEMS(opcode_, max_items_),                                                   \
                        .max_items = (max_items_),                                                                     \
                        .reply = (reply_),                                                                             \
                        .doc = (doc_),                                                                                 \
                },                                                                                                     \
                .fixed = fixed_fields_##name_,                                                                         \
                .item = item_fields_##name_,                                                                           \
        },
        WIRE_MESSAGES(X)
#undef X
};

static const struct {
        const char *name;
        int number;
        const char *sentence;
} errors[WIRE_E_MAX_] = {
#define X(name_, number_, sentence_) [WIRE_E_##name_] = {#name_, (number_), (sentence_)},
        WIRE_ERRORS(X)
#undef X
};

static const bool fatal_errors[WIRE_E_MAX_] = {
#define X(name_) [WIRE_E_##name_] = true,
        WIRE_FATAL_ERRORS(X)
#undef X
};

static const struct {
        const char *name, *doc;
} counters[WIRE_COUNTER_MAX_] = {
#define X(name_, owner_, doc_) [WIRE_COUNTER_##name_] = {#name_, (doc_)},
        WIRE_COUNTERS(X)
#undef X
};

static const struct {
        const char *name, *doc;
} events[WIRE_EVENT_MAX_] = {
#define X(name_, doc_) [WIRE_EVENT_##name_] = {#name_, (doc_)},
        WIRE_EVENT_KINDS(X)
#undef X
};
/* clang-format on */

static const struct message *message_find(uint16_t opcode)
{
        if (opcode >= WIRE_OPCODES || !messages[opcode].info.name)
                return NULL;
        return &messages[opcode];
}

const struct wire_message_info *wire_message_info(uint16_t opcode)
{
        const struct message *message = message_find(opcode);

        return message ? &message->info : NULL;
}

const char *wire_error_name(enum wire_error_code code)
{
        return (unsigned)code < WIRE_E_MAX_ ? errors[code].name : NULL;
}

const char *wire_error_sentence(enum wire_error_code code)
{
        return (unsigned)code < WIRE_E_MAX_ ? errors[code].sentence : NULL;
}

int wire_error_errno(enum wire_error_code code)
{
        /* A number from a newer daemon still has to be an error. */
        return (unsigned)code < WIRE_E_MAX_ ? -errors[code].number : -EPROTO;
}

bool wire_error_is_fatal(enum wire_error_code code)
{
        return (unsigned)code < WIRE_E_MAX_ && fatal_errors[code];
}

const char *wire_counter_name(enum wire_counter counter)
{
        return (unsigned)counter < WIRE_COUNTER_MAX_ ? counters[counter].name : NULL;
}

const char *wire_counter_doc(enum wire_counter counter)
{
        return (unsigned)counter < WIRE_COUNTER_MAX_ ? counters[counter].doc : NULL;
}

const char *wire_event_name(enum wire_event event)
{
        return (unsigned)event < WIRE_EVENT_MAX_ ? events[event].name : NULL;
}

const char *wire_event_doc(enum wire_event event)
{
        return (unsigned)event < WIRE_EVENT_MAX_ ? events[event].doc : NULL;
}

static bool wire_is_control(char c)
{
        return (unsigned char)c < 0x20 || c == 0x7f;
}

void wire_text_clean(char *text)
{
        for (; *text; text++)
                if (wire_is_control(*text))
                        *text = '?';
}

/* Printable (or beyond ASCII), terminated, and zeroes to the end. */
static bool wire_text_is_valid(const char *text, size_t size)
{
        size_t length = strnlen(text, size);

        if (length == size)
                return false;
        for (size_t i = 0; i < length; i++)
                if (wire_is_control(text[i]))
                        return false;
        for (size_t i = length; i < size; i++)
                if (text[i] != 0)
                        return false;
        return true;
}

static bool wire_is_zero(const unsigned char *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

static enum wire_error_code wire_check_fields(const struct field *fields, const unsigned char *bytes)
{
        size_t offset = 0;

        for (const struct field *f = fields; f->kind != FIELD_END; f++) {
                if (f->kind == FIELD_RESERVED && !wire_is_zero(bytes + offset, f->size))
                        return WIRE_E_BAD_RESERVED;
                if (f->kind == FIELD_CHARS && !wire_text_is_valid((const char *)bytes + offset, f->size))
                        return WIRE_E_BAD_TEXT;
                offset += f->size;
        }
        return WIRE_E_NONE;
}

/* Flags of what operators send and get; apart, for the others are many more. */
static enum wire_error_code __attribute__((noinline)) wire_check_operator_values(const struct wire_view *view)
{
        uint32_t flag = 0;

        if (view->info->opcode == WIRE_EVENTS_GET)
                flag = ((const struct wire_events_get *)view->fixed)->follow;
        else if (view->info->opcode == WIRE_LIMITS)
                flag = ((const struct wire_limits *)view->fixed)->deferred;
        else if (view->info->opcode == WIRE_EVENTS)
                flag = ((const struct wire_events *)view->fixed)->more;
        return flag <= 1 ? WIRE_E_NONE : WIRE_E_BAD_VALUE;
}

/* Enumerations and flags. Whether ids, rows and pages exist is the core's to say. */
static enum wire_error_code wire_check_values(const struct wire_view *view)
{
        switch (view->info->opcode) {
        case WIRE_HELLO: {
                const struct wire_hello *hello = view->fixed;
                return hello->role == WIRE_ROLE_WORKER || hello->role == WIRE_ROLE_ADMIN ? WIRE_E_NONE
                                                                                         : WIRE_E_BAD_VALUE;
        }
        case WIRE_GROW: {
                const struct wire_item_grow *items = view->items;
                for (uint32_t i = 0; i < view->n_items; i++)
                        if (items[i].flags & ~WIRE_GROW_OPTIONAL)
                                return WIRE_E_BAD_RESERVED;
                return WIRE_E_NONE;
        }
        case WIRE_RETURN: {
                const struct wire_return *r = view->fixed;
                return r->reason <= WIRE_RETURN_REFUSED ? WIRE_E_NONE : WIRE_E_BAD_VALUE;
        }
        case WIRE_ROWS: {
                const struct wire_item_row *items = view->items;
                for (uint32_t i = 0; i < view->n_items; i++)
                        if (items[i].held > 1)
                                return WIRE_E_BAD_VALUE;
                return WIRE_E_NONE;
        }
        case WIRE_ENDED: {
                const struct wire_item_ended *items = view->items;
                for (uint32_t i = 0; i < view->n_items; i++)
                        if (items[i].oom > 1 || items[i].status > 0xffff)
                                return WIRE_E_BAD_VALUE;
                return WIRE_E_NONE;
        }
        case WIRE_GRANT: {
                const struct wire_item_grant *items = view->items;
                for (uint32_t i = 0; i < view->n_items; i++)
                        if (items[i].flags & ~(WIRE_GRANT_LAST | WIRE_GRANT_SHORT))
                                return WIRE_E_BAD_RESERVED;
                return WIRE_E_NONE;
        }
        case WIRE_REVOKE: {
                const struct wire_revoke *revoke = view->fixed;
                return revoke->level <= WIRE_REVOKE_LIVE ? WIRE_E_NONE : WIRE_E_BAD_VALUE;
        }
        default:
                return wire_check_operator_values(view);
        }
}

/* The header's own rules, and which message it announces. */
static enum wire_error_code wire_check_header(const struct wire_header *header, size_t size,
                                              enum wire_direction direction, const struct message **ret)
{
        const struct message *message;

        if (header->size > size)
                return WIRE_E_TOO_SHORT;
        if (header->size < size)
                return WIRE_E_TOO_LONG;
        if (header->reserved != 0 || header->reserved2 != 0)
                return WIRE_E_BAD_RESERVED;
        message = message_find(header->opcode);
        if (!message || message->info.direction != direction)
                return WIRE_E_BAD_OPCODE;
        if (direction != WIRE_C2D && header->ack != 0)
                return WIRE_E_BAD_RESERVED;
        if ((direction == WIRE_EVT || (direction == WIRE_C2D && strcmp(message->info.reply, "none") == 0)) &&
            header->request != 0)
                return WIRE_E_BAD_RESERVED;

        *ret = message;
        return WIRE_E_NONE;
}

/* The number of items, from the packet's size and from n_items, which must agree. `bytes` is what follows the header.
 */
static enum wire_error_code wire_check_items(const struct wire_message_info *info, const unsigned char *bytes,
                                             size_t size, uint32_t *ret)
{
        uint32_t n;

        if (size < info->fixed_size)
                return WIRE_E_TOO_SHORT;
        if (info->max_items == 0) {
                *ret = 0;
                return size == info->fixed_size ? WIRE_E_NONE : WIRE_E_TOO_LONG;
        }

        memcpy(&n, bytes, sizeof(n)); /* n_items is the first field of every message with items (layout.c) */
        if (n < info->min_items || n > info->max_items)
                return WIRE_E_BAD_COUNT;
        if (size != info->fixed_size + (size_t)n * info->item_size)
                return size < info->fixed_size + (size_t)n * info->item_size ? WIRE_E_TOO_SHORT : WIRE_E_TOO_LONG;
        *ret = n;
        return WIRE_E_NONE;
}

static unsigned wire_expected_fds(const struct wire_message_info *info, uint32_t n_items)
{
        return info->fds == WIRE_FDS_EACH ? n_items : info->fds == WIRE_FDS_ONE ? 1 : 0;
}

enum wire_error_code wire_decode(const void *buffer, size_t size, unsigned n_fds, enum wire_direction direction,
                                 struct wire_view *ret)
{
        const unsigned char *bytes = buffer;
        const struct message *message = NULL;
        struct wire_view view = { 0 };
        enum wire_error_code error;
        uint32_t version;

        assert(buffer && ret);
        assert((uintptr_t)buffer % 8 == 0);

        if (size < sizeof(view.header))
                return WIRE_E_TOO_SHORT;
        memcpy(&view.header, bytes, sizeof(view.header));
        bytes += sizeof(view.header);
        size -= sizeof(view.header);

        error = wire_check_header(&view.header, size + sizeof(view.header), direction, &message);
        if (error != WIRE_E_NONE)
                return error;
        view.info = &message->info;

        /* The version comes first in every HELLO there will be; the rest of another version's is not ours to judge. */
        if (view.info->opcode == WIRE_HELLO && size >= sizeof(version)) {
                memcpy(&version, bytes, sizeof(version));
                if (version != WIRE_VERSION)
                        return WIRE_E_BAD_VERSION;
        }

        error = wire_check_items(view.info, bytes, size, &view.n_items);
        if (error != WIRE_E_NONE)
                return error;
        if (n_fds != wire_expected_fds(view.info, view.n_items))
                return WIRE_E_BAD_FDS;

        view.fixed = bytes;
        view.items = bytes + view.info->fixed_size;
        error = wire_check_fields(message->fixed, bytes);
        for (uint32_t i = 0; i < view.n_items && error == WIRE_E_NONE; i++)
                error = wire_check_fields(message->item,
                                          bytes + view.info->fixed_size + (size_t)i * view.info->item_size);
        if (error == WIRE_E_NONE)
                error = wire_check_values(&view);
        if (error == WIRE_E_NONE)
                *ret = view;
        return error;
}

size_t wire_encode(void *buffer, size_t capacity, enum wire_opcode opcode, uint32_t request, uint64_t ack,
                   const void *fixed, const void *items, uint32_t n_items)
{
        const struct message *message = message_find((uint16_t)opcode);
        unsigned char *bytes = buffer;
        struct wire_header header;
        size_t items_size, size;

        assert(buffer && (uintptr_t)buffer % 8 == 0);
        assert(items || n_items == 0);

        if (!message || n_items < message->info.min_items || n_items > message->info.max_items)
                return 0;
        items_size = (size_t)n_items * message->info.item_size;
        size = sizeof(header) + message->info.fixed_size + items_size;
        if (size > capacity)
                return 0;

        header = (struct wire_header){
                .opcode = message->info.opcode,
                .size = (uint32_t)size,
                .request = request,
                .ack = ack,
        };
        memcpy(bytes, &header, sizeof(header));
        bytes += sizeof(header);
        if (fixed && message->info.fixed_size > 0)
                memcpy(bytes, fixed, message->info.fixed_size);
        else
                memset(bytes, 0, message->info.fixed_size);
        if (message->info.max_items > 0)
                memcpy(bytes, &n_items, sizeof(n_items));
        bytes += message->info.fixed_size;
        if (items_size > 0)
                memmove(bytes, items, items_size); /* the items may have been put together in place */
        return size;
}
