/* SPDX-License-Identifier: MIT
 *
 * test-shell-state.c -- what outlives the daemon: every event that was noted is there again, and memory that was
 * damaged is told from memory that was not, wherever it was.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "state.h"

#define EVENTS_MAX 4096u

static const struct core_params params = {
        .max_extents = 256, .max_workers = 8, .max_caches = 8, .max_rows = 64, .max_requests = 64
};
static const struct state_device device = {
        .name = "d", .backend = "host", .page_size = 65536, .capacity = 256 * 65536
};

static struct state *state;
static void *arena;
static struct core *core;
static struct core_actions actions;
static uint64_t now;
static uint64_t sums[EVENTS_MAX]; /* of the arena, after so many events */
static uint32_t n_events;

static void *new_arena(void)
{
        void *memory = mmap(NULL, core_size(&params), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        cr_assert_neq(memory, MAP_FAILED);
        return memory;
}

static void setup(void)
{
        cr_assert_eq(state_new(&params, &device, 1, 4711, &state), 0);
        arena = new_arena();
        core = core_init(arena, &params);
        actions = (struct core_actions){ .capacity = 2 * CORE_ACTIONS_MAX,
                                         .v = calloc(2 * CORE_ACTIONS_MAX, sizeof(struct core_action)) };
        now = n_events = 0;
        cr_assert_eq(state_snapshot(state, core), 0);
        sums[0] = digest(0, arena, core_size(&params));
}

static void teardown(void)
{
        state_free(state);
        (void)munmap(arena, core_size(&params));
        free(actions.v);
}

TestSuite(state, .init = setup, .fini = teardown);

/* Notes and applies the event, and carries out what the device is to do. */
static void feed(struct core_event *event)
{
        uint64_t made[64], gone[64];
        uint32_t n_made = 0, n_gone = 0;

        event->now_usec = now += 10;
        cr_assert_eq(state_append(state, core, event), 0);
        actions.n = 0;
        core_apply(core, event, &actions);
        cr_assert_lt(++n_events, EVENTS_MAX);
        sums[n_events] = digest(0, arena, core_size(&params));
        for (uint32_t i = 0; i < actions.n; i++)
                if (actions.v[i].type == CORE_ACT_CREATE && n_made < 64)
                        made[n_made++] = actions.v[i].device.extent;
                else if (actions.v[i].type == CORE_ACT_DESTROY && n_gone < 64)
                        gone[n_gone++] = actions.v[i].device.extent;
        for (uint32_t i = 0; i < n_made + n_gone; i++) {
                struct core_event done;

                core_event_init(&done, i < n_made ? CORE_EV_CREATED : CORE_EV_DESTROYED, 0);
                done.created.extent = i < n_made ? made[i] : gone[i - n_made];
                feed(&done);
        }
}

/* A worker that grows a row, `times` times by a page, and gives the first one back. */
static void live(uint32_t times)
{
        struct core_event event;

        core_event_init(&event, CORE_EV_DEVICE_ADD, 0);
        event.device_add.page_shift = 16;
        event.device_add.pages = 256;
        event.device_add.virgin_pages = 8;
        feed(&event);
        core_event_init(&event, CORE_EV_TENANT_SET, 0);
        event.tenant_set.high_bytes = event.tenant_set.max_bytes = UINT64_MAX;
        event.tenant_set.weight = 100;
        event.tenant_set.name[0] = 't';
        feed(&event);
        core_event_init(&event, CORE_EV_WORKER_ADD, 0);
        feed(&event);
        core_event_init(&event, CORE_EV_CACHE_CREATE, 0);
        event.cache_create.worker = 1 << 16;
        event.cache_create.rows = 4;
        event.cache_create.n_classes = 1;
        event.cache_create.classes[0] = (struct core_plane_class){ .planes = 1, .row_pages = 128 };
        event.size = (uint16_t)core_event_size(&event);
        feed(&event);
        for (uint32_t i = 0; i < times; i++) {
                core_event_init(&event, CORE_EV_GROW, 0);
                event.grow.worker = event.grow.cache = 1 << 16;
                event.grow.request = i + 1;
                event.grow.first = i % 100;
                event.grow.row = i / 100 % 4;
                event.grow.need = event.grow.max = 1;
                feed(&event);
                core_event_init(&event, CORE_EV_ACK, 0);
                event.ack.worker = 1 << 16;
                event.ack.granted = i + 1;
                feed(&event);
        }
}

/* Another daemon's view of the same memory. */
static int reopen(struct core **ret, void **ret_arena, uint64_t *ret_events)
{
        struct core_actions scratch = actions;
        struct state *other = NULL;
        char why[200] = "";
        int r = state_open(dup(state_fd(state)), &other, why, sizeof(why));

        *ret_arena = new_arena();
        scratch.n = 0;
        if (r == 0)
                r = state_restore(other, *ret_arena, &scratch, ret, ret_events, why, sizeof(why));
        if (r < 0)
                cr_assert_gt(strlen(why), 5);
        state_free(other);
        return r;
}

/* The core as it is can be had; or none. */
static bool had(void)
{
        struct core *again = NULL;
        uint64_t events = 0;
        void *memory;
        bool found = reopen(&again, &memory, &events) == 0;

        if (found) {
                char why[200];

                cr_assert_eq(digest(0, memory, core_size(&params)), sums[n_events], "a core as it is not");
                cr_assert_eq(core_check(again, why, sizeof(why)), 0, "%s", why);
        }
        (void)munmap(memory, core_size(&params));
        return found;
}

Test(state, has_every_event_that_was_noted)
{
        live(40);
        cr_assert(had());
        cr_assert_eq(state_snapshot(state, core), 0);
        cr_assert(had());
}

Test(state, is_of_no_use_before_the_first_snapshot)
{
        struct core_event event;

        state_free(state);
        cr_assert_eq(state_new(&params, &device, 1, 4711, &state), 0);
        core_event_init(&event, CORE_EV_TENANT_SET, now);
        event.tenant_set.weight = 100;
        event.tenant_set.name[0] = 't';
        feed(&event);
        cr_assert_not(had());
        cr_assert_eq(state_snapshot(state, core), 0);
        cr_assert(had());
        feed(&event);
        cr_assert(had());
}

Test(state, goes_from_half_to_half_when_a_log_is_full)
{
        struct core_event event;

        live(20);
        for (unsigned i = 0; i < 3; i++) { /* 4 MiB of events that change nothing but the time */
                for (unsigned k = 0; k < 90000; k++) {
                        core_event_init(&event, CORE_EV_TENANT_SET, now);
                        event.tenant_set.high_bytes = event.tenant_set.max_bytes = UINT64_MAX;
                        event.tenant_set.weight = 100 + k % 2;
                        event.tenant_set.name[0] = 't';
                        cr_assert_eq(state_append(state, core, &event), 0);
                        actions.n = 0;
                        core_apply(core, &event, &actions);
                }
                sums[n_events] = digest(0, arena, core_size(&params));
                cr_assert(had());
        }
}

Test(state, is_not_taken_where_a_byte_of_it_is_wrong)
{
        const int fd = state_fd(state);
        unsigned tested = 0, used = 0;
        off_t data = 0, hole;
        struct stat status;

        live(12);
        state_worker_set(state,
                         &(struct state_worker){ .worker = 1 << 16, .pid = 77, .token = { 1, 2 }, .cgroup = "/a" });
        cr_assert_eq(fstat(fd, &status), 0);
        /* Every byte of header and log; of the snapshot and of what is beyond the log's end, some. */
        while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
                hole = lseek(fd, data, SEEK_HOLE);
                for (off_t at = data; at < hole; at++) {
                        unsigned char byte, wrong;

                        cr_assert_eq(pread(fd, &byte, 1, at), 1);
                        if (byte == 0 && at % 97 != 0)
                                continue;
                        wrong = (unsigned char)(byte ^ (1u << at % 8));
                        cr_assert_eq(pwrite(fd, &wrong, 1, at), 1);
                        used += had();
                        tested++;
                        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
                }
                data = hole;
        }
        cr_assert_gt(tested, 500);
        cr_assert_gt(used, 10); /* what lies beyond the end of something */
        cr_assert_lt(used, tested / 2);
        cr_assert(had());
}

Test(state, is_not_taken_where_it_was_cut_short)
{
        const int fd = state_fd(state);
        struct core *again;
        uint64_t events;
        struct stat status;
        void *memory;

        live(12);
        cr_assert_eq(fstat(fd, &status), 0);
        for (off_t size = status.st_size - 1; size > 4096; size /= 2) {
                cr_assert_eq(ftruncate(fd, size), 0);
                cr_assert_eq(reopen(&again, &memory, &events), -EBADMSG);
                (void)munmap(memory, core_size(&params));
        }
        cr_assert_eq(ftruncate(fd, 0), 0);
        cr_assert_eq(reopen(&again, &memory, &events), -EBADMSG);
        (void)munmap(memory, core_size(&params));
}

Test(state, knows_its_workers_by_what_they_were_told)
{
        const struct state_worker worker = {
                .worker = 3 << 16 | 5, .pid = 77, .token = { 1, 2 }, .tenant_name = "chat"
        };
        struct state *other;
        char why[100];

        cr_assert_null(state_worker(state, 8));
        cr_assert_eq(state_worker(state, 5)->worker, 0);
        state_worker_set(state, &worker);
        cr_assert_eq(state_open(dup(state_fd(state)), &other, why, sizeof(why)), 0);
        cr_assert_eq(state_began_usec(other), 4711);
        cr_assert_eq(memcmp(state_worker(other, worker.worker), &worker, offsetof(struct state_worker, sum)), 0);
        state_worker_clear(state, worker.worker);
        cr_assert_eq(state_worker(other, worker.worker)->worker, 0);
        state_free(other);
}
