/* SPDX-License-Identifier: MIT
 *
 * gate.h -- who may touch an engine: its own thread while it is at work, one visitor while it rests.
 *
 * The engine's thread leaves the gate whenever it waits for anything (memory, its turn, an arrival) and yields between
 * the computations of two sequences; a visitor comes in then, before the engine goes on, and waits no longer than it
 * says.
 */
#ifndef KVPAGER_REPLAY_GATE_H
#define KVPAGER_REPLAY_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gate {
        pthread_mutex_t mutex; /* held during a visit */
        pthread_cond_t changed;
        bool at_work, closed;
        atomic_bool expected; /* a visitor waits */
};

/* The engine is at work. */
void gate_init(struct gate *gate);
void gate_clear(struct gate *gate);

/* ---- the engine's thread; a gate that is NULL has no visitors ---- */

void gate_leave(struct gate *gate);
void gate_enter(struct gate *gate);
void gate_yield(struct gate *gate);

/* Nobody is let in from now on. */
void gate_close(struct gate *gate);

/* ---- the visitor ---- */

/* 0: inside, until gate_part(). -ETIMEDOUT: the engine did not rest within `usec`. -ESHUTDOWN: closed. */
int gate_visit(struct gate *gate, uint64_t usec);
void gate_part(struct gate *gate);

#endif
