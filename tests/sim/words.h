/* SPDX-License-Identifier: MIT
 *
 * words.h -- events and actions in words, one line each, for the golden traces and for whoever reads a failure.
 */
#ifndef SIM_WORDS_H
#define SIM_WORDS_H

#include <stddef.h>

#include "action.h"
#include "core.h"
#include "event.h"

/* Writes one line without newline, cut to `size`. Ids of extents are written as index.generation is: see
 * words_extent(). */
void words_event(const struct core_event *event, char *buffer, size_t size);
void words_action(const struct core_action *action, char *buffer, size_t size);

const char *words_error(uint32_t error); /* of enum core_error */

#endif
