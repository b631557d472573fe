/* SPDX-License-Identifier: MIT
 *
 * tenant-set.h -- changes limits of a tenant while the daemon runs.
 */
#ifndef CTL_TENANT_SET_H
#define CTL_TENANT_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "link.h"

/* Sets `settings`, n times KEY=VALUE as in the tenant's section of the configuration, all of them or none.
 * *ret_deferred: they hold once memory is reclaimed, and not already. 0; -EINVAL: one is not of this form or too long,
 * or they are too many; else as ctl_link_call(). ctl_link_why() has the words. */
int ctl_tenant_set(struct ctl_link *link, const char *tenant, const char *const *settings, size_t n,
                   bool *ret_deferred);

#endif
