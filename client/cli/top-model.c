/* SPDX-License-Identifier: MIT
 *
 * top-model.c -- rows of figures from two snapshots. Arithmetic in integers, no clock, no terminal.
 */
#include "top-model.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IN_TENANTS (1u << TOP_TENANTS)
#define IN_WORKERS (1u << TOP_WORKERS)
#define IN_BOTH    (IN_TENANTS | IN_WORKERS)

static const struct {
        const char *title, *json;
        enum top_kind kind;
        unsigned views;
} figures[TOP_FIGURES] = {
        [TOP_NAME] = { "TENANT", "name", TOP_KIND_TEXT, IN_BOTH },
        [TOP_PID] = { "PID", "pid", TOP_KIND_COUNT, IN_WORKERS },
        [TOP_UID] = { "UID", "uid", TOP_KIND_COUNT, IN_WORKERS },
        [TOP_CURRENT] = { "CURRENT", "current_bytes", TOP_KIND_BYTES, IN_BOTH },
        [TOP_LIVE] = { "LIVE", "live_bytes", TOP_KIND_BYTES, IN_BOTH },
        [TOP_IDLE] = { "IDLE", "idle_bytes", TOP_KIND_BYTES, IN_BOTH },
        [TOP_UNMAPPED] = { "UNMAPPED", "unmapped_bytes", TOP_KIND_BYTES, IN_BOTH },
        [TOP_UNBROKERED] = { "UNBROKERED", "unbrokered_bytes", TOP_KIND_BYTES, IN_TENANTS },
        [TOP_PRESSURE] = { "PRESSURE", "pressure", TOP_KIND_SHARE, IN_TENANTS },
        [TOP_WAITING] = { "WAITING", "waiting", TOP_KIND_COUNT, IN_TENANTS },
        [TOP_WAITS] = { "WAITS", "waits", TOP_KIND_COUNT, IN_TENANTS },
        [TOP_FAILED] = { "FAILED", "failed", TOP_KIND_COUNT, IN_TENANTS },
        [TOP_GRANTS] = { "GRANTS/S", "grants_per_second", TOP_KIND_RATE, IN_TENANTS },
        [TOP_REVOKES] = { "REVOKES", "revokes", TOP_KIND_COUNT, IN_TENANTS },
        [TOP_OVERDUE] = { "OVERDUE", "overdue", TOP_KIND_COUNT, IN_BOTH },
        [TOP_MIN] = { "MIN", "min_bytes", TOP_KIND_BYTES, IN_TENANTS },
        [TOP_LOW] = { "LOW", "low_bytes", TOP_KIND_BYTES, IN_TENANTS },
        [TOP_HIGH] = { "HIGH", "high_bytes", TOP_KIND_BYTES, IN_TENANTS },
        [TOP_MAX] = { "MAX", "max_bytes", TOP_KIND_BYTES, IN_TENANTS },
        [TOP_WEIGHT] = { "WEIGHT", "weight", TOP_KIND_COUNT, IN_TENANTS },
        [TOP_MEMBERS] = { "WORKERS", "workers", TOP_KIND_COUNT, IN_BOTH },
};

bool top_figure_in(enum top_figure figure, enum top_view view)
{
        return figures[figure].views & (1u << view);
}

enum top_kind top_figure_kind(enum top_figure figure)
{
        return figures[figure].kind;
}

const char *top_figure_title(enum top_figure figure, enum top_view view, bool totals)
{
        if (figure == TOP_MEMBERS && view == TOP_WORKERS)
                return "CACHES";
        return figure == TOP_GRANTS && totals ? "GRANTS" : figures[figure].title;
}

static const char *figure_json(enum top_figure figure, enum top_view view, bool totals)
{
        if (view == TOP_WORKERS && figure == TOP_NAME)
                return "tenant";
        if (view == TOP_WORKERS && figure == TOP_MEMBERS)
                return "caches";
        return figure == TOP_GRANTS && totals ? "grants" : figures[figure].json;
}

/* ---- Rows ---- */

/* What was counted in between. A count that is less than before began anew. */
static uint64_t counted(uint64_t before, uint64_t now)
{
        return now >= before ? now - before : now;
}

/* `part` of `whole`, times `scale`, rounded; without overflow for what occurs: a day in microseconds is below 2^37. */
static uint64_t share(uint64_t part, uint64_t whole, uint64_t scale)
{
        const uint64_t most = UINT64_MAX / scale / 2;

        while (part > most) {
                part /= 2;
                whole /= 2;
        }
        return whole > 0 ? (part * scale + whole / 2) / whole : 0;
}

static uint64_t unmapped(uint64_t current, uint64_t live, uint64_t idle)
{
        return current > live + idle ? current - live - idle : 0;
}

/* `before`: zeroes where there is nothing to compare with. */
static void tenant_row(struct top_row *row, const struct wire_item_tenant *before, const struct wire_item_tenant *now,
                       const struct top_model *model)
{
        const uint64_t usec = model->interval_usec ? model->interval_usec : model->now->status.counted_usec;
        const uint64_t stalled = counted(before->stall_usec, now->stall_usec);
        const uint64_t granted = counted(before->extents_granted, now->extents_granted);

        *row = (struct top_row){
                .name = now->name,
                .figures = {
                        [TOP_CURRENT] = now->current_bytes,
                        [TOP_LIVE] = now->live_bytes,
                        [TOP_IDLE] = now->idle_bytes,
                        [TOP_UNMAPPED] = unmapped(now->current_bytes, now->live_bytes, now->idle_bytes),
                        [TOP_UNBROKERED] = now->unbrokered_bytes,
                        [TOP_PRESSURE] = share(stalled < usec ? stalled : usec, usec, 1000),
                        [TOP_WAITING] = now->waiting,
                        [TOP_WAITS] = counted(before->requests_waited, now->requests_waited),
                        [TOP_FAILED] = counted(before->requests_failed, now->requests_failed),
                        [TOP_GRANTS] = model->interval_usec ? share(granted, usec, 10000000) : granted,
                        [TOP_REVOKES] = counted(before->revokes, now->revokes),
                        [TOP_OVERDUE] = now->overdue,
                        [TOP_MIN] = now->min_bytes,
                        [TOP_LOW] = now->low_bytes,
                        [TOP_HIGH] = now->high_bytes,
                        [TOP_MAX] = now->max_bytes,
                        [TOP_WEIGHT] = now->weight,
                        [TOP_MEMBERS] = now->workers,
                },
        };
}

static void worker_row(struct top_row *row, const struct wire_item_worker *now)
{
        *row = (struct top_row){
                .name = now->tenant,
                .id = now->worker,
                .figures = {
                        [TOP_PID] = now->pid,
                        [TOP_UID] = now->uid,
                        [TOP_CURRENT] = now->current_bytes,
                        [TOP_LIVE] = now->live_bytes,
                        [TOP_IDLE] = now->idle_bytes,
                        [TOP_UNMAPPED] = unmapped(now->current_bytes, now->live_bytes, now->idle_bytes),
                        [TOP_OVERDUE] = now->overdue,
                        [TOP_MEMBERS] = now->caches,
                },
        };
}

/* A tenant's figures of before, by its name. There are few hundred tenants at most. */
static const struct wire_item_tenant *tenant_before(const struct ctl_snapshot *before, const char *name)
{
        static const struct wire_item_tenant none;
        const struct wire_item_tenant *tenants = before ? before->tenants.items : NULL;

        for (size_t i = 0; before && i < before->tenants.n; i++)
                if (strcmp(tenants[i].name, name) == 0)
                        return &tenants[i];
        return &none;
}

static bool passes(const struct top_row *row, enum top_view view, const char *filter)
{
        char pid[24];

        if (!*filter || strcasestr(row->name, filter))
                return true;
        (void)snprintf(pid, sizeof(pid), "%" PRIu64, row->figures[TOP_PID]);
        return view == TOP_WORKERS && strstr(pid, filter);
}

/* Names go up, figures down; what is equal keeps to names, and then to ids, so that rows do not jump. */
static int compare(const void *a, const void *b, void *userdata)
{
        const struct top_row *x = a, *y = b;
        const struct top_order *order = userdata;
        uint64_t i = x->figures[order->by], j = y->figures[order->by];
        int names = strcmp(x->name, y->name), c = order->by == TOP_NAME ? names : (i < j) - (i > j);

        if (c != 0)
                return order->reverse ? -c : c;
        return names != 0 ? names : (x->id > y->id) - (x->id < y->id);
}

int top_model_build(struct top_model *model, const struct ctl_snapshot *before, const struct ctl_snapshot *now,
                    enum top_view view, const char *filter, struct top_order order)
{
        const struct wire_item_device *devices = now->devices.items;
        const struct wire_item_tenant *tenants = now->tenants.items;
        const struct wire_item_worker *workers = now->workers.items;

        if (before && (before->status.pid != now->status.pid || before->status.uptime_usec >= now->status.uptime_usec))
                before = NULL;
        *model = (struct top_model){ .view = view,
                                     .now = now,
                                     .interval_usec = before ? now->status.uptime_usec - before->status.uptime_usec : 0,
                                     .n_all = view == TOP_TENANTS ? now->tenants.n : now->workers.n };
        for (size_t i = 0; i < now->devices.n; i++)
                model->capacity += devices[i].capacity_bytes;
        if (model->n_all == 0)
                return 0;
        model->rows = calloc(model->n_all, sizeof(*model->rows));
        if (!model->rows)
                return -ENOMEM;
        for (size_t i = 0; i < model->n_all; i++) {
                struct top_row *row = &model->rows[model->n_rows];
                if (view == TOP_TENANTS)
                        tenant_row(row, tenant_before(before, tenants[i].name), &tenants[i], model);
                else
                        worker_row(row, &workers[i]);
                model->n_rows += passes(row, view, filter);
        }
        qsort_r(model->rows, model->n_rows, sizeof(*model->rows), compare, &order);
        return 0;
}

void top_model_done(struct top_model *model)
{
        free(model->rows);
        *model = (struct top_model){ 0 };
}

/* ---- JSON ---- */

static json_t *figure_value(const struct top_row *row, enum top_figure figure, bool totals)
{
        uint64_t value = row->figures[figure];

        switch (figures[figure].kind) {
        case TOP_KIND_TEXT:
                return ctl_json_text(row->name);
        case TOP_KIND_SHARE:
                return json_real((double)value / 1000);
        case TOP_KIND_RATE:
                return totals ? ctl_json_number(value) : json_real((double)value / 10);
        case TOP_KIND_BYTES:
        case TOP_KIND_COUNT:
                break;
        }
        return ctl_json_number(value);
}

static json_t *row_json(const struct top_row *row, enum top_view view, bool totals)
{
        json_t *object = json_object();

        for (int i = 0; object && i < TOP_FIGURES; i++) {
                enum top_figure figure = (enum top_figure)i;
                if (!top_figure_in(figure, view) || json_object_set_new(object, figure_json(figure, view, totals),
                                                                        figure_value(row, figure, totals)) == 0)
                        continue;
                json_decref(object);
                return NULL;
        }
        return object;
}

json_t *top_model_json(const struct top_model *model)
{
        const bool totals = model->interval_usec == 0;
        json_t *rows = json_array();

        for (size_t i = 0; rows && i < model->n_rows; i++) {
                if (json_array_append_new(rows, row_json(&model->rows[i], model->view, totals)) == 0)
                        continue;
                json_decref(rows);
                return NULL;
        }
        return json_pack("{s:o, s:o}", "interval_usec", totals ? json_null() : ctl_json_number(model->interval_usec),
                         model->view == TOP_TENANTS ? "tenants" : "workers", rows);
}
