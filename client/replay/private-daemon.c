/* SPDX-License-Identifier: MIT
 *
 * private-daemon.c -- see private-daemon.h.
 */
#include "private-daemon.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

#define START_TIMEOUT_MSEC 30000
#define STOP_TIMEOUT_MSEC  20000

static const char config_name[] = "kvpagerd.conf", socket_name[] = "kvpager.sock", notify_name[] = "notify.sock",
                  log_name[] = "log";

static void path_of(const struct private_daemon *daemon, const char *name, char path[static 96])
{
        (void)snprintf(path, 96, "%s/%s", daemon->directory, name);
}

static int config_write(const struct private_daemon *daemon, const struct private_daemon_options *options)
{
        _cleanup_(cleanup_file) FILE *file = NULL;
        char path[96];

        path_of(daemon, config_name, path);
        file = fopen(path, "wex");
        if (!file)
                return -errno;
        (void)fprintf(file, "[daemon]\n\n[device gpu0]\nbackend = host\ncapacity = %ju\npage-size = %ju\n",
                      (uintmax_t)options->capacity, (uintmax_t)options->page_size);
        for (uint32_t i = 0; i < options->n_tenants; i++)
                (void)fprintf(file, "\n[tenant t%u]\nmatch = any\n", i);
        return fflush(file) == 0 ? 0 : -errno;
}

static int notify_bind(const struct private_daemon *daemon, int *ret_fd)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(cleanup_fd) int fd = -1;
        char path[96];

        path_of(daemon, notify_name, path);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        *ret_fd = take_fd(&fd);
        return 0;
}

/* In the child. Returns only if it could not be started. */
static void daemon_exec(const struct private_daemon *daemon, pid_t parent)
{
        char config[96], notify[96], log[96], program[PATH_MAX + 16];
        sigset_t none;
        ssize_t n;
        int fd;

        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                return;
        path_of(daemon, config_name, config);
        path_of(daemon, notify_name, notify);
        path_of(daemon, log_name, log);
        fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
                return;
        (void)setenv("KVPAGER_SOCKET", daemon->socket_path, 1);
        (void)setenv("NOTIFY_SOCKET", notify, 1);
        (void)unsetenv("LISTEN_FDS");
        (void)unsetenv("LISTEN_PID");
        (void)unsetenv("WATCHDOG_USEC");
        (void)setpgid(0, 0); /* ^C on the terminal is for us; it ends after its workers */
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);

        n = readlink("/proc/self/exe", program, PATH_MAX);
        if (n > 0) {
                program[n] = '\0';
                (void)strcpy(strrchr(program, '/') + 1, "kvpagerd");
                (void)execl(program, "kvpagerd", "--config", config, (char *)NULL);
        }
        (void)execlp("kvpagerd", "kvpagerd", "--config", config, (char *)NULL);
        (void)dprintf(STDERR_FILENO, "cannot run kvpagerd: %s\n", strerror(errno));
}

/* The last line of its log, for a complaint. */
static void log_read_last(const struct private_daemon *daemon, char *line, size_t size)
{
        _cleanup_(cleanup_file) FILE *file = NULL;
        char path[96], buffer[256];

        (void)snprintf(line, size, "it said nothing");
        path_of(daemon, log_name, path);
        file = fopen(path, "re");
        while (file && fgets(buffer, sizeof(buffer), file)) {
                buffer[strcspn(buffer, "\n")] = '\0';
                if (buffer[0])
                        (void)snprintf(line, size, "%s", buffer);
        }
}

static int daemon_wait_ready(struct private_daemon *daemon, int notify_fd, int pid_fd, struct complaint *complaint)
{
        char last[256];

        for (;;) {
                struct pollfd pollfds[] = {
                        { .fd = notify_fd, .events = POLLIN },
                        { .fd = pid_fd, .events = POLLIN },
                };
                char packet[1024];
                ssize_t n;
                int r = poll(pollfds, 2, START_TIMEOUT_MSEC);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0) {
                        log_read_last(daemon, last, sizeof(last));
                        return complain(complaint, -ETIMEDOUT, "kvpagerd is not ready after %d s: %s",
                                        START_TIMEOUT_MSEC / 1000, last);
                }
                n = recv(notify_fd, packet, sizeof(packet) - 1, 0);
                if (n > 0) {
                        packet[n] = '\0';
                        if (strncmp(packet, "READY=1", 7) == 0 || strstr(packet, "\nREADY=1"))
                                return 0;
                        continue;
                }
                if (pollfds[1].revents) {
                        log_read_last(daemon, last, sizeof(last));
                        return complain(complaint, -ECHILD, "kvpagerd did not start: %s", last);
                }
        }
}

int private_daemon_start(const struct private_daemon_options *options, struct private_daemon *ret_daemon,
                         struct complaint *complaint)
{
        _cleanup_(cleanup_fd) int notify_fd = -1, pid_fd = -1;
        struct private_daemon *daemon = ret_daemon;
        const char *folder = getenv("TMPDIR");
        pid_t parent = getpid(), pid;
        int r;

        assert(options->n_tenants > 0);
        assert(daemon);

        *daemon = (struct private_daemon){ 0 };
        if (!folder || folder[0] != '/' || strlen(folder) > 32) /* the socket's path must stay short */
                folder = "/tmp";
        (void)snprintf(daemon->directory, sizeof(daemon->directory), "%s/kvpager-replay.XXXXXX", folder);
        if (!mkdtemp(daemon->directory)) {
                r = -errno;
                daemon->directory[0] = '\0';
                return complain(complaint, r, "cannot make a folder in %s: %s", folder, strerror(-r));
        }
        (void)snprintf(daemon->socket_path, sizeof(daemon->socket_path), "%.63s/%s", daemon->directory, socket_name);
        r = config_write(daemon, options);
        if (r >= 0)
                r = notify_bind(daemon, &notify_fd);
        if (r < 0)
                return complain(complaint, r, "cannot prepare %s: %s", daemon->directory, strerror(-r));

        pid = fork();
        if (pid < 0)
                return complain(complaint, -errno, "cannot start kvpagerd: %s", strerror(errno));
        if (pid == 0) {
                daemon_exec(daemon, parent);
                _exit(127);
        }
        daemon->pid = pid;
        pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pid_fd < 0)
                return complain(complaint, -errno, "cannot watch kvpagerd: %s", strerror(errno));
        return daemon_wait_ready(daemon, notify_fd, pid_fd, complaint);
}

/* Ends the process; returns its status, or -ETIMEDOUT if it had to be killed. */
static int daemon_end(pid_t pid)
{
        _cleanup_(cleanup_fd) int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd pollfd = { .fd = pid_fd, .events = POLLIN };
        int status = 0, r;

        (void)kill(pid, SIGTERM);
        do
                r = poll(&pollfd, 1, STOP_TIMEOUT_MSEC);
        while (r < 0 && errno == EINTR);
        if (r <= 0)
                (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
        return r <= 0 ? -ETIMEDOUT : status;
}

/* Whatever lies in the folder was put there by us or by our daemon. */
static void folder_remove(const char *path)
{
        DIR *folder = opendir(path);
        const struct dirent *entry;

        while (folder && (entry = readdir(folder)))
                if (entry->d_type != DT_DIR)
                        (void)unlinkat(dirfd(folder), entry->d_name, 0);
        if (folder)
                (void)closedir(folder);
        (void)rmdir(path);
}

int private_daemon_stop(struct private_daemon *daemon, struct complaint *complaint)
{
        char last[256] = "";
        int r = 0;

        if (!daemon)
                return 0;
        if (daemon->pid > 0) {
                int status = daemon_end(daemon->pid);

                daemon->pid = 0;
                log_read_last(daemon, last, sizeof(last));
                if (status == -ETIMEDOUT)
                        r = complain(complaint, -EIO, "kvpagerd did not end within %d s of SIGTERM: %s",
                                     STOP_TIMEOUT_MSEC / 1000, last);
                else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                        r = complain(complaint, -EIO, "kvpagerd ended with %s %d: %s",
                                     WIFSIGNALED(status) ? "signal" : "status",
                                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), last);
        }
        if (daemon->directory[0])
                folder_remove(daemon->directory);
        daemon->directory[0] = '\0';
        return r;
}
