/* SPDX-License-Identifier: MIT
 *
 * machine.c -- loads machine.bpf.c, and reads what the kernel itself says of pressure (PSI), of the machine and of each
 * cgroup with workers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shared.h" /* whose types the skeleton has */

#include "machine.skel.h"
#include "observer.h"
#include "snapshot.h"

struct machine {
        struct machine_bpf *bpf;
        uint64_t switches;        /* of all CPUs, when they were last added up */
        struct bpf_link **faults; /* a CPU each */
        uint32_t n_faults;
};

static const char *const waits[WAITS] = {
#define X(name, what) #name,
        SHARED_WAITS(X)
#undef X
};

/* PSI's files, the machine's in /proc/pressure, a cgroup's with ".pressure" behind. */
static const char *const resources[] = { "cpu", "memory", "io" };

#define RESOURCES (sizeof(resources) / sizeof(resources[0]))

/* ---- pressure ---- */

/* One line of such a file: share of the last ten seconds in percent, and microseconds in all. */
static void read_line(json_t *object, const char *line)
{
        unsigned long long total;
        char kind[8];
        double share;

        if (sscanf(line, "%7s avg10=%lf avg60=%*f avg300=%*f total=%llu", kind, &share, &total) == 3)
                (void)json_object_set_new(object, kind,
                                          json_pack("{s:f, s:o}", "percent", share, "usec", ctl_json_number(total)));
}

/* {"some": ..., "full": ...}, or null with errno set. */
static json_t *read_pressure(int folder, const char *path)
{
        const int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
        FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        char line[128];
        json_t *object;
        int error;

        if (!file) {
                if (fd >= 0)
                        (void)close(fd);
                return json_null();
        }
        object = json_object();
        while (fgets(line, sizeof(line), file))
                read_line(object, line);
        error = ferror(file)                    ? errno
                : json_object_size(object) == 0 ? ENODATA
                                                : 0; /* switched off, it cannot be read */
        (void)fclose(file);
        if (error == 0)
                return object;
        json_decref(object);
        errno = error;
        return json_null();
}

/* Of all resources, from a folder, whose files have `suffix` behind. -1: there is no folder. */
static json_t *all_pressure(int folder, const char *suffix)
{
        json_t *object = json_object();
        char name[64];

        for (size_t i = 0; i < RESOURCES; i++) {
                (void)snprintf(name, sizeof(name), "%s%s", resources[i], suffix);
                (void)json_object_set_new(object, resources[i], folder < 0 ? json_null() : read_pressure(folder, name));
        }
        return object;
}

/* Where it cannot be read, a row says why; figures are read when somebody asks. */
static void open_pressure(struct observer *o)
{
        char path[64];

        for (size_t i = 0; i < RESOURCES; i++) {
                struct probe *probe;
                json_t *pressure;
                int error;

                (void)snprintf(path, sizeof(path), "/proc/pressure/%s", resources[i]);
                pressure = read_pressure(AT_FDCWD, path);
                error = errno;
                if (json_is_null(pressure) && (probe = observer_probe(o, "machine", "file", resources[i], path)))
                        (void)snprintf(probe->why, sizeof(probe->why), "%s",
                                       error == ENOENT || error == EOPNOTSUPP
                                               ? "the kernel keeps no account of pressure (CONFIG_PSI, or psi=1 on its "
                                                 "command line)"
                                               : strerror(error));
                json_decref(pressure);
        }
}

/* ---- the programs ---- */

/* Each major fault of a CPU. */
static int attach_faults(struct machine *m, int cpu)
{
        struct perf_event_attr attr = { .size = sizeof(attr),
                                        .type = PERF_TYPE_SOFTWARE,
                                        .config = PERF_COUNT_SW_PAGE_FAULTS_MAJ,
                                        .sample_period = 1 };
        const int fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        struct bpf_link *link;
        int r;

        if (fd < 0)
                return errno == ENODEV ? 0 : -errno; /* that CPU is not running */
        link = bpf_program__attach_perf_event(m->bpf->progs.major_fault, fd);
        if (!link) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        m->faults[m->n_faults++] = link; /* which owns the fd */
        return 0;
}

static void close_faults(struct machine *m)
{
        while (m->n_faults > 0)
                (void)bpf_link__destroy(m->faults[--m->n_faults]);
        free(m->faults);
        m->faults = NULL;
}

static int open_faults(struct machine *m, struct probe *probe)
{
        const int n = libbpf_num_possible_cpus();
        int r = n < 0 ? n : 0;

        m->faults = r == 0 ? calloc((size_t)n, sizeof(struct bpf_link *)) : NULL;
        if (r == 0 && !m->faults)
                r = -ENOMEM;
        for (int cpu = 0; cpu < n && r == 0; cpu++)
                r = attach_faults(m, cpu);
        if (r < 0) {
                close_faults(m);
                (void)observer_why(r, probe->why);
                return r;
        }
        probe->attached = true;
        probe->hits = &m->bpf->bss->faults;
        return 0;
}

int machine_open(struct observer *o)
{
        struct probe *switches = observer_probe(o, "machine", "tp_btf", "sched_switch", "vmlinux");
        struct probe *faults = observer_probe(o, "machine", "perf_event", "major-faults", "vmlinux");
        struct machine *m = calloc(1, sizeof(*m));
        int r = 0;

        o->machine = m;
        if (!m || !switches || !faults)
                return -ENOMEM;
        open_pressure(o);
        m->bpf = machine_bpf__open();
        if (!m->bpf)
                r = -errno;
        else {
                observer_namespace(&m->bpf->rodata->namespace_device, &m->bpf->rodata->namespace_inode);
                r = machine_bpf__load(m->bpf);
        }
        if (r < 0) {
                (void)observer_why(r, switches->why);
                memcpy(faults->why, switches->why, PROBE_WHY);
                machine_bpf__destroy(m->bpf);
                m->bpf = NULL;
                return r;
        }
        m->bpf->links.switches = bpf_program__attach(m->bpf->progs.switches);
        if (!m->bpf->links.switches)
                (void)observer_why(-errno, switches->why);
        switches->attached = m->bpf->links.switches != NULL;
        switches->hits = &m->switches;
        r = open_faults(m, faults);
        return switches->attached ? 0 : r;
}

void machine_close(struct observer *o)
{
        struct machine *m = o->machine;

        if (!m)
                return;
        close_faults(m);
        machine_bpf__destroy(m->bpf);
        free(m);
        o->machine = NULL;
}

/* Figures of groups that are gone are kept as long as there is room. */
static void forget_gone(struct observer *o, struct bpf_map *machines)
{
        uint64_t ids[MACHINES_MAX], id, *before = NULL;
        uint32_t n = 0;

        for (; n < MACHINES_MAX && bpf_map__get_next_key(machines, before, &id, sizeof(id)) == 0; before = &id) {
                const int folder = place_open(o, id);

                if (folder >= 0)
                        (void)close(folder);
                else
                        ids[n++] = id;
        }
        while (n-- > 0)
                (void)bpf_map__delete_elem(machines, &ids[n], sizeof(ids[n]), 0);
}

void machine_look(struct observer *o)
{
        struct machine *m = o->machine;
        struct machine_stats stats;
        uint64_t id, *before = NULL;
        uint32_t n = 0;

        if (!m || !m->bpf)
                return;
        m->switches = 0;
        for (unsigned i = 0; i < SHARED_CPUS; i++)
                m->switches += m->bpf->bss->cpus[i].switches;
        for (; bpf_map__get_next_key(m->bpf->maps.machines, before, &id, sizeof(id)) == 0; before = &id, n++)
                if (!place_of(o, id, 0) &&
                    bpf_map__lookup_elem(m->bpf->maps.machines, &id, sizeof(id), &stats, sizeof(stats), 0) == 0)
                        (void)place_of(o, id, (uint32_t)stats.pid); /* while that process lives */
        if (n > MACHINES_MAX / 2)
                forget_gone(o, m->bpf->maps.machines);
}

/* ---- JSON ---- */

static json_t *group_json(struct observer *o, uint64_t id, const struct machine_stats *stats)
{
        const char *place = place_of(o, id, 0);
        const int folder = place_open(o, id);
        json_t *mapper = json_object(), *group;

        for (unsigned i = 0; i < WAITS; i++)
                (void)json_object_set_new(mapper, waits[i], observer_stage_json(&stats->waits[i]));
        group = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "id", ctl_json_number(id), "cgroup",
                          place ? ctl_json_text(place) : json_null(), "name", ctl_json_text(stats->name), "mapper",
                          mapper, "major_faults", ctl_json_number(stats->major_faults), "pressure",
                          all_pressure(folder, ".pressure"));
        if (folder >= 0)
                (void)close(folder);
        return group;
}

json_t *machine_json(struct observer *o)
{
        struct machine *m = o->machine;
        json_t *groups = json_array(), *object;
        uint64_t id, *before = NULL;
        struct machine_stats stats;
        int folder;

        for (; m && m->bpf && bpf_map__get_next_key(m->bpf->maps.machines, before, &id, sizeof(id)) == 0; before = &id)
                if (bpf_map__lookup_elem(m->bpf->maps.machines, &id, sizeof(id), &stats, sizeof(stats), 0) == 0)
                        (void)json_array_append_new(groups, group_json(o, id, &stats));
        folder = open("/proc/pressure", O_PATH | O_DIRECTORY | O_CLOEXEC);
        object = json_pack("{s:o, s:o, s:o}", "pressure", all_pressure(folder, ""), "cgroups", groups, "untracked",
                           m && m->bpf ? ctl_json_number(m->bpf->bss->untracked) : json_null());
        if (folder >= 0)
                (void)close(folder);
        return object;
}
