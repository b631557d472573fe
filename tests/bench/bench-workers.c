/* SPDX-License-Identifier: MIT
 *
 * bench-workers.c -- what a grant of one page costs when one worker asks, and when 64 processes ask at once.
 *
 * All are on the daemon's CPU (floor: on the server's), so the figure is work and switches, not idle time: the time
 * from the moment when all start until the last has its pages, by the number of grants, which is the same for both.
 * And once more on the second CPU, as on a host where the daemon has one of its own: then the figure is of how far the
 * two work at the same time, and one worker alone waits for the other CPU to wake up.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "floor.h"

#define MOST        64u
#define GRANTS      2048u /* a round, all workers together */
#define ROUNDS      16u
#define PAGE_TOKENS 64u

/* Shared with the workers. */
struct shared {
        pthread_barrier_t barrier; /* of the workers under way and the parent */
        atomic_bool stop;
        atomic_uint started, ended; /* workers, in this round */
        double began, took;         /* from the first that starts until the last has its pages */
        atomic_ulong switches[2];   /* of the workers: ours, the floor's */
};

struct worker {
        struct shared *shared;
        unsigned grants, workers;
        int socket; /* the floor's */
        struct kvp_cache *cache;
        uint32_t seq;
        char *base;
};

static void wait_all(struct shared *shared)
{
        (void)pthread_barrier_wait(&shared->barrier);
}

static unsigned long own_switches(void)
{
        struct rusage usage;

        if (getrusage(RUSAGE_SELF, &usage) < 0)
                bench_check(-errno, "getrusage");
        return (unsigned long)(usage.ru_nvcsw + usage.ru_nivcsw);
}

static void grant_all(struct worker *w, bool floor)
{
        struct shared *shared = w->shared;
        const unsigned long before = own_switches();

        if (atomic_fetch_add(&shared->started, 1) == 0)
                shared->began = bench_now();
        for (unsigned i = 1; i <= w->grants; i++) {
                struct kvp_seq_step step = { .seq = w->seq, .tokens = (uint64_t)i * PAGE_TOKENS - 8 };

                if (floor)
                        floor_grant(w->socket,
                                    &(struct iovec){ .iov_base = w->base + i * BENCH_PAGE, .iov_len = BENCH_PAGE }, 1);
                else
                        bench_check(kvp_step(w->cache, &step, 1, 10 * BENCH_SECOND), "kvp_step");
        }
        if (atomic_fetch_add(&shared->ended, 1) + 1 == w->workers)
                shared->took = bench_now() - shared->began;
        (void)atomic_fetch_add(&shared->switches[floor], own_switches() - before);
}

static _Noreturn void work(struct worker *w)
{
        struct kvp_conn *conn = bench_connect();

        w->cache = bench_cache(conn, KVP_LAYOUT_TOKEN_MAJOR_FUSED, 1, (uint64_t)(w->grants + 1) * PAGE_TOKENS, 8, 8,
                               128);
        bench_check(kvp_seq_acquire(w->cache, 1, 0, &w->seq), "kvp_seq_acquire");
        w->base = floor_reserve((w->grants + 1) * BENCH_PAGE);
        wait_all(w->shared);
        for (;;) {
                wait_all(w->shared); /* to begin, or to end */
                if (atomic_load(&w->shared->stop))
                        break;
                grant_all(w, false);
                wait_all(w->shared);
                bench_empty(w->cache, w->seq);
                wait_all(w->shared);
                wait_all(w->shared); /* the floor's memfds are ready */
                grant_all(w, true);
                wait_all(w->shared);
                floor_forget(w->base, (w->grants + 1) * BENCH_PAGE);
                wait_all(w->shared);
        }
        kvp_disconnect(conn);
        _exit(0);
}

static void measure(struct shared *shared, const int *sockets, const pid_t *servers, unsigned n, const char *name)
{
        unsigned long servers_switches[2] = { 0 };
        static struct bench bench;
        pthread_barrierattr_t attributes;

        (void)pthread_barrierattr_init(&attributes);
        (void)pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        (void)pthread_barrier_init(&shared->barrier, &attributes, n + 1);
        atomic_store(&shared->stop, false);
        shared->switches[0] = shared->switches[1] = 0;
        for (unsigned i = 0; i < n; i++) {
                struct worker w = { .shared = shared, .grants = GRANTS / n, .workers = n, .socket = sockets[i] };

                if (fork() == 0) {
                        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                        work(&w);
                }
        }
        wait_all(shared);
        for (unsigned round = 0; round < ROUNDS; round++) {
                for (unsigned side = 0; side < 2; side++) {
                        if (side == 1) {
                                wait_all(shared);
                                floor_prepare(sockets[0], GRANTS, BENCH_PAGE);
                        }
                        atomic_store(&shared->started, 0);
                        atomic_store(&shared->ended, 0);
                        servers_switches[side] -= bench_switches(servers[side]);
                        wait_all(shared);
                        wait_all(shared);
                        servers_switches[side] += bench_switches(servers[side]);
                        bench_sample(side == 0 ? &bench.ours : &bench.floor, shared->took / GRANTS);
                }
                wait_all(shared);
                bench_round_end(&bench);
        }
        atomic_store(&shared->stop, true);
        wait_all(shared);
        for (unsigned i = 0; i < n; i++) {
                int status;

                if (wait(&status) < 0 || status != 0)
                        exit(1);
        }
        (void)pthread_barrier_destroy(&shared->barrier);
        bench_report(&bench, name, "us", 1e3);
        bench_note("%s: threads leave the CPU so often a grant: worker %.2f, daemon %.3f; of the floor %.2f, %.3f",
                   name, (double)shared->switches[0] / ROUNDS / GRANTS, (double)servers_switches[0] / ROUNDS / GRANTS,
                   (double)shared->switches[1] / ROUNDS / GRANTS, (double)servers_switches[1] / ROUNDS / GRANTS);
}

int main(void)
{
        struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        const char *daemon = getenv("BENCH_DAEMON");
        pid_t servers[2] = { daemon ? (pid_t)strtol(daemon, NULL, 10) : 0 };
        int sockets[MOST];

        if (shared == MAP_FAILED)
                return 1;
        bench_pin(0);
        servers[1] = floor_start(MOST, sockets);
        measure(shared, sockets, servers, 1, "workers_1");
        measure(shared, sockets, servers, MOST, "workers_64");
        bench_pin(1);
        measure(shared, sockets, servers, 1, "workers_1_apart");
        measure(shared, sockets, servers, MOST, "workers_64_apart");
        return 0;
}
