/* SPDX-License-Identifier: MIT
 *
 * log.h -- what the daemon has to say: to the journal where stderr leads there, else to stderr.
 *
 * The target and the level are the only process-wide state of the shell. May be called from any thread after
 * log_open().
 */
#ifndef SHELL_LOG_H
#define SHELL_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* As syslog numbers them. */
enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7
};

/* Finds out where stderr leads. */
void log_open(void);

void log_set_level(enum log_level level);

/* -1: there is no such level. */
int log_level_from_name(const char *name);

/* One line. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line about a peer; the journal gets its pid, uid and tenant as fields (OBJECT_PID=, KVPAGER_UID=,
 * KVPAGER_TENANT=). */
struct log_peer {
        int pid;
        unsigned uid;
        const char *tenant; /* NULL: none yet */
};
void log_about_peer(enum log_level level, const struct log_peer *peer, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
