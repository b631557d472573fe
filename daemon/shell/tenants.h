/* SPDX-License-Identifier: MIT
 *
 * tenants.h -- which of the core's tenants each [tenant] of the configuration is, over reloads.
 *
 * A tenant keeps its index for as long as the core has it: one that the file no longer names lives on, closed to
 * newcomers, until its last worker went, and one that is named again in the meantime is the same one.
 */
#ifndef SHELL_TENANTS_H
#define SHELL_TENANTS_H

#include <stdint.h>

#include "config.h"
#include "core.h"

struct tenants {
        char names[CORE_MAX_TENANTS][CORE_NAME_MAX]; /* by the core's index; empty: never used */
        uint32_t of_config[CONFIG_MAX_TENANTS];      /* the core's index of each [tenant], in the file's order */
        uint32_t n_config;
};

/* Finds an index for each [tenant] of `config`, kept from before where there is one; `core` tells which are still in
 * use. -ENOSPC: there are too many with those that linger; `tenants` is untouched then. */
int tenants_plan(const struct tenants *tenants, const struct config *config, const struct core *core,
                 struct tenants *ret);

/* The event that makes the core's tenant what `config` says of its index'th [tenant]; `whole` is what 100 % is, in
 * bytes. */
void tenants_event(const struct tenants *tenants, const struct config *config, uint32_t index, uint64_t whole,
                   uint64_t now_usec, struct core_event *ret);

#endif
