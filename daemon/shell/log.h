/* SPDX-License-Identifier: MIT
 *
 * log.h -- what the daemon has to say: to the journal where stderr leads there, else to stderr.
 *
 * The journal gets fields beside the sentence, and an id of its kind (log-kinds.h). It may be stopped or behind, as may
 * whoever reads stderr: what is not taken at once is left out, counted, and told of later. So is what comes too fast
 * for the journal, errors aside.
 *
 * The target and the level are the only process-wide state of the shell. May be called from any thread after
 * log_open().
 */
#ifndef SHELL_LOG_H
#define SHELL_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "log-kinds.h"

/* As syslog numbers them. */
enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7
};

enum log_kind {
        LOG_KIND_none,
#define X(name, level, id, begin) LOG_KIND_##name,
        LOG_KINDS(X)
#undef X
                LOG_KIND_MAX_
};

/* What a line is about; what does not apply is NULL or 0. The journal has it as fields, and the sentence begins with
 * the process, where there is one. */
struct log_facts {
        enum log_kind kind;          /* MESSAGE_ID=, KVPAGER_EVENT= */
        int pid;                     /* OBJECT_PID=, and with it */
        unsigned uid;                /* KVPAGER_UID= */
        const char *cgroup;          /* KVPAGER_CGROUP=, and KVPAGER_UNIT= where it is one's */
        uint32_t worker;             /* KVPAGER_WORKER=, as kvpagerctl has it */
        const char *tenant, *device; /* KVPAGER_TENANT=, KVPAGER_DEVICE= */
        uint64_t bytes;              /* KVPAGER_BYTES= */
        uint64_t deadline_usec;      /* KVPAGER_DEADLINE_USEC= */
        uint32_t count;              /* KVPAGER_COUNT= */
};

/* Finds out where stderr leads. */
void log_open(void);

/* Before an end of which somebody wants to know the reason: waits, a tenth of a second at most, until the journal has
 * read what it was sent. It asks the kernel whose a message is only then. */
void log_flush(void);

void log_set_level(enum log_level level);

/* -1: there is no such level. */
int log_level_from_name(const char *name);

/* One line. `facts` NULL: it is about nothing in particular. */
void log_about(enum log_level level, const struct log_facts *facts, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#define log_line(level, ...) log_about(level, NULL, __VA_ARGS__)
#define log_error_of(name, ...)                                                                                        \
        log_about(LOG_LEVEL_ERROR, &(const struct log_facts){ .kind = LOG_KIND_##name }, __VA_ARGS__)
#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
