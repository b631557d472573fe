/* SPDX-License-Identifier: MIT
 *
 * config-match.c -- whom a tenant takes: the words of `match`, and which of them are never reached.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "config-value.h"

/* The user that `text` begins with, up to a slash, and what follows it; without a slash the system. */
static int match_manager(const char *text, uint32_t *ret_user, const char **ret_rest)
{
        const char *slash = strchr(text, '/');
        char user[CONFIG_MATCH_TEXT];

        *ret_user = CGROUP_SYSTEM;
        *ret_rest = slash ? slash + 1 : text;
        if (!slash)
                return 0;
        (void)snprintf(user, sizeof(user), "%.*s", (int)(slash - text), text);
        return config_value_user(user, ret_user);
}

/* A unit's or slice's name, or a pattern of them, with its suffix added as systemctl does. */
static int match_unit(const char *text, bool slice, char ret[static CONFIG_MATCH_TEXT])
{
        const size_t length = strlen(text);
        const bool complete = slice ? cgroup_name_is_slice(text) : cgroup_name_is_unit(text);
        const bool open = length > 0 && text[length - 1] == '*';

        for (const char *c = text; *c; c++)
                if (!isalnum((unsigned char)*c) && !strchr(":-_.\\@*?[]!", *c))
                        return -EINVAL;
        if (length == 0 || strcmp(text, "-.slice") == 0) /* the root slice has no name in any path: that is `any` */
                return -EINVAL;
        if (snprintf(ret, CONFIG_MATCH_TEXT, "%s%s", text,
                     complete || open ? ""
                     : slice          ? ".slice"
                                      : ".service") >= (int)CONFIG_MATCH_TEXT)
                return -ERANGE;
        return 0;
}

/* A path without empty components, "." and "..", which no process's path has, and without a slash at its end. */
static int match_cgroup(const char *text, char ret[static CONFIG_MATCH_TEXT])
{
        const char *last = strrchr(text, '/');
        size_t length = strlen(text);

        if (text[0] != '/' || strstr(text, "//") || strstr(text, "/./") || strstr(text, "/../") ||
            strcmp(last, "/.") == 0 || strcmp(last, "/..") == 0)
                return -EINVAL;
        if (length >= CONFIG_MATCH_TEXT)
                return -ERANGE;
        if (length > 1 && text[length - 1] == '/')
                length--;
        (void)snprintf(ret, CONFIG_MATCH_TEXT, "%.*s", (int)length, text);
        return 0;
}

static int match_parse(const char *text, struct config_match *ret)
{
        struct config_match match = { 0 };
        const char *rest;
        int r = 0;

        if (strcmp(text, "any") == 0) {
                match.kind = CONFIG_MATCH_ANY;
        } else if (strncmp(text, "uid:", 4) == 0) {
                match.kind = CONFIG_MATCH_UID;
                r = config_value_user(text + 4, &match.id);
        } else if (strncmp(text, "gid:", 4) == 0) {
                match.kind = CONFIG_MATCH_GID;
                r = config_value_group(text + 4, &match.id);
        } else if (strncmp(text, "unit:", 5) == 0) {
                match.kind = CONFIG_MATCH_UNIT;
                r = match_manager(text + 5, &match.id, &rest);
                if (r == 0)
                        r = match_unit(rest, false, match.text);
        } else if (strncmp(text, "slice:", 6) == 0) {
                match.kind = CONFIG_MATCH_SLICE;
                r = match_manager(text + 6, &match.id, &rest);
                if (r == 0)
                        r = match_unit(rest, true, match.text);
        } else if (strncmp(text, "cgroup:", 7) == 0) {
                match.kind = CONFIG_MATCH_CGROUP;
                r = match_cgroup(text + 7, match.text);
        } else {
                r = -EINVAL;
        }
        if (r == 0)
                *ret = match;
        return r;
}

/* Up to CONFIG_MAX_MATCHES words of `words`, which is cut up; returns how many, or a negative errno. */
static int match_parse_all(char *words, struct config_match *ret)
{
        char *save = NULL;
        int n = 0, r;

        for (char *word = strtok_r(words, " \t,", &save); word; word = strtok_r(NULL, " \t,", &save)) {
                if (n == (int)CONFIG_MAX_MATCHES)
                        return -ERANGE;
                r = match_parse(word, &ret[n]);
                if (r < 0)
                        return r;
                n++;
        }
        return n > 0 ? n : -EINVAL;
}

int config_value_matches(const char *text, void *field)
{
        struct config_tenant *tenant = field;
        struct config_match matches[CONFIG_MAX_MATCHES];
        char *copy = strdup(text);
        int n;

        assert(tenant);

        if (!copy)
                return -ENOMEM;
        n = match_parse_all(copy, matches);
        free(copy);
        if (n < 0)
                return n;
        memcpy(tenant->matches, matches, (size_t)n * sizeof(matches[0]));
        tenant->n_matches = (uint32_t)n;
        return 0;
}

const char *config_match_text(const struct config_match *match, char text[static CONFIG_MATCH_TEXT * 2])
{
        static const char *const kinds[] = {
                [CONFIG_MATCH_ANY] = "any",    [CONFIG_MATCH_UID] = "uid:",     [CONFIG_MATCH_GID] = "gid:",
                [CONFIG_MATCH_UNIT] = "unit:", [CONFIG_MATCH_SLICE] = "slice:", [CONFIG_MATCH_CGROUP] = "cgroup:"
        };
        char user[16] = "";

        if (match->kind == CONFIG_MATCH_UID || match->kind == CONFIG_MATCH_GID)
                (void)snprintf(user, sizeof(user), "%u", match->id);
        else if (match->kind >= CONFIG_MATCH_UNIT && match->kind <= CONFIG_MATCH_SLICE && match->id != CGROUP_SYSTEM)
                (void)snprintf(user, sizeof(user), "%u/", match->id);
        (void)snprintf(text, CONFIG_MATCH_TEXT * 2, "%s%s%s", kinds[match->kind], user, match->text);
        return text;
}

/* Of two slices' names the inner one's begins with the outer one's and a dash. */
static bool match_slice_contains(const char *outer, const char *inner)
{
        const size_t length = strlen(outer) - strlen(".slice");

        return strncmp(outer, inner, length) == 0 && inner[length] == '-';
}

/* Whether everybody whom `later` takes is taken by `earlier`. Of two patterns only what is plain counts. */
static bool match_covers(const struct config_match *earlier, const struct config_match *later)
{
        if (earlier->kind == CONFIG_MATCH_ANY)
                return later->kind != CONFIG_MATCH_ANY;
        if (earlier->kind != later->kind || earlier->id != later->id)
                return false;
        if (earlier->kind == CONFIG_MATCH_CGROUP)
                return cgroup_in_group(later->text, earlier->text);
        if (strcmp(earlier->text, later->text) == 0)
                return true;
        if (strpbrk(later->text, "*?["))
                return false;
        return fnmatch(earlier->text, later->text, FNM_NOESCAPE) == 0 ||
               (earlier->kind == CONFIG_MATCH_SLICE && match_slice_contains(earlier->text, later->text));
}

const struct config_tenant *config_match_taken(const struct config *config, uint32_t tenant,
                                               const struct config_match *match)
{
        assert(config && tenant < config->n_tenants && match);

        for (uint32_t i = 0; i < tenant; i++)
                for (uint32_t k = 0; k < config->tenants[i].n_matches; k++)
                        if (match_covers(&config->tenants[i].matches[k], match))
                                return &config->tenants[i];
        return NULL;
}
