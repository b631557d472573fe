/* SPDX-License-Identifier: MIT
 *
 * test-lib-fault.c -- what goes wrong: extents that cannot be mapped, fds that are cut off, a daemon that does not
 * answer, does not read, dies at any message, or lies. Every call ends in an error that kvpager.h names; nothing leaks,
 * and what was mapped stays.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache.h"
#include "lib-box.h"

static unsigned count_fds(int *ret_highest)
{
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        cr_assert_not_null(dir);
        if (ret_highest)
                *ret_highest = 0;
        for (struct dirent *entry; (entry = readdir(dir));) {
                const int fd = (int)strtol(entry->d_name, NULL, 10);

                n++;
                if (ret_highest && fd > *ret_highest && fd != dirfd(dir))
                        *ret_highest = fd;
        }
        (void)closedir(dir);
        return n;
}

/* ---- extents that cannot be mapped ---- */

static const struct kvp_layer_group planes_group = { .layers = 10, .kv_heads = 2, .head_dim = 64, .element_bits = 16 };
static const struct kvp_geometry planes = { /* 20 planes, 256 tokens a page */
                                            .size = sizeof(planes), .layout = KVP_LAYOUT_PER_LAYER,
                                            .max_seqs = 4,          .n_groups = 1,
                                            .max_tokens = 40000,    .groups = &planes_group
};

Test(fault, extents_that_cannot_be_mapped_are_refused_and_the_rest_is_kept)
{
        for (uint32_t every = 1; every < 100; every += 7) {
                struct box box;
                uint32_t seq;
                uint64_t ready;

                box_open(&box, &(struct fake_options){ .max_per_message = every % 50 }, &planes);
                seq = box_acquire(&box, 0);
                cr_assert_eq(box_step(&box, seq, 300, NULL), 0);
                fake_spoil(box.fake, every);
                cr_assert_eq(box_step(&box, seq, 9000, &ready), -EPROTO);
                cr_assert(ready >= 300 && ready < 9000);
                box_visit(&box, &planes, seq, 0, ready, true);
                box_settle(&box);
                cr_assert_gt(fake_refused(box.fake), 0);
                cr_assert_eq(fake_refused(box.fake), box_stats(&box).refusals);
                cr_assert_eq(fake_pages(box.fake) * PAGE, box_stats(&box).live_bytes);
                fake_spoil(box.fake, 0);
                cr_assert_eq(box_step(&box, seq, 9000, NULL), 0);
                box_visit(&box, &planes, seq, 0, ready, false);
                box_settle(&box);
                cr_assert_eq(fake_pages(box.fake) * PAGE, box_stats(&box).live_bytes);
                box_close(&box);
        }
}

Test(fault, fds_that_are_cut_off_at_the_limit_are_refused)
{
        struct rlimit before, limit;
        struct box box;
        int highest;
        uint32_t seq;
        uint64_t ready;

        box_open(&box, NULL, &planes);
        seq = box_acquire(&box, 0);
        fake_stock(box.fake, 200);
        (void)count_fds(&highest);
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        limit = before;
        limit.rlim_cur = (rlim_t)highest + 1 + 13;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        cr_assert_eq(box_step(&box, seq, 700, &ready), -EMFILE); /* 3 pages in 20 planes */
        cr_assert_eq(ready, 0);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        box_settle(&box);
        cr_assert_gt(fake_refused(box.fake), 0);
        cr_assert_eq(box_step(&box, seq, 700, &ready), 0);
        box_visit(&box, &planes, seq, 0, 700, true);
        box_settle(&box);
        cr_assert_eq(fake_pages(box.fake) * PAGE, box_stats(&box).live_bytes);
        box_close(&box);
}

Test(fault, no_more_mappings_is_ENOMEM_and_passes)
{
        const size_t n = 2 * 66000, page = 4096;
        struct box box;
        uint32_t seq;
        uint64_t ready;
        char *area;
        size_t i;

        box_open(&box, NULL, &planes);
        seq = box_acquire(&box, 0);
        area = mmap(NULL, n * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        cr_assert_neq(area, MAP_FAILED);
        for (i = 1; i < n; i += 2) /* each splits it further, until vm.max_map_count */
                if (mprotect(area + i * page, page, PROT_READ) < 0)
                        break;
        cr_assert_lt(i, n, "vm.max_map_count is higher than this test reaches");
        cr_assert_eq(box_step(&box, seq, 700, &ready), -ENOMEM);
        cr_assert_eq(munmap(area, n * page), 0);
        cr_assert_gt(box_stats(&box).refusals, 0);
        cr_assert_eq(box_step(&box, seq, 700, &ready), 0);
        box_visit(&box, &planes, seq, 0, 700, true);
        box_close(&box);
}

/* More extents than may be unacknowledged: they come as earlier ones are acknowledged, within one request. */
Test(fault, large_grants_are_acknowledged_as_they_come)
{
        struct kvp_seq_step steps[4];
        struct box box;
        uint32_t seq;

        box_open(&box, &(struct fake_options){ .max_per_message = 100 }, &planes);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 39000, NULL), 0); /* 153 pages in 20 planes */
        cr_assert_geq(box_stats(&box).grants, 80);
        for (uint64_t tokens = 39200; tokens <= 40000; tokens += 200)
                cr_assert_eq(box_step(&box, seq, tokens, NULL), 0);
        cr_assert_eq(box_stats(&box).refusals, 0);
        box_close(&box);
        box_open(&box, NULL, &planes);
        for (uint32_t i = 0; i < 4; i++) /* 8 extents in 20 planes, 4 times in one request */
                steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 256 * 62 - 9 };
        cr_assert_eq(kvp_step(box.cache, steps, 4, 10 * SECOND), 0);
        cr_assert_eq(box_stats(&box).requests, 1);
        cr_assert_gt(fake_received(box.fake, WIRE_ACK), 0);
        box_close(&box);
}

/* ---- a daemon that does not answer, or does not read ---- */

Test(fault, a_daemon_that_answers_no_call_counts_as_gone)
{
        struct kvp_device_info info = { .size = sizeof(info) };
        struct kvp_cache *cache;
        struct box box;

        box_open(&box, NULL, NULL);
        box.conn->patience_usec = 20000;
        fake_pause(box.fake, true);
        cr_assert_eq(kvp_device_info(box.conn, 0, &info), -ENOTCONN);
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &cache), -ENOTCONN);
        kvp_cache_destroy(box.cache);
        kvp_disconnect(box.conn);
        fake_stop(box.fake);
}

Test(fault, a_daemon_that_does_not_read_makes_nobody_wait_beyond_the_timeout)
{
        const struct kvp_geometry geometry = { .size = sizeof(geometry),
                                               .layout = KVP_LAYOUT_TOKEN_MAJOR_FUSED,
                                               .max_seqs = 20000,
                                               .n_groups = 1,
                                               .max_tokens = 100,
                                               .groups = &box_group };
        static struct kvp_seq_step steps[20000];
        struct box box;

        box_open(&box, NULL, &geometry);
        for (uint32_t i = 0; i < 20000; i++)
                steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 1 };
        fake_pause(box.fake, true);
        for (int round = 0; round < 3; round++) {
                cr_assert_eq(kvp_step(box.cache, steps, 20000, 30000), -ETIMEDOUT);
                for (uint32_t i = 0; i < 20000; i += 997)
                        cr_assert_eq(steps[i].ret_status, -ETIMEDOUT);
        }
        fake_pause(box.fake, false);
        cr_assert_eq(kvp_step(box.cache, steps, 20000, 20 * SECOND), 0); /* and many requests, over all slots */
        box_close(&box);
}

/* ---- death ---- */

struct doom {
        int left;                  /* messages until the end */
        enum fake_verdict verdict; /* before it is handled, or after */
        bool happened;
};

static enum fake_verdict doom_hook(struct fake *fake, const struct wire_view *message, void *userdata)
{
        struct doom *doom = userdata;

        (void)fake;
        (void)message;
        if (--doom->left > 0)
                return FAKE_HANDLE;
        doom->happened = true;
        return doom->verdict;
}

static bool expected(int r)
{
        return r == 0 || r == -ENOTCONN || r == -EPROTO || r == -ETIMEDOUT;
}

/* A worker's life; whatever the daemon does, each call returns what it may, and backed memory is there. */
static void live(struct fake *fake, const struct kvp_geometry *geometry)
{
        const struct kvp_connect_options options = { .size = sizeof(options), .socket_path = fake_path(fake) };
        struct box box = { .fake = fake };
        struct kvp_seq_step steps[2];
        int r;

        r = kvp_connect(&options, &box.conn);
        cr_assert(expected(r), "%d", r);
        if (r < 0)
                return;
        r = kvp_cache_create(box.conn, geometry, &box.cache);
        cr_assert(expected(r), "%d", r);
        if (r < 0) {
                kvp_disconnect(box.conn);
                return;
        }
        for (uint32_t i = 0; i < 2; i++)
                steps[i] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 600 };
        for (int i = 0; i < 12; i++) {
                r = kvp_step(box.cache, steps, 2, 10 * SECOND);
                cr_assert(r == 0 || r == -ENOTCONN || r == -EPROTO, "%d", r);
                for (uint32_t k = 0; k < 2; k++) {
                        cr_assert(expected(steps[k].ret_status));
                        cr_assert(steps[k].ret_status < 0 || steps[k].ret_ready >= steps[k].tokens);
                        if (steps[k].ret_ready > 1) /* the last token that is said to be there, is */
                                box_visit(&box, geometry, steps[k].seq, steps[k].ret_ready - 1, steps[k].ret_ready,
                                          true);
                        steps[k].tokens += i == 6 ? 3000 : 9;
                }
                if (i == 4)
                        cr_assert_eq(kvp_seq_trim(box.cache, steps[1].seq, 1), 0);
                r = kvp_cache_settle(box.cache, 10 * SECOND);
                cr_assert(r == 0 || r == -ENOTCONN, "%d", r);
        }
        cr_assert_eq(kvp_seq_release(box.cache, steps[1].seq), 0);
        steps[0].tokens = 1;
        cr_assert_eq(kvp_step(box.cache, steps, steps[0].ret_ready > 0, 0), 0); /* needs nothing: fine, dead or alive */
        if (steps[0].ret_ready > 0)
                box_visit(&box, geometry, steps[0].seq, 0, 1, true);
        (void)box_stats(&box);
        kvp_cache_destroy(box.cache);
        kvp_disconnect(box.conn);
}

Test(fault, the_daemon_may_die_at_any_message)
{
        const unsigned fds = count_fds(NULL);

        for (int round = 0; round < 2; round++)
                for (int at = 1;; at++) {
                        struct doom doom = { .left = at, .verdict = FAKE_HANG_UP };
                        struct fake *fake = fake_start(&(struct fake_options){ .max_per_message = round ? 7 : 0 });

                        fake_set_hook(fake, doom_hook, &doom);
                        live(fake, round ? &planes : &box_fused);
                        fake_stop(fake);
                        cr_assert_eq(count_fds(NULL), fds, "fds leak when it dies at message %d", at);
                        if (!doom.happened)
                                break;
                        cr_assert_lt(at, 200);
                }
}

/* Dies in the middle of a grant: what is complete is backed, what is not is gone, and nothing is waited for. */
Test(fault, the_daemon_dies_while_steps_wait)
{
        struct kvp_seq_step steps[2];
        struct doom doom = { .left = 1, .verdict = FAKE_HANG_UP };
        struct box box;

        box_open(&box, NULL, NULL);
        steps[0] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 100 };
        cr_assert_eq(kvp_step(box.cache, steps, 1, SECOND), 0);
        box_visit(&box, &box_fused, steps[0].seq, 0, 100, true);
        steps[0].tokens = 1000;
        steps[1] = (struct kvp_seq_step){ .seq = box_acquire(&box, 0), .tokens = 100 };
        fake_set_hook(box.fake, doom_hook, &doom);
        cr_assert_eq(kvp_step(box.cache, steps, 2, 10 * SECOND), -ENOTCONN);
        cr_assert(steps[0].ret_status == -ENOTCONN && steps[1].ret_status == -ENOTCONN);
        cr_assert(steps[0].ret_ready >= 100 && steps[1].ret_ready == 0);
        box_visit(&box, &box_fused, steps[0].seq, 0, 100, false);
        steps[0].tokens = steps[0].ret_ready;
        for (int i = 0; i < 100; i++)
                cr_assert_eq(kvp_step(box.cache, steps, 1, 0), 0);
        steps[0].tokens++;
        cr_assert_eq(kvp_step(box.cache, steps, 1, 0), -ENOTCONN);
        cr_assert_eq(kvp_step(box.cache, steps, 1, SECOND), -ENOTCONN);
        cr_assert_eq(kvp_cache_settle(box.cache, SECOND), -ENOTCONN);
        cr_assert_eq(kvp_seq_trim(box.cache, steps[0].seq, 1), 0);
        cr_assert_eq(kvp_seq_release(box.cache, steps[0].seq), 0);
        kvp_cache_destroy(box.cache);
        kvp_disconnect(box.conn);
        fake_stop(box.fake);
}

/* ---- lies ---- */

struct liar {
        uint64_t seed;
        unsigned lies;
};

static uint32_t draw(struct liar *liar, uint32_t n)
{
        liar->seed = liar->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (uint32_t)((liar->seed >> 33) % n);
}

/* Before the honest answer to GROW: grants and failures that are nearly right. */
static enum fake_verdict lie(struct fake *fake, const struct wire_view *message, void *userdata)
{
        struct liar *liar = userdata;
        const struct wire_item_grow *asked = message->items;

        if (message->header.opcode != WIRE_GROW)
                return FAKE_HANDLE;
        for (uint32_t n = draw(liar, 6); n > 0; n--) {
                const uint32_t entry = draw(liar, 4) ? draw(liar, message->n_items) : draw(liar, 65536);
                const struct wire_item_grow *grow = &asked[entry % message->n_items];
                const uint32_t request = draw(liar, 5) ? message->header.request : draw(liar, 1000);
                struct wire_item_grant grant = {
                        .extent = UINT64_C(9) << 40 | liar->lies,
                        .request = request,
                        .entry = (uint16_t)entry,
                        .plane = (uint16_t)(draw(liar, 3) ? draw(liar, 20) : draw(liar, 65536)),
                        .first = draw(liar, 3) ? grow->first + draw(liar, grow->max + 2) : draw(liar, UINT32_MAX),
                        .order = (uint16_t)(draw(liar, 8) ? draw(liar, 4) * 2 : draw(liar, 65536)),
                        .flags = (uint16_t)(draw(liar, 12) ? 0 : WIRE_GRANT_LAST),
                };
                const struct wire_item_grow_failed failed = { .request = request,
                                                              .entry = (uint16_t)entry,
                                                              .error = draw(liar, 60) };

                liar->lies++;
                if (draw(liar, 8) == 0) {
                        fake_send(fake, WIRE_GROW_FAILED, 0, NULL, &failed, 1, NULL, 0);
                } else {
                        const int fd = draw(liar, 5) ? fake_memfd(64 * PAGE) : dup(STDIN_FILENO);

                        fake_send(fake, WIRE_GRANT, 0, NULL, &grant, 1, &fd, 1);
                        (void)close(fd);
                }
        }
        return draw(liar, 10) ? FAKE_HANDLE : FAKE_SWALLOW;
}

Test(fault, lies_about_grants_crash_nothing_and_leak_nothing)
{
        const unsigned fds = count_fds(NULL);
        unsigned lies = 0;

        for (uint64_t seed = 1; seed <= 30; seed++) {
                struct liar liar = { .seed = seed };
                struct fake *fake = fake_start(NULL);
                struct kvp_connect_options options = { .size = sizeof(options), .socket_path = fake_path(fake) };
                const struct kvp_geometry *geometry = seed % 2 ? &planes : &box_fused;
                struct box box = { .fake = fake };
                uint32_t seqs[3];

                cr_assert_eq(kvp_connect(&options, &box.conn), 0);
                cr_assert_eq(kvp_cache_create(box.conn, geometry, &box.cache), 0);
                box.conn->patience_usec = 20000; /* for what was swallowed, when the cache goes */
                fake_set_hook(fake, lie, &liar);
                for (uint32_t i = 0; i < 3; i++)
                        seqs[i] = box_acquire(&box, 0);
                for (uint32_t i = 0; i < 30; i++) {
                        struct kvp_seq_step step = { .seq = seqs[i % 3], .tokens = 1 + draw(&liar, 4000) };
                        const int r = kvp_step(box.cache, &step, 1, 2000);

                        cr_assert(expected(r) || r == -ENOMEM || r == -EDQUOT || r == -EMFILE, "%d", r);
                        cr_assert(r < 0 || step.ret_ready >= step.tokens);
                        cr_assert_leq(step.ret_ready, geometry->max_tokens);
                }
                lies += liar.lies;
                kvp_cache_destroy(box.cache);
                kvp_disconnect(box.conn);
                fake_stop(fake);
        }
        cr_assert_gt(lies, 150);
        cr_assert_eq(count_fds(NULL), fds);
}

static const struct {
        bool event;
        size_t size;
        unsigned n_fds;
        struct wire_header header;
} junk[] = {
        { false, 1, 0, { 0 } },
        { false, 24, 0, { 0 } },
        { false, 24, 3, { .opcode = WIRE_OK, .size = 24 } },
        { false, 24, 0, { .opcode = WIRE_OK, .size = 24, .request = 12345 } },
        { false, 24, 0, { .opcode = WIRE_OK, .size = 23 } },
        { false, 24, 0, { .opcode = WIRE_OK, .size = 24, .reserved = 1 } },
        { false, 24, 0, { .opcode = WIRE_SYNC, .size = 24 } },
        { false, 24, 0, { .opcode = WIRE_HELLO, .size = 24 } },
        { false, 104, 1, { .opcode = WIRE_WELCOME, .size = 104, .request = 1 } },
        { false, 24, 0, { .opcode = WIRE_GRANT, .size = 24 } },
        { false, 12289, 0, { .opcode = WIRE_OK, .size = 12289 } },
        { false, 20000, 200, { .opcode = WIRE_GRANT, .size = 20000 } },
        { true, 24, 0, { .opcode = WIRE_OK, .size = 24 } },
        { true, 24, 2, { .opcode = WIRE_SYNC, .size = 24 } },
        { true, 24, 0, { .opcode = WIRE_REVOKE, .size = 24 } },
        { true, 3, 0, { 0 } },
};

Test(fault, junk_ends_the_connection_and_nothing_else)
{
        const unsigned fds = count_fds(NULL);

        for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
                uint64_t packet[2500] = { 0 };
                int sent[200];
                struct box box;
                uint32_t seq;

                box_open(&box, NULL, NULL);
                seq = box_acquire(&box, 0);
                cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
                box_visit(&box, &box_fused, seq, 0, 100, true);
                for (unsigned k = 0; k < 200; k++)
                        sent[k] = STDIN_FILENO;
                memcpy(packet, &junk[i].header, sizeof(junk[i].header));
                fake_send_bytes(box.fake, junk[i].event, packet, junk[i].size, sent, junk[i].n_fds);
                if (junk[i].event)
                        cr_assert(fake_wait_gone(box.fake));
                cr_assert_eq(box_step(&box, seq, 4000, NULL), -ENOTCONN, "junk %zu", i);
                box_visit(&box, &box_fused, seq, 0, 100, false);
                kvp_cache_destroy(box.cache);
                kvp_disconnect(box.conn);
                fake_stop(box.fake);
        }
        cr_assert_eq(count_fds(NULL), fds);
}

/* A daemon that says "complete" of what is not would have a caller ask forever. */
static enum fake_verdict claim(struct fake *fake, const struct wire_view *message, void *userdata)
{
        const struct wire_item_grow *asked = message->items;
        const int fd = fake_memfd(PAGE);
        const struct wire_item_grant grant = { .extent = UINT64_C(9) << 40,
                                               .request = message->header.request,
                                               .first = asked->first,
                                               .flags = WIRE_GRANT_LAST };

        (void)userdata;
        if (message->header.opcode == WIRE_GROW)
                fake_send(fake, WIRE_GRANT, 0, NULL, &grant, 1, &fd, 1);
        (void)close(fd);
        return message->header.opcode == WIRE_GROW ? FAKE_SWALLOW : FAKE_HANDLE;
}

Test(fault, a_grant_that_is_called_complete_and_is_not)
{
        struct box box;
        int r;

        box_open(&box, NULL, NULL);
        fake_set_hook(box.fake, claim, NULL);
        r = box_step(&box, box_acquire(&box, 0), 4000, NULL);
        cr_assert(r == -EPROTO || r == -ENOTCONN, "%d", r);
        kvp_cache_destroy(box.cache);
        kvp_disconnect(box.conn);
        fake_stop(box.fake);
}
