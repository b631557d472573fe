/* SPDX-License-Identifier: MIT
 *
 * other.h -- another process, which has memory and dies: the program itself with a role, and a socket to it.
 */
#ifndef TESTS_GPU_OTHER_H
#define TESTS_GPU_OTHER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define OTHER_SOCKET 3 /* the fd of it, there */

struct other {
        pid_t pid;
        int socket;
};

/* Starts it with these two arguments. */
bool other_start(struct other *other, const char *role, uint64_t bytes);

/* Its message, with the fd that came with it or -1; false: it sent none in time. */
bool other_hear(struct other *other, int *ret_fd);

void other_kill(struct other *other);

/* There: a message, with an fd unless that is -1. */
void other_say(int fd);

#endif
