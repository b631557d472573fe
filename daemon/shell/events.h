/* SPDX-License-Identifier: MIT
 *
 * events.h -- what happened, remembered by number and told to those who follow.
 *
 * The last EVENTS_KEPT events stay. A follower is told of new ones at the end of each turn, in packets of many, as long
 * as it takes them: one that is slow finds some missing, one that does not read is dropped as any peer is, and nobody
 * waits for either.
 */
#ifndef SHELL_EVENTS_H
#define SHELL_EVENTS_H

#include <stdint.h>

#include "config.h"
#include "wire.h"

#define EVENTS_KEPT          1024u
#define EVENTS_MAX_FOLLOWERS 16u

struct daemon;
struct peer;

struct events {
        struct wire_item_event *ring; /* by number, modulo EVENTS_KEPT */
        uint64_t next;                /* number of the next event; the first is 1 */
        struct peer *followers[EVENTS_MAX_FOLLOWERS];
        uint32_t n_followers;
};

/* What an event is about; what does not apply is NULL or 0. */
struct events_facts {
        const struct peer *peer;
        const char *tenant, *device; /* tenant NULL: the peer's */
        uint64_t bytes;
        uint32_t count;
        uint64_t pid; /* these three: of somebody who is no peer any more */
        uint32_t uid, worker;
};

int events_open(struct events *events);
void events_close(struct events *events);

/* Remembers an event of now. `facts` NULL: it is about nobody. */
void events_add(struct daemon *daemon, enum wire_event event, const struct events_facts *facts, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* Whose worker that process is, or was as far as events are remembered: fills tenant and uid. */
bool events_find_worker(const struct daemon *daemon, uint32_t worker, uint64_t pid,
                        char ret_tenant[static CONFIG_NAME_MAX], uint32_t *ret_uid);

/* Answers EVENTS_GET. */
void events_answer(struct peer *peer, const struct wire_view *view);

/* Tells the followers what is new. Peers may end of it. */
void events_push(struct daemon *daemon);

/* The peer is no follower any longer. */
void events_forget(struct peer *peer);

#endif
