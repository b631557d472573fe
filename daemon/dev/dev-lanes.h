/* SPDX-License-Identifier: MIT
 *
 * dev-lanes.h -- destructions that may last for as long as a worker likes.
 *
 * The kernel locks a file while somebody writes to it. Who writes from memory whose page fault does not end (that of
 * userfaultfd, of FUSE, of a server that is gone) keeps it locked, and whoever would truncate it sleeps until then; no
 * signal ends that, on older kernels not even SIGKILL. So destructions go by lanes, one at a time in each, and who is
 * stuck is in the way of none but his own lane. A few threads work on the lanes in turn: one, until for a while none
 * has come to its end though a lane waits.
 *
 * Part of dev-thread, whose mutex it uses: it is held where nothing else is said.
 */
#ifndef DEV_LANES_H
#define DEV_LANES_H

#include <pthread.h>

#include "dev-thread.h"

struct dev_lanes;

/* The job is done. On one of the lanes' threads. */
typedef void dev_lanes_done_fn(void *userdata, struct dev_job *job);

/* Starts the first thread. The mutex is not held. `event_fd`: all that `done` needs open. */
int dev_lanes_new(const struct dev_backend *backend, struct dev *dev, pthread_mutex_t *mutex, pthread_cond_t *ended,
                  int event_fd, dev_lanes_done_fn *done, void *userdata, struct dev_lanes **ret);

/* True: whoever calls dev_lanes_tend() is to be woken up. */
bool dev_lanes_submit(struct dev_lanes *lanes, struct dev_job *job);

/* Starts one more thread where it is time to; the mutex is let go of meanwhile. Returns when it is to be called again,
 * in microseconds of CLOCK_MONOTONIC; UINT64_MAX: when dev_lanes_submit() says so. */
uint64_t dev_lanes_tend(struct dev_lanes *lanes);

/* As dev_thread_stuck(). */
const struct dev_job *dev_lanes_stuck(struct dev_lanes *lanes, uint64_t since_usec);

/* While somebody waits for something that is more urgent, the threads offer their CPU between two jobs. */
void dev_lanes_give_way(struct dev_lanes *lanes, bool on);

/* No job is begun from here on; whenever a thread has come to its end, `ended` is signalled. */
void dev_lanes_stop(struct dev_lanes *lanes);

/* Whether some threads have not come to their end yet. */
bool dev_lanes_running(const struct dev_lanes *lanes);

/* After dev_lanes_stop(); waits for those that are running. The mutex is not held. NULL is fine. */
void dev_lanes_free(struct dev_lanes *lanes);

#endif
