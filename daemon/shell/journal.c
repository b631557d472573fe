/* SPDX-License-Identifier: MIT
 *
 * journal.c -- see journal.h.
 */
#include "journal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cgroup.h"
#include "owner.h"

#define GRACE_MSEC 2

static struct {
        int fd;     /* connected; -1: not */
        bool stuck; /* it got its grace and did not take anything since */
} journal = { .fd = -1 };

static const char *const kind_names[LOG_KIND_MAX_] = {
#define X(name, level, id, begin) [LOG_KIND_##name] = #name,
        LOG_KINDS(X)
#undef X
};
static const char *const kind_ids[LOG_KIND_MAX_] = {
#define X(name, level, id, begin) [LOG_KIND_##name] = #id,
        LOG_KINDS(X)
#undef X
};

struct message {
        char *buffer;
        size_t used;
};

static void message_add(struct message *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void message_add(struct message *m, const char *format, ...)
{
        const size_t space = JOURNAL_MAX - m->used;
        va_list list;
        int n;

        va_start(list, format);
        n = vsnprintf(m->buffer + m->used, space, format, list);
        va_end(list);
        if (n <= 0 || (size_t)n + 1 >= space) /* it and its line's end do not fit: without it */
                return;
        for (int i = 0; i < n; i++)
                if ((unsigned char)m->buffer[m->used + (size_t)i] < 0x20)
                        m->buffer[m->used + (size_t)i] = '?';
        m->used += (size_t)n;
        m->buffer[m->used++] = '\n';
}

static void message_add_text(struct message *m, const char *field, const char *value)
{
        if (value && *value)
                message_add(m, "%s=%s", field, value);
}

static void message_add_number(struct message *m, const char *field, uint64_t value)
{
        if (value > 0)
                message_add(m, "%s=%" PRIu64, field, value);
}

static void message_add_process(struct message *m, const struct log_facts *facts)
{
        char unit[CGROUP_PATH_MAX + 8];

        message_add(m, "OBJECT_PID=%d", facts->pid);
        message_add(m, "KVPAGER_UID=%u", facts->uid);
        if (!facts->cgroup)
                return;
        if (strncmp(cgroup_describe(facts->cgroup, unit, sizeof(unit)), "unit:", 5) == 0)
                message_add_text(m, "KVPAGER_UNIT", unit + 5);
        message_add_text(m, "KVPAGER_CGROUP", facts->cgroup);
}

size_t journal_format(char buffer[static JOURNAL_MAX], enum log_level level, const struct log_facts *facts,
                      const char *sentence)
{
        struct message m = { .buffer = buffer };

        assert(facts && sentence && facts->kind < LOG_KIND_MAX_);

        message_add(&m, "MESSAGE=%s", sentence);
        message_add(&m, "PRIORITY=%d", (int)level);
        message_add(&m, "SYSLOG_IDENTIFIER=kvpagerd");
        message_add_text(&m, "MESSAGE_ID", kind_ids[facts->kind]);
        message_add_text(&m, "KVPAGER_EVENT", kind_names[facts->kind]);
        message_add_text(&m, "KVPAGER_TENANT", facts->tenant);
        message_add_text(&m, "KVPAGER_DEVICE", facts->device);
        message_add_number(&m, "KVPAGER_WORKER", facts->worker);
        message_add_number(&m, "KVPAGER_BYTES", facts->bytes);
        message_add_number(&m, "KVPAGER_COUNT", facts->count);
        message_add_number(&m, "KVPAGER_DEADLINE_USEC", facts->deadline_usec);
        if (facts->pid > 0)
                message_add_process(&m, facts);
        return m.used;
}

static int journal_connect(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert(strlen(path) < sizeof(address.sun_path));

        if (fd < 0)
                return -errno;
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        journal.fd = TAKE_FD(fd);
        return 0;
}

/* 0, or a negative errno. */
static int journal_try(const char *message, size_t size)
{
        ssize_t n;

        do
                n = send(journal.fd, message, size, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

bool journal_send(const char *path, const char *message, size_t size)
{
        struct pollfd p = { .events = POLLOUT };
        int r = -ENOTCONN;

        assert(path && message && size > 0);

        /* Where its socket was made anew, ours leads nowhere. */
        for (unsigned attempt = 0; attempt < 2; attempt++) {
                if (journal.fd < 0 && journal_connect(path) < 0)
                        return false;
                r = journal_try(message, size);
                if (r == 0 || r == -EAGAIN)
                        break;
                journal.fd = fd_close(journal.fd);
        }
        p.fd = journal.fd;
        if (r == -EAGAIN && !journal.stuck && poll(&p, 1, GRACE_MSEC) > 0)
                r = journal_try(message, size);
        journal.stuck = r < 0;
        return r == 0;
}

bool journal_is_read(void)
{
        int unread = 0;

        return journal.fd < 0 || ioctl(journal.fd, SIOCOUTQ, &unread) < 0 || unread == 0;
}
