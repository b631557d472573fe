/* SPDX-License-Identifier: MIT
 *
 * events.c -- see events.h.
 */
#include "events.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon.h"
#include "log.h"

int events_open(struct events *events)
{
        assert(events && !events->ring);

        events->ring = calloc(EVENTS_KEPT, sizeof(events->ring[0]));
        events->next = 1;
        return events->ring ? 0 : -ENOMEM;
}

void events_close(struct events *events)
{
        free(events->ring);
        events->ring = NULL;
}

static uint64_t events_clock_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* Text as the codec takes it. */
static void events_copy(char *field, size_t size, const char *text)
{
        (void)snprintf(field, size, "%s", text ? text : "");
        wire_text_clean(field);
}

/* The same for the journal. */
static void events_log(struct daemon *d, enum wire_event event, const struct events_facts *facts,
                       const struct wire_item_event *item)
{
        static const struct {
                enum log_kind kind;
                enum log_level level;
                const char *begin;
        } kinds[LOG_KIND_MAX_] = {
#define X(name, level, id, begin) [LOG_KIND_##name] = { LOG_KIND_##name, LOG_LEVEL_##level, begin },
                LOG_KINDS(X)
#undef X
        };
        static const enum log_kind kind_of[WIRE_EVENT_MAX_] = {
#define X(name, doc) [WIRE_EVENT_##name] = LOG_KIND_##name,
                WIRE_EVENT_KINDS(X)
#undef X
        };
        const enum log_kind kind = kind_of[event];
        struct log_facts about = { .kind = kind, .bytes = item->bytes, .count = item->count };
        struct core_tenant_info info;

        if (facts->peer)
                about = peer_facts(facts->peer, about);
        if (facts->pid > 0) {
                about.pid = (int)facts->pid;
                about.uid = facts->uid;
                about.worker = facts->worker;
        }
        about.tenant = item->tenant[0] ? item->tenant : NULL;
        about.device = item->device[0] ? item->device : NULL;
        if ((event == WIRE_EVENT_revoke_overdue || event == WIRE_EVENT_worker_killed) &&
            core_tenant_info(d->core, facts->peer->tenant_index, &info))
                about.deadline_usec = info.reclaim_deadline_usec;
        log_about(kinds[kind].level, &about, "%s%s", kinds[kind].begin, item->text);
}

void events_add(struct daemon *d, enum wire_event event, const struct events_facts *facts, const char *format, ...)
{
        static const struct events_facts nothing;
        struct events *events = &d->events;
        struct wire_item_event *item;
        char text[sizeof(item->text)];
        va_list list;

        assert(event < WIRE_EVENT_MAX_);

        if (!events->ring) /* the daemon did not get that far */
                return;
        if (!facts)
                facts = &nothing;
        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        item = &events->ring[events->next % EVENTS_KEPT];
        *item = (struct wire_item_event){ .sequence = events->next++,
                                          .time_usec = events_clock_usec(),
                                          .pid = facts->pid,
                                          .bytes = facts->bytes,
                                          .worker = facts->worker,
                                          .uid = facts->uid,
                                          .count = facts->count };
        if (facts->peer) {
                item->pid = (uint64_t)facts->peer->pid;
                item->uid = facts->peer->uid;
                item->worker = facts->peer->worker;
        }
        events_copy(item->event, sizeof(item->event), wire_event_name(event));
        events_copy(item->tenant, sizeof(item->tenant),
                    facts->tenant ? facts->tenant
                    : facts->peer ? facts->peer->tenant
                                  : NULL);
        events_copy(item->device, sizeof(item->device), facts->device);
        events_copy(item->text, sizeof(item->text), text);
        events_log(d, event, facts, item);
}

static uint64_t events_oldest(const struct events *events)
{
        return events->next > EVENTS_KEPT ? events->next - EVENTS_KEPT : 1;
}

bool events_find_worker(const struct daemon *d, uint32_t worker, uint64_t pid, char ret_tenant[static CONFIG_NAME_MAX],
                        uint32_t *ret_uid)
{
        const struct peer *peer = peers_find_worker(d, worker);

        if (peer && (uint64_t)peer->pid == pid) {
                memcpy(ret_tenant, peer->tenant, CONFIG_NAME_MAX);
                *ret_uid = peer->uid;
                return true;
        }
        for (uint64_t i = d->events.next; pid > 0 && i > events_oldest(&d->events); i--) { /* 0: of nobody */
                const struct wire_item_event *item = &d->events.ring[(i - 1) % EVENTS_KEPT];

                if (item->worker != worker || item->pid != pid || !item->tenant[0])
                        continue;
                (void)snprintf(ret_tenant, CONFIG_NAME_MAX, "%s", item->tenant);
                *ret_uid = item->uid;
                return true;
        }
        return false;
}

/* One packet of events from number `from` on, or from the oldest. Returns the number to go on from. */
static uint64_t events_send(struct peer *peer, uint32_t request, uint64_t from)
{
        const struct events *events = &peer->daemon->events;
        struct wire_item_event items[WIRE_MAX_EVENTS];
        struct wire_events page;
        uint32_t n = 0;

        if (from < events_oldest(events))
                from = events_oldest(events);
        if (from > events->next) /* of another daemon's life */
                from = events->next;
        for (; from < events->next && n < WIRE_MAX_EVENTS; from++)
                items[n++] = events->ring[from % EVENTS_KEPT];
        page = (struct wire_events){ .more = from < events->next, .next = from };
        peer_send(peer, WIRE_EVENTS, request, &page, items, n, -1);
        return from;
}

void events_answer(struct peer *peer, const struct wire_view *view)
{
        const struct wire_events_get *get = view->fixed;
        struct events *events = &peer->daemon->events;

        assert(peer->state == PEER_ADMIN);

        if (!get->follow) {
                (void)events_send(peer, view->header.request, get->from);
                return;
        }
        if (!peer->following) {
                if (events->n_followers == EVENTS_MAX_FOLLOWERS) {
                        peer_send_error(peer, view->header.request, WIRE_E_TOO_MANY_FOLLOWERS, NULL);
                        return;
                }
                events->followers[events->n_followers++] = peer;
                peer->following = true;
                peer->daemon->n_admins--; /* it may be silent for as long as it likes */
        }
        peer->follow_request = view->header.request;
        peer->follow_next = events_send(peer, view->header.request, get->from);
}

void events_push(struct daemon *d)
{
        for (uint32_t i = 0; i < d->events.n_followers; i++) {
                struct peer *peer = d->events.followers[i];

                while (!peer->ended && outbox_is_empty(&peer->outbox) && peer->follow_next < d->events.next)
                        peer->follow_next = events_send(peer, peer->follow_request, peer->follow_next);
        }
}

void events_forget(struct peer *peer)
{
        struct events *events = &peer->daemon->events;

        if (!peer->following)
                return;
        for (uint32_t i = 0; i < events->n_followers; i++)
                if (events->followers[i] == peer)
                        events->followers[i] = events->followers[--events->n_followers];
        peer->following = false;
}
