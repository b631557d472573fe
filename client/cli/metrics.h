/* SPDX-License-Identifier: MIT
 *
 * metrics.h -- the daemon's figures for monitoring: one table of metrics, and a snapshot written in its terms.
 *
 * The names, types and units are kept: dashboards and alerts are made of them. kvpager-metrics(7) is made from the same
 * table.
 */
#ifndef CTL_METRICS_H
#define CTL_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "snapshot.h"

enum ctl_metrics_format {
        CTL_METRICS_COMMON, /* OpenMetrics 1.0 that readers of the older format take as well: counters have no type */
        CTL_METRICS_OPENMETRICS, /* OpenMetrics 1.0 with all that it knows */
        CTL_METRICS_TEXT,        /* the older text format of Prometheus, 0.0.4 */
};

enum ctl_metric_scope { CTL_METRIC_DAEMON, CTL_METRIC_DEVICE, CTL_METRIC_TENANT, CTL_METRIC_COUNTER };
#define CTL_METRIC_SCOPES 4

enum ctl_metric_value {
        CTL_METRIC_U64,
        CTL_METRIC_U32,
        CTL_METRIC_USEC,  /* u64 microseconds, shown in seconds */
        CTL_METRIC_LIMIT, /* u64, UINT64_MAX is +Inf */
        CTL_METRIC_ONE,   /* 1: what it tells is in the labels */
};

struct ctl_metric {
        const char *name; /* without the prefix kvpager_ and, of a counter, without _total */
        const char *unit; /* the last word of the name, or NULL */
        const char *help; /* ASCII without quotes and backslashes */
        const char *labels;
        enum ctl_metric_scope scope;
        enum ctl_metric_value value;
        bool counter;  /* else a gauge */
        size_t offset; /* of the value in the scope's struct of the wire */
};

/* What kvpagerctl fetches for ctl_metrics_print(). */
#define CTL_METRICS_PARTS (CTL_STATUS | CTL_DEVICES | CTL_TENANTS | CTL_COUNTERS)

/* NULL where there is none. */
const struct ctl_metric *ctl_metric_at(size_t index);

/* All of them. Counters that the daemon does not know are left out, as are those that this version does not. Write
 * errors are the stream's, see ferror(). */
void ctl_metrics_print(const struct ctl_snapshot *snapshot, FILE *stream, enum ctl_metrics_format format);

#endif
