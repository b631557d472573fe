/* SPDX-License-Identifier: MIT
 *
 * timer.c -- when each request ends: a binary heap in an array (Williams 1964), so that a deadline that passes costs no
 * look at the requests whose deadlines do not.
 *
 * A request's deadline only ever moves away, and an entry is set right when it comes up, not before: a grant touches
 * nothing here.
 */
#include "internal.h"

static struct timer *timer_get(const struct core *c, uint32_t i)
{
        return (struct timer *)core_at(c, c->timers_at) + i;
}

static void place(struct core *c, uint32_t at, struct timer timer)
{
        *timer_get(c, at) = timer;
        request_get(c, timer.request)->timer = at;
}

static void rise(struct core *c, uint32_t at, struct timer timer)
{
        for (; at > 0 && timer_get(c, (at - 1) / 2)->usec > timer.usec; at = (at - 1) / 2)
                place(c, at, *timer_get(c, (at - 1) / 2));
        place(c, at, timer);
}

static void sink(struct core *c, uint32_t at, struct timer timer)
{
        for (uint32_t child; (child = 2 * at + 1) < c->n_timers; at = child) {
                if (child + 1 < c->n_timers && timer_get(c, child + 1)->usec < timer_get(c, child)->usec)
                        child++;
                if (timer_get(c, child)->usec >= timer.usec)
                        break;
                place(c, at, *timer_get(c, child));
        }
        place(c, at, timer);
}

void timer_set(struct core *c, uint32_t request)
{
        const struct request *r = request_get(c, request);

        core_deadline_at(c, r->deadline_usec);
        if (r->timer != NIL)
                return;
        assert(c->n_timers < c->params.max_requests);
        rise(c, c->n_timers++, (struct timer){ .usec = r->deadline_usec, .request = request });
}

void timer_clear(struct core *c, uint32_t request)
{
        const uint32_t at = request_get(c, request)->timer;
        struct timer last;

        if (at == NIL)
                return;
        assert(at < c->n_timers && timer_get(c, at)->request == request);
        request_get(c, request)->timer = NIL;
        last = *timer_get(c, --c->n_timers);
        if (at == c->n_timers)
                return;
        if (at > 0 && timer_get(c, (at - 1) / 2)->usec > last.usec)
                rise(c, at, last);
        else
                sink(c, at, last);
}

uint32_t timer_due(struct core *c)
{
        while (c->n_timers > 0 && timer_get(c, 0)->usec <= c->now_usec) {
                struct timer first = *timer_get(c, 0);

                first.usec = request_get(c, first.request)->deadline_usec;
                if (first.usec <= c->now_usec)
                        return first.request;
                sink(c, 0, first);
        }
        if (c->n_timers > 0)
                core_deadline_at(c, timer_get(c, 0)->usec);
        return NIL;
}

bool timer_is_sound(const struct core *c, uint32_t request)
{
        const struct request *r = request_get(c, request);
        const struct timer *timer = r->timer < c->n_timers ? timer_get(c, r->timer) : NULL;

        return timer && timer->request == request && timer->usec <= r->deadline_usec &&
               (r->timer == 0 || timer_get(c, (r->timer - 1) / 2)->usec <= timer->usec);
}
