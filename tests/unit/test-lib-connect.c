/* SPDX-License-Identifier: MIT
 *
 * test-lib-connect.c -- how connections and caches begin, end, and fail to begin; and what a forked child may do.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache.h"
#include "lib-box.h"

/* A folder that goes with the test's scratch. */
static void make_folder(char *path, size_t size)
{
        const char *tmp = getenv("TMPDIR");

        cr_assert_lt(snprintf(path, size, "%s/kvp-XXXXXX", tmp ? tmp : "/tmp"), (int)size);
        cr_assert_not_null(mkdtemp(path));
}

static int try(const char *path, const char *tenant)
{
        const struct kvp_connect_options options = { .size = sizeof(options), .socket_path = path, .tenant = tenant };
        struct kvp_conn *conn = (struct kvp_conn *)1;
        int r = kvp_connect(&options, &conn);

        if (r == 0)
                kvp_disconnect(conn);
        else
                cr_assert_eq(conn, (struct kvp_conn *)1, "an output was touched on failure");
        return r;
}

static void make_socket(const char *path, int type, int backlog)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        if (backlog > 0)
                cr_assert_eq(listen(fd, backlog), 0);
        else if (backlog < 0)
                (void)close(fd); /* nobody behind it */
}

Test(connect, names_what_is_wrong_with_the_socket)
{
        char folder[70], path[90], longest[120], longer[120];

        make_folder(folder, sizeof(folder));
        (void)snprintf(path, sizeof(path), "%s/none", folder);
        cr_assert_eq(try(path, NULL), -ENOENT);
        make_socket("", SOCK_SEQPACKET, 4); /* the abstract name that such an address is */
        cr_assert_eq(try("", NULL), -ENOENT);
        (void)snprintf(path, sizeof(path), "%s/dead", folder);
        make_socket(path, SOCK_SEQPACKET, -1);
        cr_assert_eq(try(path, NULL), -ECONNREFUSED);
        (void)snprintf(path, sizeof(path), "%s/dgram", folder);
        make_socket(path, SOCK_DGRAM, 0);
        cr_assert_eq(try(path, NULL), -EPROTO);
        (void)snprintf(path, sizeof(path), "%s/stream", folder);
        make_socket(path, SOCK_STREAM, 4);
        cr_assert_eq(try(path, NULL), -EPROTO);
        memset(longest, 'x', sizeof(longest));
        longest[0] = '/';
        longest[107] = 0;
        memcpy(longer, longest, sizeof(longer));
        longer[107] = 'x';
        longer[108] = 0;
        cr_assert_eq(try(longest, NULL), -ENOENT);
        cr_assert_eq(try(longer, NULL), -ENAMETOOLONG);
}

Test(connect, checks_its_options)
{
        struct fake *fake = fake_start(NULL);
        struct {
                struct kvp_connect_options options;
                char later[16]; /* what a newer caller may know of */
        } options = { .options = { .size = sizeof(struct kvp_connect_options), .socket_path = fake_path(fake) } };
        struct kvp_conn *conn;

        cr_assert_eq(kvp_connect(&options.options, NULL), -EINVAL);
        options.options.size = sizeof(struct kvp_connect_options) - 1;
        cr_assert_eq(kvp_connect(&options.options, &conn), -EINVAL);
        options.options.size = sizeof(options);
        options.later[5] = 1;
        cr_assert_eq(kvp_connect(&options.options, &conn), -EINVAL);
        options.later[5] = 0;
        cr_assert_eq(kvp_connect(&options.options, &conn), 0);
        cr_assert_str_eq(kvp_tenant(conn), "fake");
        kvp_disconnect(conn);
        kvp_disconnect(NULL);
        kvp_cache_destroy(NULL);
        fake_stop(fake);
}

Test(connect, finds_the_socket_by_the_environment)
{
        struct fake *fake = fake_start(NULL);
        char runtime[70], folder[90], link[128];

        cr_assert_eq(setenv("KVPAGER_SOCKET", fake_path(fake), 1), 0);
        cr_assert_eq(try(NULL, NULL), 0);
        cr_assert_eq(try("/nonexistent", NULL), -ENOENT); /* the option goes first */
        cr_assert_eq(setenv("KVPAGER_SOCKET", "", 1), 0);
        if (access("/run/kvpager/kvpager.sock", F_OK) < 0) {
                make_folder(runtime, sizeof(runtime));
                (void)snprintf(folder, sizeof(folder), "%s/kvpager", runtime);
                cr_assert_eq(mkdir(folder, 0700), 0);
                (void)snprintf(link, sizeof(link), "%s/kvpager.sock", folder);
                cr_assert_eq(symlink(fake_path(fake), link), 0);
                cr_assert_eq(setenv("XDG_RUNTIME_DIR", runtime, 1), 0);
                cr_assert_eq(try(NULL, NULL), 0);
                cr_assert_eq(unsetenv("XDG_RUNTIME_DIR"), 0);
                cr_assert_eq(try(NULL, NULL), -ENOENT);
        }
        fake_stop(fake);
}

/* ---- the handshake ---- */

struct reply {
        enum wire_error_code code;
        bool hang_up, junk, wrong, old;
        char tenant[64];
};

static enum fake_verdict on_hello(struct fake *fake, const struct wire_view *message, void *userdata)
{
        struct wire_error error = { 0 };
        struct wire_welcome welcome = { .version = WIRE_VERSION + 1 };
        struct reply *reply = userdata;
        const int fd = STDIN_FILENO;

        if (message->header.opcode != WIRE_HELLO)
                return FAKE_HANDLE;
        memcpy(reply->tenant, ((const struct wire_hello *)message->fixed)->tenant, sizeof(reply->tenant));
        if (reply->hang_up)
                return FAKE_HANG_UP;
        if (reply->junk) {
                fake_send_bytes(fake, false, "junk, junk, junk, junk, junk", 28, &fd, 1);
        } else if (reply->wrong) {
                fake_send(fake, WIRE_OK, message->header.request, NULL, NULL, 0, NULL, 0);
        } else if (reply->old) {
                fake_send(fake, WIRE_WELCOME, message->header.request, &welcome, NULL, 0, &fd, 1);
        } else if (reply->code != WIRE_E_NONE) {
                error.error = reply->code;
                fake_send(fake, WIRE_ERROR, message->header.request, &error, NULL, 0, NULL, 0);
        } else {
                return FAKE_HANDLE;
        }
        return FAKE_HANG_UP;
}

Test(connect, names_what_the_daemon_refuses)
{
        static const struct {
                struct reply reply;
                int error;
        } cases[] = {
                { { .code = WIRE_E_NO_TENANT }, -EACCES },
                { { .code = WIRE_E_WRONG_TENANT }, -ESRCH },
                { { .code = WIRE_E_TOO_MANY_WORKERS }, -EUSERS },
                { { .code = WIRE_E_BAD_VERSION }, -EPROTO },
                { { .code = WIRE_E_BAD_TEXT }, -EPROTO },
                { { .hang_up = true }, -EPROTO },
                { { .junk = true }, -EPROTO },
                { { .wrong = true }, -EPROTO },
                { { .old = true }, -EPROTO },
                { { .code = (enum wire_error_code)9999 }, -EPROTO },
        };
        char name[65];

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct fake *fake = fake_start(NULL);
                struct reply reply = cases[i].reply;

                fake_set_hook(fake, on_hello, &reply);
                cr_assert_eq(try(fake_path(fake), "chat"), cases[i].error, "case %zu: %d", i,
                             try(fake_path(fake), "chat"));
                cr_assert_str_eq(reply.tenant, "chat");
                fake_stop(fake);
        }
        memset(name, 'n', 64);
        name[64] = 0;
        struct fake *fake = fake_start(NULL);
        struct reply reply = { 0 };

        fake_set_hook(fake, on_hello, &reply);
        cr_assert_eq(try(fake_path(fake), name), -ESRCH); /* longer than any tenant's name */
        cr_assert_eq(try(fake_path(fake), "of two\nlines"), -ESRCH);
        cr_assert_eq(try(fake_path(fake), name + 1), 0);
        cr_assert_str_eq(reply.tenant, name + 1);
        cr_assert_eq(try(fake_path(fake), NULL), 0);
        cr_assert_str_eq(reply.tenant, "");
        fake_stop(fake);
}

static atomic_bool tried;

static void *hang_up_at_once(void *userdata)
{
        const int listener = *(int *)userdata;

        /* Without sleeping: it is to be there before HELLO is. */
        while (!atomic_load(&tried)) {
                const int fd = accept(listener, NULL, NULL);

                if (fd >= 0)
                        (void)close(fd);
        }
        return NULL;
}

/* Before, while or after the worker says HELLO: an error each time, and no SIGPIPE. */
Test(connect, a_daemon_that_hangs_up_at_once)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char folder[70];
        pthread_t thread;

        (void)signal(SIGPIPE, SIG_DFL);
        make_folder(folder, sizeof(folder));
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", folder);
        cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(listener, 8), 0);
        cr_assert_eq(pthread_create(&thread, NULL, hang_up_at_once, &listener), 0);
        for (int i = 0; i < 30;
             i++) /* each of them tries six times, for 100 ms: it might be a daemon that is being restarted */
                cr_assert_eq(try(address.sun_path, NULL), -EPROTO);
        atomic_store(&tried, true);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        (void)close(listener);
}

/* ---- devices and caches ---- */

Test(connect, tells_about_devices)
{
        struct kvp_device_info info = { .size = sizeof(info), .name = "before" };
        struct box box;

        box_open(&box, NULL, NULL);
        cr_assert_eq(kvp_device_info(box.conn, 1, &info), -ENODEV);
        cr_assert_str_eq(info.name, "before");
        cr_assert_eq(kvp_device_info(box.conn, 0, NULL), -EINVAL);
        info.size--;
        cr_assert_eq(kvp_device_info(box.conn, 0, &info), -EINVAL);
        info.size++;
        cr_assert_eq(kvp_device_info(box.conn, 0, &info), 0);
        cr_assert(info.page_size == PAGE && info.capacity == UINT64_C(1) << 40 && info.size == sizeof(info));
        cr_assert_str_eq(info.name, "fake0");
        cr_assert_str_eq(info.backend, "host");
        box_close(&box);
}

static enum fake_verdict refuse_cache(struct fake *fake, const struct wire_view *message, void *userdata)
{
        const struct wire_error error = { .error = *(enum wire_error_code *)userdata };

        if (message->header.opcode != WIRE_CACHE_CREATE)
                return FAKE_HANDLE;
        fake_send(fake, WIRE_ERROR, message->header.request, &error, NULL, 0, NULL, 0);
        return FAKE_SWALLOW;
}

Test(connect, names_why_there_is_no_cache)
{
        static const struct {
                enum wire_error_code code;
                int error;
        } cases[] = { { WIRE_E_TOO_MANY_CACHES, -ENOMEM },
                      { WIRE_E_BAD_GEOMETRY, -ENOMEM },
                      { WIRE_E_NO_DEVICE, -ENODEV } };
        struct kvp_geometry geometry = box_fused;
        enum wire_error_code code;
        struct kvp_cache *cache = NULL;
        struct box box;

        box_open(&box, NULL, NULL);
        cr_assert_eq(kvp_cache_create(box.conn, NULL, &cache), -EINVAL);
        cr_assert_eq(kvp_cache_create(box.conn, &geometry, NULL), -EINVAL);
        geometry.max_seqs = 1000000;
        cr_assert_eq(kvp_cache_create(box.conn, &geometry, &cache), -EINVAL);
        geometry = box_fused;
        geometry.device = 1;
        cr_assert_eq(kvp_cache_create(box.conn, &geometry, &cache), -ENODEV);
        geometry = box_fused;
        geometry.max_tokens = UINT64_MAX / 2;
        cr_assert_eq(kvp_cache_create(box.conn, &geometry, &cache), -EOVERFLOW);
        geometry.max_tokens = UINT64_C(1) << 33; /* 2^48 bytes */
        cr_assert_eq(kvp_cache_create(box.conn, &geometry, &cache), -ENOMEM);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                code = cases[i].code;
                fake_set_hook(box.fake, refuse_cache, &code);
                cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &cache), cases[i].error);
        }
        cr_assert_null(cache);
        fake_set_hook(box.fake, NULL, NULL);
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &cache), 0); /* the connection is fine */
        kvp_cache_destroy(cache);
        box_close(&box);
}

/* The largest geometry of the API: it costs address space only. */
Test(connect, a_huge_reservation_costs_next_to_nothing)
{
        const struct kvp_layer_group group = { .layers = 64, .kv_heads = 1, .head_dim = 8, .element_bits = 4 };
        const struct kvp_geometry geometry = {
                .size = sizeof(geometry), .max_seqs = KVP_MAX_SEQS, .n_groups = 1, .max_tokens = 1, .groups = &group
        }; /* 2 classes, 128 planes of 4 GiB */
        struct rusage before, after;
        struct kvp_seq_step step;
        struct box box;

        cr_assert_eq(getrusage(RUSAGE_SELF, &before), 0);
        box_open(&box, NULL, &geometry);
        cr_assert_eq(box_stats(&box).virtual_bytes, UINT64_C(128) * KVP_MAX_SEQS * PAGE);
        for (uint32_t i = 0; i < 3; i++) {
                step = (struct kvp_seq_step){ .seq = box_acquire(&box, 1), .tokens = 1 };
                cr_assert_eq(kvp_step(box.cache, &step, 1, 10 * SECOND), 0);
                box_visit(&box, &geometry, step.seq, 0, 1, true);
        }
        cr_assert_eq(getrusage(RUSAGE_SELF, &after), 0);
        cr_assert_lt(after.ru_maxrss - before.ru_maxrss, 32768, "%ld KiB", after.ru_maxrss - before.ru_maxrss);
        box_close(&box);
}

Test(connect, disconnect_destroys_what_is_left)
{
        struct kvp_cache *caches[3];
        struct box box;

        box_open(&box, NULL, NULL);
        for (int i = 0; i < 3; i++) {
                struct kvp_seq_step step = { .tokens = 100 };

                cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &caches[i]), 0);
                cr_assert_eq(kvp_seq_acquire(caches[i], 0, 0, &step.seq), 0);
                cr_assert_eq(kvp_step(caches[i], &step, 1, SECOND), 0);
        }
        kvp_disconnect(box.conn);
        cr_assert(fake_wait_gone(box.fake));
        cr_assert_eq(fake_received(box.fake, WIRE_CACHE_DESTROY), 4);
        cr_assert_eq(fake_pages(box.fake), 0);
        fake_stop(box.fake);
}

/* ---- fork ---- */

/* Everything that the child may call. Exit status: the number of the first that is not as it should be. */
static int child_main(const struct box *box, uint32_t seq, char *memory)
{
        struct kvp_device_info info = { .size = sizeof(info) };
        struct kvp_cache_stats stats = { .size = sizeof(stats) };
        struct kvp_seq_step step = { .seq = seq, .tokens = 1 };
        const int fds[] = { box->conn->socket, box->conn->events, box->conn->wake };
        struct kvp_cache *cache;
        struct kvp_tensor tensor;
        unsigned char residency;
        uint32_t other;
        const int results[] = {
                kvp_step(box->cache, &step, 1, 0),
                kvp_seq_acquire(box->cache, 0, 0, &other),
                kvp_seq_release(box->cache, seq),
                kvp_seq_trim(box->cache, seq, 0),
                kvp_cache_stats(box->cache, &stats),
                kvp_cache_tensor(box->cache, 0, 0, KVP_K, &tensor),
                kvp_cache_settle(box->cache, 0),
                kvp_cache_set_fence(box->cache, NULL, NULL),
                kvp_cache_create(box->conn, &box_fused, &cache),
                kvp_device_info(box->conn, 0, &info),
                kvp_set_pressure_handler(box->conn, NULL, NULL),
        };

        for (int i = 0; i < (int)(sizeof(results) / sizeof(results[0])); i++)
                if (results[i] != -ECHILD)
                        return 1 + i;
        for (int i = 0; i < 3; i++)
                if (fcntl(fds[i], F_GETFD) >= 0 || errno != EBADF)
                        return 50 + i;
        if (mincore(memory, 4096, &residency) == 0 || errno != ENOMEM)
                return 60; /* something is mapped there */
        kvp_cache_destroy(box->cache);
        kvp_disconnect(box->conn);
        return 0;
}

Test(connect, a_forked_child_has_no_part_in_it)
{
        struct kvp_tensor t;
        struct box box;
        uint32_t seq;
        int status;
        pid_t child;

        box_open(&box, NULL, NULL);
        seq = box_acquire(&box, 0);
        cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
        box_visit(&box, &box_fused, seq, 0, 100, true);
        cr_assert_eq(kvp_cache_tensor(box.cache, 0, 0, KVP_K, &t), 0);
        child = fork();
        cr_assert_geq(child, 0);
        if (child == 0)
                _exit(child_main(&box, seq, (char *)t.data + seq * t.stride[0]));
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "check %d of the child", WEXITSTATUS(status));
        cr_assert_eq(box_step(&box, seq, 2000, NULL), 0); /* the parent's is as it was */
        box_visit(&box, &box_fused, seq, 0, 100, false);
        box_close(&box);
}

/* A child that connects by itself is as good as any other process. */
Test(connect, a_forked_child_may_connect_again)
{
        struct fake *fake = fake_start(NULL);
        struct box box;
        int status;
        pid_t child;

        box_open(&box, NULL, NULL);
        child = fork();
        cr_assert_geq(child, 0);
        if (child == 0)
                _exit(try(fake_path(fake), NULL) == 0 ? 0 : 1);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        box_close(&box);
        fake_stop(fake);
}

Test(connect, no_fd_is_passed_on_by_exec)
{
        struct box box;

        box_open(&box, NULL, NULL);
        cr_assert(fcntl(box.conn->socket, F_GETFD) & FD_CLOEXEC);
        cr_assert(fcntl(box.conn->events, F_GETFD) & FD_CLOEXEC);
        cr_assert(fcntl(box.conn->wake, F_GETFD) & FD_CLOEXEC);
        box_close(&box);
}

/* More threads ask at once than there are requests. Who has to wait for one is let go on by whoever gives one up, which
 * is after its reply came. */
#define CALLERS 24u
#define ROUNDS  100u

struct callers {
        struct kvp_conn *conn;
        pthread_barrier_t begin;
        _Atomic int error;
};

static void *caller_main(void *userdata)
{
        struct callers *callers = userdata;

        for (uint32_t i = 0; i < ROUNDS; i++) {
                struct kvp_device_info info = { .size = sizeof(info) };
                int r;

                (void)pthread_barrier_wait(&callers->begin);
                if (atomic_load(&callers->error) == 0 && (r = kvp_device_info(callers->conn, 0, &info)) < 0)
                        atomic_store(&callers->error, r);
        }
        return NULL;
}

Test(connect, more_calls_at_once_than_requests)
{
        struct callers callers = { .error = 0 };
        pthread_t threads[CALLERS];
        struct box box;

        box_open(&box, NULL, NULL);
        callers.conn = box.conn;
        cr_assert_eq(pthread_barrier_init(&callers.begin, NULL, CALLERS), 0);
        for (uint32_t i = 0; i < CALLERS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, caller_main, &callers), 0);
        for (uint32_t i = 0; i < CALLERS; i++)
                (void)pthread_join(threads[i], NULL);
        (void)pthread_barrier_destroy(&callers.begin);
        cr_assert_eq(callers.error, 0, "%s", strerror(-callers.error));
        box_close(&box);
}

/* ---- signals ---- */

static void on_alarm(int signal)
{
        (void)signal;
}

/* A listener whose queue is full, as that of a daemon that was stopped: connect() itself waits. */
Test(connect, signals_do_not_prolong_it, .timeout = 60)
{
        const struct itimerval often = { .it_interval.tv_usec = 100000, .it_value.tv_usec = 100000 }, never = { 0 };
        const struct sigaction action = { .sa_handler = on_alarm };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct kvp_connect_options options = { .size = sizeof(options), .socket_path = address.sun_path };
        struct kvp_conn *conn = NULL;
        char folder[70];
        int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
            other = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        make_folder(folder, sizeof(folder));
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", folder);
        cr_assert_eq(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(listener, 0), 0);
        cr_assert_eq(connect(other, (const struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
        cr_assert_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
        cr_assert_eq(kvp_connect(&options, &conn), -ETIMEDOUT);
        cr_assert_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
        (void)close(listener);
        (void)close(other);
}
