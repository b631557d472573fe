/* SPDX-License-Identifier: MIT
 *
 * observe.c -- see observe.h.
 */
#include "observe.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "identity.h"

#define NOBODY UINT32_MAX

void observe_close(struct observe *observe)
{
        free(observe->processes);
        *observe = (struct observe){ 0 };
}

/* ---- how processes ended ---- */

static const char *observe_cause(const struct wire_item_ended *item, char text[static 96])
{
        const int status = (int)item->status;

        if (item->oom)
                (void)snprintf(text, 96, "was killed by the kernel, which was out of memory (signal %d)",
                               WTERMSIG(status));
        else if (WIFSIGNALED(status))
                (void)snprintf(text, 96, "was killed by signal %d (%s)%s", WTERMSIG(status),
                               strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
        else
                (void)snprintf(text, 96, "exited with status %d", WEXITSTATUS(status));
        return text;
}

static void observe_ended(struct daemon *d, const struct wire_item_ended *item)
{
        struct events_facts facts = { .pid = item->pid, .worker = item->worker };
        char cause[96], tenant[CONFIG_NAME_MAX];

        if (!events_find_worker(d, item->worker, item->pid, tenant, &facts.uid))
                return; /* of another daemon's life, or forgotten */
        facts.tenant = tenant;
        events_add(d, WIRE_EVENT_worker_ended, &facts, "worker %llu of tenant %s %s", (unsigned long long)item->pid,
                   tenant, observe_cause(item, cause));
}

/* ---- who takes device memory by himself ---- */

uint64_t observe_missing(const struct daemon *d, uint32_t device)
{
        const struct dev_info *info = &d->store.devices[device].info;
        uint64_t taken = 0, left = info->total > info->capacity ? info->total - info->capacity : 0;

        if (info->total == 0 || info->tells_missing) /* nobody else can take of it what is ours, or it knows better */
                return 0;
        for (uint32_t i = 0; i < d->observe.n; i++)
                if (d->observe.processes[i].device == device)
                        taken += d->observe.processes[i].bytes;
        return taken > left ? taken - left : 0;
}

/* Ours of the driver's number, which may be another's in a process that does not see all of them; the only one there is
 * is meant in any case. */
static uint32_t observe_device(const struct daemon *d, uint32_t number)
{
        for (uint32_t i = 0; i < d->store.n_devices; i++) {
                const struct dev_info *info = &d->store.devices[i].info;

                if (info->total > 0 && (info->alone || info->number == number))
                        return i;
        }
        return NOBODY;
}

/* Whose it is: a worker's tenant, or the tenant that a worker of this kind would be of. */
static uint32_t observe_tenant(const struct daemon *d, const struct wire_item_unbrokered *item)
{
        const struct identity identity = { .pid = (pid_t)item->pid,
                                           .uid = (uid_t)item->uid,
                                           .gid = (gid_t)item->gid,
                                           .cgroup = item->cgroup[0] ? item->cgroup : NULL };
        int r;

        for (uint32_t i = 0; i < d->max_peers; i++)
                if (d->peers[i] && d->peers[i]->state == PEER_WORKER && (uint64_t)d->peers[i]->pid == item->pid)
                        return d->peers[i]->tenant_index;
        r = identity_find_tenant(&identity, d->config, "");
        return r < 0 ? NOBODY : d->tenants.of_config[r];
}

static void observe_sum(struct daemon *d)
{
        struct observe *o = &d->observe;

        memset(o->tenants, 0, sizeof(o->tenants));
        for (uint32_t i = 0; i < o->n; i++)
                if (o->processes[i].tenant != NOBODY)
                        o->tenants[o->processes[i].tenant] += o->processes[i].bytes;
        for (uint32_t i = 0; i < d->store.n_devices; i++)
                daemon_look_at_missing(d, i);
}

void observe_tenants(struct daemon *d)
{
        struct observe *o = &d->observe;
        struct core_tenant_info info;

        for (uint32_t i = 0; i < o->n; i++)
                if (o->processes[i].tenant != NOBODY && !core_tenant_info(d->core, o->processes[i].tenant, &info))
                        o->processes[i].tenant = NOBODY;
        if (o->n > 0)
                observe_sum(d);
}

static void observe_unbrokered(struct peer *peer, const struct wire_item_unbrokered *item)
{
        struct daemon *d = peer->daemon;
        struct observe *o = &d->observe;
        uint32_t i = 0;

        if (item->pid == (uint64_t)getpid())
                return; /* that is what we give out */
        while (i < o->n && (o->processes[i].pid != item->pid || o->processes[i].number != item->device))
                i++;
        if (item->bytes == 0) {
                if (i < o->n)
                        o->processes[i] = o->processes[--o->n];
                return;
        }
        if (!o->processes)
                o->processes = calloc(OBSERVE_MAX, sizeof(o->processes[0]));
        if (!o->processes || i == OBSERVE_MAX)
                return;
        if (i == o->n)
                o->n++;
        o->processes[i] = (struct observe_process){ .pid = item->pid,
                                                    .bytes = item->bytes,
                                                    .by = peer->cookie,
                                                    .number = item->device,
                                                    .device = observe_device(d, item->device),
                                                    .tenant = observe_tenant(d, item) };
}

void observe_message(struct peer *peer, const struct wire_view *view)
{
        const struct wire_item_unbrokered *taken = view->items;
        const struct wire_item_ended *ended = view->items;

        assert(view->info->opcode == WIRE_ENDED || view->info->opcode == WIRE_UNBROKERED);

        for (uint32_t i = 0; i < view->n_items; i++)
                if (view->info->opcode == WIRE_ENDED)
                        observe_ended(peer->daemon, &ended[i]);
                else
                        observe_unbrokered(peer, &taken[i]);
        if (view->info->opcode == WIRE_UNBROKERED)
                observe_sum(peer->daemon);
        peer_send(peer, WIRE_OK, view->header.request, NULL, NULL, 0, -1);
}

void observe_forget(struct peer *peer)
{
        struct daemon *d = peer->daemon;
        struct observe *o = &d->observe;
        const uint32_t before = o->n;

        for (uint32_t i = 0; i < o->n;)
                if (o->processes[i].by == peer->cookie)
                        o->processes[i] = o->processes[--o->n];
                else
                        i++;
        if (o->n != before)
                observe_sum(d);
}
