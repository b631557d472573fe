/* SPDX-License-Identifier: MIT
 *
 * fuzz-lib.c -- the library against a hostile daemon. The first byte of the input says how much of the rest is what an
 * application calls; what remains is how the daemon answers (hostile-daemon.h).
 *
 * The application is a sane one: it uses the library as kvpager.h allows. Whatever the daemon does: every call returns,
 * with an error that is documented; what a step calls ready it did not get wrong by itself; the library's messages are
 * valid; and once it has disconnected, no descriptor and no address space is left, and none was closed twice.
 *
 * The memory itself is not touched: a daemon may hand out what cannot be used.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"
#include "fuzz.h"
#include "hostile-daemon.h"
#include "kvpager.h"
#include "packet.h"

#define CACHES     2u
#define ROWS       4u
#define TOKENS_MAX (UINT64_C(1) << 20)
#define SHORT_USEC UINT64_C(3000)      /* the library's patience with a daemon that is patient itself */
#define LEAK_BYTES (UINT64_C(1) << 30) /* less than any cache reserves */

/* The caches are the application's thread's; the pressure handler uses them under the lock. */
static struct {
        pthread_mutex_t lock;
        struct kvp_conn *conn;
        struct kvp_cache *caches[CACHES];
        bool held[CACHES][ROWS];
        uint64_t tokens[CACHES][ROWS];
        _Atomic uint8_t pressure, fence;
} app = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* A second thread of the application, which has the second cache to itself while it runs. */
static struct {
        pthread_t thread;
        sem_t go, done;
        bool runs;
        struct script script;
} side;

_Noreturn static void fail(const char *why)
{
        (void)fprintf(stderr, "fuzz-lib: %s\n", why);
        abort();
}

static uint64_t address_space(void)
{
        char text[64] = "";
        int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

        if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
                fail("/proc is not there");
        (void)close(fd);
        return strtoull(text, NULL, 10) * 4096;
}

/* ---- handlers, on the mapper thread ---- */

static void on_pressure(struct kvp_conn *conn, uint64_t bytes, uint64_t deadline_usec, void *userdata)
{
        (void)conn, (void)bytes, (void)deadline_usec, (void)userdata;
        (void)pthread_mutex_lock(&app.lock);
        for (unsigned i = 0; i < CACHES; i++)
                for (uint32_t row = 0; app.caches[i] && row < ROWS; row++)
                        if (app.pressure >> row & 1 && app.held[i][row]) {
                                if (app.pressure & 0x10)
                                        (void)kvp_seq_trim(app.caches[i], row, 0);
                                else if (kvp_seq_release(app.caches[i], row) == 0)
                                        app.held[i][row] = false;
                        }
        (void)pthread_mutex_unlock(&app.lock);
}

static int on_fence(struct kvp_cache *cache, void *userdata)
{
        (void)cache, (void)userdata;
        return app.fence & 1 ? -EBUSY : 0;
}

/* ---- calls ---- */

/* Geometries: one plane; six alike; two groups of two sizes; two classes of planes. 16 tokens a page in most. */
static void call_create(unsigned i, struct script *script)
{
        static const struct kvp_layer_group groups[] = {
                { .layers = 1, .kv_heads = 16, .head_dim = 128, .element_bits = 8 },
                { .layers = 3, .kv_heads = 16, .head_dim = 128, .element_bits = 16 },
                { .layers = 2, .kv_heads = 1, .head_dim = 576, .element_bits = 16, .parts = KVP_PARTS_K },
                { .layers = 70, .kv_heads = 16, .head_dim = 64, .element_bits = 32, .parts = KVP_PARTS_K },
        };
        static const uint32_t layouts[] = { KVP_LAYOUT_TOKEN_MAJOR_FUSED, KVP_LAYOUT_PER_LAYER, KVP_LAYOUT_TOKEN_MAJOR,
                                            KVP_LAYOUT_PER_LAYER };
        const uint8_t b = script_byte(script);
        const struct kvp_geometry geometry = {
                .size = sizeof(geometry),
                .device = b == 0xff,
                .layout = layouts[b & 3],
                .max_seqs = ROWS,
                .n_groups = (b & 3) == 2 ? 2 : 1,
                .max_tokens = TOKENS_MAX,
                .overread_tokens = b & 4 ? 20 : 0,
                .groups = &groups[(b & 3) == 2 ? 1 : b & 3],
        };
        struct kvp_cache *cache;
        int r;

        if (app.caches[i])
                return;
        r = kvp_cache_create(app.conn, &geometry, &cache);
        if (r > 0)
                fail("kvp_cache_create: a positive result");
        if (r < 0)
                return;
        (void)kvp_cache_set_fence(cache, on_fence, NULL);
        memset(app.held[i], 0, sizeof(app.held[i]));
        (void)pthread_mutex_lock(&app.lock);
        app.caches[i] = cache;
        (void)pthread_mutex_unlock(&app.lock);
}

static void call_destroy(unsigned i)
{
        struct kvp_cache *cache = app.caches[i];

        (void)pthread_mutex_lock(&app.lock);
        app.caches[i] = NULL;
        (void)pthread_mutex_unlock(&app.lock);
        app.fence = 0; /* one that refuses leaks the cache's addresses, as kvpager.h says */
        kvp_cache_destroy(cache);
}

static uint64_t some_tokens(struct script *script)
{
        const uint64_t n = script_number(script);

        return n == UINT64_MAX ? TOKENS_MAX + 1 : n % 600; /* 38 pages: extents of all sizes but the largest */
}

static void call_acquire(unsigned i, struct script *script)
{
        const uint64_t expected = some_tokens(script);
        uint32_t seq;
        int r = kvp_seq_acquire(app.caches[i], expected, 0, &seq);

        if (r == 0 && (seq >= ROWS || expected > TOKENS_MAX))
                fail("kvp_seq_acquire: no such row");
        if (r != 0 && r != -EAGAIN && r != -EINVAL)
                fail("kvp_seq_acquire: an undocumented error");
        (void)pthread_mutex_lock(&app.lock);
        if (r == 0) {
                app.held[i][seq] = true;
                app.tokens[i][seq] = 0;
        }
        (void)pthread_mutex_unlock(&app.lock);
}

static void call_release(unsigned i, struct script *script)
{
        const uint8_t b = script_byte(script), row = b % ROWS;
        int r;

        (void)pthread_mutex_lock(&app.lock);
        r = b & 0x80 ? kvp_seq_trim(app.caches[i], row, some_tokens(script)) : kvp_seq_release(app.caches[i], row);
        if (r != 0 && r != -EINVAL)
                fail("kvp_seq_release: an undocumented error");
        if (!(b & 0x80))
                app.held[i][row] = false;
        (void)pthread_mutex_unlock(&app.lock);
}

static bool is_step_error(int r)
{
        switch (r) {
        case 0:
        case -ENOMEM:
        case -EDQUOT:
        case -ETIMEDOUT:
        case -ENOTCONN:
        case -EMFILE:
        case -ECANCELED: /* the pressure handler released it */
        case -EPROTO:
                return true;
        default:
                return false;
        }
}

static void call_step(unsigned i, struct script *script)
{
        static const uint64_t timeouts[] = { 0, 50, 200, 1000 };
        const uint8_t b = script_byte(script);
        struct kvp_seq_step steps[ROWS];
        size_t n = 0;
        int r;

        (void)pthread_mutex_lock(&app.lock);
        for (uint32_t row = 0; row < ROWS; row++)
                if (b >> row & 1 && app.held[i][row]) {
                        if (b & 0x40)
                                app.tokens[i][row] = some_tokens(script);
                        else
                                app.tokens[i][row] += script_byte(script);
                        steps[n++] = (struct kvp_seq_step){ .seq = row, .tokens = app.tokens[i][row] };
                }
        (void)pthread_mutex_unlock(&app.lock);
        r = kvp_step(app.caches[i], steps, n, timeouts[b >> 4 & 3]);
        if (r == -EINVAL) /* too long, or the pressure handler released a row before */
                return;
        if (!is_step_error(r))
                fail("kvp_step: an undocumented error");
        for (size_t k = 0; k < n; k++)
                if (!is_step_error(steps[k].ret_status) || (r == 0 && steps[k].ret_status != 0) ||
                    steps[k].ret_ready > TOKENS_MAX ||
                    (steps[k].ret_status == 0 && steps[k].ret_ready < steps[k].tokens))
                        fail("kvp_step: a row that is not what it says");
}

static void call_ask(unsigned i, struct script *script)
{
        struct kvp_cache_stats stats = { .size = sizeof(stats) };
        struct kvp_device_info device = { .size = sizeof(device) };
        struct kvp_tensor tensor;
        const uint8_t b = script_byte(script);

        if (b & 0x80)
                (void)kvp_device_info(app.conn, b & 1, &device);
        if (app.caches[i] && (kvp_cache_stats(app.caches[i], &stats) != 0 || stats.rows != ROWS ||
                              kvp_cache_tensor(app.caches[i], 0, 0, KVP_K, &tensor) != 0))
                fail("a cache does not know itself");
}

static void call_settle(unsigned i, struct script *script)
{
        int r = kvp_cache_settle(app.caches[i], script_byte(script) * UINT64_C(4));

        if (r > 0)
                fail("kvp_cache_settle: a positive result");
}

static void side_join(void)
{
        if (!side.runs)
                return;
        while (sem_wait(&side.done) < 0)
                ;
        side.runs = false;
}

/* Takes the next bytes of the script for the other thread. */
static void side_start(struct script *script)
{
        const uint8_t n = script_byte(script);
        const size_t left = (size_t)(script->end - script->at), size = n < left ? n : left;

        side_join();
        side.script = (struct script){ .at = script->at, .end = script->at + size };
        script->at += size;
        side.runs = true;
        (void)sem_post(&side.go);
}

/* Calls that either thread makes, on cache `i`. */
static void call_on(uint8_t op, unsigned i, struct script *script)
{
        if (op == 0)
                call_create(i, script);
        else if (op == 1)
                call_ask(i, script);
        else if (op == 4)
                (void)nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
        else if (!app.caches[i])
                return;
        else if (op == 5)
                call_destroy(i);
        else if (op == 6)
                call_settle(i, script);
        else if (op < 9)
                call_acquire(i, script);
        else if (op == 9)
                call_release(i, script);
        else
                call_step(i, script);
}

/* One byte: the lower four bits what, the highest on which cache. */
static void call_next(struct script *script)
{
        const uint8_t b = script_byte(script), op = b % 16;

        if (op == 2)
                app.pressure = script_byte(script);
        else if (op == 3)
                app.fence = side.runs ? 0 : script_byte(script); /* the other thread may destroy its cache */
        else if (op == 10)
                side_start(script);
        else
                call_on(op, side.runs ? 0 : b >> 7, script);
}

static void *side_main(void *userdata)
{
        (void)userdata;
        for (;;) {
                while (sem_wait(&side.go) < 0)
                        ;
                while (!script_is_over(&side.script))
                        call_on(script_byte(&side.script) % 16, 1, &side.script);
                (void)sem_post(&side.done);
        }
        return NULL;
}

static void play(struct script *script, bool patient)
{
        const struct kvp_connect_options options = { .size = sizeof(options), .socket_path = hostile_start() };
        int r = kvp_connect(&options, &app.conn);

        if (r > 0)
                fail("kvp_connect: a positive result");
        if (r < 0)
                return;
        if (patient) /* else the daemon hangs up long before the library loses patience */
                app.conn->patience_usec = SHORT_USEC;
        app.pressure = app.fence = 0;
        (void)kvp_set_pressure_handler(app.conn, on_pressure, NULL);
        while (!script_is_over(script))
                call_next(script);
        side_join();
        for (unsigned i = 0; i < CACHES; i++)
                if (app.caches[i])
                        call_destroy(i);
        kvp_disconnect(app.conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct script script = { 0 };
        uint64_t bytes;
        unsigned fds;
        size_t n;

        if (size < 2)
                return 0;
        (void)hostile_start();
        if (!side.thread && (sem_init(&side.go, 0, 0) < 0 || sem_init(&side.done, 0, 0) < 0 ||
                             pthread_create(&side.thread, NULL, side_main, NULL) != 0))
                fail("no thread");
        n = data[0] < size - 1 ? data[0] : size - 1;
        script = (struct script){ .at = data + 1, .end = data + 1 + n };
        fds = descriptors_count();
        bytes = address_space();
        hostile_begin(data + 1 + n, size - 1 - n, data[0] == 0xff);
        play(&script, data[0] == 0xff);
        hostile_end();
        if (descriptors_count() != fds)
                fail("a descriptor was leaked");
        if (address_space() >= bytes + LEAK_BYTES)
                fail("address space was leaked");
        return 0;
}
