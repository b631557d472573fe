/* SPDX-License-Identifier: MIT
 *
 * fuzz-conn.c -- the daemon's connections. The input is what a few hostile workers do, one decision a byte: they
 * connect and close, send packets that are valid, bent or cut, with descriptors of all kinds, stop reading, let time
 * pass, seal what they were lent, while the device is slow or fails.
 *
 * The daemon is the real one, with its socket, in this process, and lives through all inputs; its loop is turned by
 * hand until it rests, on a clock that goes when the input says so. Beside the hostile workers there is an honest one.
 * Whatever the input does:
 *
 *      the loop comes to rest; every packet that the daemon sends is valid; no descriptor is closed twice
 *      the honest worker's request ends within its timeout, and is granted once the others are gone
 *      then nothing is left of them: no descriptor, no extent, no peer, and core_check() holds
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "inline-device.h"
#include "packet.h"
#include "real-daemon.h"

#define CLIENTS     4u
#define STRANGERS   80u /* connections that say nothing: more than may wait for their HELLO */
#define SECOND_USEC UINT64_C(1000000)

struct client {
        int fd, events, extent; /* extent: the last one that was granted */
        bool deaf;
        uint32_t request;
        struct recall recall;
};

static struct daemon *d;
static struct sockaddr_un address;
static struct client clients[CLIENTS], honest;
static int strangers[STRANGERS];
static unsigned n_strangers, fds_at_rest;
static bool device_was_bad; /* in this input */
static uint64_t clock_usec;
static struct packet packet;

_Noreturn static void fail(const char *why)
{
        (void)fprintf(stderr, "fuzz-conn: %s\n", why);
        abort();
}

/* ---- the clock: libc's, for the daemon and for libsystemd ---- */

int clock_gettime(clockid_t id, struct timespec *ret)
{
        if (id != CLOCK_MONOTONIC && id != CLOCK_BOOTTIME)
                return (int)syscall(SYS_clock_gettime, id, ret);
        clock_usec++;
        *ret = (struct timespec){ .tv_sec = (time_t)(clock_usec / SECOND_USEC),
                                  .tv_nsec = (long)(clock_usec % SECOND_USEC) * 1000 };
        return 0;
}

static void run(void)
{
        real_daemon_run(d);
}

static void pass(uint64_t usec)
{
        clock_usec += usec;
        run();
}

/* ---- talking to it ---- */

static int dial(void)
{
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                fail("no socket");
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
                return fd;
        (void)close(fd); /* its queue is full */
        return -1;
}

static void drop(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
}

static void client_close(struct client *c)
{
        drop(&c->fd);
        drop(&c->events);
        drop(&c->extent);
}

static void client_connect(struct client *c)
{
        client_close(c);
        *c = (struct client){ .fd = dial(), .events = -1, .extent = -1 };
}

static struct wire_hello *hello_in(struct packet *p)
{
        return (void *)(p->bytes + sizeof(struct wire_header));
}

/* A valid message of the client's, in `packet`. Half of them ask for another tenant than the honest worker's. */
static void client_usual(struct client *c, enum wire_opcode opcode, uint32_t n_items)
{
        const struct wire_message_info *info = wire_message_info((uint16_t)opcode);

        if (c->fd < 0)
                client_connect(c);
        c->recall.request = ++c->request;
        packet_usual(&packet, info, n_items, &c->recall);
        if (opcode == WIRE_HELLO && (c == &clients[2] || c == &clients[3]))
                memcpy(hello_in(&packet)->tenant, "small", 5);
}

static void client_send(struct client *c, enum wire_opcode opcode, const void *fixed, const void *items, uint32_t n)
{
        packet.n_fds = 0;
        packet.size = wire_encode(packet.bytes, sizeof(packet.bytes), opcode, c->recall.request, c->recall.ack, fixed,
                                  items, n);
        assert(packet.size > 0);
        (void)packet_send(c->fd, &packet);
}

/* Reads one packet of `fd`, which must be valid. */
static bool client_receive(int fd, enum wire_direction direction, struct wire_view *ret)
{
        if (fd < 0 || !packet_receive(fd, &packet))
                return false;
        if (wire_decode(packet.bytes, packet.size, packet.n_fds, direction, ret) != WIRE_E_NONE)
                fail("the daemon sent what is not valid");
        return true;
}

static void client_granted(struct client *c, const struct wire_view *view)
{
        const struct wire_item_grant *items = view->items;

        for (uint32_t i = 0; i < view->n_items; i++)
                recall_extent(&c->recall, items[i].extent);
        c->recall.ack += view->n_items;
        drop(&c->extent);
        c->extent = packet.fds[--packet.n_fds];
}

static void client_read(struct client *c)
{
        struct wire_view view;

        while (client_receive(c->fd, WIRE_D2C, &view)) {
                if (view.info->opcode == WIRE_GRANT) {
                        client_granted(c, &view);
                } else if (view.info->opcode == WIRE_CACHE) {
                        c->recall.cache = ((const struct wire_cache *)view.fixed)->cache;
                } else if (view.info->opcode == WIRE_WELCOME) {
                        drop(&c->events);
                        c->events = packet.fds[0];
                        packet.n_fds = 0;
                        (void)fcntl(c->events, F_SETFL, O_NONBLOCK);
                }
                packet_close_fds(&packet);
        }
        while (client_receive(c->events, WIRE_EVT, &view))
                if (view.info->opcode == WIRE_REVOKE)
                        c->recall.revoke = ((const struct wire_revoke *)view.fixed)->revoke;
}

static void read_all(void)
{
        for (unsigned i = 0; i < CLIENTS; i++)
                if (!clients[i].deaf)
                        client_read(&clients[i]);
}

/* ---- the honest worker ---- */

enum outcome { PENDING, GRANTED, REFUSED };

/* Reads and answers everything; what became of the request. */
static enum outcome honest_read(uint32_t request)
{
        enum outcome outcome = PENDING;
        struct wire_view view;

        while (client_receive(honest.fd, WIRE_D2C, &view)) {
                if (view.info->opcode == WIRE_GRANT) {
                        const struct wire_item_grant *items = view.items;

                        if (view.n_items != 1 || items[0].request != request || items[0].flags & ~3u)
                                fail("the honest worker was granted what it did not ask for");
                        recall_extent(&honest.recall, items[0].extent);
                        honest.recall.ack++;
                        outcome = GRANTED;
                } else if (view.info->opcode == WIRE_GROW_FAILED) {
                        if (((const struct wire_item_grow_failed *)view.items)[0].request == request)
                                outcome = REFUSED;
                } else {
                        fail("the honest worker was answered what it did not ask");
                }
                packet_close_fds(&packet);
        }
        while (client_receive(honest.events, WIRE_EVT, &view)) {
                struct wire_revoked revoked = { 0 };

                honest.recall.request = 0;
                if (view.info->opcode == WIRE_REVOKE) {
                        revoked.revoke = ((const struct wire_revoke *)view.fixed)->revoke;
                        client_send(&honest, WIRE_REVOKED, &revoked, NULL, 0);
                } else {
                        client_send(&honest, WIRE_ACK, NULL, NULL, 0);
                }
                run();
        }
        return outcome;
}

/* Asks for a page, waits for as long as the daemon may take, and gives it back. */
static enum outcome honest_ask(void)
{
        const struct wire_grow grow = { .timeout_usec = SECOND_USEC };
        const struct wire_item_grow item = { .cache = honest.recall.cache, .need = 1, .max = 1 };
        const struct wire_return giving = { .reason = WIRE_RETURN_GIVEN };
        enum outcome outcome;
        uint32_t request;

        request = honest.recall.request = ++honest.request;
        client_send(&honest, WIRE_GROW, &grow, &item, 1);
        run();
        outcome = honest_read(request);
        /* Once its memory is promised, the daemon waits another second for the device to make it. */
        for (unsigned i = 0; i < 22 && outcome == PENDING; i++) {
                pass(SECOND_USEC / 10);
                outcome = honest_read(request);
        }
        if (outcome == PENDING)
                fail("the honest worker was not answered in time");
        if (outcome == GRANTED) {
                honest.recall.request = 0;
                client_send(&honest, WIRE_RETURN, &giving,
                            &honest.recall.extents[(honest.recall.n_extents - 1) % RECALL_EXTENTS], 1);
                run();
                (void)honest_read(request);
        }
        return outcome;
}

/* While its tenant has less than it was guaranteed, nobody else's memory is a reason. */
static void honest_insist(void)
{
        struct core_tenant_info info;
        bool guaranteed = false;

        for (uint32_t i = 0; i < core_tenant_slots(d->core); i++)
                if (core_tenant_info(d->core, i, &info) && strcmp(info.name, "default") == 0)
                        guaranteed = info.current_bytes + REAL_DAEMON_PAGE <= info.min_bytes &&
                                     info.current_bytes + REAL_DAEMON_PAGE <= info.max_bytes;
        if (honest_ask() != GRANTED && guaranteed && !device_was_bad)
                fail("the honest worker's tenant was not given what it was guaranteed");
}

static void honest_start(void)
{
        client_connect(&honest);
        for (unsigned i = 0; i < 2; i++) {
                client_usual(&honest, i == 0 ? WIRE_HELLO : WIRE_CACHE_CREATE, 1);
                (void)packet_send(honest.fd, &packet);
                run();
                client_read(&honest);
        }
        if (honest.events < 0 || honest_ask() != GRANTED)
                fail("the honest worker is not served");
}

/* ---- what an input does ---- */

static void send_bent(struct client *c, struct script *script)
{
        packet_bend(&packet, script);
        (void)packet_send(c->fd, &packet);
}

/* As a library would begin, up to some pages. */
static void do_begin(struct client *c, struct script *script)
{
        static const enum wire_opcode opcodes[] = { WIRE_HELLO, WIRE_CACHE_CREATE, WIRE_GROW };
        const uint8_t b = script_byte(script);

        client_connect(c);
        for (unsigned i = 0; i < 3; i++) {
                client_usual(c, opcodes[i], i == 2 ? 1u + (b & 0x3f) : 1);
                if (i == 0 && b & 0x40)
                        memcpy(hello_in(&packet)->tenant, "small", 5);
                (void)packet_send(c->fd, &packet);
                run();
                client_read(c);
        }
}

static void do_raw(struct client *c, struct script *script)
{
        const uint8_t n = script_byte(script);

        if (c->fd < 0)
                client_connect(c);
        packet.n_fds = 0;
        packet.size = script_bytes(script, packet.bytes, n);
        (void)packet_send(c->fd, &packet);
}

static void do_repeat(struct client *c, struct script *script)
{
        const unsigned n = script_byte(script) % 64u;

        for (unsigned i = 0; i < n && c->fd >= 0; i++)
                (void)packet_send(c->fd, &packet);
}

/* It no longer reads; and so that this is soon felt, the sockets of all peers take but a few packets. */
static void do_deaf(struct client *c, struct script *script)
{
        const int few = (int)WIRE_MAX_PACKET;

        c->deaf = script_byte(script) & 1;
        for (uint32_t i = 0; c->deaf && i < d->max_peers; i++)
                if (d->peers[i])
                        (void)setsockopt(d->peers[i]->fd, SOL_SOCKET, SO_SNDBUF, &few, sizeof(few));
}

static void do_seal(const struct client *c, struct script *script)
{
        static const int seals[] = { F_SEAL_SHRINK, F_SEAL_WRITE, F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_WRITE };
        const uint8_t b = script_byte(script);

        if (c->extent >= 0)
                (void)fcntl(c->extent, F_ADD_SEALS, seals[b % 4]);
}

static void do_device(struct script *script)
{
        static const int errors[] = { -ENOMEM, -EMFILE, -EIO, -EINTR };
        const uint8_t b = script_byte(script);

        device_was_bad = true;
        inline_device.lazy = b & 1;
        inline_device.error = errors[b >> 1 & 3];
        if (b & 0x08)
                inline_device.fail_creates = b >> 4;
        else
                inline_device.fail_destroys = b >> 4 & 3;
        if (inline_device.lazy)
                for (unsigned i = 0; i < (unsigned)b >> 5; i++)
                        (void)inline_device_work();
}

static void do_strangers(struct script *script)
{
        for (unsigned n = script_byte(script) % 16u; n > 0 && n_strangers < STRANGERS; n--)
                strangers[n_strangers++] = dial();
}

static void do_other(uint8_t op, struct client *c, struct script *script)
{
        static const int ways[] = { SHUT_RD, SHUT_WR, SHUT_RDWR };

        switch (op) {
        case 18:
                do_raw(c, script);
                break;
        case 19:
                client_connect(c);
                break;
        case 20:
                client_close(c);
                break;
        case 21:
                if (c->fd >= 0)
                        (void)shutdown(c->fd, ways[script_byte(script) % 3]);
                break;
        case 22:
                drop(&c->events);
                break;
        case 23:
                do_deaf(c, script);
                break;
        case 24:
                pass(UINT64_C(1) << script_byte(script) % 26);
                break;
        case 25:
                do_device(script);
                break;
        case 26:
                do_seal(c, script);
                break;
        case 27:
                do_begin(c, script);
                break;
        case 28:
                do_repeat(c, script);
                break;
        case 29:
                honest_insist();
                break;
        case 30:
                do_strangers(script);
                break;
        default:
                client_read(c); /* the deaf ones too */
        }
}

/* One byte: the lower five bits what, two bits who, and whether the daemon is kept from noticing for now. */
static void do_next(struct script *script)
{
        static const enum wire_opcode c2d[] = { WIRE_HELLO,         WIRE_DEVICE_GET,    WIRE_CACHE_CREATE,
                                                WIRE_CACHE_DESTROY, WIRE_GROW,          WIRE_RETURN,
                                                WIRE_ROWS,          WIRE_REVOKED,       WIRE_ACK,
                                                WIRE_LIST_DEVICES,  WIRE_LIST_TENANTS,  WIRE_LIST_WORKERS,
                                                WIRE_LIST_CACHES,   WIRE_LIST_COUNTERS, WIRE_STATUS_GET,
                                                WIRE_CHECK,         WIRE_SETTLED };
        const uint8_t b = script_byte(script), op = b & 0x1f;
        struct client *c = &clients[b >> 5 & 3];

        if (op < 17) {
                client_usual(c, c2d[op], wire_message_info((uint16_t)c2d[op])->max_items ? script_byte(script) : 0);
                send_bent(c, script);
        } else if (op == 17) {
                client_usual(c, packet_any_opcode(script), 1);
                send_bent(c, script);
        } else {
                do_other(op, c, script);
        }
        if (b & 0x80)
                return;
        run();
        read_all();
}

/* ---- and what must be as before ---- */

static void finish(void)
{
        char why[256];

        for (unsigned i = 0; i < CLIENTS; i++)
                client_close(&clients[i]);
        while (n_strangers > 0)
                drop(&strangers[--n_strangers]);
        real_daemon_restore(d);
        inline_device.lazy = device_was_bad = false;
        inline_device.fail_creates = inline_device.fail_destroys = 0;
        run();
        for (unsigned i = 0; !core_is_quiet(d->core) || honest_ask() != GRANTED; i++) {
                if (i == 20)
                        fail("the daemon does not become as it was before");
                pass(SECOND_USEC);
        }
        if (core_check(d->core, why, sizeof(why)) < 0)
                fail(why);
        if (core_n_workers(d->core) != 1 || core_n_caches(d->core) != 1 || d->n_greeting != 0 || d->n_admins != 0)
                fail("something of a peer that is gone is still there");
        real_daemon_bury(d);
        if (descriptors_count() != fds_at_rest + inline_device.alive)
                fail("a descriptor was leaked");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct script script = { .at = data, .end = data + size };

        if (!d) {
                for (unsigned i = 0; i < CLIENTS; i++)
                        clients[i] = (struct client){ .fd = -1, .events = -1, .extent = -1 };
                honest = clients[0];
                (void)packet_descriptor(0);
                clock_usec = UINT64_C(1) << 50; /* no timerfd fires by itself before that */
                d = real_daemon_start(&address);
                honest_start();
        }
        fds_at_rest = descriptors_count() - inline_device.alive; /* the fuzzer's own may change in between */
        packet.size = 0;
        packet.n_fds = 0;
        while (!script_is_over(&script))
                do_next(&script);
        finish();
        return 0;
}
