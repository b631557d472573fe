/* SPDX-License-Identifier: MIT
 *
 * peer.h -- one connection: reading in turns, sending without waiting, and its end.
 *
 *      greeting -> joining (the core was told) ---------> worker
 *               \-> resuming (it says what it has) ---/
 *               \-> admin
 *
 * A peer that is ended is silent at once and freed by daemon_settle(), so that it can be ended from anywhere.
 */
#ifndef SHELL_PEER_H
#define SHELL_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "config.h"
#include "log.h"
#include "outbox.h"
#include "ratelimit.h"
#include "throttle.h"
#include "wire.h"

struct daemon;

enum peer_state { PEER_GREETING, PEER_JOINING, PEER_RESUMING, PEER_WORKER, PEER_ADMIN };

/* Items of a reply that are put together while actions are carried out. */
struct peer_gather {
        enum wire_opcode opcode; /* GRANT or GROW_FAILED */
        uint32_t n;
        union {
                struct wire_item_grant grants[WIRE_MAX_FDS];
                struct wire_item_grow_failed failed[WIRE_MAX_GROW];
        };
};

struct peer {
        struct daemon *daemon;
        uint32_t index;  /* in daemon->peers */
        uint64_t cookie; /* never used twice */
        enum peer_state state;
        bool ended, gathering, blocked, following, paused;
        bool may_carry;   /* descriptors: remains.h */
        bool operates;    /* has shown to be an operator */
        int fd, event_fd; /* event_fd: our end of the event channel, -1 before WELCOME */
        pid_t pid;
        uid_t uid;
        uint32_t worker, hello_request;
        uint64_t acknowledged;
        uint64_t granted_before; /* extents, to this worker by earlier connections: what acknowledgements start from */
        uint8_t *has;            /* while it resumes: a bit for each of the core's extents that it said it has */
        char tenant[CONFIG_NAME_MAX];
        uint32_t tenant_index; /* the core's, of a worker */
        uint64_t accepted;     /* identity_now() */
        char *cgroup;          /* when it was accepted; NULL: not known */
        char why[160];         /* its connection ends, where we end it */
        uint32_t follow_request;
        uint64_t follow_next;             /* the first event that it was not told of */
        uint64_t active_usec;             /* last time that it said something, or came */
        uint64_t blocked_usec;            /* since when it takes nothing */
        uint64_t refs_usec;               /* when a packet for it last had to wait for fds in flight of others */
        uint64_t resume_usec;             /* when it said RESUME */
        sd_event_source *timer, *process; /* process: of a worker; NULL where the kernel does not tell of it */
        struct outbox outbox;
        struct ratelimit complaints;
        struct budget budget; /* of the loop's time */
        struct peer *next_ended, *next_gathering;
        struct peer_gather gather;
};

/* Takes over an accepted connection. */
int peer_new(struct daemon *daemon, uint32_t index, int fd, struct peer **ret);
void peer_free(struct peer *peer);

/* Sends a message, or queues it; a peer that takes too little is ended. `fd` >= 0 goes along and is closed. */
void peer_send(struct peer *peer, enum wire_opcode opcode, uint32_t request, const void *fixed, const void *items,
               uint32_t n_items, int fd);

/* Within the last seconds a packet to it could not leave, because too many fds were in flight: not its fault. */
bool peer_was_short_of_refs(const struct peer *peer);

/* Sends on the event channel; a peer that does not read it is ended. */
void peer_send_event(struct peer *peer, enum wire_opcode opcode, const void *fixed);

/* Answers with an error: its sentence, and `detail` where there is something to name (NULL: nothing). */
void peer_send_error(struct peer *peer, uint32_t request, enum wire_error_code code, const char *detail);

/* Adds an item to the GRANT or GROW_FAILED under way, and sends what was gathered. */
void peer_gather_grant(struct peer *peer, const struct wire_item_grant *item);
void peer_gather_failed(struct peer *peer, const struct wire_item_grow_failed *item);
void peer_gather_send(struct peer *peer);

/* Ends the connection because of an error, which it is told if it listens. `detail` as above. */
void peer_fail(struct peer *peer, uint32_t request, enum wire_error_code code, const char *detail);

/* Kills the process, and ends the connection, which others may share. */
void peer_kill(struct peer *peer);

/* The loop's: its socket is ready for these epoll events. */
void peer_serve(struct peer *peer, uint32_t events);

/* Reads nothing from it for a while; or does again. */
void peer_pause(struct peer *peer, bool pause);

/* Ends the connection without a word. */
void peer_end(struct peer *peer);

/* It is a worker or an admin now, so the time for saying HELLO no longer counts. Who resumes has a time for that. */
void peer_greeted(struct peer *peer, enum peer_state state);

/* From now on it ends with its process, although another may have its socket. */
void peer_watch_process(struct peer *peer);

/* Makes an event channel: our end and the one that goes to the peer. Where it cannot, the peer is ended. */
int peer_make_event_channel(struct peer *peer, int *ret_ours, int *ret_theirs);

/* `facts` with those that are the peer's. */
struct log_facts peer_facts(const struct peer *peer, struct log_facts facts);

/* A line about the peer; kind and level as in log.h. Warnings are left out where there were too many. */
void peer_log_kind(struct peer *peer, enum log_kind kind, enum log_level level, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
#define peer_log(peer, level, ...) peer_log_kind(peer, LOG_KIND_none, level, __VA_ARGS__)

#endif
