/* SPDX-License-Identifier: MIT
 *
 * state.c -- see state.h.
 */
#include "state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "memory-file.h"
#include "owner.h"

#define STATE_MAGIC UINT64_C(0x3165746174537670)
#define STATE_PAGE  UINT64_C(4096)
#define LOG_BYTES   (UINT64_C(4) << 20)
#define RUN_PAGES   256u /* written at once */

struct state_half {
        uint64_t generation, sum; /* sum: of the snapshot */
        uint64_t build;           /* of whoever took it, and appends */
        _Atomic uint64_t log_used;
};

/* What is fixed when the state is made. */
struct state_layout {
        uint64_t magic, format; /* core_format() */
        struct core_params params;
        uint64_t began_usec;
        uint32_t n_devices, reserved;
        struct state_device devices[CORE_MAX_DEVICES];
};

struct state_header {
        struct state_layout layout;
        uint64_t layout_sum;
        _Atomic uint32_t current; /* half, once there is a snapshot: 1 or 2; 0: none yet */
        uint32_t reserved;
        struct state_half halves[2];
};

/* Before each event of the log; both are padded to 8 bytes together. */
struct state_record {
        uint32_t size, sum;
};

struct state {
        int fd;
        struct state_header *header;
        struct state_worker *workers;
        unsigned char *logs[2];
        uint64_t workers_at, workers_bytes, core_bytes;
        uint64_t build; /* ours */
};

static uint64_t round_up(uint64_t bytes)
{
        return (bytes + STATE_PAGE - 1) & ~(STATE_PAGE - 1);
}

static uint64_t header_bytes(void)
{
        return round_up(sizeof(struct state_header));
}

static uint64_t snapshot_at(const struct state *state, unsigned half)
{
        return state->workers_at + state->workers_bytes + half * (state->core_bytes + LOG_BYTES);
}

/* Which build this is: only the same program applies a log as it was applied. */
static uint64_t own_build(void)
{
        _cleanup_fd_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        unsigned char buffer[16384];
        uint64_t sum = STATE_MAGIC;
        ssize_t n;

        while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) != 0)
                if (n > 0)
                        sum = digest(sum, buffer, (size_t)n);
                else if (errno != EINTR)
                        return 0;
        return fd >= 0 ? sum : 0;
}

static int map_part(int fd, uint64_t at, uint64_t bytes, void *ret)
{
        void *part = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);

        if (part == MAP_FAILED)
                return -errno;
        memcpy(ret, &part, sizeof(part));
        return 0;
}

static void unmap_part(void *part, uint64_t bytes)
{
        if (part)
                (void)munmap(part, bytes);
}

static void state_measure(struct state *state, const struct core_params *params)
{
        state->workers_at = header_bytes();
        state->workers_bytes = round_up((uint64_t)params->max_workers * sizeof(struct state_worker));
        state->core_bytes = round_up(core_size(params));
}

static int state_map(struct state *state)
{
        int r = map_part(state->fd, state->workers_at, state->workers_bytes, &state->workers);

        for (unsigned half = 0; half < 2 && r == 0; half++)
                r = map_part(state->fd, snapshot_at(state, half) + state->core_bytes, LOG_BYTES, &state->logs[half]);
        return r;
}

void state_free(struct state *state)
{
        if (!state)
                return;
        for (unsigned half = 0; half < 2; half++)
                unmap_part(state->logs[half], LOG_BYTES);
        unmap_part(state->workers, state->workers_bytes);
        unmap_part(state->header, header_bytes());
        fd_close(state->fd);
        free(state);
}

static void cleanup_state(struct state **state)
{
        state_free(*state);
}

int state_new(const struct core_params *params, const struct state_device *devices, uint32_t n_devices,
              uint64_t began_usec, struct state **ret)
{
        _cleanup_(cleanup_state) struct state *state = calloc(1, sizeof(*state));
        struct state_layout *layout;
        int r;

        assert(params && devices && ret);
        assert(n_devices <= CORE_MAX_DEVICES);

        if (!state)
                return -ENOMEM;
        state_measure(state, params);
        state->build = own_build();
        state->fd = memory_file("kvpager-state");
        if (state->fd < 0 || ftruncate(state->fd, (off_t)snapshot_at(state, 2)) < 0)
                return -errno;
        r = map_part(state->fd, 0, header_bytes(), &state->header);
        if (r == 0)
                r = state_map(state);
        if (r < 0)
                return r;
        layout = &state->header->layout;
        layout->magic = STATE_MAGIC;
        layout->format = core_format();
        layout->params = *params;
        layout->began_usec = began_usec;
        layout->n_devices = n_devices;
        memcpy(layout->devices, devices, n_devices * sizeof(*devices));
        state->header->layout_sum = digest(STATE_MAGIC, layout, sizeof(*layout));
        *ret = TAKE_PTR(state);
        return 0;
}

int state_open(int fd, struct state **ret, char *why, size_t size)
{
        _cleanup_(cleanup_state) struct state *state = calloc(1, sizeof(*state));
        const struct state_layout *layout;
        struct stat status;

        assert(fd >= 0 && ret && why);

        if (!state) {
                fd_close(fd);
                (void)snprintf(why, size, "out of memory");
                return -ENOMEM;
        }
        state->fd = fd;
        state->build = own_build();
        (void)snprintf(why, size, "it is cut short");
        if (fstat(fd, &status) < 0 || (uint64_t)status.st_size < header_bytes())
                return -EBADMSG;
        if (map_part(fd, 0, header_bytes(), &state->header) < 0) {
                (void)snprintf(why, size, "it cannot be mapped: %s", strerror(errno));
                return -ENOMEM;
        }
        layout = &state->header->layout;
        if (layout->magic != STATE_MAGIC || state->header->layout_sum != digest(STATE_MAGIC, layout, sizeof(*layout)) ||
            layout->n_devices > CORE_MAX_DEVICES) {
                (void)snprintf(why, size, "its header is damaged");
                return -EBADMSG;
        }
        if (layout->format != core_format() || core_size(&layout->params) == 0) {
                (void)snprintf(why, size, "it is of another version, whose tables are laid out differently");
                return -EBADMSG;
        }
        state_measure(state, &layout->params);
        if ((uint64_t)status.st_size < snapshot_at(state, 2))
                return -EBADMSG;
        if (state_map(state) < 0) {
                (void)snprintf(why, size, "it cannot be mapped: %s", strerror(errno));
                return -ENOMEM;
        }
        *ret = TAKE_PTR(state);
        return 0;
}

int state_fd(const struct state *state)
{
        return state->fd;
}

uint64_t state_began_usec(const struct state *state)
{
        return state->header->layout.began_usec;
}

const struct core_params *state_params(const struct state *state)
{
        return &state->header->layout.params;
}

uint32_t state_devices(const struct state *state, const struct state_device **ret)
{
        *ret = state->header->layout.devices;
        return state->header->layout.n_devices;
}

/* ---- snapshots ---- */

static bool is_zero(const unsigned char *page)
{
        return page[0] == 0 && memcmp(page, page + 1, STATE_PAGE - 1) == 0;
}

static int write_run(int fd, const unsigned char *bytes, uint64_t size, uint64_t at)
{
        while (size > 0) {
                ssize_t n = pwrite(fd, bytes, size, (off_t)at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                bytes += n;
                at += (uint64_t)n;
                size -= (uint64_t)n;
        }
        return 0;
}

/* Copies the pages from `from` to `to` of the arena that are not zero, and adds up their sums. */
static int write_pages(const struct state *state, unsigned half, const unsigned char *arena, uint64_t from, uint64_t to,
                       uint64_t *sum)
{
        uint64_t start = from; /* of the run that is to be written */
        int r = 0;

        for (uint64_t at = from; at < to && r == 0; at += STATE_PAGE) {
                const bool zero = is_zero(arena + at);

                if (!zero)
                        *sum += digest(at, arena + at, STATE_PAGE);
                if (zero || at + STATE_PAGE == to || at + STATE_PAGE - start == RUN_PAGES * STATE_PAGE) {
                        const uint64_t end = zero ? at : at + STATE_PAGE;

                        r = write_run(state->fd, arena + start, end - start, snapshot_at(state, half) + start);
                        start = at + STATE_PAGE;
                }
        }
        return r;
}

int state_snapshot(struct state *state, const struct core *core)
{
        struct state_header *header = state->header;
        const unsigned current = header->current, half = current == 1 ? 1 : 0;
        struct core_part parts[CORE_PARTS];
        uint64_t done = 0, sum = 0;
        int r = 0;

        assert(core);

        if (fallocate(state->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)snapshot_at(state, half),
                      (off_t)state->core_bytes) < 0)
                return -errno;
        core_parts(core, parts);
        for (unsigned i = 0; i < CORE_PARTS && r == 0; i++) {
                const uint64_t from = parts[i].offset & ~(STATE_PAGE - 1);
                const uint64_t end = round_up(parts[i].offset + parts[i].size);

                if (parts[i].size == 0 || end <= done)
                        continue;
                r = write_pages(state, half, (const unsigned char *)core, from > done ? from : done, end, &sum);
                done = end;
        }
        if (r < 0)
                return r;
        header->halves[half].generation = current ? header->halves[current - 1].generation + 1 : 1;
        header->halves[half].sum = sum;
        header->halves[half].build = state->build;
        header->halves[half].log_used = 0;
        header->current = half + 1; /* in force from here on */
        return 0;
}

/* The whole snapshot of the half, into zeroed memory; pages that were never written are holes. */
static int read_snapshot(const struct state *state, unsigned half, unsigned char *arena)
{
        const uint64_t at = snapshot_at(state, half), end = at + state->core_bytes;
        uint64_t sum = 0;
        off_t data = lseek(state->fd, (off_t)at, SEEK_DATA);

        while (data >= 0 && (uint64_t)data < end) {
                off_t hole = lseek(state->fd, data, SEEK_HOLE);

                if (hole < 0 || (uint64_t)hole > end)
                        hole = (off_t)end;
                while (data < hole) {
                        ssize_t n = pread(state->fd, arena + ((uint64_t)data - at), (size_t)(hole - data), data);

                        if (n < 0 && errno == EINTR)
                                continue;
                        if (n <= 0)
                                return n < 0 ? -errno : -EBADMSG;
                        data += n;
                }
                data = lseek(state->fd, hole, SEEK_DATA);
        }
        for (uint64_t page = 0; page < state->core_bytes; page += STATE_PAGE)
                if (!is_zero(arena + page))
                        sum += digest(page, arena + page, STATE_PAGE);
        return sum == state->header->halves[half].sum ? 0 : -EBADMSG;
}

/* ---- the log ---- */

static uint64_t record_bytes(size_t size)
{
        return (sizeof(struct state_record) + size + 7) & ~UINT64_C(7);
}

static uint32_t record_sum(const struct state_half *half, uint64_t at, const void *bytes, size_t size)
{
        return (uint32_t)digest(half->generation ^ at << 20, bytes, size);
}

int state_append(struct state *state, const struct core *core, const struct core_event *event)
{
        struct state_header *header = state->header;
        const size_t size = core_event_size(event);
        struct state_record record = { .size = (uint32_t)size };
        struct state_half *half;
        uint64_t used;
        unsigned char *at;

        assert(size > 0);

        if (!header->current)
                return 0;
        if (header->halves[header->current - 1].log_used + record_bytes(size) > LOG_BYTES) {
                int r = state_snapshot(state, core);

                if (r < 0)
                        return r;
        }
        half = &header->halves[header->current - 1];
        used = half->log_used;
        at = state->logs[header->current - 1] + used;
        record.sum = record_sum(half, used, event, size);
        memcpy(at, &record, sizeof(record));
        memcpy(at + sizeof(record), event, size);
        half->log_used = used + record_bytes(size); /* counts from here on */
        return 0;
}

void state_end(struct state *state)
{
        state->header->current = 0;
}

/* The event at `*at`, which goes on. false: it cannot be used. */
static bool read_record(const struct state_half *half, const unsigned char *log, uint64_t used, uint64_t *at,
                        struct core_event *ret)
{
        struct state_record record;

        if (used - *at < sizeof(record))
                return false;
        memcpy(&record, log + *at, sizeof(record));
        if (record.size > sizeof(*ret) || record_bytes(record.size) > used - *at ||
            record.sum != record_sum(half, *at, log + *at + sizeof(record), record.size) ||
            core_event_decode(log + *at + sizeof(record), record.size, ret) != record.size)
                return false;
        *at += record_bytes(record.size);
        return true;
}

static uint64_t worker_sum(const struct state_worker *worker)
{
        return digest(STATE_MAGIC, worker, offsetof(struct state_worker, sum));
}

static bool workers_are_sound(const struct state *state)
{
        const uint32_t n = state_params(state)->max_workers;
        bool sound = true;

        for (uint32_t i = 0; i < n && sound; i++)
                sound = state->workers[i].worker == 0 || state->workers[i].sum == worker_sum(&state->workers[i]);
        return sound;
}

int state_restore(struct state *state, void *arena, struct core_actions *scratch, struct core **ret,
                  uint64_t *ret_events, char *why, size_t size)
{
        struct state_header *header = state->header;
        const unsigned current = header->current;
        const struct state_half *half;
        struct core_event event;
        struct core *core;
        uint64_t used, at = 0;
        int r;

        (void)snprintf(why, size, "that daemon ended before it was ready");
        if (current == 0)
                return -EBADMSG;
        (void)snprintf(why, size, "its snapshot is damaged");
        if (current > 2)
                return -EBADMSG;
        half = &header->halves[current - 1];
        r = read_snapshot(state, current - 1, arena);
        core = r == 0 ? core_adopt(arena, &header->layout.params) : NULL;
        if (!core)
                return r < 0 ? r : -EBADMSG;
        used = half->log_used;
        (void)snprintf(why, size, "it did not come to its end, and another build wrote its log");
        if (used > 0 && half->build != state->build)
                return -EBADMSG;
        (void)snprintf(why, size, "its log is damaged");
        if (used > LOG_BYTES)
                return -EBADMSG;
        for (*ret_events = 0; at < used; ++*ret_events) {
                if (!read_record(half, state->logs[current - 1], used, &at, &event))
                        return -EBADMSG;
                core_apply(core, &event, scratch);
                scratch->n = 0; /* whoever was to hear of it says himself what he knows */
        }
        (void)snprintf(why, size, "its table of workers is damaged");
        if (!workers_are_sound(state))
                return -EBADMSG;
        *ret = core;
        return 0;
}

/* ---- workers ---- */

const struct state_worker *state_worker(const struct state *state, uint32_t worker)
{
        const uint32_t slot = worker & 0xffffu;

        return slot < state_params(state)->max_workers ? &state->workers[slot] : NULL;
}

void state_worker_set(struct state *state, const struct state_worker *worker)
{
        struct state_worker *record = &state->workers[worker->worker & 0xffffu];

        assert((worker->worker & 0xffffu) < state_params(state)->max_workers);

        state_worker_clear(state, worker->worker);
        memcpy((char *)record + sizeof(record->worker), (const char *)worker + sizeof(record->worker),
               sizeof(*record) - sizeof(record->worker));
        record->sum = worker_sum(worker);
        __atomic_store_n(&record->worker, worker->worker, __ATOMIC_RELEASE);
}

void state_worker_clear(struct state *state, uint32_t worker)
{
        __atomic_store_n(&state->workers[worker & 0xffffu].worker, 0, __ATOMIC_RELEASE);
}
