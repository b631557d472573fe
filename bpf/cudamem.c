/* SPDX-License-Identifier: MIT
 *
 * cudamem.c -- loads cudamem.bpf.c, attaches it to each libcuda.so.1 that is found, and tells kvpagerd what processes
 * have taken.
 *
 * A probe is cheap where the kernel can act out the instruction that it replaced. Where it cannot, calls that programs
 * make by the thousand are left alone unless --slow says otherwise; which those are stands in shared.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "attach.h"
#include "cudamem.skel.h"
#include "function.h"
#include "observer.h"
#include "snapshot.h"

#define TOLD_MAX  4096u
#define DIRTY_MAX 1024u

struct told {
        uint32_t pid, device;
        uint64_t bytes;
};

struct cudamem {
        struct cudamem_bpf *bpf;
        struct attachments attachments;
        uint32_t n_libraries;
        uint32_t dirty[DIRTY_MAX], n_dirty; /* processes to look at */
        bool all_dirty;
        struct told told[TOLD_MAX];
        uint32_t n_told;
};

static const struct {
        const char *symbols[2];
        bool frequent;
} calls[CALLS] = {
#define X(name, frequent, symbol, other) [CALL_##name] = { { symbol, other }, frequent },
        SHARED_CALLS(X)
#undef X
};

static int load(struct observer *o, bool many)
{
        struct cudamem *c = o->cudamem;
        int r;

        c->bpf = cudamem_bpf__open();
        if (!c->bpf)
                return -errno;
        attach_prepare(c->bpf->obj, many);
        observer_namespace(&c->bpf->rodata->namespace_device, &c->bpf->rodata->namespace_inode);
        c->attachments.many = many;
        r = observer_share_ring(o, c->bpf->maps.ring);
        if (r == 0)
                r = cudamem_bpf__load(c->bpf);
        if (r == 0)
                r = observer_take_ring(o, c->bpf->maps.ring);
        if (r < 0) {
                cudamem_bpf__destroy(c->bpf);
                c->bpf = NULL;
        }
        return r;
}

int cudamem_open(struct observer *o)
{
        struct probe *exits = observer_probe(o, "cudamem", "tp_btf", "sched_process_exit", "vmlinux");
        struct probe *execs = observer_probe(o, "cudamem", "tp_btf", "sched_process_exec", "vmlinux");
        struct cudamem *c = calloc(1, sizeof(*c));
        int r;

        o->cudamem = c;
        if (!c || !exits || !execs)
                return -ENOMEM;
        r = load(o, true);
        if (r < 0)
                r = load(o, false);
        if (r == 0) {
                c->bpf->links.memory_exit = bpf_program__attach(c->bpf->progs.memory_exit);
                c->bpf->links.memory_exec = bpf_program__attach(c->bpf->progs.memory_exec);
                r = c->bpf->links.memory_exit && c->bpf->links.memory_exec ? 0 : -errno;
        }
        if (r < 0) {
                (void)observer_why(r, exits->why);
                (void)observer_why(r, execs->why);
                cudamem_bpf__destroy(c->bpf);
                c->bpf = NULL;
                return r;
        }
        exits->attached = execs->attached = true;
        exits->hits = &c->bpf->bss->exits;
        execs->hits = &c->bpf->bss->execs;
        return 0;
}

void cudamem_close(struct observer *o)
{
        struct cudamem *c = o->cudamem;

        if (!c)
                return;
        attach_done(&c->attachments);
        cudamem_bpf__destroy(c->bpf);
        free(c);
        o->cudamem = NULL;
}

uint64_t cudamem_lost(const struct observer *o)
{
        return o->cudamem && o->cudamem->bpf ? o->cudamem->bpf->bss->lost : 0;
}

/* ---- attaching ---- */

/* Places of one library that are attached to by one call. */
struct places {
        struct probe *probes[ATTACH_MAX];
        uint64_t offsets[ATTACH_MAX], cookies[ATTACH_MAX];
        uint32_t n;
};

static void add_place(struct observer *o, struct places *places, struct probe *probe, uint64_t offset, enum call call)
{
        places->probes[places->n] = probe;
        places->offsets[places->n] = offset;
        places->cookies[places->n++] = COOKIE(call, (uint32_t)(probe - o->probes));
}

/* One function, its beginning and its return. */
static void find_function(struct observer *o, const struct elf *elf, const char *shown, enum call call,
                          const char *symbol, struct places *ret_begins, struct places *ret_returns)
{
        struct probe *begins = observer_probe(o, "cudamem", "uprobe", symbol, shown);
        struct probe *returns = observer_probe(o, "cudamem", "uretprobe", symbol, shown);
        uint64_t offset;
        bool cheap;
        int r;

        if (!begins || !returns)
                return;
        r = elf_function(elf, symbol, &offset);
        if (r < 0) {
                (void)snprintf(begins->why, sizeof(begins->why), "%s",
                               r == -ENOENT ? "the library has no such function"
                                            : "the library has no table of its functions (stripped?)");
                memcpy(returns->why, begins->why, sizeof(begins->why));
                return;
        }
        cheap = elf_instruction_is_cheap(elf, offset, begins->instruction);
        memcpy(returns->instruction, begins->instruction, sizeof(begins->instruction));
        if (!cheap && calls[call].frequent && !o->slow) {
                (void)snprintf(
                        begins->why, sizeof(begins->why),
                        "it is called often, and a probe on its first instruction (%s) would cost some 15 us: --slow attaches it",
                        begins->instruction);
                memcpy(returns->why, begins->why, sizeof(begins->why));
                return;
        }
        add_place(o, ret_begins, begins, offset, call);
        add_place(o, ret_returns, returns, offset, call);
}

static int attach_all(struct observer *o, const char *path, const struct places *places, bool returns)
{
        struct cudamem *c = o->cudamem;
        const int r = attach_places(&c->attachments, returns ? c->bpf->progs.call_returns : c->bpf->progs.call_begins,
                                    path, places->offsets, places->cookies, places->n, returns);

        for (uint32_t i = 0; i < places->n; i++) {
                struct probe *probe = places->probes[i];

                probe->attached = r == 0;
                if (r < 0)
                        (void)observer_why(r, probe->why);
                else
                        probe->hits = &c->bpf->bss->hits[probe - o->probes];
        }
        return r;
}

void cudamem_attach(struct observer *o, const char *path, const char *shown)
{
        struct cudamem *c = o->cudamem;
        struct places begins = { .n = 0 }, returns = { .n = 0 };
        struct elf elf = { 0 };
        struct probe *probe;
        int r;

        if (!c || !c->bpf)
                return;
        r = elf_open(path, &elf);
        if (r < 0) {
                probe = observer_probe(o, "cudamem", "file", "*", shown);
                if (probe)
                        (void)snprintf(probe->why, sizeof(probe->why), "%s",
                                       r == -ENOEXEC ? "it is no library of this machine" : strerror(-r));
                return;
        }
        for (unsigned call = 0; call < CALLS; call++)
                for (unsigned i = 0; i < 2; i++)
                        if (calls[call].symbols[i])
                                find_function(o, &elf, shown, (enum call)call, calls[call].symbols[i], &begins,
                                              &returns);
        elf_close(&elf);
        /* Returns first, so that no call is seen to begin alone. */
        if (attach_all(o, path, &returns, true) == 0)
                (void)attach_all(o, path, &begins, false);
        else
                for (uint32_t i = 0; i < begins.n; i++)
                        memcpy(begins.probes[i]->why, returns.probes[i]->why, PROBE_WHY);
        c->n_libraries++;
        observer_say(LOG_INFO, "attached to %s", shown);
}

/* ---- what processes have taken ---- */

void cudamem_record(struct observer *o, const struct record_process *record)
{
        struct cudamem *c = o->cudamem;

        if (c->n_dirty < DIRTY_MAX)
                c->dirty[c->n_dirty++] = record->pid;
        else
                c->all_dirty = true;
}

void cudamem_look(struct observer *o)
{
        if (o->cudamem)
                o->cudamem->all_dirty = true;
}

void cudamem_forget_told(struct observer *o)
{
        if (!o->cudamem)
                return;
        o->cudamem->n_told = 0;
        o->cudamem->all_dirty = true;
}

void cudamem_tell_again(struct observer *o, uint32_t pid)
{
        struct cudamem *c = o->cudamem;

        for (uint32_t i = 0; c && i < c->n_told; i++)
                if (pid == 0 || c->told[i].pid == pid) {
                        c->told[i].bytes = UINT64_MAX; /* other than what it is */
                        c->all_dirty = true;
                }
}

struct batch {
        struct wire_item_unbrokered items[WIRE_MAX_UNBROKERED];
        uint32_t n;
};

static int batch_send(struct observer *o, struct batch *batch)
{
        const uint32_t n = batch->n;

        batch->n = 0;
        return n > 0 ? daemon_tell(o, WIRE_UNBROKERED, batch->items, n) : 0;
}

/* What a process has of a device, where that is not what was told last. */
static int tell_one(struct observer *o, struct batch *batch, uint32_t pid, uint32_t device,
                    const struct process *process)
{
        const uint64_t bytes = process ? process->bytes[device] : 0;
        struct wire_item_unbrokered *item;
        struct cudamem *c = o->cudamem;
        const char *place;
        uint32_t i = 0;
        int r;

        while (i < c->n_told && (c->told[i].pid != pid || c->told[i].device != device))
                i++;
        if (i == c->n_told ? bytes == 0 || i == TOLD_MAX : c->told[i].bytes == bytes)
                return 0;
        if (batch->n == WIRE_MAX_UNBROKERED) {
                r = batch_send(o, batch);
                if (r < 0)
                        return r;
        }
        item = &batch->items[batch->n++];
        *item = (struct wire_item_unbrokered){ .pid = pid,
                                               .bytes = bytes,
                                               .uid = process ? process->uid : 0,
                                               .gid = process ? process->gid : 0,
                                               .device = device == DEVICE_UNKNOWN ? UINT32_MAX : device };
        place = process ? place_of(o, process->cgroup, pid) : NULL;
        (void)snprintf(item->cgroup, sizeof(item->cgroup), "%s", place ? place : "");
        for (char *text = item->cgroup; *text; text++)
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        *text = '?';
        if (bytes == 0)
                c->told[i] = c->told[--c->n_told];
        else
                c->told[i] = (struct told){ .pid = pid, .device = device, .bytes = bytes };
        if (i == c->n_told && bytes > 0)
                c->n_told++;
        return 0;
}

static int tell_process(struct observer *o, struct batch *batch, uint32_t pid)
{
        const struct bpf_map *processes = o->cudamem->bpf->maps.processes;
        struct process process;
        int r = 0;
        bool is_there;

        (void)bpf_map__delete_elem(o->cudamem->bpf->maps.told, &pid, sizeof(pid), 0); /* before it is looked at */
        is_there = bpf_map__lookup_elem(processes, &pid, sizeof(pid), &process, sizeof(process), 0) == 0;
        if (is_there)
                (void)place_of(o, process.cgroup, pid);
        if (!o->reports || !o->daemon.connected || pid == o->daemon.pid)
                return 0;
        for (uint32_t device = 0; device < SHARED_DEVICES && r == 0; device++)
                r = tell_one(o, batch, pid, device, is_there ? &process : NULL);
        return r;
}

static int tell_all(struct observer *o, struct batch *batch)
{
        struct cudamem *c = o->cudamem;
        uint32_t pid, *before = NULL;
        int r = 0;

        for (uint32_t i = c->n_told; r == 0 && i-- > 0;)
                if (i < c->n_told)
                        r = tell_process(o, batch, c->told[i].pid);
        while (r == 0 && bpf_map__get_next_key(c->bpf->maps.processes, before, &pid, sizeof(pid)) == 0) {
                r = tell_process(o, batch, pid);
                before = &pid;
        }
        return r;
}

void cudamem_tell(struct observer *o)
{
        struct cudamem *c = o->cudamem;
        struct batch batch = { .n = 0 };
        int r = 0;

        if (!c || !c->bpf)
                return;
        if (c->all_dirty)
                r = tell_all(o, &batch);
        for (uint32_t i = 0; !c->all_dirty && i < c->n_dirty && r == 0; i++)
                r = tell_process(o, &batch, c->dirty[i]);
        if (r == 0)
                r = batch_send(o, &batch);
        c->n_dirty = 0;
        c->all_dirty = false;
        if (r < 0)
                cudamem_forget_told(o); /* it is told all of it when it is there again */
}

/* ---- JSON ---- */

static json_t *calls_json(const struct group *group)
{
        json_t *object = json_object();

        for (unsigned i = 0; i < CALLS; i++) {
                const struct call_stats *s = &group->calls[i];

                if (s->calls == 0 && s->returned == 0)
                        continue;
                (void)json_object_set_new(object, calls[i].symbols[0],
                                          json_pack("{s:o, s:o, s:o, s:o, s:o}", "calls", ctl_json_number(s->calls),
                                                    "returned", ctl_json_number(s->returned), "failed",
                                                    ctl_json_number(s->failed), "bytes", ctl_json_number(s->bytes),
                                                    "nsec", observer_histogram_json(&s->nsec)));
        }
        return object;
}

static uint64_t sum_of(const struct process *process)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < SHARED_DEVICES; i++)
                sum += process->bytes[i];
        return sum;
}

static json_t *processes_json(struct observer *o)
{
        struct cudamem *c = o->cudamem;
        json_t *array = json_array();
        uint32_t pid, *before = NULL;
        struct process process;

        for (; bpf_map__get_next_key(c->bpf->maps.processes, before, &pid, sizeof(pid)) == 0; before = &pid) {
                const char *place;
                json_t *devices;

                if (bpf_map__lookup_elem(c->bpf->maps.processes, &pid, sizeof(pid), &process, sizeof(process), 0) < 0)
                        continue;
                place = place_of(o, process.cgroup, pid);
                devices = json_array();
                for (unsigned i = 0; i < SHARED_DEVICES; i++)
                        if (process.bytes[i] > 0)
                                (void)json_array_append_new(
                                        devices,
                                        json_pack("{s:o, s:o}", "device",
                                                  i == DEVICE_UNKNOWN ? json_null() : json_integer((json_int_t)i),
                                                  "bytes", ctl_json_number(process.bytes[i])));
                (void)json_array_append_new(array, json_pack("{s:I, s:o, s:o, s:I, s:b, s:o, s:o}", "pid",
                                                             (json_int_t)pid, "program", ctl_json_text(process.comm),
                                                             "cgroup", place ? ctl_json_text(place) : json_null(),
                                                             "uid", (json_int_t)process.uid, "kvpagerd",
                                                             o->daemon.connected && pid == o->daemon.pid, "bytes",
                                                             ctl_json_number(sum_of(&process)), "devices", devices));
        }
        return array;
}

/* What its processes have, kvpagerd itself aside. */
static uint64_t unbrokered_of(const struct observer *o, uint64_t id)
{
        const struct bpf_map *map = o->cudamem->bpf->maps.processes;
        uint32_t pid, *before = NULL;
        struct process process;
        uint64_t sum = 0;

        for (; bpf_map__get_next_key(map, before, &pid, sizeof(pid)) == 0; before = &pid)
                if (bpf_map__lookup_elem(map, &pid, sizeof(pid), &process, sizeof(process), 0) == 0 &&
                    process.cgroup == id && !(o->daemon.connected && pid == o->daemon.pid))
                        sum += sum_of(&process);
        return sum;
}

json_t *cudamem_json(struct observer *o)
{
        struct cudamem *c = o->cudamem;
        json_t *groups = json_array();
        uint64_t id, *before = NULL;
        struct group group;

        if (!c || !c->bpf) {
                json_decref(groups);
                return json_null();
        }
        for (; bpf_map__get_next_key(c->bpf->maps.groups, before, &id, sizeof(id)) == 0; before = &id) {
                const char *place = place_of(o, id, 0);

                if (bpf_map__lookup_elem(c->bpf->maps.groups, &id, sizeof(id), &group, sizeof(group), 0) < 0)
                        continue;
                (void)json_array_append_new(groups, json_pack("{s:o, s:o, s:o, s:o, s:o}", "id", ctl_json_number(id),
                                                              "cgroup", place ? ctl_json_text(place) : json_null(),
                                                              "name", ctl_json_text(group.name), "unbrokered_bytes",
                                                              ctl_json_number(unbrokered_of(o, id)), "calls",
                                                              calls_json(&group)));
        }
        return json_pack("{s:I, s:o, s:o, s:o}", "libraries", (json_int_t)c->n_libraries, "cgroups", groups,
                         "processes", processes_json(o), "untracked", ctl_json_number(c->bpf->bss->untracked));
}
