/* SPDX-License-Identifier: MIT
 *
 * mem.h -- what the library asks of a device: address space, and extents in it. One table a backend.
 */
#ifndef LIB_MEM_H
#define LIB_MEM_H

#include <stddef.h>
#include <stdint.h>

struct mem_backend {
        const char *name; /* as the daemon names the device's backend */

        /* `size` bytes of address space at a multiple of `align`, nothing behind it. -ENOMEM. */
        int (*reserve)(size_t size, size_t align, void **ret_base);

        /* Puts the extent behind `fd` at `address`, within a reservation. The fd stays the caller's. -ENOMEM: also
         * where the kernel allows no more mappings (vm.max_map_count); other errors: no fd of an extent. Nothing is
         * mapped then. */
        int (*map)(void *address, size_t size, int fd);

        /* Takes away whatever is mapped there; the addresses stay reserved. */
        void (*unmap)(void *address, size_t size);

        void (*release)(void *base, size_t size);
};

extern const struct mem_backend mem_host;

/* NULL: not in this build. */
const struct mem_backend *mem_backend_find(const char *name);

#endif
