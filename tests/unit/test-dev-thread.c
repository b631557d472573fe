/* SPDX-License-Identifier: MIT
 *
 * test-dev-thread.c -- the device thread over a backend that is held at a gate, so that what is queued behind it is
 * known.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "dev-thread.h"
#include "owner.h"

struct dev {
        sem_t gate, entered;
        _Atomic int calls, threads;
        int fail_create_at;             /* the n-th call fails */
        _Atomic uint64_t missing, kept; /* kept: of each that is destroyed */
};

static int gated_create(struct dev *dev, uint32_t order, struct dev_extent *ret)
{
        sem_post(&dev->entered);
        sem_wait(&dev->gate);
        if (atomic_fetch_add(&dev->calls, 1) + 1 == dev->fail_create_at)
                return -ENOMEM;
        *ret = (struct dev_extent){ .fd = open("/dev/null", O_CLOEXEC), .order = order, .handle = 7 };
        return 0;
}

static int gated_destroy(struct dev *dev, struct dev_extent *extent)
{
        sem_post(&dev->entered);
        sem_wait(&dev->gate);
        atomic_fetch_add(&dev->calls, 1);
        atomic_fetch_add(&dev->missing, dev->kept);
        extent->fd = fd_close(extent->fd);
        return 0;
}

static int tell_missing(struct dev *dev, uint64_t *ret)
{
        *ret = dev->missing;
        return 0;
}

#define STUCK 9u /* the order of what waits at the gate; whatever else is destroyed by lanes does not */

static int stuck_end(struct dev *dev, const struct dev_extent *extent)
{
        if (extent->order == STUCK) {
                sem_post(&dev->entered);
                sem_wait(&dev->gate);
        }
        atomic_fetch_add(&dev->calls, 1);
        return 0;
}

static void count_apart(struct dev *dev, int fd)
{
        cr_expect_geq(fd, 0);
        atomic_fetch_add(&dev->threads, 1);
}

static int free_create(struct dev *dev, uint32_t order, struct dev_extent *ret)
{
        (void)dev;
        *ret = (struct dev_extent){ .fd = open("/dev/null", O_CLOEXEC), .order = order };
        return 0;
}

static const struct dev_backend in_lanes = {
        .name = "in lanes", .create = free_create, .destroy = gated_destroy, .end = stuck_end, .set_apart = count_apart
};
static const struct dev_backend gated = { .name = "gated", .create = gated_create, .destroy = gated_destroy };
static const struct dev_backend telling = {
        .name = "telling", .create = gated_create, .destroy = gated_destroy, .missing = tell_missing
};
static struct dev dev;
static struct dev_thread *thread;
static _Atomic time_t ahead; /* seconds by which the clock of the calendar is too far on, until somebody sets it */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        const int r = (int)syscall(SYS_clock_gettime, clock, ret);

        if (clock == CLOCK_REALTIME)
                ret->tv_sec += atomic_load(&ahead);
        return r;
}

static void setup(void)
{
        dev = (struct dev){ 0 };
        sem_init(&dev.gate, 0, 0);
        sem_init(&dev.entered, 0, 0);
        cr_assert_eq(dev_thread_new(&gated, &dev, &thread), 0);
}

static void let_pass(unsigned n)
{
        while (n--)
                sem_post(&dev.gate);
}

static struct dev_job *wait_collect(unsigned max)
{
        struct pollfd p = { .fd = dev_thread_fd(thread), .events = POLLIN };

        cr_assert_eq(poll(&p, 1, 10000), 1);
        return dev_thread_collect(thread, max);
}

static bool is_readable(void)
{
        struct pollfd p = { .fd = dev_thread_fd(thread), .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

TestSuite(dev_thread, .init = setup);

Test(dev_thread, creations_go_first_and_each_kind_keeps_its_order)
{
        struct dev_job jobs[6] = { 0 };
        static const unsigned expected[] = { 0, 2, 4, 5, 1, 3 };
        unsigned n = 0;

        for (unsigned i = 0; i < 6; i++) {
                jobs[i].kind = i == 1 || i == 3 ? DEV_JOB_DESTROY : DEV_JOB_CREATE;
                jobs[i].extent.fd = jobs[i].kind == DEV_JOB_DESTROY ? open("/dev/null", O_CLOEXEC) : -1;
                jobs[i].extent.order = i;
                dev_thread_submit(thread, &jobs[i]);
                if (i == 0)
                        sem_wait(&dev.entered); /* it is in the backend; the rest is queued */
        }
        let_pass(6);
        while (n < 6)
                for (struct dev_job *job = wait_collect(2), *next; job; job = next) {
                        next = job->next;
                        cr_assert_eq(job, &jobs[expected[n]], "place %u", n);
                        cr_assert_eq(job->status, 0);
                        cr_assert_eq(job->extent.fd >= 0, job->kind == DEV_JOB_CREATE);
                        cr_assert_eq(job->extent.order, expected[n]);
                        n++;
                }
        cr_expect_not(is_readable(), "nothing is left to collect");
        cr_expect_null(dev_thread_collect(thread, 1));
        cr_expect_eq(dev_thread_free(thread, 1000000), 0);
        for (unsigned i = 0; i < 6; i++)
                fd_close(jobs[i].extent.fd);
}

Test(dev_thread, stays_readable_while_something_is_left)
{
        struct dev_job jobs[3] = { 0 };

        for (unsigned i = 0; i < 3; i++)
                dev_thread_submit(thread, &jobs[i]);
        let_pass(3);
        while (atomic_load(&dev.calls) < 3)
                sched_yield();
        for (unsigned i = 0; i < 3; i++)
                cr_assert_eq(wait_collect(1), &jobs[i]);
        cr_expect_not(is_readable());
        cr_expect_eq(dev_thread_free(thread, 1000000), 0);
}

Test(dev_thread, a_failure_comes_back_as_the_status)
{
        struct dev_job job = { .kind = DEV_JOB_CREATE, .extent = { .fd = -1, .order = 2 } };

        dev.fail_create_at = 1;
        let_pass(1);
        dev_thread_submit(thread, &job);
        cr_assert_eq(wait_collect(8), &job);
        cr_expect_eq(job.status, -ENOMEM);
        cr_expect_eq(job.extent.fd, -1);
        cr_expect_eq(dev_thread_free(thread, 1000000), 0);
}

Test(dev_thread, a_driver_that_hangs_does_not_hang_the_end)
{
        static struct dev_job job;

        dev_thread_submit(thread, &job);
        sem_wait(&dev.entered);
        cr_expect_eq(dev_thread_free(thread, 20000), -ETIMEDOUT);
        let_pass(1);
        cr_expect_eq(dev_thread_free(thread, 10000000), 0);
        cr_expect_eq(dev_thread_free(NULL, 0), 0);
}

/* Destroys one, and what is missing then and was before. */
static uint64_t destroy_one(uint64_t *ret_before)
{
        struct dev_job job = { .kind = DEV_JOB_DESTROY, .extent = { .fd = open("/dev/null", O_CLOEXEC) } };
        uint64_t missing = UINT64_MAX;

        let_pass(1);
        dev_thread_submit(thread, &job);
        cr_assert_eq(wait_collect(1), &job);
        while (!dev_thread_missing(thread, &missing, ret_before))
                (void)wait_collect(1);
        return missing;
}

Test(dev_thread, who_gave_back_is_not_blamed_for_what_others_took_before)
{
        uint64_t before;

        cr_assert_eq(dev_thread_free(thread, 1000000), 0);
        cr_assert_eq(dev_thread_new(&telling, &dev, &thread), 0);
        cr_assert_eq(destroy_one(&before), 0);
        cr_assert_eq(before, UINT64_MAX, "it came free, and that is told as well");
        dev.missing = 100; /* not looked at yet */
        cr_assert_eq(destroy_one(&before), 100);
        cr_assert_eq(before, UINT64_MAX);
        dev.kept = 10;
        cr_assert_eq(destroy_one(&before), 110);
        cr_assert_eq(before, 100);
        dev.kept = 0;
        cr_assert_eq(destroy_one(&before), 110, "the next one is judged by itself");
        cr_assert_eq(before, UINT64_MAX);
        cr_assert_eq(dev_thread_free(thread, 1000000), 0);
}

/* The clock is an hour on when the time to wait is worked out, and right again when it passes. */
Test(dev_thread, whoever_sets_the_clock_makes_nobody_wait, .timeout = 60)
{
        static struct dev_job job;
        uint64_t missing, before;

        cr_assert_eq(dev_thread_free(thread, 1000000), 0);
        cr_assert_eq(dev_thread_new(&telling, &dev, &thread), 0);
        atomic_store(&ahead, 3600);
        dev.missing = 100;
        dev_thread_look(thread);
        (void)wait_collect(1);
        cr_assert(dev_thread_missing(thread, &missing, &before));
        dev.missing = 50; /* nobody asks: it is looked at again by itself, and soon */
        (void)wait_collect(1);
        cr_assert(dev_thread_missing(thread, &missing, &before));
        cr_expect_eq(missing, 50);

        dev_thread_submit(thread, &job);
        sem_wait(&dev.entered);
        cr_expect_eq(dev_thread_free(thread, 20000), -ETIMEDOUT);
        let_pass(1);
        cr_expect_eq(dev_thread_free(thread, 10000000), 0);
        atomic_store(&ahead, 0);
}

static void submit_in_lane(struct dev_job *job, uint32_t lane, uint32_t order)
{
        *job = (struct dev_job){ .kind = DEV_JOB_DESTROY,
                                 .lane = lane,
                                 .extent = { .fd = open("/dev/null", O_CLOEXEC), .order = order } };
        dev_thread_submit(thread, job);
}

static void setup_lanes(void)
{
        setup();
        cr_assert_eq(dev_thread_free(thread, 1000000), 0);
        cr_assert_eq(dev_thread_new(&in_lanes, &dev, &thread), 0);
}

TestSuite(lanes, .init = setup_lanes);

Test(lanes, who_is_stuck_stops_his_own_lane_alone)
{
        struct dev_job stuck, after, other, create = { .kind = DEV_JOB_CREATE, .extent.fd = -1 };

        submit_in_lane(&stuck, 3, STUCK);
        sem_wait(&dev.entered);
        submit_in_lane(&after, 3, 0);
        dev_thread_submit(thread, &create);
        cr_assert_eq(wait_collect(8), &create);
        submit_in_lane(&other, 4, 0);
        cr_assert_eq(wait_collect(8), &other);
        cr_expect(other.status == 0 && other.extent.fd == -1, "it comes back without fd");
        cr_expect_not(is_readable(), "the lane waits");
        let_pass(1);
        cr_assert_eq(wait_collect(1), &stuck);
        cr_assert_eq(wait_collect(1), &after);
        cr_expect_eq(dev_thread_free(thread, 10000000), 0);
        fd_close(create.extent.fd);
}

Test(lanes, a_lane_keeps_its_order_and_one_thread_does)
{
        struct dev_job jobs[64];
        unsigned n = 0;

        for (unsigned i = 0; i < 64; i++)
                submit_in_lane(&jobs[i], 7, i % 8);
        while (n < 64)
                for (struct dev_job *job = wait_collect(64); job; job = job->next)
                        cr_assert_eq(job, &jobs[n++]);
        cr_expect_eq(atomic_load(&dev.threads), 1);
        cr_expect_eq(dev_thread_free(thread, 10000000), 0);
}

/* Threads are as many as there are lanes that are stuck, and one, up to a bound. */
Test(lanes, many_are_stuck)
{
        static struct dev_job jobs[80];
        struct dev_job last;
        unsigned n = 0;

        for (unsigned i = 0; i < 80; i++)
                submit_in_lane(&jobs[i], i, STUCK);
        for (unsigned i = 0; i < 63; i++)
                sem_wait(&dev.entered);
        submit_in_lane(&last, 100, 0);
        for (unsigned i = 63; i < 80; i++) {
                let_pass(1);
                sem_wait(&dev.entered);
        }
        let_pass(63);
        while (n < 81)
                for (struct dev_job *job = wait_collect(81); job; job = job->next)
                        n++;
        cr_expect_leq(atomic_load(&dev.threads), 64);
        cr_expect_eq(dev_thread_free(thread, 10000000), 0);
}

Test(lanes, what_is_stuck_is_named_once)
{
        struct dev_job stuck;

        cr_expect_null(dev_thread_stuck(thread, UINT64_MAX));
        submit_in_lane(&stuck, 3, STUCK);
        sem_wait(&dev.entered);
        cr_expect_null(dev_thread_stuck(thread, 0), "it has only begun");
        cr_expect_eq(dev_thread_stuck(thread, UINT64_MAX), &stuck);
        cr_expect_null(dev_thread_stuck(thread, UINT64_MAX));
        let_pass(1);
        cr_assert_eq(wait_collect(1), &stuck);
        cr_expect_eq(dev_thread_free(thread, 10000000), 0);
}

Test(lanes, one_that_is_stuck_does_not_hang_the_end)
{
        static struct dev_job stuck, other;

        submit_in_lane(&stuck, 3, STUCK);
        sem_wait(&dev.entered);
        cr_expect_eq(dev_thread_free(thread, 20000), -ETIMEDOUT);
        cr_expect_eq(dev_thread_free(thread, 20000), -ETIMEDOUT, "however often");
        submit_in_lane(&other, 4, 0);
        let_pass(1);
        cr_expect_eq(dev_thread_free(thread, 10000000), 0);
        cr_expect_eq(atomic_load(&dev.calls), 1, "nothing is begun any more");
        fd_close(other.extent.fd);
        fd_close(stuck.extent.fd);
}
