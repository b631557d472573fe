/* SPDX-License-Identifier: MIT
 *
 * pressure.h -- what an engine does when others want memory back that its sequences use.
 *
 * The library has given idle rows and look-ahead by then; what is still wanted, the engine gives by preempting its
 * youngest sequences, as many as it takes. The handler runs on the library's mapper thread. Where the engine stands
 * then:
 *
 *      at work     it computes or decides; the handler waits until it yields, at most half of the time that the daemon
 *                  gives. If it does not, the handler notes the amount (`owed`), and the engine pays it before its next
 *                  iteration.
 *      in a call   it waits for memory, in kvp_step(), or for the mapper. The handler preempts at once; the call lets
 *                  go of rows that are released, and the engine looks at how many sequences it still has.
 *      resting     it waits for its turn or for an arrival. The handler preempts at once.
 *
 * No wait is a circle: the engine waits for the daemon with a timeout, and for the handler; the handler waits for the
 * engine for a bounded time and for nobody else, least of all for memory. So an engine that waits for memory that
 * another has to give up holds up neither that one nor those who want something of itself. A row that is released while
 * the daemon still has a request for it keeps its pages until that ends: the daemon finds nothing else to give it, so
 * it fails at once, and the row is idle.
 */
#ifndef KVPAGER_REPLAY_PRESSURE_H
#define KVPAGER_REPLAY_PRESSURE_H

#include "engine.h"
#include "gate.h"
#include "pager.h"

struct pressure {
        struct gate gate;
        struct engine *engine;
        struct pager *pager;
        _Atomic uint64_t owed; /* bytes */
        int error;             /* what the handler met, for the engine's thread */
};

/* Lets the daemon ask. Engine and pager must outlive it; the engine's thread, this one, is at work until it leaves the
 * gate. */
int pressure_begin(struct pressure *pressure, struct engine *engine, struct pager *pager);

/* The engine is not touched any more. The connection still stands. */
void pressure_end(struct pressure *pressure);

/* On the engine's thread: gives up what is owed. An error is what the memory said, now or to the handler. */
int pressure_pay(struct pressure *pressure);

#endif
