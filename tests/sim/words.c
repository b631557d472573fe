/* SPDX-License-Identifier: MIT
 *
 * words.c -- events and actions in words.
 */
#include "words.h"

#include <inttypes.h>
#include <stdio.h>

const char *words_error(uint32_t error)
{
        static const char *const names[CORE_E_MAX_] = {
                [CORE_E_NONE] = "none",
                [CORE_E_TOO_MANY_WORKERS] = "too many workers",
                [CORE_E_NO_TENANT] = "no tenant",
                [CORE_E_NO_DEVICE] = "no device",
                [CORE_E_NO_CACHE] = "no cache",
                [CORE_E_TOO_MANY_CACHES] = "too many caches",
                [CORE_E_BAD_GEOMETRY] = "bad geometry",
                [CORE_E_BAD_RANGE] = "bad range",
                [CORE_E_ALREADY_MAPPED] = "already mapped",
                [CORE_E_BAD_EXTENT] = "bad extent",
                [CORE_E_BAD_ACK] = "bad ack",
                [CORE_E_BAD_REVOKE] = "bad revoke",
                [CORE_E_TOO_MANY_REQUESTS] = "too many requests",
                [CORE_E_BUSY] = "busy",
                [CORE_E_DEVICE_FULL] = "device full",
                [CORE_E_TENANT_FULL] = "tenant full",
                [CORE_E_TIMED_OUT] = "timed out",
                [CORE_E_DEVICE_FAILED] = "device failed",
                [CORE_E_OVERDUE] = "overdue",
                [CORE_E_DENIED] = "denied",
        };

        return error < CORE_E_MAX_ && names[error] ? names[error] : "unknown error";
}

/* An id is printed as two halves: what indexes a table, and what tells its uses apart. */
#define ID         "%" PRIu32 ".%" PRIu32
#define ID_ARG(id) (uint32_t)(id), (uint32_t)((id) >> 32)

static void words_grow(const struct core_ev_grow *grow, char *buffer, size_t size)
{
        snprintf(buffer, size,
                 "grow worker %u request %u.%u cache %u row %u class %u first %u need %u max %u timeout %" PRIu64
                 " usec%s%s%.0u",
                 grow->worker, grow->request, grow->entry, grow->cache, grow->row, grow->plane_class, grow->first,
                 grow->need, grow->max, grow->timeout_usec, grow->flags & CORE_GROW_OPTIONAL ? " optional" : "",
                 grow->beside ? " beside " : "", grow->beside);
}

static int words_limit(const char *name, uint64_t bytes, char *buffer, size_t size)
{
        return bytes == UINT64_MAX ? snprintf(buffer, size, " %s none", name)
                                   : snprintf(buffer, size, " %s %" PRIu64, name, bytes);
}

static void words_tenant_set(const struct core_ev_tenant_set *set, char *buffer, size_t size)
{
        char low[40] = "", high[40] = "", max[40] = "", weight[40] = "";

        if (set->low_bytes > 0)
                words_limit("low", set->low_bytes, low, sizeof(low));
        if (set->high_bytes != UINT64_MAX)
                words_limit("high", set->high_bytes, high, sizeof(high));
        words_limit("max", set->max_bytes, max, sizeof(max));
        if (set->weight != 100)
                snprintf(weight, sizeof(weight), " weight %u", set->weight);
        snprintf(buffer, size, "tenant %u set '%.*s' min %" PRIu64 "%s%s%s%s%s", set->tenant, (int)CORE_NAME_MAX,
                 set->name, set->min_bytes, low, high, max, weight,
                 set->on_overdue == CORE_OVERDUE_KILL ? " on-overdue kill" : "");
}

static void words_cache_create(const struct core_ev_cache_create *create, char *buffer, size_t size)
{
        int n = snprintf(buffer, size, "cache create worker %u request %u device %u rows %u classes", create->worker,
                         create->request, create->device, create->rows);

        for (uint32_t i = 0; i < create->n_classes && i < CORE_MAX_CLASSES && n > 0 && (size_t)n < size; i++)
                n += snprintf(buffer + n, size - (size_t)n, " %ux%u", create->classes[i].planes,
                              create->classes[i].row_pages);
}

static void words_event_body(const struct core_event *event, char *buffer, size_t size)
{
        switch ((enum core_event_type)event->type) {
        case CORE_EV_TICK:
                snprintf(buffer, size, "tick");
                return;
        case CORE_EV_DEVICE_ADD:
                snprintf(buffer, size, "device %u add page_shift %u pages %u virgin_pages %u", event->device_add.device,
                         event->device_add.page_shift, event->device_add.pages, event->device_add.virgin_pages);
                return;
        case CORE_EV_DEVICE_MISSING:
                snprintf(buffer, size, "device %u misses %u pages", event->device_missing.device,
                         event->device_missing.pages);
                return;
        case CORE_EV_SUSPECT:
                snprintf(buffer, size, "worker %u is suspect on device %u", event->suspect.worker,
                         event->suspect.device);
                return;
        case CORE_EV_TENANT_SET:
                words_tenant_set(&event->tenant_set, buffer, size);
                return;
        case CORE_EV_TENANT_REMOVE:
                snprintf(buffer, size, "tenant %u remove", event->tenant_remove.tenant);
                return;
        case CORE_EV_WORKER_ADD:
                snprintf(buffer, size, "worker add cookie %" PRIu64 " tenant %u", event->worker_add.cookie,
                         event->worker_add.tenant);
                return;
        case CORE_EV_WORKER_GONE:
                snprintf(buffer, size, "worker %u gone", event->worker_gone.worker);
                return;
        case CORE_EV_WORKER_ATTACH:
                snprintf(buffer, size, "worker %u %s", event->worker_attach.worker,
                         event->worker_attach.attached ? "is back" : "has no connection");
                return;
        case CORE_EV_CACHE_CREATE:
                words_cache_create(&event->cache_create, buffer, size);
                return;
        case CORE_EV_CACHE_DESTROY:
                snprintf(buffer, size, "cache destroy worker %u request %u cache %u", event->cache_destroy.worker,
                         event->cache_destroy.request, event->cache_destroy.cache);
                return;
        case CORE_EV_GROW:
                words_grow(&event->grow, buffer, size);
                return;
        case CORE_EV_ACK:
                snprintf(buffer, size, "ack worker %u granted %" PRIu64, event->ack.worker, event->ack.granted);
                return;
        case CORE_EV_RETURN:
                snprintf(buffer, size, "return worker %u extent " ID "%s", event->ret.worker, ID_ARG(event->ret.extent),
                         event->ret.refused ? " refused" : "");
                return;
        case CORE_EV_ROW:
                snprintf(buffer, size, "row worker %u cache %u row %u %s", event->row.worker, event->row.cache,
                         event->row.row, event->row.held ? "held" : "idle");
                return;
        case CORE_EV_REVOKED:
                snprintf(buffer, size, "revoked worker %u revoke %u", event->revoked.worker, event->revoked.revoke);
                return;
        case CORE_EV_CREATED:
                snprintf(buffer, size, "created extent " ID " status %d", ID_ARG(event->created.extent),
                         event->created.status);
                return;
        case CORE_EV_DESTROYED:
                snprintf(buffer, size, "destroyed extent " ID " status %d", ID_ARG(event->destroyed.extent),
                         event->destroyed.status);
                return;
        case CORE_EV_MAX_:
                break;
        }
        snprintf(buffer, size, "unknown event %u", event->type);
}

void words_event(const struct core_event *event, char *buffer, size_t size)
{
        int n = snprintf(buffer, size, "%" PRIu64 ".%06" PRIu64 " ", event->now_usec / 1000000,
                         event->now_usec % 1000000);

        if (n > 0 && (size_t)n < size)
                words_event_body(event, buffer + n, size - (size_t)n);
}

void words_action(const struct core_action *action, char *buffer, size_t size)
{
        switch ((enum core_action_type)action->type) {
        case CORE_ACT_CREATE:
        case CORE_ACT_DESTROY:
                snprintf(buffer, size, "%s device %u extent " ID " order %u",
                         action->type == CORE_ACT_CREATE ? "create" : "destroy", action->device.device,
                         ID_ARG(action->device.extent), action->device.order);
                return;
        case CORE_ACT_WELCOME:
                snprintf(buffer, size, "welcome cookie %" PRIu64 " worker %u tenant %u", action->peer.cookie,
                         action->worker, action->peer.tenant);
                return;
        case CORE_ACT_REFUSE:
                snprintf(buffer, size, "refuse cookie %" PRIu64 ": %s", action->peer.cookie,
                         words_error(action->peer.error));
                return;
        case CORE_ACT_REPLY_OK:
                snprintf(buffer, size, "ok worker %u request %u", action->worker, action->reply.request);
                return;
        case CORE_ACT_REPLY_ERROR:
                snprintf(buffer, size, "error worker %u request %u: %s", action->worker, action->reply.request,
                         words_error(action->reply.error));
                return;
        case CORE_ACT_REPLY_CACHE:
                snprintf(buffer, size, "cache %u worker %u request %u", action->reply.cache, action->worker,
                         action->reply.request);
                return;
        case CORE_ACT_GRANT:
                snprintf(buffer, size, "grant worker %u request %u.%u extent " ID " plane %u first %u order %u%s%s",
                         action->worker, action->grant.request, action->grant.entry, ID_ARG(action->grant.extent),
                         action->grant.plane, action->grant.first, action->grant.order,
                         action->flags & CORE_GRANT_SHORT ? " short" : "",
                         action->flags & CORE_GRANT_LAST ? " last" : "");
                return;
        case CORE_ACT_GROW_FAILED:
                snprintf(buffer, size, "grow failed worker %u request %u.%u: %s", action->worker,
                         action->failed.request, action->failed.entry, words_error(action->failed.error));
                return;
        case CORE_ACT_REVOKE:
                snprintf(buffer, size,
                         "revoke %u worker %u device %u level %u pages %" PRIu64 " deadline %" PRIu64 ".%06" PRIu64,
                         action->revoke.revoke, action->worker, action->revoke.device, action->revoke.level,
                         action->revoke.pages, action->revoke.deadline_usec / 1000000,
                         action->revoke.deadline_usec % 1000000);
                return;
        case CORE_ACT_SYNC:
                snprintf(buffer, size, "sync worker %u", action->worker);
                return;
        case CORE_ACT_DROP:
                snprintf(buffer, size, "drop worker %u: %s", action->worker, words_error(action->reply.error));
                return;
        case CORE_ACT_OVERDUE:
                snprintf(buffer, size, "overdue worker %u revoke %u device %u level %u pages %" PRIu64, action->worker,
                         action->revoke.revoke, action->revoke.device, action->revoke.level, action->revoke.pages);
                return;
        case CORE_ACT_LATE:
                snprintf(buffer, size, "late worker %u revoke %u", action->worker, action->revoke.revoke);
                return;
        case CORE_ACT_KILL:
                snprintf(buffer, size, "kill worker %u", action->worker);
                return;
        case CORE_ACT_TRANSITION:
                core_trace_format(action, buffer, size);
                return;
        case CORE_ACT_MAX_:
                break;
        }
        snprintf(buffer, size, "unknown action %u", action->type);
}
