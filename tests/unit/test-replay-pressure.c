/* SPDX-License-Identifier: MIT
 *
 * An engine under pressure: who comes in when, and that what is given up in the middle of a step changes no result.
 */
#include <criterion/criterion.h>
#include <pthread.h>

#include "fake-kvpager.h"

#include "hash.h"
#include "pressure.h"

#define LONG_USEC UINT64_C(20000000)

/* ---- the gate ---- */

struct visit {
        struct gate gate;
        pthread_t thread;
        uint64_t usec;
        int r;
        _Atomic unsigned inside, order; /* visits; what the visitor saw of the engine's count */
        unsigned count;                 /* the engine's */
};

static void *visit_main(void *userdata)
{
        struct visit *visit = userdata;

        visit->r = gate_visit(&visit->gate, visit->usec);
        if (visit->r == 0) {
                visit->order = visit->count;
                visit->inside++;
                gate_part(&visit->gate);
        }
        return NULL;
}

static void visit_begin(struct visit *visit, uint64_t usec)
{
        visit->usec = usec;
        cr_assert_eq(pthread_create(&visit->thread, NULL, visit_main, visit), 0);
}

static int visit_end(struct visit *visit)
{
        cr_assert_eq(pthread_join(visit->thread, NULL), 0);
        return visit->r;
}

Test(replay_pressure, a_visitor_comes_in_while_the_engine_rests)
{
        struct visit visit = { 0 };

        gate_init(&visit.gate);
        visit_begin(&visit, 1000);
        cr_assert_eq(visit_end(&visit), -ETIMEDOUT, "it is at work and does not yield");

        gate_leave(&visit.gate);
        visit_begin(&visit, LONG_USEC);
        cr_assert_eq(visit_end(&visit), 0);
        cr_assert_eq(visit.inside, 1);
        gate_enter(&visit.gate);

        gate_yield(&visit.gate); /* nobody waits */
        gate_close(&visit.gate);
        visit_begin(&visit, LONG_USEC);
        cr_assert_eq(visit_end(&visit), -ESHUTDOWN);
        gate_clear(&visit.gate);
        gate_leave(NULL);
        gate_enter(NULL);
        gate_yield(NULL);
}

/* An engine that does nothing but work and yield is not passed over a visitor. */
Test(replay_pressure, a_visitor_is_let_in_at_the_next_yield)
{
        struct visit visit = { 0 };

        gate_init(&visit.gate);
        visit_begin(&visit, LONG_USEC);
        while (!visit.gate.expected)
                ;
        while (visit.inside == 0) {
                visit.count++;
                gate_yield(&visit.gate);
        }
        cr_assert_eq(visit_end(&visit), 0);
        cr_assert_eq(visit.order, 1);
        gate_clear(&visit.gate);
}

/* ---- the handler ---- */

static const struct request requests[] = {
        { 0, 0, 700, 20, 0, false },    { 0, 1, 40, 90, 0, false },      { 10, 2, 1100, 12, 0, false },
        { 20, 3, 5, 30, 0, false },     { 30000, 4, 300, 40, 0, false }, { 30000, 5, 513, 7, 0, false },
        { 50000, 6, 512, 0, 0, false }, { 60000, 7, 90, 60, 0, false },  { 400000, 8, 800, 30, 0, false },
        { 900000, 9, 1, 50, 0, false },
};

#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

static struct pager pager;
static struct engine engine;
static struct pressure pressure;
static struct ledger ledger = { .capacity = UINT64_MAX };
static uint64_t state;

struct demand {
        uint64_t bytes, usec;
};

static void *mapper_main(void *userdata)
{
        const struct demand *demand = userdata;

        fake_pressure(pager.connection, demand->bytes, demand->usec, fake_pressure_userdata);
        return NULL;
}

/* As the library does: on a thread of its own. */
static void demand(uint64_t bytes, uint64_t usec)
{
        struct demand wanted = { bytes, usec };
        pthread_t mapper;

        cr_assert_eq(pthread_create(&mapper, NULL, mapper_main, &wanted), 0);
        cr_assert_eq(pthread_join(mapper, NULL), 0);
}

static void demand_now_and_then(void)
{
        if (hash_mix(++state) % 8 == 0)
                demand(1 + hash_mix(++state) % (40 * FAKE_PAGE), LONG_USEC);
}

static void begin(bool verify)
{
        struct pager_options options = { .layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED,
                                         .max_seqs = 6,
                                         .max_tokens = 1200,
                                         .compute = verify,
                                         .verify = verify };
        struct complaint complaint;

        cr_assert_eq(geometry_parse("tiny", &options.geometry, &complaint), 0);
        cr_assert_eq(pager_open(&options, &pager), 0, "%s", pager.complaint.text);
        cr_assert_eq(engine_init(&engine, &pager_ops, &pager, &ledger, requests, N_REQUESTS, 6), 0);
        cr_assert_eq(pressure_begin(&pressure, &engine, &pager), 0);
}

static void end(void)
{
        pressure_end(&pressure);
        cr_assert_null(fake_pressure);
        pager_close(&pager);
        engine_clear(&engine);
        gate_clear(&pressure.gate);
        cr_assert_eq(fake.used, 0);
        cr_assert_eq(ledger.booked, 0);
}

static void iterate(uint64_t *now)
{
        struct engine_iteration iteration;

        cr_assert_eq(pressure_pay(&pressure), 0);
        cr_assert_eq(engine_iterate(&engine, *now, &iteration), 0, "%s", pager.complaint.text);
        cr_assert_eq(engine_complete(&engine), 0, "%s", pager.complaint.text);
        *now += iteration.duration_usec;
}

static uint64_t run_to_the_end(void)
{
        uint64_t now = 0;

        while ((now = engine_next(&engine, now)) != UINT64_MAX)
                iterate(&now);
        cr_assert_eq(engine.completed, N_REQUESTS);
        cr_assert_eq(pager.contents.report->mismatches, 0, "%s", pager.contents.report->first);
        return pager.contents.report->checksum;
}

Test(replay_pressure, sequences_given_up_in_the_middle_of_a_step_change_no_result)
{
        uint64_t calm, given_up = 0;

        begin(true);
        calm = run_to_the_end();
        cr_assert_eq(engine.given_up, 0);
        end();
        for (state = 0; state < 100000;) {
                state = (state / 10000 + 1) * 10000;
                fake.waiting = demand_now_and_then;
                begin(true);
                cr_assert_eq(run_to_the_end(), calm);
                given_up += engine.given_up;
                fake.waiting = NULL;
                end();
        }
        cr_assert_gt(given_up, 100);
}

Test(replay_pressure, gives_up_the_youngest_until_the_amount_is_covered)
{
        uint64_t now = 0;

        begin(false);
        iterate(&now);
        iterate(&now);
        cr_assert_eq(engine.n_running, 6);
        gate_leave(&pressure.gate);
        demand(1, LONG_USEC);
        cr_assert_eq(engine.n_running, 5);
        demand(FAKE_PAGE, LONG_USEC);
        cr_assert_eq(engine.n_running, 4);
        demand(2 * FAKE_PAGE, LONG_USEC); /* the fourth has a page of 32 tokens, the third 35 */
        cr_assert_eq(engine.n_running, 2);
        demand(1000 * FAKE_PAGE, LONG_USEC);
        cr_assert_eq(engine.n_running, 0);
        demand(FAKE_PAGE, LONG_USEC); /* it has nothing more */
        cr_assert_eq(engine.given_up, 6);
        gate_enter(&pressure.gate);
        (void)run_to_the_end();
        end();
}

Test(replay_pressure, an_engine_that_is_at_work_pays_later)
{
        uint64_t now = 0;

        begin(false);
        iterate(&now);
        iterate(&now);
        demand(1, 2000);
        cr_assert_eq(engine.n_running, 6, "it was at work for all the time that there was");
        cr_assert_eq(pressure.owed, 1);
        cr_assert_eq(pressure_pay(&pressure), 0);
        cr_assert_eq(engine.n_running, 5);
        cr_assert_eq(pressure.owed, 0);
        (void)run_to_the_end();
        end();
}

/* The mapper may still be in the handler when the engine ends. */
Test(replay_pressure, nobody_comes_in_once_it_has_ended)
{
        kvp_pressure_fn *handler;
        uint64_t now = 0;

        begin(false);
        iterate(&now);
        handler = fake_pressure;
        gate_leave(&pressure.gate);
        pressure_end(&pressure);
        handler(pager.connection, FAKE_PAGE, LONG_USEC, &pressure);
        cr_assert_eq(engine.given_up, 0);
        (void)run_to_the_end();
        pager_close(&pager);
        engine_clear(&engine);
        gate_clear(&pressure.gate);
}
