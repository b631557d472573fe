/* SPDX-License-Identifier: MIT
 *
 * ledger.h -- what all engines together have admitted: their admission control.
 *
 * An engine that fills the memory to the brim with prompts has to preempt as soon as they grow, so engines keep a share
 * of it free when they admit (vLLM's watermark). Several engines share the memory here, so they share the account too.
 * It counts what lengths take in units of the memory, blocks of 16 tokens or pages, so that what is lost in a
 * sequence's last pages is known at admission and not found out as it grows. It grants nothing: the memory has the last
 * word. Lies in shared memory; no lock is needed.
 */
#ifndef KVPAGER_REPLAY_LEDGER_H
#define KVPAGER_REPLAY_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEDGER_BLOCK_TOKENS UINT64_C(16)

struct ledger {
        uint64_t capacity; /* UINT64_MAX: no end */
        uint64_t spare;    /* kept free at admission */
        _Atomic uint64_t booked;
        _Atomic uint64_t computed; /* sequences in iterations, by all: goes up as long as anybody gets on */
};

static inline uint64_t ledger_blocks(uint64_t tokens)
{
        return tokens / LEDGER_BLOCK_TOKENS + (tokens % LEDGER_BLOCK_TOKENS > 0);
}

/* Whether `units` more may be admitted; `use_spare`: down to the last one. */
static inline bool ledger_admits(const struct ledger *ledger, uint64_t units, bool use_spare)
{
        uint64_t booked = atomic_load_explicit(&ledger->booked, memory_order_relaxed);
        uint64_t kept = use_spare ? 0 : ledger->spare;

        return booked <= ledger->capacity && kept <= ledger->capacity - booked &&
               units <= ledger->capacity - booked - kept;
}

static inline void ledger_book(struct ledger *ledger, uint64_t units)
{
        (void)atomic_fetch_add_explicit(&ledger->booked, units, memory_order_relaxed);
}

static inline void ledger_count_computed(struct ledger *ledger)
{
        (void)atomic_fetch_add_explicit(&ledger->computed, 1, memory_order_relaxed);
}

static inline uint64_t ledger_computed(const struct ledger *ledger)
{
        return atomic_load_explicit(&ledger->computed, memory_order_relaxed);
}

static inline void ledger_unbook(struct ledger *ledger, uint64_t units)
{
        (void)atomic_fetch_sub_explicit(&ledger->booked, units, memory_order_relaxed);
}

#endif
