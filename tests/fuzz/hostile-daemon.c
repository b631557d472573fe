/* SPDX-License-Identifier: MIT
 *
 * hostile-daemon.c -- see hostile-daemon.h.
 */
#include "hostile-daemon.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"

#define IDLE_NSEC   300000 /* of silence, then it is its turn */
#define STUCK_SEC   60
#define PAGE        UINT64_C(65536)
#define MAX_CACHES  4u
#define EXTENTS_MAX 2048u /* of one GROW */

struct cache {
        uint32_t n_classes;
        struct wire_item_class classes[WIRE_MAX_CLASSES];
};

/* How this GROW is answered. */
enum { GROW_SHORT = 0x10, GROW_FAIL = 0x20, GROW_SMALL = 0x40, GROW_SINGLY = 0x80 };

static struct {
        struct sockaddr_un address;
        int listener, memory; /* memory: what all extents are */
        int over;             /* an eventfd: the library has disconnected */
        pthread_t thread;
        sem_t go, gone;

        struct script script;
        bool patient, harmed; /* harmed: somebody may wait for what will not come */
        bool welcomed;        /* and has got past kvp_connect(), which waits for long */
        int worker, events;
        uint32_t n_caches;
        struct cache caches[MAX_CACHES];
        struct recall recall;
        uint64_t granted;
        uint64_t next_extent;
        struct packet in, out;
} h;

_Noreturn static void fail(const char *why)
{
        (void)fprintf(stderr, "fuzz-lib: %s\n", why);
        abort();
}

static void drop(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
}

/* ---- sending ---- */

static void send_out(int fd)
{
        const struct wire_header *header = (const void *)h.out.bytes;
        const struct wire_grant *grant = (const void *)(h.out.bytes + sizeof(*header));

        if (h.out.size >= sizeof(*header) + sizeof(*grant) && header->opcode == WIRE_GRANT)
                h.granted += grant->n_items;
        if (fd < 0 || packet_send(fd, &h.out) < 0)
                h.harmed = true;
}

static void attach(int fd, unsigned n)
{
        assert(n <= WIRE_MAX_FDS);
        h.out.n_fds = n;
        for (unsigned i = 0; i < n; i++)
                h.out.fds[i] = fd;
}

static void make(enum wire_opcode opcode, uint32_t request, const void *fixed, const void *items, uint32_t n)
{
        h.out.n_fds = 0;
        h.out.size = wire_encode(h.out.bytes, sizeof(h.out.bytes), opcode, request, 0, fixed, items, n);
        assert(h.out.size > 0);
}

static void make_error(uint32_t request, uint8_t code)
{
        const struct wire_error error = { .error = code };

        make(WIRE_ERROR, request, &error, NULL, 0);
}

/* Something that nobody asked for. */
static void send_unasked(void)
{
        static const enum wire_opcode opcodes[] = { WIRE_REVOKE,  WIRE_SYNC,   WIRE_GRANT,   WIRE_GROW_FAILED,
                                                    WIRE_ERROR,   WIRE_OK,     WIRE_CACHE,   WIRE_DEVICE,
                                                    WIRE_WELCOME, WIRE_REVOKE, WIRE_DEVICES, WIRE_STATUS,
                                                    WIRE_HELLO,   WIRE_GROW,   WIRE_CHECKED, WIRE_REVOKE };
        const uint8_t b = script_byte(&h.script);
        const enum wire_opcode opcode = (b & 0x0f) == 14 ? packet_any_opcode(&h.script) : opcodes[b & 0x0f];
        const struct wire_message_info *info = wire_message_info((uint16_t)opcode);
        bool event = (info->direction == WIRE_EVT) != ((b & 0xe0) == 0xe0); /* seldom the wrong channel */

        packet_usual(&h.out, info, b >> 4 & 1 ? 4 : 1, &h.recall);
        if (info->opcode == WIRE_GRANT || info->opcode == WIRE_WELCOME)
                attach(h.memory, info->opcode == WIRE_GRANT ? (b >> 4 & 1 ? 4 : 1) : 1);
        packet_bend(&h.out, &h.script);
        send_out(event ? h.events : h.worker);
        h.harmed = true;
}

/* The answer that stands in h.out, as the verdict says. */
static void send_answer(uint8_t verdict)
{
        switch (verdict & 0x0f) {
        case 8: /* nothing */
                h.harmed = true;
                break;
        case 12:
                send_out(h.worker);
                send_out(h.worker);
                h.harmed = true;
                break;
        case 13:
        case 14:
        case 15:
                packet_bend(&h.out, &h.script);
                send_out(h.worker);
                h.harmed = true;
                break;
        default:
                send_out(h.worker);
        }
}

/* ---- growth ---- */

static void grant_plane(const struct wire_item_grow *grow, uint16_t entry, uint16_t plane, uint8_t verdict,
                        struct wire_item_grant *items, uint32_t *n)
{
        for (uint32_t page = grow->first, end = grow->first + grow->max; page < end && *n < EXTENTS_MAX;) {
                uint16_t order = verdict & GROW_SMALL ? 2 : 6;

                while (order > 0 && (page % (1u << order) != 0 || 1u << order > end - page))
                        order = (uint16_t)(order - 2);
                items[(*n)++] = (struct wire_item_grant){ .extent = ++h.next_extent,
                                                          .request = h.recall.request,
                                                          .entry = entry,
                                                          .plane = plane,
                                                          .first = page,
                                                          .order = order };
                recall_extent(&h.recall, h.next_extent);
                page += 1u << order;
        }
}

/* 0 for what the library should not have asked for, so that nothing is granted. */
static uint32_t planes_of(const struct wire_item_grow *grow)
{
        const struct cache *cache = grow->cache < h.n_caches ? &h.caches[grow->cache] : NULL;

        return cache && grow->plane_class < cache->n_classes ? cache->classes[grow->plane_class].planes : 0;
}

static void answer_grow(const struct wire_view *view, uint8_t verdict)
{
        static struct wire_item_grant items[EXTENTS_MAX];
        const struct wire_item_grow *grows = view->items;
        uint32_t n = 0, most = verdict & GROW_SINGLY ? 1 : WIRE_MAX_FDS;

        if (verdict & GROW_FAIL) {
                const struct wire_item_grow_failed failed = { .request = h.recall.request,
                                                              .error = script_byte(&h.script) };

                make(WIRE_GROW_FAILED, 0, NULL, &failed, 1);
                send_answer(verdict);
                h.harmed |= view->n_items > 1;
                return;
        }
        for (uint32_t i = 0; i < view->n_items; i++) {
                const uint32_t planes = planes_of(&grows[i]), before = n;

                for (uint32_t plane = 0; plane < planes; plane++)
                        grant_plane(&grows[i], (uint16_t)i, (uint16_t)plane, verdict, items, &n);
                if (n > before)
                        items[n - 1].flags = WIRE_GRANT_LAST | (verdict & GROW_SHORT ? WIRE_GRANT_SHORT : 0);
                h.harmed |= n == before || n == EXTENTS_MAX;
        }
        for (uint32_t i = 0, k; i < n; i += k) {
                k = n - i < most ? n - i : most;
                make(WIRE_GRANT, 0, NULL, items + i, k);
                attach(h.memory, k);
                send_answer(verdict);
        }
}

/* ---- answers ---- */

static void answer_hello(uint32_t request, uint8_t verdict)
{
        /* With a token the library comes back after each hang-up, and says what it has. */
        const uint64_t token = verdict & 0x40;
        const struct wire_welcome welcome = {
                .version = WIRE_VERSION, .worker = 1, .token_low = token, .tenant = "hostile"
        };
        int pair[2];

        if (h.events >= 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                fail("a second HELLO");
        h.events = pair[0];
        make(WIRE_WELCOME, request, &welcome, NULL, 0);
        attach(pair[1], 1);
        send_answer(verdict);
        (void)close(pair[1]);
}

static void answer_cache_create(const struct wire_view *view, uint8_t verdict)
{
        struct wire_cache answer = { .cache = h.n_caches };

        if (h.n_caches == MAX_CACHES) {
                make_error(view->header.request, WIRE_E_TOO_MANY_CACHES);
        } else {
                struct cache *cache = &h.caches[h.n_caches++];

                cache->n_classes = view->n_items;
                memcpy(cache->classes, view->items, view->n_items * sizeof(cache->classes[0]));
                h.recall.cache = answer.cache;
                make(WIRE_CACHE, view->header.request, &answer, NULL, 0);
        }
        send_answer(verdict);
}

static void answer(const struct wire_view *view, uint8_t verdict)
{
        const struct wire_device device = { .page_size = PAGE, .capacity_bytes = PAGE << 20, .backend = "host" };

        switch (view->info->opcode) {
        case WIRE_HELLO:
                answer_hello(view->header.request, verdict);
                break;
        case WIRE_RESUME:
                h.granted = 0;
                if (script_is_over(&h.script)) {
                        make_error(view->header.request, WIRE_E_NOT_KNOWN);
                        send_answer(0);
                        break;
                }
                answer_hello(view->header.request, verdict);
                break;
        case WIRE_DEVICE_GET:
                make(WIRE_DEVICE, view->header.request, &device, NULL, 0);
                send_answer(verdict);
                break;
        case WIRE_CACHE_CREATE:
                answer_cache_create(view, verdict);
                break;
        case WIRE_GROW:
                answer_grow(view, verdict);
                break;
        case WIRE_CACHE_DESTROY:
        case WIRE_RESUMED:
        case WIRE_SETTLED:
                make(WIRE_OK, view->header.request, NULL, NULL, 0);
                send_answer(verdict);
                break;
        case WIRE_RETURN:
        case WIRE_HOLDS:
        case WIRE_ROWS:
        case WIRE_REVOKED:
        case WIRE_ACK:
                break;
        default:
                fail("the library sent what no worker sends");
        }
}

static void hang_up(void)
{
        drop(&h.worker);
        drop(&h.events);
}

static void handle(void)
{
        struct wire_view view;
        uint8_t verdict;

        if (wire_decode(h.in.bytes, h.in.size, h.in.n_fds, WIRE_C2D, &view) != WIRE_E_NONE)
                fail("the library sent what is not valid");
        if (view.header.ack > h.granted)
                fail("the library acknowledged what it was not granted");
        if (view.header.request != 0)
                h.recall.request = view.header.request;
        h.welcomed = view.info->opcode != WIRE_HELLO;
        verdict = script_byte(&h.script);
        switch (verdict & 0x0f) {
        case 9:
                make_error(view.header.request, script_byte(&h.script));
                send_answer(0);
                h.harmed = true;
                return;
        case 10:
                hang_up();
                return;
        case 11:
                if (verdict & 0x80)
                        drop(&h.events);
                send_unasked();
                break;
        default:
                break;
        }
        answer(&view, verdict);
}

/* ---- the thread ---- */

/* Serves one connection to its end. */
static void serve(void)
{
        while (h.worker >= 0) {
                struct pollfd readable = { .fd = h.worker, .events = POLLIN };
                const bool unasked = !script_is_over(&h.script), angry = h.harmed && !(h.patient && h.welcomed);
                const struct timespec idle = { .tv_nsec = unasked || angry ? IDLE_NSEC : 0,
                                               .tv_sec = unasked || angry ? 0 : STUCK_SEC };

                if (ppoll(&readable, 1, &idle, NULL) == 0) {
                        if (unasked && h.events >= 0)
                                send_unasked();
                        else if (unasked || angry)
                                hang_up();
                        else
                                fail("the library neither asks nor hangs up");
                } else if (packet_receive(h.worker, &h.in)) {
                        handle();
                        packet_close_fds(&h.in);
                } else {
                        hang_up();
                }
        }
        hang_up();
}

/* Serves whoever comes, one after another, until the library has disconnected for good. */
static void serve_all(void)
{
        struct pollfd polled[2] = { { .fd = h.over, .events = POLLIN }, { .fd = h.listener, .events = POLLIN } };
        eventfd_t value;

        do {
                if (poll(polled, 2, STUCK_SEC * 1000) <= 0)
                        fail("nobody came");
                if (!(polled[1].revents & POLLIN))
                        continue;
                h.worker = accept4(h.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                h.granted = 0;
                serve();
        } while (!(polled[0].revents & POLLIN));
        while ((h.worker = accept4(h.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) /* it gave up waiting for these */
                drop(&h.worker);
        (void)eventfd_read(h.over, &value);
}

static void *run(void *userdata)
{
        (void)userdata;
        for (;;) {
                while (sem_wait(&h.go) < 0)
                        ;
                serve_all();
                (void)sem_post(&h.gone);
        }
        return NULL;
}

static void remove_socket(void)
{
        (void)unlink(h.address.sun_path);
        *strrchr(h.address.sun_path, '/') = '\0';
        (void)rmdir(h.address.sun_path);
}

const char *hostile_start(void)
{
        const char *tmp = getenv("TMPDIR");

        if (h.thread)
                return h.address.sun_path;
        h.worker = h.events = -1;
        h.address.sun_family = AF_UNIX;
        (void)snprintf(h.address.sun_path, sizeof(h.address.sun_path), "%.80s/kvp-fuzz-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(h.address.sun_path))
                fail("no folder for the socket");
        (void)strcat(h.address.sun_path, "/s");
        (void)packet_descriptor(0);
        h.memory = memfd_create("hostile", MFD_CLOEXEC);
        h.over = eventfd(0, EFD_CLOEXEC);
        h.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (h.memory < 0 || ftruncate(h.memory, (off_t)(PAGE << 6)) < 0 || h.listener < 0 ||
            bind(h.listener, (const struct sockaddr *)&h.address, sizeof(h.address)) < 0 || listen(h.listener, 4) < 0)
                fail("no socket");
        (void)atexit(remove_socket);
        (void)sem_init(&h.go, 0, 0);
        (void)sem_init(&h.gone, 0, 0);
        if (pthread_create(&h.thread, NULL, run, NULL) != 0)
                fail("no thread");
        return h.address.sun_path;
}

void hostile_begin(const uint8_t *script, size_t size, bool patient)
{
        h.script = (struct script){ .at = script, .end = script + size };
        h.patient = patient;
        h.harmed = h.welcomed = false;
        h.n_caches = 0;
        h.granted = h.next_extent = 0;
        h.recall = (struct recall){ 0 };
        (void)sem_post(&h.go);
}

void hostile_end(void)
{
        (void)eventfd_write(h.over, 1);
        while (sem_wait(&h.gone) < 0)
                ;
}
