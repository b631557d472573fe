/* SPDX-License-Identifier: MIT
 *
 * crew-clock.c -- whose turn it is, and what all workers together have mapped.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "crew-inside.h"
#include "number.h"

#define SHOW_USEC UINT64_C(200000)

/* When every engine has stalled this often in a row, and nobody did anything else meanwhile, nobody holds what they
 * wait for. */
#define STALLED_ROUNDS 100u

static uint64_t wall_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* A line that is written over, on a terminal only. */
static void crew_show(struct crew *crew, bool last)
{
        uint64_t done = 0, live = 0, preemptions = 0, usec = 0, now;
        char size[32];

        if (!crew->show_progress)
                return;
        now = wall_usec();
        if (!last && now - crew->shown_usec < SHOW_USEC)
                return;
        crew->shown_usec = now;
        for (uint32_t i = 0; i < crew->n; i++) {
                const struct report *report = &crew->members[i].report;

                done += report->completed + report->rejected;
                live += report->stats.live_bytes;
                preemptions += report->preemptions;
                if (report->now_usec > usec)
                        usec = report->now_usec;
        }
        (void)fprintf(stderr, "\r%ju of %ju requests, %.0f s of the trace, %s live, %ju preemptions\033[K",
                      (uintmax_t)done, (uintmax_t)crew->n_requests, (double)usec / 1e6,
                      size_format(live, size, sizeof(size)), (uintmax_t)preemptions);
        if (last)
                (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
}

/* Workers that run at once report at different times: what one gave up and another got meanwhile may be seen twice. */
static uint64_t crew_bound(const struct crew *crew, uint64_t bytes)
{
        return crew->capacity > 0 && bytes > crew->capacity ? crew->capacity : bytes;
}

/* Worker i has reported: what its tenant's workers have, and what it itself had at its peak. The others may have had to
 * give something. */
static void crew_look_at_tenants(struct crew *crew, uint32_t i)
{
        const struct report *report = &crew->members[i].report;

        for (uint32_t t = 0; t < crew->n_tenants; t++) {
                struct crew_tenant *tenant = &crew->tenants[t];
                uint64_t live = 0, idle = 0;

                for (uint32_t k = t; k < crew->n; k += crew->n_tenants) {
                        live += crew->members[k].report.stats.live_bytes;
                        idle += crew->members[k].report.stats.idle_bytes;
                }
                if (t == i % crew->n_tenants) {
                        const uint64_t peak = live - report->stats.live_bytes + report->peak_live_bytes;

                        timeline_record(&tenant->live, report->now_usec, crew_bound(crew, peak));
                        if (peak > tenant->peak_live_bytes)
                                tenant->peak_live_bytes = crew_bound(crew, peak);
                }
                timeline_record(&tenant->live, report->now_usec, crew_bound(crew, live));
                timeline_record(&tenant->idle, report->now_usec, crew_bound(crew, idle));
        }
}

/* Worker i has reported: its peaks came on top of what the others have mapped. */
static void crew_look(struct crew *crew, uint32_t i)
{
        const struct report *report = &crew->members[i].report;
        uint64_t live = 0, idle = 0, live_peak, idle_peak;

        for (uint32_t k = 0; k < crew->n; k++)
                if (k != i) {
                        live += crew->members[k].report.stats.live_bytes;
                        idle += crew->members[k].report.stats.idle_bytes;
                }
        live_peak = crew_bound(crew, live + report->peak_live_bytes);
        idle_peak = crew_bound(crew, idle + report->peak_idle_bytes);
        if (live_peak > crew->peak_live_bytes)
                crew->peak_live_bytes = live_peak;
        if (idle_peak > crew->peak_idle_bytes)
                crew->peak_idle_bytes = idle_peak;
        timeline_record(&crew->live, report->now_usec, live_peak);
        timeline_record(&crew->idle, report->now_usec, idle_peak);
        timeline_record(&crew->live, report->now_usec, crew_bound(crew, live + report->stats.live_bytes));
        timeline_record(&crew->idle, report->now_usec, crew_bound(crew, idle + report->stats.idle_bytes));
        if (report->now_usec > crew->end_usec)
                crew->end_usec = report->now_usec;
        crew_look_at_tenants(crew, i);
        crew_show(crew, false);
}

/* Every tenant has requests that wait. */
static bool crew_all_wait(const struct crew *crew)
{
        for (uint32_t t = 0; t < crew->n_tenants; t++) {
                uint64_t waiting = 0;

                for (uint32_t k = t; k < crew->n; k += crew->n_tenants)
                        waiting += crew->members[k].report.n_waiting;
                if (waiting == 0)
                        return false;
        }
        return true;
}

static int crew_turn(struct crew *crew, uint32_t i, enum turn_kind kind, uint64_t horizon_usec,
                     struct complaint *complaint)
{
        int r = crew_tell(crew, i, kind, horizon_usec, complaint);

        return r < 0 ? r : crew_wait(crew, i, REPORT_TURN, false, complaint);
}

/* The engine furthest behind, the first of several; and until when it may run before it is another's turn. */
static uint32_t crew_next(const struct crew *crew, uint64_t *ret_horizon_usec)
{
        uint64_t best = UINT64_MAX, second = UINT64_MAX;
        uint32_t chosen = UINT32_MAX, runner_up = UINT32_MAX;

        for (uint32_t i = 0; i < crew->n; i++) {
                uint64_t next = crew->members[i].report.next_usec;

                if (next < best) {
                        second = best;
                        runner_up = chosen;
                        best = next;
                        chosen = i;
                } else if (next < second) {
                        second = next;
                        runner_up = i;
                }
        }
        *ret_horizon_usec = second == UINT64_MAX || chosen > runner_up ? second : second + 1;
        return chosen;
}

/* Every engine that has work has been unable to do any for a long while, and holds nothing: the request at the front of
 * the chosen one gets no memory although none of us is in its way. */
static bool crew_is_stuck(const struct crew *crew)
{
        for (uint32_t i = 0; i < crew->n; i++) {
                const struct report *report = &crew->members[i].report;

                if (report->next_usec == UINT64_MAX)
                        continue;
                if (report->n_running > 0 || report->n_stalled < STALLED_ROUNDS)
                        return false;
        }
        return true;
}

int crew_run_virtual(struct crew *crew, struct complaint *complaint)
{
        uint32_t chosen, begun = 1;
        uint64_t horizon, in_vain = 0; /* turns in a row in which nothing could be done */
        int r;

        assert(crew->n > 0);

        while ((chosen = crew_next(crew, &horizon)) != UINT32_MAX) {
                const struct report *report = &crew->members[chosen].report;
                bool look;

                if (in_vain >= (uint64_t)STALLED_ROUNDS * crew->n && crew_is_stuck(crew))
                        r = crew_turn(crew, chosen, TURN_FAIL, 0, complaint);
                else
                        r = crew_turn(crew, chosen, TURN_RUN, horizon, complaint);
                if (r < 0)
                        return r;
                in_vain = report->n_stalled > 0 ? in_vain + 1 : 0;
                /* Others may have had to give memory, or have something to do that they did not know of. */
                look = report->asked_for_memory || (crew->bursts && crew->bursts->begun != begun);
                if (crew->bursts)
                        begun = crew->bursts->begun;
                for (uint32_t i = 0; look && i < crew->n; i++) {
                        if (i == chosen)
                                continue;
                        r = crew_turn(crew, i, TURN_LOOK, 0, complaint);
                        if (r < 0)
                                return r;
                }
                crew_look(crew, chosen);
                r = crew->watch ? watch_look(crew->watch, report->now_usec, crew_all_wait(crew), complaint) : 0;
                if (r < 0)
                        return r;
        }
        crew_show(crew, true);
        return 0;
}

int crew_run_wall(struct crew *crew, struct complaint *complaint)
{
        uint32_t n_left = crew->n, i;
        int r;

        assert(crew->n > 0);

        for (i = 0; i < crew->n; i++) {
                r = crew_tell(crew, i, TURN_RUN, UINT64_MAX, complaint);
                if (r < 0)
                        return r;
        }
        while (n_left > 0) {
                r = crew_wait_any(crew, &i, complaint);
                if (r < 0)
                        return r;
                crew_look(crew, i);
                if (crew->members[i].report.kind == REPORT_TURN)
                        n_left--;
        }
        crew_show(crew, true);
        return 0;
}
