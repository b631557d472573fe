/* SPDX-License-Identifier: MIT
 *
 * log.c -- see log.h. A line to stderr is one write, so that lines of several processes on one terminal do not mix.
 */
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "ratelimit.h"
#include "wire.h"

#define LOG_LINE_MAX   1024
#define LOG_BURST      500u /* lines in the interval, errors and what was asked for by log-level = debug aside */
#define LOG_BURST_USEC UINT64_C(10000000)
#define FLUSH_MSEC     100

static struct {
        enum log_level level;
        bool journal, colour;
        pthread_mutex_t lock; /* what follows */
        struct ratelimit limit;
        uint32_t lost; /* lines that were not taken, or too many */
} log_state = { .level = LOG_LEVEL_INFO,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .limit = { .interval_usec = LOG_BURST_USEC, .burst = LOG_BURST } };

static const char *const level_names[] = { [LOG_LEVEL_ERROR] = "error",
                                           [LOG_LEVEL_WARNING] = "warning",
                                           [LOG_LEVEL_NOTICE] = "notice",
                                           [LOG_LEVEL_INFO] = "info",
                                           [LOG_LEVEL_DEBUG] = "debug" };
static const char *const level_colours[] = { [LOG_LEVEL_ERROR] = "\033[1;31m",
                                             [LOG_LEVEL_WARNING] = "\033[33m",
                                             [LOG_LEVEL_NOTICE] = "\033[1m",
                                             [LOG_LEVEL_INFO] = "",
                                             [LOG_LEVEL_DEBUG] = "\033[2m" };

/* systemd says in $JOURNAL_STREAM which device and inode the journal's stream has; a redirected stderr is another. */
static bool log_stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        char ours[64];
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;
        (void)snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        return strcmp(stream, ours) == 0;
}

void log_open(void)
{
        log_state.journal = log_stderr_is_journal();
        log_state.colour = !log_state.journal && isatty(STDERR_FILENO) && !getenv("NO_COLOR");
}

void log_flush(void)
{
        if (!log_state.journal)
                return;
        for (int i = 0; i < FLUSH_MSEC && !journal_is_read(); i++)
                (void)poll(NULL, 0, 1);
        (void)poll(NULL, 0, 5); /* for what it looks up about us after it has read */
}

void log_set_level(enum log_level level)
{
        assert(level >= LOG_LEVEL_ERROR && level <= LOG_LEVEL_DEBUG);

        log_state.level = level;
}

int log_level_from_name(const char *name)
{
        assert(name);

        for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
                if (strcmp(name, level_names[level]) == 0)
                        return level;
        return -1;
}

/* Whether it was taken. A pipe that nobody reads, or a terminal that was stopped, must not stop us: where there is room
 * at all, there is room for a line. */
static bool log_to_stderr(enum log_level level, const char *text)
{
        struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
        char line[LOG_LINE_MAX + 64];
        const char *colour = log_state.colour ? level_colours[level] : "";
        int n = snprintf(line, sizeof(line), "%skvpagerd: %s: %s%s\n", colour, level_names[level], text,
                         *colour ? "\033[0m" : "");
        ssize_t written;

        if (poll(&p, 1, 0) == 0)
                return false;
        do
                written = write(STDERR_FILENO, line, (size_t)n);
        while (written < 0 && errno == EINTR);
        return written > 0;
}

static bool log_send(enum log_level level, const struct log_facts *facts, const char *text)
{
        char message[JOURNAL_MAX];

        if (!log_state.journal)
                return log_to_stderr(level, text);
        return journal_send(JOURNAL_PATH, message, journal_format(message, level, facts, text));
}

/* The journal is shared with others. */
static bool log_is_too_much(enum log_level level)
{
        struct timespec now;
        uint32_t suppressed;

        if (!log_state.journal || level == LOG_LEVEL_ERROR || log_state.level == LOG_LEVEL_DEBUG)
                return false;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return !ratelimit_allow(&log_state.limit, (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u,
                                &suppressed);
}

/* Says so in one line where lines are missing before this one. */
static void log_write(enum log_level level, const struct log_facts *facts, const char *text)
{
        const struct log_facts about = { .kind = LOG_KIND_lines_lost, .count = log_state.lost };
        char lost[64];

        if (log_is_too_much(level)) {
                log_state.lost++;
                return;
        }
        (void)snprintf(lost, sizeof(lost), "%u lines were left out before this", log_state.lost);
        if (log_state.lost > 0 && log_send(LOG_LEVEL_WARNING, &about, lost))
                log_state.lost = 0;
        if (log_state.lost > 0 || !log_send(level, facts, text))
                log_state.lost++;
}

/* What the line is about. Returns its length. */
static int log_begin(const struct log_facts *facts, char text[static LOG_LINE_MAX])
{
        const char *tenant = facts->tenant, *device = facts->device;
        int n = 0;

        text[0] = '\0';
        if (facts->pid > 0)
                n = snprintf(text, LOG_LINE_MAX, "pid %d (uid %u%s%.64s): ", facts->pid, facts->uid,
                             tenant ? ", tenant " : "", tenant ? tenant : "");
        else if (device)
                n = snprintf(text, LOG_LINE_MAX, "[device %.64s] ", device);
        else if (tenant)
                n = snprintf(text, LOG_LINE_MAX, "[tenant %.64s] ", tenant);
        return n;
}

void log_about(enum log_level level, const struct log_facts *facts, const char *format, ...)
{
        static const struct log_facts nothing;
        char text[LOG_LINE_MAX];
        va_list list;
        int n;

        if (level > log_state.level)
                return;
        if (!facts)
                facts = &nothing;
        n = log_begin(facts, text);
        va_start(list, format);
        (void)vsnprintf(text + n, sizeof(text) - (size_t)n, format, list);
        va_end(list);
        wire_text_clean(text); /* a line is one line, and what a file or a path holds does nothing to a terminal */
        (void)pthread_mutex_lock(&log_state.lock);
        log_write(level, facts, text);
        (void)pthread_mutex_unlock(&log_state.lock);
}
