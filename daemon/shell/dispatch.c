/* SPDX-License-Identifier: MIT
 *
 * dispatch.c -- from messages to core events. The codec has checked the form; whether what is named exists is the
 * core's to check.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cgroup.h"
#include "daemon.h"
#include "identity.h"
#include "log.h"
#include "probe.h"

_Static_assert(WIRE_MAX_CLASSES == CORE_MAX_CLASSES && WIRE_MAX_PLANES == CORE_MAX_PLANES, "bounds of a cache");
_Static_assert(WIRE_MAX_UNACKED == CORE_MAX_UNACKED, "the window of grants");
_Static_assert(sizeof(struct wire_item_class) == sizeof(struct core_plane_class), "a plane class");
_Static_assert(WIRE_GROW_OPTIONAL == CORE_GROW_OPTIONAL, "flags of GROW");

/* An admin belongs to no tenant; only listings are open to it. */
static void dispatch_hello_admin(struct peer *peer)
{
        struct wire_welcome welcome = { .version = WIRE_VERSION, .features = WIRE_FEATURES };
        int ours, theirs;

        if (peer_make_event_channel(peer, &ours, &theirs) < 0)
                return;
        peer_greeted(peer, PEER_ADMIN);
        peer->event_fd = ours;
        peer_send(peer, WIRE_WELCOME, peer->hello_request, &welcome, NULL, 0, theirs);
}

/* What a peer that no tenant takes can be told to put into the configuration. */
static void dispatch_refuse(struct peer *peer, const struct identity *identity, const char *wanted,
                            enum wire_error_code code)
{
        const struct daemon *d = peer->daemon;
        char group[96] = "", place[320], detail[400];

        if (identity->cgroup)
                (void)snprintf(group, sizeof(group), "%s", cgroup_describe(identity->cgroup, place, sizeof(place)));
        (void)snprintf(detail, sizeof(detail), "%s%spid %d, uid %u%s%s: add uid:%u%s%s to a match of %.60s", wanted,
                       *wanted ? ", " : "", (int)identity->pid, (unsigned)identity->uid, *group ? ", " : "", group,
                       (unsigned)identity->uid, *group ? " or " : "", group,
                       d->config_path[0] ? d->config_path : CONFIG_DEFAULT_PATH);
        peer_fail(peer, peer->hello_request, code, detail);
}

/* Where rules ask for a cgroup it has to be known, or known not to be: else who is in one could make himself out of it,
 * by moving while he connects, and be charged elsewhere. Told when it is not. */
static bool dispatch_knows_cgroup(struct peer *peer)
{
        char detail[160];
        int r;

        if (!peer->daemon->config->by_cgroup || peer->cgroup)
                return true;
        r = identity_cgroup(peer->fd, peer->pid, peer->accepted, &peer->cgroup);
        if (r == 0 || identity_is_nowhere(r, peer->pid))
                return true;
        (void)snprintf(detail, sizeof(detail), "the cgroup of pid %d cannot be told (%s): try again", (int)peer->pid,
                       strerror(-r));
        peer_fail(peer, peer->hello_request, WIRE_E_NO_TENANT, detail);
        return false;
}

static void dispatch_hello_worker(struct peer *peer, const struct wire_hello *hello)
{
        struct daemon *d = peer->daemon;
        struct identity identity;
        struct core_event event;
        int r;

        r = identity_of_socket(peer->fd, &identity);
        if (r < 0) {
                peer_log(peer, LOG_LEVEL_ERROR, "the kernel does not say who it is: %s", strerror(-r));
                peer_end(peer);
                return;
        }
        if (!dispatch_knows_cgroup(peer))
                return;
        identity.cgroup = peer->cgroup;
        r = identity_find_tenant(&identity, d->config, hello->tenant);
        if (r < 0 && !peer->cgroup) { /* nobody wanted to know before */
                (void)identity_cgroup(peer->fd, peer->pid, peer->accepted, &peer->cgroup);
                identity.cgroup = peer->cgroup;
                r = identity_find_tenant(&identity, d->config, hello->tenant);
        }
        if (r < 0) {
                dispatch_refuse(peer, &identity, hello->tenant, r == -ESRCH ? WIRE_E_WRONG_TENANT : WIRE_E_NO_TENANT);
                return;
        }
        if (remains_refuse(peer, d->tenants.of_config[r]))
                return;
        if (!peer->cgroup) /* the journal has its unit */
                (void)identity_cgroup(peer->fd, peer->pid, peer->accepted, &peer->cgroup);
        peer_greeted(peer, PEER_JOINING);
        memcpy(peer->tenant, d->config->tenants[r].name, sizeof(peer->tenant));
        core_event_init(&event, CORE_EV_WORKER_ADD, daemon_now_usec());
        event.worker_add.cookie = peer->cookie;
        event.worker_add.pid = (uint64_t)identity.pid;
        event.worker_add.uid = identity.uid;
        event.worker_add.tenant = d->tenants.of_config[r];
        daemon_event(d, &event);
}

static void dispatch_hello(struct peer *peer, const struct wire_view *view)
{
        const struct wire_hello *hello = view->fixed;

        peer->hello_request = view->header.request;
        if (remains_refuse(peer, REMAINS_NO_TENANT))
                return;
        if (hello->role == WIRE_ROLE_ADMIN)
                dispatch_hello_admin(peer);
        else
                dispatch_hello_worker(peer, hello);
}

/* The acknowledgement in the header, before what the message itself says: a RETURN may name what it acknowledges. */
static void dispatch_ack(struct peer *peer, uint64_t ack)
{
        struct core_event event;

        if (ack <= peer->acknowledged)
                return;
        peer->acknowledged = ack;
        core_event_init(&event, CORE_EV_ACK, peer->active_usec);
        event.ack.worker = peer->worker;
        event.ack.granted = peer->granted_before + ack;
        daemon_event(peer->daemon, &event);
}

static void dispatch_cache_create(struct peer *peer, const struct wire_view *view)
{
        const struct wire_cache_create *create = view->fixed;
        struct core_event event;

        core_event_init(&event, CORE_EV_CACHE_CREATE, daemon_now_usec());
        event.cache_create.worker = peer->worker;
        event.cache_create.request = view->header.request;
        event.cache_create.device = create->device;
        event.cache_create.rows = create->rows;
        event.cache_create.n_classes = view->n_items;
        memcpy(event.cache_create.classes, view->items, view->n_items * sizeof(event.cache_create.classes[0]));
        event.size = (uint16_t)core_event_size(&event);
        daemon_event(peer->daemon, &event);
}

static void dispatch_cache_destroy(struct peer *peer, const struct wire_view *view)
{
        const struct wire_cache_destroy *destroy = view->fixed;
        struct core_event event;

        core_event_init(&event, CORE_EV_CACHE_DESTROY, daemon_now_usec());
        event.cache_destroy.worker = peer->worker;
        event.cache_destroy.request = view->header.request;
        event.cache_destroy.cache = destroy->cache;
        daemon_event(peer->daemon, &event);
}

/* Pages that an entry needs. */
static uint64_t grow_pages(const struct peer *peer, const struct wire_item_grow *item)
{
        return (uint64_t)item->need *
               core_class_planes(peer->daemon->core, peer->worker, item->cache, item->plane_class);
}

static void dispatch_grow(struct peer *peer, const struct wire_view *view)
{
        const struct wire_grow *grow = view->fixed;
        const struct wire_item_grow *items = view->items;
        uint64_t timeout = grow->timeout_usec < WIRE_MAX_TIMEOUT_USEC ? grow->timeout_usec : WIRE_MAX_TIMEOUT_USEC;
        uint64_t now = peer->active_usec; /* one request, one time: its entries have one deadline */
        uint64_t row_pages = 0, beside;   /* of all entries for the row, which stand next to each other */
        uint32_t row_end = 0;
        struct core_event event;

        PROBE3(grow, peer->pid, view->header.request, view->n_items);
        for (uint32_t i = 0; i < view->n_items; i++) {
                if (i == row_end)
                        for (row_pages = 0; row_end < view->n_items && items[row_end].cache == items[i].cache &&
                                            items[row_end].row == items[i].row;
                             row_end++)
                                row_pages += grow_pages(peer, &items[row_end]);
                beside = row_pages - grow_pages(peer, &items[i]);
                core_event_init(&event, CORE_EV_GROW, now);
                event.grow.worker = peer->worker;
                event.grow.request = view->header.request;
                event.grow.entry = (uint16_t)i;
                event.grow.flags = items[i].flags;
                event.grow.cache = items[i].cache;
                event.grow.row = items[i].row;
                event.grow.plane_class = items[i].plane_class;
                event.grow.first = items[i].first;
                event.grow.need = items[i].need;
                event.grow.max = items[i].max;
                event.grow.beside = beside < UINT32_MAX ? (uint32_t)beside : UINT32_MAX;
                event.grow.timeout_usec = timeout;
                daemon_event(peer->daemon, &event);
        }
}

static void dispatch_return(struct peer *peer, const struct wire_view *view)
{
        const struct wire_return *giving = view->fixed;
        const struct wire_item_extent_id *items = view->items;
        struct core_event event;

        PROBE2(reclaim, peer->pid, view->n_items);
        for (uint32_t i = 0; i < view->n_items; i++) {
                core_event_init(&event, CORE_EV_RETURN, daemon_now_usec());
                event.ret.worker = peer->worker;
                event.ret.refused = giving->reason == WIRE_RETURN_REFUSED;
                event.ret.extent = items[i].extent;
                daemon_event(peer->daemon, &event);
        }
}

static void dispatch_rows(struct peer *peer, const struct wire_view *view)
{
        const struct wire_item_row *items = view->items;
        struct core_event event;

        for (uint32_t i = 0; i < view->n_items; i++) {
                core_event_init(&event, CORE_EV_ROW, daemon_now_usec());
                event.row.worker = peer->worker;
                event.row.cache = items[i].cache;
                event.row.row = items[i].row;
                event.row.held = items[i].held;
                daemon_event(peer->daemon, &event);
        }
}

static void dispatch_revoked(struct peer *peer, const struct wire_view *view)
{
        const struct wire_revoked *revoked = view->fixed;
        struct core_event event;

        core_event_init(&event, CORE_EV_REVOKED, daemon_now_usec());
        event.revoked.worker = peer->worker;
        event.revoked.revoke = revoked->revoke;
        daemon_event(peer->daemon, &event);
}

/* HELLO first and only then; what is for workers from workers alone. Where not, the peer is told. */
static bool dispatch_is_allowed(struct peer *peer, const struct wire_view *view)
{
        const enum wire_opcode opcode = (enum wire_opcode)view->info->opcode;
        bool greeted = peer->state == PEER_WORKER || peer->state == PEER_ADMIN || peer->state == PEER_RESUMING;
        bool resuming = opcode == WIRE_HOLDS || opcode == WIRE_RESUMED;

        if (greeted == (opcode == WIRE_HELLO || opcode == WIRE_RESUME) ||
            (peer->state == PEER_RESUMING ? !resuming && opcode != WIRE_ROWS : resuming)) {
                peer->daemon->counters[WIRE_COUNTER_protocol_errors]++;
                peer_fail(peer, view->header.request, WIRE_E_NOT_GREETED, view->info->name);
                return false;
        }
        if (view->info->privilege == WIRE_PRIVILEGE_WORKER && peer->state == PEER_ADMIN) {
                peer_send_error(peer, view->header.request, WIRE_E_NO_PRIVILEGE, view->info->name);
                return false;
        }
        return true;
}

bool dispatch_is_answered(const struct wire_view *view)
{
        const uint16_t opcode = view->info->opcode;

        return opcode != WIRE_RETURN && opcode != WIRE_ROWS && opcode != WIRE_REVOKED && opcode != WIRE_ACK;
}

void dispatch_message(struct peer *peer, const struct wire_view *view)
{
        assert(peer && !peer->ended);
        assert(view->info->direction == WIRE_C2D);

        if (!dispatch_is_allowed(peer, view))
                return;
        if (peer->state == PEER_WORKER)
                dispatch_ack(peer, view->header.ack);

        switch ((enum wire_opcode)view->info->opcode) {
        case WIRE_HELLO:
                dispatch_hello(peer, view);
                break;
        case WIRE_CACHE_CREATE:
                dispatch_cache_create(peer, view);
                break;
        case WIRE_CACHE_DESTROY:
                dispatch_cache_destroy(peer, view);
                break;
        case WIRE_GROW:
                dispatch_grow(peer, view);
                break;
        case WIRE_RETURN:
                dispatch_return(peer, view);
                break;
        case WIRE_ROWS:
                dispatch_rows(peer, view);
                break;
        case WIRE_REVOKED:
                dispatch_revoked(peer, view);
                break;
        case WIRE_ACK:
                break;
        case WIRE_DEVICE_GET:
        case WIRE_LIST_DEVICES:
        case WIRE_LIST_TENANTS:
        case WIRE_LIST_WORKERS:
        case WIRE_LIST_CACHES:
        case WIRE_LIST_COUNTERS:
        case WIRE_STATUS_GET:
        case WIRE_CHECK:
        case WIRE_SETTLED:
                answer_query(peer, view);
                break;
        case WIRE_RESUME:
        case WIRE_HOLDS:
        case WIRE_RESUMED:
                resume_message(peer, view);
                break;
        case WIRE_TENANT_SET:
        case WIRE_RELOAD:
        case WIRE_EVENTS_GET:
        case WIRE_ENDED:
        case WIRE_UNBROKERED:
                operate_message(peer, view);
                break;
        case WIRE_WELCOME:
        case WIRE_ERROR:
        case WIRE_OK:
        case WIRE_DEVICE:
        case WIRE_CACHE:
        case WIRE_GRANT:
        case WIRE_GROW_FAILED:
        case WIRE_DEVICES:
        case WIRE_TENANTS:
        case WIRE_WORKERS:
        case WIRE_CACHES:
        case WIRE_COUNTERS:
        case WIRE_STATUS:
        case WIRE_CHECKED:
        case WIRE_LIMITS:
        case WIRE_EVENTS:
        case WIRE_REVOKE:
        case WIRE_SYNC:
                assert(false); /* not from a client: the codec has refused it */
        }
}
