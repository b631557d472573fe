/* SPDX-License-Identifier: MIT
 *
 * patience.h -- how long a worker waits for memory, on the wall clock.
 *
 * As long as anybody who keeps the same books computes something, what holds the memory goes on and will end. Time
 * counts from where nobody does.
 */
#ifndef KVPAGER_REPLAY_PATIENCE_H
#define KVPAGER_REPLAY_PATIENCE_H

#include "ledger.h"

#define PATIENCE_USEC UINT64_C(60000000)

struct patience {
        uint64_t since_usec;
        uint64_t computed; /* of the ledger, then */
};

static inline void patience_renew(struct patience *patience, const struct ledger *ledger, uint64_t now_usec)
{
        patience->since_usec = now_usec;
        patience->computed = ledger_computed(ledger);
}

/* Whether who could do nothing just now has waited long enough. */
static inline bool patience_ends(struct patience *patience, const struct ledger *ledger, uint64_t now_usec)
{
        if (ledger_computed(ledger) != patience->computed)
                patience_renew(patience, ledger, now_usec);
        return now_usec - patience->since_usec > PATIENCE_USEC;
}

#endif
