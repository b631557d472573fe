/* SPDX-License-Identifier: MIT
 *
 * cgroup.c -- see cgroup.h.
 */
#include "cgroup.h"

#include <assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256u /* of a component, NUL included: no file's name is longer */

/* What stands behind `prefix` in a line of the file; NULL: no line begins so. */
static const char *line_after(const char *text, const char *hierarchy)
{
        size_t length = strlen(hierarchy);

        for (const char *line = text; line && *line;) {
                const char *colon = strchr(line, ':'); /* after the hierarchy's number */

                if (colon && strncmp(colon + 1, hierarchy, length) == 0)
                        return colon + 1 + length;
                line = strchr(line, '\n');
                line = line ? line + 1 : NULL;
        }
        return NULL;
}

int cgroup_path_from_text(const char *text, char *ret, size_t size)
{
        const char *path;
        size_t length;

        assert(text && ret);

        path = line_after(text, ":");
        if (!path)
                path = line_after(text, "name=systemd:");
        /* A group outside of our own namespace is shown relative to its root. */
        if (!path || *path != '/' || strncmp(path, "/..", 3) == 0)
                return -ENOENT;
        length = strcspn(path, "\n");
        if (length >= size)
                return -ENAMETOOLONG;
        memcpy(ret, path, length);
        ret[length] = '\0';
        return 0;
}

/* Takes the next component off the path, with systemd's escape undone: a name that the kernel might take for a file of
 * its own begins with an underscore more. */
static bool component_next(const char **path, char name[static NAME_SIZE])
{
        const char *begin = *path + strspn(*path, "/");
        size_t length = strcspn(begin, "/");

        if (length == 0 || length >= NAME_SIZE)
                return false;
        *path = begin + length;
        if (*begin == '_') {
                begin++;
                length--;
        }
        memcpy(name, begin, length);
        name[length] = '\0';
        return true;
}

static bool has_suffix(const char *name, const char *suffix)
{
        size_t length = strlen(name), tail = strlen(suffix);

        return length > tail && strcmp(name + length - tail, suffix) == 0;
}

bool cgroup_name_is_unit(const char *name)
{
        static const char *const suffixes[] = { ".service", ".scope", ".socket", ".mount", ".swap" };

        for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
                if (has_suffix(name, suffixes[i]))
                        return true;
        return false;
}

bool cgroup_name_is_slice(const char *name)
{
        return has_suffix(name, ".slice");
}

static bool fits(const char *pattern, const char *name)
{
        return pattern && fnmatch(pattern, name, FNM_NOESCAPE) == 0; /* names have backslashes of their own */
}

/* Walks through the slices at the begin of *path and the unit below them, which goes into `unit`; empty: there is none.
 * Returns whether one of the slices fits. */
static bool walk(const char **path, const char *slice, char unit[static NAME_SIZE])
{
        bool found = false;

        while (component_next(path, unit)) {
                if (!cgroup_name_is_slice(unit))
                        break;
                found |= fits(slice, unit);
                unit[0] = '\0';
        }
        if (!cgroup_name_is_unit(unit))
                unit[0] = '\0';
        return found;
}

/* The uid of a user's manager by its unit's name, user@UID.service; CGROUP_SYSTEM: it is something else. */
static uint32_t manager_of(const char *unit)
{
        char again[NAME_SIZE];
        unsigned long uid;

        if (strncmp(unit, "user@", 5) != 0)
                return CGROUP_SYSTEM;
        uid = strtoul(unit + 5, NULL, 10);
        (void)snprintf(again, sizeof(again), "user@%lu.service", uid);
        return uid < CGROUP_SYSTEM && strcmp(again, unit) == 0 ? (uint32_t)uid : CGROUP_SYSTEM;
}

/* The unit of that user's manager, or of the system, in `unit`, and whether a slice of it fits. */
static bool look(const char *path, uint32_t user, const char *slice, char unit[static NAME_SIZE])
{
        bool found;

        unit[0] = '\0';
        found = walk(&path, user == CGROUP_SYSTEM ? slice : NULL, unit);
        if (user == CGROUP_SYSTEM)
                return found;
        if (manager_of(unit) != user) {
                unit[0] = '\0';
                return false;
        }
        unit[0] = '\0';
        return walk(&path, slice, unit);
}

bool cgroup_in_unit(const char *path, uint32_t user, const char *pattern)
{
        char unit[NAME_SIZE];

        assert(path && pattern);

        (void)look(path, user, NULL, unit);
        return unit[0] && fits(pattern, unit);
}

bool cgroup_in_slice(const char *path, uint32_t user, const char *pattern)
{
        char unit[NAME_SIZE];

        assert(path && pattern);

        return look(path, user, pattern, unit);
}

bool cgroup_in_group(const char *path, const char *ancestor)
{
        size_t length = strlen(ancestor);

        assert(path && *ancestor == '/');

        if (length == 1)
                return true;
        return strncmp(path, ancestor, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

const char *cgroup_describe(const char *path, char *buffer, size_t size)
{
        char system[NAME_SIZE], own[NAME_SIZE] = "";
        uint32_t user;

        assert(path && buffer);

        (void)look(path, CGROUP_SYSTEM, NULL, system);
        user = manager_of(system);
        if (user != CGROUP_SYSTEM)
                (void)look(path, user, NULL, own);
        if (own[0])
                (void)snprintf(buffer, size, "unit:%u/%s", user, own);
        else if (system[0])
                (void)snprintf(buffer, size, "unit:%s", system);
        else
                (void)snprintf(buffer, size, "cgroup:%s", path);
        return buffer;
}
