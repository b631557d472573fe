/* SPDX-License-Identifier: MIT
 *
 * worker.c -- see worker.h.
 */
#include "worker.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "cleanup.h"
#include "patience.h"
#include "pressure.h"

#define TURN_ITERATIONS_MAX 64u
#define PROGRESS_USEC       UINT64_C(20000)
#define STALLED_SLEEP_MSEC  1

struct worker {
        const struct worker_setup *setup;
        struct pager pager;
        struct engine engine;
        struct pressure pressure;
        struct report report;
        uint64_t now_usec;
};

static uint64_t monotonic_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Takes what is mapped now into the report and its peaks. */
static int worker_look(struct worker *worker)
{
        struct report *report = &worker->report;
        int r;

        r = pager_stats(&worker->pager, &report->stats);
        if (r < 0)
                return r;
        if (report->stats.live_bytes > report->peak_live_bytes)
                report->peak_live_bytes = report->stats.live_bytes;
        if (report->stats.idle_bytes > report->peak_idle_bytes)
                report->peak_idle_bytes = report->stats.idle_bytes;
        return 0;
}

static int worker_send(struct worker *worker, enum report_kind kind)
{
        struct report *report = &worker->report;
        size_t size = kind == REPORT_LEFT ? sizeof(*report) : offsetof(struct report, wait_nsec);

        report->kind = kind;
        report->n_running = (uint32_t)worker->engine.n_running;
        report->n_waiting = engine_waiting(&worker->engine);
        report->next_usec = engine_next(&worker->engine, worker->now_usec);
        report->now_usec = worker->now_usec;
        if (!worker->setup->in_turns && worker->setup->speed > 0)
                report->now_usec = (uint64_t)((double)worker->now_usec * worker->setup->speed);
        report->completed = worker->engine.completed;
        report->rejected = worker->engine.rejected;
        report->preemptions = worker->engine.preemptions;
        report->given_up = worker->engine.given_up;
        report->tokens = worker->engine.tokens;
        report->pager = worker->pager.counters;
        if (worker->pager.contents.report)
                report->contents = *worker->pager.contents.report;
        if (send(worker->setup->fd, report, size, MSG_NOSIGNAL) != (ssize_t)size)
                return -EPIPE;
        report->peak_live_bytes = report->peak_idle_bytes = 0;
        report->asked_for_memory = false;
        return 0;
}

/* One iteration; what it takes is seen where the engine holds most. */
static int worker_iterate(struct worker *worker, uint64_t *ret_duration_usec)
{
        struct report *report = &worker->report;
        struct engine_iteration iteration;
        uint64_t requests = report->stats.requests;
        int r;

        r = pressure_pay(&worker->pressure);
        if (r < 0)
                return r;
        r = engine_iterate(&worker->engine, worker->now_usec, &iteration);
        if (r < 0)
                return r;
        r = worker_look(worker);
        if (r < 0)
                return r;
        r = engine_complete(&worker->engine);
        if (r < 0)
                return r;
        report->iterations++;
        report->n_stalled = iteration.stalled ? report->n_stalled + 1 : 0;
        report->asked_for_memory |= report->stats.requests != requests;
        *ret_duration_usec = iteration.duration_usec;
        return 0;
}

static int worker_run_virtual(struct worker *worker, uint64_t horizon_usec)
{
        struct report *report = &worker->report;
        int r;

        for (uint32_t i = 0; i < TURN_ITERATIONS_MAX; i++) {
                uint64_t next = engine_next(&worker->engine, worker->now_usec), duration;

                if (next >= horizon_usec)
                        break;
                worker->now_usec = next;
                r = worker_iterate(worker, &duration);
                if (r < 0)
                        return r;
                worker->now_usec += duration;
                if (report->asked_for_memory || report->n_stalled > 0)
                        break;
        }
        return worker_look(worker);
}

/* Rests for so long, or until one of the events (POLLIN, or none: then a hangup alone) comes over the socket. */
static short worker_rest(struct worker *worker, short events, int milliseconds)
{
        struct pollfd pollfd = { .fd = worker->setup->fd, .events = events };

        gate_leave(&worker->pressure.gate);
        (void)poll(&pollfd, 1, milliseconds);
        gate_enter(&worker->pressure.gate);
        return pollfd.revents;
}

/* Sleeps until the clock shows `next_usec`. Returns 0 or -EPIPE: the coordinator is gone. */
static int worker_wait_for_arrival(struct worker *worker, uint64_t next_usec)
{
        uint64_t milliseconds = (next_usec - worker->now_usec) / 1000;

        /* Half a second at most at a time: the caller looks at the clock again. */
        return worker_rest(worker, 0, milliseconds < 500 ? (int)milliseconds + 1 : 500) ? -EPIPE : 0;
}

/* All workers at once. Without a speed each engine keeps its own time by the cost model, as if its attention ran on the
 * GPU that the model describes: so as many sequences run at once as would there, however slow this machine is. */
static int worker_run_free(struct worker *worker)
{
        const double speed = worker->setup->speed;
        const struct ledger *ledger = worker->setup->ledger;
        uint64_t start = monotonic_usec(), reported = 0, next, duration;
        struct patience patience;
        int r;

        patience_renew(&patience, ledger, start);
        while ((next = engine_next(&worker->engine, worker->now_usec)) != UINT64_MAX) {
                uint64_t wall = monotonic_usec();

                if (speed > 0)
                        worker->now_usec = wall - start;
                else if (next > worker->now_usec)
                        worker->now_usec = next;
                if (next > worker->now_usec) {
                        r = worker_wait_for_arrival(worker, next);
                        if (r < 0)
                                return r;
                        patience_renew(&patience, ledger, monotonic_usec());
                        continue;
                }
                r = worker_iterate(worker, &duration);
                if (r < 0)
                        return r;
                if (speed <= 0)
                        worker->now_usec += duration;
                if (worker->report.n_stalled == 0)
                        patience_renew(&patience, ledger, wall);
                else if (patience_ends(&patience, ledger, wall))
                        return complain(&worker->pager.complaint, -ENOMEM,
                                        "no memory for %ju s for a request that would fit: %s",
                                        (uintmax_t)(PATIENCE_USEC / 1000000), pager_why_short(&worker->pager));
                else
                        (void)worker_rest(worker, 0, STALLED_SLEEP_MSEC);
                if (wall - reported > PROGRESS_USEC) {
                        reported = wall;
                        r = worker_send(worker, REPORT_PROGRESS);
                        if (r < 0)
                                return r;
                }
        }
        r = pager_settle(&worker->pager);
        return r < 0 ? r : worker_look(worker);
}

/* 1: the worker has been told to end. */
static int worker_take_turn(struct worker *worker, const struct turn *turn)
{
        int r = 0;

        switch ((enum turn_kind)turn->kind) {
        case TURN_RUN:
                r = worker->setup->in_turns ? worker_run_virtual(worker, turn->horizon_usec) : worker_run_free(worker);
                break;
        case TURN_LOOK:
                r = pager_settle(&worker->pager);
                if (r >= 0)
                        r = worker_look(worker);
                break;
        case TURN_FAIL:
                r = complain(&worker->pager.complaint, -ENOMEM, "no memory for a request that would fit: %s",
                             pager_why_short(&worker->pager));
                break;
        case TURN_END:
                return 1;
        }
        return r < 0 ? r : worker_send(worker, REPORT_TURN);
}

static int worker_live(struct worker *worker)
{
        const struct worker_setup *setup = worker->setup;
        int r;

        r = pager_open(&setup->pager, &worker->pager);
        if (r < 0)
                return r;
        r = engine_init(&worker->engine, &pager_ops, &worker->pager, setup->ledger, setup->requests, setup->n_requests,
                        setup->pager.max_seqs);
        if (r < 0)
                return r;
        worker->engine.bursts = setup->bursts;
        r = pressure_begin(&worker->pressure, &worker->engine, &worker->pager);
        if (r < 0)
                return r;
        r = worker_look(worker);
        if (r >= 0)
                r = worker_send(worker, REPORT_READY);
        while (r == 0) {
                struct turn turn;
                ssize_t n;

                (void)worker_rest(worker, POLLIN, -1);
                n = recv(setup->fd, &turn, sizeof(turn), MSG_DONTWAIT);
                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n != sizeof(turn))
                        return -EPIPE; /* the coordinator is gone */
                r = worker_take_turn(worker, &turn);
        }
        return r < 0 ? r : 0;
}

int worker_run(const struct worker_setup *setup)
{
        struct worker *worker;
        int r;

        assert(setup && setup->fd >= 0);

        worker = calloc(1, sizeof(*worker));
        if (!worker)
                return EXIT_FAILURE;
        worker->setup = setup;
        r = worker_live(worker);
        if (r < 0) {
                (void)snprintf(worker->report.error, sizeof(worker->report.error), "%.255s",
                               worker->pager.complaint.text[0] ? worker->pager.complaint.text : strerror(-r));
                (void)worker_send(worker, REPORT_FAILED);
        }
        worker->report.wait_nsec = worker->pager.wait_nsec;
        if (worker->pressure.engine)
                pressure_end(&worker->pressure);
        pager_close(&worker->pager);
        if (r >= 0)
                r = worker_send(worker, REPORT_LEFT);
        engine_clear(&worker->engine);
        if (worker->pressure.engine)
                gate_clear(&worker->pressure.gate);
        free(worker);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
