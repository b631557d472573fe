/* SPDX-License-Identifier: MIT
 *
 * dev.h -- what a backend does: make extents, export them as fds, take them away.
 *
 * All calls but `check`, `open` and `close` run on the device's own threads (dev-thread), so they may be slow; none may
 * exit, log or touch the core. An extent is a small handle in a slot that the caller owns.
 */
#ifndef DEV_H
#define DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEV_TAMPERED 1
#define DEV_WARNING  400u /* bytes of a warning */

struct dev;

struct dev_options {
        const char *name;
        const char *uuid;          /* NULL: any */
        uint64_t page_size;        /* bytes, a power of two; 0: the backend's default (2 MiB) */
        uint64_t capacity;         /* bytes; 0: by capacity_percent */
        uint32_t capacity_percent; /* of the device's memory; 0: the backend's default (host: half of MemAvailable) */
        bool hugepages, populate;
        /* Where the device goes on as it was with another daemon: which capacity it had, and how many bytes that made
         * in extents, which are known by their fds alone, handle 0, and destroy() takes them. What is free now is no
         * matter then. 0: it is new. */
        uint64_t capacity_before, made_before;
        bool any; /* of several devices the first will do, with a warning */
};

struct dev_info {
        uint64_t page_size, capacity; /* bytes; capacity is a multiple of page_size */
        uint64_t total;     /* bytes of the whole device, which others may use too; 0: it is no device of its own */
        uint32_t number;    /* the driver's, among its devices */
        bool alone;         /* the driver has no other one */
        bool tells_missing; /* missing() knows what others have of it */
        char backend[16];
        char uuid[48];
        char warning[DEV_WARNING]; /* empty, or one sentence for the log, e.g. capacity over the host's RAM */
};

struct dev_extent {
        int fd;          /* -1: none; what is sent to workers */
        uint32_t order;  /* 1 << order pages */
        uint64_t handle; /* the backend's own */
};

/* Gets what is wrong with an option: its key in kvpagerd.conf(5), and a sentence. */
typedef void dev_complain_fn(void *userdata, const char *key, const char *sentence);

struct dev_backend {
        const char *name;
        /* Whether options make sense, as far as that does not change from one moment to the next: 0, or -EINVAL after a
         * complaint about each that does not. Any thread. */
        int (*check)(const struct dev_options *options, dev_complain_fn *complain, void *userdata);
        /* Checks, and opens. 0 or a negative errno with a sentence in `error`; -ENOENT: this machine has no such
         * devices at all. */
        int (*open)(const struct dev_options *options, struct dev **ret, char *error, size_t error_size);
        void (*close)(struct dev *dev);
        void (*info)(const struct dev *dev, struct dev_info *ret);
        /* Makes an extent of 1 << order pages, zeroed, and its fd. -ENOMEM, -EMFILE, ...: nothing was made. */
        int (*create)(struct dev *dev, uint32_t order, struct dev_extent *ret);
        /* Ends it for everybody, as far as the backend can (host: truncates, so that a liar's touch is SIGBUS), and
         * closes the fd. DEV_TAMPERED: ended as far as our account goes, but whoever held it saw to it that it cannot
         * be taken away from him. On failure the extent still stands and the call may be repeated. */
        int (*destroy)(struct dev *dev, struct dev_extent *extent);
        /* NULL: nobody can make destroy() last, and it runs on the one thread that create() runs on. Else the device's
         * thread uses this in its place, which leaves the fd to be closed by others. It runs on threads of its own, at
         * the same time as itself and as create(). Not together with missing(). */
        int (*end)(struct dev *dev, const struct dev_extent *extent);
        /* On each of these threads before the first end(): makes sure that a thread that does not return keeps nothing
         * open, but `fd`, of a process that ends. May be NULL. */
        void (*set_apart)(struct dev *dev, int fd);
        /* Bytes of the capacity that cannot be had at the moment, because others use the device or because somebody
         * keeps what was destroyed. NULL: that does not happen. Asked after destructions, after a failed creation, and
         * now and then. */
        int (*missing)(struct dev *dev, uint64_t *ret);
};

extern const struct dev_backend dev_backend_host, dev_backend_cuda;

/* The backend of that name; NULL: there is none. */
const struct dev_backend *dev_backend_find(const char *name);

#endif
