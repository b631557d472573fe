/* SPDX-License-Identifier: MIT
 *
 * observer.h -- kvpager-observe: one loop that loads the programs, listens to them, and tells kvpagerd.
 *
 * Each program has a part of its own (exits.c, cudamem.c, pager.c, machine.c), which loads it or says why it cannot;
 * the others work without it. What is attached, and why something is not, stands in one table of probes. All on one
 * thread.
 */
#ifndef BPF_OBSERVE_H
#define BPF_OBSERVE_H

#include <bpf/libbpf.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "link.h"
#include "shared.h"

#define _cleanup_(function) __attribute__((__cleanup__(function)))

#define PROBE_WHY      200u
#define EXITS_KEPT     1024u /* of the last that were told of */
#define WORKERS_MAX    65536u
#define SCAN_FILES_MAX 256u

/* A place in the kernel or in a program that is watched, or was meant to be. */
struct probe {
        const char *program; /* whose: exit, cudamem, pager, machine */
        char name[64], kind[16], target[256];
        char instruction[16]; /* a uprobe's: what stands there, as far as it matters for the cost */
        bool attached;
        char why[PROBE_WHY];  /* it is not */
        const uint64_t *hits; /* NULL: never loaded */
};

struct worker {
        uint32_t pid, worker;
        uint64_t connected_ns; /* since boot */
        char tenant[64];
};

struct ended {
        struct record_exit record;
        struct worker worker;
        bool told; /* kvpagerd knows */
};

struct exits {
        struct exit_bpf *bpf;
        struct worker *workers;
        uint32_t n_workers, capacity;
        struct ended *ended; /* modulo EXITS_KEPT */
        uint64_t n_ended, n_told;
};

struct daemon {
        struct ctl_link calls, events;
        bool connected, complained, operates;
        uint64_t pid, next_event;
        sd_event_source *source, *again;
        char path[CTL_SOCKET_MAX + 1];
};

struct scan_file {
        dev_t device;
        ino_t inode;
};

struct scan {
        struct scan_file files[SCAN_FILES_MAX]; /* that are attached to */
        uint32_t n_files;
        struct seen *seen; /* processes */
        uint32_t n_seen;
        bool denied, full; /* it was said that maps cannot be read, that there are too many files */
};

struct serve {
        sd_event_source *listening; /* NULL: nobody can ask */
        char path[108];
};

struct observer {
        sd_event *event;
        bool reports; /* to kvpagerd; else it is only asked */
        uint32_t ring_bytes;
        bool slow;           /* attach also where a hit costs much and hits are many */
        const char *libcuda; /* a libcuda.so.1 to attach to at once; NULL: those that are found */
        struct ring_buffer *ring;
        int ring_fd; /* -1: none of the programs was loaded */
        sd_event_source *ring_source, *tick;
        struct probe *probes;
        uint32_t n_probes, n_said; /* n_said: of them it was said why they are not there */
        struct daemon daemon;
        struct exits exits;
        struct cudamem *cudamem;
        struct pager *pager;
        struct machine *machine;
        struct scan scan;
        struct serve serve;
        struct place *places; /* of cgroups */
        uint32_t n_places;
        uint64_t records, lost_told;
};

/* A line for the journal or the terminal. `level` as in syslog. */
void observer_say(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Why a program cannot be loaded, by the error and by what the kernel lets us see. Returns `text`. */
const char *observer_why(int error, char text[static PROBE_WHY]);

/* A new row; NULL: there are too many. */
struct probe *observer_probe(struct observer *o, const char *program, const char *kind, const char *name,
                             const char *target);

/* Loads everything and listens. 0, or a negative errno where not a single program works. */
int observer_open(struct observer *o);
void observer_close(struct observer *o);

/* The pid namespace that we are in, for an object's programs. */
void observer_namespace(uint64_t *ret_device, uint64_t *ret_inode);

/* Gives an object the one ring buffer, before it is loaded; the first one makes it, when it is. */
int observer_share_ring(struct observer *o, struct bpf_map *ring);
int observer_take_ring(struct observer *o, struct bpf_map *ring);

/* Records that did not fit, of all programs. */
uint64_t observer_lost(const struct observer *o);

/* Deals with all records that are there. */
void observer_drain(struct observer *o);

json_t *observer_json(struct observer *o);

json_t *observer_histogram_json(const struct histogram *histogram);
json_t *observer_stage_json(const struct stage_stats *stage);

/* kvpagerd is there, and knows nothing yet of what was told to another one. */
void observer_connected(struct observer *o);

/* ---- exits.c ---- */
int exits_open(struct observer *o);
void exits_close(struct observer *o);
void exits_record(struct observer *o, const struct record_exit *record);
void exits_connected(struct observer *o, uint32_t pid, uint32_t worker, const char *tenant, uint64_t connected_ns);
void exits_gone(struct observer *o, uint32_t pid, uint32_t worker);
void exits_tell(struct observer *o); /* kvpagerd, as far as it does not know */
json_t *exits_json(const struct observer *o);
uint64_t exits_lost(const struct observer *o);

void exits_look(struct observer *o); /* at all of them: something was missed */

/* ---- scan.c: the programs and libraries that processes have mapped ---- */
void scan_open(struct observer *o);
void scan_tick(struct observer *o);
void scan_close(struct observer *o);

/* ---- cudamem.c ---- */
int cudamem_open(struct observer *o);
void cudamem_close(struct observer *o);
void cudamem_attach(struct observer *o, const char *path, const char *shown); /* a libcuda.so.1 */
void cudamem_record(struct observer *o, const struct record_process *record);
void cudamem_look(struct observer *o);
void cudamem_tell(struct observer *o);
void cudamem_forget_told(struct observer *o);
void cudamem_tell_again(struct observer *o, uint32_t pid); /* whose it is may have changed; 0: of all */
json_t *cudamem_json(struct observer *o);
uint64_t cudamem_lost(const struct observer *o);

/* ---- pager.c ---- */
int pager_open(struct observer *o);
void pager_close(struct observer *o);
void pager_attach(struct observer *o, const char *path, const char *shown); /* a libkvpager.so.0 or kvpagerd */
json_t *pager_json(struct observer *o);

/* ---- machine.c ---- */
int machine_open(struct observer *o);
void machine_close(struct observer *o);
void machine_look(struct observer *o); /* at what is gone later */
json_t *machine_json(struct observer *o);

/* ---- place.c: where a cgroup is ---- */

/* Its path in the unified hierarchy, good until the next call; NULL: not known. `pid`: a process of it, as of now; 0:
 * none. */
const char *place_of(struct observer *o, uint64_t id, uint32_t pid);
int place_open(struct observer *o, uint64_t id); /* its folder, as O_PATH; -1: it is gone, or we do not know where */
void place_close(struct observer *o);

/* ---- daemon.c: the connection to kvpagerd ---- */
int daemon_open(struct observer *o);
void daemon_close(struct observer *o);

/* Sends items of a message that is answered by OK. Where it fails the connection ends, and is tried again later. */
int daemon_tell(struct observer *o, enum wire_opcode opcode, const void *items, uint32_t n);
json_t *daemon_json(const struct observer *o);

/* ---- serve.c: whoever asks gets a snapshot ---- */

/* $KVPAGER_OBSERVE_SOCKET, else /run/kvpager-observe/observe.sock. */
const char *serve_path(void);
int serve_open(struct observer *o);
void serve_close(struct observer *o);

/* The snapshot of the one that serves there; NULL: there is none. */
json_t *serve_ask(void);

/* ---- show.c: a snapshot as people read it ---- */
int show_summary(const json_t *snapshot, FILE *out);
int show_histograms(const json_t *snapshot, FILE *out);

#endif
