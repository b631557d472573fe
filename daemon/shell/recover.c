/* SPDX-License-Identifier: MIT
 *
 * recover.c -- see recover.h.
 */
#include "recover.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "daemon.h"
#include "identity.h"
#include "log.h"
#include "owner.h"

#define ABSENT_ACCURACY_USEC UINT64_C(100000)
#define ABSENT_LATE_USEC     UINT64_C(1000000) /* later than that we did not run */
#define ABSENT_HEAR_USEC     UINT64_C(5000000) /* and who came back meanwhile is heard first, and has its time */

/* A worker without a connection. */
struct absent {
        struct daemon *daemon;
        uint32_t worker;
        bool late; /* its time has passed while we did not run */
        sd_event_source *process, *timer;
        struct absent *next;
};

/* ---- What was left ---- */

static int recover_on_item(void *userdata, const struct held_item *item, int fd)
{
        struct recover *recover = userdata;

        if (recover->n_items == recover->capacity) {
                size_t capacity = recover->capacity ? 2 * recover->capacity : 1024;
                void *items = realloc(recover->items, capacity * sizeof(*recover->items));
                void *fds;

                recover->items = items ? items : recover->items;
                fds = items ? realloc(recover->fds, capacity * sizeof(*recover->fds)) : NULL;
                if (!fds) {
                        fd_close(fd);
                        return -ENOMEM;
                }
                recover->fds = fds;
                recover->capacity = capacity;
        }
        recover->items[recover->n_items] = *item;
        recover->fds[recover->n_items++] = fd;
        return 0;
}

static void recover_drop_items(struct recover *recover)
{
        for (size_t i = 0; i < recover->n_items; i++)
                fd_close(recover->fds[i]);
        free(recover->items);
        free(recover->fds);
        recover->items = NULL;
        recover->fds = NULL;
        recover->n_items = recover->capacity = 0;
}

/* Nothing of before is used; whoever has it mapped keeps it. */
void recover_begin_anew(struct daemon *d, const char *why)
{
        struct recover *recover = &d->recover;

        if (recover->n_items > 0)
                log_error_of(
                        state_unusable,
                        "the state of the daemon before cannot be taken up: %s; its workers are not known any more, "
                        "and what they have mapped is free once they end",
                        why);
        recover_drop_items(recover);
        state_free(recover->state);
        recover->state = NULL;
        recover->resumed = false;
        for (uint32_t i = 0; i < CONFIG_MAX_DEVICES; i++) {
                struct store_before *before = &d->store.before[i];

                before->made = 0;
                if (before->capacity != d->config->devices[i].capacity.bytes)
                        before->capacity = 0; /* else it stays, and what is in use is missing until it is free */
        }
        for (uint32_t i = 0; i < d->config->n_tenants && recover->lowered; i++)
                d->config->tenants[i].min = recover->asked[i];
        recover->lowered = false;
        hold_clear(&recover->hold);
}

static void recover_open_state(struct daemon *d)
{
        struct recover *recover = &d->recover;
        char why[200] = "the holder has none";
        const struct state_device *devices;
        uint32_t n;
        int fd = -1;

        for (size_t i = 0; i < recover->n_items; i++)
                if (recover->items[i].id == HELD_STATE) {
                        fd = recover->fds[i];
                        recover->fds[i] = recover->fds[--recover->n_items];
                        recover->items[i] = recover->items[recover->n_items];
                        break;
                }
        if (fd < 0 || state_open(fd, &recover->state, why, sizeof(why)) < 0) {
                recover_begin_anew(d, why);
                return;
        }
        recover->resumed = true;
        recover->began_usec = state_began_usec(recover->state);
        n = state_devices(recover->state, &devices);
        for (uint32_t i = 0; i < n; i++)
                d->store.before[i].capacity = devices[i].capacity;
        for (size_t i = 0; i < recover->n_items; i++)
                if (recover->items[i].device < n && recover->items[i].order < 32)
                        d->store.before[recover->items[i].device].made += devices[recover->items[i].device].page_size
                                                                          << recover->items[i].order;
}

int recover_find(struct daemon *d)
{
        struct recover *recover = &d->recover;
        const char *slash = strrchr(d->listener.path, '/'), *given = getenv("KVPAGER_HOLDER");
        int r;

        recover->hold.fd = -1;
        if (!d->config->daemon.holder)
                return 0;
        if (given && *given)
                (void)snprintf(recover->path, sizeof(recover->path), "%s", given);
        else
                (void)snprintf(recover->path, sizeof(recover->path), "%.*sholder.sock",
                               slash ? (int)(slash + 1 - d->listener.path) : 0, d->listener.path);
        r = hold_connect(&recover->hold, recover->path, HOLD_LIST_MSEC);
        if (r == -EAGAIN) {
                log_error("%s does not take connections: is the holder stopped?", recover->path);
                return -ETIMEDOUT;
        }
        if (r == -EPERM) {
                log_warning("%s is another user's: it is not asked, and what workers have ends with this daemon; set "
                            "holder = no, or remove it",
                            recover->path);
                return 0;
        }
        if (r < 0) {
                log_info("no holder listens on %s: what workers have ends with this daemon%s%s", recover->path,
                         r == -ENOENT || r == -ECONNREFUSED ? "" : ": ",
                         r == -ENOENT || r == -ECONNREFUSED ? "" : strerror(-r));
                return 0;
        }
        r = hold_list(&recover->hold, recover_on_item, recover);
        if (r < 0) {
                log_error("%s does not say what it holds: %s%s", recover->path, strerror(-r),
                          r == -ETIMEDOUT ? "; another daemon may be using it"
                          : r == -EMFILE  ? ": raise the limit of open files (LimitNOFILE) to what it was"
                                          : "");
                return r;
        }
        if (recover->n_items > 0)
                recover_open_state(d);
        return 0;
}

/* ---- The core ---- */

static int recover_new_state(struct daemon *d, const struct core_params *params)
{
        struct state_device devices[CORE_MAX_DEVICES] = { 0 };
        struct recover *recover = &d->recover;
        int r;

        if (recover->hold.fd < 0)
                return 0;
        for (uint32_t i = 0; i < d->store.n_devices; i++) {
                const struct store_device *device = &d->store.devices[i];

                (void)snprintf(devices[i].name, sizeof(devices[i].name), "%s", device->name);
                (void)snprintf(devices[i].backend, sizeof(devices[i].backend), "%s", device->info.backend);
                (void)snprintf(devices[i].uuid, sizeof(devices[i].uuid), "%s", device->info.uuid);
                devices[i].page_size = device->info.page_size;
                devices[i].capacity = device->info.capacity;
                devices[i].virgin_pages = device->virgin_pages;
        }
        r = state_new(params, devices, d->store.n_devices, daemon_now_usec(), &recover->state);
        if (r < 0) {
                log_error("no memory for what is to outlive the daemon: %s", strerror(-r));
                return r;
        }
        hold_clear(&recover->hold);
        hold_put(&recover->hold, &(struct held_item){ .id = HELD_STATE }, state_fd(recover->state));
        hold_flush(&recover->hold);
        return 0;
}

uint64_t recover_began_usec(const struct daemon *d)
{
        return d->recover.resumed ? d->recover.began_usec : d->start_usec; /* the state may be given up since */
}

/* Whether everything is held that is in somebody's hands, or about to be. */
static bool recover_has_all(const struct daemon *d)
{
        const struct recover *recover = &d->recover;
        const uint32_t n = core_extent_slots(d->core);
        bool *held = calloc(n ? n : 1, sizeof(*held)), all = held != NULL;
        struct core_extent_info info;

        for (size_t i = 0; held && i < recover->n_items; i++)
                if (core_extent_info(d->core, (uint32_t)recover->items[i].id, &info) &&
                    info.extent == recover->items[i].id)
                        held[(uint32_t)info.extent] = true;
        for (uint32_t i = 0; i < n && all; i++)
                if (core_extent_info(d->core, i, &info) &&
                    (info.place == CORE_EXTENT_VIRGIN || info.place == CORE_EXTENT_HELD))
                        all = held[i];
        free(held);
        return all;
}

int recover_core(struct daemon *d, void *arena, const struct core_params *params)
{
        struct recover *recover = &d->recover;
        char why[100] = "";
        uint64_t n_events;
        int r;

        if (!recover->resumed) {
                d->core = core_init(arena, params);
                return recover_new_state(d, params);
        }
        r = state_restore(recover->state, arena, &d->actions, &d->core, &n_events, why, sizeof(why));
        if (r == 0 && core_n_devices(d->core) != d->store.n_devices)
                (void)snprintf(why, sizeof(why), "it had not all devices yet");
        else if (r == 0 && !recover_has_all(d))
                (void)snprintf(why, sizeof(why), "the holder does not have all that it names");
        else if (r == 0)
                why[0] = '\0';
        if (why[0]) {
                recover_begin_anew(d, why);
                return -EAGAIN;
        }
        (void)snprintf(recover->summary, sizeof(recover->summary),
                       "%" PRIu32 " workers, %" PRIu32 " caches, %zu extents, %" PRIu64 " events since the snapshot",
                       core_n_workers(d->core), core_n_caches(d->core), recover->n_items, n_events);
        return 0;
}

/* ---- Extents ---- */

static void recover_report(struct daemon *d, enum core_event_type type, uint64_t extent)
{
        struct core_event event;

        core_event_init(&event, type, daemon_now_usec());
        event.created.extent = extent;
        daemon_event(d, &event);
}

/* What is held becomes ours, or is destroyed where the core does not know of it: at once, or, where that may last, once
 * the devices' threads are there. */
void recover_take(struct daemon *d)
{
        struct recover *recover = &d->recover;
        size_t n_strays = 0;

        for (size_t i = 0; i < recover->n_items; i++) {
                const struct held_item *item = &recover->items[i];
                struct core_extent_info info;

                if (core_extent_info(d->core, (uint32_t)item->id, &info) && info.extent == item->id) {
                        store_adopt(&d->store, item->id, info.order, info.worker, info.tenant, recover->fds[i]);
                        continue;
                }
                hold_drop(&recover->hold, item->id); /* its id may be another's soon */
                if (item->device >= d->store.n_devices) {
                        fd_close(recover->fds[i]);
                } else if (store_strays_first(&d->store, item->device)) {
                        store_destroy_stray(&d->store, item->device, item->order, recover->fds[i]);
                } else {
                        recover->items[n_strays] = *item;
                        recover->fds[n_strays++] = recover->fds[i];
                }
        }
        recover->n_items = n_strays;
        hold_flush(&recover->hold);
}

static void recover_strays(struct daemon *d)
{
        struct recover *recover = &d->recover;

        for (size_t i = 0; i < recover->n_items; i++)
                store_destroy_stray(&d->store, recover->items[i].device, recover->items[i].order, recover->fds[i]);
        recover->n_items = 0;
        recover_drop_items(recover);
}

/* The extents that were with the devices, by slot; to be asked before any event is applied, for what follows from that
 * is carried out as ever. So it is with those that a device had failed to destroy: the core asks for them again by
 * itself, perhaps with the very next event; `ret_gone` of them are gone, and it is told so then. NULL: no memory. */
static uint64_t *recover_at_work(const struct daemon *d, uint32_t *ret_gone)
{
        const uint32_t n = core_extent_slots(d->core);
        uint64_t *at_work = calloc(n ? n : 1, sizeof(*at_work));
        struct core_extent_info info;

        *ret_gone = 0;
        for (uint32_t i = 0; at_work && i < n; i++) {
                if (!core_extent_info(d->core, i, &info) ||
                    (info.place != CORE_EXTENT_CREATING && info.place != CORE_EXTENT_RETURNING))
                        continue;
                if (!info.listed)
                        at_work[i] = info.extent;
                else
                        *ret_gone += store_fd(&d->store, info.extent) < 0;
        }
        return at_work;
}

/* What was under way at the devices goes on, or is known to have come to its end. */
static void recover_extents(struct daemon *d, const uint64_t *at_work, uint32_t n)
{
        struct core_extent_info info;

        for (uint32_t i = 0; i < n; i++) {
                const bool held = at_work[i] && store_fd(&d->store, at_work[i]) >= 0;

                if (!at_work[i] || !core_extent_info(d->core, i, &info) || info.extent != at_work[i])
                        continue;
                if (info.place == CORE_EXTENT_CREATING && held)
                        recover_report(d, CORE_EV_CREATED, info.extent);
                else if (info.place == CORE_EXTENT_CREATING)
                        store_create(&d->store, info.device, info.extent, info.order);
                else if (held)
                        recover_destroy(d, info.device, info.extent);
                else
                        recover_report(d, CORE_EV_DESTROYED, info.extent);
        }
}

bool recover_settle(struct daemon *d)
{
        struct recover *recover = &d->recover;
        const bool any = recover->n_gone > 0;

        while (recover->n_gone > 0)
                recover_report(d, CORE_EV_DESTROYED, recover->gone[--recover->n_gone]);
        return any;
}

/* ---- Workers ---- */

static void absent_free(struct absent *absent)
{
        sd_event_source_disable_unref(absent->process);
        sd_event_source_disable_unref(absent->timer);
        free(absent);
}

void recover_found(struct daemon *d, uint32_t worker)
{
        for (struct absent **link = &d->recover.absent; *link; link = &(*link)->next)
                if ((*link)->worker == worker) {
                        struct absent *absent = *link;

                        *link = absent->next;
                        absent_free(absent);
                        return;
                }
}

static void recover_gone_worker(struct daemon *d, uint32_t worker, const char *why)
{
        struct core_event event;

        log_info("worker %" PRIu32 " is gone: %s", worker, why);
        resume_forget(d, worker, why);
        core_event_init(&event, CORE_EV_WORKER_GONE, daemon_now_usec());
        event.worker_gone.worker = worker;
        daemon_event(d, &event);
        recover_forget(d, worker);
}

static int absent_on_exit(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct absent *absent = userdata;
        struct daemon *d = absent->daemon;
        const uint32_t worker = absent->worker;

        (void)source;
        (void)fd;
        (void)events;
        recover_found(d, worker);
        recover_gone_worker(d, worker, "its process ended while it was absent");
        daemon_settle(d);
        return 0;
}

static int absent_on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        const uint64_t now = daemon_now_usec();
        struct absent *absent = userdata;
        struct daemon *d = absent->daemon;
        const uint32_t worker = absent->worker;

        if (now > usec + ABSENT_LATE_USEC && !absent->late &&
            sd_event_source_set_time(source, now + ABSENT_HEAR_USEC) >= 0 &&
            sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) >= 0) {
                absent->late = true;
                return 0;
        }
        recover_found(d, worker);
        recover_gone_worker(d, worker, "it did not come back within absent-timeout");
        daemon_settle(d);
        return 0;
}

static int absent_watch(struct absent *absent, const struct state_worker *record)
{
        struct daemon *d = absent->daemon;
        int pidfd = identity_process_by_number((pid_t)record->pid, record->accepted), r;

        if (pidfd == -ESRCH && record->pid != 0)
                return -ESRCH;
        if (pidfd >= 0) {
                r = sd_event_add_io(d->event, &absent->process, pidfd, EPOLLIN, absent_on_exit, absent);
                if (r >= 0)
                        r = sd_event_source_set_io_fd_own(absent->process, 1);
                if (r < 0) {
                        fd_close(pidfd);
                        return r;
                }
        }
        r = sd_event_add_time(d->event, &absent->timer, CLOCK_MONOTONIC,
                              daemon_now_usec() + d->config->daemon.absent_timeout_usec, ABSENT_ACCURACY_USEC,
                              absent_on_timeout, absent);
        return r < 0 ? r : 0;
}

static void recover_worker(struct daemon *d, const struct core_worker_info *info)
{
        const struct state_worker *record = state_worker(d->recover.state, info->worker);
        struct core_event event;
        struct absent *absent;
        int r;

        if (!record || record->worker != info->worker) {
                recover_gone_worker(d, info->worker, "it had not been welcomed yet");
                return;
        }
        core_event_init(&event, CORE_EV_WORKER_ATTACH, daemon_now_usec());
        event.worker_attach.worker = info->worker;
        daemon_event(d, &event);
        absent = calloc(1, sizeof(*absent));
        if (!absent) {
                recover_gone_worker(d, info->worker, "out of memory");
                return;
        }
        *absent = (struct absent){ .daemon = d, .worker = info->worker, .next = d->recover.absent };
        d->recover.absent = absent;
        r = absent_watch(absent, record);
        if (r < 0) {
                recover_found(d, info->worker);
                recover_gone_worker(d, info->worker, r == -ESRCH ? "its process ended" : strerror(-r));
        }
}

/* The tenants are those that the core has, until the configuration has its say. */
static void recover_tenants(struct daemon *d)
{
        struct core_tenant_info info;

        for (uint32_t i = 0; i < core_tenant_slots(d->core); i++)
                if (core_tenant_info(d->core, i, &info)) {
                        memcpy(d->tenants.names[i], info.name, sizeof(d->tenants.names[i]));
                        d->tenants.of_config[d->tenants.n_config++] = i;
                }
}

/* What was missing of the devices is, until they are looked at again. */
static void recover_missing(struct daemon *d)
{
        struct core_device_info info;

        for (uint32_t i = 0; i < d->store.n_devices; i++) {
                struct store_device *device = &d->store.devices[i];

                if (!core_device_info(d->core, i, &info) || info.missing_bytes == 0)
                        continue;
                device->missing = device->missing_told = info.missing_bytes;
                dev_thread_was_missing(device->thread, info.missing_bytes);
        }
}

static int recover_go_on(struct daemon *d)
{
        const uint32_t n = core_extent_slots(d->core);
        struct core_worker_info info;
        uint64_t *at_work;
        uint32_t n_gone;
        int r;

        at_work = recover_at_work(d, &n_gone);
        d->recover.gone = calloc(n_gone ? n_gone : 1, sizeof(*d->recover.gone));
        r = at_work && d->recover.gone ? state_snapshot(d->recover.state, d->core) : -ENOMEM; /* and a log of our own */
        if (r == 0) {
                recover_missing(d);
                recover_tenants(d);
                for (uint32_t i = 0; i < core_worker_slots(d->core); i++)
                        if (core_worker_info(d->core, i, &info))
                                recover_worker(d, &info);
                recover_extents(d, at_work, n);
        }
        free(at_work);
        return r;
}

int recover_go(struct daemon *d)
{
        recover_strays(d);
        return d->recover.resumed ? recover_go_on(d) : 0;
}

int recover_finish(struct daemon *d)
{
        int r = d->recover.state && !d->recover.resumed ? state_snapshot(d->recover.state, d->core) : 0;

        return r < 0 ? r : recover_watch_holder(d);
}

const struct state_worker *recover_absent(const struct daemon *d, uint32_t worker)
{
        for (const struct absent *absent = d->recover.absent; absent && d->recover.state; absent = absent->next)
                if (absent->worker == worker)
                        return state_worker(d->recover.state, worker);
        return NULL;
}

void recover_welcome(struct daemon *d, const struct peer *peer, uint64_t ret_token[static 2])
{
        struct state_worker record = { .worker = peer->worker,
                                       .pid = (uint32_t)peer->pid,
                                       .uid = peer->uid,
                                       .tenant = peer->tenant_index,
                                       .accepted = peer->accepted };

        ret_token[0] = ret_token[1] = 0;
        if (!d->recover.state || getrandom(record.token, sizeof(record.token), 0) != (ssize_t)sizeof(record.token))
                return;
        memcpy(record.tenant_name, peer->tenant, sizeof(record.tenant_name));
        if (peer->cgroup)
                (void)snprintf(record.cgroup, sizeof(record.cgroup), "%s", peer->cgroup);
        state_worker_set(d->recover.state, &record);
        memcpy(ret_token, record.token, sizeof(record.token));
}

void recover_forget(struct daemon *d, uint32_t worker)
{
        if (d->recover.state)
                state_worker_clear(d->recover.state, worker);
}

/* ---- While it runs ---- */

void recover_note(struct daemon *d, const struct core_event *event)
{
        struct recover *recover = &d->recover;
        int r;

        if (!recover->state)
                return;
        r = state_append(recover->state, d->core, event);
        if (r == 0)
                return;
        log_error("nothing is noted any more for a daemon to come: %s; a restart would lose the workers' memory",
                  strerror(-r));
        hold_clear(&recover->hold); /* of no use to the next one, and it would keep memory from coming free */
        recover->hold.failed = true;
        state_end(recover->state); /* it may not have heard that */
        state_free(recover->state);
        recover->state = NULL;
}

void recover_close(struct daemon *d)
{
        struct recover *recover = &d->recover;

        while (recover->absent) {
                struct absent *absent = recover->absent;

                recover->absent = absent->next;
                absent_free(absent);
        }
        if (recover->state && d->core && state_snapshot(recover->state, d->core) < 0)
                log_warning("no last snapshot was taken: only this very program can go on from here");
        hold_flush(&recover->hold);
        sd_event_source_disable_unref(recover->hold_source);
        sd_event_source_disable_unref(recover->hold_again);
        sd_event_source_disable_unref(recover->hold_late);
        hold_close(&recover->hold);
        free(recover->gone);
        recover_drop_items(recover);
        state_free(recover->state);
        recover->state = NULL;
}
