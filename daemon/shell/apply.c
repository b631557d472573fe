/* SPDX-License-Identifier: MIT
 *
 * apply.c -- carries out what the core wants done, in its order.
 *
 * Grants of one batch go to each worker in as few messages as there are; anything else for the same worker first sends
 * what was gathered, so a worker sees things in the order in which the core decided them. Nothing here feeds events
 * back: what goes wrong ends a peer, and daemon_settle() tells the core.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "log.h"
#include "probe.h"

static const enum wire_error_code wire_of_core[CORE_E_MAX_] = {
#define X(name) [CORE_E_##name] = WIRE_E_##name,
        X(NONE) X(TOO_MANY_WORKERS) X(NO_TENANT) X(NO_DEVICE) X(NO_CACHE) X(TOO_MANY_CACHES) X(BAD_GEOMETRY)
                X(BAD_RANGE) X(ALREADY_MAPPED) X(BAD_EXTENT) X(BAD_ACK) X(BAD_REVOKE) X(TOO_MANY_REQUESTS) X(BUSY)
                        X(DEVICE_FULL) X(TENANT_FULL) X(TIMED_OUT) X(DEVICE_FAILED) X(OVERDUE) X(DENIED)
#undef X
};
_Static_assert(CORE_E_MAX_ == CORE_E_DENIED + 1, "each error of the core has one of the protocol");

_Static_assert(CORE_GRANT_LAST == WIRE_GRANT_LAST && CORE_GRANT_SHORT == WIRE_GRANT_SHORT, "flags of GRANT");

static enum wire_error_code apply_error(uint32_t error)
{
        assert(error < CORE_E_MAX_);

        return wire_of_core[error];
}

static void apply_welcome(struct daemon *d, const struct core_action *action)
{
        struct peer *peer = d->peers[action->peer.cookie & 0xffffu];
        struct wire_welcome welcome = { .version = WIRE_VERSION, .worker = action->worker, .features = WIRE_FEATURES };
        uint64_t token[2];
        int ours, theirs;

        assert(peer && peer->cookie == action->peer.cookie); /* freed in daemon_settle() alone, ended or not */

        peer->worker = action->worker;
        peer->tenant_index = action->peer.tenant;
        peer_greeted(peer, PEER_WORKER);
        peer_watch_process(peer);
        d->peer_of_worker[peer->worker & 0xffffu] = peer;
        if (peer->ended || peer_make_event_channel(peer, &ours, &theirs) < 0)
                return;
        peer->event_fd = ours;
        memcpy(welcome.tenant, peer->tenant, sizeof(welcome.tenant));
        recover_welcome(d, peer, token);
        welcome.token_low = token[0];
        welcome.token_high = token[1];
        peer_send(peer, WIRE_WELCOME, peer->hello_request, &welcome, NULL, 0, theirs);
        events_add(d, WIRE_EVENT_worker_connected, &(struct events_facts){ .peer = peer }, "it is worker %u",
                   peer->worker);
}

static void apply_grant(struct daemon *d, struct peer *peer, const struct core_action *action)
{
        struct wire_item_grant item = {
                .extent = action->grant.extent,
                .request = action->grant.request,
                .entry = action->grant.entry,
                .plane = action->grant.plane,
                .first = action->grant.first,
                .order = action->grant.order,
                .flags = action->flags,
        };

        PROBE3(grant, peer->pid, item.request, UINT64_C(1) << item.order);
        store_granted(&d->store, item.extent, action->worker, peer->tenant_index);
        peer_gather_grant(peer, &item);
}

static void apply_failed(struct daemon *d, struct peer *peer, const struct core_action *action)
{
        enum wire_error_code error = apply_error(action->failed.error);
        struct wire_item_grow_failed item = {
                .request = action->failed.request,
                .entry = action->failed.entry,
                .error = error,
                .status = wire_error_errno(error),
        };

        peer_gather_failed(peer, &item);
        notice_request_failed(d, peer, error);
}

static void apply_revoke(struct peer *peer, const struct core_action *action)
{
        uint64_t now = daemon_core_usec(peer->daemon, daemon_now_usec()), deadline = action->revoke.deadline_usec;
        struct wire_revoke revoke = {
                .revoke = action->revoke.revoke,
                .level = action->revoke.level,
                .device = action->revoke.device,
                .pages = action->revoke.pages,
                .deadline_usec = deadline > now ? deadline - now : 0,
        };

        PROBE3(revoke, peer->pid, revoke.pages, revoke.level);
        peer_send_event(peer, WIRE_REVOKE, &revoke);
}

/* What is said to one worker. */
static void apply_to_peer(struct daemon *d, struct peer *peer, const struct core_action *action)
{
        struct wire_cache cache = { .cache = action->reply.cache };
        const struct store_device *device;

        switch ((enum core_action_type)action->type) {
        case CORE_ACT_GRANT:
                apply_grant(d, peer, action);
                break;
        case CORE_ACT_GROW_FAILED:
                apply_failed(d, peer, action);
                break;
        case CORE_ACT_REPLY_OK:
                peer_gather_send(peer);
                peer_send(peer, WIRE_OK, action->reply.request, NULL, NULL, 0, -1);
                break;
        case CORE_ACT_REPLY_ERROR:
                peer_gather_send(peer);
                peer_send_error(peer, action->reply.request, apply_error(action->reply.error), NULL);
                break;
        case CORE_ACT_REPLY_CACHE:
                peer_gather_send(peer);
                peer_send(peer, WIRE_CACHE, action->reply.request, &cache, NULL, 0, -1);
                break;
        case CORE_ACT_REVOKE:
                apply_revoke(peer, action);
                break;
        case CORE_ACT_SYNC:
                peer_send_event(peer, WIRE_SYNC, NULL);
                break;
        case CORE_ACT_DROP:
                if (action->reply.error == CORE_E_OVERDUE && peer_was_short_of_refs(peer))
                        break; /* it cannot acknowledge what it was not sent: the core says so again in five seconds */
                peer_gather_send(peer);
                peer_fail(peer, 0, apply_error(action->reply.error), NULL);
                break;
        case CORE_ACT_OVERDUE:
                device = &d->store.devices[action->revoke.device];
                events_add(d, WIRE_EVENT_revoke_overdue,
                           &(struct events_facts){ .peer = peer,
                                                   .device = device->name,
                                                   .bytes = action->revoke.pages * device->info.page_size },
                           "it was asked for memory and did not answer: it is granted nothing until it does");
                break;
        case CORE_ACT_LATE:
                events_add(d, WIRE_EVENT_revoke_answered_late, &(struct events_facts){ .peer = peer },
                           "it is granted memory again");
                break;
        case CORE_ACT_KILL:
                peer_kill(peer);
                break;
        case CORE_ACT_CREATE:
        case CORE_ACT_DESTROY:
        case CORE_ACT_WELCOME:
        case CORE_ACT_REFUSE:
        case CORE_ACT_TRANSITION:
        case CORE_ACT_MAX_:
                assert(false);
        }
}

static void apply_one(struct daemon *d, const struct core_action *action)
{
        struct peer *peer;

        switch ((enum core_action_type)action->type) {
        case CORE_ACT_CREATE:
                store_create(&d->store, action->device.device, action->device.extent, action->device.order);
                break;
        case CORE_ACT_DESTROY:
                recover_destroy(d, action->device.device, action->device.extent);
                break;
        case CORE_ACT_WELCOME:
                apply_welcome(d, action);
                break;
        case CORE_ACT_REFUSE:
                peer = peers_find_cookie(d, action->peer.cookie);
                if (peer)
                        peer_fail(peer, peer->hello_request, apply_error(action->peer.error), NULL);
                break;
        case CORE_ACT_TRANSITION: /* we do not ask for them */
                break;
        case CORE_ACT_GRANT:
        case CORE_ACT_GROW_FAILED:
        case CORE_ACT_REPLY_OK:
        case CORE_ACT_REPLY_ERROR:
        case CORE_ACT_REPLY_CACHE:
        case CORE_ACT_REVOKE:
        case CORE_ACT_SYNC:
        case CORE_ACT_DROP:
        case CORE_ACT_OVERDUE:
        case CORE_ACT_LATE:
        case CORE_ACT_KILL:
                peer = peers_find_worker(d, action->worker);
                if (peer) /* else it ended, and the core is about to hear of it */
                        apply_to_peer(d, peer, action);
                break;
        case CORE_ACT_MAX_:
                assert(false);
        }
}

void apply_actions(struct daemon *d)
{
        struct peer *peer;

        for (uint32_t i = 0; i < d->actions.n; i++)
                apply_one(d, &d->actions.v[i]);
        d->actions.n = 0;
        if (d->recover.hold.n_releases > 0 || d->recover.hold.failed)
                recover_flush(d);
        while ((peer = d->gathering)) {
                d->gathering = peer->next_gathering;
                peer->gathering = false;
                peer_gather_send(peer);
        }
}
