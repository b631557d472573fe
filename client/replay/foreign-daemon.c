/* SPDX-License-Identifier: MIT
 *
 * foreign-daemon.c -- see foreign-daemon.h. What a worker's library does not tell is asked as kvpagerctl asks it.
 */
#include "foreign-daemon.h"

#include <assert.h>
#include <errno.h>
#include <kvpager.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "link.h"
#include "number.h"

static void cleanup_connection(struct kvp_conn **connection)
{
        kvp_disconnect(*connection);
}

static const struct wire_item_tenant *tenant_find(const struct wire_item_tenant *tenants, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(tenants[i].name, name) == 0)
                        return &tenants[i];
        return NULL;
}

uint64_t foreign_daemon_limit(const struct wire_item_tenant *tenants, size_t n, const char *name, uint64_t capacity,
                              uint64_t page_size)
{
        const struct wire_item_tenant *tenant = tenant_find(tenants, n, name);
        uint64_t left = capacity;

        for (size_t i = 0; i < n; i++) {
                const uint64_t min = size_round_up(tenants[i].min_bytes, page_size);

                if (&tenants[i] != tenant)
                        left -= min < left ? min : left;
        }
        return tenant && tenant->max_bytes < left ? tenant->max_bytes : left;
}

/* All tenants, as kvpagerctl sees them. */
static int tenants_list(struct ctl_list *ret_list, struct complaint *complaint)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        char path[256];
        int r;

        r = ctl_link_open(&link, ctl_link_default_path(path, sizeof(path)), CTL_TIMEOUT_USEC);
        if (r >= 0)
                r = ctl_link_list(&link, WIRE_LIST_TENANTS, WIRE_TENANTS, ret_list);
        return r < 0 ? complain(complaint, r, "%.400s", ctl_link_why(&link)) : 0;
}

/* Whether the daemon has a tenant of that name that takes us. One that it does not have is not asked for, so that the
 * daemon has no refusal to report. */
static bool tenant_takes_us(const struct ctl_list *list, const char *name)
{
        _cleanup_(cleanup_connection) struct kvp_conn *connection = NULL;

        return tenant_find(list->items, list->n, name) &&
               kvp_connect(&(struct kvp_connect_options){ .size = sizeof(struct kvp_connect_options), .tenant = name },
                           &connection) >= 0;
}

int foreign_daemon_ask(const char (*names)[16], uint32_t n, struct foreign_daemon *ret_daemon, uint64_t *ret_limits,
                       struct complaint *complaint)
{
        _cleanup_(cleanup_connection) struct kvp_conn *connection = NULL;
        _cleanup_(ctl_list_done) struct ctl_list list = { 0 };
        struct kvp_device_info device = { .size = sizeof(device) };
        struct foreign_daemon daemon = { .named = true };
        int r;

        assert(names && n > 0);
        assert(ret_daemon && ret_limits);

        r = kvp_connect(&(struct kvp_connect_options){ .size = sizeof(struct kvp_connect_options) }, &connection);
        if (r < 0)
                return complain(complaint, r, "cannot connect to kvpagerd at %s: %s", getenv("KVPAGER_SOCKET"),
                                strerror(-r));
        r = kvp_device_info(connection, 0, &device);
        if (r < 0)
                return complain(complaint, r, "kvp_device_info: %s", strerror(-r));
        r = tenants_list(&list, complaint);
        if (r < 0)
                return r;
        daemon.page_size = device.page_size;
        daemon.capacity = device.capacity;
        for (uint32_t i = 0; i < n && daemon.named; i++)
                daemon.named = tenant_takes_us(&list, names[i]);
        for (uint32_t i = 0; i < n; i++)
                ret_limits[i] = foreign_daemon_limit(list.items, list.n,
                                                     daemon.named ? names[i] : kvp_tenant(connection), device.capacity,
                                                     device.page_size);
        *ret_daemon = daemon;
        return 0;
}
