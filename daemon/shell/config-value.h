/* SPDX-License-Identifier: MIT
 *
 * config-value.h -- one function a kind of value: text to field. Each returns 0 or -EINVAL and leaves the field
 * untouched then; -ERANGE is a value of the right kind that is too large or too small; -ENOENT a user or group that
 * does not exist. `field` points to the type named.
 */
#ifndef SHELL_CONFIG_VALUE_H
#define SHELL_CONFIG_VALUE_H

#include "config.h"

int config_value_amount(const char *text, void *field);   /* struct config_amount: bytes, 512M, 2G, 50%, max */
int config_value_capacity(const char *text, void *field); /* the same without max and without 0 */
int config_value_size(const char *text, void *field);     /* uint64_t: bytes, 64K, 2M; not 0 */
int config_value_duration(const char *text, void *field); /* uint64_t, microseconds: 500ms, 2s, 1min; 1 ms to 1 hour */
int config_value_count(const char *text, void *field);    /* uint32_t: 0 to 2^30 */
int config_value_workers(const char *text, void *field);  /* uint32_t: 1 to 60,000 */
int config_value_weight(const char *text, void *field);   /* uint32_t: 1 to 10,000 */
int config_value_bool(const char *text, void *field);     /* bool: yes, no, true, false, on, off, 1, 0 */
int config_value_mode(const char *text, void *field);     /* mode_t: octal, of the lowest nine bits */
int config_value_user(const char *text, void *field);     /* uid_t: name or number */
int config_value_group(const char *text, void *field);    /* gid_t: the same */
int config_value_level(const char *text, void *field);    /* uint32_t: enum log_level */
int config_value_overdue(const char *text, void *field);  /* bool: deny, kill */
int config_value_backend(const char *text, void *field);  /* char[16]: host, cuda */
int config_value_uuid(const char *text, void *field);     /* char[48] */
int config_value_matches(const char *text, void *field);  /* struct config_tenant: matches (config-match.c) */

/* config-match.c. One word of a match as it would stand there. Returns `text`. */
const char *config_match_text(const struct config_match *match, char text[static CONFIG_MATCH_TEXT * 2]);

/* An earlier [tenant] that takes everybody whom `match`, of the [tenant] of that index, takes; NULL: there is none.
 * `any` after `any` is reached by its tenant's name: so tenants are told apart whose processes cannot be. */
const struct config_tenant *config_match_taken(const struct config *config, uint32_t tenant,
                                               const struct config_match *match);

/* A size as the configuration may have it: 64K, 2M, 5000, max. Returns `text`. */
#define CONFIG_SIZE_TEXT 32u
const char *config_size_text(uint64_t size, char text[static CONFIG_SIZE_TEXT]);

#endif
