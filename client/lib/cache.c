/* SPDX-License-Identifier: MIT
 *
 * cache.c -- a cache comes and goes, and tells about itself. What happens to its rows is in seq.c and step.c.
 */
#include "cache.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "giveback.h"
#include "grow.h"
#include "mapper.h"

int cache_fence(struct kvp_cache *cache)
{
        kvp_fence_fn *fence;
        void *userdata;

        (void)pthread_mutex_lock(&cache->lock);
        fence = cache->fence;
        userdata = cache->fence_userdata;
        (void)pthread_mutex_unlock(&cache->lock);
        if (fence)
                return fence(cache, userdata);
        return cache->mem->fence ? cache->mem->fence(cache->mem_device) : 0;
}

/* Where not whatever is mapped goes with the reservation. false: something stays mapped. The lock is held meanwhile,
 * for who may want it is the mapper alone, to tell a daemon that takes over what there is. */
static bool unmap_all(struct kvp_cache *cache)
{
        bool all = true;

        (void)pthread_mutex_lock(&cache->lock);
        for (uint32_t row = 0; row < cache->n_rows && cache->mem->whole; row++)
                for (uint32_t class = 0; class < cache->layout.n_classes; class ++) {
                        (void)giveback_places(NULL, cache, row, class, 0);
                        all &= cache_extents(cache, row, class)->n == 0;
                }
        (void)pthread_mutex_unlock(&cache->lock);
        return all;
}

/* Takes NULL and half-built ones. What was mapped is so no more, or goes with the reservation. */
static void cache_free(struct kvp_cache *cache)
{
        if (!cache)
                return;
        fork_unregister(&cache->reservation);
        if (cache->reservation.base)
                cache->mem->release(cache->mem_device, cache->reservation.base, cache->reservation.size);
        if (cache->mem_device)
                cache->mem->close(cache->mem_device);
        for (size_t i = 0; cache->extents && i < (size_t)cache->n_rows * cache->layout.n_classes; i++)
                extents_free(&cache->extents[i]);
        free(cache->extents);
        free(cache->queue);
        free(cache->rows);
        free(cache->hot);
        (void)pthread_cond_destroy(&cache->changed);
        (void)pthread_mutex_destroy(&cache->lock);
        free(cache);
}

static void cleanup_cache(struct kvp_cache **cache)
{
        cache_free(*cache);
}

/* The tables of rows. What is zero costs nothing until it is used. */
static int cache_new_rows(struct kvp_cache *cache, uint32_t n_rows)
{
        cache->n_rows = n_rows;
        cache->hot = aligned_alloc(64, ((size_t)n_rows * sizeof(*cache->hot) + 63) & ~(size_t)63);
        cache->rows = calloc(n_rows, sizeof(*cache->rows));
        cache->queue = calloc(n_rows, sizeof(*cache->queue));
        cache->extents = calloc((size_t)n_rows * cache->layout.n_classes, sizeof(*cache->extents));
        if (!cache->hot || !cache->rows || !cache->queue || !cache->extents)
                return -ENOMEM;
        for (uint32_t row = 0; row < n_rows; row++)
                cache->hot[row] = (struct row_hot){ .stamp = ROW_FREE };
        return 0;
}

static int cache_new(struct kvp_conn *conn, const struct kvp_geometry *geometry, const struct kvp_device_info *device,
                     struct kvp_cache **ret)
{
        _cleanup_(cleanup_cache) struct kvp_cache *cache = calloc(1, sizeof(*cache));
        pthread_mutexattr_t adaptive;
        pthread_condattr_t attributes;
        int r;

        if (!cache)
                return -ENOMEM;
        cache->conn = conn;
        cache->generation = conn->generation;
        cache->idle_first = cache->idle_last = ROW_NONE;
        for (int i = 0; i < FORK_MAX_FDS; i++)
                cache->reservation.fds[i] = -1;
        /* It is held for less than going to sleep takes, so whoever meets it held spins first. */
        (void)pthread_mutexattr_init(&adaptive);
        (void)pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
        (void)pthread_mutex_init(&cache->lock, &adaptive);
        (void)pthread_mutexattr_destroy(&adaptive);
        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&cache->changed, &attributes);
        (void)pthread_condattr_destroy(&attributes);

        r = layout_init(&cache->layout, geometry, device->page_size);
        if (r < 0)
                return r;
        cache->mem = mem_backend_find(device->backend);
        if (!cache->mem)
                return -ENODEV;
        r = cache_new_rows(cache, geometry->max_seqs);
        if (r < 0)
                return r;
        if (cache->mem->open)
                r = cache->mem->open(device->uuid, &cache->mem_device);
        if (r < 0)
                return r;
        r = cache->mem->reserve(cache->mem_device, cache->layout.total_bytes, device->page_size,
                                &cache->reservation.base);
        if (r < 0)
                return r;
        cache->reservation.size = cache->layout.total_bytes;
        r = fork_register(&cache->reservation);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(cache);
        return 0;
}

/* Among those of the connection, where a daemon is told of it that takes over from another. false: one was told before,
 * and so without this one, which it has ended. */
static bool cache_enlist(struct kvp_cache *cache, uint32_t epoch)
{
        struct kvp_conn *conn = cache->conn;
        bool known;

        (void)pthread_mutex_lock(&conn->mutex);
        known = conn->epoch == epoch;
        if (known) {
                cache->next = conn->caches;
                conn->caches = cache;
        }
        (void)pthread_mutex_unlock(&conn->mutex);
        return known;
}

KVP_PUBLIC int kvp_cache_create(struct kvp_conn *conn, const struct kvp_geometry *geometry,
                                struct kvp_cache **ret_cache)
{
        _cleanup_(cleanup_cache) struct kvp_cache *cache = NULL;
        struct kvp_device_info device = { .size = sizeof(device) };
        struct wire_item_class classes[WIRE_MAX_CLASSES];
        struct wire_cache_create fixed;
        struct request answer;
        int r;

        r = conn_check(conn);
        if (r < 0)
                return r;
        if (!geometry || !ret_cache || options_check(geometry, geometry->size, sizeof(*geometry)) < 0)
                return -EINVAL;
        r = kvp_device_info(conn, geometry->device, &device);
        if (r < 0)
                return r;
        r = cache_new(conn, geometry, &device, &cache);
        if (r < 0)
                return r;
        for (uint32_t c = 0; c < cache->layout.n_classes; c++)
                classes[c] = (struct wire_item_class){
                        .group = cache->layout.classes[c].group,
                        .planes = cache->layout.classes[c].planes,
                        .row_pages = cache->layout.classes[c].row_pages,
                };
        fixed = (struct wire_cache_create){ .device = geometry->device, .rows = geometry->max_seqs };
        do {
                r = conn_call(conn, WIRE_CACHE_CREATE, &fixed, classes, cache->layout.n_classes, WIRE_CACHE, UINT64_MAX,
                              &answer);
                if (r == -EINVAL)
                        return -ENOMEM; /* the geometry is sane, so it is over a bound of the daemon's */
                if (r < 0)
                        return r;
                cache->id = answer.answer.cache.cache;
        } while (!cache_enlist(cache, answer.epoch));
        *ret_cache = TAKE_PTR(cache);
        return 0;
}

static bool nobody_uses(struct kvp_conn *conn, void *arg)
{
        const struct kvp_cache *cache = arg;

        (void)conn;
        return cache->requests == 0;
}

/* With conn->mutex held. Mostly for the mapper, which waits for no one but the application's handlers. */
static void wait_left_alone(struct kvp_cache *cache)
{
        while (cache->users > 0)
                conn_sleep(cache->conn, UINT64_MAX);
}

/* Takes the cache out of the mapper's sight and waits until nothing of it is under way. A daemon that takes over from
 * another is told of it even so, for its memory may still be in use. */
static void cache_retire(struct kvp_cache *cache)
{
        struct kvp_conn *conn = cache->conn;

        (void)pthread_mutex_lock(&conn->mutex);
        cache->dying = true;
        wait_left_alone(cache);
        (void)pthread_mutex_unlock(&conn->mutex);
        if (conn_wait(conn, nobody_uses, cache, deadline_in(conn->patience_usec)) == -ETIMEDOUT) {
                conn_fail(conn);
                (void)conn_wait(conn, nobody_uses, cache,
                                UINT64_MAX); /* a failed connection ends its requests itself */
        }
        assert(cache->requests == 0);
}

static void cache_unlink(struct kvp_cache *cache)
{
        struct kvp_conn *conn = cache->conn;

        (void)pthread_mutex_lock(&conn->mutex);
        wait_left_alone(cache);
        for (struct kvp_cache **link = &conn->caches; *link; link = &(*link)->next)
                if (*link == cache) {
                        *link = cache->next;
                        break;
                }
        (void)pthread_mutex_unlock(&conn->mutex);
}

/* What is mapped stays so, with its addresses. */
static void cache_abandon(struct kvp_cache *cache)
{
        fork_unregister(&cache->reservation);
        cache->reservation.base = NULL;
        cache_free(cache);
}

KVP_PUBLIC void kvp_cache_destroy(struct kvp_cache *cache)
{
        struct wire_cache_destroy fixed;
        struct kvp_conn *conn;

        if (!cache || conn_check(cache->conn) < 0)
                return;
        conn = cache->conn;
        cache_retire(cache);
        fixed = (struct wire_cache_destroy){ .cache = cache->id };
        if (cache_fence(cache) < 0 || !unmap_all(cache)) { /* somebody still uses it, or the driver does not let go */
                (void)pthread_mutex_lock(&conn->mutex);
                cache->left = true;
                (void)pthread_mutex_unlock(&conn->mutex);
                return;
        }
        cache_unlink(cache);
        cache_free(cache);
        if (!conn_is_gone(conn))
                (void)conn_call(conn, WIRE_CACHE_DESTROY, &fixed, NULL, 0, WIRE_OK, UINT64_MAX, NULL);
}

void cache_destroy_all(struct kvp_conn *conn)
{
        struct kvp_cache *cache;

        while ((cache = conn->caches))
                if (cache->left) {
                        cache_unlink(cache);
                        cache_abandon(cache);
                } else {
                        kvp_cache_destroy(cache);
                }
}

KVP_PUBLIC int kvp_cache_set_fence(struct kvp_cache *cache, kvp_fence_fn *fence, void *userdata)
{
        int r = conn_check(cache->conn);

        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&cache->lock);
        cache->fence = fence;
        cache->fence_userdata = userdata;
        (void)pthread_mutex_unlock(&cache->lock);
        return 0;
}

KVP_PUBLIC int kvp_cache_tensor(const struct kvp_cache *cache, uint32_t group, uint32_t layer, enum kvp_part part,
                                struct kvp_tensor *ret_tensor)
{
        int r = conn_check(cache->conn);

        if (r < 0)
                return r;
        r = layout_tensor(&cache->layout, cache->reservation.base, group, layer, part, ret_tensor);
        if (r == 0 && cache->mem->number)
                ret_tensor->device = cache->mem->number(cache->mem_device);
        return r;
}

KVP_PUBLIC int kvp_cache_stats(const struct kvp_cache *cache, struct kvp_cache_stats *ret_stats)
{
        struct kvp_cache *locked = (struct kvp_cache *)(uintptr_t)cache; /* its lock is no part of what it tells */
        struct kvp_conn *conn = cache->conn;
        const uint32_t shift = cache->layout.page_shift;
        struct kvp_cache_stats stats;
        uint64_t messages;
        int r = conn_check(conn);

        if (r < 0)
                return r;
        if (!ret_stats || ret_stats->size < sizeof(stats))
                return -EINVAL;
        (void)pthread_mutex_lock(&conn->mutex);
        messages = conn->messages;
        (void)pthread_mutex_unlock(&conn->mutex);
        (void)pthread_mutex_lock(&locked->lock);
        stats = (struct kvp_cache_stats){
                .size = ret_stats->size,
                .virtual_bytes = cache->layout.total_bytes,
                .live_bytes = cache->held_pages << shift,
                .idle_bytes = cache->idle_pages << shift,
                .rows = cache->n_rows,
                .held_rows = cache->held_rows,
                .steps = cache->counters.steps,
                .steps_waited = cache->counters.waited,
                .steps_with_syscalls = cache->counters.with_syscalls,
                .messages = messages,
                .grants = cache->counters.grants,
                .granted_bytes = cache->counters.granted_pages << shift,
                .requests = cache->counters.requests,
                .returns = cache->counters.returns,
                .refusals = cache->counters.refusals,
                .mapper_wakes = atomic_load_explicit(&conn->mapper_wakes, memory_order_relaxed),
        };
        (void)pthread_mutex_unlock(&locked->lock);
        *ret_stats = stats;
        return 0;
}

static bool request_ended(struct kvp_conn *conn, void *arg)
{
        return conn->ended != *(const uint64_t *)arg;
}

/* Until no request is under way and the mapper sleeps. */
static int settle_here(struct kvp_conn *conn, uint64_t deadline)
{
        for (;;) {
                uint64_t ended;
                bool requests;
                int r;

                (void)pthread_mutex_lock(&conn->mutex);
                ended = conn->ended;
                requests = conn->n_requests > 0;
                r = conn_is_down(conn) ? -ENOTCONN : !requests && mapper_is_idle(conn) ? 1 : 0;
                if (r == 0 && time_now_usec() >= deadline)
                        r = -ETIMEDOUT;
                if (r == 0 && !requests)
                        conn_sleep(conn, deadline);
                (void)pthread_mutex_unlock(&conn->mutex);
                if (r == 0 && requests)
                        r = conn_wait(conn, request_ended, &ended, deadline);
                if (r == -ENOTCONN)
                        r = conn_wait_up(conn, deadline);
                if (r != 0)
                        return r > 0 ? 0 : r;
        }
}

KVP_PUBLIC int kvp_cache_settle(struct kvp_cache *cache, uint64_t timeout_usec)
{
        const uint64_t deadline = deadline_in(timeout_usec);
        struct kvp_conn *conn = cache->conn;
        int r = conn_check(conn);

        /* The daemon knows what is under way elsewhere, and may ask this mapper for something meanwhile: then again. */
        while (r == 0 && (r = settle_here(conn, deadline)) == 0) {
                struct request answer;

                r = conn_call(conn, WIRE_SETTLED, NULL, NULL, 0, WIRE_OK, add_saturated(deadline, CONN_GRACE_USEC),
                              &answer);
                if (r == 0 && mapper_is_idle(conn))
                        return 0;
                if (r == -EAGAIN)
                        r = time_now_usec() < deadline ? 0 : -ETIMEDOUT;
                if (r == 0)
                        (void)nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
        }
        return r;
}
