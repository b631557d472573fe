/* SPDX-License-Identifier: MIT
 *
 * show.c -- a snapshot as people read it. It is made from the JSON, which may be another process's.
 */
#include <inttypes.h>
#include <string.h>

#include "format.h"
#include "observer.h"

#define BAR 40

static uint64_t number(const json_t *object, const char *key)
{
        const json_t *value = json_object_get(object, key);

        return json_is_integer(value) ? (uint64_t)json_integer_value(value) : 0;
}

static const char *text(const json_t *object, const char *key, const char *otherwise)
{
        const char *value = json_string_value(json_object_get(object, key));

        return value && *value ? value : otherwise;
}

static void show_probes(const json_t *probes, FILE *out)
{
        size_t i;
        json_t *p;

        (void)fprintf(out, "%-8s %-9s %-26s %-8s %12s  %s\n", "PROGRAM", "KIND", "NAME", "ATTACHED", "HITS", "TARGET");
        json_array_foreach(probes, i, p)
        {
                const bool loaded = json_is_integer(json_object_get(p, "hits"));
                const char *why = text(p, "why", NULL);

                (void)fprintf(out, "%-8s %-9s %-26s %-8s ", text(p, "program", ""), text(p, "kind", ""),
                              text(p, "name", ""), json_is_true(json_object_get(p, "attached")) ? "yes" : "no");
                if (loaded)
                        (void)fprintf(out, "%12" PRIu64 "  %s\n", number(p, "hits"), text(p, "target", ""));
                else
                        (void)fprintf(out, "%12s  %s%s%s\n", "-", text(p, "target", ""), why ? ": " : "",
                                      why ? why : "");
        }
}

static void show_exits(const json_t *exits, FILE *out)
{
        size_t i;
        json_t *e;

        (void)fprintf(out, "\n%zu workers ended\n", json_array_size(exits));
        json_array_foreach(exits, i, e)
        {
                const json_t *signal = json_object_get(e, "signal");

                (void)fprintf(out, "  worker %" PRIu64 " of tenant %s (%s) ", number(e, "pid"), text(e, "tenant", "?"),
                              text(e, "program", "?"));
                if (json_is_integer(signal))
                        (void)fprintf(out, "was killed by signal %" PRIu64 "%s%s\n", number(e, "signal"),
                                      json_is_true(json_object_get(e, "core_dumped")) ? ", core dumped" : "",
                                      json_is_true(json_object_get(e, "out_of_memory")) ? ", out of memory" : "");
                else
                        (void)fprintf(out, "exited with status %" PRIu64 "\n", number(e, "status"));
        }
}

static const char *group_name(const json_t *group)
{
        return text(group, "cgroup", text(group, "name", "/"));
}

static void show_memory(const json_t *groups, FILE *out)
{
        char bytes[CTL_FORMAT_MAX];
        size_t i;
        json_t *group, *call;
        const char *name;

        json_array_foreach(groups, i, group)
        {
                (void)fprintf(out, "\n%s: %s taken without kvpager\n", group_name(group),
                              ctl_format_bytes(bytes, number(group, "unbrokered_bytes"), false));
                json_object_foreach(json_object_get(group, "calls"), name, call)(void) fprintf(
                        out, "  %-26s %10" PRIu64 " calls %8" PRIu64 " failed %10s\n", name, number(call, "calls"),
                        number(call, "failed"), ctl_format_bytes(bytes, number(call, "bytes"), false));
        }
}

static void show_stages(json_t *stages, const char *what, FILE *out)
{
        const char *name;
        json_t *stage;

        json_object_foreach(stages, name, stage)
        {
                const uint64_t count = number(stage, "count");

                if (count > 0)
                        (void)fprintf(out, "  %s %-10s %10" PRIu64 " times, %10.1f us each\n", what, name, count,
                                      (double)number(stage, "nsec") / 1000 / (double)count);
        }
}

static void show_pressure(const json_t *pressure, const char *before, FILE *out)
{
        const char *name, *between = before;
        json_t *resource;

        json_object_foreach((json_t *)pressure, name, resource) if (json_is_object(resource))
        {
                (void)fprintf(out, "%s%s %.1f %%", between, name,
                              json_number_value(json_object_get(json_object_get(resource, "some"), "percent")));
                between = ", ";
        }
        if (between != before)
                (void)fputs(" of the last 10 s\n", out);
}

static void show_machine(const json_t *machine, FILE *out)
{
        const json_t *groups = json_object_get(machine, "cgroups");
        json_t *group;
        size_t i;

        (void)fputc('\n', out);
        show_pressure(json_object_get(machine, "pressure"), "pressure: some waited for ", out);
        json_array_foreach(groups, i, group)
        {
                (void)fprintf(out, "\n%s: %" PRIu64 " major faults\n", group_name(group),
                              number(group, "major_faults"));
                show_stages(json_object_get(group, "mapper"), "mapper", out);
                show_pressure(json_object_get(group, "pressure"), "  some waited for ", out);
        }
}

int show_summary(const json_t *snapshot, FILE *out)
{
        const json_t *ring = json_object_get(snapshot, "ring"), *daemon = json_object_get(snapshot, "kvpagerd");
        const json_t *pager = json_object_get(snapshot, "pager");
        size_t i;
        json_t *group;

        show_probes(json_object_get(snapshot, "probes"), out);
        (void)fprintf(out, "\nring: %" PRIu64 " records, %" PRIu64 " lost; kvpagerd at %s: %s\n",
                      number(ring, "records"), number(ring, "lost"), text(daemon, "socket", "?"),
                      json_is_true(json_object_get(daemon, "connected")) ? "connected" : "not there");
        show_exits(json_object_get(snapshot, "exits"), out);
        show_memory(json_object_get(json_object_get(snapshot, "cudamem"), "cgroups"), out);
        json_array_foreach(json_object_get(pager, "cgroups"), i, group)
        {
                (void)fprintf(out, "\n%s\n", group_name(group));
                show_stages(json_object_get(group, "grants"), "grant", out);
                show_stages(json_object_get(group, "stalls"), "stall", out);
        }
        show_machine(json_object_get(snapshot, "machine"), out);
        return ferror(out) ? -1 : 0;
}

static void show_histogram(const json_t *slots, const char *title, FILE *out)
{
        uint64_t most = 0, sum = 0;
        size_t i;
        json_t *slot;

        json_array_foreach(slots, i, slot)
        {
                const uint64_t n = (uint64_t)json_integer_value(slot);

                most = n > most ? n : most;
                sum += n;
        }
        if (sum == 0)
                return;
        (void)fprintf(out, "\n%s\n", title);
        json_array_foreach(slots, i, slot)
        {
                const uint64_t n = (uint64_t)json_integer_value(slot);

                if (n > 0)
                        (void)fprintf(out, "  from %10" PRIu64 " ns %10" PRIu64 " %.*s\n",
                                      i == 0 ? 0 : UINT64_C(1) << i, n, (int)((n * BAR + most - 1) / most),
                                      "########################################");
        }
}

int show_histograms(const json_t *snapshot, FILE *out)
{
        const json_t *memory = json_object_get(json_object_get(snapshot, "cudamem"), "cgroups");
        const json_t *pager = json_object_get(json_object_get(snapshot, "pager"), "cgroups");
        const json_t *machine = json_object_get(json_object_get(snapshot, "machine"), "cgroups");
        json_t *group, *entry;
        char title[512];
        const char *name;
        size_t i;

        json_array_foreach(memory, i, group) json_object_foreach(json_object_get(group, "calls"), name, entry)
        {
                (void)snprintf(title, sizeof(title), "%s: %s", group_name(group), name);
                show_histogram(json_object_get(entry, "nsec"), title, out);
        }
        json_array_foreach(pager, i, group)
        {
                json_object_foreach(json_object_get(group, "grants"), name, entry)
                {
                        (void)snprintf(title, sizeof(title), "%s: a grant's %s", group_name(group), name);
                        show_histogram(json_object_get(entry, "histogram"), title, out);
                }
                json_object_foreach(json_object_get(group, "stalls"), name, entry)
                {
                        (void)snprintf(title, sizeof(title), "%s: steps that waited, mostly for %s", group_name(group),
                                       name);
                        show_histogram(json_object_get(entry, "histogram"), title, out);
                }
        }
        json_array_foreach(machine, i, group) json_object_foreach(json_object_get(group, "mapper"), name, entry)
        {
                (void)snprintf(title, sizeof(title), "%s: mapper threads, %s", group_name(group), name);
                show_histogram(json_object_get(entry, "histogram"), title, out);
        }
        return ferror(out) ? -1 : 0;
}
