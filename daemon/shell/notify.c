/* SPDX-License-Identifier: MIT
 *
 * notify.c -- see notify.h.
 *
 * libsystemd does this too, and waits where the manager's queue is full: while process 1 reloads its units, or was
 * stopped, workers would wait with us. What is lost here is told again a tick later.
 *
 * The watchdog is fed by a timer of the loop like any other, which comes up when everything else had its turn. A loop
 * that hangs, or goes round in one of its parts, does not get there.
 */
#include "notify.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "config-value.h"
#include "daemon.h"
#include "owner.h"

#define CHANGED_USEC   UINT64_C(100000)  /* and so old where only what changed is told */
#define TICK_USEC      UINT64_C(2000000) /* status is as old at most */
#define TICKS_WATCHDOG 4u                /* that many may be lost, less one, before the manager loses patience */
#define PATIENCE_MSEC  5000

static int notify_connect(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const char *path = getenv("NOTIFY_SOCKET");
        const size_t length = path ? strlen(path) : 0;
        _cleanup_fd_ int fd = -1;
        int r;

        if (length < 2 || length >= sizeof(address.sun_path) || (*path != '/' && *path != '@'))
                return -ENOTCONN;
        memcpy(address.sun_path, path, length);
        if (*path == '@')
                address.sun_path[0] = '\0';
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        do
                r = connect(fd, (const struct sockaddr *)&address,
                            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : TAKE_FD(fd);
}

static int notify_send_to(int fd, const char *text)
{
        ssize_t n;

        do
                n = send(fd, text, strlen(text), MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

int notify_send(const char *text)
{
        _cleanup_fd_ int fd = notify_connect();

        assert(text);

        return fd < 0 ? fd : notify_send_to(fd, text);
}

int notify_send_patiently(const char *text)
{
        _cleanup_fd_ int fd = notify_connect();
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        int r;

        assert(text);

        r = fd < 0 ? fd : notify_send_to(fd, text);
        if (r == -EAGAIN && poll(&p, 1, PATIENCE_MSEC) > 0)
                r = notify_send_to(fd, text);
        return r;
}

/* ---- in words ---- */

static uint32_t count_tenants_at_work(const struct core *core)
{
        struct core_tenant_info info;
        uint32_t n = 0;

        for (uint32_t i = 0; i < core_tenant_slots(core); i++)
                n += core_tenant_info(core, i, &info) && info.workers > 0;
        return n;
}

static const char *plural(uint32_t n)
{
        return n == 1 ? "" : "s";
}

void notify_describe(const struct daemon *d, char text[NOTIFY_STATUS_MAX])
{
        const uint32_t workers = core_n_workers(d->core), tenants = count_tenants_at_work(d->core),
                       waiting = core_n_waiting(d->core);
        char used[CONFIG_SIZE_TEXT], all[CONFIG_SIZE_TEXT];
        uint64_t used_bytes = 0, all_bytes = 0;
        struct core_device_info info;
        size_t n;

        for (uint32_t i = 0; i < d->store.n_devices; i++)
                if (core_device_info(d->core, i, &info)) {
                        used_bytes += info.allocated_bytes - info.virgin_bytes;
                        all_bytes += info.capacity_bytes - info.missing_bytes;
                }
        /* Exact figures are kvpagerctl's. */
        (void)config_size_text(used_bytes >> 20 << 20, used);
        (void)config_size_text(all_bytes >> 20 << 20, all);
        if (workers == 0)
                n = (size_t)snprintf(text, NOTIFY_STATUS_MAX, "Serves nobody at the moment, of %s", all);
        else
                n = (size_t)snprintf(text, NOTIFY_STATUS_MAX,
                                     "Serves %" PRIu32 " worker%s of %" PRIu32 " tenant%s, %s of %s in use", workers,
                                     plural(workers), tenants, plural(tenants), used, all);
        if (waiting > 0)
                n += (size_t)snprintf(text + n, NOTIFY_STATUS_MAX - n, "; %" PRIu32 " request%s wait%s for memory",
                                      waiting, plural(waiting), waiting == 1 ? "s" : "");
        for (uint32_t i = 0; i < d->store.n_devices && n < NOTIFY_STATUS_MAX; i++)
                if (d->notice.failing[i])
                        n += (size_t)snprintf(text + n, NOTIFY_STATUS_MAX - n, "; device %s fails",
                                              d->store.devices[i].name);
        if (d->notify.refused && n < NOTIFY_STATUS_MAX)
                (void)snprintf(text + n, NOTIFY_STATUS_MAX - n,
                               "; the configuration was refused and the old one holds");
}

/* ---- the loop's ---- */

/* One message: that we live, and what changed since the last that was taken. */
static void notify_tell(struct daemon *d, const char *first)
{
        char text[NOTIFY_STATUS_MAX + 64], status[NOTIFY_STATUS_MAX];

        notify_describe(d, status);
        if (!d->notify.watched && !d->notify.reloaded && strcmp(status, d->notify.status) == 0)
                return;
        (void)snprintf(text, sizeof(text), "%s%s%s%s", first, d->notify.reloaded ? "\nREADY=1" : "",
                       strcmp(status, d->notify.status) != 0 ? "\nSTATUS=" : "",
                       strcmp(status, d->notify.status) != 0 ? status : "");
        if (notify_send(text) < 0)
                return;
        d->notify.reloaded = false;
        memcpy(d->notify.status, status, sizeof(status));
}

static int notify_on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *d = userdata;

        (void)usec;
        d->notify.waits = false;
        notify_tell(d, "WATCHDOG=1");
        if (!d->notify.watched)
                return 0; /* until something happens */
        (void)sd_event_source_set_time_relative(source, d->notify.interval_usec);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int notify_open(struct daemon *d)
{
        uint64_t watchdog = 0;

        assert(d->event && !d->notify.timer);

        if (!getenv("NOTIFY_SOCKET"))
                return 0;
        d->notify.interval_usec = TICK_USEC;
        d->notify.watched = sd_watchdog_enabled(0, &watchdog) > 0;
        if (d->notify.watched && watchdog / TICKS_WATCHDOG < TICK_USEC)
                d->notify.interval_usec = watchdog / TICKS_WATCHDOG;
        return sd_event_add_time_relative(d->event, &d->notify.timer, CLOCK_MONOTONIC, d->notify.interval_usec,
                                          d->notify.watched ? d->notify.interval_usec / 8 + 1 : CHANGED_USEC / 8,
                                          notify_on_tick, d);
}

void notify_changed(struct daemon *d)
{
        if (!d->notify.timer || d->notify.watched || d->notify.waits)
                return;
        d->notify.waits = true;
        (void)sd_event_source_set_time_relative(d->notify.timer, CHANGED_USEC);
        (void)sd_event_source_set_enabled(d->notify.timer, SD_EVENT_ONESHOT);
        loop_changed(d);
}

void notify_close(struct daemon *d)
{
        d->notify.timer = sd_event_source_unref(d->notify.timer);
}

void notify_ready(struct daemon *d)
{
        char text[NOTIFY_STATUS_MAX + 32];

        notify_describe(d, d->notify.status);
        (void)snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", d->notify.status);
        (void)notify_send_patiently(text);
}

void notify_reloading(void)
{
        char text[64];

        (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, daemon_now_usec());
        (void)notify_send(text);
}

void notify_reloaded(struct daemon *d)
{
        d->notify.reloaded = true;
        notify_tell(d, "WATCHDOG=1");
}
