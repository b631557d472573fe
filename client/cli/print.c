/* SPDX-License-Identifier: MIT
 *
 * print.c -- a snapshot as people read it: a table a list, sizes in the largest unit that fits.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "format.h"
#include "snapshot.h"
#include "table.h"

#define N_COLUMNS(columns) (sizeof(columns) / sizeof(*(columns)))

static int print_size(struct ctl_table *table, uint64_t bytes, const struct ctl_options *options)
{
        char text[CTL_FORMAT_MAX];

        return ctl_table_cell(table, "%s", ctl_format_bytes(text, bytes, options->bytes));
}

static int print_number(struct ctl_table *table, uint64_t number)
{
        return ctl_table_cell(table, "%" PRIu64, number);
}

static struct ctl_table *devices_table(const struct ctl_list *list, const struct ctl_options *options)
{
        static const struct ctl_column columns[] = {
                { "DEVICE", false },   { "BACKEND", false }, { "PAGE", true },    { "CAPACITY", true },
                { "ALLOCATED", true }, { "VIRGIN", true },   { "MISSING", true },
        };
        const struct wire_item_device *devices = list->items;
        struct ctl_table *table = ctl_table_new(columns, N_COLUMNS(columns));

        for (size_t i = 0; table && i < list->n; i++) {
                (void)ctl_table_cell(table, "%s", devices[i].name);
                (void)ctl_table_cell(table, "%s", devices[i].backend);
                (void)print_size(table, devices[i].page_size, options);
                (void)print_size(table, devices[i].capacity_bytes, options);
                (void)print_size(table, devices[i].allocated_bytes, options);
                (void)print_size(table, devices[i].virgin_bytes, options);
                (void)print_size(table, devices[i].missing_bytes, options);
        }
        return table;
}

static struct ctl_table *tenants_table(const struct ctl_list *list, const struct ctl_options *options)
{
        static const struct ctl_column columns[] = {
                { "TENANT", false }, { "CURRENT", true }, { "LIVE", true },    { "IDLE", true },
                { "MIN", true },     { "LOW", true },     { "HIGH", true },    { "MAX", true },
                { "WEIGHT", true },  { "WORKERS", true }, { "WAITING", true }, { "OVERDUE", true },
        };
        const struct wire_item_tenant *tenants = list->items;
        struct ctl_table *table = ctl_table_new(columns, N_COLUMNS(columns));

        for (size_t i = 0; table && i < list->n; i++) {
                (void)ctl_table_cell(table, "%s", tenants[i].name);
                (void)print_size(table, tenants[i].current_bytes, options);
                (void)print_size(table, tenants[i].live_bytes, options);
                (void)print_size(table, tenants[i].idle_bytes, options);
                (void)print_size(table, tenants[i].min_bytes, options);
                (void)print_size(table, tenants[i].low_bytes, options);
                (void)print_size(table, tenants[i].high_bytes, options);
                (void)print_size(table, tenants[i].max_bytes, options);
                (void)print_number(table, tenants[i].weight);
                (void)print_number(table, tenants[i].workers);
                (void)print_number(table, tenants[i].waiting);
                (void)print_number(table, tenants[i].overdue);
        }
        return table;
}

static struct ctl_table *workers_table(const struct ctl_list *list, const struct ctl_options *options)
{
        static const struct ctl_column columns[] = {
                { "PID", true },  { "TENANT", false }, { "UID", true },    { "CURRENT", true }, { "LIVE", true },
                { "IDLE", true }, { "UNACKED", true }, { "CACHES", true }, { "OVERDUE", true },
        };
        const struct wire_item_worker *workers = list->items;
        struct ctl_table *table = ctl_table_new(columns, N_COLUMNS(columns));

        for (size_t i = 0; table && i < list->n; i++) {
                (void)print_number(table, workers[i].pid);
                (void)ctl_table_cell(table, "%s", workers[i].tenant);
                (void)print_number(table, workers[i].uid);
                (void)print_size(table, workers[i].current_bytes, options);
                (void)print_size(table, workers[i].live_bytes, options);
                (void)print_size(table, workers[i].idle_bytes, options);
                (void)print_size(table, workers[i].unacknowledged_bytes, options);
                (void)print_number(table, workers[i].caches);
                (void)ctl_table_cell(table, "%s", workers[i].overdue ? "yes" : "no");
        }
        return table;
}

static struct ctl_table *caches_table(const struct ctl_list *list, const struct ctl_options *options)
{
        static const struct ctl_column columns[] = {
                { "PID", true },  { "TENANT", false }, { "CACHE", true }, { "VIRTUAL", true }, { "LIVE", true },
                { "IDLE", true }, { "ROWS", true },    { "HELD", true },  { "PLANES", true },
        };
        const struct wire_item_cache *caches = list->items;
        struct ctl_table *table = ctl_table_new(columns, N_COLUMNS(columns));

        for (size_t i = 0; table && i < list->n; i++) {
                (void)print_number(table, caches[i].pid);
                (void)ctl_table_cell(table, "%s", caches[i].tenant);
                (void)print_number(table, caches[i].cache);
                (void)print_size(table, caches[i].virtual_bytes, options);
                (void)print_size(table, caches[i].live_bytes, options);
                (void)print_size(table, caches[i].idle_bytes, options);
                (void)print_number(table, caches[i].rows);
                (void)print_number(table, caches[i].held_rows);
                (void)print_number(table, caches[i].planes);
        }
        return table;
}

/* What a counter means, where this program is of the daemon's version; else nothing. */
static const char *counter_meaning(const char *name)
{
        for (int i = 0; i < WIRE_COUNTER_MAX_; i++)
                if (strcmp(wire_counter_name((enum wire_counter)i), name) == 0)
                        return wire_counter_doc((enum wire_counter)i);
        return "";
}

static struct ctl_table *counters_table(const struct ctl_list *list, const struct ctl_options *options)
{
        (void)options; /* no counter is in bytes */
        static const struct ctl_column columns[] = { { "COUNTER", false }, { "VALUE", true }, { "MEANING", false } };
        const struct wire_item_counter *counters = list->items;
        struct ctl_table *table = ctl_table_new(columns, N_COLUMNS(columns));

        for (size_t i = 0; table && i < list->n; i++) {
                (void)ctl_table_cell(table, "%s", counters[i].name);
                (void)print_number(table, counters[i].value);
                (void)ctl_table_cell(table, "%s", counter_meaning(counters[i].name));
        }
        return table;
}

static void print_daemon(const struct ctl_snapshot *snapshot, FILE *stream, const struct ctl_options *options)
{
        const struct wire_status *s = &snapshot->status;
        char text[CTL_FORMAT_MAX];

        (void)fprintf(stream, "%skvpagerd%s %s, pid %" PRIu64 ", up %s\n", options->colour ? "\x1b[1m" : "",
                      options->colour ? "\x1b[0m" : "", s->version, s->pid, ctl_format_span(text, s->uptime_usec));
        (void)fprintf(stream, "     Socket: %s\n", s->socket);
        (void)fprintf(stream, "     Config: %s\n",
                      s->config[0] ? s->config : "none (one device found by itself, one tenant)");
        (void)fprintf(stream, "     Serves: %" PRIu32 " worker%s of %" PRIu32 " tenant%s, %" PRIu32 " cache%s\n",
                      s->workers, s->workers == 1 ? "" : "s", s->tenants, s->tenants == 1 ? "" : "s", s->caches,
                      s->caches == 1 ? "" : "s");
        (void)fprintf(stream, "    Waiting: %" PRIu64 " request%s for memory\n", s->waiting_requests,
                      s->waiting_requests == 1 ? "" : "s");
        (void)fprintf(stream, " Page table: %s\n", ctl_format_bytes(text, s->core_bytes, options->bytes));
}

int ctl_snapshot_print(const struct ctl_snapshot *snapshot, FILE *stream, const struct ctl_options *options)
{
        const struct {
                enum ctl_part part;
                const char *singular;
                struct ctl_table *(*build)(const struct ctl_list *list, const struct ctl_options *options);
                const struct ctl_list *list;
        } lists[] = {
                { CTL_DEVICES, "device", devices_table, &snapshot->devices },
                { CTL_TENANTS, "tenant", tenants_table, &snapshot->tenants },
                { CTL_WORKERS, "worker", workers_table, &snapshot->workers },
                { CTL_CACHES, "cache", caches_table, &snapshot->caches },
                { CTL_COUNTERS, "counter", counters_table, &snapshot->counters },
        };
        bool status = snapshot->parts & CTL_STATUS;

        if (status)
                print_daemon(snapshot, stream, options);
        for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
                size_t n = lists[i].list->n;
                if (!(snapshot->parts & lists[i].part))
                        continue;
                _cleanup_(ctl_table_freep) struct ctl_table *table = lists[i].build(lists[i].list, options);
                if (!table)
                        return -ENOMEM;
                if (status)
                        (void)fputc('\n', stream);
                if (n > 0 && ctl_table_print(table, stream, options) < 0)
                        return -ENOMEM;
                if (options->legend && !status)
                        (void)fprintf(stream, "%s%zu %s%s.\n", n > 0 ? "\n" : "", n, lists[i].singular,
                                      n == 1 ? "" : "s");
        }
        return 0;
}
