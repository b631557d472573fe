/* SPDX-License-Identifier: MIT
 *
 * top-model.h -- what `kvpagerctl top` shows, without a terminal: rows of figures, made from two snapshots.
 *
 * Counts become what was counted between the two; with one snapshot alone, what was counted since the daemon started. A
 * daemon that was restarted in between, and a tenant that is new, begin anew.
 */
#ifndef CTL_TOP_MODEL_H
#define CTL_TOP_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot.h"

/* What has to be fetched. */
#define TOP_PARTS (CTL_STATUS | CTL_DEVICES | CTL_TENANTS | CTL_WORKERS)

enum top_view { TOP_TENANTS, TOP_WORKERS };
#define TOP_VIEWS 2

enum top_figure {
        TOP_NAME, /* of the tenant; the only one that is text */
        TOP_PID,
        TOP_UID,
        TOP_CURRENT,
        TOP_LIVE,
        TOP_IDLE,
        TOP_UNMAPPED,   /* granted and not mapped yet, or being returned */
        TOP_UNBROKERED, /* taken without kvpager */
        TOP_PRESSURE,   /* share of the time in which at least one request waited */
        TOP_WAITING,    /* requests, now */
        TOP_WAITS,      /* requests that had to wait */
        TOP_FAILED,
        TOP_GRANTS, /* extents, a second */
        TOP_REVOKES,
        TOP_OVERDUE, /* workers, now */
        TOP_MIN,
        TOP_LOW,
        TOP_HIGH,
        TOP_MAX,
        TOP_WEIGHT,
        TOP_MEMBERS, /* workers of a tenant, caches of a worker */
        TOP_FIGURES,
};

enum top_kind {
        TOP_KIND_TEXT,
        TOP_KIND_BYTES, /* UINT64_MAX: a limit that is not set */
        TOP_KIND_COUNT,
        TOP_KIND_RATE,  /* tenths a second; in totals a count */
        TOP_KIND_SHARE, /* thousandths */
};

struct top_row {
        const char *name;
        uint64_t id; /* of a worker; 0 for tenants, whose name tells them apart */
        uint64_t figures[TOP_FIGURES];
};

struct top_model {
        enum top_view view;
        const struct ctl_snapshot *now;
        uint64_t interval_usec; /* what counts are of; 0: since the daemon's start */
        uint64_t capacity;      /* bytes of all devices */
        struct top_row *rows;   /* those that the filter lets through, sorted */
        size_t n_rows, n_all;
};

struct top_order {
        enum top_figure by;
        bool reverse; /* else names go up and figures down */
};

/* `before` may be NULL. The model points into `now`. An empty `filter` lets all through; else a row's tenant (whatever
 * the case) or pid has to contain it. 0 or -ENOMEM. top_model_done() it either way. */
int top_model_build(struct top_model *model, const struct ctl_snapshot *before, const struct ctl_snapshot *now,
                    enum top_view view, const char *filter, struct top_order order);

void top_model_done(struct top_model *model);

bool top_figure_in(enum top_figure figure, enum top_view view);
enum top_kind top_figure_kind(enum top_figure figure);

/* A column's title, as "GRANTS/S"; `totals`: what it is called where figures are since the start. */
const char *top_figure_title(enum top_figure figure, enum top_view view, bool totals);

/* One object: interval_usec (null: since the daemon's start), and tenants or workers, whichever the model shows. NULL:
 * no memory. */
json_t *top_model_json(const struct top_model *model);

#endif
