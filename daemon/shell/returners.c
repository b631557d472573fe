/* SPDX-License-Identifier: MIT
 *
 * returners.c -- see returners.h.
 */
#include "returners.h"

#include <assert.h>

#include "daemon.h"
#include "notice.h"

#define DOUBT_USEC UINT64_C(2000000)

static void returners_suspect(struct daemon *d, uint32_t device, uint32_t worker)
{
        struct peer *peer = peers_find_worker(d, worker);
        struct core_event event;

        core_event_init(&event, CORE_EV_SUSPECT, daemon_now_usec());
        event.suspect.worker = worker;
        event.suspect.device = device;
        daemon_event(d, &event);
        if (peer)
                notice_suspect(d, peer, device);
}

static void returners_arm(struct daemon *d)
{
        uint64_t first = UINT64_MAX;

        for (uint32_t i = 0; i < d->store.n_devices; i++)
                for (uint32_t k = 0; k < d->store.devices[i].returners.n_doubts; k++)
                        if (d->store.devices[i].returners.doubts[k].until_usec < first)
                                first = d->store.devices[i].returners.doubts[k].until_usec;
        (void)sd_event_source_set_time(d->doubt_timer, first);
        (void)sd_event_source_set_enabled(d->doubt_timer, first == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        loop_changed(d);
}

static int returners_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        const uint64_t now = daemon_now_usec();
        struct daemon *d = userdata;

        (void)source;
        (void)usec;
        for (uint32_t i = 0; i < d->store.n_devices; i++) {
                const uint64_t missing = d->store.devices[i].missing_told;
                struct returners *r = &d->store.devices[i].returners;

                for (uint32_t k = 0; k < r->n_doubts;) {
                        const struct doubt doubt = r->doubts[k];

                        if (doubt.until_usec > now) {
                                k++;
                                continue;
                        }
                        r->doubts[k] = r->doubts[--r->n_doubts];
                        if (missing - doubt.before <= doubt.given)
                                returners_suspect(d, i, doubt.worker);
                }
        }
        returners_arm(d);
        daemon_settle(d);
        return 0;
}

int returners_open(struct daemon *d)
{
        int r = sd_event_add_time(d->event, &d->doubt_timer, CLOCK_MONOTONIC, 0, 1, returners_on_timer, d);

        return r < 0 ? r : sd_event_source_set_enabled(d->doubt_timer, SD_EVENT_OFF);
}

void returners_close(struct daemon *d)
{
        d->doubt_timer = sd_event_source_disable_unref(d->doubt_timer);
}

void returners_note(struct daemon *d, uint32_t device, const struct store_result *result)
{
        struct returners *r = &d->store.devices[device].returners;

        if (result->kind != DEV_JOB_DESTROY || result->status < 0 || result->worker == 0 ||
            !peers_find_worker(d, result->worker))
                return;
        r->given += d->store.devices[device].info.page_size << store_order(&d->store, result->extent);
        for (uint32_t i = 0; i < r->n_workers; i++)
                if (r->workers[i] == result->worker)
                        return;
        if (r->n_workers < RETURNERS_MAX)
                r->workers[r->n_workers++] = result->worker;
}

/* A worker is doubted once, by what was missing before the first of it. */
static void returners_doubt(struct returners *r, uint32_t worker, uint64_t before)
{
        for (uint32_t i = 0; i < r->n_doubts; i++)
                if (r->doubts[i].worker == worker)
                        return;
        if (r->n_doubts < RETURNERS_MAX)
                r->doubts[r->n_doubts++] = (struct doubt){ .worker = worker,
                                                           .before = before,
                                                           .given = r->given,
                                                           .until_usec = daemon_now_usec() + DOUBT_USEC };
}

void returners_looked(struct daemon *d, uint32_t device, uint64_t missing, uint64_t before)
{
        struct returners *r = &d->store.devices[device].returners;

        for (uint32_t i = 0; i < r->n_doubts;)
                if (missing <= r->doubts[i].before)
                        r->doubts[i] = r->doubts[--r->n_doubts];
                else
                        r->doubts[i++].given += r->given;
        for (uint32_t i = 0; i < r->n_workers && missing > before; i++)
                returners_doubt(r, r->workers[i], before);
        r->n_workers = 0;
        r->given = 0;
        returners_arm(d);
}
