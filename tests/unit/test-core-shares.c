/* SPDX-License-Identifier: MIT
 *
 * test-core-shares.c -- what tenants get when all of them want more than there is, and what nobody can take from them.
 *
 * A market in virtual time: engines with an endless backlog hold sequences of random sizes for random times, answer
 * revokes as the library does, and drop their youngest sequence when they are pressed. Nothing here knows how the core
 * decides.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define ROWS    256u
#define ENGINES 4u
#define PAGES   4096u
#define STEP    UINT64_C(1000) /* usec of an iteration */
#define MAX_SEQ 64u            /* pages */
#define SHIFT   21u

struct sequence {
        bool live, asked; /* asked: a request is open */
        uint32_t pages;
        uint64_t end, born;
        uint64_t extents[MAX_SEQ];
        uint32_t n_extents;
};

struct engine {
        uint32_t worker, cache, tenant;
        bool present, deaf;    /* deaf: has no pressure handler */
        uint32_t size, tokens; /* pages of a sequence; iterations that it lives */
        uint64_t wants, granted, served, failed, longest_wait;
        struct sequence rows[ROWS];
        uint64_t asked_at[ROWS];
};

struct market {
        struct core *core;
        void *memory;
        struct core_actions actions;
        struct engine engines[ENGINES];
        uint64_t now, seed;
        struct core_action *queue; /* not yet carried out */
        uint32_t n_queue, queue_space;
};

static const struct core_params params = {
        .max_extents = 1u << 14, .max_workers = 8, .max_caches = 8, .max_rows = 4096, .max_requests = 4096
};

static uint32_t some(struct market *m, uint32_t from, uint32_t to)
{
        m->seed = m->seed * 6364136223846793005ull + 1442695040888963407ull;
        return from + (uint32_t)((m->seed >> 33) % (to - from + 1));
}

static void apply(struct market *m, struct core_event *event)
{
        m->actions.n = 0;
        core_apply(m->core, event, &m->actions);
        if (m->n_queue + m->actions.n > m->queue_space) {
                m->queue_space = 2 * (m->n_queue + m->actions.n);
                m->queue = realloc(m->queue, m->queue_space * sizeof(*m->queue));
                cr_assert_not_null(m->queue);
        }
        memcpy(m->queue + m->n_queue, m->actions.v, m->actions.n * sizeof(*m->queue));
        m->n_queue += m->actions.n;
}

static struct engine *engine_of(struct market *m, uint32_t worker)
{
        for (uint32_t i = 0; i < ENGINES; i++)
                if (m->engines[i].present && m->engines[i].worker == worker)
                        return &m->engines[i];
        return NULL;
}

static void acknowledge(struct market *m, struct engine *e)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_ACK, m->now);
        event.ack.worker = e->worker;
        event.ack.granted = e->granted;
        apply(m, &event);
}

static void give_back(struct market *m, struct engine *e, struct sequence *s)
{
        for (uint32_t i = 0; i < s->n_extents; i++) {
                struct core_event event;

                core_event_init(&event, CORE_EV_RETURN, m->now);
                event.ret.worker = e->worker;
                event.ret.extent = s->extents[i];
                apply(m, &event);
        }
        s->live = false;
        s->n_extents = s->pages = 0;
}

static void pressed(struct market *m, struct engine *e, uint64_t pages)
{
        uint64_t given = 0;

        acknowledge(m, e);
        while (given < pages) {
                struct sequence *youngest = NULL;

                for (uint32_t i = 0; i < ROWS; i++)
                        if (e->rows[i].live && (!youngest || e->rows[i].born > youngest->born))
                                youngest = &e->rows[i];
                if (!youngest)
                        return;
                given += youngest->pages;
                give_back(m, e, youngest);
        }
}

static void carry_out(struct market *m, const struct core_action *action)
{
        struct engine *e = engine_of(m, action->worker);
        struct core_event event;
        struct sequence *s;

        switch ((enum core_action_type)action->type) {
        case CORE_ACT_CREATE:
        case CORE_ACT_DESTROY:
                core_event_init(&event, action->type == CORE_ACT_CREATE ? CORE_EV_CREATED : CORE_EV_DESTROYED, m->now);
                event.created.extent = action->device.extent;
                apply(m, &event);
                return;
        case CORE_ACT_GRANT:
                s = &e->rows[action->grant.request];
                s->extents[s->n_extents++] = action->grant.extent;
                s->pages += 1u << action->grant.order;
                e->granted++;
                if (action->flags & CORE_GRANT_LAST) {
                        const uint64_t waited = m->now - e->asked_at[action->grant.request];

                        s->asked = false;
                        s->live = true;
                        s->born = m->now;
                        s->end = m->now + (uint64_t)some(m, e->tokens / 2, e->tokens * 3 / 2) * STEP;
                        e->served++;
                        e->longest_wait = waited > e->longest_wait ? waited : e->longest_wait;
                }
                acknowledge(m, e);
                return;
        case CORE_ACT_GROW_FAILED:
                s = &e->rows[action->failed.request];
                s->asked = false;
                e->failed++;
                if (s->n_extents > 0)
                        give_back(m, e, s);
                return;
        case CORE_ACT_REVOKE:
                if (action->revoke.level == 2 && !e->deaf)
                        pressed(m, e, action->revoke.pages);
                core_event_init(&event, CORE_EV_REVOKED, m->now);
                event.revoked.worker = action->worker;
                event.revoked.revoke = action->revoke.revoke;
                apply(m, &event);
                return;
        case CORE_ACT_SYNC:
                acknowledge(m, e);
                return;
        case CORE_ACT_WELCOME:
        case CORE_ACT_REPLY_CACHE:
        case CORE_ACT_REPLY_OK:
        case CORE_ACT_TRANSITION:
                return;
        case CORE_ACT_REFUSE:
        case CORE_ACT_REPLY_ERROR:
        case CORE_ACT_DROP:
        case CORE_ACT_OVERDUE:
        case CORE_ACT_LATE:
        case CORE_ACT_KILL:
        case CORE_ACT_MAX_:
                cr_assert_fail("action %u", action->type);
        }
}

static void run_queue(struct market *m)
{
        char why[200];

        for (uint32_t i = 0; i < m->n_queue; i++) {
                const struct core_action action = m->queue[i];

                carry_out(m, &action);
        }
        m->n_queue = 0;
        for (struct core_event tick; core_pending(m->core);) {
                core_event_init(&tick, CORE_EV_TICK, m->now);
                apply(m, &tick);
                run_queue(m);
        }
        if (some(m, 0, 200) == 0)
                cr_assert_eq(core_check(m->core, why, sizeof(why)), 0, "%s", why);
}

static void set_tenant(struct market *m, uint32_t tenant, uint32_t weight, uint64_t min_pages)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_TENANT_SET, m->now);
        event.tenant_set.tenant = tenant;
        event.tenant_set.weight = weight;
        event.tenant_set.min_bytes = min_pages << SHIFT;
        event.tenant_set.max_bytes = event.tenant_set.high_bytes = UINT64_MAX;
        apply(m, &event);
        run_queue(m);
}

static struct engine *join(struct market *m, uint32_t index, uint32_t tenant, uint32_t size, uint32_t tokens)
{
        struct engine *e = &m->engines[index];
        struct core_event event;

        *e = (struct engine){ .present = true, .tenant = tenant, .size = size, .tokens = tokens };
        core_event_init(&event, CORE_EV_WORKER_ADD, m->now);
        event.worker_add.cookie = index + 1;
        event.worker_add.tenant = tenant;
        apply(m, &event);
        cr_assert_eq(m->actions.v[0].type, CORE_ACT_WELCOME);
        e->worker = m->actions.v[0].worker;
        core_event_init(&event, CORE_EV_CACHE_CREATE, m->now);
        event.cache_create.worker = e->worker;
        event.cache_create.rows = ROWS;
        event.cache_create.n_classes = 1;
        event.cache_create.classes[0] = (struct core_plane_class){ .planes = 1, .row_pages = MAX_SEQ };
        event.size = (uint16_t)core_event_size(&event);
        apply(m, &event);
        cr_assert_eq(m->actions.v[0].type, CORE_ACT_REPLY_CACHE);
        e->cache = m->actions.v[0].reply.cache;
        run_queue(m);
        return e;
}

static void market_open(struct market *m, uint64_t seed)
{
        struct core_event event;

        *m = (struct market){ .now = 1, .seed = seed, .actions.capacity = CORE_ACTIONS_MAX };
        m->memory = aligned_alloc(64, (core_size(&params) + 63) & ~(size_t)63);
        m->actions.v = calloc(m->actions.capacity, sizeof(*m->actions.v));
        cr_assert(m->memory && m->actions.v);
        memset(m->memory, 0, core_size(&params));
        m->core = core_init(m->memory, &params);
        core_event_init(&event, CORE_EV_DEVICE_ADD, m->now);
        event.device_add.page_shift = SHIFT;
        event.device_add.pages = PAGES;
        event.device_add.virgin_pages = 64;
        apply(m, &event);
        run_queue(m);
}

static void market_close(struct market *m)
{
        free(m->memory);
        free(m->actions.v);
        free(m->queue);
}

/* One iteration of one engine: sequences end, one more is asked for while there is a row and no more than a few are
 * open. */
static void iterate(struct market *m, struct engine *e)
{
        uint32_t open = 0, row = ROWS;

        for (uint32_t i = 0; i < ROWS; i++) {
                if (e->rows[i].live && e->rows[i].end <= m->now) {
                        give_back(m, e, &e->rows[i]);
                        run_queue(m);
                }
                open += e->rows[i].asked;
                if (!e->rows[i].live && !e->rows[i].asked)
                        row = i;
        }
        if (row < ROWS && open < 2) {
                struct core_event event;
                uint32_t pages = some(m, e->size / 2 + 1, e->size * 3 / 2);

                e->rows[row].asked = true;
                e->asked_at[row] = m->now;
                core_event_init(&event, CORE_EV_GROW, m->now);
                event.grow.worker = e->worker;
                event.grow.request = row;
                event.grow.cache = e->cache;
                event.grow.row = row;
                event.grow.need = event.grow.max = pages;
                event.grow.timeout_usec = 300 * STEP;
                apply(m, &event);
                run_queue(m);
        }
}

/* Runs for so many iterations; adds up what each tenant had over the second half. */
static void trade(struct market *m, uint32_t iterations, double ret_mean[ENGINES])
{
        uint64_t sum[ENGINES] = { 0 };

        for (uint32_t i = 0; i < iterations; i++) {
                struct core_event tick;

                m->now += STEP;
                core_event_init(&tick, CORE_EV_TICK, m->now);
                apply(m, &tick);
                run_queue(m);
                for (uint32_t k = 0; k < ENGINES; k++)
                        if (m->engines[k].present)
                                iterate(m, &m->engines[k]);
                for (uint32_t t = 0; t < ENGINES && i >= iterations / 2; t++)
                        sum[t] += core_tenant_pages(m->core, t, 0);
        }
        for (uint32_t t = 0; t < ENGINES; t++)
                ret_mean[t] = (double)sum[t] / (iterations - iterations / 2);
}

static void expect_shares(const double mean[ENGINES], const uint32_t weights[], const uint32_t mins[], uint32_t n)
{
        double total = 0, weight = 0;

        for (uint32_t t = 0; t < n; t++) {
                cr_assert(mean[t] >= mins[t], "tenant %u has %.0f, is guaranteed %u", t, mean[t], mins[t]);
                total += mean[t] - mins[t];
                weight += weights[t];
        }
        for (uint32_t t = 0; t < n; t++) {
                const double share = (mean[t] - mins[t]) / total, must = weights[t] / weight;

                cr_log_info("tenant %u: %.0f pages, share %.3f of %.3f", t, mean[t], share, must);
                cr_assert(share > must * 0.95 && share < must * 1.05, "tenant %u has a share of %.3f, must be %.3f", t,
                          share, must);
        }
}

Test(core_shares, follow_the_weights_when_all_are_hungry)
{
        static const uint32_t weights[] = { 100, 200, 400 }, mins[] = { 0, 0, 0 };

        for (uint64_t seed = 1; seed <= 3; seed++) {
                double mean[ENGINES];
                struct market m;

                market_open(&m, seed);
                for (uint32_t t = 0; t < 3; t++)
                        set_tenant(&m, t, weights[t], mins[t]);
                for (uint32_t t = 0; t < 3; t++)
                        join(&m, t, t, 24, 150);
                trade(&m, 4000, mean);
                expect_shares(mean, weights, mins, 3);
                market_close(&m);
        }
}

Test(core_shares, are_of_what_is_above_the_guarantees)
{
        static const uint32_t weights[] = { 300, 100, 100 }, mins[] = { 0, 1000, 500 };
        double mean[ENGINES];
        struct market m;

        market_open(&m, 7);
        for (uint32_t t = 0; t < 3; t++)
                set_tenant(&m, t, weights[t], mins[t]);
        for (uint32_t t = 0; t < 3; t++)
                join(&m, t, t, 24, 150);
        trade(&m, 4000, mean);
        expect_shares(mean, weights, mins, 3);
        market_close(&m);
}

/* Whoever came first has everything; those who come later get their part nevertheless, also by those who never give
 * way. */
Test(core_shares, are_reached_from_a_full_device)
{
        static const uint32_t weights[] = { 100, 100 }, mins[] = { 0, 0 };

        for (uint32_t deaf = 0; deaf < 2; deaf++) {
                double mean[ENGINES];
                struct market m;

                market_open(&m, 11 + deaf);
                for (uint32_t t = 0; t < 2; t++)
                        set_tenant(&m, t, weights[t], mins[t]);
                join(&m, 0, 0, 24, 400)->deaf = deaf;
                trade(&m, 1000, mean);
                cr_assert(mean[0] > PAGES * 0.9, "alone it has %.0f", mean[0]);
                join(&m, 1, 1, 24, 400)->deaf = deaf;
                trade(&m, 4000, mean);
                expect_shares(mean, weights, mins, 2);
                market_close(&m);
        }
}

/* Large requests among small ones, and small ones among large: all are served, and none waits for long. */
Test(core_shares, starve_neither_large_requests_nor_small_ones)
{
        double mean[ENGINES];
        struct market m;

        market_open(&m, 5);
        for (uint32_t t = 0; t < 2; t++)
                set_tenant(&m, t, 100, 0);
        join(&m, 0, 0, 40, 200);
        join(&m, 1, 1, 2, 200);
        m.engines[1].deaf = true;
        join(&m, 2, 1, 2, 200);
        join(&m, 3, 0, 3, 200);
        trade(&m, 6000, mean);
        for (uint32_t i = 0; i < 4; i++) {
                cr_log_info("engine %u: served %lu failed %lu, longest wait %lu usec", i, m.engines[i].served,
                            m.engines[i].failed, m.engines[i].longest_wait);
                cr_assert(m.engines[i].served > 100, "engine %u was served %lu times, failed %lu times", i,
                          m.engines[i].served, m.engines[i].failed);
        }
        market_close(&m);
}

/* A guarantee needs nobody's cooperation: a request within it is granted at once, whoever holds on to the rest. */
Test(core_shares, let_a_guarantee_be_used_at_once)
{
        double mean[ENGINES];
        struct market m;
        struct engine *e;

        market_open(&m, 3);
        set_tenant(&m, 0, 10000, 0);
        set_tenant(&m, 1, 1, 1000);
        join(&m, 0, 0, 24, 100000)->deaf = true;
        trade(&m, 1000, mean);
        cr_assert(mean[0] > 3000 && mean[0] <= PAGES - 1000, "the other has %.0f", mean[0]);
        e = join(&m, 1, 1, 24, 100000);
        while (core_tenant_pages(m.core, 1, 0) + 36 <= 1000) {
                const uint64_t served = e->served;

                iterate(&m, e);
                cr_assert_eq(e->served, served + 1, "it has %u pages", core_tenant_pages(m.core, 1, 0));
        }
        market_close(&m);
}
