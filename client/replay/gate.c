/* SPDX-License-Identifier: MIT
 *
 * gate.c -- see gate.h.
 */
#include "gate.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

void gate_init(struct gate *gate)
{
        pthread_condattr_t attributes;

        *gate = (struct gate){ .at_work = true };
        (void)pthread_mutex_init(&gate->mutex, NULL);
        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&gate->changed, &attributes);
        (void)pthread_condattr_destroy(&attributes);
}

void gate_clear(struct gate *gate)
{
        (void)pthread_cond_destroy(&gate->changed);
        (void)pthread_mutex_destroy(&gate->mutex);
}

void gate_leave(struct gate *gate)
{
        if (!gate)
                return;
        (void)pthread_mutex_lock(&gate->mutex);
        assert(gate->at_work);
        gate->at_work = false;
        (void)pthread_cond_broadcast(&gate->changed);
        (void)pthread_mutex_unlock(&gate->mutex);
}

void gate_enter(struct gate *gate)
{
        if (!gate)
                return;
        (void)pthread_mutex_lock(&gate->mutex);
        assert(!gate->at_work);
        while (gate->expected) /* it waits no longer: it is let in before us */
                (void)pthread_cond_wait(&gate->changed, &gate->mutex);
        gate->at_work = true;
        (void)pthread_mutex_unlock(&gate->mutex);
}

void gate_yield(struct gate *gate)
{
        if (!gate || !gate->expected)
                return;
        gate_leave(gate);
        gate_enter(gate);
}

void gate_close(struct gate *gate)
{
        (void)pthread_mutex_lock(&gate->mutex);
        gate->closed = true;
        (void)pthread_cond_broadcast(&gate->changed);
        (void)pthread_mutex_unlock(&gate->mutex);
}

int gate_visit(struct gate *gate, uint64_t usec)
{
        struct timespec until;
        int r = 0;

        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)(usec / 1000000);
        until.tv_nsec += (long)(usec % 1000000) * 1000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }

        (void)pthread_mutex_lock(&gate->mutex);
        assert(!gate->expected);
        gate->expected = true;
        while (gate->at_work && !gate->closed && r == 0)
                r = -pthread_cond_timedwait(&gate->changed, &gate->mutex, &until);
        gate->expected = false;
        (void)pthread_cond_broadcast(&gate->changed);
        if (!gate->at_work && !gate->closed)
                return 0;
        r = gate->closed ? -ESHUTDOWN : -ETIMEDOUT;
        (void)pthread_mutex_unlock(&gate->mutex);
        return r;
}

void gate_part(struct gate *gate)
{
        (void)pthread_mutex_unlock(&gate->mutex);
}
