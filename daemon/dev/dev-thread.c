/* SPDX-License-Identifier: MIT
 *
 * dev-thread.c -- see dev-thread.h. The lists, and the lanes, are under one mutex; the eventfd is written only when the
 * list of finished jobs was empty, so a burst of jobs costs one wake-up of the loop.
 */
#include "dev-thread.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "dev-lanes.h"
#include "job-list.h"
#include "owner.h"
#include "threads.h"

/* What is missing is looked at so often, should nothing else ask for it: soon after it became more, for the memory of a
 * process that was killed comes free a little later, and then ever more seldom. */
#define LOOK_AGAIN_MSEC 100u
#define LOOK_MSEC       5000u

struct dev_thread {
        const struct dev_backend *backend;
        struct dev *dev;
        pthread_t thread;
        pthread_mutex_t mutex;
        pthread_cond_t cond, over; /* there is something to do; the thread has ended */
        struct job_list creates, destroys, done;
        struct dev_lanes *lanes; /* NULL: the backend wants all on this thread */
        bool stop, ended;
        bool look, news;      /* what is missing is to be looked at; it was, after destructions, or it changed */
        uint64_t missing;     /* bytes */
        unsigned patience;    /* milliseconds until the next look */
        bool destroys_looked; /* destructions since the last look, before which so much was missing */
        uint64_t before;
        uint64_t less; /* was missing before destructions that did not set all free; UINT64_MAX: there were none */
        int event_fd;
};

static void thread_run(struct dev_thread *t, struct dev_job *job)
{
        if (job->kind == DEV_JOB_CREATE)
                job->status = t->backend->create(t->dev, job->extent.order, &job->extent);
        else
                job->status = t->backend->destroy(t->dev, &job->extent);
}

/* The loop would never hear of it otherwise. With the mutex held, as all that follow. */
static void thread_tell(struct dev_thread *t)
{
        while (!t->done.head && !t->news && eventfd_write(t->event_fd, 1) < 0 && errno == EINTR)
                ;
}

/* The mutex is held. On the thread, or on one of the lanes'. */
static void thread_done(void *userdata, struct dev_job *job)
{
        struct dev_thread *t = userdata;

        thread_tell(t);
        job_list_append(&t->done, job);
}

/* What is missing now; what was known before, where the backend cannot say. */
static uint64_t thread_ask(struct dev_thread *t)
{
        uint64_t missing = 0;
        int r;

        (void)pthread_mutex_unlock(&t->mutex);
        r = t->backend->missing(t->dev, &missing);
        (void)pthread_mutex_lock(&t->mutex);
        return r < 0 ? t->missing : missing;
}

static void thread_look(struct dev_thread *t)
{
        const bool destroyed = t->destroys_looked;
        uint64_t missing;

        t->look = t->destroys_looked = false;
        missing = thread_ask(t);
        t->patience = missing > t->missing          ? LOOK_AGAIN_MSEC
                      : 2 * t->patience < LOOK_MSEC ? 2 * t->patience
                                                    : LOOK_MSEC;
        if (!destroyed && missing == t->missing)
                return;
        thread_tell(t);
        t->missing = missing;
        if (destroyed && missing > t->before && t->before < t->less)
                t->less = t->before;
        t->news = true;
}

/* Whatever became of others' memory until now is not the doing of those who gave back what is destroyed next. */
static void thread_look_before(struct dev_thread *t)
{
        if (!t->backend->missing || t->destroys_looked)
                return;
        t->before = thread_ask(t);
        t->destroys_looked = true;
}

/* Until there is something to do, or it is time to look again, or, at `tend`, to see after the lanes. */
static void thread_wait(struct dev_thread *t, uint64_t tend)
{
        const struct timespec until = t->backend->missing
                                              ? threads_time_after(t->patience * UINT64_C(1000))
                                              : (struct timespec){ .tv_sec = (time_t)(tend / 1000000u),
                                                                   .tv_nsec = (long)(tend % 1000000u) * 1000 };

        if (!t->backend->missing && tend == UINT64_MAX) {
                (void)pthread_cond_wait(&t->cond, &t->mutex);
                return;
        }
        if (pthread_cond_timedwait(&t->cond, &t->mutex, &until) == ETIMEDOUT)
                t->look |= t->backend->missing != NULL;
}

static void *thread_main(void *userdata)
{
        struct dev_thread *t = userdata;
        struct dev_job *job;
        uint64_t tend;

        (void)pthread_mutex_lock(&t->mutex);
        while (!t->stop) {
                tend = t->lanes ? dev_lanes_tend(t->lanes) : UINT64_MAX;
                job = job_list_pop(&t->creates);
                if (t->lanes)
                        dev_lanes_give_way(t->lanes, t->creates.head != NULL);
                if (!job)
                        job = job_list_pop(&t->destroys);
                if (!job && t->look) {
                        thread_look(t);
                        continue;
                }
                if (!job) {
                        thread_wait(t, tend);
                        continue;
                }
                if (job->kind == DEV_JOB_DESTROY)
                        thread_look_before(t);
                (void)pthread_mutex_unlock(&t->mutex);
                thread_run(t, job);
                (void)pthread_mutex_lock(&t->mutex);
                t->look |= t->backend->missing && (job->kind == DEV_JOB_DESTROY || job->status < 0);
                thread_done(t, job);
        }
        t->ended = true;
        (void)pthread_cond_signal(&t->over);
        (void)pthread_mutex_unlock(&t->mutex);
        return NULL;
}

static int thread_start(struct dev_thread *t)
{
        int r = 0;

        if (t->backend->end)
                r = dev_lanes_new(t->backend, t->dev, &t->mutex, &t->over, t->event_fd, thread_done, t, &t->lanes);
        if (r < 0)
                return r;
        r = threads_start(&t->thread, thread_main, t);
        if (r < 0 && t->lanes) {
                (void)pthread_mutex_lock(&t->mutex);
                dev_lanes_stop(t->lanes);
                (void)pthread_mutex_unlock(&t->mutex);
                dev_lanes_free(t->lanes); /* they had nothing to do yet */
        }
        return r;
}

int dev_thread_new(const struct dev_backend *backend, struct dev *dev, struct dev_thread **ret)
{
        struct dev_thread *t;
        int r;

        assert(backend && dev && ret);
        assert(!backend->end || !backend->missing);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->backend = backend;
        t->dev = dev;
        t->patience = LOOK_MSEC;
        t->less = UINT64_MAX;
        (void)pthread_mutex_init(&t->mutex, NULL);
        threads_cond_init(&t->cond);
        threads_cond_init(&t->over);
        job_list_init(&t->creates);
        job_list_init(&t->destroys);
        job_list_init(&t->done);
        t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = t->event_fd < 0 ? -errno : thread_start(t);
        if (r < 0) {
                t->event_fd = fd_close(t->event_fd);
                free(t);
                return r;
        }
        *ret = t;
        return 0;
}

int dev_thread_free(struct dev_thread *t, uint64_t timeout_usec)
{
        struct timespec until;
        bool running;
        int r = 0;

        if (!t)
                return 0;
        until = threads_time_after(timeout_usec);
        (void)pthread_mutex_lock(&t->mutex);
        t->stop = true;
        (void)pthread_cond_signal(&t->cond);
        if (t->lanes)
                dev_lanes_stop(t->lanes);
        while ((running = !t->ended || (t->lanes && dev_lanes_running(t->lanes))) && r == 0)
                r = pthread_cond_timedwait(&t->over, &t->mutex, &until);
        (void)pthread_mutex_unlock(&t->mutex);
        if (running)
                return -r;
        (void)pthread_join(t->thread, NULL); /* it is in its last instructions */
        dev_lanes_free(t->lanes);
        (void)pthread_mutex_destroy(&t->mutex);
        (void)pthread_cond_destroy(&t->cond);
        (void)pthread_cond_destroy(&t->over);
        t->event_fd = fd_close(t->event_fd);
        free(t);
        return 0;
}

int dev_thread_fd(const struct dev_thread *t)
{
        assert(t);

        return t->event_fd;
}

void dev_thread_submit(struct dev_thread *t, struct dev_job *job)
{
        bool wakes;

        assert(t && job);
        assert(job->kind == DEV_JOB_CREATE || job->extent.fd >= 0);

        (void)pthread_mutex_lock(&t->mutex);
        if (job->kind == DEV_JOB_CREATE || !t->lanes) {
                job_list_append(job->kind == DEV_JOB_CREATE ? &t->creates : &t->destroys, job);
                wakes = true;
                if (t->lanes)
                        dev_lanes_give_way(t->lanes, true);
        } else {
                wakes = dev_lanes_submit(t->lanes, job);
        }
        if (wakes)
                (void)pthread_cond_signal(&t->cond);
        (void)pthread_mutex_unlock(&t->mutex);
}

struct dev_job *dev_thread_collect(struct dev_thread *t, unsigned max)
{
        struct job_list taken;
        eventfd_t value;

        assert(t && max > 0);

        job_list_init(&taken);
        (void)pthread_mutex_lock(&t->mutex);
        while (max > 0 && t->done.head) {
                job_list_append(&taken, job_list_pop(&t->done));
                max--;
        }
        if (!t->done.head && !t->news)
                (void)eventfd_read(t->event_fd, &value);
        (void)pthread_mutex_unlock(&t->mutex);
        for (struct dev_job *job = taken.head; job; job = job->next)
                if (job->kind == DEV_JOB_DESTROY && job->status >= 0)
                        job->extent.fd = fd_close(job->extent.fd); /* end() leaves it */
        return taken.head;
}

const struct dev_job *dev_thread_stuck(struct dev_thread *t, uint64_t since_usec)
{
        const struct dev_job *job;

        assert(t);

        if (!t->lanes)
                return NULL;
        (void)pthread_mutex_lock(&t->mutex);
        job = dev_lanes_stuck(t->lanes, since_usec);
        (void)pthread_mutex_unlock(&t->mutex);
        return job;
}

void dev_thread_look(struct dev_thread *t)
{
        assert(t);

        (void)pthread_mutex_lock(&t->mutex);
        t->look = t->backend->missing != NULL;
        (void)pthread_cond_signal(&t->cond);
        (void)pthread_mutex_unlock(&t->mutex);
}

void dev_thread_was_missing(struct dev_thread *t, uint64_t missing)
{
        assert(t);

        (void)pthread_mutex_lock(&t->mutex);
        t->missing = missing;
        (void)pthread_mutex_unlock(&t->mutex);
        dev_thread_look(t);
}

bool dev_thread_missing(struct dev_thread *t, uint64_t *ret, uint64_t *ret_before)
{
        eventfd_t value;
        bool news;

        assert(t && ret && ret_before);

        (void)pthread_mutex_lock(&t->mutex);
        news = t->news && !t->done.head;
        if (news) {
                *ret = t->missing;
                *ret_before = t->less;
                t->less = UINT64_MAX;
                t->news = false;
                (void)eventfd_read(t->event_fd, &value);
        }
        (void)pthread_mutex_unlock(&t->mutex);
        return news;
}
