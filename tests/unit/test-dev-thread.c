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
        _Atomic int calls;
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
