/* SPDX-License-Identifier: MIT
 *
 * cgroup.h -- what the path of a process's control group says: the systemd unit and the slices that contain it.
 *
 * Pure functions of paths as /proc/PID/cgroup has them. systemd lays cgroups out as
 *
 *      /SLICE/.../UNIT/whatever the unit makes of its own
 *      /user.slice/user-UID.slice/user@UID.service/SLICE/.../UNIT/...
 *
 * (cgroups(7), systemd.slice(5), https://systemd.io/CONTROL_GROUP_INTERFACE). Only what systemd made counts: the unit
 * is the first component that is no slice, for below it the unit's own processes may make groups of any name. A unit of
 * a user's manager is never taken for one of the system's: who may start units of his own must not become somebody else
 * by their names. sd_pid_get_unit() and its kin know all this too, but read /proc anew at each question; these answer
 * about one path that was read once.
 */
#ifndef SHELL_CGROUP_H
#define SHELL_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_PATH_MAX 4096u      /* bytes, NUL included */
#define CGROUP_SYSTEM   UINT32_MAX /* as a user: the system's own units and slices */

/* The path in the unified hierarchy, or else in systemd's own, from the text of a /proc/PID/cgroup. -ENOENT: it lies in
 * neither, or outside of what we see; -ENAMETOOLONG. */
int cgroup_path_from_text(const char *text, char *ret, size_t size);

/* Whether the process is in a unit, or in a slice at any depth, whose name fits the fnmatch(3) pattern. `user`:
 * CGROUP_SYSTEM, or the uid whose manager's it has to be. */
bool cgroup_in_unit(const char *path, uint32_t user, const char *pattern);
bool cgroup_in_slice(const char *path, uint32_t user, const char *pattern);

/* What names of units that contain processes, and of slices, end in. */
bool cgroup_name_is_unit(const char *name);
bool cgroup_name_is_slice(const char *name);

/* Whether it is `ancestor` or below. `ancestor` has no slash at its end, except for the root. */
bool cgroup_in_group(const char *path, const char *ancestor);

/* The unit as a `match` would name it, unit:NAME or unit:UID/NAME, or cgroup:PATH where it is in none. Returns
 * `buffer`. */
const char *cgroup_describe(const char *path, char *buffer, size_t size);

#endif
