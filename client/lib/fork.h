/* SPDX-License-Identifier: MIT
 *
 * fork.h -- a child of fork() has no part in its parent's connections.
 *
 * The child's copy of every registered reservation is unmapped and of every registered fd closed, in the child, before
 * fork() returns there: it cannot touch the parent's KV caches, nor keep the parent's connection open after the
 * parent's death. Calls of the child see another generation than the one of their connection and return -ECHILD.
 * (MADV_DONTFORK would have to be set again on each extent that is mapped, a system call each, and would leave the
 * fds.)
 */
#ifndef LIB_FORK_H
#define LIB_FORK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "util.h"

#define FORK_MAX_FDS 4

struct fork_node {
        struct fork_node *next, *previous;
        void *base; /* NULL: none */
        size_t size;
        int fds[FORK_MAX_FDS]; /* -1: none */
};

extern _Atomic uint32_t fork_generation_;

/* How often this process was forked off since the library was loaded. */
static inline uint32_t fork_generation(void)
{
        return atomic_load_explicit(&fork_generation_, memory_order_relaxed);
}

/* -ENOMEM: no memory for fork handlers. The node stays where it is until fork_unregister(). */
int fork_register(struct fork_node *node);
void fork_unregister(struct fork_node *node); /* one that was not registered (all zero) is fine */

#endif
