/* SPDX-License-Identifier: MIT
 *
 * load.c -- see load.h.
 *
 * The pressure handler runs on the mapper thread, also while the load waits in kvp_step(): the lock is not held then,
 * the step has a copy of the sequences, and lets go of those that are released.
 */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ADVANCE_TOKENS 4u
#define EMBARGO        16u /* steps without a new sequence, after one did not fit */

struct load {
        struct kvp_cache *cache;
        const struct load_options *options;
        pthread_mutex_t lock;                     /* of the sequences */
        struct kvp_seq_step steps[LOAD_MAX_ROWS]; /* running sequences, the oldest first */
        uint64_t lengths[LOAD_MAX_ROWS];          /* at which they end */
        size_t n;
        unsigned embargo;
        uint64_t state;
        double *waits;
        size_t n_waits, max_waits;
        struct load_result result;
};

static double now_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static uint64_t draw(struct load *load, uint64_t bound)
{
        load->state = load->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (load->state >> 33) % bound;
}

static int note_wait(struct load *load, double usec)
{
        if (load->n_waits == load->max_waits) {
                size_t more = load->max_waits ? 2 * load->max_waits : 4096;
                double *waits = realloc(load->waits, more * sizeof(*waits));

                if (!waits)
                        return -ENOMEM;
                load->waits = waits;
                load->max_waits = more;
        }
        load->waits[load->n_waits++] = usec;
        return 0;
}

static int begin(struct load *load)
{
        const uint64_t prompt = 1 + draw(load, load->options->tokens / 2);
        struct kvp_seq_step *step = &load->steps[load->n];
        int r;

        *step = (struct kvp_seq_step){ .tokens = prompt };
        r = kvp_seq_acquire(load->cache, prompt, 0, &step->seq);
        if (r < 0)
                return r;
        load->lengths[load->n++] = prompt + 1 + draw(load, load->options->tokens / 2);
        return 0;
}

static int end(struct load *load, size_t i)
{
        int r = load->options->fresh ? kvp_seq_trim(load->cache, load->steps[i].seq, 0) : 0;

        if (r == 0 && load->options->fresh)
                r = kvp_cache_settle(load->cache, load->options->timeout);
        if (r == 0)
                r = kvp_seq_release(load->cache, load->steps[i].seq);
        load->n--;
        memmove(&load->steps[i], &load->steps[i + 1], (load->n - i) * sizeof(load->steps[0]));
        memmove(&load->lengths[i], &load->lengths[i + 1], (load->n - i) * sizeof(load->lengths[0]));
        return r;
}

static void on_pressure(struct kvp_conn *conn, uint64_t bytes, uint64_t deadline_usec, void *userdata)
{
        struct kvp_cache_stats before = { .size = sizeof(before) }, now;
        struct load *load = userdata;

        (void)conn;
        (void)deadline_usec;
        (void)pthread_mutex_lock(&load->lock);
        (void)kvp_cache_stats(load->cache, &before);
        now = before;
        while (load->n > 0 && now.live_bytes + bytes > before.live_bytes) {
                (void)end(load, load->n - 1);
                load->result.given_up++;
                (void)kvp_cache_stats(load->cache, &now);
        }
        (void)pthread_mutex_unlock(&load->lock);
}

/* One step for all; -EAGAIN: some were given up meanwhile. */
static int step(struct load *load)
{
        struct kvp_seq_step steps[LOAD_MAX_ROWS];
        const size_t n = load->n;
        double began;
        int r, noted;

        memcpy(steps, load->steps, n * sizeof(steps[0]));
        (void)pthread_mutex_unlock(&load->lock);
        began = now_usec();
        r = kvp_step(load->cache, steps, n, load->options->timeout);
        noted = note_wait(load, now_usec() - began);
        (void)pthread_mutex_lock(&load->lock);
        load->result.steps++;
        if (noted < 0)
                return noted;
        return load->n < n ? -EAGAIN : r;
}

/* One iteration: every sequence grows; those that are done end, and a new one begins, one at a time. With the lock
 * held. */
static int iterate(struct load *load)
{
        int r;

        if (load->embargo > 0)
                load->embargo--;
        else if (load->n < load->options->rows && (r = begin(load)) < 0)
                return r;
        r = step(load);
        if (r == -EAGAIN)
                return 0;
        if (r == -ENOMEM || r == -EDQUOT || r == -ETIMEDOUT) {
                load->result.failed++;
                load->embargo = EMBARGO;
                return load->n > 0 ? end(load, load->n - 1) : 0;
        }
        if (r < 0)
                return r;
        for (size_t i = load->n; i-- > 0;) {
                load->steps[i].tokens += ADVANCE_TOKENS;
                if (load->steps[i].tokens < load->lengths[i])
                        continue;
                load->result.completed++;
                r = end(load, i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare(const void *a, const void *b)
{
        const double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double quantile(const struct load *load, double share)
{
        return load->n_waits == 0 ? 0 : load->waits[(size_t)((double)(load->n_waits - 1) * share)];
}

int load_run(struct kvp_conn *conn, struct kvp_cache *cache, const struct load_options *options,
             struct load_result *ret_result)
{
        static struct load load;
        const double until = now_usec() + (double)options->usec;
        int r = 0;

        if (options->rows == 0 || options->rows > LOAD_MAX_ROWS || options->tokens < 2)
                return -EINVAL;
        memset(&load, 0, sizeof(load));
        load.cache = cache;
        load.options = options;
        load.state = options->seed;
        (void)pthread_mutex_init(&load.lock, NULL);
        r = kvp_set_pressure_handler(conn, on_pressure, &load);
        while (r == 0 && now_usec() < until) {
                (void)pthread_mutex_lock(&load.lock);
                r = iterate(&load);
                (void)pthread_mutex_unlock(&load.lock);
                if (options->pause > 0)
                        (void)nanosleep(&(struct timespec){ .tv_nsec = (long)(options->pause % 1000000) * 1000 }, NULL);
        }
        (void)kvp_set_pressure_handler(conn, NULL, NULL);
        (void)pthread_mutex_lock(&load.lock); /* one that is under way comes to its end, and finds nothing more */
        while (load.n > 0 && r == 0)
                r = end(&load, load.n - 1);
        (void)pthread_mutex_unlock(&load.lock);
        qsort(load.waits, load.n_waits, sizeof(*load.waits), compare);
        load.result.p50 = quantile(&load, 0.5);
        load.result.p90 = quantile(&load, 0.9);
        load.result.p99 = quantile(&load, 0.99);
        load.result.max = quantile(&load, 1);
        free(load.waits);
        if (r == 0)
                *ret_result = load.result;
        return r;
}
