/* SPDX-License-Identifier: MIT
 *
 * answer.c -- messages that only ask: what there is and how it stands.
 *
 * A list is told in pages. The cursor is the index to go on from, so a list that changes meanwhile never repeats an
 * entry.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"

/* Writes entry `index` of a list; false: there is none (a gap). */
typedef bool answer_entry_fn(struct daemon *d, uint32_t index, void *ret_item);

static bool answer_device(struct daemon *d, uint32_t index, void *ret_item)
{
        struct wire_item_device *item = ret_item;
        const struct store_device *device;
        struct core_device_info info;

        if (!core_device_info(d->core, index, &info))
                return false;
        device = &d->store.devices[index];
        *item = (struct wire_item_device){ .page_size = info.page_bytes,
                                           .capacity_bytes = info.capacity_bytes,
                                           .allocated_bytes = info.allocated_bytes,
                                           .virgin_bytes = info.virgin_bytes,
                                           .missing_bytes = info.missing_bytes };
        memcpy(item->name, device->name, sizeof(item->name));
        memcpy(item->backend, device->info.backend, sizeof(item->backend));
        memcpy(item->uuid, device->info.uuid, sizeof(item->uuid));
        return true;
}

static bool answer_tenant(struct daemon *d, uint32_t index, void *ret_item)
{
        struct wire_item_tenant *item = ret_item;
        struct core_tenant_info info;

        if (!core_tenant_info(d->core, index, &info))
                return false;
        *item = (struct wire_item_tenant){ .current_bytes = info.current_bytes,
                                           .live_bytes = info.live_bytes,
                                           .idle_bytes = info.idle_bytes,
                                           .min_bytes = info.min_bytes,
                                           .low_bytes = info.low_bytes,
                                           .high_bytes = info.high_bytes,
                                           .max_bytes = info.max_bytes,
                                           .reclaim_deadline_usec = info.reclaim_deadline_usec,
                                           .extents_granted = info.extents_granted,
                                           .pages_granted = info.pages_granted,
                                           .requests = info.requests,
                                           .requests_waited = info.requests_waited,
                                           .requests_failed = info.requests_failed,
                                           .wait_usec = info.wait_usec,
                                           .stall_usec = info.stall_usec,
                                           .revokes = info.revokes,
                                           .pages_revoked = info.pages_revoked,
                                           .revokes_overdue = info.revokes_overdue,
                                           .unbrokered_bytes = d->observe.tenants[index],
                                           .waiting = info.waiting,
                                           .overdue = info.overdue,
                                           .kills = info.on_overdue == CORE_OVERDUE_KILL,
                                           .workers = info.workers,
                                           .weight = info.weight };
        memcpy(item->name, info.name, sizeof(item->name));
        return true;
}

static bool answer_worker(struct daemon *d, uint32_t index, void *ret_item)
{
        struct wire_item_worker *item = ret_item;
        struct core_worker_info info;
        struct core_tenant_info tenant;

        if (!core_worker_info(d->core, index, &info))
                return false;
        *item = (struct wire_item_worker){ .pid = info.pid,
                                           .current_bytes = info.current_bytes,
                                           .live_bytes = info.live_bytes,
                                           .idle_bytes = info.idle_bytes,
                                           .unacknowledged_bytes = info.unacknowledged_bytes,
                                           .worker = info.worker,
                                           .caches = info.caches,
                                           .uid = info.uid,
                                           .overdue = info.overdue };
        if (core_tenant_info(d->core, info.tenant, &tenant))
                memcpy(item->tenant, tenant.name, sizeof(item->tenant));
        return true;
}

static bool answer_cache(struct daemon *d, uint32_t index, void *ret_item)
{
        struct wire_item_cache *item = ret_item;
        struct core_worker_info worker;
        struct core_tenant_info tenant;
        struct core_cache_info info;

        if (!core_cache_info(d->core, index, &info))
                return false;
        *item = (struct wire_item_cache){ .virtual_bytes = info.virtual_bytes,
                                          .live_bytes = info.live_bytes,
                                          .idle_bytes = info.idle_bytes,
                                          .cache = info.cache,
                                          .worker = info.worker,
                                          .rows = info.rows,
                                          .held_rows = info.held_rows,
                                          .planes = info.planes };
        if (core_worker_info(d->core, info.worker & 0xffffu, &worker) &&
            worker.worker == info.worker) { /* who may have no connection */
                item->pid = worker.pid;
                if (core_tenant_info(d->core, worker.tenant, &tenant))
                        memcpy(item->tenant, tenant.name, sizeof(item->tenant));
        }
        return true;
}

/* Where each counter is kept: the core's in the order of enum core_counter, which is the table's. */
static uint64_t answer_counter_value(const struct daemon *d, enum wire_counter counter)
{
        static const int core_counters[WIRE_COUNTER_MAX_] = {
#define INDEX_CORE(name)    WIRE_COUNTER_##name + 1
#define INDEX_SHELL(name)   0
#define X(name, owner, doc) [WIRE_COUNTER_##name] = INDEX_##owner(name),
                WIRE_COUNTERS(X)
#undef X
        };
        uint64_t value = d->counters[counter];

        if (core_counters[counter])
                return core_counter(d->core, (enum core_counter)(core_counters[counter] - 1));
        /* What living peers were sent is still in their outboxes. */
        for (uint32_t i = 0; i < d->max_peers; i++)
                if (d->peers[i] && counter == WIRE_COUNTER_messages_sent)
                        value += d->peers[i]->outbox.n_sent;
                else if (d->peers[i] && counter == WIRE_COUNTER_fds_sent)
                        value += d->peers[i]->outbox.n_fds_sent;
        return value;
}
_Static_assert((int)CORE_COUNT_EXTENTS_CREATED == (int)WIRE_COUNTER_extents_created, "the core's counters come first");
_Static_assert((int)CORE_COUNT_REQUESTS_TIMED_OUT == (int)WIRE_COUNTER_requests_timed_out, "in the same order");
_Static_assert((int)CORE_COUNT_WORKERS_GONE == (int)WIRE_COUNTER_workers_gone, "up to the last");
_Static_assert((int)CORE_COUNT_MAX_ == (int)WIRE_COUNTER_connections_accepted, "and the shell's follow");

static bool answer_counter(struct daemon *d, uint32_t index, void *ret_item)
{
        struct wire_item_counter *item = ret_item;

        if (index >= WIRE_COUNTER_MAX_)
                return false;
        *item = (struct wire_item_counter){ .value = answer_counter_value(d, (enum wire_counter)index) };
        (void)snprintf(item->name, sizeof(item->name), "%s", wire_counter_name((enum wire_counter)index));
        return true;
}

static void answer_list(struct peer *peer, const struct wire_view *view, enum wire_opcode reply, uint32_t end,
                        answer_entry_fn *entry)
{
        const struct wire_list *list = view->fixed;
        const struct wire_message_info *info = wire_message_info((uint16_t)reply);
        struct wire_page_of_list page = { 0 };
        _Alignas(8) unsigned char items[WIRE_MAX_PACKET];
        uint32_t n = 0, i = list->cursor;

        for (; i < end && n < info->max_items; i++)
                n += entry(peer->daemon, i, items + (size_t)n * info->item_size);
        page.next_cursor = i < end ? i : 0;
        peer_send(peer, reply, view->header.request, &page, items, n, -1);
}

/* While a request waits an account runs, so the core has to know what time it is. */
static void answer_tenants(struct peer *peer, const struct wire_view *view)
{
        struct daemon *d = peer->daemon;
        struct core_event event;

        core_event_init(&event, CORE_EV_TICK, daemon_now_usec());
        daemon_event(d, &event);
        answer_list(peer, view, WIRE_TENANTS, core_tenant_slots(d->core), answer_tenant);
}

static void answer_device_get(struct peer *peer, const struct wire_view *view)
{
        const struct wire_device_get *get = view->fixed;
        struct wire_item_device item;
        struct wire_device device;
        char detail[48];

        if (!answer_device(peer->daemon, get->device, &item)) {
                (void)snprintf(detail, sizeof(detail), "%" PRIu32, get->device);
                peer_send_error(peer, view->header.request, WIRE_E_NO_DEVICE, detail);
                return;
        }
        device = (struct wire_device){ .page_size = item.page_size, .capacity_bytes = item.capacity_bytes };
        memcpy(device.name, item.name, sizeof(device.name));
        memcpy(device.backend, item.backend, sizeof(device.backend));
        memcpy(device.uuid, item.uuid, sizeof(device.uuid));
        peer_send(peer, WIRE_DEVICE, view->header.request, &device, NULL, 0, -1);
}

static void answer_status(struct peer *peer, const struct wire_view *view)
{
        const struct daemon *d = peer->daemon;
        const uint64_t now = daemon_now_usec();
        struct wire_status status = {
                .pid = (uint64_t)getpid(),
                .uptime_usec = now - d->start_usec,
                .counted_usec = now - recover_began_usec(d),
                .devices = core_n_devices(d->core),
                .tenants = core_n_tenants(d->core),
                .workers = core_n_workers(d->core),
                .caches = core_n_caches(d->core),
                .waiting_requests = core_n_waiting(d->core),
                .core_bytes = core_used_bytes(d->core),
                .version = KVPAGER_VERSION,
        };

        (void)snprintf(status.socket, sizeof(status.socket), "%s", d->listener.path);
        (void)snprintf(status.config, sizeof(status.config), "%s", d->config_path);
        wire_text_clean(status.socket);
        wire_text_clean(status.config);
        peer_send(peer, WIRE_STATUS, view->header.request, &status, NULL, 0, -1);
}

/* The proof walks every table, so it is not for everybody. */
static void answer_check(struct peer *peer, const struct wire_view *view)
{
        struct wire_checked checked = { 0 };

        if (peer->uid != 0 && peer->uid != geteuid()) {
                peer_send_error(peer, view->header.request, WIRE_E_NO_PRIVILEGE,
                                "CHECK is for root and the daemon's own user");
                return;
        }
        checked.status = core_check(peer->daemon->core, checked.text, sizeof(checked.text));
        if (checked.status == 0)
                memset(checked.text, 0, sizeof(checked.text));
        peer_send(peer, WIRE_CHECKED, view->header.request, &checked, NULL, 0, -1);
}

void answer_query(struct peer *peer, const struct wire_view *view)
{
        const struct core *core = peer->daemon->core;
        enum wire_opcode opcode = (enum wire_opcode)view->info->opcode;

        if (opcode == WIRE_DEVICE_GET)
                answer_device_get(peer, view);
        else if (opcode == WIRE_LIST_DEVICES)
                answer_list(peer, view, WIRE_DEVICES, core_n_devices(core), answer_device);
        else if (opcode == WIRE_LIST_TENANTS)
                answer_tenants(peer, view);
        else if (opcode == WIRE_LIST_WORKERS)
                answer_list(peer, view, WIRE_WORKERS, core_worker_slots(core), answer_worker);
        else if (opcode == WIRE_LIST_CACHES)
                answer_list(peer, view, WIRE_CACHES, core_cache_slots(core), answer_cache);
        else if (opcode == WIRE_LIST_COUNTERS)
                answer_list(peer, view, WIRE_COUNTERS, WIRE_COUNTER_MAX_, answer_counter);
        else if (opcode == WIRE_STATUS_GET)
                answer_status(peer, view);
        else if (opcode == WIRE_SETTLED && core_is_quiet(core))
                peer_send(peer, WIRE_OK, view->header.request, NULL, NULL, 0, -1);
        else if (opcode == WIRE_SETTLED)
                peer_send_error(peer, view->header.request, WIRE_E_UNSETTLED, NULL);
        else if (opcode == WIRE_CHECK)
                answer_check(peer, view);
        else
                assert(false); /* the codec knows no other message from a client */
}
