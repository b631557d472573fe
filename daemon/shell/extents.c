/* SPDX-License-Identifier: MIT
 *
 * extents.c -- see extents.h.
 *
 * A slot belongs to the loop while it is empty or ready, and to its device's thread while it is at work: the loop does
 * not look into it then, so no lock is needed beyond the thread's own queue.
 */
#include "extents.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "owner.h"

enum slot_state { SLOT_EMPTY, SLOT_READY, SLOT_AT_WORK };

struct extents_slot {
        struct dev_job job; /* first, so that a job leads to its slot */
        uint64_t id;
        uint32_t worker;
        uint32_t state; /* enum slot_state */
};

static const struct dev_backend *const backends[] = { &dev_backend_host };

static const struct dev_backend *backend_find(const char *name)
{
        for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
                if (strcmp(backends[i]->name, name) == 0)
                        return backends[i];
        return NULL;
}

/* A sixteenth of the device, up to 4 extents of the largest class and as many pages of each smaller one. */
static uint32_t device_default_virgin_pages(const struct dev_info *info)
{
        uint64_t pages = info->capacity / info->page_size / 16;

        return pages < 1024 ? (uint32_t)pages : 1024;
}

static int device_open(struct extents_device *device, const struct config_device *config, char *error,
                       size_t error_size)
{
        struct dev_options options = {
                .name = config->name,
                .uuid = config->uuid,
                .page_size = config->page_size,
                .capacity = config->capacity.bytes,
                .capacity_percent = config->capacity.percent,
                .hugepages = config->hugepages,
                .populate = config->populate,
        };
        char why[300] = "out of memory";
        int r;

        (void)snprintf(device->name, sizeof(device->name), "%s", config->name);
        device->backend = backend_find(config->backend);
        assert(device->backend);
        r = device->backend->open(&options, &device->dev, why, sizeof(why));
        if (r == 0) {
                device->backend->info(device->dev, &device->info);
                device->virgin_pages = config->virgin_pages == UINT32_MAX ? device_default_virgin_pages(&device->info)
                                                                          : config->virgin_pages;
                r = dev_thread_new(device->backend, device->dev, &device->thread);
                if (r < 0)
                        (void)snprintf(why, sizeof(why), "its thread cannot be started: %s", strerror(-r));
        }
        if (r < 0)
                (void)snprintf(error, error_size, "[device %s]: %s", config->name, why);
        return r;
}

int extents_open(struct extents *extents, const struct config *config, char *error, size_t error_size)
{
        int r;

        assert(extents && config && error);
        assert(config->n_devices <= CONFIG_MAX_DEVICES);

        for (uint32_t i = 0; i < config->n_devices; i++) {
                extents->n_devices = i + 1;
                r = device_open(&extents->devices[i], &config->devices[i], error, error_size);
                if (r < 0)
                        return r;
        }
        return 0;
}

int extents_reserve(struct extents *extents, uint32_t n_slots)
{
        void *slots;

        assert(extents && !extents->slots && n_slots > 0);

        slots = mmap(NULL, n_slots * sizeof(struct extents_slot), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (slots == MAP_FAILED)
                return -errno;
        extents->slots = slots;
        extents->n_slots = n_slots;
        return 0;
}

void extents_close(struct extents *extents, uint64_t timeout_usec)
{
        bool stuck = false;

        assert(extents);

        for (uint32_t i = 0; i < extents->n_devices; i++) {
                struct extents_device *device = &extents->devices[i];

                if (dev_thread_free(device->thread, timeout_usec) < 0) {
                        stuck = true; /* in its driver; it may still write to a slot */
                        continue;
                }
                device->thread = NULL;
                if (device->dev)
                        device->backend->close(device->dev);
                device->dev = NULL;
        }
        if (stuck || !extents->slots)
                return;
        for (uint32_t i = 0; i < extents->top; i++)
                if (extents->slots[i].state != SLOT_EMPTY)
                        fd_close(extents->slots[i].job.extent.fd);
        (void)munmap(extents->slots, extents->n_slots * sizeof(struct extents_slot));
        extents->slots = NULL;
}

uint64_t extents_capacity(const struct extents *extents)
{
        uint64_t bytes = 0;

        for (uint32_t i = 0; i < extents->n_devices; i++)
                bytes += extents->devices[i].info.capacity;
        return bytes;
}

uint64_t extents_capacity_pages(const struct extents *extents)
{
        uint64_t pages = 0;

        for (uint32_t i = 0; i < extents->n_devices; i++)
                pages += extents->devices[i].info.capacity / extents->devices[i].info.page_size;
        return pages;
}

static struct extents_slot *slot_get(const struct extents *extents, uint64_t extent)
{
        uint32_t index = (uint32_t)extent;

        assert(index < extents->n_slots); /* the core's own word */
        return &extents->slots[index];
}

void extents_create(struct extents *extents, uint32_t device, uint64_t extent, uint32_t order)
{
        struct extents_slot *slot = slot_get(extents, extent);

        assert(device < extents->n_devices);
        assert(slot->state == SLOT_EMPTY);

        if ((uint32_t)extent >= extents->top)
                extents->top = (uint32_t)extent + 1;
        *slot = (struct extents_slot){
                .job = { .kind = DEV_JOB_CREATE, .extent = { .fd = -1, .order = order } },
                .id = extent,
                .state = SLOT_AT_WORK,
        };
        dev_thread_submit(extents->devices[device].thread, &slot->job);
}

void extents_destroy(struct extents *extents, uint32_t device, uint64_t extent)
{
        struct extents_slot *slot = slot_get(extents, extent);

        assert(device < extents->n_devices);
        assert(slot->state == SLOT_READY && slot->id == extent);

        slot->state = SLOT_AT_WORK;
        slot->job.kind = DEV_JOB_DESTROY;
        dev_thread_submit(extents->devices[device].thread, &slot->job);
}

void extents_granted(struct extents *extents, uint64_t extent, uint32_t worker)
{
        struct extents_slot *slot = slot_get(extents, extent);

        assert(slot->state == SLOT_READY && slot->id == extent);
        slot->worker = worker;
}

int extents_fd(const struct extents *extents, uint64_t extent)
{
        const struct extents_slot *slot = slot_get(extents, extent);

        return slot->state == SLOT_READY && slot->id == extent ? slot->job.extent.fd : -1;
}

unsigned extents_collect(struct extents *extents, uint32_t device, struct extents_result *results, unsigned max)
{
        struct dev_job *job, *next;
        unsigned n = 0;

        assert(device < extents->n_devices && results && max > 0);

        for (job = dev_thread_collect(extents->devices[device].thread, max); job; job = next) {
                struct extents_slot *slot = (struct extents_slot *)(void *)job;
                bool exists = job->kind == DEV_JOB_CREATE ? job->status >= 0 : job->status < 0;

                next = job->next;
                slot->state = exists ? SLOT_READY : SLOT_EMPTY;
                results[n++] = (struct extents_result){
                        .extent = slot->id,
                        .kind = job->kind,
                        .status = job->status < 0 ? job->status : 0,
                        .worker = slot->worker,
                        .tampered = job->kind == DEV_JOB_DESTROY && job->status == DEV_TAMPERED,
                };
        }
        return n;
}
