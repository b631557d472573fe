/* SPDX-License-Identifier: MIT
 *
 * conn.h -- a connection: requests and their replies, and who reads them.
 *
 * Any thread sends. Replies are read by one of the threads that wait for one, the reader (leader/follower): it maps
 * what the packet grants, whoever asked for it, then lets all look whether what they wait for has come. With one thread
 * that is a send, a poll and a receive, and no switch of threads. The event channel belongs to the mapper thread
 * (mapper.h).
 *
 * Locks. conn->mutex guards requests, the role of reader, counters and the list of caches. cache->lock guards rows; who
 * holds it may take conn->mutex, to take a request, and never the other way round. conn->sending is held while a packet
 * goes out, without blocking. No thread holds the first two across that, nor any of them across a call that may block,
 * across mapping or unmapping (but of a cache that is being destroyed), or while the application's handlers run.
 *
 *      up --(the daemon hung up)--> down --(resume.c)--> up
 *                                    \--(it does not know us, does not come back, or broke the protocol)--> gone
 *
 * While it is down every request ends and every message is refused, as when it is gone; but who may wait waits for it
 * to be up again (conn_wait_up()) and asks once more. A daemon that keeps nothing for us gives no token: then down is
 * gone.
 */
#ifndef LIB_CONN_H
#define LIB_CONN_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "fork.h"
#include "kvpager.h"
#include "util.h"
#include "wire.h"

#define CONN_MAX_REQUESTS 16u /* under way; a power of two */
#define CONN_CALLS_ALONE  2u  /* of these, never taken to GROW: a call may be what gives others their memory */
#define CONN_ACK_EXTENTS  64u /* so many unacknowledged ones are acknowledged at once while more are to come */
#define CONN_LOOK_USEC    UINT64_C(131072) /* so often who waits looks for what is no packet's doing */
#define CONN_GRACE_USEC   UINT64_C(20000)  /* for the daemon's own "timed out" to arrive */
/* A daemon that answers no call, or reads nothing, for so long counts as gone. */
#define CONN_PATIENCE_USEC UINT64_C(10000000)
/* For so long a daemon that ended is looked for, while each call waits no longer than it would otherwise. The daemon's
 * own absent-timeout begins when it is back. */
#define CONN_ABSENCE_USEC UINT64_C(60000000)

enum request_state {
        REQUEST_FREE,
        REQUEST_TAKEN, /* being put together */
        REQUEST_CALL,  /* sent; somebody waits for the one reply */
        REQUEST_GROW,  /* sent; ends when each of its entries has */
        REQUEST_DONE,  /* a call that was answered: whoever waited frees it */
};

struct grow_entry {
        uint32_t from;  /* index of its first place in the row's list */
        int32_t status; /* of what could not be mapped here */
        uint32_t refused;
        bool ahead; /* look-ahead is part of what it needs */
        bool done;
};

struct request {
        uint32_t id; /* 0: free */
        enum request_state state;
        bool answered; /* in part at least */
        bool left;     /* a call that nobody waits for any more: whoever reads the answer frees it */
        struct kvp_cache *cache;
        uint32_t n_entries, n_left;
        struct wire_item_grow *items; /* WIRE_MAX_GROW of each, allocated at the slot's first use */
        struct grow_entry *entries;
        int32_t status; /* of a call */
        uint32_t epoch; /* conn->epoch, when it was answered */
        uint16_t reply; /* opcode */
        union {
                struct wire_cache cache;
                struct wire_device device;
        } answer;
};

struct conn_reader; /* buffers of whoever reads */

struct kvp_conn {
        uint32_t generation;             /* of the process that connected */
        int socket, events, wake, epoll; /* the last two: the mapper's */
        struct fork_node fork;
        char tenant[KVP_TENANT_NAME_MAX];
        _Atomic uint64_t patience_usec; /* CONN_PATIENCE_USEC; tests have less, and set it while the mapper runs */

        pthread_mutex_t mutex;
        /* A packet was dealt with, a request ended, the mapper went to sleep, or a cache's user left. */
        pthread_cond_t changed;
        bool reading;        /* somebody is the reader */
        bool ack_wanted;     /* SYNC came */
        bool ack_late;       /* the reader could not acknowledge: the mapper does */
        bool starved;        /* somebody wanted a request and all were taken: wake the mapper when one ends */
        uint32_t waiters;    /* threads in conn_wait(): one of them reads */
        uint32_t n_requests; /* sent and not ended */
        uint32_t request_counter;
        _Atomic uint64_t ended;            /* requests that have ended, ever */
        uint64_t dealt_with, acknowledged; /* extents, cumulative */
        uint64_t messages;
        struct request requests[CONN_MAX_REQUESTS];
        struct kvp_cache *caches;
        kvp_pressure_fn *pressure;
        void *pressure_userdata;
        struct conn_reader *reader;
        bool receive_waits; /* the socket has its timeout; the reader's */

        pthread_mutex_t sending; /* a packet at a time, so that they acknowledge more and more */
        uint64_t out[WIRE_MAX_PACKET / sizeof(uint64_t)];

        _Atomic bool down;      /* not up; it may be gone */
        _Atomic bool resumable; /* not gone, if it is not up */
        struct sockaddr_un address;
        uint32_t worker;
        uint64_t token[2];
        uint32_t epoch; /* how often the daemon was told which caches there are */
        _Atomic bool short_of_memory;
        _Atomic uint64_t released; /* orders released rows */
        _Atomic uint64_t tells;    /* how often a row had to be told of; `told`: up to where all of that was sent */
        _Atomic uint64_t told;

        pthread_t mapper;
        bool mapper_runs;
        bool mapper_hears; /* its own: the socket is in its epoll */
        _Atomic bool quit;
        _Atomic uint32_t mapper_state; /* mapper.c */
        _Atomic uint64_t mapper_wakes;
};

/* For now, or for good. */
static inline bool conn_is_down(struct kvp_conn *conn)
{
        return atomic_load_explicit(&conn->down, memory_order_acquire);
}

/* For good. */
static inline bool conn_is_gone(struct kvp_conn *conn)
{
        return conn_is_down(conn) && !atomic_load_explicit(&conn->resumable, memory_order_acquire);
}

/* -ECHILD in a child of the process that connected. */
static inline int conn_check(const struct kvp_conn *conn)
{
        return LIKELY(conn->generation == fork_generation()) ? 0 : -ECHILD;
}

/* ---- conn.c ---- */

int conn_new(struct kvp_conn **ret);   /* no socket yet */
void conn_free(struct kvp_conn *conn); /* closes */

/* A request of the table, taken, with room for entries where it is to GROW. NULL: all that have it are in use. */
struct request *conn_request_take(struct kvp_conn *conn, bool grow);
void conn_request_drop(struct kvp_conn *conn, struct request *request);

/* With conn->mutex held: others may have it now. True: the mapper waits for one; wake it without the lock. */
bool conn_request_free(struct kvp_conn *conn, struct request *request);

/* Sends a message, by `deadline`. `request`, where there is one, becomes `state` in the same moment, and may have ended
 * on return. -ENOTCONN; -ETIMEDOUT: the daemon does not read. On error nothing was sent, and the request is as it was.
 */
int conn_send(struct kvp_conn *conn, enum wire_opcode opcode, struct request *request, enum request_state state,
              const void *fixed, const void *items, uint32_t n_items, uint64_t deadline);

/* Reads replies, or sleeps while another thread does, until done(arg), called with conn->mutex held, is true.
 * -ETIMEDOUT, -ENOTCONN. */
typedef bool conn_done_fn(struct kvp_conn *conn, void *arg);
int conn_wait(struct kvp_conn *conn, conn_done_fn *done, void *arg, uint64_t deadline);

/* Waits until the connection is up. -ETIMEDOUT; -ENOTCONN: it is gone, or this is the thread that would bring it up. */
int conn_wait_up(struct kvp_conn *conn, uint64_t deadline);

/* Sends a message that has one reply and waits for it; once more where the connection went down meanwhile. Errors: the
 * daemon's; -ENOTCONN, also where it does not answer for too long; -ETIMEDOUT where the deadline passes before that. */
int conn_call(struct kvp_conn *conn, enum wire_opcode opcode, const void *fixed, const void *items, uint32_t n_items,
              enum wire_opcode reply, uint64_t deadline, struct request *ret);

/* With conn->mutex held: a call is answered, or fails. true: the mapper is to be woken up. */
bool conn_call_end(struct kvp_conn *conn, struct request *request);

/* Waits on conn->changed, with conn->mutex held, until `deadline`. */
void conn_sleep(struct kvp_conn *conn, uint64_t deadline);

/* The connection is down. */
void conn_fail(struct kvp_conn *conn);

/* It is gone: the daemon is not to be trusted, or does not know us. From now on everything that needs it fails. */
void conn_end(struct kvp_conn *conn);

/* Ends all requests of a connection that is down, unless the reader is about to. */
void conn_reap(struct kvp_conn *conn);

/* ---- conn-read.c: all of it by the reader alone ---- */

struct conn_reader *conn_reader_new(void);

/* The role of the reader, taken and given up; with conn->mutex held, which is free in between. The end of a turn
 * acknowledges extents where the daemon asked for it or may be waiting for it to go on; else the next message does. */
void conn_read_begin(struct kvp_conn *conn);
void conn_read_end(struct kvp_conn *conn);

/* Waits for a packet for at most so long and deals with it. 1: did; 0: none came, or none yet. */
int conn_read(struct kvp_conn *conn, uint64_t usec);

/* Deals with whatever has already come, unless another thread reads or is about to. For the mapper. False: with
 * nothing. */
bool conn_drain(struct kvp_conn *conn);

/* Receives a packet and its fds; `flags` MSG_DONTWAIT, or 0 to wait as the socket says. Bytes; 0: nothing there;
 * -ENOTCONN: the end; -EPROTO: cut off. *ret_cut: fewer fds came than were sent. */
int conn_receive(int fd, int flags, void *packet, size_t capacity, int *fds, unsigned max_fds, unsigned *ret_n_fds,
                 bool *ret_cut);

/* ---- conn-open.c ---- */

/* Connects to conn->address. */
int conn_open(const struct kvp_conn *conn, int *ret);

/* The daemon's answer to HELLO or RESUME; `ret_events`: our end of the event channel. -EPIPE: it hung up without a
 * word. */
int conn_welcome(int socket, void *packet, uint64_t deadline, struct wire_welcome *ret, int *ret_events);

/* ---- resume.c ---- */

/* On the mapper thread, of a connection that is down: afterwards it is up, or gone, or conn->quit was set. */
void conn_resume(struct kvp_conn *conn);

/* Options that grow: the caller's struct may be longer than ours where the rest is zero. -EINVAL. */
int options_check(const void *options, size_t size, size_t known);

#endif
