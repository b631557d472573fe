/* SPDX-License-Identifier: MIT
 *
 * test-wire.c -- the codec: every message there and back, and everything that must be refused.
 *
 * Messages are made from the tables with random fields, so a message that is added is tested without a line here.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

/* A written-down twin of the tables: kind and size of each field in order. */
enum kind { NUMBER, CHARS, RESERVED };
struct field {
        enum kind kind;
        uint32_t size;
};
struct shape {
        enum wire_opcode opcode;
        enum wire_direction direction;
        struct field fixed[24], item[32];
        uint32_t n_fixed, n_item;
};

#define FX(type, name) { NUMBER, sizeof(WIRE_TYPE_##type) },
#define FC(name, size) { CHARS, (size) },
#define FR(type, name) { RESERVED, sizeof(WIRE_TYPE_##type) },
#define COUNT(...)     +1

static const struct shape shapes[] = {
#define X(name, opcode_, direction_, item_, max_items, fds, privilege, reply, doc)                                     \
        { .opcode = WIRE_##name,                                                                                       \
          .direction = WIRE_##direction_,                                                                              \
          .fixed = { WIRE_FIELDS_##name(FX, FC, FR){ NUMBER, 0 } },                                                    \
          .item = { WIRE_ITEM_##item_(FX, FC, FR){ NUMBER, 0 } },                                                      \
          .n_fixed = 0 WIRE_FIELDS_##name(COUNT, COUNT, COUNT),                                                        \
          .n_item = 0 WIRE_ITEM_##item_(COUNT, COUNT, COUNT) },
        WIRE_MESSAGES(X)
#undef X
};
#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static alignas(8) unsigned char packet[WIRE_MAX_PACKET + 8];
static unsigned char source_fixed[1024];
static alignas(8) unsigned char source_items[WIRE_MAX_PACKET];

static uint64_t seed;
static uint32_t draw(void)
{
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        return (uint32_t)(seed >> 33);
}

static void fill(unsigned char *bytes, const struct field *fields, uint32_t n)
{
        for (uint32_t i = 0; i < n; i++) {
                memset(bytes, 0, fields[i].size);
                if (fields[i].kind == NUMBER) {
                        for (uint32_t b = 0; b < fields[i].size; b++)
                                bytes[b] = (unsigned char)draw();
                } else if (fields[i].kind == CHARS) {
                        uint32_t length = draw() % fields[i].size;
                        for (uint32_t b = 0; b < length; b++)
                                bytes[b] = (unsigned char)(' ' + draw() % 95);
                }
                bytes += fields[i].size;
        }
}

/* Fields with a range get a value of it. */
static void tame(enum wire_opcode opcode, uint32_t n_items)
{
        if (opcode == WIRE_HELLO) {
                struct wire_hello *hello = (void *)source_fixed;
                hello->version = WIRE_VERSION;
                hello->role = 1 + draw() % 2;
        } else if (opcode == WIRE_RETURN) {
                ((struct wire_return *)(void *)source_fixed)->reason = draw() % 2;
        } else if (opcode == WIRE_REVOKE) {
                ((struct wire_revoke *)(void *)source_fixed)->level = draw() % 3;
        } else if (opcode == WIRE_EVENTS_GET) {
                ((struct wire_events_get *)(void *)source_fixed)->follow = draw() % 2;
        } else if (opcode == WIRE_LIMITS) {
                ((struct wire_limits *)(void *)source_fixed)->deferred = draw() % 2;
        } else if (opcode == WIRE_EVENTS) {
                ((struct wire_events *)(void *)source_fixed)->more = draw() % 2;
        }
        for (uint32_t i = 0; i < n_items; i++) {
                if (opcode == WIRE_GROW)
                        ((struct wire_item_grow *)(void *)source_items)[i].flags = draw() % 2;
                else if (opcode == WIRE_ROWS)
                        ((struct wire_item_row *)(void *)source_items)[i].held = draw() % 2;
                else if (opcode == WIRE_GRANT)
                        ((struct wire_item_grant *)(void *)source_items)[i].flags = draw() % 4;
                else if (opcode == WIRE_ENDED) {
                        ((struct wire_item_ended *)(void *)source_items)[i].status = draw() % 0x10000;
                        ((struct wire_item_ended *)(void *)source_items)[i].oom = draw() % 2;
                }
        }
}

/* Makes a random message of that shape in `packet`; returns its size. */
static size_t make(const struct shape *s, uint32_t n_items, uint32_t *ret_request, uint64_t *ret_ack)
{
        const struct wire_message_info *info = wire_message_info((uint16_t)s->opcode);
        bool one_way = s->direction == WIRE_EVT || (s->direction == WIRE_C2D && strcmp(info->reply, "none") == 0);

        *ret_request = one_way ? 0 : draw();
        *ret_ack = s->direction == WIRE_C2D ? draw() : 0;
        fill(source_fixed, s->fixed, s->n_fixed);
        for (uint32_t i = 0; i < n_items; i++)
                fill(source_items + (size_t)i * info->item_size, s->item, s->n_item);
        tame(s->opcode, n_items);
        return wire_encode(packet, WIRE_MAX_PACKET, s->opcode, *ret_request, *ret_ack, source_fixed,
                           info->item_size ? source_items : NULL, n_items);
}

static uint32_t some_items(const struct wire_message_info *info)
{
        if (info->max_items == 0)
                return 0;
        return info->min_items + draw() % (info->max_items - info->min_items + 1);
}

static unsigned fds_of(const struct wire_message_info *info, uint32_t n_items)
{
        return info->fds == WIRE_FDS_EACH ? n_items : info->fds == WIRE_FDS_ONE ? 1 : 0;
}

Test(wire, every_message_there_and_back)
{
        for (seed = 1; seed < 400; seed += 7) {
                for (size_t k = 0; k < N_SHAPES; k++) {
                        const struct shape *s = &shapes[k];
                        const struct wire_message_info *info = wire_message_info((uint16_t)s->opcode);
                        struct wire_view view = { 0 };
                        uint32_t request, n = draw() % 4 ? some_items(info) : info->max_items;
                        uint64_t ack;
                        size_t size = make(s, n, &request, &ack);

                        cr_assert(size > 0 && size <= WIRE_MAX_PACKET, "%s", info->name);
                        cr_assert_eq(wire_decode(packet, size, fds_of(info, n), s->direction, &view), WIRE_E_NONE, "%s",
                                     info->name);
                        cr_assert_eq(view.info, info);
                        cr_assert_eq(view.header.request, request);
                        cr_assert_eq(view.header.ack, ack);
                        cr_assert_eq(view.n_items, n);
                        if (info->max_items) {
                                cr_assert_eq(*(const uint32_t *)view.fixed, n);
                                memcpy(source_fixed, &n, sizeof(n));
                        }
                        cr_assert_eq(memcmp(view.fixed, source_fixed, info->fixed_size), 0, "%s", info->name);
                        cr_assert_eq(memcmp(view.items, source_items, (size_t)n * info->item_size), 0, "%s",
                                     info->name);
                }
        }
}

Test(wire, truncated_at_every_length_and_longer)
{
        seed = 2;
        for (size_t k = 0; k < N_SHAPES; k++) {
                const struct wire_message_info *info = wire_message_info((uint16_t)shapes[k].opcode);
                uint32_t request, n = some_items(info);
                uint64_t ack;
                size_t size = make(&shapes[k], n, &request, &ack);
                struct wire_view view;
                unsigned char *exact;

                for (size_t cut = 0; cut < size; cut++) {
                        /* In a block of its own, so that a sanitizer sees a read beyond it. */
                        exact = malloc(cut ? cut : 1);
                        memcpy(exact, packet, cut);
                        cr_assert_eq(wire_decode(exact, cut, fds_of(info, n), shapes[k].direction, &view),
                                     WIRE_E_TOO_SHORT, "%s cut at %zu", info->name, cut);
                        /* The same with a header that agrees with the cut: then the counts do not. */
                        if (cut >= sizeof(struct wire_header)) {
                                ((struct wire_header *)(void *)exact)->size = (uint32_t)cut;
                                cr_assert_eq(wire_decode(exact, cut, fds_of(info, n), shapes[k].direction, &view),
                                             WIRE_E_TOO_SHORT, "%s cut and announced at %zu", info->name, cut);
                        }
                        free(exact);
                }
                packet[size] = 0;
                cr_assert_eq(wire_decode(packet, size + 1, fds_of(info, n), shapes[k].direction, &view),
                             WIRE_E_TOO_LONG);
                ((struct wire_header *)(void *)packet)->size++;
                cr_assert_eq(wire_decode(packet, size + 1, fds_of(info, n), shapes[k].direction, &view),
                             WIRE_E_TOO_LONG);
        }
}

/* Flips each bit of each byte of the reserved fields, and makes each text field wrong in each way. */
static void spoil(const struct shape *s, unsigned char *at, const struct field *fields, uint32_t n_fields, size_t size,
                  unsigned n_fds)
{
        struct wire_view view;

        for (uint32_t i = 0; i < n_fields; at += fields[i].size, i++) {
                if (fields[i].kind == RESERVED) {
                        for (uint32_t bit = 0; bit < fields[i].size * 8; bit++) {
                                at[bit / 8] ^= (unsigned char)(1u << (bit % 8));
                                cr_assert_eq(wire_decode(packet, size, n_fds, s->direction, &view),
                                             WIRE_E_BAD_RESERVED);
                                at[bit / 8] ^= (unsigned char)(1u << (bit % 8));
                        }
                } else if (fields[i].kind == CHARS) {
                        unsigned char saved[256];
                        cr_assert(fields[i].size <= sizeof(saved) && fields[i].size >= 4);
                        memcpy(saved, at, fields[i].size);
                        memset(at, 'x', fields[i].size); /* not terminated */
                        cr_assert_eq(wire_decode(packet, size, n_fds, s->direction, &view), WIRE_E_BAD_TEXT);
                        memset(at, 0, fields[i].size);
                        at[fields[i].size - 1] = 1; /* not zeroes to the end */
                        cr_assert_eq(wire_decode(packet, size, n_fds, s->direction, &view), WIRE_E_BAD_TEXT);
                        memcpy(at, "a\nb", 4);
                        at[fields[i].size - 1] = 0;
                        cr_assert_eq(wire_decode(packet, size, n_fds, s->direction, &view), WIRE_E_BAD_TEXT);
                        memcpy(at, saved, fields[i].size);
                }
        }
        cr_assert_eq(wire_decode(packet, size, n_fds, s->direction, &view), WIRE_E_NONE);
}

Test(wire, every_reserved_bit_and_text)
{
        seed = 3;
        for (size_t k = 0; k < N_SHAPES; k++) {
                const struct wire_message_info *info = wire_message_info((uint16_t)shapes[k].opcode);
                uint32_t request, n = info->max_items < 3 ? info->max_items : 3;
                uint64_t ack;
                size_t size = make(&shapes[k], n, &request, &ack);
                struct wire_header *header = (void *)packet;
                unsigned char *fixed = packet + sizeof(*header);
                struct wire_view view;

                spoil(&shapes[k], fixed, shapes[k].fixed, shapes[k].n_fixed, size, fds_of(info, n));
                for (uint32_t i = 0; i < n; i++)
                        spoil(&shapes[k], fixed + info->fixed_size + (size_t)i * info->item_size, shapes[k].item,
                              shapes[k].n_item, size, fds_of(info, n));
                for (unsigned bit = 0; bit < 48; bit++) {
                        uint16_t low = (uint16_t)(bit < 16 ? 1u << bit : 0);
                        uint32_t high = bit < 16 ? 0 : 1u << (bit - 16);
                        header->reserved ^= low;
                        header->reserved2 ^= high;
                        cr_assert_eq(wire_decode(packet, size, fds_of(info, n), shapes[k].direction, &view),
                                     WIRE_E_BAD_RESERVED);
                        header->reserved ^= low;
                        header->reserved2 ^= high;
                }
        }
}

Test(wire, wrong_direction_and_number_of_fds)
{
        seed = 4;
        for (size_t k = 0; k < N_SHAPES; k++) {
                const struct wire_message_info *info = wire_message_info((uint16_t)shapes[k].opcode);
                uint32_t request, n = some_items(info);
                uint64_t ack;
                size_t size = make(&shapes[k], n, &request, &ack);
                struct wire_view view;

                for (unsigned direction = WIRE_C2D; direction <= WIRE_EVT; direction++)
                        if (direction != shapes[k].direction)
                                cr_assert_eq(wire_decode(packet, size, fds_of(info, n), direction, &view),
                                             WIRE_E_BAD_OPCODE);
                for (unsigned fds = 0; fds <= WIRE_MAX_FDS + 1; fds++)
                        cr_assert_eq(wire_decode(packet, size, fds, shapes[k].direction, &view),
                                     fds == fds_of(info, n) ? WIRE_E_NONE : WIRE_E_BAD_FDS);
        }
}

Test(wire, counts)
{
        struct wire_view view;

        for (size_t k = 0; k < N_SHAPES; k++) {
                const struct wire_message_info *info = wire_message_info((uint16_t)shapes[k].opcode);
                uint32_t request;
                uint64_t ack;
                size_t size;

                seed = 5;
                if (info->max_items == 0) {
                        cr_assert_eq(
                                wire_encode(packet, WIRE_MAX_PACKET, shapes[k].opcode, 0, 0, NULL, source_items, 1), 0);
                        continue;
                }
                cr_assert_eq(make(&shapes[k], info->max_items + 1, &request, &ack), 0);
                size = make(&shapes[k], info->max_items, &request, &ack);
                for (uint32_t wrong = 0; wrong < 4; wrong++) {
                        static const uint32_t counts[] = { UINT32_MAX, 0x80000000u, 0x10000000u };
                        uint32_t n = wrong < 3 ? counts[wrong] : info->max_items + 1;
                        memcpy(packet + sizeof(struct wire_header), &n, sizeof(n));
                        cr_assert_eq(
                                wire_decode(packet, size, fds_of(info, info->max_items), shapes[k].direction, &view),
                                WIRE_E_BAD_COUNT);
                }
                if (info->min_items > 0) {
                        cr_assert_eq(make(&shapes[k], 0, &request, &ack), 0);
                        size = make(&shapes[k], 1, &request, &ack);
                        memset(packet + sizeof(struct wire_header), 0, 4);
                        cr_assert_eq(wire_decode(packet, size, fds_of(info, 1), shapes[k].direction, &view),
                                     WIRE_E_BAD_COUNT);
                }
        }
}

Test(wire, the_last_values_in_their_range)
{
        const struct wire_hello worker = { .version = WIRE_VERSION, .role = WIRE_ROLE_WORKER },
                                admin = { .version = WIRE_VERSION, .role = WIRE_ROLE_ADMIN };
        const struct wire_return refused = { .reason = 1 };
        const struct wire_revoke live = { .level = 2 };
        const struct wire_events_get follow = { .follow = 1 };
        const struct wire_limits deferred = { .deferred = 1 };
        const struct wire_events more = { .more = 1 };
        const struct wire_item_grow optional = { .flags = 1 };
        const struct wire_item_row held = { .held = 1 };
        const struct wire_item_grant flags = { .flags = 3 };
        const uint64_t extent = 1;
        const struct {
                enum wire_opcode opcode;
                enum wire_direction direction;
                const void *fixed, *items;
                uint32_t n_items, fds;
        } cases[] = {
                { WIRE_HELLO, WIRE_C2D, &worker, NULL, 0, 0 },      { WIRE_HELLO, WIRE_C2D, &admin, NULL, 0, 0 },
                { WIRE_RETURN, WIRE_C2D, &refused, &extent, 1, 0 }, { WIRE_REVOKE, WIRE_EVT, &live, NULL, 0, 0 },
                { WIRE_EVENTS_GET, WIRE_C2D, &follow, NULL, 0, 0 }, { WIRE_LIMITS, WIRE_D2C, &deferred, NULL, 0, 0 },
                { WIRE_EVENTS, WIRE_D2C, &more, NULL, 0, 0 },       { WIRE_GROW, WIRE_C2D, NULL, &optional, 1, 0 },
                { WIRE_ROWS, WIRE_C2D, NULL, &held, 1, 0 },         { WIRE_GRANT, WIRE_D2C, NULL, &flags, 1, 1 },
        };
        struct wire_view view;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                size_t size = wire_encode(packet, WIRE_MAX_PACKET, cases[i].opcode, 0, 0, cases[i].fixed,
                                          cases[i].items, cases[i].n_items);

                cr_assert(size > 0);
                cr_expect_eq(wire_decode(packet, size, cases[i].fds, cases[i].direction, &view), WIRE_E_NONE, "%zu", i);
        }
}

Test(wire, values_outside_their_range)
{
        struct wire_view view;
        struct wire_hello hello = { .version = WIRE_VERSION, .role = 3 };
        struct wire_return giving = { .reason = 2 };
        struct wire_revoke revoke = { .level = 3 };
        struct wire_item_grow grow = { .flags = 2 };
        struct wire_item_row row = { .held = 2 };
        struct wire_item_grant grant = { .flags = 4 };
        struct wire_events_get get = { .follow = 2 };
        struct wire_limits limits = { .deferred = 2 };
        struct wire_events events = { .more = 2 };
        uint64_t extent = 1;
        size_t size;

        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_HELLO, 1, 0, &hello, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_C2D, &view), WIRE_E_BAD_VALUE);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_RETURN, 0, 0, &giving, &extent, 1);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_C2D, &view), WIRE_E_BAD_VALUE);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_REVOKE, 0, 0, &revoke, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_EVT, &view), WIRE_E_BAD_VALUE);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_GROW, 1, 0, NULL, &grow, 1);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_C2D, &view), WIRE_E_BAD_RESERVED);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_ROWS, 0, 0, NULL, &row, 1);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_C2D, &view), WIRE_E_BAD_VALUE);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_GRANT, 1, 0, NULL, &grant, 1);
        cr_expect_eq(wire_decode(packet, size, 1, WIRE_D2C, &view), WIRE_E_BAD_RESERVED);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_EVENTS_GET, 1, 0, &get, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_C2D, &view), WIRE_E_BAD_VALUE);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_LIMITS, 1, 0, &limits, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_D2C, &view), WIRE_E_BAD_VALUE);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_EVENTS, 1, 0, &events, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_D2C, &view), WIRE_E_BAD_VALUE);

        /* A request number where there is no request; an acknowledgement from the daemon. */
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_ACK, 7, 0, NULL, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_C2D, &view), WIRE_E_BAD_RESERVED);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_SYNC, 7, 0, NULL, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_EVT, &view), WIRE_E_BAD_RESERVED);
        size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_OK, 7, 1, NULL, NULL, 0);
        cr_expect_eq(wire_decode(packet, size, 0, WIRE_D2C, &view), WIRE_E_BAD_RESERVED);
}

Test(wire, another_version_is_told_apart_whatever_its_size)
{
        struct wire_hello hello = { .version = WIRE_VERSION + 1, .role = 9 };
        struct wire_view view;
        size_t size = wire_encode(packet, WIRE_MAX_PACKET, WIRE_HELLO, 1, 0, &hello, NULL, 0);
        struct wire_header *header = (void *)packet;

        cr_expect_eq(wire_decode(packet, size, 0, WIRE_C2D, &view), WIRE_E_BAD_VERSION);
        memset(packet + size, 0xff, 40);
        header->size = (uint32_t)size + 40;
        cr_expect_eq(wire_decode(packet, size + 40, 0, WIRE_C2D, &view), WIRE_E_BAD_VERSION);
        header->size = sizeof(*header) + 4;
        cr_expect_eq(wire_decode(packet, sizeof(*header) + 4, 0, WIRE_C2D, &view), WIRE_E_BAD_VERSION);
        header->size = sizeof(*header) + 3;
        cr_expect_eq(wire_decode(packet, sizeof(*header) + 3, 0, WIRE_C2D, &view), WIRE_E_TOO_SHORT);
}

Test(wire, opcodes_that_do_not_exist)
{
        struct wire_header header = { .size = sizeof(header) };
        struct wire_view view;

        for (uint32_t opcode = 0; opcode <= UINT16_MAX; opcode++) {
                bool known = false;

                for (size_t k = 0; k < N_SHAPES; k++)
                        known |= shapes[k].opcode == opcode;
                cr_assert_eq(wire_message_info((uint16_t)opcode) != NULL, known);
                if (known)
                        continue;
                header.opcode = (uint16_t)opcode;
                memcpy(packet, &header, sizeof(header));
                for (unsigned direction = WIRE_C2D; direction <= WIRE_EVT; direction++)
                        cr_assert_eq(wire_decode(packet, sizeof(header), 0, direction, &view), WIRE_E_BAD_OPCODE);
                cr_assert_eq(wire_encode(packet, WIRE_MAX_PACKET, opcode, 0, 0, NULL, NULL, 0), 0);
        }
}

Test(wire, encode_does_not_write_beyond_the_capacity)
{
        seed = 6;
        for (size_t k = 0; k < N_SHAPES; k++) {
                const struct wire_message_info *info = wire_message_info((uint16_t)shapes[k].opcode);
                uint32_t request, n = some_items(info);
                uint64_t ack;
                size_t size = make(&shapes[k], n, &request, &ack);

                packet[size] = 0xaa;
                cr_assert_eq(wire_encode(packet, size - 1, shapes[k].opcode, 0, 0, source_fixed, source_items, n), 0);
                cr_assert_eq(wire_encode(packet, size, shapes[k].opcode, request, ack, source_fixed, source_items, n),
                             size);
                cr_assert_eq(packet[size], 0xaa);
        }
}

/* Random damage must never crash, and what is accepted must be safe to read to its end. */
Test(wire, noise)
{
        struct wire_view view;

        for (seed = 1; seed < 100000; seed++) {
                uint64_t start = seed;
                const struct shape *s = &shapes[draw() % N_SHAPES];
                const struct wire_message_info *info = wire_message_info((uint16_t)s->opcode);
                uint32_t request, n = info->max_items ? 1 + draw() % 2 : 0;
                uint64_t ack;
                size_t size = make(s, n, &request, &ack);

                for (uint32_t flips = draw() % 4; flips > 0; flips--)
                        packet[draw() % size] ^= (unsigned char)(1u << (draw() % 8));
                if (wire_decode(packet, size, fds_of(info, n), s->direction, &view) == WIRE_E_NONE)
                        cr_assert_eq((const unsigned char *)view.items + (size_t)view.n_items * view.info->item_size,
                                     packet + size);
                seed = start;
        }
}

Test(wire, names_errors_and_counters)
{
        cr_expect_str_eq(wire_message_info(WIRE_GROW)->name, "GROW");
        cr_expect_eq(wire_message_info(WIRE_GROW)->privilege, WIRE_PRIVILEGE_WORKER);
        cr_expect_eq(wire_message_info(WIRE_STATUS_GET)->privilege, WIRE_PRIVILEGE_ANY);
        cr_expect_eq(wire_message_info(WIRE_TENANT_SET)->privilege, WIRE_PRIVILEGE_OPERATOR);
        for (unsigned code = 0; code < WIRE_E_MAX_; code++) {
                cr_expect(wire_error_name(code) && wire_error_sentence(code));
                cr_expect(code == 0 ? wire_error_errno(code) == 0 : wire_error_errno(code) < 0);
        }
        cr_expect_eq(wire_error_errno(WIRE_E_TENANT_FULL), -EDQUOT);
        cr_expect_eq(wire_error_errno(WIRE_E_MAX_), -EPROTO);
        cr_expect(!wire_error_name(WIRE_E_MAX_) && !wire_error_sentence(WIRE_E_MAX_));
        cr_expect(!wire_counter_name(WIRE_COUNTER_MAX_) && !wire_counter_doc(WIRE_COUNTER_MAX_));
        cr_expect(wire_error_is_fatal(WIRE_E_BAD_ACK));
        cr_expect_not(wire_error_is_fatal(WIRE_E_TENANT_FULL));
        cr_expect_not(wire_error_is_fatal(WIRE_E_MAX_));
        for (unsigned counter = 0; counter < WIRE_COUNTER_MAX_; counter++) {
                cr_expect(wire_counter_name(counter) && wire_counter_doc(counter));
                cr_expect(strlen(wire_counter_name(counter)) < sizeof(((struct wire_item_counter *)0)->name));
        }
        for (unsigned event = 0; event < WIRE_EVENT_MAX_; event++) {
                cr_expect(wire_event_name(event) && wire_event_doc(event));
                cr_expect(strlen(wire_event_name(event)) < sizeof(((struct wire_item_event *)0)->event));
        }
        cr_expect(!wire_event_name(WIRE_EVENT_MAX_) && !wire_event_doc(WIRE_EVENT_MAX_));
}
