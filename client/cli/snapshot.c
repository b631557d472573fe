/* SPDX-License-Identifier: MIT
 *
 * snapshot.c -- fetches what a command shows, and renders it as JSON.
 *
 * The names of the members are those of the protocol's fields, and stay: programs read them.
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

/* JSON has no unsigned 64 bits in jansson: what does not fit (a limit that is not set) is null. */
static json_t *json_number(uint64_t value)
{
        return value <= INT64_MAX ? json_integer((json_int_t)value) : json_null();
}

/* JSON is UTF-8, a path on Linux is bytes: those that are not UTF-8 lose what is beyond ASCII. */
static json_t *json_text(const char *text)
{
        json_t *string = json_string(text);
        char ascii[512];
        size_t n = 0;

        if (string)
                return string;
        for (; text[n] && n + 1 < sizeof(ascii); n++)
                ascii[n] = (char)((unsigned char)text[n] < 0x80 ? text[n] : '?');
        ascii[n] = 0;
        return json_string(ascii);
}

static json_t *json_daemon(const struct wire_status *s)
{
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version", json_text(s->version), "socket",
                         json_text(s->socket), "config", json_text(s->config), "pid", json_number(s->pid),
                         "uptime_usec", json_number(s->uptime_usec), "waiting_requests",
                         json_number(s->waiting_requests), "core_bytes", json_number(s->core_bytes));
}

static json_t *json_device(const void *item)
{
        const struct wire_item_device *d = item;

        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", json_text(d->name), "backend",
                         json_text(d->backend), "uuid", json_text(d->uuid), "page_size", json_number(d->page_size),
                         "capacity_bytes", json_number(d->capacity_bytes), "allocated_bytes",
                         json_number(d->allocated_bytes), "virgin_bytes", json_number(d->virgin_bytes), "missing_bytes",
                         json_number(d->missing_bytes));
}

static json_t *json_tenant(const void *item)
{
        const struct wire_item_tenant *t = item;

        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", json_text(t->name),
                         "current_bytes", json_number(t->current_bytes), "live_bytes", json_number(t->live_bytes),
                         "idle_bytes", json_number(t->idle_bytes), "min_bytes", json_number(t->min_bytes), "low_bytes",
                         json_number(t->low_bytes), "high_bytes", json_number(t->high_bytes), "max_bytes",
                         json_number(t->max_bytes), "weight", json_number(t->weight), "workers",
                         json_number(t->workers));
}

static json_t *json_worker(const void *item)
{
        const struct wire_item_worker *w = item;

        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pid", json_number(w->pid), "tenant",
                         json_text(w->tenant), "uid", json_number(w->uid), "current_bytes",
                         json_number(w->current_bytes), "live_bytes", json_number(w->live_bytes), "idle_bytes",
                         json_number(w->idle_bytes), "unacknowledged_bytes", json_number(w->unacknowledged_bytes),
                         "worker", json_number(w->worker), "caches", json_number(w->caches));
}

static json_t *json_cache(const void *item)
{
        const struct wire_item_cache *c = item;

        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pid", json_number(c->pid), "tenant",
                         json_text(c->tenant), "worker", json_number(c->worker), "cache", json_number(c->cache),
                         "virtual_bytes", json_number(c->virtual_bytes), "live_bytes", json_number(c->live_bytes),
                         "idle_bytes", json_number(c->idle_bytes), "rows", json_number(c->rows), "held_rows",
                         json_number(c->held_rows), "planes", json_number(c->planes));
}

static json_t *json_counter(const void *item)
{
        const struct wire_item_counter *c = item;

        return json_pack("{s:o, s:o}", "name", json_text(c->name), "value", json_number(c->value));
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
