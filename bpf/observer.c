/* SPDX-License-Identifier: MIT
 *
 * observer.c -- see observer.h: putting the parts together, the ring, and what is said when something cannot be.
 */
#include "observer.h"

#include <assert.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <syslog.h>
#include <unistd.h>

#include "snapshot.h"

#define TICK_USEC UINT64_C(500000)

void observer_say(int level, const char *format, ...)
{
        const bool journal = getenv("JOURNAL_STREAM") != NULL;
        char text[1024];
        va_list list;

        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        for (char *c = text; *c; c++)
                if (*c == '\n')
                        *c = ' ';
        if (journal)
                (void)fprintf(stderr, "<%d>%s\n", level, text);
        else if (level <= LOG_NOTICE)
                (void)fprintf(stderr, "kvpager-observe: %s\n", text);
}

/* ---- why not ---- */

static bool has_capability(unsigned which)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };

        return syscall(SYS_capget, &header, data) == 0 && (data[which / 32].effective & 1u << which % 32) != 0;
}

static bool is_locked_down(void)
{
        FILE *file = fopen("/sys/kernel/security/lockdown", "re");
        char line[128] = "";

        if (!file)
                return false;
        (void)!fgets(line, sizeof(line), file);
        (void)fclose(file);
        return strstr(line, "[confidentiality]") != NULL;
}

/* Some kernels want more than CAP_PERFMON for perf events, where this is over 2 (Debian and Ubuntu: 3 and 4). */
static int perf_paranoid(void)
{
        FILE *file = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
        int paranoid = 0;

        if (file) {
                (void)!fscanf(file, "%d", &paranoid);
                (void)fclose(file);
        }
        return paranoid;
}

const char *observer_why(int error, char text[static PROBE_WHY])
{
        struct utsname kernel;

        (void)uname(&kernel);
        if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
                (void)snprintf(
                        text, PROBE_WHY,
                        "the kernel does not describe itself: there is no /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)");
        else if (!has_capability(CAP_SYS_ADMIN) && (!has_capability(CAP_BPF) || !has_capability(CAP_PERFMON)))
                (void)snprintf(text, PROBE_WHY, "it lacks %s: start it as kvpager-observe.service, or as root",
                               has_capability(CAP_BPF) ? "CAP_PERFMON" : "CAP_BPF");
        else if ((error == -EPERM || error == -EACCES) && is_locked_down())
                (void)snprintf(text, PROBE_WHY,
                               "the kernel is locked down (confidentiality) and lets nobody read its memory");
        else if (error == -EACCES && perf_paranoid() > 2)
                (void)snprintf(text, PROBE_WHY,
                               "kernel.perf_event_paranoid = %d: this kernel wants CAP_SYS_ADMIN then, or 2",
                               perf_paranoid());
        else if (error == -EPERM)
                (void)snprintf(text, PROBE_WHY,
                               "the kernel does not permit it, although CAP_BPF and CAP_PERFMON are there");
        else if (error == -EINVAL || error == -ENOTSUP || error == -ESRCH || error == -ENOENT)
                (void)snprintf(text, PROBE_WHY, "Linux %s has not what it needs, 5.15 has: %s", kernel.release,
                               strerror(-error));
        else
                (void)snprintf(text, PROBE_WHY, "%s", strerror(-error));
        return text;
}

struct probe *observer_probe(struct observer *o, const char *program, const char *kind, const char *name,
                             const char *target)
{
        struct probe *probe;

        if (o->n_probes == PROBES_MAX)
                return NULL;
        probe = &o->probes[o->n_probes++];
        *probe = (struct probe){ .program = program };
        (void)snprintf(probe->kind, sizeof(probe->kind), "%s", kind);
        (void)snprintf(probe->name, sizeof(probe->name), "%s", name);
        (void)snprintf(probe->target, sizeof(probe->target), "%s", target);
        return probe;
}

void observer_namespace(uint64_t *ret_device, uint64_t *ret_inode)
{
        struct stat st = { 0 };

        (void)stat("/proc/self/ns/pid", &st);
        *ret_device = st.st_dev;
        *ret_inode = st.st_ino;
}

/* ---- the ring ---- */

static int on_record(void *userdata, void *data, size_t size)
{
        const uint32_t *kind = data;
        struct observer *o = userdata;

        o->records++;
        if (size >= sizeof(struct record_exit) && *kind == RECORD_EXIT)
                exits_record(o, data);
        else if (size >= sizeof(struct record_process) && *kind == RECORD_PROCESS)
                cudamem_record(o, data);
        return 0;
}

int observer_share_ring(struct observer *o, struct bpf_map *ring)
{
        if (o->ring_fd >= 0)
                return bpf_map__reuse_fd(ring, o->ring_fd);
        return bpf_map__set_max_entries(ring, o->ring_bytes);
}

int observer_take_ring(struct observer *o, struct bpf_map *ring)
{
        if (o->ring)
                return 0;
        o->ring = ring_buffer__new(bpf_map__fd(ring), on_record, o, NULL);
        if (!o->ring)
                return -errno;
        o->ring_fd = bpf_map__fd(ring);
        return 0;
}

uint64_t observer_lost(const struct observer *o)
{
        return exits_lost(o) + cudamem_lost(o);
}

void observer_drain(struct observer *o)
{
        uint64_t lost;

        if (o->ring)
                (void)ring_buffer__consume(o->ring);
        lost = observer_lost(o);
        if (lost != o->lost_told) {
                observer_say(LOG_WARNING, "%llu records did not fit into the ring of %u bytes (--ring)",
                             (unsigned long long)(lost - o->lost_told), o->ring_bytes);
                o->lost_told = lost;
                exits_look(o); /* what they would have told is found otherwise */
                cudamem_look(o);
        }
        exits_tell(o);
        cudamem_tell(o);
}

static int on_ring(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        (void)source;
        (void)fd;
        (void)events;
        observer_drain(userdata);
        return 0;
}

void observer_connected(struct observer *o)
{
        exits_tell(o);
        cudamem_forget_told(o);
        cudamem_tell(o);
}

/* ---- all of it ---- */

__attribute__((format(printf, 2, 0))) static int quiet(enum libbpf_print_level level, const char *format, va_list list)
{
        return getenv("KVPAGER_OBSERVE_DEBUG") && level != LIBBPF_DEBUG ? vfprintf(stderr, format, list) : 0;
}

/* Each reason is said once, whichever probes it keeps away. */
static void say_why_not(struct observer *o)
{
        for (; o->n_said < o->n_probes; o->n_said++) {
                const struct probe *probe = &o->probes[o->n_said];
                bool said = !probe->why[0];

                for (uint32_t k = 0; k < o->n_said && !said; k++)
                        said = strcmp(o->probes[k].why, probe->why) == 0;
                if (!said)
                        observer_say(LOG_NOTICE, "%s does without %s %s of %s: %s", probe->program, probe->kind,
                                     probe->name, probe->target, probe->why);
        }
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct observer *o = userdata;

        (void)usec;
        scan_tick(o);
        machine_look(o);
        say_why_not(o);
        observer_drain(o);
        (void)sd_event_source_set_time_relative(source, TICK_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int observer_open(struct observer *o)
{
        int r, worked = 0;

        assert(!o->probes);

        (void)libbpf_set_print(quiet);
        o->ring_fd = -1;
        o->probes = calloc(PROBES_MAX, sizeof(o->probes[0]));
        if (!o->probes)
                return -ENOMEM;
        r = sd_event_new(&o->event);
        if (r < 0)
                return r;
        worked += exits_open(o) == 0;
        worked += cudamem_open(o) == 0;
        worked += pager_open(o) == 0;
        worked += machine_open(o) == 0;
        if (worked > 0)
                scan_open(o);
        say_why_not(o);
        r = daemon_open(o);
        if (r >= 0 && o->ring)
                r = sd_event_add_io(o->event, &o->ring_source, ring_buffer__epoll_fd(o->ring), EPOLLIN, on_ring, o);
        if (r >= 0 && worked > 0)
                r = sd_event_add_time_relative(o->event, &o->tick, CLOCK_MONOTONIC, TICK_USEC, TICK_USEC / 4, on_tick,
                                               o);
        observer_drain(o);
        return r < 0 ? r : worked > 0 ? 0 : -EPERM;
}

void observer_close(struct observer *o)
{
        o->tick = sd_event_source_disable_unref(o->tick);
        o->ring_source = sd_event_source_disable_unref(o->ring_source);
        daemon_close(o);
        ring_buffer__free(o->ring);
        machine_close(o);
        pager_close(o);
        cudamem_close(o);
        exits_close(o);
        scan_close(o);
        place_close(o);
        o->event = sd_event_unref(o->event);
        free(o->probes);
        o->probes = NULL;
}

json_t *observer_histogram_json(const struct histogram *histogram)
{
        json_t *array = json_array();
        unsigned n = SHARED_SLOTS;

        while (n > 0 && histogram->slots[n - 1] == 0)
                n--;
        for (unsigned i = 0; i < n; i++)
                (void)json_array_append_new(array, ctl_json_number(histogram->slots[i]));
        return array;
}

json_t *observer_stage_json(const struct stage_stats *stage)
{
        return json_pack("{s:o, s:o, s:o}", "count", ctl_json_number(stage->count), "nsec",
                         ctl_json_number(stage->nsec), "histogram", observer_histogram_json(&stage->histogram));
}

static json_t *probes_json(const struct observer *o)
{
        json_t *array = json_array();

        for (uint32_t i = 0; i < o->n_probes; i++) {
                const struct probe *p = &o->probes[i];

                (void)json_array_append_new(
                        array, json_pack("{s:s, s:s, s:s, s:o, s:o, s:b, s:b, s:o, s:o}", "program", p->program, "kind",
                                         p->kind, "name", p->name, "target", ctl_json_text(p->target), "instruction",
                                         p->instruction[0] ? json_string(p->instruction) : json_null(), "loaded",
                                         p->hits != NULL, "attached", (int)p->attached, "hits",
                                         p->hits ? ctl_json_number(*p->hits) : json_null(), "why",
                                         p->why[0] ? ctl_json_text(p->why) : json_null()));
        }
        return array;
}

json_t *observer_json(struct observer *o)
{
        struct utsname kernel;

        observer_drain(o);
        machine_look(o);
        (void)uname(&kernel);
        return json_pack("{s:s, s:s, s:o, s:o, s:{s:I, s:o, s:o}, s:o, s:o, s:o, s:o}", "version", KVPAGER_VERSION,
                         "kernel", kernel.release, "kvpagerd", daemon_json(o), "probes", probes_json(o), "ring",
                         "bytes", (json_int_t)o->ring_bytes, "records", ctl_json_number(o->records), "lost",
                         ctl_json_number(observer_lost(o)), "exits", exits_json(o), "cudamem", cudamem_json(o), "pager",
                         pager_json(o), "machine", machine_json(o));
}
