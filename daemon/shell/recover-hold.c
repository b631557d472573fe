/* SPDX-License-Identifier: MIT
 *
 * recover-hold.c -- the holder while the daemon runs: it is given each extent before anybody hears of it. Should it
 * end, the next one is given everything anew. See recover.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon.h"
#include "log.h"

#define HOLD_AGAIN_USEC    UINT64_C(1000000) /* another holder is looked for so often */
#define HOLD_LATE_USEC     UINT64_C(2000000) /* and one that answers nothing for so long is given up */
#define HOLD_NOTHING       UINT64_MAX        /* no extent's id: to release it only gives an answer */
#define HOLD_ACCURACY_USEC UINT64_C(100000)

void recover_made(struct daemon *d, uint32_t device, uint64_t extent)
{
        const struct held_item item = { .id = extent, .device = device, .order = store_order(&d->store, extent) };

        if (d->recover.state)
                hold_put(&d->recover.hold, &item, store_fd(&d->store, extent));
}

void recover_gone(struct daemon *d, uint64_t extent)
{
        if (d->recover.state)
                hold_drop(&d->recover.hold, extent);
}

/* On the device of `host` memory is free once it is truncated, whoever has it; elsewhere when nobody does. */
static bool is_released_first(const struct daemon *d, uint32_t device)
{
        return d->recover.state && hold_is_up(&d->recover.hold) &&
               strcmp(d->store.devices[device].info.backend, "host") != 0;
}

/* It is to answer, within a time. */
static void hold_ask(struct daemon *d, uint64_t extent, uint32_t device)
{
        struct recover *recover = &d->recover;

        hold_release(&recover->hold, extent, device);
        if (recover->releasing++ > 0 || !recover->hold_late)
                return;
        (void)sd_event_source_set_time(recover->hold_late, daemon_now_usec() + HOLD_LATE_USEC);
        (void)sd_event_source_set_enabled(recover->hold_late, SD_EVENT_ONESHOT);
        loop_changed(d);
}

void recover_destroy(struct daemon *d, uint32_t device, uint64_t extent)
{
        if (store_fd(&d->store, extent) < 0) { /* of a list that is older than we are */
                d->recover.gone[d->recover.n_gone++] = extent;
                return;
        }
        if (!is_released_first(d, device)) {
                store_destroy(&d->store, device, extent);
                return;
        }
        store_leave(&d->store, extent);
        hold_ask(d, extent, device);
}

/* What waits for an answer that will not come. */
static void release_all(struct daemon *d)
{
        struct core_extent_info info;

        for (uint32_t i = 0; i < core_extent_slots(d->core); i++)
                if (core_extent_info(d->core, i, &info) && store_is_leaving(&d->store, info.extent))
                        store_destroy(&d->store, info.device, info.extent);
}

/* Looks for another one in a while. */
static void hold_give_up(struct daemon *d)
{
        struct recover *recover = &d->recover;

        recover->hold_source = sd_event_source_disable_unref(recover->hold_source);
        recover->hold_late = sd_event_source_disable_unref(recover->hold_late);
        recover->releasing = 0;
        recover->filling = false;
        hold_close(&recover->hold);
        release_all(d);
        if (!recover->state || !recover->hold_again)
                return;
        (void)sd_event_source_set_time(recover->hold_again, daemon_now_usec() + HOLD_AGAIN_USEC);
        (void)sd_event_source_set_enabled(recover->hold_again, SD_EVENT_ONESHOT);
        loop_changed(d);
}

void recover_flush(struct daemon *d)
{
        struct recover *recover = &d->recover;

        hold_flush(&recover->hold);
        if (recover->hold.failed)
                hold_give_up(d);
}

/* Another holder, which has shown that it runs, has everything given anew. */
static void hold_fill(struct daemon *d)
{
        struct recover *recover = &d->recover;

        hold_clear(&recover->hold);
        hold_put(&recover->hold, &(struct held_item){ .id = HELD_STATE }, state_fd(recover->state));
        for (uint32_t i = 0; i < core_extent_slots(d->core) && hold_is_up(&recover->hold); i++) {
                struct core_extent_info info;

                if (core_extent_info(d->core, i, &info) && store_fd(&d->store, info.extent) >= 0)
                        recover_made(d, info.device, info.extent);
        }
        recover->filling = true;
}

static int hold_on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *d = userdata;

        (void)source;
        (void)usec;
        if (d->recover.hold.fd >= 0 || !d->recover.state)
                return 0;
        if (hold_connect(&d->recover.hold, d->recover.path, HOLD_AT_ONCE_MSEC) == 0) {
                (void)recover_watch_holder(d);
                hold_ask(d, HOLD_NOTHING, 0);
                hold_flush(&d->recover.hold);
                d->recover.hold.silent = true; /* one that is stopped takes connections as well */
        }
        if (d->recover.hold.fd < 0 || d->recover.hold.failed)
                hold_give_up(d);
        return 0;
}

/* It takes what it is given. */
static void hold_answers(struct daemon *d)
{
        d->recover.hold.silent = false;
        hold_fill(d);
        hold_ask(d, HOLD_NOTHING, 0);
        recover_flush(d);
}

/* So many answers came; the next one is due from now on. */
static void hold_answered(struct daemon *d, uint32_t n)
{
        struct recover *recover = &d->recover;

        recover->releasing -= n < recover->releasing ? n : recover->releasing;
        (void)sd_event_source_set_time(recover->hold_late, daemon_now_usec() + HOLD_LATE_USEC);
        (void)sd_event_source_set_enabled(recover->hold_late, recover->releasing > 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int hold_on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *d = userdata;

        (void)source;
        (void)usec;
        if (!d->recover.hold.silent) /* else it was said before */
                log_error_of(holder_lost, "the holder does not answer; until another one is found, a restart would "
                                          "lose the workers' memory");
        hold_give_up(d);
        return 0;
}

/* It answers, or has ended. */
static int hold_on_answer(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct held_item items[HELD_MAX];
        struct daemon *d = userdata;
        int n = hold_released(&d->recover.hold, items);

        (void)source;
        (void)fd;
        (void)events;
        for (int i = 0; i < n; i++)
                if (items[i].id == HOLD_NOTHING && d->recover.hold.silent) {
                        hold_answers(d);
                } else if (items[i].id == HOLD_NOTHING && d->recover.filling) {
                        d->recover.filling = false;
                        log_notice("another holder has all that the one before had");
                } else if (items[i].device < d->store.n_devices && store_is_leaving(&d->store, items[i].id)) {
                        store_destroy(&d->store, items[i].device, items[i].id);
                }
        if (n > 0 && d->recover.hold_late)
                hold_answered(d, (uint32_t)n);
        if (n >= 0)
                return 0;
        log_error_of(holder_lost,
                     "the holder has ended; until another one is found, a restart would lose the workers' memory");
        hold_give_up(d);
        return 0;
}

int recover_watch_holder(struct daemon *d)
{
        struct recover *recover = &d->recover;
        int r;

        if (recover->hold.fd < 0)
                return 0;
        recover->hold_source = sd_event_source_disable_unref(recover->hold_source);
        recover->hold_late = sd_event_source_disable_unref(recover->hold_late);
        r = sd_event_add_io(d->event, &recover->hold_source, recover->hold.fd, EPOLLIN, hold_on_answer, d);
        if (r >= 0)
                r = sd_event_add_time(d->event, &recover->hold_late, CLOCK_MONOTONIC, 0, HOLD_ACCURACY_USEC,
                                      hold_on_late, d);
        if (r >= 0)
                r = sd_event_source_set_enabled(recover->hold_late, SD_EVENT_OFF);
        if (r >= 0 && recover->releasing > 0)
                hold_answered(d, 0);
        if (r >= 0 && !recover->hold_again) {
                r = sd_event_add_time(d->event, &recover->hold_again, CLOCK_MONOTONIC, 0, HOLD_ACCURACY_USEC,
                                      hold_on_again, d);
                if (r >= 0)
                        r = sd_event_source_set_enabled(recover->hold_again, SD_EVENT_OFF);
        }
        return r < 0 ? r : 0;
}
