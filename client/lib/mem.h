/* SPDX-License-Identifier: MIT
 *
 * mem.h -- what the library asks of a device: address space, and extents in it. One table a backend.
 */
#ifndef LIB_MEM_H
#define LIB_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem_device; /* what a backend has to remember of a cache's device; NULL: nothing */

struct mem_backend {
        const char *name; /* as the daemon names the device's backend */
        bool whole;       /* extents are unmapped one by one, and all of them before their addresses are released */

        /* Finds the device here, in the caller's context. -ENODEV: this process cannot use it. NULL: there is nothing
         * to find. */
        int (*open)(const char *uuid, struct mem_device **ret_device);
        void (*close)(struct mem_device *device);

        /* The device's number in this process, as DLPack has it. NULL: 0. */
        uint32_t (*number)(const struct mem_device *device);

        /* `size` bytes of address space at a multiple of `align`, nothing behind it. -ENOMEM. */
        int (*reserve)(struct mem_device *device, size_t size, size_t align, void **ret_base);

        /* Puts the extent behind `fd` at `address`, within a reservation. The fd stays the caller's. -ENOMEM: also
         * where the kernel allows no more mappings (vm.max_map_count); other errors: no fd of an extent. Nothing is
         * mapped then. */
        int (*map)(struct mem_device *device, void *address, size_t size, int fd);

        /* Makes what was mapped there usable: adjacent extents, all of them whole. NULL: it is from the start. */
        int (*access)(struct mem_device *device, void *address, size_t size);

        /* Takes away whatever is mapped there; the addresses stay reserved. A negative errno: it is still mapped. */
        int (*unmap)(struct mem_device *device, void *address, size_t size);

        void (*release)(struct mem_device *device, void *base, size_t size);

        /* Waits until nothing computes with the memory any more; 0, or a negative errno: it may still be in use. NULL:
         * nothing computes with it but the caller. */
        int (*fence)(struct mem_device *device);
};

extern const struct mem_backend mem_host, mem_cuda;

/* NULL: not in this build. */
const struct mem_backend *mem_backend_find(const char *name);

#endif
