/* SPDX-License-Identifier: MIT
 *
 * place.c -- where a cgroup is, by its number, as long as we know: as a process of it said when it was first seen.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observer.h"

#define PLACES_MAX 1024u

struct place {
        uint64_t id;
        char path[256];
};

/* The cgroup of a living process as a path of the unified hierarchy. */
static bool read_cgroup(uint32_t pid, char *ret, size_t size)
{
        char path[32], line[4200];
        bool found = false;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
        file = fopen(path, "re");
        while (file && !found && fgets(line, sizeof(line), file)) {
                found = strncmp(line, "0::", 3) == 0;
                line[strcspn(line, "\n")] = 0;
        }
        if (file)
                (void)fclose(file);
        if (!found || strlen(line + 3) >= size)
                return false;
        memcpy(ret, line + 3, strlen(line + 3) + 1);
        return true;
}

const char *place_of(struct observer *o, uint64_t id, uint32_t pid)
{
        struct place *place;

        for (uint32_t i = 0; i < o->n_places; i++)
                if (o->places[i].id == id)
                        return o->places[i].path;
        if (!o->places)
                o->places = calloc(PLACES_MAX, sizeof(o->places[0]));
        if (pid == 0 || !o->places || o->n_places == PLACES_MAX)
                return NULL;
        place = &o->places[o->n_places];
        if (!read_cgroup(pid, place->path, sizeof(place->path)))
                return NULL;
        place->id = id;
        o->n_places++;
        return place->path;
}

void place_close(struct observer *o)
{
        free(o->places);
        o->places = NULL;
        o->n_places = 0;
}
