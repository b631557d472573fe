/* SPDX-License-Identifier: MIT
 *
 * engine.h -- continuous batching as an LLM engine does it, over a memory that may say no.
 *
 * A pure state machine: no clock, no I/O; time comes in, and how long the iteration took comes out. The same engine
 * runs over kvpager and over a simulated block allocator, so that their figures differ by the memory alone.
 *
 * An iteration: every running sequence grows by one token (one call to the memory for all); where memory is short the
 * youngest goes back to the front of the queue, to be recomputed, until the rest fits. If none had to go, waiting
 * requests are admitted in order of arrival as long as a row and the memory for the prompt and its first new token are
 * to be had, and the ledger keeps its spare (which only an engine with nothing running may use).
 *
 * Progress. An admission comes with room for one token, and a preemption gives room to an older sequence; tokens made
 * are never lost, only recomputed. A lone sequence that cannot grow waits for other engines, then steps back itself and
 * lets them pass. So some engine always makes a token as long as each request fits the memory alone.
 *
 * Pressure. Others may want memory back while an operation of the memory is under way, or between iterations:
 * engine_give_up() then preempts the youngest, from whatever thread, and the engine goes on with those that are left.
 */
#ifndef KVPAGER_REPLAY_ENGINE_H
#define KVPAGER_REPLAY_ENGINE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bursts.h"
#include "ledger.h"
#include "trace.h"

struct sequence {
        const struct request *request;
        uint32_t generated;      /* tokens made so far; survives preemption */
        uint64_t length;         /* tokens that the memory holds */
        uint32_t row;            /* the memory's: where it is */
        uint64_t backed;         /* the memory's: how much it gave, in units of its own */
        uint64_t prefill_backed; /* the memory's: how much of that when its prompt was written */
        uint64_t booked;         /* in the ledger */
        bool prefilled;          /* its prompt is computed */
};

/* All return 0 or a negative errno. -ENOMEM, -EDQUOT, -ETIMEDOUT: no memory now; -EAGAIN: no row. Others end the
 * replay. While one is under way engine_give_up() may be called. */
struct memory_ops {
        /* Takes a row with room for `tokens`; on failure nothing is held. */
        int (*admit)(void *memory, struct sequence *sequence, uint64_t tokens);
        /* Makes room for one token more in each; what was given before a failure stays. There may be fewer of them at
         * its end, if the last ones were given up meanwhile. */
        int (*grow)(void *memory, struct sequence *sequences, const size_t *n);
        /* The tokens from `from` up to sequence->length are computed. NULL where there is nothing to compute. */
        int (*compute)(void *memory, struct sequence *sequence, uint64_t from);
        /* What a sequence of so many tokens takes of it, in units of the ledger. */
        uint64_t (*footprint)(const void *memory, uint64_t tokens);
        /* Gives the row back. */
        int (*release)(void *memory, struct sequence *sequence);
};

struct engine {
        const struct memory_ops *ops;
        void *memory;
        struct ledger *ledger;
        struct bursts *bursts;                    /* NULL: requests arrive by the clock alone */
        const struct request *requests;           /* this engine's share, by arrival */
        size_t n_requests, n_arrived, n_admitted; /* admitted or rejected, of those that arrived */
        struct sequence *running;                 /* oldest admission first */
        size_t n_running, max_running;
        struct sequence *preempted; /* waiting before all others; the front is the last */
        size_t n_preempted;
        uint64_t clock_usec; /* the end of the iteration under way, or of the last one */
        uint32_t n_stalled;  /* iterations in a row in which nothing could be done */
        uint32_t n_embargo;  /* iterations to come without admission */
        uint64_t completed, rejected, tokens;
        uint64_t preemptions, given_up; /* all; those of them that engine_give_up() made */
};

struct engine_iteration {
        uint64_t duration_usec; /* by the cost model of the virtual clock */
        uint64_t kv_tokens;     /* held by running sequences */
        uint64_t prefill_tokens;
        uint32_t n_running; /* while it ran */
        bool stalled;       /* there was work and none of it could be done */
};

/* `requests` and `ledger` must outlive the engine; who has bursts, sets them afterwards. -ENOMEM. */
int engine_init(struct engine *engine, const struct memory_ops *ops, void *memory, struct ledger *ledger,
                const struct request *requests, size_t n_requests, size_t max_running);
void engine_clear(struct engine *engine);

/* When the next iteration can begin, for one whose clock shows `now`: `now`, the next arrival, or UINT64_MAX: all is
 * done, or will be once a burst begins of which nobody knows when. */
uint64_t engine_next(const struct engine *engine, uint64_t now);

/* One iteration at time `now`, up to where it holds most. 0, or what the memory said if that was no shortage. */
int engine_iterate(struct engine *engine, uint64_t now, struct engine_iteration *ret_iteration);

/* The end of an iteration: sequences that made their last token give back their rows. Errors as above. */
int engine_complete(struct engine *engine);

/* Preempts the youngest because others want memory back. -ENOENT: nothing runs; else what the memory said. */
int engine_give_up(struct engine *engine);

/* Requests that have arrived and do not run. */
static inline uint64_t engine_waiting(const struct engine *engine)
{
        return engine->n_preempted + engine->n_arrived - engine->n_admitted;
}

static inline bool memory_is_short(int r)
{
        return r == -ENOMEM || r == -EDQUOT || r == -ETIMEDOUT;
}

#endif
