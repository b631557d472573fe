/* SPDX-License-Identifier: MIT
 *
 * store.h -- the devices and their extents as the shell has them: fds and handles, by the core's extent ids.
 *
 * The core says what to make and to destroy; the devices' threads do it; what comes of it goes back as events. The low
 * half of an extent id is its slot in the core's table and in this one.
 */
#ifndef SHELL_STORE_H
#define SHELL_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "dev-thread.h"
#include "returners.h"

#define STORE_UNKNOWN UINT32_MAX /* a tenant */

struct store_device {
        const struct dev_backend *backend;
        struct dev *dev;
        struct dev_thread *thread;
        struct dev_info info;
        char name[CONFIG_NAME_MAX];
        uint32_t virgin_pages;
        uint64_t missing;      /* bytes of its capacity, as the core was told last */
        uint64_t missing_told; /* as the device itself said last */
        struct returners returners;
};

/* What a device was with the daemon that this one goes on from; all 0: there was none. */
struct store_before {
        uint64_t capacity, made; /* bytes */
};

struct store {
        struct store_device devices[CONFIG_MAX_DEVICES];
        uint32_t n_devices, n_slots;
        struct store_slot *slots;                       /* a mapping that costs nothing until it is touched */
        uint32_t top;                                   /* slots ever used */
        uint32_t n_destroying;                          /* destructions not yet collected */
        struct store_stray *strays;                     /* that are being destroyed */
        struct store_before before[CONFIG_MAX_DEVICES]; /* set before store_open() */
};

/* What became of an extent. */
struct store_result {
        uint64_t extent;
        enum dev_job_kind kind;
        int status;      /* 0 or a negative errno */
        uint32_t worker; /* whom it was granted to; 0: nobody yet, or not known */
        bool tampered;   /* destroyed, but whoever held it can still use the memory */
};

/* Whose an extent is, or was. */
struct store_owner {
        uint64_t extent;
        uint32_t worker; /* 0: not known */
        uint32_t tenant; /* STORE_UNKNOWN: not known */
};

/* Opens the devices of the configuration; what goes wrong is said in `error`, in a sentence that names the device. */
int store_open(struct store *store, const struct config *config, char *error, size_t error_size);

/* Starts their threads, to which the devices belong from then on. */
int store_start(struct store *store, char *error, size_t error_size);

/* Makes room for that many extents. */
int store_reserve(struct store *store, uint32_t n_slots);

/* Stops the threads and closes all fds. Nothing is truncated: workers that live on keep what they have mapped. */
void store_close(struct store *store, uint64_t timeout_usec);

/* Sum over all devices. */
uint64_t store_capacity_pages(const struct store *store);

/* What each device has; points into `store`. Returns how many there are. */
uint32_t store_sizes(const struct store *store, struct config_size ret[static CONFIG_MAX_DEVICES]);

void store_create(struct store *store, uint32_t device, uint64_t extent, uint32_t order);
void store_destroy(struct store *store, uint32_t device, uint64_t extent);

/* Notes that the extent is to be destroyed, but not yet. */
void store_leave(struct store *store, uint64_t extent);
bool store_is_leaving(const struct store *store, uint64_t extent);

/* An extent that another daemon made becomes ours. Takes the fd. `worker` and `tenant`: whom it was granted to; worker
 * 0: nobody. */
void store_adopt(struct store *store, uint64_t extent, uint32_t order, uint32_t worker, uint32_t tenant, int fd);

/* Destroys one that nobody knows any more. Takes the fd. Before store_start(), if the device wants all of its calls on
 * one thread (store_strays_first()), else after it. */
void store_destroy_stray(struct store *store, uint32_t device, uint32_t order, int fd);
bool store_strays_first(const struct store *store, uint32_t device);

/* An extent whose destruction began before `since_usec` and is stuck; each is named once. False: there is none. */
bool store_stuck(struct store *store, uint32_t device, uint64_t since_usec, struct store_owner *ret);

/* log2 of the pages of an extent that is there. */
uint32_t store_order(const struct store *store, uint64_t extent);

/* Notes whom the extent was granted to: the destructions of one tenant's extents are in no other's way. */
void store_granted(struct store *store, uint64_t extent, uint32_t worker, uint32_t tenant);

/* The extent's fd, still the table's; -1: there is no such extent (any more). */
int store_fd(const struct store *store, uint64_t extent);

/* Takes up to `max` results of a device; returns how many. */
unsigned store_collect(struct store *store, uint32_t device, struct store_result *results, unsigned max);

#endif
