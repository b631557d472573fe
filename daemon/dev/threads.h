/* SPDX-License-Identifier: MIT
 *
 * threads.h -- how the daemon starts threads, and until when it waits for them. What they share is their own affair.
 */
#ifndef DEV_THREADS_H
#define DEV_THREADS_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>

/* Starts a thread that gets no signals: they are the loop's. 0, or a negative errno: then there is no thread. */
static inline int threads_start(pthread_t *ret, void *(*run)(void *userdata), void *userdata)
{
        sigset_t all, before;
        int r;

        (void)sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r != 0)
                return -r;
        r = pthread_create(ret, NULL, run, userdata);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

/* A condition whose clock nobody sets: CLOCK_MONOTONIC. */
static inline void threads_cond_init(pthread_cond_t *cond)
{
        pthread_condattr_t attributes;

        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(cond, &attributes);
        (void)pthread_condattr_destroy(&attributes);
}

/* So long from now, by the clock of such conditions. */
static inline struct timespec threads_time_after(uint64_t usec)
{
        struct timespec time;

        (void)clock_gettime(CLOCK_MONOTONIC, &time);
        time.tv_sec += (time_t)(usec / 1000000u);
        time.tv_nsec += (long)(usec % 1000000u) * 1000;
        if (time.tv_nsec >= 1000000000) {
                time.tv_sec++;
                time.tv_nsec -= 1000000000;
        }
        return time;
}

#endif
