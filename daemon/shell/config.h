/* SPDX-License-Identifier: MIT
 *
 * config.h -- what kvpagerd.conf(5) says, checked.
 *
 * Strict: an unknown or repeated section or key, or a value that is not what its key takes, is a complaint with file
 * and line, and all complaints of a file are made before it is refused. A struct config has no pointers: a copy of it
 * is one that may be changed.
 */
#ifndef SHELL_CONFIG_H
#define SHELL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "dev.h"

#define CONFIG_DEFAULT_PATH "/etc/kvpager/kvpagerd.conf"
#define CONFIG_NAME_MAX     64u /* bytes, NUL included */
#define CONFIG_BACKEND_ANY  "any"
#define CONFIG_MAX_DEVICES  16u
#define CONFIG_MAX_TENANTS  256u
#define CONFIG_MAX_MATCHES  32u
#define CONFIG_MATCH_TEXT   256u /* bytes of one match: no name of a unit is longer, and few paths */

#define CONFIG_NO_LIMIT UINT64_MAX

/* Bytes, or a share of something that is not known before the devices are open. */
struct config_amount {
        uint64_t bytes;   /* CONFIG_NO_LIMIT: `max` */
        uint32_t percent; /* not 0: this counts, not bytes */
};

struct config_daemon {
        mode_t socket_mode;
        gid_t socket_group; /* (gid_t)-1: not changed */
        uint32_t max_workers;
        uint32_t log_level; /* enum log_level */
        uint64_t slow_reader_deadline_usec;
        uint64_t absent_timeout_usec; /* for a worker to come back after a restart */
        bool holder;                  /* one is used where there is one */
};

struct config_device {
        char name[CONFIG_NAME_MAX];
        unsigned line;
        char backend[16], uuid[48];    /* CONFIG_BACKEND_ANY: a GPU if there is one, else the host */
        struct config_amount capacity; /* 0: the backend's default */
        uint64_t page_size;            /* 0: the backend's default */
        uint32_t virgin_pages;         /* UINT32_MAX: chosen from the capacity */
        bool hugepages, populate;
};

enum config_match_kind {
        CONFIG_MATCH_ANY,
        CONFIG_MATCH_UID,
        CONFIG_MATCH_GID,
        CONFIG_MATCH_UNIT,
        CONFIG_MATCH_SLICE,
        CONFIG_MATCH_CGROUP
};

struct config_match {
        enum config_match_kind kind;
        uint32_t id; /* uid or gid; of a unit or slice CGROUP_SYSTEM, or the user whose manager's it is */
        char text[CONFIG_MATCH_TEXT]; /* the pattern of a unit or slice, the path of a cgroup */
};

struct config_tenant {
        char name[CONFIG_NAME_MAX];
        unsigned line, match_line, min_line; /* match_line, min_line: `line` where there is no such key */
        uint32_t n_matches;
        struct config_match matches[CONFIG_MAX_MATCHES];
        struct config_amount min, low, high, max;
        uint64_t reclaim_deadline_usec;
        uint32_t weight;
        bool kill_overdue;
};

struct config {
        struct config_daemon daemon;
        uint32_t n_devices, n_tenants;
        struct config_device devices[CONFIG_MAX_DEVICES];
        struct config_tenant tenants[CONFIG_MAX_TENANTS];
        bool by_cgroup; /* some tenant is matched by unit, slice or cgroup */
};

/* Gets each complaint as one sentence without newline, "FILE:LINE: ..." */
typedef void config_complain_fn(void *userdata, const char *sentence);

/* Reads `path`. -EINVAL: it was complained of; other negative errno: it could not be read (complained of as well). Free
 * with free(). */
int config_load(const char *path, config_complain_fn *complain, void *userdata, struct config **ret);

/* The same from an open file; `path` is its name in complaints. */
int config_parse(FILE *file, const char *path, config_complain_fn *complain, void *userdata, struct config **ret);

/* What holds without a file: one device that is found, one tenant `default` that takes anybody. NULL: out of memory. */
struct config *config_default(void);

/* A device as its backend wants to hear of it; points into `device`. */
struct dev_options config_device_options(const struct config_device *device);

/* Bytes of `amount`, of which `whole` is 100 %. */
uint64_t config_amount_bytes(const struct config_amount *amount, uint64_t whole);

/* A device as it is once it is open. */
struct config_size {
        const char *name;
        uint64_t capacity, page_size; /* bytes */
};

/* What a share of memory.* is a share of: the capacity of the smallest device, for limits hold on each. */
uint64_t config_smallest(const struct config_size *devices, uint32_t n_devices);

/* config-check.c. Whether the limits of a tenant make sense together: 0, or -EINVAL after a complaint about each that
 * does not. `whole`: config_smallest(), or 0 where that is not known yet. */
int config_check_limits(const struct config_tenant *tenant, uint64_t whole, dev_complain_fn *complain, void *userdata);

/* Whether what is guaranteed to all tenants together fits each device: 0, or -EINVAL, a sentence in `why`, and the line
 * of the memory.min that is too much. */
int config_check_guarantees(const struct config *config, const struct config_size *devices, uint32_t n_devices,
                            unsigned *ret_line, char *why, size_t size);

/* The same before the devices are there, for those whose capacity the file gives in bytes. Shares count where it gives
 * all. */
int config_check_written(const struct config *config, unsigned *ret_line, char *why, size_t size);

/* Sets a key of a tenant as its section would. -EINVAL: a sentence in `why` says what is wrong with it. */
int config_set(struct config_tenant *tenant, const char *key, const char *value, char *why, size_t size);

/* Whether both describe the same devices, so that a daemon that runs with one can take the other. */
bool config_same_devices(const struct config *a, const struct config *b);

#endif
