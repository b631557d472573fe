/* SPDX-License-Identifier: MIT
 *
 * bursts.h -- a load in which tenants peak by turns: while one has a burst of requests, the others idle.
 *
 * Burst b is the tenant's whose number is b modulo their number. Each begins when most of the one before it is done, as
 * where the answers of one model are what the other is asked next: so how long all bursts take together tells how fast
 * each was served, and none can be put off into the quiet time of its tenant. Requests arrive so long after their
 * burst's begin as their arrival_usec says.
 *
 * Lies in shared memory, as the ledger does. On the virtual clock engines run one at a time, so no lock is needed.
 */
#ifndef KVPAGER_REPLAY_BURSTS_H
#define KVPAGER_REPLAY_BURSTS_H

#include <assert.h>
#include <stdint.h>

#include "trace.h"

#define BURSTS_MAX      1024u
#define BURSTS_A_TENANT 4u
#define BURSTS_REST     8u /* the next one begins when an eighth of a burst is left */

struct burst {
        uint64_t begin_usec; /* UINT64_MAX: not begun */
        uint64_t requests, done;
};

struct bursts {
        uint32_t n, begun;
        struct burst burst[BURSTS_MAX];
};

/* Nothing has begun but the first one. */
static inline void bursts_rewind(struct bursts *bursts)
{
        assert(bursts->n > 0 && bursts->n <= BURSTS_MAX);
        for (uint32_t b = 0; b < bursts->n; b++) {
                bursts->burst[b].begin_usec = b == 0 ? 0 : UINT64_MAX;
                bursts->burst[b].done = 0;
        }
        bursts->begun = 1;
}

/* When the request arrives; UINT64_MAX: nobody knows yet. */
static inline uint64_t bursts_arrival(const struct bursts *bursts, const struct request *request)
{
        uint64_t begin;

        assert(request->burst < bursts->n);
        begin = bursts->burst[request->burst].begin_usec;
        return begin == UINT64_MAX ? UINT64_MAX : begin + request->arrival_usec;
}

/* The request is completed, or rejected. */
static inline void bursts_done(struct bursts *bursts, const struct request *request, uint64_t now_usec)
{
        const uint32_t next = request->burst + 1;
        struct burst *burst = &bursts->burst[request->burst];

        assert(burst->done < burst->requests);
        burst->done++;
        if (next < bursts->n && bursts->burst[next].begin_usec == UINT64_MAX &&
            (burst->requests - burst->done) * BURSTS_REST <= burst->requests) {
                bursts->burst[next].begin_usec = now_usec;
                bursts->begun++;
        }
}

#endif
