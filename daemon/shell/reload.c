/* SPDX-License-Identifier: MIT
 *
 * reload.c -- the configuration takes effect: at the start, and at SIGHUP while everything runs.
 *
 * A reload is taken as a whole or not at all: a file that is not valid, or that asks for what needs a restart, changes
 * nothing.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "log.h"
#include "owner.h"

static void reload_complain(void *userdata, const char *sentence)
{
        (void)userdata;
        log_error("%s", sentence);
}

/* Accepted, stored and shown, but nothing acts on them in this version. */
static void reload_warn_of_limits(const struct config *config)
{
        for (uint32_t i = 0; i < config->n_tenants; i++) {
                const struct config_tenant *t = &config->tenants[i];

                if (t->min.bytes || t->min.percent || t->low.bytes || t->low.percent ||
                    t->high.bytes != CONFIG_NO_LIMIT)
                        log_warning(
                                "[tenant %s] memory.min, memory.low and memory.high are not in force yet; memory.max is",
                                t->name);
        }
}

static void reload_remove(struct daemon *d, const struct tenants *plan)
{
        struct core_event event;

        for (uint32_t i = 0; i < d->tenants.n_config; i++) {
                uint32_t index = d->tenants.of_config[i];
                bool stays = false;

                for (uint32_t k = 0; k < plan->n_config; k++)
                        stays |= plan->of_config[k] == index;
                if (stays)
                        continue;
                core_event_init(&event, CORE_EV_TENANT_REMOVE, daemon_now_usec());
                event.tenant_remove.tenant = index;
                daemon_event(d, &event);
        }
}

int reload_tenants(struct daemon *d, const struct config *config)
{
        struct core_event event;
        struct tenants *plan;
        int r;

        assert(d && config);

        plan = calloc(1, sizeof(*plan));
        if (!plan)
                return -ENOMEM;
        r = tenants_plan(&d->tenants, config, d->core, plan);
        if (r < 0) {
                log_error("too many tenants, with those that left the configuration but still have workers");
                free(plan);
                return r;
        }
        reload_warn_of_limits(config);
        reload_remove(d, plan);
        d->tenants = *plan;
        free(plan);
        for (uint32_t i = 0; i < config->n_tenants; i++) {
                tenants_event(&d->tenants, config, i, store_capacity(&d->store), daemon_now_usec(), &event);
                daemon_event(d, &event);
        }
        return 0;
}

/* What cannot change while workers hold memory and connections; NULL: nothing of it does. */
static const char *reload_needs_restart(const struct config *before, const struct config *after)
{
        if (!config_same_devices(before, after))
                return "the devices";
        if (before->daemon.max_workers != after->daemon.max_workers)
                return "max-workers";
        if (before->daemon.socket_mode != after->daemon.socket_mode ||
            before->daemon.socket_group != after->daemon.socket_group)
                return "socket-mode and socket-group";
        return NULL;
}

int reload_config(struct daemon *d)
{
        _cleanup_(cleanup_free) struct config *config = NULL;
        const char *what;
        int r;

        assert(d);

        if (!d->config_path[0]) {
                log_warning("nothing to reload: the daemon was started without a configuration file");
                return -ENOENT;
        }
        r = config_load(d->config_path, reload_complain, NULL, &config);
        if (r == 0 && (what = reload_needs_restart(d->config, config))) {
                log_error("%s: %s cannot be changed while the daemon runs: restart it", d->config_path, what);
                r = -EBUSY;
        }
        if (r == 0)
                r = daemon_check_kill(config);
        if (r == 0)
                r = reload_tenants(d, config);
        if (r < 0) {
                log_error("the configuration stays as it was");
                return r;
        }
        free(d->config);
        d->config = TAKE_PTR(config);
        if (d->log_level < 0)
                log_set_level((enum log_level)d->config->daemon.log_level);
        log_info("the configuration of %s is in force", d->config_path);
        return 0;
}
