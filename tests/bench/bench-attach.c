/* SPDX-License-Identifier: MIT
 *
 * bench-attach.c -- from the start of a process to its first page: exec, connect, a cache, a row, a step, a byte
 * written.
 *
 * The program starts itself: `bench-attach ours` and `bench-attach floor PATH` are the processes that are timed, from
 * posix_spawn() until they have written to their page, which they tell by a byte on their standard output.
 */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "floor.h"

#define ROUNDS 60u

extern char **environ;

static void tell(char *page)
{
        *page = 1;
        if (write(STDOUT_FILENO, "x", 1) != 1)
                exit(1);
}

static int attach_ours(void)
{
        struct kvp_conn *conn = bench_connect();
        struct kvp_cache *cache = bench_cache(conn, KVP_LAYOUT_TOKEN_MAJOR_FUSED, 1, 4096, 8, 8, 128);
        struct kvp_seq_step step = { .tokens = 56 };
        struct kvp_tensor tensor;

        bench_check(kvp_seq_acquire(cache, 1, 0, &step.seq), "kvp_seq_acquire");
        bench_check(kvp_step(cache, &step, 1, BENCH_SECOND), "kvp_step");
        bench_check(kvp_cache_tensor(cache, 0, 0, KVP_K, &tensor), "kvp_cache_tensor");
        tell(tensor.data);
        kvp_disconnect(conn);
        return 0;
}

/* Nanoseconds until it has told. */
static double time_of(char *const *arguments)
{
        posix_spawn_file_actions_t actions;
        double began, took;
        int out[2], status;
        pid_t pid;
        char byte;

        if (pipe(out) < 0)
                exit(1);
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
        (void)posix_spawn_file_actions_addclose(&actions, out[0]);
        began = bench_now();
        bench_check(-posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ), "posix_spawn");
        (void)close(out[1]);
        if (read(out[0], &byte, 1) != 1)
                exit(1);
        took = bench_now() - began;
        (void)close(out[0]);
        (void)posix_spawn_file_actions_destroy(&actions);
        if (waitpid(pid, &status, 0) != pid || status != 0)
                exit(1);
        return took;
}

int main(int argc, char **argv)
{
        static struct bench bench;
        const char *folder = getenv("TMPDIR");
        char path[100];

        if (argc == 2 && strcmp(argv[1], "ours") == 0)
                return attach_ours();
        if (argc == 3) {
                tell(floor_attach(argv[2], BENCH_PAGE));
                return 0;
        }
        bench_pin(0);
        (void)snprintf(path, sizeof(path), "%s/floor", folder ? folder : "/tmp");
        floor_listen(path, ROUNDS * 4, BENCH_PAGE);
        for (unsigned round = 0; round < ROUNDS; round++) {
                char program[] = "bench-attach", ours[] = "ours", floor[] = "floor";

                for (unsigned i = 0; i < 3; i++) {
                        bench_sample(&bench.ours, time_of((char *[]){ program, ours, NULL }));
                        bench_sample(&bench.floor, time_of((char *[]){ program, floor, path, NULL }));
                }
                bench_round_end(&bench);
        }
        bench_report(&bench, "attach_cold", "us", 1e3);
        (void)unlink(path);
        return 0;
}
