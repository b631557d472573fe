/* SPDX-License-Identifier: MIT
 *
 * recover-config.c -- what a daemon goes on with, and what its configuration asks for: what differs, and what of it
 * comes into force. See recover.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "log.h"

/* Whether our devices are those of the state, and so what they were opened as. */
static bool recover_same_devices(struct daemon *d, char *why, size_t size)
{
        const struct state_device *before;
        const uint32_t n = state_devices(d->recover.state, &before);

        if (n != d->store.n_devices) {
                (void)snprintf(why, size, "there were %" PRIu32 " devices, and there are %" PRIu32, n,
                               d->store.n_devices);
                return false;
        }
        for (uint32_t i = 0; i < n; i++) {
                const struct store_device *now = &d->store.devices[i];
                const uint64_t asked = d->config->devices[i].capacity.bytes;

                if (strcmp(now->name, before[i].name) != 0 || strcmp(now->info.backend, before[i].backend) != 0 ||
                    strcmp(now->info.uuid, before[i].uuid) != 0 || now->info.page_size != before[i].page_size) {
                        (void)snprintf(why, size, "[device %s] is not what it was", now->name);
                        return false;
                }
                if (asked > 0 && asked - asked % now->info.page_size != before[i].capacity)
                        log_notice("[device %s] keeps its capacity of %" PRIu64
                                   " MiB until the daemon and the holder are stopped",
                                   now->name, before[i].capacity >> 20);
                if (before[i].virgin_pages != now->virgin_pages)
                        log_notice("[device %s] keeps virgin-pages = %" PRIu64
                                   " until the daemon and the holder are stopped",
                                   now->name, before[i].virgin_pages);
        }
        return true;
}

/* Guarantees may be written for a capacity that comes into force only when daemon and holder have been stopped. Until
 * then they are lowered: a daemon that does not start would be worse. */
static void recover_fit_guarantees(struct daemon *d)
{
        struct config_size sizes[CONFIG_MAX_DEVICES];
        const uint64_t whole = config_smallest(sizes, store_sizes(&d->store, sizes));
        char why[512];
        double sum = 0;
        unsigned line;

        if (config_check_guarantees(d->config, sizes, d->store.n_devices, &line, why, sizeof(why)) == 0)
                return;
        for (uint32_t i = 0; i < d->config->n_tenants; i++)
                sum += (double)config_amount_bytes(&d->config->tenants[i].min, whole);
        for (uint32_t i = 0; i < d->config->n_tenants; i++) {
                struct config_amount *min = &d->config->tenants[i].min;
                uint64_t fits = (uint64_t)((double)config_amount_bytes(min, whole) / sum * (double)whole);

                for (uint32_t k = 0; k < d->store.n_devices; k++)
                        fits -= fits % sizes[k].page_size;
                d->recover.asked[i] = *min;
                *min = (struct config_amount){ .bytes = fits };
        }
        d->recover.lowered = true;
        log_warning("%s, until the daemon and the holder are stopped: until then each memory.min is lowered to %.0f %%",
                    why, 100 * (double)whole / sum);
}

/* What the tables are laid out for stays as it was. */
static void recover_say_what_stays(const struct core_params *were, const struct core_params *asked)
{
        const struct {
                const char *what;
                uint32_t were, asked;
        } figures[] = {
                { "max-workers", were->max_workers, asked->max_workers },
                { "the number of extents, which follows from capacity and open files (LimitNOFILE),", were->max_extents,
                  asked->max_extents },
        };

        for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
                if (figures[i].were != figures[i].asked)
                        log_notice("%s stays %" PRIu32 ", and not %" PRIu32
                                   ", until the daemon and the holder are stopped",
                                   figures[i].what, figures[i].were, figures[i].asked);
}

bool recover_compare(struct daemon *d)
{
        char why[200];

        if (!d->recover.resumed)
                return true;
        if (recover_same_devices(d, why, sizeof(why))) {
                recover_fit_guarantees(d);
                return true;
        }
        recover_begin_anew(d, why);
        memset(d->store.before, 0, sizeof(d->store.before));
        return false;
}

void recover_params(const struct daemon *d, struct core_params *params)
{
        if (!d->recover.resumed)
                return;
        recover_say_what_stays(state_params(d->recover.state), params);
        *params = *state_params(d->recover.state);
}
