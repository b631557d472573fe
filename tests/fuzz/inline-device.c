/* SPDX-License-Identifier: MIT
 *
 * inline-device.c -- see inline-device.h, and dev-thread.h for what the functions owe. One device at a time.
 */
#include "inline-device.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dev-thread.h"

struct list {
        struct dev_job *head, **tail;
};

struct dev_thread {
        const struct dev_backend *backend;
        struct dev *dev;
        int event_fd;
        struct list creates, destroys, done;
};

struct inline_device inline_device;
static struct dev_thread *the_thread;

static void list_append(struct list *list, struct dev_job *job)
{
        job->next = NULL;
        *list->tail = job;
        list->tail = &job->next;
}

static struct dev_job *list_pop(struct list *list)
{
        struct dev_job *job = list->head;

        if (job) {
                list->head = job->next;
                if (!list->head)
                        list->tail = &list->head;
        }
        return job;
}

int dev_thread_new(const struct dev_backend *backend, struct dev *dev, struct dev_thread **ret)
{
        struct dev_thread *t = calloc(1, sizeof(*t));

        assert(!the_thread);
        if (!t)
                return -ENOMEM;
        t->backend = backend;
        t->dev = dev;
        t->creates.tail = &t->creates.head;
        t->destroys.tail = &t->destroys.head;
        t->done.tail = &t->done.head;
        t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        *ret = the_thread = t;
        return 0;
}

int dev_thread_free(struct dev_thread *t, uint64_t timeout_usec)
{
        (void)timeout_usec;
        if (t)
                (void)close(t->event_fd);
        free(t);
        the_thread = NULL;
        return 0;
}

int dev_thread_fd(const struct dev_thread *t)
{
        return t->event_fd;
}

void dev_thread_submit(struct dev_thread *t, struct dev_job *job)
{
        assert(job->kind == DEV_JOB_CREATE || job->extent.fd >= 0);

        inline_device.queued++;
        list_append(job->kind == DEV_JOB_CREATE ? &t->creates : &t->destroys, job);
}

static bool fails(unsigned *left)
{
        if (*left == 0)
                return false;
        (*left)--;
        return true;
}

void dev_thread_was_missing(struct dev_thread *t, uint64_t missing)
{
        (void)t;
        (void)missing;
}

void dev_thread_look(struct dev_thread *t)
{
        (void)t; /* nothing is ever missing here */
}

const struct dev_job *dev_thread_stuck(struct dev_thread *t, uint64_t since_usec)
{
        (void)t;
        (void)since_usec;
        return NULL; /* nothing is at work between two calls */
}

bool inline_device_work(void)
{
        struct dev_thread *t = the_thread;
        struct dev_job *job = list_pop(&t->creates);

        if (!job)
                job = list_pop(&t->destroys);
        if (!job)
                return false;
        inline_device.queued--;
        if (fails(job->kind == DEV_JOB_CREATE ? &inline_device.fail_creates : &inline_device.fail_destroys))
                job->status = inline_device.error;
        else if (job->kind == DEV_JOB_CREATE)
                job->status = t->backend->create(t->dev, job->extent.order, &job->extent);
        else
                job->status = t->backend->destroy(t->dev, &job->extent);
        if (job->status >= 0)
                inline_device.alive += job->kind == DEV_JOB_CREATE ? 1u : -1u;
        if (!t->done.head)
                (void)eventfd_write(t->event_fd, 1);
        list_append(&t->done, job);
        return true;
}

struct dev_job *dev_thread_collect(struct dev_thread *t, unsigned max)
{
        struct list taken = { .tail = &taken.head };
        eventfd_t value;

        for (; max > 0 && t->done.head; max--)
                list_append(&taken, list_pop(&t->done));
        if (!t->done.head)
                (void)eventfd_read(t->event_fd, &value);
        return taken.head;
}

/* The memory of this device does not go missing. */
bool dev_thread_missing(struct dev_thread *thread, uint64_t *ret, uint64_t *ret_before)
{
        (void)thread;
        (void)ret;
        (void)ret_before;
        return false;
}
