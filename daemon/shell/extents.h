/* SPDX-License-Identifier: MIT
 *
 * extents.h -- the devices and their extents as the shell has them: fds and handles, by the core's extent ids.
 *
 * The core says what to make and to destroy; the devices' threads do it; what comes of it goes back as events. The low
 * half of an extent id is its slot in the core's table and in this one.
 */
#ifndef SHELL_EXTENTS_H
#define SHELL_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "dev-thread.h"

struct extents_device {
        const struct dev_backend *backend;
        struct dev *dev;
        struct dev_thread *thread;
        struct dev_info info;
        char name[CONFIG_NAME_MAX];
        uint32_t virgin_pages;
};

struct extents {
        struct extents_device devices[CONFIG_MAX_DEVICES];
        uint32_t n_devices, n_slots;
        struct extents_slot *slots; /* a mapping that costs nothing until it is touched */
        uint32_t top;               /* slots ever used */
};

/* What became of an extent. */
struct extents_result {
        uint64_t extent;
        enum dev_job_kind kind;
        int status;      /* 0 or a negative errno */
        uint32_t worker; /* whom it was granted to; 0: nobody yet */
        bool tampered;   /* destroyed, but whoever held it can still use the memory */
};

/* Opens the devices of the configuration and starts their threads; what goes wrong is said in `error`, in a sentence
 * that names the device. */
int extents_open(struct extents *extents, const struct config *config, char *error, size_t error_size);

/* Makes room for that many extents. */
int extents_reserve(struct extents *extents, uint32_t n_slots);

/* Stops the threads and closes all fds. Nothing is truncated: workers that live on keep what they have mapped. */
void extents_close(struct extents *extents, uint64_t timeout_usec);

/* Sum over all devices, in bytes. */
uint64_t extents_capacity(const struct extents *extents);
uint64_t extents_capacity_pages(const struct extents *extents);

void extents_create(struct extents *extents, uint32_t device, uint64_t extent, uint32_t order);
void extents_destroy(struct extents *extents, uint32_t device, uint64_t extent);

/* Notes whom the extent was granted to. */
void extents_granted(struct extents *extents, uint64_t extent, uint32_t worker);

/* The extent's fd, still the table's; -1: there is no such extent (any more). */
int extents_fd(const struct extents *extents, uint64_t extent);

/* Takes up to `max` results of a device; returns how many. */
unsigned extents_collect(struct extents *extents, uint32_t device, struct extents_result *results, unsigned max);

#endif
