/* SPDX-License-Identifier: MIT
 *
 * private-daemon.c -- see private-daemon.h.
 *
 * The daemon is activated as systemd would do it, with a socket that is already bound; its configuration and its log
 * are memfds. It gets SIGTERM when we die, however we do.
 */
#include "private-daemon.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "memory-file.h"

#define START_TIMEOUT_MSEC 30000
#define STOP_TIMEOUT_MSEC  20000

/* What the daemon finds: systemd's first descriptor is the socket. */
#define SOCKET_FD 3
#define CONFIG_FD (SOCKET_FD + 1)

static int config_write(const struct private_daemon_options *options, int *ret_fd)
{
        _cleanup_(cleanup_file) FILE *file = NULL;
        _cleanup_(cleanup_fd) int fd = memory_file("kvpagerd.conf");

        if (fd < 0)
                return -errno;
        file = fdopen(dup(fd), "w");
        if (!file)
                return -errno;
        (void)fprintf(file, "[daemon]\nholder = no\n\n[device host]\nbackend = host\ncapacity = %ju\npage-size = %ju\n",
                      (uintmax_t)options->capacity, (uintmax_t)options->page_size);
        for (uint32_t i = 0; i < options->n_tenants; i++) {
                const struct private_daemon_tenant *tenant = &options->tenants[i];

                (void)fprintf(file, "\n[tenant t%u]\nmatch = any\n", i);
                if (tenant->weight)
                        (void)fprintf(file, "weight = %u\n", tenant->weight);
                if (tenant->min)
                        (void)fprintf(file, "memory.min = %ju\n", (uintmax_t)tenant->min);
                if (tenant->most)
                        (void)fprintf(file, "memory.max = %ju\n", (uintmax_t)tenant->most);
        }
        if (fflush(file) != 0)
                return -errno;
        *ret_fd = take_fd(&fd);
        return 0;
}

/* A socket that listens, and another descriptor by which it is found although its name is gone again: whoever ends us,
 * nothing is left of it. It is our user's alone from the start. */
static int socket_listen(int *ret_listener, int *ret_place, struct complaint *complaint)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(cleanup_fd) int listener = -1, place = -1;
        const char *folder = getenv("TMPDIR");
        uint64_t number = 0;
        int r = 0;

        if (!folder || folder[0] != '/' || strlen(folder) > sizeof(address.sun_path) - 40)
                folder = "/tmp";
        if (getrandom(&number, sizeof(number), 0) != sizeof(number))
                return complain(complaint, -errno, "getrandom: %s", strerror(errno));
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/kvpager-replay.%016jx", folder,
                       (uintmax_t)number);
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (listener < 0 || fchmod(listener, 0600) < 0 ||
            bind(listener, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return complain(complaint, -errno, "cannot make a socket in %s: %s", folder, strerror(errno));
        place = open(address.sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (place < 0 || listen(listener, SOMAXCONN) < 0)
                r = -errno;
        (void)unlink(address.sun_path);
        if (r < 0)
                return complain(complaint, r, "cannot listen at %s: %s", address.sun_path, strerror(-r));
        *ret_listener = take_fd(&listener);
        *ret_place = take_fd(&place);
        return 0;
}

/* Where the daemon says that it is ready: an abstract address of the kernel's choice, for NOTIFY_SOCKET. */
static int notify_bind(char name[static 32], int *ret_fd)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t size = sizeof(address);
        _cleanup_(cleanup_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address.sun_family)) < 0 ||
            getsockname(fd, (struct sockaddr *)&address, &size) < 0)
                return -errno;
        (void)snprintf(name, 32, "@%.*s", (int)(size - offsetof(struct sockaddr_un, sun_path) - 1),
                       address.sun_path + 1);
        *ret_fd = take_fd(&fd);
        return 0;
}

/* What the child gives to its daemon. */
struct daemon_files {
        int socket, config, log;
};

/* The descriptors go to their places by way of higher ones, for they may lie at each other's. */
static int daemon_place_files(const struct daemon_files *files)
{
        int socket = fcntl(files->socket, F_DUPFD_CLOEXEC, CONFIG_FD + 1),
            config = fcntl(files->config, F_DUPFD_CLOEXEC, CONFIG_FD + 1),
            log = fcntl(files->log, F_DUPFD_CLOEXEC, CONFIG_FD + 1);

        if (socket < 0 || config < 0 || log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
            dup2(socket, SOCKET_FD) < 0 || dup2(config, CONFIG_FD) < 0)
                return -errno;
        return 0;
}

/* In the child. Returns only if it could not be started. */
static void daemon_exec(const struct daemon_files *files, const char *notify, pid_t parent)
{
        char config[32], pid[32], program[PATH_MAX + 16];
        sigset_t none;
        ssize_t n;
        int r;

        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                return;
        r = daemon_place_files(files);
        if (r < 0) {
                (void)dprintf(files->log, "cannot run kvpagerd: %s%s\n", strerror(-r),
                              r == -EMFILE ? " (ulimit -n)" : "");
                return;
        }
        (void)snprintf(config, sizeof(config), "/proc/self/fd/%d", CONFIG_FD);
        (void)snprintf(pid, sizeof(pid), "%jd", (intmax_t)getpid());
        (void)setenv("LISTEN_PID", pid, 1);
        (void)setenv("LISTEN_FDS", "1", 1);
        (void)unsetenv("LISTEN_FDNAMES");
        (void)setenv("NOTIFY_SOCKET", notify, 1);
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

/* The last line of its log that is not empty, for a complaint. */
static void log_read_last(const struct private_daemon *daemon, char *line, size_t size)
{
        char text[1024], *end;
        off_t length = lseek(daemon->log_fd, 0, SEEK_END), from;
        ssize_t n;

        (void)snprintf(line, size, "it said nothing");
        from = length > (off_t)sizeof(text) - 1 ? length - (off_t)sizeof(text) + 1 : 0;
        n = pread(daemon->log_fd, text, sizeof(text) - 1, from);
        while (n > 0 && text[n - 1] == '\n')
                n--;
        if (n <= 0)
                return;
        text[n] = '\0';
        end = strrchr(text, '\n');
        (void)snprintf(line, size, "%.200s", end ? end + 1 : text);
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
        _cleanup_(cleanup_fd) int notify_fd = -1, pid_fd = -1, listener = -1, config = -1;
        struct private_daemon *daemon = ret_daemon;
        pid_t parent = getpid(), pid;
        char notify[32];
        int r;

        assert(options->n_tenants > 0 && options->tenants);
        assert(daemon);

        *daemon = (struct private_daemon){ .log_fd = memory_file("log"), .socket_fd = -1 };
        r = daemon->log_fd < 0 ? -errno : config_write(options, &config);
        if (r >= 0)
                r = notify_bind(notify, &notify_fd);
        if (r < 0)
                return complain(complaint, r, "cannot prepare a kvpagerd: %s", strerror(-r));
        r = socket_listen(&listener, &daemon->socket_fd, complaint);
        if (r < 0)
                return r;
        (void)snprintf(daemon->socket_path, sizeof(daemon->socket_path), "/proc/self/fd/%d", daemon->socket_fd);

        pid = fork();
        if (pid < 0)
                return complain(complaint, -errno, "cannot start kvpagerd: %s", strerror(errno));
        if (pid == 0) {
                daemon_exec(&(struct daemon_files){ .socket = listener, .config = config, .log = daemon->log_fd },
                            notify, parent);
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
        if (daemon->log_fd >= 0)
                (void)close(daemon->log_fd);
        if (daemon->socket_fd >= 0)
                (void)close(daemon->socket_fd);
        daemon->log_fd = daemon->socket_fd = -1;
        return r;
}
