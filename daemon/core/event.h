/* SPDX-License-Identifier: MIT
 *
 * event.h -- what happens to the core: the only way in.
 *
 * An event is a value: fixed-width fields, explicit padding, no pointers, the time included. Its serialised form is the
 * struct itself, cut to the size of its type (core_event_size), little-endian; so a log of events is a file of these,
 * and replaying it yields the same arena byte for byte. Nothing in an event is trusted: the core checks every id,
 * generation and count.
 */
#ifndef CORE_EVENT_H
#define CORE_EVENT_H

#include <stddef.h>
#include <stdint.h>

#define CORE_NAME_MAX    64u
#define CORE_MAX_CLASSES 64u
#define CORE_MAX_PLANES  64u

enum core_event_type {
        CORE_EV_TICK = 1,      /* time has passed */
        CORE_EV_DEVICE_ADD,    /* a device with so many pages */
        CORE_EV_TENANT_SET,    /* a tenant and its limits, new or changed */
        CORE_EV_TENANT_REMOVE, /* takes no new workers; goes when its last worker went */
        CORE_EV_WORKER_ADD,    /* a peer was identified */
        CORE_EV_WORKER_GONE,   /* the connection ended, for whatever reason */
        CORE_EV_CACHE_CREATE,
        CORE_EV_CACHE_DESTROY,
        CORE_EV_GROW,
        CORE_EV_ACK,
        CORE_EV_RETURN,
        CORE_EV_ROW,
        CORE_EV_REVOKED,
        CORE_EV_CREATED,        /* the device made an extent, or failed to */
        CORE_EV_DESTROYED,      /* the device destroyed an extent, or failed to */
        CORE_EV_DEVICE_MISSING, /* what the device says is gone beyond our own account */
        CORE_EV_SUSPECT,        /* a worker gave back memory that did not come free */
        CORE_EV_WORKER_ATTACH,  /* a worker lost its connection, or has another one and has said what it holds */
        CORE_EV_MAX_
};

struct core_ev_device_add {
        uint32_t device;       /* index, the next free one */
        uint32_t page_shift;   /* log2 of the page's bytes */
        uint32_t pages;        /* capacity */
        uint32_t virgin_pages; /* kept made ahead */
};

enum core_overdue { CORE_OVERDUE_DENY, CORE_OVERDUE_KILL };

struct core_ev_tenant_set {
        uint32_t tenant;                                      /* index */
        uint32_t on_overdue;                                  /* enum core_overdue */
        uint64_t min_bytes, low_bytes, high_bytes, max_bytes; /* UINT64_MAX: no limit (high, max) */
        uint64_t reclaim_deadline_usec;
        uint32_t weight;
        uint32_t reserved;
        char name[CORE_NAME_MAX];
};

struct core_ev_tenant_remove {
        uint32_t tenant;
        uint32_t reserved;
};

struct core_ev_worker_add {
        uint64_t cookie; /* the shell's name for the peer, echoed in WELCOME or REFUSED */
        uint64_t pid;
        uint32_t uid;
        uint32_t tenant;
};

struct core_ev_worker {
        uint32_t worker;
        uint32_t reserved;
};

struct core_plane_class {
        uint32_t group;
        uint32_t planes;    /* that grow alike */
        uint32_t row_pages; /* pages of one row in one plane */
        uint32_t reserved;
};

struct core_ev_worker_attach {
        uint32_t worker;
        uint32_t attached; /* 0 or 1 */
};

struct core_ev_cache_create {
        uint32_t worker, request, device, rows;
        uint32_t n_classes;
        uint32_t reserved;
        struct core_plane_class classes[CORE_MAX_CLASSES]; /* n_classes of them are serialised */
};

struct core_ev_cache_destroy {
        uint32_t worker, request, cache;
        uint32_t reserved;
};

#define CORE_GROW_OPTIONAL 1u

struct core_ev_grow {
        uint32_t worker, request;
        uint16_t entry, flags;
        uint32_t cache, row;
        uint32_t plane_class;
        uint32_t first, need, max; /* pages of each plane; need <= max */
        uint32_t beside;           /* pages, of all planes, that the message's other entries for this row need */
        uint64_t timeout_usec;     /* 0: do not wait for anybody to give memory back */
};

struct core_ev_ack {
        uint32_t worker;
        uint32_t reserved;
        uint64_t granted; /* extents dealt with, cumulative over the worker's life */
};

struct core_ev_return {
        uint32_t worker;
        uint32_t refused; /* 1: it could not be mapped */
        uint64_t extent;
};

struct core_ev_row {
        uint32_t worker, cache, row;
        uint32_t held;
};

struct core_ev_revoked {
        uint32_t worker, revoke;
};

struct core_ev_device_done {
        uint64_t extent;
        int32_t status; /* 0 or a negative errno */
        uint32_t reserved;
};

struct core_ev_device_missing {
        uint32_t device;
        uint32_t pages; /* of its capacity, that cannot be had at the moment */
};

struct core_ev_suspect {
        uint32_t worker;
        uint32_t device;
};

struct core_event {
        uint16_t type; /* enum core_event_type */
        uint16_t size; /* of the serialised event: core_event_size() */
        uint32_t reserved;
        uint64_t now_usec; /* monotonic; a smaller one than before counts as the one before */
        union {
                struct core_ev_device_add device_add;
                struct core_ev_tenant_set tenant_set;
                struct core_ev_tenant_remove tenant_remove;
                struct core_ev_worker_add worker_add;
                struct core_ev_worker worker_gone;
                struct core_ev_cache_create cache_create;
                struct core_ev_cache_destroy cache_destroy;
                struct core_ev_grow grow;
                struct core_ev_ack ack;
                struct core_ev_return ret;
                struct core_ev_row row;
                struct core_ev_revoked revoked;
                struct core_ev_device_done created;
                struct core_ev_device_done destroyed;
                struct core_ev_device_missing device_missing;
                struct core_ev_suspect suspect;
                struct core_ev_worker_attach worker_attach;
        };
};

/* Bytes of the serialised form of `event`, by its type (and n_classes); 0 for a type that does not exist. */
size_t core_event_size(const struct core_event *event);

/* Sets type and size and zeroes the rest (header and the body of that type). Fill in the body afterwards; CACHE_CREATE
 * needs event->size = core_event_size(event) once n_classes is known. */
void core_event_init(struct core_event *event, enum core_event_type type, uint64_t now_usec);

/* Serialises into `buffer`; returns the size, or 0 where it does not fit. */
size_t core_event_encode(const struct core_event *event, void *buffer, size_t capacity);

/* The inverse. Returns the bytes consumed, or 0: cut short, unknown type, wrong size, reserved bits set. */
size_t core_event_decode(const void *buffer, size_t size, struct core_event *ret);

#endif
