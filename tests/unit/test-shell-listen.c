/* SPDX-License-Identifier: MIT
 *
 * test-shell-listen.c -- where the socket goes, and that one path has one daemon.
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

#include "listen.h"
#include "owner.h"

static char folder[64], path[LISTEN_PATH_MAX], error[512];

static void setup(void)
{
        snprintf(folder, sizeof(folder), "/tmp/kvp-listen-XXXXXX");
        cr_assert_not_null(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/sub/k.sock", folder);
        setenv("KVPAGER_SOCKET", path, 1);
        unsetenv("LISTEN_FDS");
}

static void teardown(void)
{
        char command[128];

        snprintf(command, sizeof(command), "rm -rf '%s'", folder);
        cr_assert_eq(system(command), 0);
}

TestSuite(listener, .init = setup, .fini = teardown);

static int try_connect(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

        strcpy(address.sun_path, path);
        r = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
        close(fd);
        return r;
}

Test(listener, makes_folder_socket_and_mode_and_takes_them_away)
{
        struct listener listener;
        struct stat st;

        cr_assert_eq(listen_open(&listener, 0640, getegid(), error, sizeof(error)), 0, "%s", error);
        cr_assert_eq(stat(path, &st), 0);
        cr_expect(S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0640);
        cr_expect_eq(try_connect(), 0);
        cr_expect_eq(fcntl(listener.fd, F_GETFD), FD_CLOEXEC);
        listen_close(&listener);
        cr_expect(stat(path, &st) < 0 && errno == ENOENT);
        cr_expect(stat(listener.lock_path, &st) < 0 && errno == ENOENT);
        listen_close(&listener);
}

Test(listener, the_second_is_told_of_the_first)
{
        struct listener first, second;
        char expected[256];

        cr_assert_eq(listen_open(&first, 0600, (gid_t)-1, error, sizeof(error)), 0, "%s", error);
        cr_expect_eq(listen_open(&second, 0600, (gid_t)-1, error, sizeof(error)), -EADDRINUSE);
        snprintf(expected, sizeof(expected),
                 "another kvpagerd (pid %d) serves %s: stop it, or set KVPAGER_SOCKET to another path", (int)getpid(),
                 path);
        cr_expect_str_eq(error, expected);
        cr_expect_eq(try_connect(), 0, "and the first is still there");
        listen_close(&first);
        cr_expect_eq(listen_open(&second, 0600, (gid_t)-1, error, sizeof(error)), 0, "%s", error);
        listen_close(&second);
}

Test(listener, what_a_killed_daemon_left_is_replaced)
{
        struct listener first, second;

        cr_assert_eq(listen_open(&first, 0600, (gid_t)-1, error, sizeof(error)), 0, "%s", error);
        first.fd = fd_close(first.fd); /* as kill -9 does: closed, and nothing removed */
        first.lock_fd = fd_close(first.lock_fd);
        cr_expect_eq(try_connect(), -ECONNREFUSED);
        cr_assert_eq(listen_open(&second, 0600, (gid_t)-1, error, sizeof(error)), 0, "%s", error);
        cr_expect_eq(try_connect(), 0);
        listen_close(&second);
}

Test(listener, a_server_without_a_lock_is_left_alone)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct listener second;
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        char sub[96];

        snprintf(sub, sizeof(sub), "%s/sub", folder);
        cr_assert_eq(mkdir(sub, 0755), 0);
        strcpy(address.sun_path, path);
        cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(fd, 1), 0);
        cr_expect_eq(listen_open(&second, 0600, (gid_t)-1, error, sizeof(error)), -EADDRINUSE);
        cr_expect_not_null(strstr(error, "another program serves"));
        close(fd);
}

Test(listener, what_is_no_socket_is_left_alone)
{
        struct listener listener;
        char sub[96];
        int fd;

        snprintf(sub, sizeof(sub), "%s/sub", folder);
        cr_assert_eq(mkdir(sub, 0755), 0);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        cr_assert(fd >= 0);
        close(fd);
        cr_expect_eq(listen_open(&listener, 0600, (gid_t)-1, error, sizeof(error)), -EEXIST);
        cr_expect_not_null(strstr(error, "is no socket"));
        cr_expect_eq(access(path, F_OK), 0);
}

Test(listener, paths)
{
        char long_path[LISTEN_PATH_MAX + 1], got[LISTEN_PATH_MAX];

        memset(long_path, 'x', sizeof(long_path));
        long_path[0] = '/';
        long_path[LISTEN_PATH_MAX] = '\0';
        setenv("KVPAGER_SOCKET", long_path, 1);
        cr_expect_eq(listen_path(got, error, sizeof(error)), -ENAMETOOLONG);
        cr_expect_not_null(strstr(error, "has 108 bytes and may have 107"), "%s", error);
        long_path[LISTEN_PATH_MAX - 1] = '\0';
        setenv("KVPAGER_SOCKET", long_path, 1);
        cr_expect_eq(listen_path(got, error, sizeof(error)), 0);
        cr_expect_str_eq(got, long_path);

        unsetenv("KVPAGER_SOCKET");
        setenv("RUNTIME_DIRECTORY", "/run/kvpager", 1);
        cr_expect_eq(listen_path(got, error, sizeof(error)), 0);
        cr_expect_str_eq(got, "/run/kvpager/kvpager.sock");
        unsetenv("RUNTIME_DIRECTORY");
        setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
        if (geteuid() == 0)
                cr_assert_eq(seteuid(65534), 0);
        cr_expect_eq(listen_path(got, error, sizeof(error)), 0);
        cr_expect_str_eq(got, "/run/user/7/kvpager/kvpager.sock");
        unsetenv("XDG_RUNTIME_DIR");
        cr_expect_eq(listen_path(got, error, sizeof(error)), -ENOENT);
        cr_expect_not_null(strstr(error, "set KVPAGER_SOCKET"));
        if (getuid() == 0)
                cr_assert_eq(seteuid(0), 0);
}
