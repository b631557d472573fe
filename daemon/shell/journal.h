/* SPDX-License-Identifier: MIT
 *
 * journal.h -- messages to systemd-journald in its native protocol, without ever waiting for it: sd_journal_send(3)
 * blocks where journald is stopped or behind, and with it would our workers.
 */
#ifndef SHELL_JOURNAL_H
#define SHELL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "log.h"

#define JOURNAL_PATH "/run/systemd/journal/socket"
#define JOURNAL_MAX  8192u /* bytes of a message; a cgroup's path is cut where it is longer than fits */

/* The message in `buffer`; returns its size. Every field is one line: what could end it early is replaced. */
size_t journal_format(char buffer[static JOURNAL_MAX], enum log_level level, const struct log_facts *facts,
                      const char *sentence);

/* Sends it, or does not: a full queue gets two milliseconds, once until it moves again. Whether it was taken. One
 * thread at a time. */
bool journal_send(const char *path, const char *message, size_t size);

/* Whether journald has read all that it was sent. */
bool journal_is_read(void);

#endif
