/* SPDX-License-Identifier: MIT
 *
 * fake-daemon.c -- see fake-daemon.h. One lock guards everything; the thread polls the listener, its one worker and an
 * eventfd.
 */
#include "fake-parts.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void fake_note_violation(struct fake *fake, const char *what, uint64_t a, uint64_t b)
{
        if (!fake->violation[0])
                (void)snprintf(fake->violation, sizeof(fake->violation), "%s (%llu, %llu)", what, (unsigned long long)a,
                               (unsigned long long)b);
}

/* ---- sending: with the lock held ---- */

static void send_packet(int socket, const void *bytes, size_t size, const int *fds, unsigned n_fds)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
        } control = { 0 };
        struct iovec vector = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
        struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

        if (socket < 0)
                return;
        if (n_fds > 0) {
                struct cmsghdr *header;

                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
        }
        while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR)
                ;
}

void fake_say(struct fake *fake, enum wire_opcode opcode, uint32_t request, const void *fixed, const void *items,
              uint32_t n_items, const int *fds, unsigned n_fds)
{
        const struct wire_message_info *info = wire_message_info((uint16_t)opcode);
        const size_t size = wire_encode(fake->out, sizeof(fake->out), opcode, request, 0, fixed, items, n_items);

        assert(size > 0);
        send_packet(info->direction == WIRE_EVT ? fake->events : fake->worker, fake->out, size, fds, n_fds);
}

void fake_say_error(struct fake *fake, uint32_t request, enum wire_error_code code)
{
        struct wire_error error = { .error = code, .status = wire_error_errno(code) };

        (void)snprintf(error.text, sizeof(error.text), "%s", wire_error_sentence(code));
        fake_say(fake, WIRE_ERROR, request, &error, NULL, 0, NULL, 0);
}

int fake_memfd(uint64_t size)
{
        int fd = memfd_create("extent", MFD_CLOEXEC);

        assert(fd >= 0);
        if (ftruncate(fd, (off_t)size) < 0)
                abort();
        return fd;
}

/* ---- messages ---- */

static void create_cache(struct fake *fake, const struct wire_view *view)
{
        const struct wire_cache_create *fixed = view->fixed;
        struct wire_cache answer = { .cache = fake->n_caches };

        if (fake->n_caches == MAX_CACHES) {
                fake_say_error(fake, view->header.request, WIRE_E_TOO_MANY_CACHES);
                return;
        }
        fake->caches[fake->n_caches].rows = fixed->rows;
        fake->caches[fake->n_caches].n_classes = view->n_items;
        memcpy(fake->caches[fake->n_caches].classes, view->items, view->n_items * sizeof(struct wire_item_class));
        fake->n_caches++;
        fake_say(fake, WIRE_CACHE, view->header.request, &answer, NULL, 0, NULL, 0);
}

static void destroy_cache(struct fake *fake, const struct wire_view *view)
{
        const struct wire_cache_destroy *fixed = view->fixed;

        for (uint64_t i = 0; i < fake->n_extents; i++)
                if (fake->extents[i].live && fake->extents[i].cache == fixed->cache) {
                        fake->extents[i].live = false;
                        fake->pages -= fake->extents[i].pages;
                }
        fake_say(fake, WIRE_OK, view->header.request, NULL, NULL, 0, NULL, 0);
}

void fake_greet(struct fake *fake, const struct wire_view *view)
{
        struct wire_welcome welcome = { .version = WIRE_VERSION, .worker = 1 };
        int pair[2];

        if (fake->options.keeps) {
                welcome.token_low = TOKEN_LOW;
                welcome.token_high = TOKEN_HIGH;
        }

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                abort();
        (void)snprintf(welcome.tenant, sizeof(welcome.tenant), "fake");
        fake->events = pair[0];
        fake_say(fake, WIRE_WELCOME, view->header.request, &welcome, NULL, 0, &pair[1], 1);
        (void)close(pair[1]);
}

static void handle(struct fake *fake, const struct wire_view *view)
{
        if (fake->resuming && view->header.opcode != WIRE_HOLDS && view->header.opcode != WIRE_ROWS &&
            view->header.opcode != WIRE_RESUMED)
                fake_note_violation(fake, "said before it has resumed", view->header.opcode, 0);
        switch (view->header.opcode) {
        case WIRE_HELLO:
                fake_greet(fake, view);
                break;
        case WIRE_DEVICE_GET: {
                const struct wire_device_get *fixed = view->fixed;
                struct wire_device device = { .page_size = fake->options.page_size,
                                              .capacity_bytes = UINT64_C(1) << 40 };

                (void)snprintf(device.name, sizeof(device.name), "fake0");
                (void)snprintf(device.backend, sizeof(device.backend), "%s",
                               fake->options.backend ? fake->options.backend : "host");
                if (fixed->device == 0)
                        fake_say(fake, WIRE_DEVICE, view->header.request, &device, NULL, 0, NULL, 0);
                else
                        fake_say_error(fake, view->header.request, WIRE_E_NO_DEVICE);
                break;
        }
        case WIRE_CACHE_CREATE:
                create_cache(fake, view);
                break;
        case WIRE_CACHE_DESTROY:
                destroy_cache(fake, view);
                break;
        case WIRE_GROW: {
                const struct wire_item_grow *items = view->items;

                for (uint32_t i = 0; i < view->n_items; i++)
                        fake_grow_one(fake, items[i], view->header.request, (uint16_t)i);
                break;
        }
        case WIRE_RETURN:
                fake_take_back(fake, view);
                break;
        case WIRE_ROWS: {
                const struct wire_item_row *items = view->items;

                for (uint32_t i = 0; i < view->n_items; i++)
                        if (items[i].cache == 0 && items[i].row < MAX_ROWS)
                                fake->held[items[i].row] = items[i].held != 0;
                break;
        }
        case WIRE_SETTLED:
                fake_say(fake, WIRE_OK, view->header.request, NULL, NULL, 0, NULL, 0);
                break;
        case WIRE_RESUME:
                fake_resume(fake, view);
                break;
        case WIRE_HOLDS:
                fake_holds(fake, view);
                break;
        case WIRE_RESUMED:
                fake_end_resume(fake, view);
                break;
        case WIRE_REVOKED:
        case WIRE_ACK:
                break;
        default:
                fake_note_violation(fake, "a message that no worker sends", view->header.opcode, 0);
        }
}

static void hang_up(struct fake *fake)
{
        if (fake->worker >= 0)
                (void)close(fake->worker);
        if (fake->events >= 0)
                (void)close(fake->events);
        fake->worker = fake->events = -1;
        fake->queue_head = fake->queue_tail;
        fake->granted = fake->acked = 0;
        fake->resuming = false;
        fake->gone++;
        (void)pthread_cond_broadcast(&fake->changed);
}

/* With the lock held, which the hook finds free. */
static void receive(struct fake *fake)
{
        const ssize_t n = recv(fake->worker, fake->packet, sizeof(fake->packet), MSG_DONTWAIT);
        enum fake_verdict verdict = FAKE_HANDLE;
        struct wire_view view;
        fake_hook_fn *hook;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                hang_up(fake);
                return;
        }
        if (wire_decode(fake->packet, (size_t)n, 0, WIRE_C2D, &view) != WIRE_E_NONE) {
                fake_note_violation(fake, "a malformed message", (uint64_t)n, 0);
                return;
        }
        if (view.header.ack > fake->granted || view.header.ack < fake->acked)
                fake_note_violation(fake, "an impossible acknowledgement", view.header.ack, fake->granted);
        else
                fake->acked = view.header.ack;
        hook = fake->hook;
        if (hook) {
                (void)pthread_mutex_unlock(&fake->lock);
                verdict = hook(fake, &view, fake->hook_userdata);
                (void)pthread_mutex_lock(&fake->lock);
        }
        if (verdict == FAKE_HANDLE)
                handle(fake, &view);
        else if (verdict == FAKE_HANG_UP)
                hang_up(fake);
        fake_flush(fake);
        fake->received[view.header.opcode % 256]++;
        (void)pthread_cond_broadcast(&fake->changed);
}

static void *run(void *userdata)
{
        struct fake *fake = userdata;

        for (;;) {
                struct pollfd polled[3] = { { .fd = fake->stop, .events = POLLIN },
                                            { .events = POLLIN },
                                            { .events = POLLIN } };

                (void)pthread_mutex_lock(&fake->lock);
                polled[1].fd = fake->worker < 0 ? fake->listener : -1;
                polled[2].fd = fake->paused ? -1 : fake->worker;
                (void)pthread_mutex_unlock(&fake->lock);
                (void)poll(polled, 3, -1);
                (void)pthread_mutex_lock(&fake->lock);
                if (polled[0].revents & POLLIN) {
                        uint64_t count;

                        if (read(fake->stop, &count, sizeof(count)) > 0 && count >= 1000) {
                                (void)pthread_mutex_unlock(&fake->lock);
                                return NULL;
                        }
                }
                if (polled[1].revents && fake->worker < 0)
                        fake->worker = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
                if (polled[2].revents && fake->worker == polled[2].fd && fake->worker >= 0 && !fake->paused)
                        receive(fake);
                (void)pthread_mutex_unlock(&fake->lock);
        }
}

/* ---- for the test ---- */

uint64_t fake_resumed(struct fake *fake)
{
        uint64_t n;

        (void)pthread_mutex_lock(&fake->lock);
        n = fake->resumed;
        (void)pthread_mutex_unlock(&fake->lock);
        return n;
}

void fake_forget(struct fake *fake)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->forgotten = true;
        (void)pthread_mutex_unlock(&fake->lock);
}

struct fake *fake_start(const struct fake_options *options)
{
        struct fake *fake = calloc(1, sizeof(*fake));
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const char *tmp = getenv("TMPDIR");
        pthread_condattr_t attributes;

        assert(fake);
        if (options)
                fake->options = *options;
        if (fake->options.page_size == 0)
                fake->options.page_size = 65536;
        (void)snprintf(fake->folder, sizeof(fake->folder), "%s/kvp-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
        if (!mkdtemp(fake->folder))
                abort();
        (void)snprintf(fake->path, sizeof(fake->path), "%s/s", fake->folder);
        memcpy(address.sun_path, fake->path, sizeof(fake->path));
        fake->worker = fake->events = -1;
        fake->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fake->listener, 8) < 0)
                abort();
        (void)pthread_mutex_init(&fake->lock, NULL);
        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&fake->changed, &attributes);
        (void)pthread_condattr_destroy(&attributes);
        if (pthread_create(&fake->thread, NULL, run, fake) != 0)
                abort();
        return fake;
}

static void nudge(struct fake *fake, uint64_t count)
{
        if (write(fake->stop, &count, sizeof(count)) < 0)
                abort();
}

void fake_stop(struct fake *fake)
{
        nudge(fake, 1000);
        (void)pthread_join(fake->thread, NULL);
        hang_up(fake);
        (void)close(fake->listener);
        (void)close(fake->stop);
        (void)unlink(fake->path);
        (void)rmdir(fake->folder);
        for (uint32_t i = 0; i < fake->n_stock; i++)
                (void)close(fake->stock[i]);
        free(fake->extents);
        free(fake->queue);
        (void)pthread_cond_destroy(&fake->changed);
        (void)pthread_mutex_destroy(&fake->lock);
        free(fake);
}

const char *fake_path(const struct fake *fake)
{
        return fake->path;
}

#define LOCKED(fake, type, expression)                                                                                 \
        do {                                                                                                           \
                type value_;                                                                                           \
                (void)pthread_mutex_lock(&(fake)->lock);                                                               \
                value_ = (expression);                                                                                 \
                (void)pthread_mutex_unlock(&(fake)->lock);                                                             \
                return value_;                                                                                         \
        } while (0)

uint64_t fake_received(struct fake *fake, enum wire_opcode opcode)
{
        LOCKED(fake, uint64_t, fake->received[opcode % 256]);
}

uint64_t fake_pages(struct fake *fake)
{
        LOCKED(fake, uint64_t, fake->pages);
}

uint64_t fake_refused(struct fake *fake)
{
        LOCKED(fake, uint64_t, fake->refused);
}

uint64_t fake_optional(struct fake *fake)
{
        LOCKED(fake, uint64_t, fake->optional);
}

bool fake_row_is_held(struct fake *fake, uint32_t row)
{
        LOCKED(fake, bool, fake->held[row]);
}

const char *fake_violation(struct fake *fake)
{
        LOCKED(fake, const char *, fake->violation[0] ? fake->violation : NULL);
}

static bool wait_for(struct fake *fake, const uint64_t *value, uint64_t at_least)
{
        struct timespec until;
        bool reached;

        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += WAIT_SECONDS;
        (void)pthread_mutex_lock(&fake->lock);
        while (*value < at_least && pthread_cond_timedwait(&fake->changed, &fake->lock, &until) == 0)
                ;
        reached = *value >= at_least;
        (void)pthread_mutex_unlock(&fake->lock);
        return reached;
}

bool fake_wait_received(struct fake *fake, enum wire_opcode opcode, uint64_t count)
{
        return wait_for(fake, &fake->received[opcode % 256], count);
}

bool fake_wait_gone(struct fake *fake)
{
        return wait_for(fake, &fake->gone, 1);
}

void fake_fail_grows(struct fake *fake, enum wire_error_code error)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->fail = error;
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_fail_optional(struct fake *fake, enum wire_error_code error)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->fail_optional = error;
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_set_short(struct fake *fake, bool is_short)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->is_short = is_short;
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_hold_grants(struct fake *fake, bool hold)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->hold = hold;
        fake_flush(fake);
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_pause(struct fake *fake, bool pause)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->paused = pause;
        (void)pthread_mutex_unlock(&fake->lock);
        nudge(fake, 1);
}

void fake_spoil(struct fake *fake, uint32_t every)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->spoil_every = every;
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_stock(struct fake *fake, uint32_t n)
{
        (void)pthread_mutex_lock(&fake->lock);
        assert(fake->n_stock + n <= sizeof(fake->stock) / sizeof(fake->stock[0]));
        for (uint32_t i = 0; i < n; i++)
                fake->stock[fake->n_stock++] = fake_memfd(64 * fake->options.page_size);
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_set_hook(struct fake *fake, fake_hook_fn *hook, void *userdata)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake->hook = hook;
        fake->hook_userdata = userdata;
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_send(struct fake *fake, enum wire_opcode opcode, uint32_t request, const void *fixed, const void *items,
               uint32_t n_items, const int *fds, unsigned n_fds)
{
        (void)pthread_mutex_lock(&fake->lock);
        fake_say(fake, opcode, request, fixed, items, n_items, fds, n_fds);
        if (opcode == WIRE_GRANT)
                fake->granted += n_items;
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_send_bytes(struct fake *fake, bool event_channel, const void *bytes, size_t size, const int *fds,
                     unsigned n_fds)
{
        (void)pthread_mutex_lock(&fake->lock);
        send_packet(event_channel ? fake->events : fake->worker, bytes, size, fds, n_fds);
        (void)pthread_mutex_unlock(&fake->lock);
}

void fake_revoke(struct fake *fake, uint32_t id, enum wire_revoke_level level, uint64_t pages)
{
        const struct wire_revoke revoke = { .revoke = id, .level = level, .pages = pages, .deadline_usec = 1000000 };

        fake_send(fake, WIRE_REVOKE, 0, &revoke, NULL, 0, NULL, 0);
}

void fake_sync(struct fake *fake)
{
        fake_send(fake, WIRE_SYNC, 0, NULL, NULL, 0, NULL, 0);
}

void fake_hang_up(struct fake *fake)
{
        (void)pthread_mutex_lock(&fake->lock);
        hang_up(fake);
        (void)pthread_mutex_unlock(&fake->lock);
        nudge(fake, 1);
}
