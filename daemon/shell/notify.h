/* SPDX-License-Identifier: MIT
 *
 * notify.h -- what the service manager is told (sd_notify(3)): that we are ready, how things are in words, and that the
 * loop turns. It may be busy, stopped or gone, so nothing here waits for it once we serve.
 */
#ifndef SHELL_NOTIFY_H
#define SHELL_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define NOTIFY_STATUS_MAX 256u

struct daemon;

struct notify {
        sd_event_source *timer; /* NULL: nobody wants to know */
        uint64_t interval_usec;
        bool watched;                   /* the manager wants to hear that the loop turns; else only of what changed */
        bool waits;                     /* the timer is set for that */
        char status[NOTIFY_STATUS_MAX]; /* as it was told last */
        bool refused;                   /* the configuration's last reload was */
        bool reloaded;                  /* and the manager does not know yet that it is over */
};

/* Sends assignments, one a line, at once or not at all: 0, or a negative errno (-EAGAIN: it does not read; -ENOTCONN:
 * there is nobody to tell). */
int notify_send(const char *text);

/* The same, waiting for some seconds if need be: for what must not be lost, before or after we serve. */
int notify_send_patiently(const char *text);

/* From now on the loop tells that it turns, and what there is to say. */
int notify_open(struct daemon *daemon);
void notify_close(struct daemon *daemon);

/* Something may have changed that is worth telling. */
void notify_changed(struct daemon *daemon);

/* We serve. */
void notify_ready(struct daemon *daemon);

/* The configuration is about to be read again; it was. */
void notify_reloading(void);
void notify_reloaded(struct daemon *daemon);

/* How things are, in words. */
void notify_describe(const struct daemon *daemon, char text[NOTIFY_STATUS_MAX]);

#endif
