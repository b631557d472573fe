/* SPDX-License-Identifier: MIT
 *
 * store.c -- see store.h.
 *
 * A slot belongs to the loop while it is empty or ready, and to its device's thread while it is at work: the loop does
 * not look into it then, so no lock is needed beyond the thread's own queue.
 */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core.h"
#include "owner.h"

enum slot_state { SLOT_EMPTY, SLOT_READY, SLOT_AT_WORK };

/* Of destructions: what nobody ever had, what somebody may have had, and what each tenant has. */
enum { LANE_VIRGIN, LANE_UNKNOWN, LANE_TENANT };
_Static_assert(LANE_TENANT + CORE_MAX_TENANTS <= DEV_LANES, "each tenant has a lane");

struct store_slot {
        struct dev_job job; /* first, so that a job leads to its slot */
        uint64_t id;
        uint32_t worker;
        uint32_t state; /* enum slot_state */
        bool leaving;   /* to be destroyed once the holder has given it up */
        bool stray;     /* in no table, but part of a store_stray */
};

struct store_stray {
        struct store_slot slot; /* first, so that the slot leads to it */
        struct store_stray *next;
};

/* A sixteenth of the device, up to 4 extents of the largest class and as many pages of each smaller one. */
static uint32_t device_default_virgin_pages(const struct dev_info *info)
{
        uint64_t pages = info->capacity / info->page_size / 16;

        return pages < 1024 ? (uint32_t)pages : 1024;
}

/* A GPU, if there is one and it can be used; else the host's memory. */
static int device_open_any(struct store_device *device, struct dev_options options, char *why, size_t size)
{
        char warning[300] = "";
        int r;

        options.any = true;
        device->backend = &dev_backend_cuda;
        r = device->backend->open(&options, &device->dev, why, size);
        if (r == 0) {
                (void)snprintf(device->name, sizeof(device->name), "gpu0");
                device->backend->info(device->dev, &device->info);
                return 0;
        }
        if (r != -ENOENT)
                (void)snprintf(warning, sizeof(warning), "%s", why);
        device->backend = &dev_backend_host;
        r = device->backend->open(&options, &device->dev, why, size);
        if (r < 0)
                return r;
        device->backend->info(device->dev, &device->info);
        if (warning[0])
                (void)snprintf(device->info.warning, sizeof(device->info.warning),
                               "a GPU's memory would be used, but: %s", warning);
        return 0;
}

static int device_open(struct store_device *device, const struct config_device *config,
                       const struct store_before *before, char *error, size_t error_size)
{
        struct dev_options options = config_device_options(config);
        char why[300] = "out of memory";
        int r;

        options.capacity_before = before->capacity;
        options.made_before = before->made;
        (void)snprintf(device->name, sizeof(device->name), "%s", config->name);
        if (strcmp(config->backend, CONFIG_BACKEND_ANY) == 0) {
                r = device_open_any(device, options, why, sizeof(why));
        } else {
                device->backend = dev_backend_find(config->backend);
                assert(device->backend);
                r = device->backend->open(&options, &device->dev, why, sizeof(why));
                if (r == 0)
                        device->backend->info(device->dev, &device->info);
        }
        if (r == 0)
                device->virgin_pages = config->virgin_pages == UINT32_MAX ? device_default_virgin_pages(&device->info)
                                                                          : config->virgin_pages;
        else
                (void)snprintf(error, error_size, "[device %s]: %s", config->name, why);
        return r;
}

int store_open(struct store *store, const struct config *config, char *error, size_t error_size)
{
        int r;

        assert(store && config && error);
        assert(config->n_devices <= CONFIG_MAX_DEVICES);

        for (uint32_t i = 0; i < config->n_devices; i++) {
                store->n_devices = i + 1;
                r = device_open(&store->devices[i], &config->devices[i], &store->before[i], error, error_size);
                if (r < 0)
                        return r;
        }
        return 0;
}

int store_start(struct store *store, char *error, size_t error_size)
{
        assert(store && error);

        for (uint32_t i = 0; i < store->n_devices; i++) {
                struct store_device *device = &store->devices[i];
                int r = dev_thread_new(device->backend, device->dev, &device->thread);

                if (r < 0) {
                        (void)snprintf(error, error_size, "[device %s]: its thread cannot be started: %s", device->name,
                                       strerror(-r));
                        return r;
                }
        }
        return 0;
}

int store_reserve(struct store *store, uint32_t n_slots)
{
        void *slots;

        assert(store && !store->slots && n_slots > 0);

        slots = mmap(NULL, n_slots * sizeof(struct store_slot), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (slots == MAP_FAILED)
                return -errno;
        store->slots = slots;
        store->n_slots = n_slots;
        return 0;
}

static void stray_free(struct store *store, struct store_stray *stray)
{
        struct store_stray **link = &store->strays;

        while (*link != stray)
                link = &(*link)->next;
        *link = stray->next;
        fd_close(stray->slot.job.extent.fd);
        free(stray);
}

void store_close(struct store *store, uint64_t timeout_usec)
{
        bool stuck = false;

        assert(store);

        for (uint32_t i = 0; i < store->n_devices; i++) {
                struct store_device *device = &store->devices[i];

                if (dev_thread_free(device->thread, timeout_usec) < 0) {
                        stuck = true; /* in its driver; it may still write to a slot */
                        continue;
                }
                device->thread = NULL;
                if (device->dev)
                        device->backend->close(device->dev);
                device->dev = NULL;
        }
        if (stuck || !store->slots)
                return;
        for (uint32_t i = 0; i < store->top; i++)
                if (store->slots[i].state != SLOT_EMPTY)
                        fd_close(store->slots[i].job.extent.fd);
        (void)munmap(store->slots, store->n_slots * sizeof(struct store_slot));
        store->slots = NULL;
        while (store->strays)
                stray_free(store, store->strays);
}

uint64_t store_capacity_pages(const struct store *store)
{
        uint64_t pages = 0;

        for (uint32_t i = 0; i < store->n_devices; i++)
                pages += store->devices[i].info.capacity / store->devices[i].info.page_size;
        return pages;
}

uint32_t store_sizes(const struct store *store, struct config_size ret[static CONFIG_MAX_DEVICES])
{
        for (uint32_t i = 0; i < store->n_devices; i++)
                ret[i] = (struct config_size){ .name = store->devices[i].name,
                                               .capacity = store->devices[i].info.capacity,
                                               .page_size = store->devices[i].info.page_size };
        return store->n_devices;
}

static struct store_slot *slot_get(const struct store *store, uint64_t extent)
{
        uint32_t index = (uint32_t)extent;

        assert(index < store->n_slots); /* the core's own word */
        return &store->slots[index];
}

void store_create(struct store *store, uint32_t device, uint64_t extent, uint32_t order)
{
        struct store_slot *slot = slot_get(store, extent);

        assert(device < store->n_devices);
        assert(slot->state == SLOT_EMPTY);

        if ((uint32_t)extent >= store->top)
                store->top = (uint32_t)extent + 1;
        *slot = (struct store_slot){
                .job = { .kind = DEV_JOB_CREATE, .lane = LANE_VIRGIN, .extent = { .fd = -1, .order = order } },
                .id = extent,
                .state = SLOT_AT_WORK,
        };
        dev_thread_submit(store->devices[device].thread, &slot->job);
}

void store_leave(struct store *store, uint64_t extent)
{
        struct store_slot *slot = slot_get(store, extent);

        assert(slot->state == SLOT_READY && slot->id == extent);
        slot->leaving = true;
}

bool store_is_leaving(const struct store *store, uint64_t extent)
{
        const struct store_slot *slot = slot_get(store, extent);

        return slot->id == extent && slot->leaving;
}

void store_destroy(struct store *store, uint32_t device, uint64_t extent)
{
        struct store_slot *slot = slot_get(store, extent);

        assert(device < store->n_devices);
        assert(slot->state == SLOT_READY && slot->id == extent);

        slot->state = SLOT_AT_WORK;
        slot->leaving = false;
        slot->job.kind = DEV_JOB_DESTROY;
        store->n_destroying++;
        dev_thread_submit(store->devices[device].thread, &slot->job);
}

static uint32_t lane_of(uint32_t tenant)
{
        assert(tenant < CORE_MAX_TENANTS);
        return LANE_TENANT + tenant;
}

void store_adopt(struct store *store, uint64_t extent, uint32_t order, uint32_t worker, uint32_t tenant, int fd)
{
        struct store_slot *slot = slot_get(store, extent);

        assert(slot->state == SLOT_EMPTY && fd >= 0);

        if ((uint32_t)extent >= store->top)
                store->top = (uint32_t)extent + 1;
        *slot = (struct store_slot){ .job = { .lane = worker ? lane_of(tenant) : (uint32_t)LANE_VIRGIN,
                                              .extent = { .fd = fd, .order = order } },
                                     .id = extent,
                                     .worker = worker,
                                     .state = SLOT_READY };
}

bool store_strays_first(const struct store *store, uint32_t device)
{
        assert(device < store->n_devices);

        return !store->devices[device].backend->end;
}

void store_destroy_stray(struct store *store, uint32_t device, uint32_t order, int fd)
{
        struct store_device *d = &store->devices[device];
        struct dev_extent extent = { .fd = fd, .order = order };
        struct store_stray *stray;

        assert(device < store->n_devices && fd >= 0);

        if (store_strays_first(store, device)) {
                assert(!d->thread);
                if (d->backend->destroy(d->dev, &extent) < 0)
                        fd_close(extent.fd);
                return;
        }
        assert(d->thread);
        stray = calloc(1, sizeof(*stray));
        if (!stray) {
                fd_close(fd); /* its memory is free once its last process is gone */
                return;
        }
        *stray = (struct store_stray){
                .slot = { .job = { .kind = DEV_JOB_DESTROY, .lane = LANE_UNKNOWN, .extent = extent },
                          .state = SLOT_AT_WORK,
                          .stray = true },
                .next = store->strays,
        };
        store->strays = stray;
        store->n_destroying++;
        dev_thread_submit(d->thread, &stray->slot.job);
}

bool store_stuck(struct store *store, uint32_t device, uint64_t since_usec, struct store_owner *ret)
{
        const struct dev_job *job;
        const struct store_slot *slot;

        assert(device < store->n_devices && ret);

        job = dev_thread_stuck(store->devices[device].thread, since_usec);
        if (!job)
                return false;
        slot = (const struct store_slot *)(const void *)job;
        *ret = (struct store_owner){ .extent = slot->id,
                                     .worker = slot->worker,
                                     .tenant = job->lane >= LANE_TENANT ? job->lane - LANE_TENANT : STORE_UNKNOWN };
        return true;
}

uint32_t store_order(const struct store *store, uint64_t extent)
{
        const struct store_slot *slot = slot_get(store, extent);

        assert(slot->id == extent);
        return slot->job.extent.order;
}

void store_granted(struct store *store, uint64_t extent, uint32_t worker, uint32_t tenant)
{
        struct store_slot *slot = slot_get(store, extent);

        assert(slot->state == SLOT_READY && slot->id == extent);
        slot->worker = worker;
        slot->job.lane = lane_of(tenant);
}

int store_fd(const struct store *store, uint64_t extent)
{
        const struct store_slot *slot = slot_get(store, extent);

        return slot->state == SLOT_READY && slot->id == extent ? slot->job.extent.fd : -1;
}

unsigned store_collect(struct store *store, uint32_t device, struct store_result *results, unsigned max)
{
        struct dev_job *job, *next;
        unsigned n = 0;

        assert(device < store->n_devices && results && max > 0);

        for (job = dev_thread_collect(store->devices[device].thread, max); job; job = next) {
                struct store_slot *slot = (struct store_slot *)(void *)job;
                bool exists = job->kind == DEV_JOB_CREATE ? job->status >= 0 : job->status < 0;

                next = job->next;
                store->n_destroying -= job->kind == DEV_JOB_DESTROY;
                if (slot->stray) {
                        stray_free(store, (struct store_stray *)(void *)slot);
                        continue;
                }
                slot->state = exists ? SLOT_READY : SLOT_EMPTY;
                results[n++] = (struct store_result){
                        .extent = slot->id,
                        .kind = job->kind,
                        .status = job->status < 0 ? job->status : 0,
                        .worker = slot->worker,
                        .tampered = job->kind == DEV_JOB_DESTROY && job->status == DEV_TAMPERED,
                };
        }
        return n;
}
