/* SPDX-License-Identifier: MIT
 *
 * fake-parts.h -- what fake-daemon.c and fake-grants.c have in common: the fake daemon's state, guarded by its lock,
 * and the functions that one has for the other.
 */
#ifndef TEST_FAKE_PARTS_H
#define TEST_FAKE_PARTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fake-daemon.h"

#define MAX_CACHES   256u
#define MAX_ROWS     65536u
#define WAIT_SECONDS 10
#define TOKEN_LOW    UINT64_C(0x1122334455667788)
#define TOKEN_HIGH   UINT64_C(0x99aabbccddeeff00)

struct fake_extent {
        uint64_t id;
        uint32_t cache, row, first, pages;
        uint16_t plane_class, plane;
        bool live, told;
};

struct fake_cache {
        uint32_t rows, n_classes;
        struct wire_item_class classes[WIRE_MAX_CLASSES];
};

struct fake {
        struct fake_options options;
        char folder[64], path[96];
        int listener, worker, events, stop;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;

        uint64_t received[256];
        uint64_t gone, refused, optional, pages;
        char violation[200];
        uint8_t held[MAX_ROWS];
        enum wire_error_code fail, fail_optional;
        bool is_short, hold, paused, resuming, forgotten;
        uint64_t resumed;
        uint32_t spoil_every, spoil_count, n_stock, stock_used;
        int stock[512];
        fake_hook_fn *hook;
        void *hook_userdata;

        uint32_t n_caches;
        struct fake_cache caches[MAX_CACHES];
        struct fake_extent *extents;
        uint64_t n_extents, extents_capacity;
        struct wire_item_grant *queue; /* granted in principle, to be sent as the window allows */
        uint64_t queue_head, queue_tail, queue_capacity;
        uint64_t granted, acked;
        uint64_t packet[WIRE_MAX_PACKET / 8], out[WIRE_MAX_PACKET / 8];
};

/* With the lock held. */
void fake_note_violation(struct fake *fake, const char *what, uint64_t a, uint64_t b);
void fake_say(struct fake *fake, enum wire_opcode opcode, uint32_t request, const void *fixed, const void *items,
              uint32_t n_items, const int *fds, unsigned n_fds);
void fake_say_error(struct fake *fake, uint32_t request, enum wire_error_code code);
void fake_greet(struct fake *fake, const struct wire_view *view);
void fake_flush(struct fake *fake);
void fake_grow_one(struct fake *fake, struct wire_item_grow grow, uint32_t request, uint16_t entry);
void fake_take_back(struct fake *fake, const struct wire_view *view);
void fake_resume(struct fake *fake, const struct wire_view *view);
void fake_holds(struct fake *fake, const struct wire_view *view);
void fake_end_resume(struct fake *fake, const struct wire_view *view);

#endif
