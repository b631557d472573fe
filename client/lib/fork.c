/* SPDX-License-Identifier: MIT
 *
 * fork.c -- the handlers of pthread_atfork() and the list that they work on: the only mutable globals of the library.
 */
#include "fork.h"

#include <pthread.h>
#include <sys/mman.h>

_Atomic uint32_t fork_generation_;

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fork_node registry = { .next = &registry, .previous = &registry };
static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
static int handlers_status;

static void before_fork(void)
{
        (void)pthread_mutex_lock(&registry_lock);
}

static void after_fork_in_parent(void)
{
        (void)pthread_mutex_unlock(&registry_lock);
}

static void after_fork_in_child(void)
{
        atomic_fetch_add_explicit(&fork_generation_, 1, memory_order_relaxed);
        for (struct fork_node *node = registry.next; node != &registry; node = node->next) {
                if (node->base)
                        (void)munmap(node->base, node->size);
                for (int i = 0; i < FORK_MAX_FDS; i++)
                        if (node->fds[i] >= 0)
                                (void)close(node->fds[i]);
        }
        registry.next = registry.previous = &registry;
        (void)pthread_mutex_unlock(&registry_lock);
}

static void install_handlers(void)
{
        handlers_status = -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int fork_register(struct fork_node *node)
{
        (void)pthread_once(&handlers_once, install_handlers);
        if (handlers_status < 0)
                return handlers_status;
        (void)pthread_mutex_lock(&registry_lock);
        node->next = registry.next;
        node->previous = &registry;
        registry.next->previous = node;
        registry.next = node;
        (void)pthread_mutex_unlock(&registry_lock);
        return 0;
}

void fork_unregister(struct fork_node *node)
{
        (void)pthread_mutex_lock(&registry_lock);
        if (node->next) {
                node->next->previous = node->previous;
                node->previous->next = node->next;
                node->next = node->previous = NULL;
        }
        (void)pthread_mutex_unlock(&registry_lock);
}
