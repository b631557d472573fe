/* SPDX-License-Identifier: MIT
 *
 * ctl-daemon.h -- a daemon as kvpagerctl sees one, in a thread: it answers what is asked, or does one thing wrong.
 */
#ifndef TEST_CTL_DAEMON_H
#define TEST_CTL_DAEMON_H

#include <pthread.h>

#include "wire.h"

#define CTL_DAEMON_WORKERS 150u /* three pages of a list */

enum ctl_daemon_fault {
        FAULT_NONE,
        FAULT_HANG,          /* reads and never answers */
        FAULT_DIE,           /* closes the connection instead of answering */
        FAULT_REFUSE,        /* answers ERROR NO_TENANT, and closes */
        FAULT_GARBAGE,       /* answers bytes that are no message */
        FAULT_SHORT,         /* cuts the answer */
        FAULT_LONG,          /* sends more than any packet may have */
        FAULT_WRONG_REPLY,   /* answers OK */
        FAULT_WRONG_REQUEST, /* answers another request */
        FAULT_EXTRA_FDS,     /* sends file descriptors that do not belong there */
        FAULT_NO_PROGRESS,   /* a list whose next_cursor stays where it is */
        FAULT_ENDLESS,       /* a list that goes on and on */
        FAULT_BROKEN,        /* CHECK finds something */
        FAULT_NOT_UTF8,      /* a path that is no text */
};

struct ctl_daemon {
        char path[108];
        enum wire_opcode at; /* where the fault is */
        enum ctl_daemon_fault fault;
        int listener, stop; /* a socket; an eventfd */
        pthread_t thread;
        char set[512]; /* what TENANT_SET said last: "tenant: key=value key=value" */
};

/* Listens at a fresh path in the temporary folder and serves connections one after the other. */
void ctl_daemon_start(struct ctl_daemon *daemon, enum wire_opcode at, enum ctl_daemon_fault fault);
void ctl_daemon_stop(struct ctl_daemon *daemon);

#endif
