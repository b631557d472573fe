/* SPDX-License-Identifier: MIT
 *
 * test-shell-log.c -- what journald is sent, that nobody waits for it, and how long a start waits that follows failed
 * ones.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backoff.h"
#include "journal.h"

static char folder[64], path[80];

static void set_up(void)
{
        (void)snprintf(folder, sizeof(folder), "/tmp/kvp-XXXXXX");
        cr_assert_not_null(mkdtemp(folder));
        (void)snprintf(path, sizeof(path), "%s/socket", folder);
}

static void tear_down(void)
{
        (void)unlink(path);
        (void)rmdir(folder);
}

TestSuite(journal, .init = set_up, .fini = tear_down);

static int journald_listen(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        memcpy(address.sun_path, path, strlen(path) + 1);
        (void)unlink(path);
        cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static bool has_line(const char *message, size_t size, const char *line)
{
        char text[JOURNAL_MAX + 2] = "\n", wanted[256];

        memcpy(text + 1, message, size);
        text[size + 1] = '\0';
        (void)snprintf(wanted, sizeof(wanted), "\n%s\n", line);
        return strstr(text, wanted) != NULL;
}

Test(journal, has_a_field_for_each_fact)
{
        const struct log_facts facts = {
                .kind = LOG_KIND_revoke_overdue,
                .pid = 77,
                .uid = 1000,
                .cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/chat.service",
                .worker = 65537,
                .tenant = "a",
                .device = "gpu0",
                .bytes = 1u << 21,
                .deadline_usec = 500000,
                .count = 3
        };
        static const char *const lines[] = { "MESSAGE=it owes",
                                             "PRIORITY=4",
                                             "SYSLOG_IDENTIFIER=kvpagerd",
                                             "MESSAGE_ID=594309a00f994a5db09d2aa3f4c7cd9f",
                                             "KVPAGER_EVENT=revoke_overdue",
                                             "KVPAGER_TENANT=a",
                                             "KVPAGER_DEVICE=gpu0",
                                             "KVPAGER_WORKER=65537",
                                             "KVPAGER_BYTES=2097152",
                                             "KVPAGER_COUNT=3",
                                             "KVPAGER_DEADLINE_USEC=500000",
                                             "OBJECT_PID=77",
                                             "KVPAGER_UID=1000",
                                             "KVPAGER_UNIT=1000/chat.service" };
        char message[JOURNAL_MAX];
        size_t size = journal_format(message, LOG_LEVEL_WARNING, &facts, "it owes");

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
                cr_expect(has_line(message, size, lines[i]), "no %s in %.*s", lines[i], (int)size, message);
}

Test(journal, leaves_out_what_does_not_apply)
{
        char message[JOURNAL_MAX];
        size_t size = journal_format(message, LOG_LEVEL_INFO, &(struct log_facts){ .kind = LOG_KIND_none }, "x");

        cr_assert_eq(size, strlen("MESSAGE=x\nPRIORITY=6\nSYSLOG_IDENTIFIER=kvpagerd\n"));
        size = journal_format(message, LOG_LEVEL_INFO, &(struct log_facts){ .pid = 1, .cgroup = "/lxc/7" }, "x");
        cr_assert(has_line(message, size, "KVPAGER_CGROUP=/lxc/7"));
        cr_assert_null(memmem(message, size, "KVPAGER_UNIT", 12));
}

/* What somebody else chose is one line of one field, and what is too long is left out as a whole. */
Test(journal, takes_no_field_from_a_value)
{
        char message[JOURNAL_MAX], *cgroup = calloc(1, 2 * JOURNAL_MAX);
        struct log_facts facts = { .pid = 1, .cgroup = cgroup, .tenant = "b" };
        size_t size = journal_format(message, LOG_LEVEL_INFO, &facts, "one\nPRIORITY=0");

        cr_assert(has_line(message, size, "MESSAGE=one?PRIORITY=0"));
        cr_assert_not(has_line(message, size, "PRIORITY=0"));
        memset(cgroup, 'x', 2 * JOURNAL_MAX - 1);
        cgroup[0] = '/';
        size = journal_format(message, LOG_LEVEL_INFO, &facts, "x");
        cr_assert(size < JOURNAL_MAX && message[size - 1] == '\n' && has_line(message, size, "KVPAGER_TENANT=b"));
        cr_assert_null(memmem(message, size, "KVPAGER_CGROUP", 14));
        free(cgroup);
}

/* Nobody reads: at some point it says so, each time at once, and goes on when somebody does. */
Test(journal, waits_for_nobody, .timeout = 20)
{
        int fd = journald_listen();
        char buffer[16];
        unsigned taken = 0;

        while (journal_send(path, "A=1\n", 4))
                taken++;
        cr_assert(taken > 0 && !journal_is_read());
        for (unsigned i = 0; i < 10000; i++)
                cr_assert_not(journal_send(path, "A=1\n", 4));
        for (unsigned i = 0; i < taken; i++)
                cr_assert_eq(recv(fd, buffer, sizeof(buffer), 0), 4);
        cr_assert(journal_is_read() && journal_send(path, "A=1\n", 4));
        (void)close(fd);
}

Test(journal, finds_a_socket_that_was_made_anew)
{
        int fd = journald_listen();

        cr_assert(journal_send(path, "A=1\n", 4));
        (void)close(fd);
        cr_assert_not(journal_send(path, "A=1\n", 4));
        fd = journald_listen();
        cr_assert(journal_send(path, "A=1\n", 4));
        (void)close(fd);
        (void)unlink(path);
        cr_assert_not(journal_send(path, "A=1\n", 4));
}

Test(backoff, waits_longer_and_longer_up_to_a_bound)
{
        cr_assert_eq(backoff_delay_msec(0), 0);
        cr_assert_eq(backoff_delay_msec(1), 100);
        cr_assert_eq(backoff_delay_msec(2), 200);
        cr_assert_eq(backoff_delay_msec(7), 6400);
        cr_assert_eq(backoff_delay_msec(8), 10000);
        cr_assert_eq(backoff_delay_msec(UINT32_MAX), 10000);
}

static void failed_starts_are(const char *expected)
{
        char file[96], text[16] = "";
        FILE *f;

        (void)snprintf(file, sizeof(file), "%s/failed-starts", folder);
        f = fopen(file, "r");
        if (f) {
                cr_assert_not_null(fgets(text, sizeof(text), f));
                (void)fclose(f);
        }
        cr_assert_str_eq(text, expected);
}

/* Only as what systemd started: whose folder it is otherwise nobody knows. */
Test(backoff, counts_the_starts_that_came_to_nothing, .init = set_up, .fini = tear_down)
{
        char pid[16];

        (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
        cr_assert_eq(setenv("RUNTIME_DIRECTORY", folder, 1), 0);
        cr_assert_eq(setenv("SYSTEMD_EXEC_PID", "1", 1), 0);
        backoff_start();
        failed_starts_are("");
        cr_assert_eq(setenv("SYSTEMD_EXEC_PID", pid, 1), 0);
        backoff_start();
        failed_starts_are("1\n");
        backoff_start(); /* a tenth of a second later */
        failed_starts_are("2\n");
        backoff_done();
        failed_starts_are("");
        backoff_start();
        backoff_done();
}

/* Where stderr is the journal's, systemd says so, and nothing goes there; what the journal does not take is lost. */
Test(journal, has_the_lines_where_stderr_is_its)
{
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        char stream[64], text[128] = "";
        struct stat st;

        cr_assert(fd >= 0 && fstat(fd, &st) == 0 && dup2(fd, STDERR_FILENO) >= 0);
        (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                       (unsigned long long)st.st_ino);
        cr_assert_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
        log_open();
        for (unsigned i = 0; i < 3; i++)
                log_about(LOG_LEVEL_INFO, &(struct log_facts){ .kind = LOG_KIND_daemon_started }, "a test of kvpagerd");
        log_error("a test of kvpagerd");
        log_flush();
        cr_assert(fstat(fd, &st) == 0 && st.st_size == 0);
        cr_assert_eq(setenv("JOURNAL_STREAM", "1:1", 1), 0);
        log_open();
        log_about(LOG_LEVEL_INFO, &(struct log_facts){ .device = "d" }, "one");
        log_debug("not at this level");
        cr_assert(pread(fd, text, sizeof(text) - 1, 0) > 0);
        cr_assert_not_null(
                strstr(text, "kvpagerd: info: [device d] one\n")); /* and how many the journal did not take */
        cr_assert_null(strstr(text, "level"));
        (void)close(fd);
}

/* As with `kvpagerd 2>&1 | less`: nobody reads, and nobody waits. */
Test(log, waits_for_no_reader, .timeout = 20)
{
        static char text[1 << 17];
        size_t used = 0;
        ssize_t n;
        int ends[2];

        cr_assert_eq(unsetenv("JOURNAL_STREAM"), 0);
        cr_assert(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], STDERR_FILENO) >= 0);
        log_open();
        for (unsigned i = 0; i < 10000; i++)
                log_info("line %u", i);
        cr_assert_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
        while ((n = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0)
                used += (size_t)n;
        cr_assert_null(strstr(text, "line 9999\n"));
        log_info("the last");
        n = read(ends[0], text, sizeof(text) - 1);
        cr_assert(n > 0);
        text[n] = '\0';
        cr_assert_not_null(strstr(text, " lines were left out before this\nkvpagerd: info: the last\n"), "%s", text);
        (void)close(ends[0]);
}
