/* SPDX-License-Identifier: MIT
 *
 * log.c -- see log.h. A line to stderr is one write, so that lines of several processes on one terminal do not mix.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static struct {
        enum log_level level;
        bool journal, colour;
} log_state = { .level = LOG_LEVEL_INFO };

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

static void log_to_stderr(enum log_level level, const char *text)
{
        char line[LOG_LINE_MAX + 64];
        const char *colour = log_state.colour ? level_colours[level] : "";
        int n = snprintf(line, sizeof(line), "%skvpagerd: %s: %s%s\n", colour, level_names[level], text,
                         *colour ? "\033[0m" : "");

        if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
                return; /* there is nobody left to tell */
}

void log_line(enum log_level level, const char *format, ...)
{
        char text[LOG_LINE_MAX];
        va_list list;

        if (level > log_state.level)
                return;
        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        if (log_state.journal)
                (void)sd_journal_send("MESSAGE=%s", text, "PRIORITY=%d", (int)level, NULL);
        else
                log_to_stderr(level, text);
}

void log_about_peer(enum log_level level, const struct log_peer *peer, const char *format, ...)
{
        char text[LOG_LINE_MAX], line[LOG_LINE_MAX];
        va_list list;

        assert(peer);

        if (level > log_state.level)
                return;
        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        (void)snprintf(line, sizeof(line), "pid %d (uid %u%s%s): %.900s", peer->pid, peer->uid,
                       peer->tenant ? ", tenant " : "", peer->tenant ? peer->tenant : "", text);
        if (log_state.journal)
                (void)sd_journal_send("MESSAGE=%s", line, "PRIORITY=%d", (int)level, "OBJECT_PID=%d", peer->pid,
                                      "KVPAGER_UID=%u", peer->uid, "KVPAGER_TENANT=%s",
                                      peer->tenant ? peer->tenant : "", NULL);
        else
                log_to_stderr(level, line);
}
