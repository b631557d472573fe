/* SPDX-License-Identifier: MIT
 *
 * resume.c -- a worker that was there before comes back: RESUME, what it has, RESUMED. See recover.h.
 *
 * That it is the same is proved twice: by the token that its WELCOME had, and by the kernel, for it must be the same
 * process. What it says it has is checked against the core, which knows whose each extent is.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "log.h"

/* In time that does not depend on where they differ. */
static bool resume_same_token(const uint64_t a[static 2], uint64_t low, uint64_t high)
{
        return ((a[0] ^ low) | (a[1] ^ high)) == 0;
}

void resume_forget(struct daemon *d, uint32_t worker, const char *why)
{
        for (uint32_t i = 0; i < d->max_peers; i++) {
                struct peer *peer = d->peers[i];

                if (peer && peer->state == PEER_RESUMING && peer->worker == worker)
                        peer_fail(peer, 0, WIRE_E_NOT_KNOWN, why);
        }
}

static void resume_begin(struct peer *peer, const struct wire_view *view)
{
        const struct wire_resume *resume = view->fixed;
        struct wire_welcome welcome = { .version = WIRE_VERSION, .worker = resume->worker, .features = WIRE_FEATURES };
        struct daemon *d = peer->daemon;
        const struct state_worker *record = recover_absent(d, resume->worker);
        int ours, theirs;

        peer->hello_request = view->header.request;
        if (!record || !resume_same_token(record->token, resume->token_low, resume->token_high) ||
            record->pid != (uint32_t)peer->pid || record->uid != peer->uid) {
                peer_fail(peer, peer->hello_request, WIRE_E_NOT_KNOWN, NULL);
                return;
        }
        if (remains_refuse(peer, record->tenant))
                return;
        resume_forget(d, resume->worker, "it came back by another connection"); /* one has one place */
        peer->has = calloc((core_extent_slots(d->core) + 7) / 8 + 1, 1);
        if (!peer->has) {
                peer_fail(peer, peer->hello_request, WIRE_E_TOO_MANY_WORKERS, strerror(ENOMEM));
                return;
        }
        if (peer_make_event_channel(peer, &ours, &theirs) < 0)
                return;
        peer->event_fd = ours;
        peer->worker = resume->worker;
        peer->tenant_index = record->tenant;
        memcpy(peer->tenant, record->tenant_name, sizeof(peer->tenant));
        peer->accepted = record->accepted;
        free(peer->cgroup); /* it is charged where it was when it connected first */
        peer->cgroup = record->cgroup[0] ? strdup(record->cgroup) : NULL;
        peer_greeted(peer, PEER_RESUMING);
        memcpy(welcome.tenant, peer->tenant, sizeof(welcome.tenant));
        welcome.token_low = record->token[0];
        welcome.token_high = record->token[1];
        peer_send(peer, WIRE_WELCOME, peer->hello_request, &welcome, NULL, 0, theirs);
}

static void resume_holds(struct peer *peer, const struct wire_view *view)
{
        const struct wire_item_extent_id *items = view->items;
        struct core_extent_info info;

        for (uint32_t i = 0; i < view->n_items; i++) {
                const uint32_t slot = (uint32_t)items[i].extent;

                if (!core_extent_info(peer->daemon->core, slot, &info) || info.extent != items[i].extent ||
                    info.place != CORE_EXTENT_HELD || info.worker != peer->worker) {
                        peer_fail(peer, 0, WIRE_E_BAD_EXTENT, "it has what the daemon does not know of");
                        return;
                }
                peer->has[slot / 8] |= (uint8_t)(1u << slot % 8);
        }
}

/* What it did not name never arrived, or was given back to a daemon that had no time to hear of it. */
static void resume_take_back(struct peer *peer)
{
        struct daemon *d = peer->daemon;
        const uint32_t n = core_extent_slots(d->core); /* there may be more than there were: those are not its */
        struct core_extent_info info;
        struct core_event event;

        for (uint32_t i = 0; i < n; i++) {
                if (!core_extent_info(d->core, i, &info) || info.place != CORE_EXTENT_HELD ||
                    info.worker != peer->worker || peer->has[i / 8] & 1u << i % 8)
                        continue;
                core_event_init(&event, CORE_EV_RETURN, daemon_now_usec());
                event.ret.worker = peer->worker;
                event.ret.refused = info.granted;
                event.ret.extent = info.extent;
                daemon_event(d, &event);
        }
}

static void resume_end_caches(struct peer *peer, const struct wire_view *view)
{
        const struct wire_item_cache_id *items = view->items;
        struct daemon *d = peer->daemon;
        struct core_cache_info info;
        struct core_event event;

        for (uint32_t i = 0; i < core_cache_slots(d->core); i++) {
                bool named = false;

                if (!core_cache_info(d->core, i, &info) || info.worker != peer->worker)
                        continue;
                for (uint32_t k = 0; k < view->n_items && !named; k++)
                        named = items[k].cache == info.cache;
                if (named)
                        continue;
                core_event_init(&event, CORE_EV_CACHE_DESTROY, daemon_now_usec());
                event.cache_destroy.worker = peer->worker;
                event.cache_destroy.cache = info.cache;
                daemon_event(d, &event);
        }
}

static void resume_end(struct peer *peer, const struct wire_view *view)
{
        struct daemon *d = peer->daemon;
        struct core_worker_info info = { 0 };
        struct core_event event;

        if (!recover_absent(d, peer->worker)) { /* it ended */
                peer_fail(peer, view->header.request, WIRE_E_NOT_KNOWN, NULL);
                return;
        }
        resume_take_back(peer);
        resume_end_caches(peer, view);
        apply_actions(d); /* what is answered to that is for nobody */
        core_event_init(&event, CORE_EV_WORKER_ATTACH, daemon_now_usec());
        event.worker_attach.worker = peer->worker;
        event.worker_attach.attached = 1;
        daemon_event(d, &event);
        (void)core_worker_info(d->core, peer->worker & 0xffffu, &info);
        assert(info.worker == peer->worker);
        recover_found(d, peer->worker);
        free(peer->has);
        peer->has = NULL;
        peer->granted_before = info.granted;
        peer_greeted(peer, PEER_WORKER);
        d->peer_of_worker[peer->worker & 0xffffu] = peer;
        peer_watch_process(peer);
        peer_send(peer, WIRE_OK, view->header.request, NULL, NULL, 0, -1);
        events_add(d, WIRE_EVENT_worker_resumed, &(struct events_facts){ .peer = peer, .bytes = info.current_bytes },
                   "it is worker %" PRIu32 " again", peer->worker);
}

void resume_message(struct peer *peer, const struct wire_view *view)
{
        switch (view->info->opcode) {
        case WIRE_RESUME:
                resume_begin(peer, view);
                break;
        case WIRE_HOLDS:
                resume_holds(peer, view);
                break;
        case WIRE_RESUMED:
                resume_end(peer, view);
                break;
        default:
                assert(false);
        }
}
