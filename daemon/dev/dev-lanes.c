/* SPDX-License-Identifier: MIT
 *
 * dev-lanes.c -- see dev-lanes.h.
 *
 * A lane with jobs is ready unless one of them is at work. Each thread takes the first of those that are ready, does
 * one job, and puts the lane at their end if it has more. That threads sleep while lanes are ready is a matter of
 * moments: who makes one ready wakes one up. Where there is none to be woken up, a watch begins: should no job be done
 * until it ends, all threads are stuck, and there is one more.
 */
#include "dev-lanes.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "job-list.h"
#include "threads.h"

#define LANES_THREADS 64u /* at most */
#define WATCH_USEC    UINT64_C(20000)

struct lane {
        struct job_list jobs; /* that wait */
        struct dev_job *at_work;
        uint64_t since_usec;
        bool told; /* that it is stuck */
        struct lane *next_ready;
};

struct dev_lanes {
        const struct dev_backend *backend;
        struct dev *dev;
        pthread_mutex_t *mutex;
        pthread_cond_t *ended;
        dev_lanes_done_fn *done;
        void *userdata;
        int event_fd;
        pthread_cond_t cond;
        pthread_t threads[LANES_THREADS];
        unsigned n_threads, n_running, n_idle, n_ready;
        bool give_way, stop;
        struct lane *ready, **ready_tail;
        uint64_t n_done;
        uint64_t watch_usec, watch_done; /* when the watch ends, UINT64_MAX: there is none; what was done before */
        struct lane lanes[DEV_LANES];
};

static uint64_t now_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * UINT64_C(1000000) + (uint64_t)now.tv_nsec / 1000;
}

static void lane_is_ready(struct dev_lanes *l, struct lane *lane)
{
        lane->next_ready = NULL;
        *l->ready_tail = lane;
        l->ready_tail = &lane->next_ready;
        l->n_ready++;
}

static struct lane *lane_next(struct dev_lanes *l)
{
        struct lane *lane = l->ready;

        if (lane) {
                l->ready = lane->next_ready;
                if (!l->ready)
                        l->ready_tail = &l->ready;
                l->n_ready--;
        }
        return lane;
}

static void lane_work(struct dev_lanes *l, struct lane *lane)
{
        struct dev_job *job = job_list_pop(&lane->jobs);

        lane->at_work = job;
        lane->since_usec = now_usec();
        lane->told = false;
        (void)pthread_mutex_unlock(l->mutex);
        job->status = l->backend->end(l->dev, &job->extent);
        (void)pthread_mutex_lock(l->mutex);
        lane->at_work = NULL;
        l->n_done++;
        if (lane->jobs.head)
                lane_is_ready(l, lane);
        l->done(l->userdata, job);
}

static void lanes_yield(struct dev_lanes *l)
{
        (void)pthread_mutex_unlock(l->mutex);
        (void)sched_yield();
        (void)pthread_mutex_lock(l->mutex);
}

static void *lanes_main(void *userdata)
{
        struct dev_lanes *l = userdata;
        struct lane *lane;

        if (l->backend->set_apart)
                l->backend->set_apart(l->dev, l->event_fd);
        (void)pthread_mutex_lock(l->mutex);
        while (!l->stop) {
                lane = lane_next(l);
                if (lane) {
                        lane_work(l, lane);
                        if (l->give_way)
                                lanes_yield(l);
                        continue;
                }
                l->n_idle++;
                (void)pthread_cond_wait(&l->cond, l->mutex);
                l->n_idle--;
        }
        l->n_running--;
        (void)pthread_cond_signal(l->ended);
        (void)pthread_mutex_unlock(l->mutex);
        return NULL;
}

int dev_lanes_new(const struct dev_backend *backend, struct dev *dev, pthread_mutex_t *mutex, pthread_cond_t *ended,
                  int event_fd, dev_lanes_done_fn *done, void *userdata, struct dev_lanes **ret)
{
        struct dev_lanes *l;
        int r;

        assert(backend && backend->end && dev && mutex && ended && event_fd >= 0 && done && ret);

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->backend = backend;
        l->dev = dev;
        l->mutex = mutex;
        l->ended = ended;
        l->event_fd = event_fd;
        l->done = done;
        l->userdata = userdata;
        l->ready_tail = &l->ready;
        l->watch_usec = UINT64_MAX;
        for (size_t i = 0; i < DEV_LANES; i++)
                job_list_init(&l->lanes[i].jobs);
        (void)pthread_cond_init(&l->cond, NULL);
        l->n_threads = l->n_running = 1;
        r = threads_start(&l->threads[0], lanes_main, l);
        if (r < 0) {
                (void)pthread_cond_destroy(&l->cond);
                free(l);
                return r;
        }
        *ret = l;
        return 0;
}

bool dev_lanes_submit(struct dev_lanes *l, struct dev_job *job)
{
        struct lane *lane;

        assert(l && job && job->lane < DEV_LANES);

        lane = &l->lanes[job->lane];
        job_list_append(&lane->jobs, job);
        if (lane->at_work || lane->jobs.head != job)
                return false;
        lane_is_ready(l, lane);
        if (l->n_ready <= l->n_idle) {
                (void)pthread_cond_signal(&l->cond);
                return false;
        }
        if (l->watch_usec != UINT64_MAX || l->n_threads == LANES_THREADS)
                return false;
        l->watch_usec = now_usec() + WATCH_USEC;
        l->watch_done = l->n_done;
        return true;
}

/* What fails here is tried again at the end of the next watch. */
static void lanes_add_thread(struct dev_lanes *l)
{
        int r;

        l->n_running++;
        (void)pthread_mutex_unlock(l->mutex);
        r = threads_start(&l->threads[l->n_threads], lanes_main, l);
        (void)pthread_mutex_lock(l->mutex);
        if (r == 0)
                l->n_threads++;
        else
                l->n_running--;
}

uint64_t dev_lanes_tend(struct dev_lanes *l)
{
        uint64_t now;

        assert(l);

        if (l->watch_usec == UINT64_MAX)
                return UINT64_MAX;
        now = now_usec();
        if (now < l->watch_usec)
                return l->watch_usec;
        if (!l->stop && l->n_ready > l->n_idle && l->n_done == l->watch_done)
                lanes_add_thread(l);
        l->watch_usec = l->n_ready > l->n_idle && l->n_threads < LANES_THREADS ? now + WATCH_USEC : UINT64_MAX;
        l->watch_done = l->n_done;
        return l->watch_usec;
}

const struct dev_job *dev_lanes_stuck(struct dev_lanes *l, uint64_t since_usec)
{
        assert(l);

        for (size_t i = 0; i < DEV_LANES; i++) {
                struct lane *lane = &l->lanes[i];

                if (!lane->at_work || lane->told || lane->since_usec > since_usec)
                        continue;
                lane->told = true;
                return lane->at_work;
        }
        return NULL;
}

void dev_lanes_give_way(struct dev_lanes *l, bool on)
{
        assert(l);

        l->give_way = on;
}

void dev_lanes_stop(struct dev_lanes *l)
{
        assert(l);

        l->stop = true;
        (void)pthread_cond_broadcast(&l->cond);
}

bool dev_lanes_running(const struct dev_lanes *l)
{
        assert(l);

        return l->n_running > 0;
}

void dev_lanes_free(struct dev_lanes *l)
{
        if (!l)
                return;
        assert(l->stop);

        for (unsigned i = 0; i < l->n_threads; i++)
                (void)pthread_join(l->threads[i], NULL);
        (void)pthread_cond_destroy(&l->cond);
        free(l);
}
