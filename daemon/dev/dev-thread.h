/* SPDX-License-Identifier: MIT
 *
 * dev-thread.h -- a thread for each device, so that a slow driver call stalls nothing but that device.
 *
 * Jobs are the caller's memory: a job belongs to the thread from dev_thread_submit() until dev_thread_collect() gives
 * it back. So nothing is allocated, and the queue is as long as the caller has jobs. Creations go before destructions:
 * somebody may be waiting for them, and the pages that they use are free already by the core's account. Among
 * themselves each kind keeps its order. A backend whose memory may go missing is asked about that when all is done.
 *
 * Where a worker can make a destruction last (dev_backend.end), destructions have threads of their own and go by lanes:
 * those of one lane keep their order, and what is stuck in one is in nobody's way but its own.
 */
#ifndef DEV_THREAD_H
#define DEV_THREAD_H

#include "dev.h"

#define DEV_LANES 320u

enum dev_job_kind { DEV_JOB_CREATE, DEV_JOB_DESTROY };

struct dev_job {
        enum dev_job_kind kind;
        uint32_t lane;            /* DESTROY: below DEV_LANES */
        int status;               /* set by the thread: what the backend returned */
        struct dev_extent extent; /* CREATE: order is set, the rest comes back; DESTROY: comes back without fd */
        struct dev_job *next;     /* the thread's */
};

struct dev_thread;

/* Starts the thread over an open device; all signals are blocked in it. The device must outlive it. */
int dev_thread_new(const struct dev_backend *backend, struct dev *dev, struct dev_thread **ret);

/* Ends the threads after the calls that they are in; jobs not yet begun are dropped, their extents untouched. Waits
 * `timeout_usec` at most: -ETIMEDOUT leaves them (and the object) alone for good, for a process that is about to exit.
 * NULL is fine. */
int dev_thread_free(struct dev_thread *thread, uint64_t timeout_usec);

/* Readable while there is something to collect. */
int dev_thread_fd(const struct dev_thread *thread);

void dev_thread_submit(struct dev_thread *thread, struct dev_job *job);

/* What the backend says is missing of the device's capacity, in bytes. True: it changed since the last call, or was
 * looked at after destructions. Meant for when nothing is left to collect: it takes in all destructions up to then.
 * `ret_before`: what was missing just before them, if that was less: somebody keeps what was destroyed, or took
 * something while that went on; UINT64_MAX: it was not. */
bool dev_thread_missing(struct dev_thread *thread, uint64_t *ret, uint64_t *ret_before);

/* Something happened to the device: the backend is asked soon what is missing, not only when it is time to. */
void dev_thread_look(struct dev_thread *thread);

/* So much was known to be missing before: it is news if that changed. */
void dev_thread_was_missing(struct dev_thread *thread, uint64_t missing);

/* A destruction that began before `since_usec` (CLOCK_MONOTONIC) and is still not done, as far as that can be known;
 * each is named once. NULL: there is none. */
const struct dev_job *dev_thread_stuck(struct dev_thread *thread, uint64_t since_usec);

/* Takes up to `max` finished jobs, in the order they finished, linked by `next`; NULL: none. */
struct dev_job *dev_thread_collect(struct dev_thread *thread, unsigned max);

#endif
