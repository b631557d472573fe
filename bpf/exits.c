/* SPDX-License-Identifier: MIT
 *
 * exits.c -- joins ends of processes with workers.
 *
 * That a process is a worker comes from kvpagerd's events, how it ended from the kernel; either may come first. A
 * process that is known as a worker is marked, so that its end is told; one whose end came before that is found among
 * the last ends that the kernel's side keeps. A pid is told apart from its earlier and later owners by when the process
 * started.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "exit.skel.h"
#include "observer.h"

#define TICK_NS  UINT64_C(10000000) /* what /proc/PID/stat counts in */
#define SLACK_NS (5 * TICK_NS)      /* between two clocks of the kernel, one of which somebody may set */

int exits_open(struct observer *o)
{
        struct probe *probe = observer_probe(o, "exit", "tp_btf", "sched_process_exit", "vmlinux");
        struct exits *x = &o->exits;
        int r;

        x->ended = calloc(EXITS_KEPT, sizeof(x->ended[0]));
        if (!x->ended || !probe)
                return -ENOMEM;
        x->bpf = exit_bpf__open();
        r = x->bpf ? observer_share_ring(o, x->bpf->maps.ring) : -errno;
        if (r == 0)
                observer_namespace(&x->bpf->rodata->namespace_device, &x->bpf->rodata->namespace_inode);
        if (r == 0)
                r = exit_bpf__load(x->bpf);
        if (r == 0)
                r = observer_take_ring(o, x->bpf->maps.ring);
        if (r == 0)
                r = exit_bpf__attach(x->bpf);
        if (r < 0) {
                (void)observer_why(r, probe->why);
                exit_bpf__destroy(x->bpf);
                x->bpf = NULL;
                return r;
        }
        probe->attached = true;
        probe->hits = &x->bpf->bss->hits;
        return 0;
}

void exits_close(struct observer *o)
{
        exit_bpf__destroy(o->exits.bpf);
        free(o->exits.workers);
        free(o->exits.ended);
        o->exits = (struct exits){ 0 };
}

uint64_t exits_lost(const struct observer *o)
{
        return o->exits.bpf ? o->exits.bpf->bss->lost : 0;
}

/* When a process started, since boot; 0: there is none of that pid. */
static uint64_t started_ns(uint32_t pid)
{
        char path[32], line[1024];
        unsigned long long ticks = 0;
        const char *rest;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
        file = fopen(path, "re");
        if (!file)
                return 0;
        /* The name may have anything in it, so the fields are counted from its end. */
        if (fgets(line, sizeof(line), file) && (rest = strrchr(line, ')')))
                (void)sscanf(rest + 1,
                             " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                             &ticks);
        (void)fclose(file);
        return ticks * TICK_NS;
}

/* ---- the workers ---- */

static void forget(struct observer *o, uint32_t index)
{
        struct exits *x = &o->exits;
        const uint32_t pid = x->workers[index].pid;

        x->workers[index] = x->workers[--x->n_workers];
        for (uint32_t i = 0; i < x->n_workers; i++)
                if (x->workers[i].pid == pid)
                        return;
        (void)bpf_map__delete_elem(x->bpf->maps.marked, &pid, sizeof(pid), 0);
}

static void note(struct observer *o, uint32_t index, const struct record_exit *record)
{
        struct exits *x = &o->exits;
        const struct worker worker = x->workers[index];

        forget(o, index);
        for (uint64_t i = x->n_ended; i-- > 0 && x->n_ended - i <= EXITS_KEPT;) {
                const struct ended *e = &x->ended[i % EXITS_KEPT];

                if (e->worker.pid == worker.pid && e->worker.worker == worker.worker &&
                    e->record.started_ns == record->started_ns)
                        return; /* the daemon told of it again, for we came back */
        }
        x->ended[x->n_ended++ % EXITS_KEPT] = (struct ended){ .record = *record, .worker = worker };
}

/* The end of this very process, if the kernel's side remembers it. */
static bool find_end(struct observer *o, const struct worker *worker, uint64_t alive_since, struct record_exit *ret)
{
        if (bpf_map__lookup_elem(o->exits.bpf->maps.ended, &worker->pid, sizeof(worker->pid), ret, sizeof(*ret), 0) < 0)
                return false;
        if (ret->started_ns > worker->connected_ns + SLACK_NS)
                return false;                                                          /* who had the pid later */
        return alive_since == 0 || alive_since / TICK_NS == ret->started_ns / TICK_NS; /* not who had it before */
}

/* Looks whether it has ended. */
static void look(struct observer *o, uint32_t index, bool is_gone)
{
        const struct worker *worker = &o->exits.workers[index];
        const uint64_t since = started_ns(worker->pid);
        struct record_exit record;

        if (find_end(o, worker, since, &record))
                note(o, index, &record);
        else if (is_gone && (since == 0 || since > worker->connected_ns + SLACK_NS))
                forget(o, index); /* before we came */
}

void exits_connected(struct observer *o, uint32_t pid, uint32_t id, const char *tenant, uint64_t connected_ns)
{
        struct exits *x = &o->exits;
        const uint32_t one = 1;

        if (!x->bpf)
                return;
        for (uint32_t i = 0; i < x->n_workers; i++)
                if (x->workers[i].pid == pid && x->workers[i].worker == id)
                        return;
        if (x->n_workers == x->capacity) {
                const uint32_t capacity = x->capacity ? 2 * x->capacity : 64;
                struct worker *workers = capacity > WORKERS_MAX ? NULL
                                                                : realloc(x->workers, capacity * sizeof(*workers));

                if (!workers)
                        return;
                x->workers = workers;
                x->capacity = capacity;
        }
        x->workers[x->n_workers] = (struct worker){ .pid = pid, .worker = id, .connected_ns = connected_ns };
        (void)snprintf(x->workers[x->n_workers].tenant, sizeof(x->workers[0].tenant), "%s", tenant);
        x->n_workers++;
        (void)bpf_map__update_elem(x->bpf->maps.marked, &pid, sizeof(pid), &one, sizeof(one), BPF_ANY);
        look(o, x->n_workers - 1, false);
}

void exits_gone(struct observer *o, uint32_t pid, uint32_t id)
{
        for (uint32_t i = 0; i < o->exits.n_workers; i++)
                if (o->exits.workers[i].pid == pid && o->exits.workers[i].worker == id) {
                        look(o, i, true);
                        return;
                }
}

void exits_record(struct observer *o, const struct record_exit *record)
{
        for (uint32_t i = 0; i < o->exits.n_workers;)
                if (o->exits.workers[i].pid != record->pid)
                        i++;
                else if (record->started_ns <= o->exits.workers[i].connected_ns + SLACK_NS)
                        note(o, i, record);
                else
                        forget(o, i);
}

void exits_look(struct observer *o)
{
        for (uint32_t i = o->exits.n_workers; i-- > 0;)
                look(o, i, false);
}

void exits_tell(struct observer *o)
{
        struct exits *x = &o->exits;

        if (x->n_told + EXITS_KEPT < x->n_ended)
                x->n_told = x->n_ended - EXITS_KEPT;
        while (o->reports && o->daemon.connected && x->n_told < x->n_ended) {
                struct wire_item_ended items[WIRE_MAX_ENDED];
                uint32_t n = 0;

                for (; n < WIRE_MAX_ENDED && x->n_told + n < x->n_ended; n++) {
                        const struct ended *e = &x->ended[(x->n_told + n) % EXITS_KEPT];

                        items[n] = (struct wire_item_ended){ .pid = e->record.pid,
                                                             .worker = e->worker.worker,
                                                             .status = e->record.status & 0xffff,
                                                             .oom = e->record.oom };
                }
                if (daemon_tell(o, WIRE_ENDED, items, n) < 0)
                        return;
                for (uint32_t i = 0; i < n; i++)
                        x->ended[(x->n_told + i) % EXITS_KEPT].told = true;
                x->n_told += n;
        }
}

json_t *exits_json(const struct observer *o)
{
        const struct exits *x = &o->exits;
        json_t *array = json_array();

        for (uint64_t i = x->n_ended > EXITS_KEPT ? x->n_ended - EXITS_KEPT : 0; i < x->n_ended; i++) {
                const struct ended *e = &x->ended[i % EXITS_KEPT];
                const int status = (int)e->record.status;

                (void)json_array_append_new(
                        array,
                        json_pack("{s:I, s:I, s:s, s:s#, s:o, s:o, s:b, s:b, s:b}", "pid", (json_int_t)e->record.pid,
                                  "worker", (json_int_t)e->worker.worker, "tenant", e->worker.tenant, "program",
                                  e->record.comm, (int)strnlen(e->record.comm, sizeof(e->record.comm)), "status",
                                  WIFEXITED(status) ? json_integer(WEXITSTATUS(status)) : json_null(), "signal",
                                  WIFSIGNALED(status) ? json_integer(WTERMSIG(status)) : json_null(), "core_dumped",
                                  WIFSIGNALED(status) && WCOREDUMP(status), "out_of_memory", (int)e->record.oom, "told",
                                  (int)e->told));
        }
        return array;
}
