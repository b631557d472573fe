/* SPDX-License-Identifier: MIT
 *
 * test-core-event.c -- the serialised form of events: there and back for every type, and nothing else is taken.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "event.h"
#include "random.h"

/* Reserved fields, as offsets into the event. */
#define RESERVED(member) offsetof(struct core_event, member.reserved)

static size_t reserved_field(enum core_event_type type)
{
        switch (type) {
        case CORE_EV_TENANT_SET:
                return RESERVED(tenant_set);
        case CORE_EV_TENANT_REMOVE:
                return RESERVED(tenant_remove);
        case CORE_EV_WORKER_GONE:
                return RESERVED(worker_gone);
        case CORE_EV_CACHE_CREATE:
                return RESERVED(cache_create);
        case CORE_EV_CACHE_DESTROY:
                return RESERVED(cache_destroy);
        case CORE_EV_ACK:
                return RESERVED(ack);
        case CORE_EV_CREATED:
                return RESERVED(created);
        case CORE_EV_DESTROYED:
                return RESERVED(destroyed);
        case CORE_EV_TICK:
        case CORE_EV_DEVICE_ADD:
        case CORE_EV_GROW:
        case CORE_EV_DEVICE_MISSING:
        case CORE_EV_SUSPECT:
        case CORE_EV_WORKER_ATTACH:
        case CORE_EV_WORKER_ADD:
        case CORE_EV_RETURN:
        case CORE_EV_ROW:
        case CORE_EV_REVOKED:
        case CORE_EV_MAX_:
                break;
        }
        return 0;
}

/* An event of that type with random contents. */
static void fill(struct core_event *event, enum core_event_type type, uint32_t n_classes, struct random *random)
{
        uint8_t *body = (uint8_t *)event + offsetof(struct core_event, device_add);
        size_t field = reserved_field(type);

        core_event_init(event, type, random_next(random));
        if (type == CORE_EV_CACHE_CREATE) {
                event->cache_create.n_classes = n_classes;
                event->size = (uint16_t)core_event_size(event);
        }
        for (size_t i = 0; i < event->size - offsetof(struct core_event, device_add); i++)
                body[i] = (uint8_t)random_next(random);
        if (field)
                memset((uint8_t *)event + field, 0, sizeof(uint32_t));
        if (type != CORE_EV_CACHE_CREATE)
                return;
        event->cache_create.n_classes = n_classes;
        for (uint32_t i = 0; i < n_classes; i++)
                event->cache_create.classes[i].reserved = 0;
}

Test(core_event, comes_back_as_it_went)
{
        uint8_t buffer[sizeof(struct core_event) + 8];
        struct core_event event, back;
        struct random random;

        random_seed(&random, 1);
        for (int type = 1; type < CORE_EV_MAX_; type++)
                for (uint32_t n = 0; n <= CORE_MAX_CLASSES; n += type == CORE_EV_CACHE_CREATE ? 1 : 65) {
                        fill(&event, (enum core_event_type)type, n, &random);
                        cr_assert_eq(core_event_size(&event), event.size);
                        cr_assert_eq(core_event_encode(&event, buffer, sizeof(buffer)), event.size);
                        cr_assert_eq(core_event_decode(buffer, sizeof(buffer), &back), event.size, "type %d", type);
                        cr_assert_eq(memcmp(&event, &back, event.size), 0);
                        cr_assert_eq(core_event_decode(buffer, event.size, &back), event.size);
                }
}

Test(core_event, is_written_whole_or_not_at_all)
{
        uint8_t buffer[sizeof(struct core_event)];
        struct core_event event;
        struct random random;

        random_seed(&random, 2);
        for (int type = 1; type < CORE_EV_MAX_; type++) {
                fill(&event, (enum core_event_type)type, 3, &random);
                memset(buffer, 0x77, sizeof(buffer));
                for (size_t capacity = 0; capacity < event.size; capacity++)
                        cr_assert_eq(core_event_encode(&event, buffer, capacity), 0);
                for (size_t i = 0; i < sizeof(buffer); i++)
                        cr_assert_eq(buffer[i], 0x77);
        }
}

Test(core_event, cut_short_is_refused_and_touches_nothing)
{
        uint8_t buffer[sizeof(struct core_event)];
        struct core_event event, back;
        struct random random;

        random_seed(&random, 3);
        memset(&back, 0x33, sizeof(back));
        for (int type = 1; type < CORE_EV_MAX_; type++) {
                fill(&event, (enum core_event_type)type, 2, &random);
                core_event_encode(&event, buffer, sizeof(buffer));
                for (size_t size = 0; size < event.size; size++)
                        cr_assert_eq(core_event_decode(buffer, size, &back), 0, "type %d, %zu bytes", type, size);
        }
        for (size_t i = 0; i < sizeof(back); i++)
                cr_assert_eq(((uint8_t *)&back)[i], 0x33);
}

Test(core_event, of_a_wrong_size_or_an_unknown_type_is_refused)
{
        uint8_t buffer[sizeof(struct core_event) + 64];
        struct core_event event, back;
        struct random random;
        uint16_t size;

        random_seed(&random, 4);
        memset(buffer, 0, sizeof(buffer));
        for (int type = 1; type < CORE_EV_MAX_; type++) {
                fill(&event, (enum core_event_type)type, 2, &random);
                size = event.size;
                for (int wrong = 0; wrong <= UINT16_MAX; wrong++) {
                        event.size = (uint16_t)wrong;
                        memcpy(buffer, &event, sizeof(event));
                        cr_assert_eq(core_event_decode(buffer, sizeof(buffer), &back), wrong == size ? size : 0u);
                }
        }
        core_event_init(&event, CORE_EV_TICK, 1);
        for (uint32_t type = 0; type <= UINT16_MAX; type++) {
                if (type > 0 && type < CORE_EV_MAX_)
                        continue;
                event.type = (uint16_t)type;
                cr_assert_eq(core_event_size(&event), 0);
                cr_assert_eq(core_event_encode(&event, buffer, sizeof(buffer)), 0);
                memcpy(buffer, &event, event.size);
                cr_assert_eq(core_event_decode(buffer, sizeof(buffer), &back), 0);
        }
}

Test(core_event, with_reserved_bits_is_refused)
{
        uint8_t buffer[sizeof(struct core_event)];
        struct core_event event, back;
        struct random random;

        random_seed(&random, 5);
        for (int type = 1; type < CORE_EV_MAX_; type++) {
                size_t fields[] = { offsetof(struct core_event, reserved), reserved_field((enum core_event_type)type),
                                    offsetof(struct core_event, cache_create.classes[1].reserved) };
                size_t n = type == CORE_EV_CACHE_CREATE ? 3 : fields[1] ? 2 : 1;

                for (size_t i = 0; i < n; i++)
                        for (unsigned bit = 0; bit < 32; bit++) {
                                fill(&event, (enum core_event_type)type, 2, &random);
                                memcpy(buffer, &event, sizeof(event));
                                buffer[fields[i] + bit / 8] |= (uint8_t)(1u << bit % 8);
                                cr_assert_eq(core_event_decode(buffer, event.size, &back), 0, "type %d, field %zu",
                                             type, i);
                        }
        }
}

Test(core_event, of_a_cache_with_too_many_classes_has_no_size)
{
        uint8_t buffer[sizeof(struct core_event) + 64] = { 0 };
        struct core_event event, back;

        core_event_init(&event, CORE_EV_CACHE_CREATE, 1);
        for (uint32_t n = CORE_MAX_CLASSES + 1; n < CORE_MAX_CLASSES + 70; n++) {
                event.cache_create.n_classes = n;
                cr_assert_eq(core_event_size(&event), 0);
                cr_assert_eq(core_event_encode(&event, buffer, sizeof(buffer)), 0);
                event.size = (uint16_t)(offsetof(struct core_event, cache_create.classes) +
                                        n * sizeof(struct core_plane_class));
                memcpy(buffer, &event, offsetof(struct core_event, cache_create.classes));
                cr_assert_eq(core_event_decode(buffer, sizeof(buffer), &back), 0);
        }
        event.cache_create.n_classes = UINT32_MAX; /* as a product it would overflow to a small size */
        cr_assert_eq(core_event_size(&event), 0);
}

Test(core_event, starts_as_zeroes)
{
        struct core_event event;

        for (int type = 1; type < CORE_EV_MAX_; type++) {
                memset(&event, 0xff, sizeof(event));
                core_event_init(&event, (enum core_event_type)type, 7);
                cr_assert_eq(event.type, type);
                cr_assert_eq(event.now_usec, 7);
                cr_assert_eq(event.reserved, 0);
                cr_assert_eq(event.size, core_event_size(&event));
                for (size_t i = offsetof(struct core_event, device_add); i < event.size; i++)
                        cr_assert_eq(((uint8_t *)&event)[i], 0);
        }
}
