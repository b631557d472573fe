/* SPDX-License-Identifier: MIT
 *
 * recover.h -- going on where another daemon ended, be it stopped, upgraded or killed at any instant.
 *
 * The holder has the fd of every extent, and the state (state.h): the core as it was after the last event that was
 * noted. What was under way is not pieced together. Each worker notices that its connection ended, comes back, and says
 * what it has; whatever the core knows of beyond that did not arrive, and is taken back; what it had asked for it asks
 * for again. Until then it is *absent*:
 *
 *      worker --(the daemon ends)--> absent --RESUME--> resuming --RESUMED--> worker
 *                                      |                   |
 *                                      +-- its process ended, or absent-timeout --> gone: its extents are destroyed
 *
 * An absent worker computes on with what it has mapped; it is granted nothing, asked for nothing, and charged as
 * before. What became of extents is read off the core's tables and the holder's list:
 *
 *      the core has it as     held                        not held
 *      creating               it is made                  it is made anew
 *      virgin, granted        it is taken over            the holder is not to be relied on: a new beginning
 *      returning              it is destroyed (again)     it is destroyed
 *      not at all             it is destroyed             -
 *
 * A new beginning destroys nothing that somebody may have mapped: workers that come back are told that they are not
 * known, and keep what they have for as long as they live.
 */
#ifndef SHELL_RECOVER_H
#define SHELL_RECOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "config.h"
#include "hold.h"
#include "state.h"

struct daemon;
struct peer;
struct absent;

struct recover {
        struct hold hold;
        struct state *state; /* NULL: nothing outlives us */
        sd_event_source *hold_source, *hold_again, *hold_late;
        struct config_amount asked[CONFIG_MAX_TENANTS]; /* each memory.min as configured, */
        bool lowered;                                   /* where those were made to fit */
        uint32_t releasing;                             /* answers of the holder that are due */
        bool filling;                                   /* a new one has not said yet that it has all */
        bool resumed;                                   /* the state was another daemon's */
        uint64_t began_usec;                            /* of which the first began then */
        struct held_item *items;                        /* what the holder had, until recover_finish() */
        int *fds;
        size_t n_items, capacity;
        struct absent *absent;
        uint64_t *gone;    /* extents that are to be destroyed, and have been */
        uint32_t n_gone;   /* that the core has asked for */
        char path[128];    /* of the holder */
        char summary[128]; /* of what was taken over */
};

/* Finds the holder, and what it has; without either the daemon begins anew. Before the devices are opened. */
int recover_find(struct daemon *daemon);

/* Nothing of before is used; whoever has it mapped keeps it. */
void recover_begin_anew(struct daemon *daemon, const char *why);

/* Whether the devices are those of before. If not, the daemon begins anew, and they are to be opened once more. Where a
 * capacity stays that is less than configured, guarantees are made to fit it. */
bool recover_compare(struct daemon *daemon);

/* The core's parameters, in place of those that it would have, where there is something to go on with. */
void recover_params(const struct daemon *daemon, struct core_params *params);

/* Builds daemon->core in `arena`: as it was, or anew. From then on events are noted. */
int recover_core(struct daemon *daemon, void *arena, const struct core_params *params);

/* Takes over what is held; what the core does not know of is destroyed, now or by recover_finish(). Before the devices'
 * threads are started. */
void recover_take(struct daemon *daemon);

/* Goes on with what was under way, and waits for the workers. After the devices were added. */
int recover_go(struct daemon *daemon);

/* From here on there is something to go on from. After the tenants were set. */
int recover_finish(struct daemon *daemon);

/* Tells the core what it asked to be destroyed and was gone already. True: there was some. */
bool recover_settle(struct daemon *daemon);
void recover_close(struct daemon *daemon);

/* Since when the core counts: since this daemon started, or the first of those that it goes on from. */
uint64_t recover_began_usec(const struct daemon *daemon);

/* Notes an event before it is applied. */
void recover_note(struct daemon *daemon, const struct core_event *event);

/* An extent was made: it is to be held before anybody hears of it, from recover_flush() on. Or it is gone. */
void recover_made(struct daemon *daemon, uint32_t device, uint64_t extent);
void recover_gone(struct daemon *daemon, uint64_t extent);
void recover_flush(struct daemon *daemon);

/* Destroys an extent; where its memory is free only once nobody has it, the holder gives it up first. */
void recover_destroy(struct daemon *daemon, uint32_t device, uint64_t extent);

/* Hears of the holder's end from here on. */
int recover_watch_holder(struct daemon *daemon);

/* A worker is about to be welcomed: it gets a token; zero where nothing is noted. And it is gone. */
void recover_welcome(struct daemon *daemon, const struct peer *peer, uint64_t ret_token[static 2]);
void recover_forget(struct daemon *daemon, uint32_t worker);

/* The record of an absent worker; NULL: there is none. It is absent no more after recover_found(). */
const struct state_worker *recover_absent(const struct daemon *daemon, uint32_t worker);
void recover_found(struct daemon *daemon, uint32_t worker);

#endif
