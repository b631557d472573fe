/* SPDX-License-Identifier: MIT
 *
 * daemon.c -- the connections to kvpagerd: one that follows its events, one to ask and to tell.
 *
 * It need not be there: it is tried again every second, and all of what it may have missed is told then. Each call ends
 * within a second; a daemon that is slower counts as gone for the moment.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "observer.h"
#include "snapshot.h"

#define PATIENCE_USEC UINT64_C(1000000)
#define AGAIN_USEC    UINT64_C(1000000)

static uint64_t now_ns(clockid_t clock)
{
        struct timespec now;

        (void)clock_gettime(clock, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What the calendar said then, as time since boot. */
static uint64_t since_boot_ns(uint64_t calendar_usec)
{
        const uint64_t ago = now_ns(CLOCK_REALTIME) - calendar_usec * 1000, now = now_ns(CLOCK_BOOTTIME);

        return ago < now ? now - ago : now;
}

static void hang_up(struct observer *o)
{
        struct daemon *d = &o->daemon;

        d->source = sd_event_source_disable_unref(d->source);
        ctl_link_close(&d->calls);
        ctl_link_close(&d->events);
        d->connected = false;
        d->operates = false;
        if (d->again) {
                (void)sd_event_source_set_time_relative(d->again, AGAIN_USEC);
                (void)sd_event_source_set_enabled(d->again, SD_EVENT_ONESHOT);
        }
}

static void take_events(struct observer *o, const struct wire_view *view)
{
        const struct wire_events *page = view->fixed;
        const struct wire_item_event *items = view->items;

        for (uint32_t i = 0; i < view->n_items; i++)
                if (strcmp(items[i].event, "worker_connected") == 0) {
                        exits_connected(o, (uint32_t)items[i].pid, items[i].worker, items[i].tenant,
                                        since_boot_ns(items[i].time_usec));
                        cudamem_tell_again(o, (uint32_t)items[i].pid);
                } else if (strcmp(items[i].event, "reloaded") == 0)
                        cudamem_tell_again(o, 0);
                else if (strcmp(items[i].event, "worker_gone") == 0)
                        exits_gone(o, (uint32_t)items[i].pid, items[i].worker);
        o->daemon.next_event = page->next;
}

/* Workers whose coming is no longer remembered as an event. */
static int take_workers(struct observer *o)
{
        _cleanup_(ctl_list_done) struct ctl_list list = { 0 };
        const struct wire_item_worker *workers;
        int r = ctl_link_list(&o->daemon.calls, WIRE_LIST_WORKERS, WIRE_WORKERS, &list);

        workers = list.items;
        for (size_t i = 0; r == 0 && i < list.n; i++)
                exits_connected(o, (uint32_t)workers[i].pid, workers[i].worker, workers[i].tenant,
                                now_ns(CLOCK_BOOTTIME));
        return r;
}

static int on_events(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct observer *o = userdata;
        const uint64_t expected = o->daemon.next_event;
        struct wire_view view;

        (void)source;
        (void)fd;
        (void)events;
        ctl_link_extend(&o->daemon.events, PATIENCE_USEC);
        if (ctl_link_next(&o->daemon.events, WIRE_EVENTS, &view) < 0) {
                observer_say(LOG_NOTICE, "%s", ctl_link_why(&o->daemon.events));
                hang_up(o);
                return 0;
        }
        take_events(o, &view);
        ctl_link_extend(&o->daemon.calls, PATIENCE_USEC);
        if (view.n_items > 0 && ((const struct wire_item_event *)view.items)->sequence > expected &&
            take_workers(o) < 0) /* some went by unseen */
                hang_up(o);
        exits_tell(o);
        cudamem_tell(o);
        return 0;
}

static int follow(struct observer *o)
{
        const struct wire_events_get get = { .from = 0, .follow = 1 };
        struct daemon *d = &o->daemon;
        struct wire_view view;
        int r = ctl_link_open(&d->events, d->path, PATIENCE_USEC);

        if (r == 0)
                r = ctl_link_call(&d->events, WIRE_EVENTS_GET, &get, WIRE_EVENTS, &view);
        if (r < 0)
                return r;
        d->operates = true;
        take_events(o, &view);
        return sd_event_add_io(o->event, &d->source, d->events.fd, EPOLLIN, on_events, o);
}

static int connect_to_it(struct observer *o)
{
        struct daemon *d = &o->daemon;
        struct wire_view view;
        int r;

        d->calls.why[0] = d->events.why[0] = 0;
        r = ctl_link_open(&d->calls, d->path, PATIENCE_USEC);

        if (r == 0)
                r = ctl_link_call(&d->calls, WIRE_STATUS_GET, NULL, WIRE_STATUS, &view);
        if (r < 0)
                return r;
        d->pid = ((const struct wire_status *)view.fixed)->pid;
        r = follow(o);
        if (r == 0)
                r = take_workers(o);
        return r;
}

static int try_it(struct observer *o)
{
        struct daemon *d = &o->daemon;
        int r = connect_to_it(o);

        if (r < 0) {
                const char *why = ctl_link_why(&d->calls);

                if (!d->complained)
                        observer_say(LOG_NOTICE, "%s", *why ? why : ctl_link_why(&d->events));
                d->complained = true;
                hang_up(o);
                return r;
        }
        d->connected = true;
        d->complained = false;
        observer_say(LOG_INFO, "connected to kvpagerd at %s", d->path);
        observer_connected(o);
        return 0;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
        (void)source;
        (void)usec;
        (void)try_it(userdata);
        return 0;
}

int daemon_open(struct observer *o)
{
        struct daemon *d = &o->daemon;
        int r;

        d->calls = d->events = (struct ctl_link)CTL_LINK_NONE;
        (void)ctl_link_default_path(d->path, sizeof(d->path));
        r = sd_event_add_time_relative(o->event, &d->again, CLOCK_MONOTONIC, AGAIN_USEC, 1000, on_again, o);
        if (r < 0)
                return r;
        (void)sd_event_source_set_enabled(d->again, SD_EVENT_OFF);
        (void)try_it(o);
        return 0;
}

void daemon_close(struct observer *o)
{
        o->daemon.again = sd_event_source_disable_unref(o->daemon.again);
        hang_up(o);
}

int daemon_tell(struct observer *o, enum wire_opcode opcode, const void *items, uint32_t n)
{
        struct wire_view view;
        int r;

        ctl_link_extend(&o->daemon.calls, PATIENCE_USEC);
        r = ctl_link_call_items(&o->daemon.calls, opcode, NULL, items, n, WIRE_OK, &view);
        if (r < 0) {
                observer_say(LOG_WARNING, "%s", ctl_link_why(&o->daemon.calls));
                hang_up(o);
        }
        return r;
}

json_t *daemon_json(const struct observer *o)
{
        const struct daemon *d = &o->daemon;

        return json_pack("{s:o, s:b, s:o}", "socket", ctl_json_text(d->path), "connected", (int)d->connected, "why",
                         d->connected ? json_null() : ctl_json_text(*d->calls.why ? d->calls.why : d->events.why));
}
