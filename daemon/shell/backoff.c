/* SPDX-License-Identifier: MIT
 *
 * backoff.c -- see backoff.h. Where the file cannot be read or written there is no delay.
 */
#include "backoff.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"
#include "owner.h"

#define FIRST_MSEC 100u
#define LAST_MSEC  10000u
#define PATH_SIZE  256u

uint32_t backoff_delay_msec(uint32_t failed)
{
        uint32_t delay = failed > 0 ? FIRST_MSEC : 0;

        for (uint32_t i = 1; i < failed && delay < LAST_MSEC; i++)
                delay *= 2;
        return delay < LAST_MSEC ? delay : LAST_MSEC;
}

/* False: we are not what systemd started, or the unit has several folders. */
static bool backoff_path(char path[static PATH_SIZE])
{
        const char *folder = getenv("RUNTIME_DIRECTORY"), *pid = getenv("SYSTEMD_EXEC_PID");
        int n;

        if (!folder || !*folder || strchr(folder, ':') || !pid || strtol(pid, NULL, 10) != (long)getpid())
                return false;
        n = snprintf(path, PATH_SIZE, "%s/failed-starts", folder);
        return n > 0 && (size_t)n < PATH_SIZE;
}

static uint32_t backoff_read(const char *path)
{
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        char text[16] = "";

        if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
                return 0;
        return (uint32_t)strtoul(text, NULL, 10);
}

static void backoff_write(const char *path, uint32_t failed)
{
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        char text[16];
        int n = snprintf(text, sizeof(text), "%u\n", failed);

        if (fd >= 0 && write(fd, text, (size_t)n) < 0)
                (void)unlink(path);
}

void backoff_start(void)
{
        char path[PATH_SIZE], text[96];
        struct timespec delay;
        uint32_t failed, msec;

        if (!backoff_path(path))
                return;
        failed = backoff_read(path);
        msec = backoff_delay_msec(failed);
        if (msec > 0) {
                (void)unlink(path); /* who waits may be ended by somebody who has repaired it */
                (void)snprintf(text, sizeof(text), "STATUS=Waits for %u.%u s: the last start%s failed", msec / 1000,
                               msec % 1000 / 100, failed > 1 ? "s" : "");
                log_about(LOG_LEVEL_WARNING, &(struct log_facts){ .kind = LOG_KIND_start_delayed, .count = failed },
                          "waits for %u.%u s before it tries again: %u start%s failed", msec / 1000, msec % 1000 / 100,
                          failed, failed > 1 ? "s" : "");
                (void)notify_send(text);
                delay = (struct timespec){ .tv_sec = msec / 1000, .tv_nsec = (long)(msec % 1000) * 1000000 };
                (void)ppoll(NULL, 0, &delay, NULL);
        }
        backoff_write(path, failed < UINT32_MAX ? failed + 1 : failed);
}

void backoff_done(void)
{
        char path[PATH_SIZE];

        if (backoff_path(path))
                (void)unlink(path);
}
