/* SPDX-License-Identifier: MIT
 *
 * watch.c -- see watch.h.
 */
#include "watch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "link.h"

#define LOOK_USEC    UINT64_C(20000)
#define SETTLE_USEC  UINT64_C(1000000)
#define PATIENT_USEC UINT64_C(86400000000) /* for all looks together; a daemon that dies is seen at once */

int watch_open(struct watch *watch, const char *path, const char (*names)[16], uint32_t n, uint64_t capacity,
               struct complaint *complaint)
{
        int r;

        assert(watch->n == 0 && n > 0);

        watch->names = names;
        watch->n = n;
        watch->capacity = capacity;
        watch->current = calloc(n, sizeof(*watch->current));
        watch->sums = calloc(n, sizeof(*watch->sums));
        watch->link = calloc(1, sizeof(*watch->link));
        if (!watch->current || !watch->sums || !watch->link)
                return complain(complaint, -ENOMEM, "no memory to watch %u tenants", n);
        *watch->link = (struct ctl_link)CTL_LINK_NONE;
        r = ctl_link_open(watch->link, path, PATIENT_USEC);
        return r < 0 ? complain(complaint, r, "%.400s", ctl_link_why(watch->link)) : 0;
}

void watch_close(struct watch *watch)
{
        if (watch->link)
                ctl_link_close(watch->link);
        free(watch->link);
        free(watch->current);
        free(watch->sums);
        *watch = (struct watch){ 0 };
}

/* What each tenant is charged for now; returns the sum, or a negative errno. */
static int64_t watch_ask(struct watch *watch, struct complaint *complaint)
{
        _cleanup_(ctl_list_done) struct ctl_list list = { 0 };
        const struct wire_item_tenant *tenants;
        uint64_t sum = 0;
        int r = ctl_link_list(watch->link, WIRE_LIST_TENANTS, WIRE_TENANTS, &list);

        if (r < 0)
                return complain(complaint, r, "%.400s", ctl_link_why(watch->link));
        tenants = list.items;
        for (size_t i = 0; i < list.n; i++)
                for (uint32_t k = 0; k < watch->n; k++)
                        if (strcmp(tenants[i].name, watch->names[k]) == 0) {
                                watch->current[k] = tenants[i].current_bytes;
                                sum += tenants[i].current_bytes;
                        }
        return (int64_t)sum;
}

int watch_look(struct watch *watch, uint64_t now_usec, bool all_wait, struct complaint *complaint)
{
        int64_t sum;

        if (now_usec < watch->now_usec + LOOK_USEC && all_wait)
                return 0;
        if (watch->hungry && now_usec > watch->now_usec) {
                const double seconds = (double)(now_usec - watch->now_usec) / 1e6;

                for (uint32_t i = 0; i < watch->n; i++)
                        watch->sums[i] += (double)watch->current[i] * seconds;
                watch->seconds += seconds;
        }
        watch->now_usec = now_usec > watch->now_usec ? now_usec : watch->now_usec;
        watch->hungry = false;
        if (!all_wait)
                return 0;
        sum = watch_ask(watch, complaint);
        if (sum < 0)
                return (int)sum;
        if ((uint64_t)sum < watch->capacity / 8 * 7)
                return 0;
        if (watch->full_usec == 0)
                watch->full_usec = now_usec + 1;
        watch->hungry = now_usec >= watch->full_usec + SETTLE_USEC;
        return 0;
}

double watch_mean(const struct watch *watch, uint32_t tenant)
{
        assert(tenant < watch->n);

        return watch->seconds > 0 ? watch->sums[tenant] / watch->seconds : 0;
}
