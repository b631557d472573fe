/* SPDX-License-Identifier: MIT
 *
 * test-worker.c -- a worker that does what it is told, for the system tests: one command a line on stdin, one answer a
 * line on stdout. It is an ordinary user of libkvpager and knows nothing of the daemon.
 *
 *      create ROWS TOKENS LAYOUT LAYERS HEADS DIM BITS   ok | error ERRNO
 *      acquire EXPECTED                                  seq N | error ERRNO
 *      step TIMEOUT_USEC SEQ TOKENS [SEQ TOKENS]...      step RC STATUS READY [STATUS READY]...
 *      steady COUNT SEQ TOKENS                           ok | error ERRNO     (the same step COUNT times)
 *      fill SEQ BYTE FROM TO | check SEQ BYTE FROM TO    ok | bad OFFSET | error EFAULT (every byte, by layer)
 *      load USEC ROWS TOKENS TIMEOUT SEED PAUSE FRESH    load NAME=VALUE...   (load.h)
 *      release SEQ | trim SEQ TOKENS | destroy | settle  ok | error ERRNO
 *      stats                                             stats NAME=VALUE...
 *      disconnect | connect                              ok | error ERRNO     (it is connected to begin with)
 *      fork                                              ok | error ERRNO     (what a step of a child says; ok is
 *                                                                              ECHILD)
 *      block TIMES USEC                                  ok | error ERRNO     (as a thread of a mapper's name)
 *      quit
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kvpager.h>

#include "load.h"

#define MAX_STEPS 256

static struct kvp_connect_options options = { .size = sizeof options };
static struct kvp_conn *conn;
static struct kvp_cache *cache;
static struct kvp_layer_group group;

static void answer(int rc)
{
        if (rc == 0)
                puts("ok");
        else
                printf("error %s\n", strerrorname_np(-rc));
}

static int create(const char *args)
{
        struct kvp_geometry geometry = { .size = sizeof geometry, .n_groups = 1, .groups = &group };

        group = (struct kvp_layer_group){ 0 };
        if (sscanf(args, "%" SCNu32 " %" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32,
                   &geometry.max_seqs, &geometry.max_tokens, &geometry.layout, &group.layers, &group.kv_heads,
                   &group.head_dim, &group.element_bits) != 7)
                return -EINVAL;
        return kvp_cache_create(conn, &geometry, &cache);
}

static void step(char *args)
{
        struct kvp_seq_step steps[MAX_STEPS];
        char *rest = args;
        const uint64_t timeout = strtoull(rest, &rest, 10);
        size_t n = 0;
        int rc;

        while (n < MAX_STEPS && *rest == ' ') {
                steps[n] = (struct kvp_seq_step){ .seq = (uint32_t)strtoul(rest, &rest, 10) };
                steps[n++].tokens = strtoull(rest, &rest, 10);
        }
        rc = kvp_step(cache, steps, n, timeout);
        printf("step %s", rc ? strerrorname_np(-rc) : "0");
        for (size_t i = 0; i < n; i++)
                printf(" %s %" PRIu64, steps[i].ret_status ? strerrorname_np(-steps[i].ret_status) : "0",
                       steps[i].ret_ready);
        putchar('\n');
}

static int steady(const char *args)
{
        struct kvp_seq_step one = { 0 };
        uint64_t count, tokens;

        if (sscanf(args, "%" SCNu64 " %" SCNu32 " %" SCNu64, &count, &one.seq, &tokens) != 3)
                return -EINVAL;
        for (int rc; count > 0; count--) {
                one.tokens = tokens;
                rc = kvp_step(cache, &one, 1, 0);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

static sigjmp_buf gone;

static void on_bus_error(int number)
{
        (void)number;
        siglongjmp(gone, 1);
}

/* Writes or compares every byte of tokens [from, to) of a row. EFAULT: the daemon took the memory. */
static void bytes(const char *args, bool compare)
{
        uint32_t seq;
        unsigned byte;
        uint64_t from, to;

        if (sscanf(args, "%" SCNu32 " %u %" SCNu64 " %" SCNu64, &seq, &byte, &from, &to) != 4) {
                answer(-EINVAL);
                return;
        }
        if (sigsetjmp(gone, 1)) {
                answer(-EFAULT);
                return;
        }
        for (uint32_t layer = 0; layer < group.layers; layer++)
                for (unsigned part = KVP_K; part <= KVP_V; part++) {
                        struct kvp_tensor t;

                        if (kvp_cache_tensor(cache, 0, layer, (enum kvp_part)part, &t) < 0) {
                                answer(-ENOENT);
                                return;
                        }
                        for (uint64_t token = from; token < to; token++) {
                                unsigned char *at = (unsigned char *)t.data +
                                                    (seq * t.stride[0] + token * t.stride[1]) * t.element_bits / 8;
                                const uint64_t size = t.shape[2] * t.shape[3] * t.element_bits / 8;

                                if (!compare) {
                                        memset(at, (int)byte, size);
                                        continue;
                                }
                                for (uint64_t i = 0; i < size; i++)
                                        if (at[i] != byte) {
                                                printf("bad layer %u part %u token %ju byte %ju is %u\n", layer, part,
                                                       (uintmax_t)token, (uintmax_t)i, at[i]);
                                                return;
                                        }
                        }
                }
        answer(0);
}

static void stats(void)
{
        struct kvp_cache_stats s = { .size = sizeof s };
        const int rc = kvp_cache_stats(cache, &s);

        if (rc < 0) {
                answer(rc);
                return;
        }
        printf("stats virtual_bytes=%" PRIu64 " live_bytes=%" PRIu64 " idle_bytes=%" PRIu64
               " rows=%u held_rows=%u steps=%" PRIu64 " steps_waited=%" PRIu64 " steps_with_syscalls=%" PRIu64
               " messages=%" PRIu64 " grants=%" PRIu64 " granted_bytes=%" PRIu64 " requests=%" PRIu64
               " returns=%" PRIu64 " refusals=%" PRIu64 " mapper_wakes=%" PRIu64 "\n",
               s.virtual_bytes, s.live_bytes, s.idle_bytes, s.rows, s.held_rows, s.steps, s.steps_waited,
               s.steps_with_syscalls, s.messages, s.grants, s.granted_bytes, s.requests, s.returns, s.refusals,
               s.mapper_wakes);
}

static void run_load(const char *args)
{
        struct load_options load;
        struct load_result result;
        int rc = -EINVAL, fresh;

        if (sscanf(args, "%" SCNu64 " %" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %d", &load.usec,
                   &load.rows, &load.tokens, &load.timeout, &load.seed, &load.pause, &fresh) == 7) {
                load.fresh = fresh != 0;
                rc = load_run(conn, cache, &load, &result);
        }
        if (rc < 0)
                answer(rc);
        else
                printf("load steps=%" PRIu64 " failed=%" PRIu64 " completed=%" PRIu64 " given_up=%" PRIu64
                       " p50=%.1f p90=%.1f p99=%.1f max=%.1f\n",
                       result.steps, result.failed, result.completed, result.given_up, result.p50, result.p90,
                       result.p99, result.max);
}

static void acquire(const char *args)
{
        uint32_t seq;
        const int rc = kvp_seq_acquire(cache, strtoull(args, NULL, 10), 0, &seq);

        if (rc < 0)
                answer(rc);
        else
                printf("seq %u\n", seq);
}

static void trim(const char *args)
{
        char *rest;
        const uint32_t seq = (uint32_t)strtoul(args, &rest, 10);

        answer(kvp_seq_trim(cache, seq, strtoull(rest, NULL, 10)));
}

/* A child has no part in its parent's connection, and does not disturb it. */
static int fork_and_step(void)
{
        int status = 0;
        const pid_t child = fork();

        if (child < 0)
                return -errno;
        if (child == 0)
                _exit(-kvp_step(cache, NULL, 0, 0));
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
        if (!WIFEXITED(status))
                return -EPROTO;
        return WEXITSTATUS(status) == ECHILD ? 0 : -WEXITSTATUS(status);
}

/* Blocks in the kernel, where no signal wakes it, until a child has slept. */
static int block_once(const struct timespec *pause)
{
        const pid_t child = vfork(); // NOLINT: that its caller is blocked meanwhile is what it is for

        if (child == 0) {
                (void)nanosleep(pause, NULL);
                _exit(0);
        }
        return child < 0 || waitpid(child, NULL, 0) < 0 ? -errno : 0;
}

static int block(const char *args)
{
        char *rest;
        const unsigned long times = strtoul(args, &rest, 10);
        const struct timespec pause = { .tv_nsec = strtol(rest, NULL, 10) * 1000 };
        int r = 0;

        (void)prctl(PR_SET_NAME, "kvp-mapper");
        for (unsigned long i = 0; i < times && r == 0; i++)
                r = block_once(&pause);
        (void)nanosleep(&pause, NULL); /* a wait is known once it leaves the CPU again */
        (void)prctl(PR_SET_NAME, "test-worker");
        return r;
}

static int disconnect(void)
{
        kvp_disconnect(conn);
        conn = NULL;
        cache = NULL;
        return 0;
}

/* Returns false at `quit`. */
static bool obey(char *line)
{
        char *args = strchr(line, ' ');

        if (args)
                *args++ = '\0';
        else
                args = line + strlen(line);
        if (!strcmp(line, "quit"))
                return false;
        if (!strcmp(line, "connect"))
                answer(kvp_connect(&options, &conn));
        else if (!conn)
                answer(-ENXIO);
        else if (!strcmp(line, "disconnect"))
                answer(disconnect());
        else if (!strcmp(line, "create"))
                answer(create(args));
        else if (!cache)
                answer(-ENXIO);
        else if (!strcmp(line, "acquire"))
                acquire(args);
        else if (!strcmp(line, "step"))
                step(args);
        else if (!strcmp(line, "load"))
                run_load(args);
        else if (!strcmp(line, "steady"))
                answer(steady(args));
        else if (!strcmp(line, "fill") || !strcmp(line, "check"))
                bytes(args, line[0] == 'c');
        else if (!strcmp(line, "release"))
                answer(kvp_seq_release(cache, (uint32_t)strtoul(args, NULL, 10)));
        else if (!strcmp(line, "trim"))
                trim(args);
        else if (!strcmp(line, "fork"))
                answer(fork_and_step());
        else if (!strcmp(line, "block"))
                answer(block(args));
        else if (!strcmp(line, "settle"))
                answer(kvp_cache_settle(cache, 5000000));
        else if (!strcmp(line, "stats"))
                stats();
        else if (!strcmp(line, "destroy")) {
                kvp_cache_destroy(cache);
                cache = NULL;
                answer(0);
        } else
                answer(-EOPNOTSUPP);
        return true;
}

int main(int argc, char **argv)
{
        char line[8192];
        int rc;

        options.tenant = argc > 1 ? argv[1] : NULL;

        setvbuf(stdout, NULL, _IOLBF, 0);
        signal(SIGBUS, on_bus_error);
        rc = kvp_connect(&options, &conn);
        if (rc < 0) {
                answer(rc);
                return 1;
        }
        printf("connected %s\n", kvp_tenant(conn));
        while (fgets(line, sizeof line, stdin)) {
                line[strcspn(line, "\n")] = '\0';
                if (!obey(line))
                        break;
        }
        kvp_disconnect(conn);
        return 0;
}
