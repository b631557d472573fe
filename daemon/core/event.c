/* SPDX-License-Identifier: MIT
 *
 * event.c -- the serialised form of events: the struct itself, cut to its type's size.
 */
#include "event.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the serialised form of events is little-endian"
#endif

#define HEADER offsetof(struct core_event, device_add)

static const uint16_t body_size[CORE_EV_MAX_] = {
        [CORE_EV_TICK] = 0,
        [CORE_EV_DEVICE_ADD] = sizeof(struct core_ev_device_add),
        [CORE_EV_TENANT_SET] = sizeof(struct core_ev_tenant_set),
        [CORE_EV_TENANT_REMOVE] = sizeof(struct core_ev_tenant_remove),
        [CORE_EV_WORKER_ADD] = sizeof(struct core_ev_worker_add),
        [CORE_EV_WORKER_GONE] = sizeof(struct core_ev_worker),
        [CORE_EV_CACHE_CREATE] = offsetof(struct core_ev_cache_create, classes),
        [CORE_EV_CACHE_DESTROY] = sizeof(struct core_ev_cache_destroy),
        [CORE_EV_GROW] = sizeof(struct core_ev_grow),
        [CORE_EV_ACK] = sizeof(struct core_ev_ack),
        [CORE_EV_RETURN] = sizeof(struct core_ev_return),
        [CORE_EV_ROW] = sizeof(struct core_ev_row),
        [CORE_EV_REVOKED] = sizeof(struct core_ev_revoked),
        [CORE_EV_CREATED] = sizeof(struct core_ev_device_done),
        [CORE_EV_DESTROYED] = sizeof(struct core_ev_device_done),
        [CORE_EV_DEVICE_MISSING] = sizeof(struct core_ev_device_missing),
        [CORE_EV_SUSPECT] = sizeof(struct core_ev_suspect),
        [CORE_EV_WORKER_ATTACH] = sizeof(struct core_ev_worker_attach),
};

/* No padding that the compiler put in: a log of structs is a log of fields. */
_Static_assert(HEADER == 16, "event header");
_Static_assert(sizeof(struct core_ev_device_add) == 16, "device_add");
_Static_assert(sizeof(struct core_ev_tenant_set) == 56 + CORE_NAME_MAX, "tenant_set");
_Static_assert(sizeof(struct core_ev_worker_add) == 24, "worker_add");
_Static_assert(sizeof(struct core_ev_cache_create) == 24 + CORE_MAX_CLASSES * 16, "cache_create");
_Static_assert(sizeof(struct core_ev_cache_destroy) == 16, "cache_destroy");
_Static_assert(sizeof(struct core_ev_grow) == 48, "grow");
_Static_assert(sizeof(struct core_ev_ack) == 16, "ack");
_Static_assert(sizeof(struct core_ev_return) == 16, "return");
_Static_assert(sizeof(struct core_ev_row) == 16, "row");
_Static_assert(sizeof(struct core_ev_device_done) == 16, "device_done");

size_t core_event_size(const struct core_event *event)
{
        size_t size;

        if (event->type == 0 || event->type >= CORE_EV_MAX_)
                return 0;
        size = HEADER + body_size[event->type];
        if (event->type == CORE_EV_CACHE_CREATE) {
                if (event->cache_create.n_classes > CORE_MAX_CLASSES)
                        return 0;
                size += event->cache_create.n_classes * sizeof(struct core_plane_class);
        }
        return size;
}

void core_event_init(struct core_event *event, enum core_event_type type, uint64_t now_usec)
{
        memset(event, 0, HEADER + body_size[type]);
        event->type = (uint16_t)type;
        event->size = (uint16_t)core_event_size(event);
        event->now_usec = now_usec;
}

size_t core_event_encode(const struct core_event *event, void *buffer, size_t capacity)
{
        const size_t size = core_event_size(event);

        if (size == 0 || size > capacity)
                return 0;
        memcpy(buffer, event, size);
        return size;
}

static int reserved_is_zero(const struct core_event *event)
{
        if (event->reserved != 0)
                return 0;
        switch ((enum core_event_type)event->type) {
        case CORE_EV_TENANT_SET:
                return event->tenant_set.reserved == 0;
        case CORE_EV_TENANT_REMOVE:
                return event->tenant_remove.reserved == 0;
        case CORE_EV_WORKER_GONE:
                return event->worker_gone.reserved == 0;
        case CORE_EV_CACHE_CREATE:
                for (uint32_t i = 0; i < event->cache_create.n_classes; i++)
                        if (event->cache_create.classes[i].reserved != 0)
                                return 0;
                return event->cache_create.reserved == 0;
        case CORE_EV_CACHE_DESTROY:
                return event->cache_destroy.reserved == 0;
        case CORE_EV_ACK:
                return event->ack.reserved == 0;
        case CORE_EV_CREATED:
        case CORE_EV_DESTROYED:
                return event->created.reserved == 0;
        case CORE_EV_TICK:
        case CORE_EV_DEVICE_ADD:
        case CORE_EV_GROW:
        case CORE_EV_DEVICE_MISSING:
        case CORE_EV_SUSPECT:
        case CORE_EV_WORKER_ADD:
        case CORE_EV_RETURN:
        case CORE_EV_ROW:
        case CORE_EV_REVOKED:
        case CORE_EV_WORKER_ATTACH:
        case CORE_EV_MAX_:
                break;
        }
        return 1;
}

size_t core_event_decode(const void *buffer, size_t size, struct core_event *ret)
{
        struct core_event event;
        size_t want;

        if (size < HEADER)
                return 0;
        memcpy(&event, buffer, HEADER);
        if (event.type == 0 || event.type >= CORE_EV_MAX_ || event.size > size || event.size > sizeof event ||
            event.size < HEADER + body_size[event.type])
                return 0;
        memcpy(&event, buffer, event.size);
        want = core_event_size(&event);
        if (want == 0 || want != event.size || !reserved_is_zero(&event))
                return 0;
        memcpy(ret, &event, want);
        return want;
}
