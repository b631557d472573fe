/* SPDX-License-Identifier: MIT
 *
 * ctl-daemon.c -- a daemon as kvpagerctl sees one, in a thread.
 *
 * It knows nothing of kvpagerd: its answers are written down here, so that a test can compare what kvpagerctl shows
 * with them.
 */
#include "ctl-daemon.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

static void daemon_send(int fd, const void *packet, size_t size, const int *fds, unsigned n_fds)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 8)];
        } control = { 0 };
        struct iovec iovec = { .iov_base = (void *)(uintptr_t)packet, .iov_len = size };
        struct msghdr message = { .msg_iov = &iovec, .msg_iovlen = 1 };

        if (n_fds > 0) {
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                struct cmsghdr *c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        (void)sendmsg(fd, &message, MSG_NOSIGNAL);
}

static size_t answer_workers(const struct ctl_daemon *daemon, void *buffer, size_t size, const struct wire_view *ask)
{
        const struct wire_list *list = ask->fixed;
        struct wire_page_of_list page = { 0 };
        struct wire_item_worker workers[64] = { 0 };
        uint32_t n = 0;

        for (uint32_t i = list->cursor; n < 64 && (i < CTL_DAEMON_WORKERS || daemon->fault == FAULT_ENDLESS);
             i++, n++) {
                workers[n] = (struct wire_item_worker){ .pid = 1000 + i,
                                                        .current_bytes = i * 2 * MIB,
                                                        .live_bytes = i * MIB,
                                                        .idle_bytes = i * MIB,
                                                        .worker = i,
                                                        .caches = 1,
                                                        .uid = 42,
                                                        .overdue = i == 1 };
                strcpy(workers[n].tenant, i % 2 ? "blue" : "green");
        }
        if (list->cursor + n < CTL_DAEMON_WORKERS || daemon->fault == FAULT_ENDLESS)
                page.next_cursor = list->cursor + n;
        if (daemon->fault == FAULT_NO_PROGRESS && list->cursor > 0)
                page.next_cursor = list->cursor;
        return wire_encode(buffer, size, WIRE_WORKERS, ask->header.request, 0, &page, workers, n);
}

static size_t answer_tenants(void *buffer, size_t size, const struct wire_view *ask)
{
        struct wire_page_of_list page = { 0 };
        struct wire_item_tenant tenants[] = {
                { .current_bytes = 3 * GIB,
                  .live_bytes = 2 * GIB,
                  .idle_bytes = GIB,
                  .min_bytes = GIB,
                  .high_bytes = UINT64_MAX,
                  .max_bytes = 4 * GIB,
                  .reclaim_deadline_usec = 11,
                  .extents_granted = 12,
                  .pages_granted = 13,
                  .requests = 14,
                  .requests_waited = 15,
                  .requests_failed = 16,
                  .wait_usec = 17,
                  .stall_usec = 18,
                  .revokes = 19,
                  .pages_revoked = 20,
                  .revokes_overdue = 21,
                  .waiting = 7,
                  .overdue = 1,
                  .kills = 1,
                  .workers = 75,
                  .weight = 100,
                  .name = "green" },
                { .high_bytes = UINT64_MAX, .max_bytes = UINT64_MAX, .workers = 75, .weight = 100, .name = "blue" }
        };

        return wire_encode(buffer, size, WIRE_TENANTS, ask->header.request, 0, &page, tenants, 2);
}

static size_t answer_counters(void *buffer, size_t size, const struct wire_view *ask)
{
        struct wire_page_of_list page = { 0 };
        struct wire_item_counter counters[WIRE_COUNTER_MAX_ + 1] = { 0 };

        for (uint64_t i = 0; i < WIRE_COUNTER_MAX_; i++) {
                counters[i].value = i * 7;
                strcpy(counters[i].name, wire_counter_name((enum wire_counter)i));
        }
        strcpy(counters[WIRE_COUNTER_MAX_].name, "of_a_later_version");
        return wire_encode(buffer, size, WIRE_COUNTERS, ask->header.request, 0, &page, counters, WIRE_COUNTER_MAX_ + 1);
}

/* Notes what was set. A value "later" is deferred. */
static size_t answer_set(struct ctl_daemon *daemon, void *buffer, size_t size, const struct wire_view *ask)
{
        const struct wire_tenant_set *set = ask->fixed;
        const struct wire_item_setting *items = ask->items;
        struct wire_limits limits = { 0 };
        size_t used = (size_t)snprintf(daemon->set, sizeof(daemon->set), "%s:", set->tenant);

        for (uint32_t i = 0; i < ask->n_items; i++) {
                used += (size_t)snprintf(daemon->set + used, sizeof(daemon->set) - used, " %s=%s", items[i].key,
                                         items[i].value);
                limits.deferred |= strcmp(items[i].value, "later") == 0;
        }
        return wire_encode(buffer, size, WIRE_LIMITS, ask->header.request, 0, &limits, NULL, 0);
}

/* Of 45 events, numbered from 101, 20 are in a reply; those from 121 to 125 were forgotten. */
static size_t answer_events(void *buffer, size_t size, uint32_t request, uint64_t from)
{
        struct wire_item_event items[20] = { 0 };
        struct wire_events page = { 0 };
        uint32_t n = 0;

        from = from < 101 ? 101 : from;
        for (; n < 20 && from <= 145; from++) {
                if (from >= 121 && from <= 125)
                        continue;
                items[n] = (struct wire_item_event){ .sequence = from,
                                                     .time_usec = UINT64_C(1700000000123456) + from,
                                                     .pid = from % 2 ? 4711 : 0,
                                                     .bytes = from == 101 ? 3 * MIB : 0,
                                                     .uid = 42,
                                                     .worker = 7,
                                                     .count = from == 102 ? 5 : 0 };
                strcpy(items[n].event, from == 101 ? "worker_gone" : "of_a_later_version");
                strcpy(items[n].tenant, from % 2 ? "green" : "");
                strcpy(items[n].device, from == 103 ? "main" : "");
                strcpy(items[n].text, "it is so");
                n++;
        }
        page.next = from;
        page.more = from <= 145;
        return wire_encode(buffer, size, WIRE_EVENTS, request, 0, &page, items, n);
}

/* Whoever follows is told of all, without asking again, and then that the daemon ends. */
static bool daemon_tell(int fd, const struct wire_view *ask)
{
        alignas(8) unsigned char buffer[WIRE_MAX_PACKET];
        const uint64_t pages[] = { 1, 121, 146 };
        struct wire_error error = { .error = WIRE_E_SHUTTING_DOWN, .status = -ENOTCONN };

        for (size_t i = 0; i < 3; i++)
                daemon_send(fd, buffer, answer_events(buffer, sizeof(buffer), ask->header.request, pages[i]), NULL, 0);
        strcpy(error.text, wire_error_sentence(WIRE_E_SHUTTING_DOWN));
        daemon_send(fd, buffer, wire_encode(buffer, sizeof(buffer), WIRE_ERROR, 0, 0, &error, NULL, 0), NULL, 0);
        return false;
}

/* The right answer to `ask`. */
static size_t answer(const struct ctl_daemon *daemon, void *buffer, size_t size, const struct wire_view *ask)
{
        uint32_t request = ask->header.request;

        switch (ask->header.opcode) {
        case WIRE_HELLO: {
                struct wire_welcome welcome = { .version = WIRE_VERSION };
                return wire_encode(buffer, size, WIRE_WELCOME, request, 0, &welcome, NULL, 0);
        }
        case WIRE_STATUS_GET: {
                struct wire_status status = { .pid = 4711,
                                              .uptime_usec = UINT64_C(3723) * 1000000,
                                              .counted_usec = UINT64_C(3723) * 1000000,
                                              .devices = 1,
                                              .tenants = 2,
                                              .workers = CTL_DAEMON_WORKERS,
                                              .core_bytes = 3 * MIB,
                                              .version = "9.8.7",
                                              .socket = "/some/where" };
                strcpy(status.config, daemon->fault == FAULT_NOT_UTF8 ? "/caf\xe9" : "/etc/kvpager/kvpagerd.conf");
                return wire_encode(buffer, size, WIRE_STATUS, request, 0, &status, NULL, 0);
        }
        case WIRE_CHECK: {
                struct wire_checked checked = { 0 };
                if (daemon->fault == FAULT_BROKEN) {
                        checked.status = -1;
                        strcpy(checked.text, "extent 3 is in two rows");
                }
                return wire_encode(buffer, size, WIRE_CHECKED, request, 0, &checked, NULL, 0);
        }
        case WIRE_LIST_DEVICES: {
                struct wire_page_of_list page = { 0 };
                struct wire_item_device device = { .page_size = 2 * MIB,
                                                   .capacity_bytes = 8 * GIB,
                                                   .allocated_bytes = 3 * GIB + 512 * MIB,
                                                   .virgin_bytes = 512 * MIB,
                                                   .name = "main",
                                                   .backend = "host" };
                return wire_encode(buffer, size, WIRE_DEVICES, request, 0, &page, &device, 1);
        }
        case WIRE_LIST_TENANTS:
                return answer_tenants(buffer, size, ask);
        case WIRE_LIST_WORKERS:
                return answer_workers(daemon, buffer, size, ask);
        case WIRE_LIST_CACHES: {
                struct wire_page_of_list page = { 0 };
                return wire_encode(buffer, size, WIRE_CACHES, request, 0, &page, NULL, 0);
        }
        case WIRE_LIST_COUNTERS:
                return answer_counters(buffer, size, ask);
        case WIRE_TENANT_SET:
                return answer_set((struct ctl_daemon *)(uintptr_t)daemon, buffer, size, ask);
        case WIRE_RELOAD:
                return wire_encode(buffer, size, WIRE_OK, request, 0, NULL, NULL, 0);
        case WIRE_EVENTS_GET:
                return answer_events(buffer, size, request, ((const struct wire_events_get *)ask->fixed)->from);
        default:
                abort(); /* kvpagerctl asks nothing else */
        }
}

/* Answers one packet, rightly or not; false: the connection is to be closed. */
static bool daemon_answer(struct ctl_daemon *daemon, int fd, const struct wire_view *ask)
{
        alignas(8) unsigned char buffer[WIRE_MAX_PACKET + 64] = { 0 };
        const int fds[] = { daemon->stop, daemon->stop, daemon->stop };
        bool here = ask->header.opcode == daemon->at;
        enum ctl_daemon_fault fault = here ? daemon->fault : FAULT_NONE;
        struct wire_view wrong = *ask;
        size_t size;

        if (ask->header.opcode == WIRE_EVENTS_GET && ((const struct wire_events_get *)ask->fixed)->follow)
                return daemon_tell(fd, ask);
        wrong.header.request += fault == FAULT_WRONG_REQUEST ? 7 : 0;
        size = answer(daemon, buffer, sizeof(buffer), &wrong);
        assert(size > 0);
        if (fault == FAULT_HANG)
                return true;
        if (fault == FAULT_DIE)
                return false;
        if (fault == FAULT_GARBAGE)
                memset(buffer, 0xa5, size);
        if (fault == FAULT_SHORT)
                size -= 3;
        if (fault == FAULT_LONG)
                size = sizeof(buffer);
        if (fault == FAULT_WRONG_REPLY)
                size = wire_encode(buffer, sizeof(buffer), WIRE_OK, ask->header.request, 0, NULL, NULL, 0);
        if (fault == FAULT_REFUSE) {
                struct wire_error error = { .error = WIRE_E_NO_TENANT, .status = -EACCES };
                strcpy(error.text, wire_error_sentence(WIRE_E_NO_TENANT));
                size = wire_encode(buffer, sizeof(buffer), WIRE_ERROR, ask->header.request, 0, &error, NULL, 0);
        }
        /* Of the answers, WELCOME alone carries a file descriptor. */
        bool welcome = ask->header.opcode == WIRE_HELLO && fault != FAULT_WRONG_REPLY && fault != FAULT_REFUSE;
        daemon_send(fd, buffer, size, fds, fault == FAULT_EXTRA_FDS ? 3 : welcome ? 1 : 0);
        return fault != FAULT_REFUSE;
}

/* Until `fd` has something to read; false: the test is over. */
static bool daemon_wait(const struct ctl_daemon *daemon, int fd)
{
        struct pollfd pollfds[] = { { .fd = daemon->stop, .events = POLLIN }, { .fd = fd, .events = POLLIN } };

        return poll(pollfds, 2, -1) > 0 && !(pollfds[0].revents & POLLIN);
}

static void *daemon_thread(void *userdata)
{
        struct ctl_daemon *daemon = userdata;

        while (daemon_wait(daemon, daemon->listener)) {
                int fd = accept4(daemon->listener, NULL, NULL, SOCK_CLOEXEC);
                bool open = fd >= 0;
                while (open && daemon_wait(daemon, fd)) {
                        alignas(8) unsigned char buffer[WIRE_MAX_PACKET];
                        struct wire_view view;
                        ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
                        open = n > 0 && wire_decode(buffer, (size_t)n, 0, WIRE_C2D, &view) == WIRE_E_NONE &&
                               daemon_answer(daemon, fd, &view);
                }
                if (fd >= 0)
                        (void)close(fd);
        }
        return NULL;
}

void ctl_daemon_start(struct ctl_daemon *daemon, enum wire_opcode at, enum ctl_daemon_fault fault)
{
        const char *folder = getenv("TMPDIR");
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        *daemon = (struct ctl_daemon){ .at = at, .fault = fault };
        (void)snprintf(daemon->path, sizeof(daemon->path), "%s/ctl-%d.sock", folder ? folder : "/tmp", (int)getpid());
        (void)unlink(daemon->path);
        memcpy(address.sun_path, daemon->path, sizeof(daemon->path));
        daemon->stop = eventfd(0, EFD_CLOEXEC);
        daemon->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (daemon->stop < 0 || daemon->listener < 0 ||
            bind(daemon->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(daemon->listener, 4) < 0 || pthread_create(&daemon->thread, NULL, daemon_thread, daemon) != 0)
                abort();
}

void ctl_daemon_stop(struct ctl_daemon *daemon)
{
        (void)eventfd_write(daemon->stop, 1);
        (void)pthread_join(daemon->thread, NULL);
        (void)close(daemon->listener);
        (void)close(daemon->stop);
        (void)unlink(daemon->path);
}
