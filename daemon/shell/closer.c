/* SPDX-License-Identifier: MIT
 *
 * closer.c -- see closer.h. A ring under a mutex, which is never held while something is closed.
 */
#include "closer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "owner.h"
#include "threads.h"

struct closer {
        pthread_t thread;
        pthread_mutex_t mutex;
        pthread_cond_t cond;
        bool running, stop, done; /* done: the thread has nothing to do with this any more */
        uint32_t max, first, n;   /* n: the one that is being closed counts */
        int fds[];
};

static void *closer_main(void *userdata)
{
        struct closer *c = userdata;

        (void)pthread_mutex_lock(&c->mutex);
        while (!c->stop) {
                int fd = c->fds[c->first];

                if (c->n == 0) {
                        (void)pthread_cond_wait(&c->cond, &c->mutex);
                        continue;
                }
                (void)pthread_mutex_unlock(&c->mutex);
                fd_close(fd);
                (void)pthread_mutex_lock(&c->mutex);
                c->first = (c->first + 1) % c->max;
                c->n--;
        }
        c->done = true;
        (void)pthread_cond_broadcast(&c->cond);
        (void)pthread_mutex_unlock(&c->mutex);
        return NULL;
}

/* Where there is no thread to be had, the next call tries again. */
static void closer_start(struct closer *c)
{
        c->running = threads_start(&c->thread, closer_main, c) == 0;
}

int closer_new(uint32_t max, struct closer **ret)
{
        struct closer *c;

        assert(max > 0 && ret);

        c = calloc(1, sizeof(*c) + max * sizeof(c->fds[0]));
        if (!c)
                return -ENOMEM;
        c->max = max;
        (void)pthread_mutex_init(&c->mutex, NULL);
        threads_cond_init(&c->cond);
        *ret = c;
        return 0;
}

void closer_free(struct closer *c, uint64_t timeout_usec)
{
        struct timespec until;
        bool done;
        int r = 0;

        if (!c)
                return;
        until = threads_time_after(timeout_usec);
        (void)pthread_mutex_lock(&c->mutex);
        c->stop = true;
        (void)pthread_cond_broadcast(&c->cond);
        while (c->running && !c->done && r == 0)
                r = pthread_cond_timedwait(&c->cond, &c->mutex, &until);
        done = c->done;
        (void)pthread_mutex_unlock(&c->mutex);
        if (c->running && !done)
                return; /* the thread has it for as long as it sleeps */
        if (c->running)
                (void)pthread_join(c->thread, NULL);
        (void)pthread_mutex_destroy(&c->mutex);
        (void)pthread_cond_destroy(&c->cond);
        free(c);
}

bool closer_take(struct closer *c, int fd)
{
        bool taken;

        assert(c && fd >= 0);

        (void)pthread_mutex_lock(&c->mutex);
        taken = c->n < c->max;
        if (taken)
                c->fds[(c->first + c->n++) % c->max] = fd;
        (void)pthread_cond_signal(&c->cond);
        (void)pthread_mutex_unlock(&c->mutex);
        if (!c->running)
                closer_start(c);
        return taken;
}

uint32_t closer_waiting(struct closer *c)
{
        uint32_t n;

        assert(c);

        (void)pthread_mutex_lock(&c->mutex);
        n = c->n;
        (void)pthread_mutex_unlock(&c->mutex);
        if (n > 0 && !c->running)
                closer_start(c);
        return n;
}
