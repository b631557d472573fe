/* SPDX-License-Identifier: MIT
 *
 * job-list.h -- jobs in a row, linked by themselves.
 */
#ifndef JOB_LIST_H
#define JOB_LIST_H

#include <stddef.h>

#include "dev-thread.h"

struct job_list {
        struct dev_job *head, **tail;
};

static inline void job_list_init(struct job_list *list)
{
        list->head = NULL;
        list->tail = &list->head;
}

static inline void job_list_append(struct job_list *list, struct dev_job *job)
{
        job->next = NULL;
        *list->tail = job;
        list->tail = &job->next;
}

static inline struct dev_job *job_list_pop(struct job_list *list)
{
        struct dev_job *job = list->head;

        if (job) {
                list->head = job->next;
                if (!list->head)
                        list->tail = &list->head;
                job->next = NULL;
        }
        return job;
}

#endif
