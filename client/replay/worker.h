/* SPDX-License-Identifier: MIT
 *
 * worker.h -- a worker process: one connection, one cache, one engine; and the packets between it and its coordinator.
 *
 * On the virtual clock the coordinator hands out turns, one worker at a time, and gets a report for each. On the wall
 * clock a worker runs by itself and reports now and then. Packets are structs of this program's own, over a
 * SOCK_SEQPACKET pair.
 */
#ifndef KVPAGER_REPLAY_WORKER_H
#define KVPAGER_REPLAY_WORKER_H

#include <kvpager.h>
#include <stdbool.h>

#include "engine.h"
#include "histogram.h"
#include "ledger.h"
#include "pager.h"

enum turn_kind {
        TURN_RUN,  /* virtual clock: iterate while the next iteration begins before `horizon_usec`; wall clock: to the
                      end */
        TURN_LOOK, /* iterate nothing; report what is mapped now */
        TURN_FAIL, /* nobody runs, and the request at the front, which would fit, gets no memory: say why */
        TURN_END,  /* give everything back and leave */
};

struct turn {
        uint32_t kind;
        uint32_t reserved;
        uint64_t horizon_usec;
};

enum report_kind {
        REPORT_READY, /* connected, the cache stands */
        REPORT_TURN,
        REPORT_PROGRESS, /* wall clock: on the way */
        REPORT_LEFT,     /* everything given back; the histogram comes with this one */
        REPORT_FAILED,   /* `error` says why; the worker ends */
};

struct report {
        uint32_t kind;
        uint32_t n_running;
        uint64_t n_waiting;                        /* arrived, and not running */
        uint64_t next_usec;                        /* when the engine can go on; UINT64_MAX: it is done */
        uint64_t now_usec;                         /* its clock; where that is the wall's, the trace's */
        uint64_t iterations;                       /* so far */
        uint64_t n_stalled;                        /* iterations in a row that could do nothing */
        uint64_t peak_live_bytes, peak_idle_bytes; /* since the last report */
        bool asked_for_memory;                     /* in this turn: other workers may have had to give some */
        uint64_t completed, rejected, preemptions, given_up, tokens;
        struct pager_counters pager;
        struct kvp_cache_stats stats; /* now; live_bytes and idle_bytes among them */
        struct contents_report contents;
        char error[256];
        struct histogram wait_nsec; /* not in every packet: see REPORT_LEFT */
};

struct worker_setup {
        struct pager_options pager;
        const struct request *requests; /* by arrival */
        size_t n_requests;
        struct ledger *ledger; /* shared */
        struct bursts *bursts; /* shared; NULL: none */
        bool in_turns;         /* the coordinator lets one engine run at a time, on the virtual clock */
        double speed; /* else: how many times as fast as in the trace requests come, by the wall's clock; 0: each engine
                         goes by its cost model */
        int fd;       /* to the coordinator */
};

/* Lives as a worker until it is told to end. Returns the exit status of its process. */
int worker_run(const struct worker_setup *setup);

#endif
