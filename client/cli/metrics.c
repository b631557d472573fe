/* SPDX-License-Identifier: MIT
 *
 * metrics.c -- a snapshot as text for Prometheus and its kin.
 *
 * One row of the table is one metric family: what it is called, what it means, and where its value lies in the struct
 * that the daemon sent. Workers and caches come and go with every restart of an engine, so they have no series of their
 * own; `kvpagerctl top` shows them.
 *
 * Build and devices tell their names by gauges that are always 1: the type "info" of OpenMetrics is unknown to the
 * older format, and so both have the same names.
 */
#include "metrics.h"

#include <inttypes.h>
#include <string.h>

#define PREFIX "kvpager_"

#define DAEMON(name, field, unit, value, help)                                                                         \
        {                                                                                                              \
#name, unit, help, NULL, CTL_METRIC_DAEMON, CTL_METRIC_##value, false,                                 \
                        offsetof(struct wire_status, field)                                                            \
        }
#define DEVICE(field, unit, value, help)                                                                               \
        {                                                                                                              \
                "device_" #field, unit, help, "device", CTL_METRIC_DEVICE, CTL_METRIC_##value, false,                  \
                        offsetof(struct wire_item_device, field)                                                       \
        }
#define TENANT(name, field, unit, value, counter, help)                                                                \
        {                                                                                                              \
                "tenant_" #name, unit, help, "tenant", CTL_METRIC_TENANT, CTL_METRIC_##value, counter,                 \
                        offsetof(struct wire_item_tenant, field)                                                       \
        }
#define X(name, owner, doc)                                                                                            \
        { #name, NULL, doc, NULL, CTL_METRIC_COUNTER, CTL_METRIC_U64, true, offsetof(struct wire_item_counter, value) },

/* clang-format off */
static const struct ctl_metric metrics[] = {
        { "build_info", NULL, "always 1; the daemon's version, and that of the protocol it speaks", "version, protocol",
          CTL_METRIC_DAEMON, CTL_METRIC_ONE, false, 0 },
        DAEMON(uptime_seconds, uptime_usec, "seconds", USEC, "since the daemon started"),
        DAEMON(page_table_bytes, core_bytes, "bytes", U64, "memory of the daemon's own tables"),
        DAEMON(workers, workers, NULL, U32, "connected workers"),
        DAEMON(caches, caches, NULL, U32, "caches of all workers"),
        DAEMON(waiting_requests, waiting_requests, NULL, U64, "growth requests that are not complete"),

        { "device_info", NULL, "always 1; what the device is", "device, backend, uuid", CTL_METRIC_DEVICE, CTL_METRIC_ONE,
          false, 0 },
        { "device_page_size_bytes", "bytes", "of a page, the unit of accounting", "device", CTL_METRIC_DEVICE,
          CTL_METRIC_U64, false, offsetof(struct wire_item_device, page_size) },
        DEVICE(capacity_bytes, "bytes", U64, "what the daemon may give out on the device"),
        DEVICE(allocated_bytes, "bytes", U64, "what exists: the current bytes of all tenants, and the virgin ones"),
        DEVICE(virgin_bytes, "bytes", U64, "made ahead, and never anybody's"),
        DEVICE(missing_bytes, "bytes", U64, "what the device says is gone beyond what is allocated"),

        TENANT(current_bytes, current_bytes, "bytes", U64, false,
               "what the tenant is charged for: live, idle, granted and not yet acknowledged, being returned"),
        TENANT(live_bytes, live_bytes, "bytes", U64, false, "mapped in rows that a sequence holds"),
        TENANT(idle_bytes, idle_bytes, "bytes", U64, false, "mapped in released rows, kept for the next request"),
        TENANT(unbrokered_bytes, unbrokered_bytes, "bytes", U64, false,
               "device memory that its processes have taken without kvpager, as far as kvpager-observe tells"),
        TENANT(min_bytes, min_bytes, "bytes", LIMIT, false, "memory.min"),
        TENANT(low_bytes, low_bytes, "bytes", LIMIT, false, "memory.low"),
        TENANT(high_bytes, high_bytes, "bytes", LIMIT, false, "memory.high; +Inf where none is set"),
        TENANT(max_bytes, max_bytes, "bytes", LIMIT, false, "memory.max; +Inf where none is set"),
        TENANT(weight, weight, NULL, U32, false, "share in what is elastic"),
        TENANT(reclaim_deadline_seconds, reclaim_deadline_usec, "seconds", USEC, false,
               "how long a worker has to give back what it was asked for"),
        TENANT(on_overdue_kill, kills, NULL, U32, false, "1 where on-overdue is kill, else 0"),
        TENANT(workers, workers, NULL, U32, false, "connected workers"),
        TENANT(waiting_requests, waiting, NULL, U32, false, "growth requests that wait for memory"),
        TENANT(overdue_workers, overdue, NULL, U32, false, "workers that have not answered a revoke by its deadline"),
        TENANT(extents_granted, extents_granted, NULL, U64, true, "extents granted"),
        TENANT(pages_granted, pages_granted, NULL, U64, true, "pages granted"),
        TENANT(requests, requests, NULL, U64, true, "growth requests, an entry each"),
        TENANT(requests_waited, requests_waited, NULL, U64, true, "growth requests that could not be admitted at once"),
        TENANT(requests_failed, requests_failed, NULL, U64, true, "growth requests that ended in an error"),
        TENANT(wait_seconds, wait_usec, "seconds", USEC, true, "what growth requests have waited, all of them together"),
        TENANT(stall_seconds, stall_usec, "seconds", USEC, true, "time in which at least one growth request waited"),
        TENANT(revokes, revokes, NULL, U64, true, "revokes sent to workers of the tenant"),
        TENANT(pages_revoked, pages_revoked, NULL, U64, true, "pages that those revokes asked for"),
        TENANT(revokes_overdue, revokes_overdue, NULL, U64, true, "revokes not answered by their deadline"),

        WIRE_COUNTERS(X)
};
/* clang-format on */
#undef X
#undef DAEMON
#undef DEVICE
#undef TENANT

#define N_METRICS (sizeof(metrics) / sizeof(*metrics))

const struct ctl_metric *ctl_metric_at(size_t index)
{
        return index < N_METRICS ? &metrics[index] : NULL;
}

/* name="text". The daemon admits printable ASCII in names; what else a wrong one may send does not get into the text.
 */
static void print_label(FILE *stream, const char *before, const char *name, const char *text)
{
        (void)fprintf(stream, "%s%s=\"", before, name);
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        (void)fputc('\\', stream);
                (void)fputc(*text >= ' ' && *text <= '~' ? *text : '?', stream);
        }
        (void)fputc('"', stream);
}

static void print_labels(FILE *stream, const struct ctl_metric *metric, const void *item)
{
        const struct wire_item_device *device = item;
        const struct wire_item_tenant *tenant = item;
        const struct wire_status *status = item;
        char protocol[16];

        if (!metric->labels)
                return;
        (void)fputc('{', stream);
        if (metric->scope == CTL_METRIC_TENANT) {
                print_label(stream, "", "tenant", tenant->name);
        } else if (metric->scope == CTL_METRIC_DEVICE) {
                print_label(stream, "", "device", device->name);
                if (metric->value == CTL_METRIC_ONE) {
                        print_label(stream, ",", "backend", device->backend);
                        print_label(stream, ",", "uuid", device->uuid);
                }
        } else {
                (void)snprintf(protocol, sizeof(protocol), "%u", WIRE_VERSION);
                print_label(stream, "", "version", status->version);
                print_label(stream, ",", "protocol", protocol);
        }
        (void)fputc('}', stream);
}

static void print_value(FILE *stream, const struct ctl_metric *metric, const void *item)
{
        const char *field = (const char *)item + metric->offset;
        uint64_t value = 1;
        uint32_t small;

        if (metric->value == CTL_METRIC_U32) {
                memcpy(&small, field, sizeof(small));
                value = small;
        } else if (metric->value != CTL_METRIC_ONE) {
                memcpy(&value, field, sizeof(value));
        }
        if (metric->value == CTL_METRIC_LIMIT && value == UINT64_MAX)
                (void)fputs(" +Inf\n", stream);
        else if (metric->value == CTL_METRIC_USEC)
                (void)fprintf(stream, " %" PRIu64 ".%06" PRIu64 "\n", value / 1000000, value % 1000000);
        else
                (void)fprintf(stream, " %" PRIu64 "\n", value);
}

/* `item` is the struct that the metric's offset counts in. */
static void print_sample(FILE *stream, const struct ctl_metric *metric, const void *item)
{
        (void)fprintf(stream, PREFIX "%s%s", metric->name, metric->counter ? "_total" : "");
        print_labels(stream, metric, item);
        print_value(stream, metric, item);
}

static void print_family(FILE *stream, const struct ctl_metric *metric, enum ctl_metrics_format format)
{
        /* The older format knows no families, only samples by their names. A family of that name is of no type that
         * OpenMetrics would call a counter. */
        const char *suffix = metric->counter && format != CTL_METRICS_OPENMETRICS ? "_total" : "";
        const bool typed = !metric->counter || format != CTL_METRICS_COMMON;

        if (typed)
                (void)fprintf(stream, "# TYPE " PREFIX "%s%s %s\n", metric->name, suffix,
                              metric->counter ? "counter" : "gauge");
        if (typed && metric->unit && format != CTL_METRICS_TEXT)
                (void)fprintf(stream, "# UNIT " PREFIX "%s %s\n", metric->name, metric->unit);
        (void)fprintf(stream, "# HELP " PREFIX "%s%s %s\n", metric->name, suffix, metric->help);
}

/* The daemon's value of a counter, found by name: its order is its own. NULL: it does not count that. */
static const struct wire_item_counter *find_counter(const struct ctl_snapshot *snapshot, const char *name)
{
        const struct wire_item_counter *counters = snapshot->counters.items;

        for (size_t i = 0; i < snapshot->counters.n; i++)
                if (strcmp(counters[i].name, name) == 0)
                        return &counters[i];
        return NULL;
}

static void print_list(FILE *stream, const struct ctl_metric *metric, const struct ctl_list *list, size_t size)
{
        for (size_t i = 0; i < list->n; i++)
                print_sample(stream, metric, (const char *)list->items + i * size);
}

void ctl_metrics_print(const struct ctl_snapshot *snapshot, FILE *stream, enum ctl_metrics_format format)
{
        for (size_t i = 0; i < N_METRICS; i++) {
                const struct ctl_metric *metric = &metrics[i];
                const struct wire_item_counter *counter = find_counter(snapshot, metric->name);

                if (metric->scope == CTL_METRIC_COUNTER && !counter)
                        continue;
                print_family(stream, metric, format);
                switch (metric->scope) {
                case CTL_METRIC_DAEMON:
                        print_sample(stream, metric, &snapshot->status);
                        break;
                case CTL_METRIC_DEVICE:
                        print_list(stream, metric, &snapshot->devices, sizeof(struct wire_item_device));
                        break;
                case CTL_METRIC_TENANT:
                        print_list(stream, metric, &snapshot->tenants, sizeof(struct wire_item_tenant));
                        break;
                case CTL_METRIC_COUNTER:
                        print_sample(stream, metric, counter);
                        break;
                }
        }
        if (format != CTL_METRICS_TEXT)
                (void)fputs("# EOF\n", stream);
}
