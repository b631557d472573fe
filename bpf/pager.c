/* SPDX-License-Identifier: MIT
 *
 * pager.c -- loads pager.bpf.c and attaches it to kvpager's own probes, in each libkvpager.so.0 and kvpagerd that is
 * found.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "attach.h"
#include "function.h"
#include "observer.h"
#include "pager.skel.h"
#include "snapshot.h"

#define PLACES_MAX 16u /* of a probe, which may be inlined */

struct pager {
        struct pager_bpf *bpf;
        struct attachments attachments;
};

static const struct {
        const char *name;
        bool of_client;
} probes[] = {
#define X(name, arguments, of_client) { #name, of_client },
        SHARED_PROBES(X)
#undef X
};

static const char *const stages[STAGES + 1] = {
#define X(name, what) #name,
        SHARED_STAGES(X)
#undef X
                "other"
};

static int load(struct pager *p, bool many)
{
        int r;

        p->bpf = pager_bpf__open();
        if (!p->bpf)
                return -errno;
        attach_prepare(p->bpf->obj, many);
        observer_namespace(&p->bpf->rodata->namespace_device, &p->bpf->rodata->namespace_inode);
        p->attachments.many = many;
        r = pager_bpf__load(p->bpf);
        if (r < 0) {
                pager_bpf__destroy(p->bpf);
                p->bpf = NULL;
        }
        return r;
}

int pager_open(struct observer *o)
{
        struct pager *p = calloc(1, sizeof(*p));
        struct probe *probe;
        int r = -ENOMEM;

        o->pager = p;
        if (!p)
                return r;
        r = load(p, true);
        if (r < 0)
                r = load(p, false);
        if (r == 0)
                return 0;
        probe = observer_probe(o, "pager", "usdt", "*", "libkvpager.so.0, kvpagerd");
        if (probe)
                (void)observer_why(r, probe->why);
        return r;
}

void pager_close(struct observer *o)
{
        struct pager *p = o->pager;

        if (!p)
                return;
        attach_done(&p->attachments);
        pager_bpf__destroy(p->bpf);
        free(p);
        o->pager = NULL;
}

static void attach_probe(struct observer *o, const struct elf *elf, const char *path, const char *shown,
                         const char *name)
{
        struct pager *p = o->pager;
        const struct bpf_program *program = bpf_object__find_program_by_name(p->bpf->obj, name);
        struct probe *probe = observer_probe(o, "pager", "usdt", name, shown);
        uint64_t offsets[PLACES_MAX], cookies[PLACES_MAX];
        struct elf_probe places[PLACES_MAX];
        unsigned n;
        int r;

        if (!probe || !program)
                return;
        n = elf_probes(elf, "kvpager", name, places, PLACES_MAX);
        if (n == 0) {
                (void)snprintf(probe->why, sizeof(probe->why),
                               "the file has no such probe: it is of another version, or stripped");
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                offsets[i] = places[i].offset;
                cookies[i] = PLACE(probe - o->probes);
                for (unsigned k = 0; k < places[i].n_arguments; k++)
                        cookies[i] |= PLACE_WITH(k, places[i].registers[k]);
        }
        r = attach_places(&p->attachments, program, path, offsets, cookies, n, false);
        probe->attached = r == 0;
        if (r < 0)
                (void)observer_why(r, probe->why);
        else
                probe->hits = &p->bpf->bss->hits[probe - o->probes];
}

void pager_attach(struct observer *o, const char *path, const char *shown)
{
        const bool of_client = strstr(shown, "libkvpager") != NULL;
        struct elf elf = { 0 };

        if (!o->pager || !o->pager->bpf || elf_open(path, &elf) < 0)
                return; /* something else of that name */
        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
                if (probes[i].of_client == of_client)
                        attach_probe(o, &elf, path, shown, probes[i].name);
        elf_close(&elf);
        observer_say(LOG_INFO, "attached to %s", shown);
}

/* ---- JSON ---- */

json_t *pager_json(struct observer *o)
{
        struct pager *p = o->pager;
        json_t *groups = json_array();
        uint64_t id, *before = NULL;
        struct pager_stats stats;

        if (!p || !p->bpf) {
                json_decref(groups);
                return json_null();
        }
        for (; bpf_map__get_next_key(p->bpf->maps.pagers, before, &id, sizeof(id)) == 0; before = &id) {
                json_t *grants = json_object(), *stalls = json_object();

                if (bpf_map__lookup_elem(p->bpf->maps.pagers, &id, sizeof(id), &stats, sizeof(stats), 0) < 0)
                        memset(&stats, 0, sizeof(stats));
                for (unsigned i = 0; i < STAGES; i++)
                        (void)json_object_set_new(grants, stages[i], observer_stage_json(&stats.stages[i]));
                for (unsigned i = 0; i <= STAGES; i++)
                        (void)json_object_set_new(stalls, stages[i], observer_stage_json(&stats.stalls[i]));
                (void)json_array_append_new(groups,
                                            json_pack("{s:o, s:o, s:o, s:o}", "id", ctl_json_number(id), "name",
                                                      ctl_json_text(stats.name), "grants", grants, "stalls", stalls));
        }
        return json_pack("{s:o, s:o, s:o, s:o}", "granted_pages", ctl_json_number(p->bpf->bss->granted_pages),
                         "revoked_pages", ctl_json_number(p->bpf->bss->revoked_pages), "reclaimed_extents",
                         ctl_json_number(p->bpf->bss->reclaimed_extents), "cgroups", groups);
}
