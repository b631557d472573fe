/* SPDX-License-Identifier: MIT
 *
 * lib-threads.c -- the library under ThreadSanitizer: threads that step, trim and release rows of shared and of own
 * caches, while the daemon revokes, syncs, runs short, is restarted, and in the end dies. A plain program: exit status
 * 0 and no report is success.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fake-daemon.h"
#include "kvpager.h"

#define THREADS 4u
#define ROUNDS  120

#define CHECK(condition)                                                                                               \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                          \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

static const struct kvp_layer_group group = { .layers = 2, .kv_heads = 2, .head_dim = 128, .element_bits = 16 };
static const struct kvp_geometry geometry = { .size = sizeof(geometry),
                                              .layout = KVP_LAYOUT_PER_LAYER,
                                              .max_seqs = 12,
                                              .n_groups = 1,
                                              .max_tokens = 20000,
                                              .groups = &group };

static struct fake *fake;
static struct kvp_conn *conn;
static struct kvp_cache *shared;
static atomic_bool stop, dead;

static void touch(struct kvp_cache *cache, uint32_t seq, uint64_t token)
{
        for (uint32_t layer = 0; layer < 2; layer++)
                for (int part = 0; part < 2; part++) {
                        struct kvp_tensor t;
                        volatile uint16_t *p;

                        CHECK(kvp_cache_tensor(cache, 0, layer, (enum kvp_part)part, &t) == 0);
                        p = (uint16_t *)t.data + seq * t.stride[0] + token * t.stride[1];
                        *p = (uint16_t)(seq + token);
                        CHECK(*p == (uint16_t)(seq + token));
                }
}

static void may_fail(int r)
{
        CHECK(r == 0 || r == -ENOMEM || r == -ETIMEDOUT || (r == -ENOTCONN && atomic_load(&dead)));
}

static void one_round(struct kvp_cache *cache, uint32_t *seed)
{
        struct kvp_seq_step steps[2];
        uint32_t n = 0;

        while (n < 2 && kvp_seq_acquire(cache, *seed % 20000, 1000, &steps[n].seq) == 0)
                n++;
        for (int i = 0; i < 5; i++) {
                for (uint32_t k = 0; k < n; k++) {
                        *seed = *seed * 1103515245 + 12345;
                        steps[k].tokens = i > 0 && *seed >> 30 ? steps[k].tokens + 1 : 1 + (*seed >> 8) % 19000;
                }
                may_fail(kvp_step(cache, steps, n, i == 3 ? 0 : 20000));
                for (uint32_t k = 0; k < n; k++)
                        if (steps[k].ret_status == 0)
                                touch(cache, steps[k].seq, steps[k].tokens - 1);
        }
        for (uint32_t k = 0; k < n; k++) {
                CHECK(kvp_seq_trim(cache, steps[k].seq, steps[k].tokens / 2) == 0);
                CHECK(kvp_seq_release(cache, steps[k].seq) == 0);
        }
}

static void *worker(void *userdata)
{
        uint32_t seed = (uint32_t)(uintptr_t)userdata;
        struct kvp_cache *own = NULL;

        for (int i = 0; i < ROUNDS || (atomic_load(&stop) && !atomic_load(&dead)); i++) {
                if (i % 20 == 0 && !own && kvp_cache_create(conn, &geometry, &own) < 0)
                        own = NULL;
                one_round(shared, &seed);
                if (own)
                        one_round(own, &seed);
                if (i % 20 == 19) {
                        kvp_cache_destroy(own);
                        own = NULL;
                }
        }
        kvp_cache_destroy(own);
        return NULL;
}

static int fence(struct kvp_cache *cache, void *userdata)
{
        (void)cache;
        return atomic_fetch_add((atomic_int *)userdata, 1) % 7 == 3 ? -EBUSY : 0;
}

static void pressure(struct kvp_conn *of, uint64_t bytes, uint64_t deadline_usec, void *userdata)
{
        CHECK(of == conn && bytes > 0 && deadline_usec <= 1000000);
        atomic_fetch_add((atomic_int *)userdata, 1);
}

static void *tormentor(void *userdata)
{
        (void)userdata;
        for (uint32_t id = 1; !atomic_load(&stop); id++) {
                const uint64_t answers = fake_received(fake, WIRE_REVOKED);

                if (id % 6 == 5) { /* it is restarted */
                        const uint64_t resumed = fake_resumed(fake);

                        fake_hang_up(fake);
                        for (unsigned i = 0; fake_resumed(fake) == resumed; i++) {
                                CHECK(i < 10000);
                                (void)usleep(1000);
                        }
                        continue;
                }
                fake_revoke(fake, id, (enum wire_revoke_level)(id % 3), 1 + id % 200);
                fake_sync(fake);
                fake_set_short(fake, id % 4 < 2);
                CHECK(fake_wait_received(fake, WIRE_REVOKED, answers + 1));
        }
        return NULL;
}

static void *watcher(void *userdata)
{
        atomic_int *handlers = userdata;

        while (!atomic_load(&stop)) {
                struct kvp_cache_stats stats = { .size = sizeof(stats) };

                CHECK(kvp_cache_stats(shared, &stats) == 0);
                CHECK(stats.held_rows <= stats.rows && stats.live_bytes + stats.idle_bytes <= stats.virtual_bytes);
                (void)kvp_set_pressure_handler(conn, atomic_load(handlers) % 2 ? NULL : pressure, handlers);
                (void)kvp_cache_set_fence(shared, atomic_load(handlers) % 3 ? NULL : fence, handlers);
                (void)kvp_cache_settle(shared, 500);
        }
        return NULL;
}

int main(void)
{
        const struct fake_options options = { .capacity = 1500, .max_per_message = 30, .keeps = true };
        struct kvp_connect_options connect = { .size = sizeof(connect) };
        pthread_t workers[THREADS], torment, watch;
        static atomic_int handlers;
        const char *violation;

        fake = fake_start(&options);
        connect.socket_path = fake_path(fake);
        CHECK(kvp_connect(&connect, &conn) == 0);
        CHECK(kvp_cache_create(conn, &geometry, &shared) == 0);
        CHECK(pthread_create(&torment, NULL, tormentor, NULL) == 0);
        CHECK(pthread_create(&watch, NULL, watcher, &handlers) == 0);
        for (uintptr_t i = 0; i < THREADS; i++)
                CHECK(pthread_create(&workers[i], NULL, worker, (void *)(i + 1)) == 0);
        for (uintptr_t i = 0; i < THREADS; i++)
                CHECK(pthread_join(workers[i], NULL) == 0);
        atomic_store(&stop, true);
        CHECK(pthread_join(torment, NULL) == 0);
        CHECK(pthread_join(watch, NULL) == 0);
        violation = fake_violation(fake);
        if (violation)
                (void)fprintf(stderr, "violation: %s\n", violation);
        CHECK(!violation);

        /* Once more, and this time the daemon dies in the middle. */
        for (uintptr_t i = 0; i < THREADS; i++)
                CHECK(pthread_create(&workers[i], NULL, worker, (void *)(i + 100)) == 0);
        CHECK(fake_wait_received(fake, WIRE_GROW, fake_received(fake, WIRE_GROW) + 50));
        atomic_store(&dead, true);
        fake_forget(fake);
        fake_hang_up(fake);
        for (uintptr_t i = 0; i < THREADS; i++)
                CHECK(pthread_join(workers[i], NULL) == 0);
        kvp_cache_destroy(shared);
        kvp_disconnect(conn);
        fake_stop(fake);
        (void)puts("ok");
        return 0;
}
