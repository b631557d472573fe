/* SPDX-License-Identifier: MIT
 *
 * operate.c -- what operators may do: change a tenant, have the configuration read again, see what happens.
 *
 * Operators are root, the user that the daemon runs as (who could do as he likes with it anyway) and the group kvpager,
 * by the credentials with which they connected. Who is in a container is none: root may be root there without being
 * ours to trust, and groups are what its image says. A change is one of the configuration in memory: it is checked by
 * the same rules, takes effect the same way, and is gone when the file is read again.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "identity.h"
#include "log.h"

static bool operate_is_allowed(const struct peer *peer)
{
        const struct daemon *d = peer->daemon;
        struct identity identity;
        bool contained;

        if (peer->state != PEER_ADMIN || identity_contained(peer->fd, peer->pid, peer->accepted, &contained) < 0 ||
            contained)
                return false;
        if (peer->uid == 0 || peer->uid == geteuid())
                return true;
        return d->operators != (gid_t)-1 && identity_of_socket(peer->fd, &identity) == 0 &&
               identity_has_group(&identity, d->operators);
}

/* The first complaint. */
struct complaint {
        char *text;
        size_t size;
};

static void operate_complain(void *userdata, const char *sentence)
{
        struct complaint *complaint = userdata;

        if (!complaint->text[0])
                (void)snprintf(complaint->text, complaint->size, "%s", sentence);
}

static int operate_set_keys(struct config_tenant *tenant, const struct wire_view *view, char *why, size_t size)
{
        const struct wire_item_setting *items = view->items;

        for (uint32_t i = 0; i < view->n_items; i++) {
                for (uint32_t k = 0; k < i; k++)
                        if (strcmp(items[i].key, items[k].key) == 0) {
                                (void)snprintf(why, size, "%s stands a second time", items[i].key);
                                return -EINVAL;
                        }
                if (config_set(tenant, items[i].key, items[i].value, why, size) < 0)
                        return -EINVAL;
        }
        return 0;
}

static void operate_log_set(struct peer *peer, const char *tenant, const struct wire_view *view, bool settled)
{
        const struct wire_item_setting *items = view->items;
        char text[400] = "";
        size_t used = 0;

        for (uint32_t i = 0; i < view->n_items && used < sizeof(text); i++, used = strlen(text))
                (void)snprintf(text + used, sizeof(text) - used, " %s=%s", items[i].key, items[i].value);
        peer_log(peer, LOG_LEVEL_NOTICE, "set [tenant %s]%s: %s", tenant, text, settled ? "applied" : "deferred");
}

static void operate_set(struct peer *peer, const struct wire_view *view)
{
        const struct wire_tenant_set *set = view->fixed;
        struct daemon *d = peer->daemon;
        struct wire_limits limits = { 0 };
        struct config_tenant before;
        char why[240] = "";
        struct complaint complaint = { why, sizeof(why) };
        uint32_t i = 0;

        while (i < d->config->n_tenants && strcmp(d->config->tenants[i].name, set->tenant) != 0)
                i++;
        if (i == d->config->n_tenants) {
                peer_send_error(peer, view->header.request, WIRE_E_UNKNOWN_TENANT, set->tenant);
                return;
        }
        before = d->config->tenants[i];
        if (operate_set_keys(&d->config->tenants[i], view, why, sizeof(why)) < 0 ||
            reload_check(d, d->config, NULL, operate_complain, &complaint) < 0) {
                d->config->tenants[i] = before;
                peer_send_error(peer, view->header.request, WIRE_E_BAD_SETTING, why);
                return;
        }
        limits.deferred = !reload_tenant(d, i, peer);
        operate_log_set(peer, set->tenant, view, !limits.deferred);
        peer_send(peer, WIRE_LIMITS, view->header.request, &limits, NULL, 0, -1);
}

static void operate_reload(struct peer *peer, const struct wire_view *view)
{
        char why[512];

        if (reload_config(peer->daemon, peer, why, sizeof(why)) < 0)
                peer_send_error(peer, view->header.request, WIRE_E_BAD_CONFIG, why);
        else
                peer_send(peer, WIRE_OK, view->header.request, NULL, NULL, 0, -1);
}

void operate_message(struct peer *peer, const struct wire_view *view)
{
        assert(view->info->privilege == WIRE_PRIVILEGE_OPERATOR);

        peer->operates = operate_is_allowed(peer);
        if (!peer->operates)
                peer_send_error(peer, view->header.request, WIRE_E_NO_PRIVILEGE,
                                "it is for administrators who are root or in the group " DAEMON_GROUP);
        else if (view->info->opcode == WIRE_TENANT_SET)
                operate_set(peer, view);
        else if (view->info->opcode == WIRE_RELOAD)
                operate_reload(peer, view);
        else if (view->info->opcode == WIRE_EVENTS_GET)
                events_answer(peer, view);
        else
                observe_message(peer, view);
}
