/* SPDX-License-Identifier: MIT
 *
 * reload.c -- the configuration takes effect: at the start, at SIGHUP, and when an operator says so, while everything
 * runs.
 *
 * A reload is taken as a whole or not at all: a file that is not valid, or that asks for what cannot be or needs a
 * restart, changes nothing.
 */
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "owner.h"

void reload_operators(struct daemon *d)
{
        const struct group *group = getgrnam(DAEMON_GROUP);

        d->operators = group ? group->gr_gid : (gid_t)-1;
}

/* ---- What only shows once the devices are there ---- */

/* Whose rule is broken, and who wants to know. */
struct reload_tenant_rule {
        const char *path; /* NULL: not of a file */
        const struct config_tenant *tenant;
        config_complain_fn *complain;
        void *userdata;
};

static void reload_complain_key(void *userdata, const char *key, const char *sentence)
{
        const struct reload_tenant_rule *rule = userdata;
        char text[512];

        if (rule->path)
                (void)snprintf(text, sizeof(text), "%.200s:%u: [tenant %s] %s: %s", rule->path, rule->tenant->line,
                               rule->tenant->name, key, sentence);
        else
                (void)snprintf(text, sizeof(text), "%s: %s", key, sentence);
        rule->complain(rule->userdata, text);
}

/* Whether signals may be sent to other users' processes, which on-overdue = kill is about. */
static bool reload_may_kill(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

        return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1u << CAP_KILL));
}

int reload_check_rights(const struct config *config, const char *path, config_complain_fn *complain, void *userdata)
{
        for (uint32_t i = 0; i < config->n_tenants; i++) {
                struct reload_tenant_rule rule = { path, &config->tenants[i], complain, userdata };

                if (!config->tenants[i].kill_overdue || reload_may_kill())
                        continue;
                reload_complain_key(
                        &rule, "on-overdue",
                        "kill needs the capability CAP_KILL: grant it (AmbientCapabilities=CAP_KILL), or set "
                        "on-overdue = deny");
                return -EPERM;
        }
        return 0;
}

int reload_check(struct daemon *d, const struct config *config, const char *path, config_complain_fn *complain,
                 void *userdata)
{
        struct config_size sizes[CONFIG_MAX_DEVICES];
        const uint32_t n_devices = store_sizes(&d->store, sizes);
        const uint64_t whole = config_smallest(sizes, n_devices);
        char why[512], sentence[768];
        unsigned line;
        int r;

        assert(d && config && complain);

        r = reload_check_rights(config, path, complain, userdata);

        for (uint32_t i = 0; i < config->n_tenants; i++) {
                struct reload_tenant_rule rule = { path, &config->tenants[i], complain, userdata };

                if (config_check_limits(&config->tenants[i], whole, reload_complain_key, &rule) < 0)
                        r = -EINVAL;
        }
        if (config_check_guarantees(config, sizes, n_devices, &line, why, sizeof(why)) < 0) {
                if (path)
                        (void)snprintf(sentence, sizeof(sentence), "%.200s:%u: %s", path, line, why);
                complain(userdata, path ? sentence : why);
                r = -EINVAL;
        }
        return r;
}

/* ---- Tenants ---- */

static void reload_remove(struct daemon *d, const struct tenants *plan)
{
        struct core_event event;

        for (uint32_t i = 0; i < d->tenants.n_config; i++) {
                uint32_t index = d->tenants.of_config[i];
                struct core_tenant_info info;
                bool stays = false;

                for (uint32_t k = 0; k < plan->n_config; k++)
                        stays |= plan->of_config[k] == index;
                if (stays)
                        continue;
                if (core_tenant_info(d->core, index, &info))
                        events_add(d, WIRE_EVENT_tenant_removed,
                                   &(struct events_facts){ .tenant = info.name, .bytes = info.current_bytes },
                                   "it takes no more workers, and has %" PRIu32, info.workers);
                core_event_init(&event, CORE_EV_TENANT_REMOVE, daemon_now_usec());
                event.tenant_remove.tenant = index;
                daemon_event(d, &event);
        }
}

/* Whether a [tenant] is there already and is what the event would make it. */
static bool reload_is_known(const struct core *core, const struct core_event *event, bool *ret_is_new)
{
        struct core_tenant_info info;

        *ret_is_new = !core_tenant_info(core, event->tenant_set.tenant, &info);
        return !*ret_is_new && info.min_bytes == event->tenant_set.min_bytes &&
               info.low_bytes == event->tenant_set.low_bytes && info.high_bytes == event->tenant_set.high_bytes &&
               info.max_bytes == event->tenant_set.max_bytes && info.weight == event->tenant_set.weight &&
               info.on_overdue == event->tenant_set.on_overdue &&
               info.reclaim_deadline_usec == event->tenant_set.reclaim_deadline_usec;
}

static bool reload_tenant_of(struct daemon *d, const struct config *config, uint32_t index, const struct peer *by)
{
        struct config_size sizes[CONFIG_MAX_DEVICES];
        const uint64_t whole = config_smallest(sizes, store_sizes(&d->store, sizes));
        struct core_event event;
        bool is_known, is_new;

        tenants_event(&d->tenants, config, index, whole, daemon_now_usec(), &event);
        is_known = reload_is_known(d->core, &event, &is_new);
        daemon_event(d, &event);
        if (is_known && !by)
                return true;
        return notice_tenant_set(d, event.tenant_set.tenant, is_new, by);
}

bool reload_tenant(struct daemon *d, uint32_t index, const struct peer *by)
{
        return reload_tenant_of(d, d->config, index, by);
}

int reload_tenants(struct daemon *d, const struct config *config)
{
        struct tenants *plan;
        int r;

        assert(d && config);

        plan = calloc(1, sizeof(*plan));
        if (!plan)
                return -ENOMEM;
        r = tenants_plan(&d->tenants, config, d->core, plan);
        if (r < 0) {
                free(plan);
                return r;
        }
        observe_tenants(d);
        reload_remove(d, plan);
        d->tenants = *plan;
        free(plan);
        for (uint32_t i = 0; i < config->n_tenants; i++)
                (void)reload_tenant_of(d, config, i, NULL);
        return 0;
}

/* ---- The whole file ---- */

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
        if (before->daemon.holder != after->daemon.holder)
                return "holder";
        return NULL;
}

struct reload_complaint {
        char *first;
        size_t size;
};

static void reload_complain(void *userdata, const char *sentence)
{
        struct reload_complaint *complaint = userdata;

        log_error_of(configuration_invalid, "%s", sentence);
        if (!complaint->first[0])
                (void)snprintf(complaint->first, complaint->size, "%s", sentence);
}

static int reload_file(struct daemon *d, struct reload_complaint *complaint)
{
        const char *path = d->config_path[0] ? d->config_path : CONFIG_DEFAULT_PATH; /* which there may be by now */
        _cleanup_(cleanup_free) struct config *config = NULL;
        char sentence[400];
        const char *what;
        int r;

        if (!d->config_path[0] && access(path, F_OK) < 0) {
                reload_complain(complaint,
                                "nothing to reload: the daemon was started without a configuration file, and "
                                "there is no " CONFIG_DEFAULT_PATH);
                return -ENOENT;
        }
        r = config_load(path, reload_complain, complaint, &config);
        if (r < 0)
                return r;
        what = reload_needs_restart(d->config, config);
        if (what) {
                (void)snprintf(sentence, sizeof(sentence), "%s: %s cannot be changed while the daemon runs: restart it",
                               path, what);
                reload_complain(complaint, sentence);
                return -EBUSY;
        }
        r = reload_check(d, config, path, reload_complain, complaint);
        if (r < 0)
                return r;
        r = reload_tenants(d, config);
        if (r < 0) {
                reload_complain(complaint,
                                "too many tenants, with those that left the configuration but still have workers");
                return r;
        }
        reload_operators(d);
        if (path != d->config_path)
                (void)snprintf(d->config_path, sizeof(d->config_path), "%s", path);
        free(d->config);
        d->config = TAKE_PTR(config);
        if (d->log_level < 0)
                log_set_level((enum log_level)d->config->daemon.log_level);
        return 0;
}

int reload_config(struct daemon *d, const struct peer *by, char *why, size_t size)
{
        struct reload_complaint complaint = { why, size };
        const struct events_facts facts = { .peer = by };
        int r;

        assert(d && why && size > 0);

        why[0] = '\0';
        notify_reloading();
        r = reload_file(d, &complaint);
        d->notify.refused = r < 0;
        notify_reloaded(d);
        if (r < 0) {
                d->counters[WIRE_COUNTER_reloads_failed]++;
                events_add(d, WIRE_EVENT_reload_failed, &facts, "%s", why);
                return r;
        }
        d->counters[WIRE_COUNTER_reloads]++;
        events_add(d, WIRE_EVENT_reloaded, &facts, "%s", d->config_path);
        return 0;
}
