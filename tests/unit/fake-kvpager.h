/* SPDX-License-Identifier: MIT
 *
 * fake-kvpager.h -- the API of kvpager.h within one process, with real mappings and faults on demand: so that tests of
 * the replay need no daemon, and can show that its checks catch memory that is not what it should be.
 *
 * Pages are of 64 KiB, each an offset in one memfd, shared by all caches up to fake.capacity. Idle rows keep their
 * pages until somebody is short. Defines the functions themselves: include it in exactly one file of a program.
 */
#ifndef FAKE_KVPAGER_H
#define FAKE_KVPAGER_H

#include <errno.h>
#include <fcntl.h>
#include <kvpager.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FAKE_PAGE       UINT64_C(65536)
#define FAKE_PAGES_MAX  65536u
#define FAKE_CACHES_MAX 8u

enum fake_fault {
        FAKE_NO_FAULT,
        FAKE_WRONG_PAGE, /* a grant maps a page that is mapped elsewhere already */
        FAKE_STALE_PAGE, /* a page that was given back is granted again as it is */
        FAKE_DIRTY_PAGE, /* a fresh page is not zero */
};

static struct {
        uint32_t capacity; /* pages */
        uint32_t used;
        enum fake_fault fault;
        uint32_t fault_after; /* grants that are right before it */
        uint64_t grants;
        int fd;
        uint8_t taken[FAKE_PAGES_MAX]; /* by page of the memfd */
        struct kvp_cache *caches[FAKE_CACHES_MAX];
        void (*waiting)(void); /* called in kvp_step(), where a real one might wait; NULL: nothing happens there */
} fake = { .capacity = 60000, .fd = -1 };

struct kvp_conn {
        int unused;
};

struct fake_row {
        bool held;
        uint64_t tokens;
        uint32_t *pages; /* [planes][pages of a row]: page of the memfd + 1, or 0 */
};

struct kvp_cache {
        uint32_t layout, layers, heads, dim, element_bytes, n_planes, n_rows;
        uint64_t max_tokens, token_bytes /* of a plane */, row_pages;
        char *base;
        size_t size;
        struct fake_row *rows;
        struct kvp_cache_stats stats;
};

static char *fake_address(const struct kvp_cache *cache, uint32_t plane, uint32_t row, uint64_t page)
{
        return cache->base + ((plane * cache->n_rows + row) * cache->row_pages + page) * FAKE_PAGE;
}

static void fake_unmap(struct kvp_cache *cache, uint32_t row, uint32_t plane, uint64_t page)
{
        uint32_t *entry = &cache->rows[row].pages[plane * cache->row_pages + page];
        bool clean = fake.fault != FAKE_STALE_PAGE;

        if (*entry == 0)
                return;
        (void)mmap(fake_address(cache, plane, row, page), FAKE_PAGE, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        if (clean)
                (void)fallocate(fake.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)((*entry - 1) * FAKE_PAGE),
                                (off_t)FAKE_PAGE);
        if (fake.taken[*entry - 1] > 0 && --fake.taken[*entry - 1] == 0)
                fake.used--;
        *entry = 0;
        cache->stats.returns++;
}

static void fake_row_unmap(struct kvp_cache *cache, uint32_t row, uint64_t from_tokens)
{
        uint64_t first = (from_tokens * cache->token_bytes + FAKE_PAGE - 1) / FAKE_PAGE;

        for (uint32_t plane = 0; plane < cache->n_planes; plane++)
                for (uint64_t page = first; page < cache->row_pages; page++)
                        fake_unmap(cache, row, plane, page);
}

/* Takes the pages of one idle row back. Returns false if there is none. */
static bool fake_reclaim(void)
{
        for (uint32_t c = 0; c < FAKE_CACHES_MAX; c++) {
                struct kvp_cache *cache = fake.caches[c];

                for (uint32_t row = 0; cache && row < cache->n_rows; row++) {
                        uint32_t before = fake.used;

                        if (cache->rows[row].held)
                                continue;
                        fake_row_unmap(cache, row, 0);
                        if (fake.used < before)
                                return true;
                }
        }
        return false;
}

static bool fake_map(struct kvp_cache *cache, uint32_t row, uint32_t plane, uint64_t page)
{
        uint32_t *entry = &cache->rows[row].pages[plane * cache->row_pages + page], physical = 0;
        bool faulty = fake.fault != FAKE_NO_FAULT && fake.grants >= fake.fault_after;

        while (fake.used >= fake.capacity)
                if (!fake_reclaim())
                        return false;
        if (faulty && fake.fault == FAKE_WRONG_PAGE)
                for (uint32_t i = 0; i < FAKE_PAGES_MAX && fake.taken[physical] == 0; i++)
                        physical = i;
        else
                while (fake.taken[physical] > 0)
                        physical++;
        if (fake.taken[physical]++ == 0)
                fake.used++;
        *entry = physical + 1;
        fake.grants++;
        cache->stats.grants++;
        cache->stats.granted_bytes += FAKE_PAGE;
        (void)mmap(fake_address(cache, plane, row, page), FAKE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                   fake.fd, (off_t)(physical * FAKE_PAGE));
        if (faulty && fake.fault == FAKE_DIRTY_PAGE)
                memset(fake_address(cache, plane, row, page), 0x5a, 64);
        return true;
}

static int fake_grow(struct kvp_cache *cache, uint32_t row, uint64_t tokens)
{
        uint64_t n = (tokens * cache->token_bytes + FAKE_PAGE - 1) / FAKE_PAGE;
        bool asked = false;

        for (uint32_t plane = 0; plane < cache->n_planes; plane++)
                for (uint64_t page = 0; page < n; page++) {
                        if (cache->rows[row].pages[plane * cache->row_pages + page] != 0)
                                continue;
                        cache->stats.requests += !asked;
                        asked = true;
                        if (!fake_map(cache, row, plane, page))
                                return -ENOMEM;
                }
        return 0;
}

static uint64_t fake_ready(const struct kvp_cache *cache, uint32_t row)
{
        uint64_t ready = cache->max_tokens;

        for (uint32_t plane = 0; plane < cache->n_planes; plane++) {
                uint64_t page = 0;

                while (page < cache->row_pages && cache->rows[row].pages[plane * cache->row_pages + page] != 0)
                        page++;
                if (page * FAKE_PAGE / cache->token_bytes < ready)
                        ready = page * FAKE_PAGE / cache->token_bytes;
        }
        return ready;
}

int kvp_connect(const struct kvp_connect_options *options, struct kvp_conn **ret_conn)
{
        static struct kvp_conn connection;

        (void)options;
        if (fake.fd < 0) {
                fake.fd = memfd_create("fake-kvpager", MFD_CLOEXEC);
                if (fake.fd < 0 || ftruncate(fake.fd, (off_t)(FAKE_PAGES_MAX * FAKE_PAGE)) < 0)
                        return -errno;
        }
        *ret_conn = &connection;
        return 0;
}

void kvp_disconnect(struct kvp_conn *conn)
{
        (void)conn;
}

static kvp_pressure_fn *fake_pressure;
static void *fake_pressure_userdata;

int kvp_set_pressure_handler(struct kvp_conn *conn, kvp_pressure_fn *handler, void *userdata)
{
        (void)conn;
        fake_pressure = handler;
        fake_pressure_userdata = userdata;
        return 0;
}

int kvp_device_info(struct kvp_conn *conn, uint32_t device, struct kvp_device_info *ret_info)
{
        (void)conn;
        (void)device;
        ret_info->page_size = FAKE_PAGE;
        ret_info->capacity = fake.capacity * FAKE_PAGE;
        return 0;
}

int kvp_cache_create(struct kvp_conn *conn, const struct kvp_geometry *geometry, struct kvp_cache **ret_cache)
{
        const struct kvp_layer_group *group = &geometry->groups[0];
        struct kvp_cache *cache = calloc(1, sizeof(*cache));
        uint32_t slot = 0;
        uint64_t all;

        (void)conn;
        cache->layout = geometry->layout;
        cache->layers = group->layers;
        cache->heads = group->kv_heads;
        cache->dim = group->head_dim;
        cache->element_bytes = group->element_bits / 8;
        cache->max_tokens = geometry->max_tokens;
        cache->n_rows = geometry->max_seqs;
        cache->n_planes = geometry->layout == KVP_LAYOUT_PER_LAYER     ? 2 * group->layers
                          : geometry->layout == KVP_LAYOUT_TOKEN_MAJOR ? 2
                                                                       : 1;
        all = UINT64_C(2) * group->layers * group->kv_heads * group->head_dim * cache->element_bytes;
        cache->token_bytes = all / cache->n_planes;
        cache->row_pages = (cache->max_tokens * cache->token_bytes + FAKE_PAGE - 1) / FAKE_PAGE;
        cache->size = cache->n_planes * cache->n_rows * cache->row_pages * FAKE_PAGE;
        cache->base = mmap(NULL, cache->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        cache->rows = calloc(cache->n_rows, sizeof(*cache->rows));
        for (uint32_t i = 0; i < cache->n_rows; i++)
                cache->rows[i].pages = calloc(cache->n_planes * cache->row_pages, sizeof(uint32_t));
        while (fake.caches[slot])
                slot++;
        fake.caches[slot] = cache;
        *ret_cache = cache;
        return 0;
}

void kvp_cache_destroy(struct kvp_cache *cache)
{
        if (!cache)
                return;
        for (uint32_t i = 0; i < cache->n_rows; i++) {
                fake_row_unmap(cache, i, 0);
                free(cache->rows[i].pages);
        }
        for (uint32_t i = 0; i < FAKE_CACHES_MAX; i++)
                if (fake.caches[i] == cache)
                        fake.caches[i] = NULL;
        (void)munmap(cache->base, cache->size);
        free(cache->rows);
        free(cache);
}

int kvp_cache_tensor(const struct kvp_cache *cache, uint32_t group, uint32_t layer, enum kvp_part part,
                     struct kvp_tensor *ret_tensor)
{
        uint64_t vector = (uint64_t)cache->heads * cache->dim, row = cache->row_pages * FAKE_PAGE;
        uint32_t plane = cache->n_planes == 1 ? 0 : cache->n_planes == 2 ? part : 2 * layer + part;
        uint64_t skipped = cache->layout == KVP_LAYOUT_PER_LAYER     ? 0
                           : cache->layout == KVP_LAYOUT_TOKEN_MAJOR ? layer
                                                                     : 2 * layer + part;

        (void)group;
        *ret_tensor = (struct kvp_tensor){
                .data = fake_address(cache, plane, 0, 0) + skipped * vector * cache->element_bytes,
                .n_dims = 4,
                .shape = { cache->n_rows, cache->max_tokens, cache->heads, cache->dim },
                .stride = { row / cache->element_bytes, cache->token_bytes / cache->element_bytes, cache->dim, 1 },
                .element_bits = 8 * cache->element_bytes,
        };
        return 0;
}

int kvp_cache_stats(const struct kvp_cache *cache, struct kvp_cache_stats *ret_stats)
{
        struct kvp_cache_stats stats = cache->stats;

        stats.size = ret_stats->size;
        stats.rows = cache->n_rows;
        for (uint32_t row = 0; row < cache->n_rows; row++) {
                stats.held_rows += cache->rows[row].held;
                for (uint64_t i = 0; i < cache->n_planes * cache->row_pages; i++)
                        if (cache->rows[row].pages[i] != 0)
                                *(cache->rows[row].held ? &stats.live_bytes : &stats.idle_bytes) += FAKE_PAGE;
        }
        *ret_stats = stats;
        return 0;
}

int kvp_cache_settle(struct kvp_cache *cache, uint64_t timeout_usec)
{
        (void)cache;
        (void)timeout_usec;
        return 0;
}

int kvp_seq_acquire(struct kvp_cache *cache, uint64_t expected_tokens, uint64_t timeout_usec, uint32_t *ret_seq)
{
        (void)timeout_usec;
        if (expected_tokens > cache->max_tokens)
                return -EINVAL;
        for (uint32_t row = 0; row < cache->n_rows; row++)
                if (!cache->rows[row].held) {
                        cache->rows[row].held = true;
                        *ret_seq = row;
                        return 0;
                }
        return -EAGAIN;
}

int kvp_seq_release(struct kvp_cache *cache, uint32_t seq)
{
        if (seq >= cache->n_rows || !cache->rows[seq].held)
                return -EINVAL;
        cache->rows[seq].held = false;
        return 0;
}

int kvp_seq_trim(struct kvp_cache *cache, uint32_t seq, uint64_t tokens)
{
        if (seq >= cache->n_rows || !cache->rows[seq].held || tokens > cache->max_tokens)
                return -EINVAL;
        fake_row_unmap(cache, seq, tokens);
        return 0;
}

int kvp_step(struct kvp_cache *cache, struct kvp_seq_step *steps, size_t n, uint64_t timeout_usec)
{
        int first_error = 0;

        (void)timeout_usec;
        for (size_t i = 0; i < n; i++)
                if (steps[i].seq >= cache->n_rows || !cache->rows[steps[i].seq].held ||
                    steps[i].tokens > cache->max_tokens)
                        return -EINVAL;
        cache->stats.steps++;
        if (fake.waiting)
                fake.waiting();
        for (size_t i = 0; i < n; i++) {
                steps[i].ret_status = cache->rows[steps[i].seq].held ? fake_grow(cache, steps[i].seq, steps[i].tokens)
                                                                     : -ECANCELED;
                steps[i].ret_ready = fake_ready(cache, steps[i].seq);
                if (first_error == 0)
                        first_error = steps[i].ret_status;
        }
        return first_error;
}

#endif
