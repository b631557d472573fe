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

#include "observer.h"
#include "pager.skel.h"
#include "snapshot.h"

#define LINKS_MAX PROBES_MAX

struct pager {
        struct pager_bpf *bpf;
        struct bpf_link *links[LINKS_MAX];
        uint32_t n_links;
};

static const struct {
        const char *name;
        bool library;
} probes[] = {
#define X(name, arguments, library) { #name, library },
        SHARED_PROBES(X)
#undef X
};

static const char *const stages[STAGES + 1] = {
#define X(name, what) #name,
        SHARED_STAGES(X)
#undef X
                "other"
};

int pager_open(struct observer *o)
{
        struct pager *p = calloc(1, sizeof(*p));
        struct probe *probe;
        int r = -ENOMEM;

        o->pager = p;
        if (!p)
                return r;
        p->bpf = pager_bpf__open_and_load();
        if (p->bpf)
                return 0;
        r = -errno;
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
        for (uint32_t i = 0; i < p->n_links; i++)
                (void)bpf_link__destroy(p->links[i]);
        pager_bpf__destroy(p->bpf);
        free(p);
        o->pager = NULL;
}

void pager_attach(struct observer *o, const char *path, const char *shown)
{
        const bool library = strstr(shown, "libkvpager") != NULL;
        struct pager *p = o->pager;

        if (!p || !p->bpf)
                return;
        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
                struct bpf_program *program = bpf_object__find_program_by_name(p->bpf->obj, probes[i].name);
                struct bpf_link *link;
                struct probe *probe;
                struct bpf_usdt_opts options = { .sz = sizeof(options) };

                if (probes[i].library != library || !program || p->n_links == LINKS_MAX)
                        continue;
                probe = observer_probe(o, "pager", "usdt", probes[i].name, shown);
                if (!probe)
                        return;
                options.usdt_cookie = (uint64_t)(probe - o->probes);
                link = bpf_program__attach_usdt(program, -1, path, "kvpager", probes[i].name, &options);
                if (!link) {
                        if (errno == ENOENT)
                                (void)snprintf(probe->why, sizeof(probe->why),
                                               "the file has no such probe: it is of another version, or stripped");
                        else
                                (void)observer_why(-errno, probe->why);
                        continue;
                }
                p->links[p->n_links++] = link;
                probe->attached = true;
                probe->hits = &p->bpf->bss->hits[probe - o->probes];
        }
        observer_say(LOG_INFO, "attached to %s", shown);
}

/* ---- JSON ---- */

static json_t *stage_json(const struct stage_stats *stage)
{
        json_t *array = json_array();
        unsigned n = SHARED_SLOTS;

        while (n > 0 && stage->histogram.slots[n - 1] == 0)
                n--;
        for (unsigned i = 0; i < n; i++)
                (void)json_array_append_new(array, ctl_json_number(stage->histogram.slots[i]));
        return json_pack("{s:o, s:o, s:o}", "count", ctl_json_number(stage->count), "nsec",
                         ctl_json_number(stage->nsec), "histogram", array);
}

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
                        (void)json_object_set_new(grants, stages[i], stage_json(&stats.stages[i]));
                for (unsigned i = 0; i <= STAGES; i++)
                        (void)json_object_set_new(stalls, stages[i], stage_json(&stats.stalls[i]));
                (void)json_array_append_new(groups,
                                            json_pack("{s:o, s:o, s:o, s:o}", "id", ctl_json_number(id), "name",
                                                      ctl_json_text(stats.name), "grants", grants, "stalls", stalls));
        }
        return json_pack("{s:o, s:o, s:o, s:o}", "granted_pages", ctl_json_number(p->bpf->bss->granted_pages),
                         "revoked_pages", ctl_json_number(p->bpf->bss->revoked_pages), "reclaimed_extents",
                         ctl_json_number(p->bpf->bss->reclaimed_extents), "cgroups", groups);
}
