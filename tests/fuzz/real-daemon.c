/* SPDX-License-Identifier: MIT
 *
 * real-daemon.c -- see real-daemon.h.
 */
#include "real-daemon.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "closer.h"
#include "inline-device.h"

#define TENANTS   2u
#define TURNS_MAX 20000u
#define BURY_MAX  20000u
#define PATH_SIZE (sizeof(((struct sockaddr_un *)0)->sun_path))

static const char config_text[] = "[daemon]\nmax-workers = 5\nslow-reader-deadline = 1s\nlog-level = error\n"
                                  "[device host]\nbackend = host\ncapacity = 4M\npage-size = 64K\nvirgin-pages = 8\n"
                                  "[tenant default]\nmatch = any\nmemory.min = 256K\nreclaim-deadline = 200ms\n"
                                  "[tenant small]\nmatch = any\nmemory.max = 100%\nmemory.high = 2M\nweight = 10\n";

static struct {
        struct daemon *daemon;
        char folder[104], socket[PATH_SIZE], config[PATH_SIZE];
        struct config_tenant tenants[TENANTS];
} real;

_Noreturn static void fail(const char *why)
{
        (void)fprintf(stderr, "fuzz-conn: %s\n", why);
        abort();
}

static void complain(void *userdata, const char *sentence)
{
        (void)userdata;
        fail(sentence);
}

static void stop(void)
{
        daemon_free(real.daemon);
        (void)unlink(real.config);
        (void)rmdir(real.folder);
}

/* An operator may ask for on-overdue = kill, and all workers are this process: without the capability it is refused. */
static void drop_kill(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

        if (syscall(SYS_capget, &header, data) < 0)
                fail("capget");
        data[0].effective &= ~(1u << CAP_KILL);
        if (syscall(SYS_capset, &header, data) < 0)
                fail("capset");
}

static void make_files(void)
{
        const char *tmp = getenv("TMPDIR");
        FILE *file;

        (void)snprintf(real.folder, sizeof(real.folder), "%.80s/kvp-fuzz-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(real.folder))
                fail("no folder for the socket");
        (void)snprintf(real.socket, sizeof(real.socket), "%s/s", real.folder);
        (void)snprintf(real.config, sizeof(real.config), "%s/c", real.folder);
        (void)setenv("KVPAGER_SOCKET", real.socket, 1);
        file = fopen(real.config, "we");
        if (!file || fputs(config_text, file) < 0 || fclose(file) != 0)
                fail("no configuration file");
}

struct daemon *real_daemon_start(struct sockaddr_un *ret_address)
{
        struct config *config = NULL;
        sigset_t before;

        drop_kill();
        make_files();
        (void)config_load(real.config, complain, NULL, &config);
        (void)sigprocmask(SIG_SETMASK, NULL, &before);
        if (daemon_new(config, real.config, -1, &real.daemon) < 0)
                fail("the daemon does not start");
        (void)sigprocmask(SIG_SETMASK, &before, NULL); /* the fuzzer's signals are its own */
        (void)atexit(stop);
        /* So that descriptors come as far as us, whatever the kernel is; without the option they do so anyway. */
        (void)setsockopt(real.daemon->listener.fd, SOL_SOCKET, SO_PASSRIGHTS, &(int){ 1 }, sizeof(int));
        memcpy(real.tenants, real.daemon->config->tenants, sizeof(real.tenants));
        real_daemon_run(real.daemon);
        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret_address->sun_path, real.socket, sizeof(real.socket));
        return real.daemon;
}

/* What loop_run() does, without waiting. False: nothing was ready. */
static bool turn(struct daemon *d)
{
        struct epoll_event events[16];
        int n = epoll_wait(d->epoll, events, 16, 0);
        bool any = n > 0;

        for (int i = 0; i < n; i++)
                if (events[i].data.ptr)
                        peer_serve(events[i].data.ptr, events[i].events);
        daemon_settle(d);
        any |= sd_event_run(d->event, 0) > 0;
        while (!inline_device.lazy && inline_device_work())
                any = true;
        return any;
}

void real_daemon_run(struct daemon *d)
{
        unsigned turns = 0;

        while (turn(d))
                if (++turns == TURNS_MAX)
                        fail("the loop does not come to rest");
}

void real_daemon_bury(struct daemon *d)
{
        for (unsigned i = 0; d->remains.n > 0 || closer_waiting(d->remains.closer) > 0; i++) {
                if (i == BURY_MAX)
                        fail("what remains of connections stays");
                remains_look(d);
                (void)usleep(100);
        }
}

void real_daemon_restore(struct daemon *d)
{
        if (memcmp(real.tenants, d->config->tenants, sizeof(real.tenants)) == 0)
                return;
        memcpy(d->config->tenants, real.tenants, sizeof(real.tenants));
        if (reload_tenants(d, d->config) < 0)
                fail("the tenants cannot be as they were");
}
