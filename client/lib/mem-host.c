/* SPDX-License-Identifier: MIT
 *
 * mem-host.c -- extents of host memory: each is a memfd, mapped shared over a reservation that nothing is behind.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mem.h"
#include "util.h"

/* Where memory is locked and there is a limit to that, the kernel says "again" for no memory. */
static int map_error(void)
{
        return errno == EAGAIN ? -ENOMEM : -errno;
}

static int host_reserve(struct mem_device *device, size_t size, size_t align, void **ret_base)
{
        const uintptr_t mask = align - 1;
        size_t padded;
        uintptr_t base, start;
        void *p;

        (void)device;
        assert(size > 0 && is_power_of_two(align));
        if (__builtin_add_overflow(size, align, &padded))
                return -ENOMEM;
        p = mmap(NULL, padded, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return map_error();
        base = (uintptr_t)p;
        start = (base + mask) & ~mask;
        if (start > base)
                (void)munmap(p, start - base);
        if (start + size < base + padded)
                (void)munmap((void *)(start + size), base + padded - (start + size));
        *ret_base = (void *)start;
        return 0;
}

static int host_map(struct mem_device *device, void *address, size_t size, int fd)
{
        (void)device;
        return mmap(address, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ? map_error()
                                                                                                        : 0;
}

/* Over vm.max_map_count nothing can be put in its place. The daemon truncates what is given back, so the memory comes
 * free even so. */
static int host_unmap(struct mem_device *device, void *address, size_t size)
{
        (void)device;
        if (mmap(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
            MAP_FAILED)
                (void)mprotect(address, size, PROT_NONE);
        return 0;
}

static void host_release(struct mem_device *device, void *base, size_t size)
{
        (void)device;
        (void)munmap(base, size);
}

const struct mem_backend mem_host = {
        .name = "host",
        .reserve = host_reserve,
        .map = host_map,
        .unmap = host_unmap,
        .release = host_release,
};

const struct mem_backend *mem_backend_find(const char *name)
{
        static const struct mem_backend *const backends[] = { &mem_host, &mem_cuda };

        for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
                if (strcmp(name, backends[i]->name) == 0)
                        return backends[i];
        return NULL;
}
