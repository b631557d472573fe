/* SPDX-License-Identifier: MIT
 *
 * state.h -- what outlives the daemon: the core, and who its workers are, in memory that the holder keeps.
 *
 * One memfd. A snapshot of the core's arena, and a log of the events since; each event is in the log before it is
 * applied, so whatever somebody may have been told of is in there. Replayed, it gives the same core, byte for byte
 * (core.h). When the log is full, the next snapshot goes to the other half of the file, with a log of its own, and
 * takes effect with one store:
 *
 *      header | workers | snapshot, log | snapshot, log
 *               ^ tokens  ^ header.current names one of the two
 *
 * All of it is plain stores to shared memory: nothing is synced, for what is lost with the machine's memory is lost
 * with the extents as well. Everything is summed, so what was cut short or overwritten is seen and not used.
 */
#ifndef SHELL_STATE_H
#define SHELL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core.h"

#define STATE_NAME_MAX   64u
#define STATE_CGROUP_MAX 512u

struct state_device {
        char name[STATE_NAME_MAX], backend[16], uuid[48];
        uint64_t page_size, capacity, virgin_pages;
};

/* A connected process, as it was identified when it connected. */
struct state_worker {
        uint32_t worker; /* the core's id; 0: free */
        uint32_t pid, uid;
        uint32_t tenant;   /* the core's index */
        uint64_t token[2]; /* what it shows to be taken for the same again */
        uint64_t accepted; /* identity_now() */
        char tenant_name[STATE_NAME_MAX];
        char cgroup[STATE_CGROUP_MAX]; /* empty: not known */
        uint64_t sum;                  /* set by state_worker_set() */
};

struct state;

/* Makes the memory for a core with these parameters, which begins now; `devices` is what it pages. -ENOMEM, -EMFILE,
 * ...
 */
int state_new(const struct core_params *params, const struct state_device *devices, uint32_t n_devices,
              uint64_t began_usec, struct state **ret);

/* Takes over what another daemon left; `fd` is taken in any case. -EBADMSG, and why in `why`: it cannot be used. */
int state_open(int fd, struct state **ret, char *why, size_t size);
void state_free(struct state *state); /* the memory itself lives on while the holder has it */

int state_fd(const struct state *state);
uint64_t state_began_usec(const struct state *state);
const struct core_params *state_params(const struct state *state);
uint32_t state_devices(const struct state *state, const struct state_device **ret);

/* Writes a snapshot, and begins a log after it. On an error what was there stays in force. */
int state_snapshot(struct state *state, const struct core *core);

/* Notes an event that is about to be applied; takes a snapshot of `core` before that where the log is full. Before the
 * first snapshot, which is to have all devices and tenants, nothing is noted. */
int state_append(struct state *state, const struct core *core, const struct core_event *event);

/* Nothing is noted any more: nobody is to go on from what was. */
void state_end(struct state *state);

/* Loads the snapshot into `arena`, zeroed, of core_size() bytes, and applies the log to it, all of it: who was granted
 * what the rest of a log tells is using memory that the core takes for virgin. `ret_events`: how many. -EBADMSG, and
 * why in `why`: there is no core to be had. */
int state_restore(struct state *state, void *arena, struct core_actions *scratch, struct core **ret,
                  uint64_t *ret_events, char *why, size_t size);

/* The record of the worker in that slot of the core; NULL: beyond the table. Set by state_worker_set() alone. */
const struct state_worker *state_worker(const struct state *state, uint32_t worker);
void state_worker_set(struct state *state, const struct state_worker *worker);
void state_worker_clear(struct state *state, uint32_t worker);

#endif
