/* SPDX-License-Identifier: MIT
 *
 * world.h -- one run: a core, its shadow, a clock, a fake device, fake workers, and the log of every event.
 *
 * world_apply() is the only way to the core: it encodes the event, decodes it again, logs it, applies it, shows event
 * and actions to the shadow, proves the core's invariants (core_check) and compares. The first broken rule ends the
 * process with the seed, the event's number and the command that replays it.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core.h"
#include "model.h"
#include "random.h"

/* ---- The device ---- */

struct device_operation {
        uint64_t extent;
        uint32_t device, order;
        bool creates;
};

struct fake_device {
        struct device_operation *operations; /* asked for, not answered */
        uint32_t n_operations, operations_space;
        uint32_t used[CORE_MAX_DEVICES];   /* pages */
        uint32_t stolen[CORE_MAX_DEVICES]; /* pages that somebody else took */
        uint32_t fail_after, fail_for;     /* so many operations succeed, then so many fail */
        bool in_order;
};

/* ---- The workers ---- */

enum patience { WORKER_PROMPT, WORKER_LATE, WORKER_NEVER };

struct fake_worker {
        uint32_t serial, id;
        uint64_t read; /* grants that it took from its socket */
        enum patience acknowledges, answers;
        bool partial; /* answers revokes with less than it could */
        bool lies;
        bool detached; /* its connection is gone, see world_restart() */
        bool must_sync;
        uint32_t answering;    /* the revoke that it is answering */
        uint64_t answer_pages; /* given back for that so far */
};

/* ---- The run ---- */

struct progress { /* shared with the process that watches */
        uint64_t seed;
        uint32_t event;
};

struct world {
        uint64_t seed;
        struct random random;
        struct core_params params;
        void *memory;
        size_t size;
        struct core *core;
        struct model model;
        struct core_actions actions;
        uint32_t actions_from; /* the last event's actions begin here */
        uint64_t now;
        uint32_t n_events;
        uint64_t digest; /* of all actions so far */
        uint8_t *log;
        uint32_t n_log, log_space;
        struct fake_device device;
        struct fake_worker *workers;
        uint32_t n_workers, workers_space;
        uint32_t next_request;
        uint64_t next_cookie;
        bool restarts;      /* the daemon is killed now and then, and goes on */
        bool calm;          /* everybody answers at once and the device works */
        bool device_faults; /* it fails now and then */
        bool wide;          /* large devices, many planes, long rows: tables and windows fill up */
        bool liars;         /* some workers break the protocol */
        uint32_t tenants;   /* to begin with */
        struct {            /* half-way, to go on from again */
                void *memory;
                uint32_t n_log;
                uint64_t digest;
        } snapshot;
        FILE *out; /* events and actions in words go there; NULL: nowhere */
        uint32_t out_from;
        bool small;  /* devices, so that a fuzzer's inputs run fast */
        bool aborts; /* a broken rule is a crash, as fuzzers want it */
        bool golden; /* without numbers that only matter for replay */
        volatile struct progress *progress;
};

void world_init(struct world *world, uint64_t seed, const struct core_params *params);
void world_done(struct world *world);
/* Fills in type and time; for events to be completed and given to world_apply(). */
void world_event(struct world *world, struct core_event *event, enum core_event_type type);
void world_apply(struct world *world, struct core_event *event);
/* The core goes on in a copy of what it says counts of its memory. */
void world_move(struct world *world);
void world_tick(struct world *world);
/* Applies ticks until nothing is pending. */
void world_flush(struct world *world);
/* Goes to that time, with the ticks that are due on the way. */
void world_advance(struct world *world, uint64_t usec);
void world_take_snapshot(struct world *world);
/* Applies the logged events to a fresh core, and those after the snapshot to the snapshot: same bytes, same actions. */
void world_check_replay(struct world *world);
_Noreturn void world_fail(struct world *world, const char *why);

/* device.c */
void device_take(struct world *world, const struct core_action *action);
void device_answer(struct world *world, uint32_t at); /* executes one operation and tells the core */
void device_answer_any(struct world *world);
void device_answer_all(struct world *world);
void device_heal(struct world *world);

/* workers.c */
void workers_take(struct world *world, const struct core_action *action);
void worker_step(struct world *world, struct fake_worker *worker);   /* one event, or none */
void worker_answer(struct world *world, struct fake_worker *worker); /* acknowledges and answers what is asked of it */
bool worker_owes(struct world *world, const struct fake_worker *worker); /* an acknowledgement or an answer */
void worker_die(struct world *world, uint32_t at);
void worker_connect(struct world *world, uint32_t tenant);
void workers_lose_connections(struct world *world);
void worker_resume(struct world *world, struct fake_worker *worker);
void workers_turn_honest(struct world *world);

/* requests that the workers make: requests.c; what liars send: lies.c */
void worker_create_cache(struct world *world, struct fake_worker *worker);
void worker_grow(struct world *world, struct fake_worker *worker);
void worker_hold(struct world *world, struct fake_worker *worker, bool held);
void worker_trim(struct world *world, struct fake_worker *worker);
void worker_destroy_cache(struct world *world, struct fake_worker *worker);
void worker_lie(struct world *world, struct fake_worker *worker);
void worker_send_ack(struct world *world, struct fake_worker *worker, uint64_t granted);
void worker_send_return(struct world *world, struct fake_worker *worker, uint64_t extent, bool refused);
struct model_cache *worker_any_cache(struct world *world, const struct fake_worker *worker);

/* sim.c: a whole run of a seed, in a core of these parameters. */
void sim_params(uint64_t seed, bool trace, struct core_params *ret_params);
void sim_run(struct world *world, uint32_t events);
/* The same, but decided by bytes; it ends where they do. For fuzzers: what is broken aborts. */
void sim_run_script(const uint8_t *script, size_t size);

/* scenario.c: the golden traces. False: no scenario of that name. */
bool scenario_run(const char *name, FILE *out);
const char *scenario_name(unsigned index); /* NULL after the last */

#endif
