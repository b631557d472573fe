/* SPDX-License-Identifier: MIT
 *
 * notice.c -- see notice.h.
 */
#include "notice.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config-value.h"
#include "daemon.h"
#include "log.h"

#define FAILED_INTERVAL_USEC UINT64_C(1000000) /* a tenant's failed requests are told of once in so long */
#define STUCK_USEC           UINT64_C(2000000) /* a destruction that takes longer is told of */

void notice_init(struct notice *notice)
{
        notice->next_usec = notice->stuck_usec = UINT64_MAX;
        notice->refused = (struct ratelimit){ .interval_usec = 1000000, .burst = 10 };
}

/* ---- tenants ---- */

static void notice_limits(struct daemon *d, uint32_t tenant, bool deferred)
{
        struct core_tenant_info info;

        if (d->notice.deferred[tenant] != deferred) {
                d->notice.deferred[tenant] = deferred;
                d->notice.n_deferred += deferred ? 1u : UINT32_MAX;
        }
        if (!core_tenant_info(d->core, tenant, &info))
                return;
        if (deferred)
                events_add(d, WIRE_EVENT_limits_deferred,
                           &(struct events_facts){ .tenant = info.name, .bytes = info.current_bytes },
                           "they hold once enough was reclaimed");
        else
                events_add(d, WIRE_EVENT_limits_applied,
                           &(struct events_facts){ .tenant = info.name, .bytes = info.current_bytes }, "they hold");
}

bool notice_tenant_set(struct daemon *d, uint32_t tenant, bool is_new, const struct peer *by)
{
        char min[CONFIG_SIZE_TEXT], low[CONFIG_SIZE_TEXT], high[CONFIG_SIZE_TEXT], max[CONFIG_SIZE_TEXT];
        const bool settled = core_tenant_is_settled(d->core, tenant);
        struct core_tenant_info info;

        if (!core_tenant_info(d->core, tenant, &info))
                return true;
        events_add(d, WIRE_EVENT_tenant_set, &(struct events_facts){ .peer = by, .tenant = info.name },
                   "memory.min=%s memory.low=%s memory.high=%s memory.max=%s weight=%" PRIu32
                   " reclaim-deadline=%" PRIu64 "ms on-overdue=%s",
                   config_size_text(info.min_bytes, min), config_size_text(info.low_bytes, low),
                   config_size_text(info.high_bytes, high), config_size_text(info.max_bytes, max), info.weight,
                   info.reclaim_deadline_usec / 1000, info.on_overdue == CORE_OVERDUE_KILL ? "kill" : "deny");
        if (!settled || !is_new)
                notice_limits(d, tenant, !settled);
        return settled;
}

static void notice_settled(struct daemon *d)
{
        for (uint32_t i = 0; i < CORE_MAX_TENANTS && d->notice.n_deferred > 0; i++)
                if (d->notice.deferred[i] && core_tenant_is_settled(d->core, i))
                        notice_limits(d, i, false);
}

/* ---- peers ---- */

void notice_refused(struct daemon *d, const struct peer *peer, const char *why)
{
        uint32_t suppressed;

        if (ratelimit_allow(&d->notice.refused, daemon_now_usec(), &suppressed))
                events_add(d, WIRE_EVENT_peer_refused, &(struct events_facts){ .peer = peer, .count = suppressed + 1 },
                           "%s", why);
}

/* The first is told of at once, those that follow together. */
static void notice_failed(struct daemon *d, uint32_t tenant, uint64_t now)
{
        struct core_tenant_info info;

        if (core_tenant_info(d->core, tenant, &info))
                events_add(d, WIRE_EVENT_requests_failed,
                           &(struct events_facts){ .tenant = info.name, .count = d->notice.failed[tenant].n }, "%s",
                           wire_error_sentence(d->notice.failed[tenant].error));
        d->notice.failed[tenant].n = 0;
        d->notice.failed[tenant].told_usec = now;
}

void notice_request_failed(struct daemon *d, const struct peer *peer, enum wire_error_code error)
{
        const uint32_t tenant = peer->tenant_index;

        assert(tenant < CORE_MAX_TENANTS);

        if (error != WIRE_E_DEVICE_FULL && error != WIRE_E_TENANT_FULL && error != WIRE_E_TIMED_OUT &&
            error != WIRE_E_DEVICE_FAILED && error != WIRE_E_DENIED)
                return; /* look-ahead that was refused; what the worker did wrong */
        d->notice.failed[tenant].n++;
        d->notice.failed[tenant].error = error;
        if (d->notice.failed[tenant].told_usec + FAILED_INTERVAL_USEC < d->notice.next_usec)
                d->notice.next_usec = d->notice.failed[tenant].told_usec + FAILED_INTERVAL_USEC;
}

static void notice_all_failed(struct daemon *d)
{
        const uint64_t now = daemon_now_usec();

        if (d->notice.next_usec > now)
                return;
        d->notice.next_usec = UINT64_MAX;
        for (uint32_t i = 0; i < CORE_MAX_TENANTS; i++) {
                const uint64_t due = d->notice.failed[i].told_usec + FAILED_INTERVAL_USEC;

                if (d->notice.failed[i].n == 0)
                        continue;
                if (due <= now)
                        notice_failed(d, i, now);
                else if (due < d->notice.next_usec)
                        d->notice.next_usec = due;
        }
}

/* ---- devices ---- */

void notice_device(struct daemon *d, uint32_t device, int status, const char *what)
{
        const struct events_facts facts = { .device = d->store.devices[device].name };

        assert(device < CONFIG_MAX_DEVICES);

        if (d->notice.failing[device] == (status < 0))
                return;
        d->notice.failing[device] = status < 0;
        if (status < 0)
                events_add(d, WIRE_EVENT_device_failing, &facts, "an extent could not be %s: %s", what,
                           strerror(-status));
        else
                events_add(d, WIRE_EVENT_device_recovered, &facts, "an extent was %s", what);
}

/* What all tenants are guaranteed on each device. */
static uint64_t guaranteed_bytes(const struct daemon *d)
{
        struct core_tenant_info info;
        uint64_t bytes = 0;

        for (uint32_t tenant = 0; tenant < CONFIG_MAX_TENANTS; tenant++)
                if (core_tenant_info(d->core, tenant, &info))
                        bytes += info.min_bytes;
        return bytes;
}

void notice_missing(struct daemon *d, uint32_t device, uint64_t bytes)
{
        const struct events_facts facts = { .device = d->store.devices[device].name, .bytes = bytes };
        const uint64_t capacity = d->store.devices[device].info.capacity, guaranteed = guaranteed_bytes(d);

        if (bytes > 0 && guaranteed > capacity - (bytes < capacity ? bytes : capacity))
                events_add(d, WIRE_EVENT_memory_missing, &facts,
                           "%" PRIu64
                           " bytes of its capacity cannot be had, and what is left does not cover the %" PRIu64
                           " that tenants are guaranteed: others use them (nvidia-smi shows who)",
                           bytes, guaranteed);
        else if (bytes > 0)
                events_add(d, WIRE_EVENT_memory_missing, &facts,
                           "%" PRIu64 " bytes of its capacity cannot be had: others use them (nvidia-smi shows who)",
                           bytes);
        else
                events_add(d, WIRE_EVENT_memory_missing, &facts, "all of its capacity can be had again");
}

void notice_suspect(struct daemon *d, struct peer *peer, uint32_t device)
{
        const struct events_facts facts = { .peer = peer, .device = d->store.devices[device].name };

        events_add(d, WIRE_EVENT_worker_suspect, &facts, "gave back memory that did not come free");
}

/* The kernel does not let us take away what a worker gave back, for somebody has a call on it that does not end. */
static void notice_stuck(struct daemon *d, const struct store_device *device, const struct store_owner *owner)
{
        struct core_worker_info worker;
        struct core_tenant_info tenant;
        char whose[160] = "nobody's any more", process[32] = "gone";
        uint32_t suppressed;

        if (!ratelimit_allow(&d->complaints, daemon_now_usec(), &suppressed))
                return;
        if (core_worker_info(d->core, owner->worker & 0xffffu, &worker) && worker.worker == owner->worker)
                (void)snprintf(process, sizeof(process), "process %" PRIu64, worker.pid);
        if (owner->tenant != STORE_UNKNOWN && core_tenant_info(d->core, owner->tenant, &tenant))
                (void)snprintf(whose, sizeof(whose),
                               "from worker %" PRIu32 " (%s) of tenant %s, which is charged for it", owner->worker,
                               process, tenant.name);
        log_warning("[device %s] extent %" PRIu64
                    ", %s, cannot be destroyed for now: somebody writes to its file, and does "
                    "not come to an end",
                    device->name, owner->extent, whose);
}

static void notice_all_stuck(struct daemon *d)
{
        struct notice *notice = &d->notice;
        struct store_owner owner;
        uint64_t now;

        if (notice->stuck_usec == UINT64_MAX && d->store.n_destroying == 0)
                return;
        now = daemon_now_usec();
        if (notice->stuck_usec <= now)
                for (uint32_t i = 0; i < d->store.n_devices; i++)
                        while (store_stuck(&d->store, i, now - STUCK_USEC, &owner))
                                notice_stuck(d, &d->store.devices[i], &owner);
        else if (notice->stuck_usec != UINT64_MAX)
                return;
        notice->stuck_usec = d->store.n_destroying > 0 ? now + STUCK_USEC : UINT64_MAX;
}

void notice_turn(struct daemon *d)
{
        notice_settled(d);
        notice_all_failed(d);
        notice_all_stuck(d);
}
