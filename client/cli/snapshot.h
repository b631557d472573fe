/* SPDX-License-Identifier: MIT
 *
 * snapshot.h -- what the daemon said, and its two renderings: tables for people, JSON for programs.
 *
 * A snapshot holds the parts that a command asked for. Its lists are fetched one after the other, so that figures of
 * different lists may lie a moment apart.
 */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H

#include <jansson.h>
#include <stdio.h>

#include "ctl.h"
#include "link.h"

enum ctl_part {
        CTL_STATUS = 1 << 0,
        CTL_DEVICES = 1 << 1,
        CTL_TENANTS = 1 << 2,
        CTL_WORKERS = 1 << 3,
        CTL_CACHES = 1 << 4,
        CTL_COUNTERS = 1 << 5,
        CTL_ALL = (1 << 6) - 1,
};

struct ctl_snapshot {
        unsigned parts; /* enum ctl_part, those that are filled in */
        struct wire_status status;
        struct ctl_list devices, tenants, workers, caches, counters; /* of struct wire_item_* */
};

/* Fetches `parts`. 0, or a negative errno, for which ctl_link_why() has the words. ctl_snapshot_done() it either way.
 */
int ctl_snapshot_fetch(struct ctl_snapshot *snapshot, struct ctl_link *link, unsigned parts);

void ctl_snapshot_done(struct ctl_snapshot *snapshot);

/* One object with a member a part: "daemon", "devices", "tenants", "workers", "caches" (arrays), "counters" (an
 * object). Bytes are exact; a limit that is not set is null. NULL: no memory. */
json_t *ctl_snapshot_json(const struct ctl_snapshot *snapshot);

/* JSON has no unsigned 64 bits in jansson: what does not fit (a limit that is not set) is null. */
json_t *ctl_json_number(uint64_t value);

/* JSON is UTF-8, a path on Linux is bytes: those that are not UTF-8 lose what is beyond ASCII. */
json_t *ctl_json_text(const char *text);

/* An event by the protocol's names. */
json_t *ctl_json_event(const struct wire_item_event *event);

/* Prints `json` and a newline, and takes it; NULL: there was no memory for it. `flags` as of json_dumpf(). Returns enum
 * ctl_exit. */
int ctl_json_print(json_t *json, size_t flags, FILE *out, FILE *err);

/* The parts as tables; with CTL_STATUS, the daemon in a few lines and then the devices and tenants. 0 or -ENOMEM. */
int ctl_snapshot_print(const struct ctl_snapshot *snapshot, FILE *stream, const struct ctl_options *options);

#endif
