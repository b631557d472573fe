/* SPDX-License-Identifier: MIT
 *
 * crew.c -- see crew.h: workers are born, spoken to and buried here; crew-clock.c says whose turn it is.
 */
#include "crew.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "crew-inside.h"

static int death_complain(struct crew *crew, uint32_t i, int status, struct complaint *complaint)
{
        const struct member *member = &crew->members[i];

        if (WIFSIGNALED(status))
                return complain(complaint, -ECHILD, "worker %u%s%s%s died of signal %d (%s)", i,
                                member->tenant ? " of tenant '" : "", member->tenant ? member->tenant : "",
                                member->tenant ? "'" : "", WTERMSIG(status), strsignal(WTERMSIG(status)));
        return complain(complaint, -ECHILD, "worker %u%s%s%s ended too early, with status %d", i,
                        member->tenant ? " of tenant '" : "", member->tenant ? member->tenant : "",
                        member->tenant ? "'" : "", WEXITSTATUS(status));
}

/* A child died. 0: one that may. */
static int crew_bury(struct crew *crew, bool leaving, struct complaint *complaint)
{
        pid_t pid;
        int status;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                if (pid == crew->daemon) {
                        crew->daemon = 0;
                        return complain(complaint, -ENOTCONN, "kvpagerd ended before its workers did");
                }
                for (uint32_t i = 0; i < crew->n; i++) {
                        if (crew->members[i].pid != pid)
                                continue;
                        crew->members[i].pid = 0;
                        if (!leaving || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
                                return death_complain(crew, i, status, complaint);
                }
        }
        return 0;
}

static int crew_take_signal(struct crew *crew, bool leaving, struct complaint *complaint)
{
        struct signalfd_siginfo info;

        if (read(crew->signal_fd, &info, sizeof(info)) != sizeof(info))
                return 0;
        if (info.ssi_signo == SIGCHLD)
                return crew_bury(crew, leaving, complaint);
        return complain(complaint, -EINTR, "stopped by signal %u", info.ssi_signo);
}

/* Takes the packet that waits at member i. -EAGAIN: none does. */
static int member_receive(struct crew *crew, uint32_t i, struct complaint *complaint)
{
        struct member *member = &crew->members[i];
        struct report *report = &member->report;
        ssize_t n = recv(member->fd, report, sizeof(*report), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return -EAGAIN;
        if (n <= 0) { /* it is dead or dying: the status says of what */
                int status = 0;

                if (member->pid > 0 && waitpid(member->pid, &status, 0) == member->pid)
                        member->pid = 0;
                return death_complain(crew, i, status, complaint);
        }
        if (n != (ssize_t)offsetof(struct report, wait_nsec) && n != (ssize_t)sizeof(*report))
                return complain(complaint, -EPROTO, "worker %u sent a packet of %zd bytes", i, n);
        if (report->kind == REPORT_FAILED)
                return complain(complaint, -ECHILD, "worker %u%s%s%s failed: %.255s", i,
                                member->tenant ? " of tenant '" : "", member->tenant ? member->tenant : "",
                                member->tenant ? "'" : "", report->error);
        return 0;
}

int crew_wait(struct crew *crew, uint32_t i, enum report_kind kind, bool leaving, struct complaint *complaint)
{
        for (;;) {
                struct pollfd pollfds[] = {
                        { .fd = crew->members[i].fd, .events = POLLIN },
                        { .fd = crew->signal_fd, .events = POLLIN },
                };
                int r = poll(pollfds, 2, CREW_TIMEOUT_MSEC);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return complain(complaint, -ETIMEDOUT, "worker %u has not answered for %d s", i,
                                        CREW_TIMEOUT_MSEC / 1000);
                if (pollfds[0].revents) {
                        r = member_receive(crew, i, complaint);
                        if (r == -EAGAIN)
                                continue;
                        if (r < 0 || crew->members[i].report.kind == kind)
                                return r;
                }
                if (pollfds[1].revents) {
                        r = crew_take_signal(crew, leaving, complaint);
                        if (r < 0)
                                return r;
                }
        }
}

int crew_wait_any(struct crew *crew, uint32_t *ret_i, struct complaint *complaint)
{
        _cleanup_(cleanup_free) struct pollfd *pollfds = calloc(crew->n + 1, sizeof(*pollfds));

        if (!pollfds)
                return complain(complaint, -ENOMEM, "no memory to wait for %u workers", crew->n);
        for (uint32_t i = 0; i < crew->n; i++)
                pollfds[i] = (struct pollfd){ .fd = crew->members[i].fd, .events = POLLIN };
        pollfds[crew->n] = (struct pollfd){ .fd = crew->signal_fd, .events = POLLIN };

        for (;;) {
                int r = poll(pollfds, crew->n + 1, CREW_TIMEOUT_MSEC);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return complain(complaint, -ETIMEDOUT, "no worker has reported for %d s",
                                        CREW_TIMEOUT_MSEC / 1000);
                for (uint32_t i = 0; i < crew->n; i++) {
                        if (!pollfds[i].revents)
                                continue;
                        r = member_receive(crew, i, complaint);
                        if (r == -EAGAIN)
                                continue;
                        *ret_i = i;
                        return r;
                }
                if (pollfds[crew->n].revents) {
                        r = crew_take_signal(crew, false, complaint);
                        if (r < 0)
                                return r;
                }
        }
}

int crew_tell(struct crew *crew, uint32_t i, enum turn_kind kind, uint64_t horizon_usec, struct complaint *complaint)
{
        const struct turn turn = { .kind = kind, .horizon_usec = horizon_usec };

        if (send(crew->members[i].fd, &turn, sizeof(turn), MSG_NOSIGNAL) == sizeof(turn))
                return 0;
        /* It is gone; its last words, if any, are better than ours. */
        return crew_wait(crew, i, REPORT_FAILED, false, complaint) < 0
                       ? -ECHILD
                       : complain(complaint, -ECHILD, "worker %u does not listen", i);
}

static _Noreturn void member_live(struct crew *crew, struct worker_setup *setup, pid_t parent)
{
        sigset_t none;

        /* The coordinator's death is the worker's, also if it happened before this call. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        for (uint32_t i = 0; i < crew->n; i++)
                if (crew->members[i].fd >= 0)
                        (void)close(crew->members[i].fd);
        (void)close(crew->signal_fd);
        _exit(worker_run(setup));
}

static int member_start(struct crew *crew, uint32_t i, struct worker_setup *setup)
{
        pid_t parent = getpid(), pid;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        pid = fork();
        if (pid < 0) {
                int error = -errno;

                (void)close(fds[0]);
                (void)close(fds[1]);
                return error;
        }
        if (pid == 0) {
                (void)close(fds[0]);
                setup->fd = fds[1];
                member_live(crew, setup, parent);
        }
        (void)close(fds[1]);
        crew->members[i].pid = pid;
        crew->members[i].fd = fds[0];
        return 0;
}

int crew_start(struct crew *crew, struct worker_setup *setups, uint32_t n, uint32_t n_tenants,
               struct complaint *complaint)
{
        assert(crew && n > 0 && n_tenants > 0);
        assert(crew->n == 0);

        crew->members = calloc(n, sizeof(*crew->members));
        crew->tenants = calloc(n_tenants, sizeof(*crew->tenants));
        if (!crew->members || !crew->tenants)
                return complain(complaint, -ENOMEM, "no memory for %u workers", n);
        crew->n_tenants = n_tenants;
        crew->n = n;
        for (uint32_t i = 0; i < n; i++) {
                crew->members[i].fd = -1;
                crew->members[i].tenant = setups[i].pager.tenant;
        }
        for (uint32_t i = 0; i < n; i++) {
                int r = member_start(crew, i, &setups[i]);

                if (r < 0)
                        return complain(complaint, r, "cannot start worker %u: %s", i, strerror(-r));
                /* One after the other: the daemon asks them for memory in the order in which they came, where nothing
                 * else tells them apart. */
                r = crew_wait(crew, i, REPORT_READY, false, complaint);
                if (r < 0)
                        return r;
        }
        return 0;
}

int crew_end(struct crew *crew, struct complaint *complaint)
{
        int r;

        for (uint32_t i = 0; i < crew->n; i++) {
                r = crew_tell(crew, i, TURN_END, 0, complaint);
                if (r < 0)
                        return r;
        }
        for (uint32_t i = 0; i < crew->n; i++) {
                r = crew_wait(crew, i, REPORT_LEFT, true, complaint);
                if (r < 0)
                        return r;
        }
        for (uint32_t i = 0; i < crew->n; i++) {
                int status = 0;

                if (crew->members[i].pid == 0)
                        continue;
                if (waitpid(crew->members[i].pid, &status, 0) == crew->members[i].pid)
                        crew->members[i].pid = 0;
                if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                        return death_complain(crew, i, status, complaint);
        }
        return 0;
}

void crew_clear(struct crew *crew)
{
        if (!crew)
                return;
        for (uint32_t i = 0; i < crew->n; i++)
                if (crew->members[i].pid > 0)
                        (void)kill(crew->members[i].pid, SIGKILL);
        for (uint32_t i = 0; i < crew->n; i++) {
                if (crew->members[i].pid > 0)
                        (void)waitpid(crew->members[i].pid, NULL, 0);
                if (crew->members[i].fd >= 0)
                        (void)close(crew->members[i].fd);
        }
        free(crew->members);
        free(crew->tenants);
        crew->members = NULL;
        crew->tenants = NULL;
        crew->n = 0;
}
