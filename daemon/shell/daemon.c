/* SPDX-License-Identifier: MIT
 *
 * daemon.c -- see daemon.h: putting it together, the loop's own sources, and taking it apart.
 *
 * At the end extents are closed, not truncated: what workers have mapped is theirs for as long as they live, and what
 * nobody has is freed by the kernel. A daemon that stops must not be a SIGBUS for anybody.
 */
#include "daemon.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "backoff.h"
#include "log.h"
#include "owner.h"

#define STOP_USEC              UINT64_C(2000000) /* for a driver call under way */
#define DEADLINE_ACCURACY_USEC UINT64_C(1000)
#define LATE_USEC              UINT64_C(50000)   /* later than that something went wrong with us */
#define LATE_HEAR_USEC         UINT64_C(200000)  /* for so long others are heard first */
#define LATE_AGAIN_USEC        UINT64_C(2000000) /* and not again before that: who keeps us late is not to gain by it */
#define COLLECT_MAX            64u               /* results of a device a turn */
#define MAX_EXTENTS            (1u << 24)
#define MAX_CACHES             8192u
#define MAX_ROWS               (1u << 20)
#define MAX_REQUESTS           (1u << 16)
#define FDS_SPARE              64u /* for the loop, the log, the devices, accept() */

uint64_t daemon_now_nsec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t daemon_now_usec(void)
{
        return daemon_now_nsec() / 1000u;
}

/* ---- Events and what follows ---- */

/* Where we did not run when something was due (stopped, swapped out, a machine that was frozen), nobody is to suffer
 * for it: what others sent meanwhile was sent in time, and may stand behind somebody else's. So the core's time stands
 * still before what is due until they have been heard, and goes on from there: it never leaps over what is begun then,
 * which has its whole time. */
static void daemon_look_at_time(struct daemon *d, uint64_t now)
{
        const uint64_t due = core_next_deadline(d->core), core_now = daemon_core_usec(d, now);

        if (due >= core_now || core_now - due <= LATE_USEC || now <= d->late_until_usec + LATE_AGAIN_USEC)
                return;
        d->late_until_usec = now + LATE_HEAR_USEC;
        d->lost_usec = d->late_until_usec - (due - 1);
}

void daemon_event(struct daemon *d, const struct core_event *event)
{
        struct core_event in_time;

        if (d->actions.capacity - d->actions.n < CORE_ACTIONS_MAX)
                apply_actions(d);
        daemon_look_at_time(d, event->now_usec);
        if (d->lost_usec > 0) {
                memcpy(&in_time, event, event->size);
                in_time.now_usec = daemon_core_usec(d, event->now_usec);
                event = &in_time;
        }
        recover_note(d, event);
        core_apply(d->core, event, &d->actions);
}

static void daemon_bury(struct daemon *d, struct peer *peer)
{
        struct core_event event;

        if (peer->state == PEER_WORKER) {
                struct core_worker_info info = { 0 };

                (void)core_worker_info(d->core, peer->worker & 0xffffu, &info);
                events_add(d, WIRE_EVENT_worker_gone,
                           &(struct events_facts){ .peer = peer, .bytes = info.current_bytes }, "%s",
                           peer->why[0] ? peer->why : "it hung up");
                core_event_init(&event, CORE_EV_WORKER_GONE, daemon_now_usec());
                event.worker_gone.worker = peer->worker;
                daemon_event(d, &event);
                recover_forget(d, peer->worker);
        }
        peer_free(peer);
}

/* A timer that fires too early costs one wake-up, so a later deadline does not move it. */
static void daemon_arm(struct daemon *d)
{
        uint64_t deadline = core_next_deadline(d->core);

        if (deadline < UINT64_MAX - d->lost_usec)
                deadline += d->lost_usec;
        if (d->notice.next_usec < deadline)
                deadline = d->notice.next_usec;
        if (d->notice.stuck_usec < deadline)
                deadline = d->notice.stuck_usec;
        if (deadline >= d->armed_usec)
                return;
        (void)sd_event_source_set_time(d->deadline_source, deadline);
        if (sd_event_source_set_enabled(d->deadline_source, SD_EVENT_ONESHOT) >= 0)
                d->armed_usec = deadline;
        loop_changed(d);
}

void daemon_settle(struct daemon *d)
{
        struct peer *peer;

        do {
                apply_actions(d);
                if (recover_settle(d))
                        apply_actions(d);
                while ((peer = d->ended)) {
                        d->ended = peer->next_ended;
                        daemon_bury(d, peer);
                        apply_actions(d);
                }
                notice_turn(d);
                events_push(d);
        } while (d->ended);
        notify_changed(d);
        daemon_arm(d);
        if (core_pending(d->core)) {
                (void)sd_event_source_set_enabled(d->pending_source, SD_EVENT_ONESHOT);
                loop_changed(d);
        }
}

static void daemon_tick(struct daemon *d)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_TICK, daemon_now_usec());
        daemon_event(d, &event);
        daemon_settle(d);
}

static int daemon_on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *d = userdata;

        (void)source;
        (void)usec;
        d->armed_usec = UINT64_MAX;
        daemon_tick(d);
        return 0;
}

/* Work that was left over so that peers get their turn in between. */
static int daemon_on_pending(sd_event_source *source, void *userdata)
{
        (void)source;
        daemon_tick(userdata);
        return 0;
}

/* Whoever sealed an extent can use it although it was taken back: the account is right again, but he is not trusted any
 * further. */
static void daemon_tampered(struct daemon *d, const struct store_result *result)
{
        struct peer *peer = peers_find_worker(d, result->worker);

        if (peer)
                peer_fail(peer, 0, WIRE_E_TAMPERED, NULL);
        else
                log_warning("extent %" PRIu64 " was sealed by worker %" PRIu32
                            ", which is gone: its memory is free once its last process is",
                            result->extent, result->worker);
}

/* The core tries again by itself; what somebody can do about it stands in the log. */
static void daemon_device_failed(struct daemon *d, const struct store_device *device, const struct store_result *result)
{
        uint32_t suppressed;

        if (!ratelimit_allow(&d->complaints, daemon_now_usec(), &suppressed))
                return;
        log_warning("[device %s] an extent could not be %s: %s%s", device->name,
                    result->kind == DEV_JOB_CREATE ? "created" : "destroyed", strerror(-result->status),
                    result->status == -EMFILE   ? "; raise the limit of open files (LimitNOFILE=)"
                    : result->status == -ENOMEM ? "; its capacity is more than the machine can give"
                                                : "");
}

static void daemon_device_done(struct daemon *d, const struct store_device *device, const struct store_result *result)
{
        struct core_event event;

        notice_device(d, (uint32_t)(device - d->store.devices), result->status,
                      result->kind == DEV_JOB_CREATE ? "created" : "destroyed");
        if (result->status < 0)
                daemon_device_failed(d, device, result);
        if (result->tampered)
                daemon_tampered(d, result);
        core_event_init(&event, result->kind == DEV_JOB_CREATE ? CORE_EV_CREATED : CORE_EV_DESTROYED,
                        daemon_now_usec());
        event.created.extent = result->extent; /* `destroyed` is the same struct */
        event.created.status = result->status;
        daemon_event(d, &event);
        if (result->status == 0 && result->kind == DEV_JOB_DESTROY)
                recover_gone(d, result->extent);
}

/* What the device cannot give at the moment, if that changed. */
static void daemon_missing(struct daemon *d, uint32_t index, uint64_t bytes)
{
        struct store_device *device = &d->store.devices[index];
        struct core_event event;

        if (bytes == device->missing)
                return;
        device->missing = bytes;
        core_event_init(&event, CORE_EV_DEVICE_MISSING, daemon_now_usec());
        event.device_missing.device = index;
        event.device_missing.pages = (uint32_t)((bytes + device->info.page_size - 1) / device->info.page_size);
        daemon_event(d, &event);
        notice_missing(d, index, bytes);
}

/* What the device says, or, of one that cannot say, what others are known to have taken. */
static uint64_t daemon_missing_now(const struct daemon *d, uint32_t index)
{
        const uint64_t told = d->store.devices[index].missing_told, observed = observe_missing(d, index);

        return told > observed ? told : observed;
}

void daemon_look_at_missing(struct daemon *d, uint32_t index)
{
        daemon_missing(d, index, daemon_missing_now(d, index));
        dev_thread_look(d->store.devices[index].thread);
}

static int daemon_on_device(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon *d = userdata;
        struct store_result results[COLLECT_MAX];
        uint64_t missing, before;
        unsigned n;

        (void)source;
        (void)events;
        for (uint32_t i = 0; i < d->store.n_devices; i++) {
                if (dev_thread_fd(d->store.devices[i].thread) != fd)
                        continue;
                n = store_collect(&d->store, i, results, COLLECT_MAX);
                for (unsigned k = 0; k < n; k++)
                        if (results[k].status == 0 && results[k].kind == DEV_JOB_CREATE)
                                recover_made(d, i, results[k].extent);
                recover_flush(d); /* before anybody hears of them */
                for (unsigned k = 0; k < n; k++) {
                        returners_note(d, i, &results[k]);
                        daemon_device_done(d, &d->store.devices[i], &results[k]);
                }
                recover_flush(d); /* what is gone is held no more */
                if (dev_thread_missing(d->store.devices[i].thread, &missing, &before)) {
                        d->store.devices[i].missing_told = missing;
                        daemon_missing(d, i, daemon_missing_now(d, i));
                        returners_looked(d, i, missing, before);
                }
        }
        daemon_settle(d);
        return 0;
}

/* ---- Signals ---- */

static int daemon_on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        struct daemon *d = userdata;

        (void)source;
        (void)notify_send("STOPPING=1\nSTATUS=Stops");
        events_add(d, WIRE_EVENT_daemon_stopping, NULL, "%s", strsignal((int)info->ssi_signo));
        daemon_settle(d);
        return sd_event_exit(d->event, 0);
}

static int daemon_on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        struct daemon *d = userdata;
        char why[512];

        (void)source;
        (void)info;
        (void)reload_config(d, NULL, why, sizeof(why));
        daemon_settle(d);
        return 0;
}

/* ---- Setting up ---- */

/* As many open files as we may have. Returns how many that is. */
static uint64_t daemon_raise_nofile(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 1024;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 1024;
        return limit.rlim_cur;
}

/* Each extent is an fd here, and each peer three. Where the limit does not allow what the configuration asks for, both
 * give way. */
static void daemon_bounds(struct daemon *d, struct core_params *ret)
{
        uint64_t nofile = daemon_raise_nofile(), pages = store_capacity_pages(&d->store), extents, workers, peers;
        uint64_t spare = FDS_SPARE + remains_max(nofile);

        d->nofile = nofile;
        workers = d->config->daemon.max_workers;
        if (workers > nofile / 8)
                workers = nofile / 8 > 0 ? nofile / 8 : 1;
        if (workers < d->config->daemon.max_workers)
                log_warning("at most %" PRIu64 " workers at once, not max-workers = %" PRIu32 ": %" PRIu64
                            " open files are allowed (LimitNOFILE=)",
                            workers, d->config->daemon.max_workers, nofile);
        peers = workers; /* those of before come back, however many there may be new ones */
        if (d->recover.resumed && state_params(d->recover.state)->max_workers > peers)
                peers = state_params(d->recover.state)->max_workers;
        d->max_peers = (uint32_t)peers + DAEMON_MAX_GREETING + 2 * DAEMON_MAX_ADMINS;

        extents = pages < MAX_EXTENTS ? pages : MAX_EXTENTS;
        if (nofile < extents + UINT64_C(3) * d->max_peers + spare) {
                uint64_t left = nofile > 3 * (workers + 16) + spare ? nofile - 3 * (workers + 16) - spare : 0;

                extents = left > 64 ? left : 64;
                if (extents < pages)
                        log_warning("at most %" PRIu64 " extents at once for %" PRIu64
                                    " pages: each is an open file, and %" PRIu64
                                    " are allowed; raise the limit (LimitNOFILE=) or the page-size",
                                    extents, pages, nofile);
        }
        *ret = (struct core_params){ .max_extents = (uint32_t)extents,
                                     .max_workers = (uint32_t)workers,
                                     .max_caches = MAX_CACHES,
                                     .max_rows = MAX_ROWS,
                                     .max_requests = MAX_REQUESTS };
}

/* What no worker can know. A signal can come in between where the machine has only just been started. */
static int daemon_make_key(uint64_t *ret)
{
        ssize_t n;

        for (unsigned tries = 0; (n = getrandom(ret, sizeof(*ret), 0)) < 0 && errno == EINTR && tries < 8; tries++)
                ;
        if (n == (ssize_t)sizeof(*ret))
                return 0;
        log_error("no random bytes for a key: %s", strerror(errno));
        return -errno;
}

/* What is as large as the core says that there may be. */
static int daemon_make_tables(struct daemon *d, const struct core_params *params, void **ret_arena)
{
        d->core_bytes = core_size(params);
        assert(d->core_bytes > 0);
        *ret_arena = mmap(NULL, d->core_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                          0);
        if (*ret_arena == MAP_FAILED) {
                int r = -errno;

                log_error("no address space for %zu bytes of tables: %s", d->core_bytes, strerror(-r));
                return r;
        }
        return 0;
}

static int daemon_open_devices(struct daemon *d)
{
        char error[512] = "";
        int r;

        store_close(&d->store, 0); /* no thread has been started yet */
        r = store_open(&d->store, d->config, error, sizeof(error));
        if (r < 0)
                log_error_of(start_failed, "%s", error[0] ? error : strerror(-r));
        return r;
}

static void daemon_complain(void *userdata, const char *sentence)
{
        (void)userdata;
        log_error_of(configuration_invalid, "%s", sentence);
}

/* What was left is of no use: anew, devices included, and all that follows from their sizes. */
static int daemon_open_anew(struct daemon *d, struct core_params *ret)
{
        const uint64_t key = ret->hash_key;
        int r = daemon_open_devices(d);

        if (r == 0)
                r = reload_check(d, d->config, d->config_path, daemon_complain, NULL);
        if (r < 0)
                return r;
        daemon_bounds(d, ret);
        ret->hash_key = key;
        return 0;
}

static int daemon_make_core(struct daemon *d)
{
        struct core_params bounds, params;
        void *arena;
        int r;

        daemon_bounds(d, &bounds);
        r = daemon_make_key(&bounds.hash_key);
        if (r == 0)
                r = remains_open(d, d->nofile);
        if (r < 0)
                return r;
        d->actions.capacity = DAEMON_ACTIONS;
        d->actions.v = calloc(d->actions.capacity, sizeof(d->actions.v[0]));
        d->peers = calloc(d->max_peers, sizeof(struct peer *));
        d->peer_of_worker = calloc(0x10000, sizeof(struct peer *));
        if (!d->actions.v || !d->peers || !d->peer_of_worker)
                return -ENOMEM;
        do {
                params = bounds;
                recover_params(d, &params);
                r = daemon_make_tables(d, &params, &arena);
                if (r < 0)
                        return r;
                r = recover_core(d, arena, &params);
                if (r < 0) {
                        (void)munmap(arena, d->core_bytes);
                        d->core = NULL;
                }
                if (r != -EAGAIN)
                        break;
                r = daemon_open_anew(d, &bounds);
        } while (r == 0);
        if (r == 0)
                r = store_reserve(&d->store, params.max_extents);
        if (r == 0)
                recover_take(d);
        return r;
}

static int daemon_add_devices(struct daemon *d)
{
        struct core_event event;
        sd_event_source *source;
        int r;

        for (uint32_t i = 0; i < d->store.n_devices; i++) {
                const struct store_device *device = &d->store.devices[i];

                r = sd_event_add_io(d->event, &source, dev_thread_fd(device->thread), EPOLLIN, daemon_on_device, d);
                if (r < 0)
                        return r;
                (void)sd_event_source_set_floating(source, true);
                sd_event_source_unref(source);
                core_event_init(&event, CORE_EV_DEVICE_ADD, daemon_now_usec());
                event.device_add.device = i;
                event.device_add.page_shift = (uint32_t)__builtin_ctzll(device->info.page_size);
                event.device_add.pages = (uint32_t)(device->info.capacity / device->info.page_size);
                event.device_add.virgin_pages = device->virgin_pages;
                if (!d->recover.resumed)
                        daemon_event(d, &event);
                log_info("[device %s] %s: %" PRIu64 " MiB in %" PRIu32 " pages of %" PRIu64 " KiB", device->name,
                         device->info.backend, device->info.capacity >> 20, event.device_add.pages,
                         device->info.page_size >> 10);
                if (device->info.warning[0])
                        log_warning("[device %s] %s", device->name, device->info.warning);
        }
        return 0;
}

/* Signals are blocked before any thread is there to inherit them. */
static int daemon_watch_signals(struct daemon *d)
{
        static const struct {
                int number;
                sd_event_signal_handler_t handler;
        } signals[] = { { SIGTERM, daemon_on_stop }, { SIGINT, daemon_on_stop }, { SIGHUP, daemon_on_reload } };
        sigset_t set;
        int r = 0;

        (void)signal(SIGPIPE, SIG_IGN);
        (void)sigemptyset(&set);
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                (void)sigaddset(&set, signals[i].number);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]) && r >= 0; i++)
                r = sd_event_add_signal(d->event, NULL, signals[i].number, signals[i].handler, d);
        return r < 0 ? r : 0;
}

static int daemon_make_loop(struct daemon *d)
{
        int r = sd_event_new(&d->event);

        if (r >= 0)
                r = daemon_watch_signals(d);
        if (r >= 0)
                r = sd_event_add_time(d->event, &d->deadline_source, CLOCK_MONOTONIC, 0, DEADLINE_ACCURACY_USEC,
                                      daemon_on_deadline, d);
        if (r >= 0)
                r = sd_event_source_set_enabled(d->deadline_source, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_defer(d->event, &d->pending_source, daemon_on_pending, d);
        if (r >= 0)
                r = sd_event_source_set_enabled(d->pending_source, SD_EVENT_OFF);
        if (r >= 0)
                r = notify_open(d);
        if (r >= 0)
                r = throttle_open(d);
        if (r >= 0)
                r = returners_open(d);
        if (r >= 0)
                r = loop_open(d);
        if (r < 0)
                log_error("the event loop cannot be set up: %s", strerror(-r));
        return r < 0 ? r : 0;
}

static int daemon_set_up(struct daemon *d)
{
        char error[512] = "";
        int r;

        r = reload_check_rights(d->config, d->config_path, daemon_complain, NULL);
        if (r < 0)
                return r;
        reload_operators(d);
        r = daemon_make_loop(d);
        if (r < 0)
                return r;
        r = listen_open(&d->listener, d->config->daemon.socket_mode, d->config->daemon.socket_group, error,
                        sizeof(error));
        if (r == 0)
                r = recover_find(d);
        if (r < 0) {
                log_error_of(start_failed, "%s", error[0] ? error : strerror(-r));
                return r;
        }
        r = daemon_open_devices(d);
        if (r == 0 && !recover_compare(d))
                r = daemon_open_devices(d);
        if (r < 0)
                return r;
        r = reload_check(d, d->config, d->config_path, daemon_complain, NULL);
        if (r < 0)
                return r;
        r = events_open(&d->events);
        if (r == 0)
                r = daemon_make_core(d);
        if (r == 0)
                r = store_start(&d->store, error, sizeof(error));
        if (r == 0)
                r = daemon_add_devices(d);
        if (r == 0)
                r = recover_go(d);
        if (r == 0)
                r = reload_tenants(d, d->config);
        if (r == 0)
                r = recover_finish(d);
        if (r == 0)
                r = accept_start(d);
        if (r < 0)
                log_error_of(start_failed, "cannot start: %s", error[0] ? error : strerror(-r));
        else
                daemon_settle(d);
        return r;
}

int daemon_new(struct config *config, const char *config_path, int log_level, struct daemon **ret)
{
        struct daemon *d = calloc(1, sizeof(*d));
        int r;

        assert(config && config_path && ret);

        if (!d) {
                log_error("out of memory");
                free(config);
                return -ENOMEM;
        }
        d->config = config;
        d->log_level = log_level;
        d->epoll = -1;
        d->listener = (struct listener){ .fd = -1, .lock_fd = -1 };
        d->recover.hold.fd = -1;
        d->start_usec = daemon_now_usec();
        d->armed_usec = UINT64_MAX;
        d->complaints = (struct ratelimit){ .interval_usec = 10000000, .burst = 30 };
        notice_init(&d->notice);
        (void)snprintf(d->config_path, sizeof(d->config_path), "%s", config_path);
        log_set_level(log_level >= 0 ? (enum log_level)log_level : (enum log_level)config->daemon.log_level);
        r = daemon_set_up(d);
        if (r < 0) {
                daemon_free(d);
                return r;
        }
        *ret = d;
        return 0;
}

int daemon_run(struct daemon *d)
{
        int r;

        assert(d && d->core);

        events_add(d, WIRE_EVENT_daemon_started, NULL, "kvpagerd " KVPAGER_VERSION " serves %s", d->listener.path);
        if (d->recover.resumed)
                events_add(d, WIRE_EVENT_daemon_resumed, NULL, "%s", d->recover.summary);
        backoff_done();
        notify_ready(d);
        r = loop_run(d);
        if (r < 0)
                log_error("the event loop failed: %s", strerror(-r));
        return r;
}

void daemon_free(struct daemon *d)
{
        if (!d)
                return;
        observe_close(&d->observe);
        for (uint32_t i = 0; d->peers && i < d->max_peers; i++)
                if (d->peers[i])
                        peer_fail(d->peers[i], 0, WIRE_E_SHUTTING_DOWN, NULL);
        while (d->ended) {
                struct peer *peer = d->ended;

                d->ended = peer->next_ended;
                peer_free(peer);
        }
        remains_close(d);
        sd_event_source_unref(d->listen_source);
        sd_event_source_unref(d->listen_again);
        sd_event_source_unref(d->deadline_source);
        sd_event_source_unref(d->pending_source);
        notify_close(d);
        throttle_close(d);
        returners_close(d);
        recover_close(d);
        loop_close(d);
        sd_event_unref(d->event); /* before the fds that it watches */
        listen_close(&d->listener);
        store_close(&d->store, STOP_USEC);
        if (d->core)
                (void)munmap(d->core, d->core_bytes);
        free(d->actions.v);
        free(d->peers);
        free(d->peer_of_worker);
        events_close(&d->events);
        free(d->config);
        free(d);
}
