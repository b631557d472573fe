/* SPDX-License-Identifier: MIT
 *
 * tenant-set.c -- changes limits of a tenant while the daemon runs. What keys and values there are is the daemon's to
 * say: only the form is looked at here.
 */
#include "tenant-set.h"

#include <errno.h>
#include <string.h>

static int setting_parse(struct ctl_link *link, const char *text, struct wire_item_setting *ret)
{
        const char *equals = strchr(text, '=');
        size_t length = equals ? (size_t)(equals - text) : 0;

        if (!equals || length == 0)
                return ctl_link_fail(link, -EINVAL, "%s is not of the form KEY=VALUE.", text);
        if (length >= sizeof(ret->key) || strlen(equals + 1) >= sizeof(ret->value))
                return ctl_link_fail(link, -EINVAL, "%s is too long.", text);
        for (const char *c = text; *c; c++)
                if ((unsigned char)*c < ' ' || *c == 0x7f)
                        return ctl_link_fail(link, -EINVAL, "a setting has control characters.");
        *ret = (struct wire_item_setting){ 0 };
        memcpy(ret->key, text, length);
        memcpy(ret->value, equals + 1, strlen(equals + 1));
        return 0;
}

int ctl_tenant_set(struct ctl_link *link, const char *tenant, const char *const *settings, size_t n, bool *ret_deferred)
{
        struct wire_item_setting items[WIRE_MAX_SETTINGS];
        struct wire_tenant_set set = { 0 };
        struct wire_view view;
        int r;

        if (strlen(tenant) >= sizeof(set.tenant))
                return ctl_link_fail(link, -EINVAL, "no tenant has so long a name: %s.", tenant);
        if (n == 0 || n > WIRE_MAX_SETTINGS)
                return ctl_link_fail(link, -EINVAL, "1 to %u settings are taken at a time.", WIRE_MAX_SETTINGS);
        memcpy(set.tenant, tenant, strlen(tenant));
        for (size_t i = 0; i < n; i++) {
                r = setting_parse(link, settings[i], &items[i]);
                if (r < 0)
                        return r;
        }
        r = ctl_link_call_items(link, WIRE_TENANT_SET, &set, items, (uint32_t)n, WIRE_LIMITS, &view);
        if (r < 0)
                return r;
        const struct wire_limits *limits = view.fixed;
        *ret_deferred = limits->deferred;
        return 0;
}
