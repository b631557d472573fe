/* SPDX-License-Identifier: MIT
 *
 * place.c -- where a cgroup is, by its number, as long as we know: as a process of it said while it was there.
 *
 * A path is another cgroup's once that which had it is gone and made anew, and a process may be moved before we ask it.
 * So the number of the folder, which is the cgroup's, decides.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "observer.h"

#define PLACES_MAX 1024u
#define PATH_BYTES 4200u

struct place {
        uint64_t id;
        char *path;
};

/* Where the unified hierarchy is mounted; NULL: not where it usually is. */
static const char *find_root(void)
{
        static const char *const usual[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
        struct statfs fs;

        for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
                if (statfs(usual[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
                        return usual[i];
        return NULL;
}

/* The cgroup of a living process as a path of the unified hierarchy. */
static bool read_cgroup(uint32_t pid, char *ret, size_t size)
{
        char path[32], line[PATH_BYTES];
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

static int open_folder(uint64_t id, const char *place)
{
        const char *root = find_root();
        char path[PATH_BYTES + 64];
        struct stat st;
        int fd;

        if (!root)
                return -1;
        (void)snprintf(path, sizeof(path), "%s%s", root, place);
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || (fstat(fd, &st) == 0 && st.st_ino == id))
                return fd;
        (void)close(fd);
        return -1;
}

int place_open(struct observer *o, uint64_t id)
{
        const char *place = place_of(o, id, 0);

        return place ? open_folder(id, place) : -1;
}

static void forget(struct observer *o, uint32_t index)
{
        free(o->places[index].path);
        o->places[index] = o->places[--o->n_places];
}

/* Those that are gone, when there is no room for others. */
static void forget_gone(struct observer *o)
{
        for (uint32_t i = o->n_places; i-- > 0;) {
                const int fd = open_folder(o->places[i].id, o->places[i].path);

                if (fd < 0)
                        forget(o, i);
                else
                        (void)close(fd);
        }
}

const char *place_of(struct observer *o, uint64_t id, uint32_t pid)
{
        char path[PATH_BYTES];
        int fd;

        for (uint32_t i = 0; i < o->n_places; i++)
                if (o->places[i].id == id)
                        return o->places[i].path;
        if (!o->places)
                o->places = calloc(PLACES_MAX, sizeof(o->places[0]));
        if (pid == 0 || !o->places || !read_cgroup(pid, path, sizeof(path)))
                return NULL;
        fd = open_folder(id, path);
        if (fd < 0 && find_root())
                return NULL; /* it has gone elsewhere */
        if (fd >= 0)
                (void)close(fd);
        if (o->n_places == PLACES_MAX)
                forget_gone(o);
        if (o->n_places == PLACES_MAX)
                return NULL;
        o->places[o->n_places].id = id;
        o->places[o->n_places].path = strdup(path);
        return o->places[o->n_places].path ? o->places[o->n_places++].path : NULL;
}

void place_close(struct observer *o)
{
        while (o->n_places > 0)
                forget(o, o->n_places - 1);
        free(o->places);
        o->places = NULL;
}
