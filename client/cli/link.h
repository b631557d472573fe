/* SPDX-License-Identifier: MIT
 *
 * link.h -- a connection to the daemon for one command: requests, their replies, and whole lists.
 *
 * Every function ends by the deadline that ctl_link_open() was given. Where one fails, it returns a negative errno, and
 * ctl_link_why() has what failed, why, and what to do, in sentences. Not thread-safe.
 */
#ifndef CTL_LINK_H
#define CTL_LINK_H

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl.h"
#include "wire.h"

#define CTL_WHY_MAX    1024u
#define CTL_LIST_MAX   (1u << 17) /* items of a list: twice what a daemon can have */
#define CTL_SOCKET_MAX 108u       /* bytes of a socket's path, NUL included */

struct ctl_link {
        int fd;
        uint32_t request; /* of the last one sent */
        uint64_t deadline_usec;
        const char *path;
        char why[CTL_WHY_MAX];
        alignas(8) unsigned char buffer[WIRE_MAX_PACKET +
                                        8]; /* one byte more than a packet would do to see a longer one */
};

#define CTL_LINK_NONE                                                                                                  \
        {                                                                                                              \
                .fd = -1                                                                                               \
        }

/* A list of the daemon's, all pages of it. `items` are structs of the wire, n of them; free() it. */
struct ctl_list {
        void *items;
        size_t n;
};

static inline void ctl_list_done(struct ctl_list *list)
{
        free(list->items);
        *list = (struct ctl_list){ 0 };
}

/* Where the daemon listens if nobody says otherwise: $KVPAGER_SOCKET, else /run/kvpager/kvpager.sock where it exists
 * (or where that cannot be told), else $XDG_RUNTIME_DIR/kvpager/kvpager.sock. Fills `buffer` with a path that may be
 * too long for a socket; ctl_link_open() says so. Returns `buffer`. */
const char *ctl_link_default_path(char *buffer, size_t size);

/* Connects and is welcomed as ADMIN. `path` must outlive the link. `link` must be CTL_LINK_NONE; ctl_link_close() it
 * whatever this returns. */
int ctl_link_open(struct ctl_link *link, const char *path, uint64_t timeout_usec);

void ctl_link_close(struct ctl_link *link);

/* A new deadline, for what comes next. */
void ctl_link_extend(struct ctl_link *link, uint64_t timeout_usec);

/* Sends `opcode` with the fixed part `fixed` (NULL: none) and waits for its reply, which must be a `reply`. The view
 * points into the link and is good until the next call. */
int ctl_link_call(struct ctl_link *link, enum wire_opcode opcode, const void *fixed, enum wire_opcode reply,
                  struct wire_view *ret_reply);

/* The same with items. All of it must be what the codec takes: within the message's bounds, text without control
 * characters. */
int ctl_link_call_items(struct ctl_link *link, enum wire_opcode opcode, const void *fixed, const void *items,
                        uint32_t n_items, enum wire_opcode reply, struct wire_view *ret_reply);

/* Waits for another reply to the last request, of a message that has several. */
int ctl_link_next(struct ctl_link *link, enum wire_opcode reply, struct wire_view *ret_reply);

/* All pages of a LIST_*. */
int ctl_link_list(struct ctl_link *link, enum wire_opcode opcode, enum wire_opcode reply, struct ctl_list *ret_list);

/* Empty where nothing failed. */
const char *ctl_link_why(const struct ctl_link *link);

/* For what is built on a link: notes why, in a sentence, and returns `error`. */
int ctl_link_fail(struct ctl_link *link, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
