/* SPDX-License-Identifier: MIT
 *
 * snapshot.c -- fetches what a command shows, and renders it as JSON.
 *
 * The names of the members are those of the protocol's fields, and stay: programs read them. A field that the protocol
 * gets is a member, without an edit here.
 */
#include "snapshot.h"

#include <string.h>

int ctl_snapshot_fetch(struct ctl_snapshot *snapshot, struct ctl_link *link, unsigned parts)
{
        const struct {
                enum ctl_part part;
                enum wire_opcode ask, reply;
                struct ctl_list *list;
        } lists[] = {
                { CTL_DEVICES, WIRE_LIST_DEVICES, WIRE_DEVICES, &snapshot->devices },
                { CTL_TENANTS, WIRE_LIST_TENANTS, WIRE_TENANTS, &snapshot->tenants },
                { CTL_WORKERS, WIRE_LIST_WORKERS, WIRE_WORKERS, &snapshot->workers },
                { CTL_CACHES, WIRE_LIST_CACHES, WIRE_CACHES, &snapshot->caches },
                { CTL_COUNTERS, WIRE_LIST_COUNTERS, WIRE_COUNTERS, &snapshot->counters },
        };
        struct wire_view view;
        int r;

        if (parts & CTL_STATUS) {
                r = ctl_link_call(link, WIRE_STATUS_GET, NULL, WIRE_STATUS, &view);
                if (r < 0)
                        return r;
                memcpy(&snapshot->status, view.fixed, sizeof(snapshot->status));
        }
        for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
                if (!(parts & lists[i].part))
                        continue;
                r = ctl_link_list(link, lists[i].ask, lists[i].reply, lists[i].list);
                if (r < 0)
                        return r;
        }
        snapshot->parts = parts;
        return 0;
}

void ctl_snapshot_done(struct ctl_snapshot *snapshot)
{
        ctl_list_done(&snapshot->devices);
        ctl_list_done(&snapshot->tenants);
        ctl_list_done(&snapshot->workers);
        ctl_list_done(&snapshot->caches);
        ctl_list_done(&snapshot->counters);
}

static json_t *json_daemon(const struct wire_status *s)
{
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version", ctl_json_text(s->version), "socket",
                         ctl_json_text(s->socket), "config", ctl_json_text(s->config), "pid", ctl_json_number(s->pid),
                         "uptime_usec", ctl_json_number(s->uptime_usec), "waiting_requests",
                         ctl_json_number(s->waiting_requests), "core_bytes", ctl_json_number(s->core_bytes),
                         "counted_usec", ctl_json_number(s->counted_usec));
}

/* An item's fields, under the names that they have in the protocol. Reserved ones are not told. */
#define SET_NUMBER(type, name) r |= json_object_set_new(object, #name, ctl_json_number(fields->name));
#define SET_TEXT(name, size)   r |= json_object_set_new(object, #name, ctl_json_text(fields->name));
#define SET_NONE(type, name)
#define ITEM(tag, list)                                                                                                \
        static json_t *json_##tag(const void *item)                                                                    \
        {                                                                                                              \
                const struct wire_item_##tag *fields = item;                                                           \
                json_t *object = json_object();                                                                        \
                int r = object ? 0 : -1;                                                                               \
                                                                                                                       \
                list(SET_NUMBER, SET_TEXT, SET_NONE);                                                                  \
                if (r == 0)                                                                                            \
                        return object;                                                                                 \
                json_decref(object);                                                                                   \
                return NULL;                                                                                           \
        }
ITEM(device, WIRE_ITEM_DEVICE)
ITEM(tenant, WIRE_ITEM_TENANT)
ITEM(worker, WIRE_ITEM_WORKER)
ITEM(cache, WIRE_ITEM_CACHE)
ITEM(counter, WIRE_ITEM_COUNTER)
ITEM(event, WIRE_ITEM_EVENT)

json_t *ctl_json_event(const struct wire_item_event *event)
{
        return json_event(event);
}

int ctl_json_print(json_t *json, size_t flags, FILE *out, FILE *err)
{
        int r = json ? json_dumpf(json, out, flags | JSON_ENSURE_ASCII) : -1;

        json_decref(json);
        if (r < 0)
                return ferror(out) ? CTL_EXIT_FAILED : ctl_complain(err, "no memory for the answer.");
        (void)fputc('\n', out);
        return CTL_EXIT_OK;
}

static json_t *json_list(const struct ctl_list *list, size_t size, json_t *(*item_json)(const void *item))
{
        json_t *array = json_array();

        for (size_t i = 0; array && i < list->n; i++) {
                if (json_array_append_new(array, item_json((const char *)list->items + i * size)) == 0)
                        continue;
                json_decref(array);
                return NULL;
        }
        return array;
}

json_t *ctl_snapshot_json(const struct ctl_snapshot *snapshot)
{
        json_t *all = json_object();
        int r = 0;

        if (!all)
                return NULL;
        if (snapshot->parts & CTL_STATUS)
                r |= json_object_set_new(all, "daemon", json_daemon(&snapshot->status));
        if (snapshot->parts & CTL_DEVICES)
                r |= json_object_set_new(all, "devices",
                                         json_list(&snapshot->devices, sizeof(struct wire_item_device), json_device));
        if (snapshot->parts & CTL_TENANTS)
                r |= json_object_set_new(all, "tenants",
                                         json_list(&snapshot->tenants, sizeof(struct wire_item_tenant), json_tenant));
        if (snapshot->parts & CTL_WORKERS)
                r |= json_object_set_new(all, "workers",
                                         json_list(&snapshot->workers, sizeof(struct wire_item_worker), json_worker));
        if (snapshot->parts & CTL_CACHES)
                r |= json_object_set_new(all, "caches",
                                         json_list(&snapshot->caches, sizeof(struct wire_item_cache), json_cache));
        if (snapshot->parts & CTL_COUNTERS)
                r |= json_object_set_new(
                        all, "counters",
                        json_list(&snapshot->counters, sizeof(struct wire_item_counter), json_counter));
        if (r < 0) {
                json_decref(all);
                return NULL;
        }
        return all;
}
