/* SPDX-License-Identifier: MIT
 *
 * conn-open.c -- finding the daemon, the handshake, and what a connection tells of itself.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "cache.h"
#include "conn.h"
#include "mapper.h"

#define SOCKET_SYSTEM      "/run/kvpager/kvpager.sock"
#define SOCKET_USER        "kvpager/kvpager.sock"
#define CONNECT_AGAIN      5u
#define CONNECT_AGAIN_NSEC 5000000
#define OPTIONS_MAX        4096u /* bytes of an option struct, however much it grows */

int options_check(const void *options, size_t size, size_t known)
{
        const unsigned char *bytes = options;

        if (size < known || size > OPTIONS_MAX)
                return -EINVAL;
        for (size_t i = known; i < size; i++)
                if (bytes[i] != 0)
                        return -EINVAL;
        return 0;
}

/* Which socket to connect to, into `address`. */
static int find_socket(const char *path, struct sockaddr_un *address)
{
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        int n;

        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (!path) {
                path = getenv("KVPAGER_SOCKET");
                if (path && !*path)
                        path = NULL;
        }
        if (!path && (access(SOCKET_SYSTEM, F_OK) == 0 || errno != ENOENT || !runtime || !*runtime))
                path = SOCKET_SYSTEM;
        if (path)
                n = snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
        else
                n = snprintf(address->sun_path, sizeof(address->sun_path), "%s/" SOCKET_USER, runtime);
        if (n < 0 || (size_t)n >= sizeof(address->sun_path))
                return -ENAMETOOLONG;
        return n == 0 ? -ENOENT : 0; /* no path, but a name of the abstract namespace, which anybody may take */
}

/* How long connect() waits while the listener's queue is full, and send() while the daemon reads nothing. */
static int set_patience(int fd, uint64_t usec)
{
        const struct timeval patience = { .tv_sec = (time_t)(usec / 1000000u),
                                          .tv_usec = (suseconds_t)(usec % 1000000u) };

        return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ? -errno : 0;
}

int conn_open(const struct kvp_conn *conn, int *ret)
{
        const uint64_t deadline = deadline_in(CONN_PATIENCE_USEC);
        _cleanup_(cleanup_close) int fd = -1;
        int r;

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        r = set_patience(fd, CONN_PATIENCE_USEC);
        while (r == 0 && connect(fd, (const struct sockaddr *)&conn->address, sizeof(conn->address)) < 0)
                switch (errno) {
                case EINTR: /* by a handler of the application's, again and again where it has a timer */
                        r = set_patience(fd, max_u64(subtract_saturated(deadline, time_now_usec()), 1));
                        break;
                case EPROTOTYPE:
                        return -EPROTO;
                case EAGAIN:
                        return -ETIMEDOUT;
                case EPERM:
                        return -EACCES;
                default:
                        return -errno;
                }
        if (r == 0)
                r = set_patience(fd, CONN_PATIENCE_USEC);
        if (r < 0)
                return r;
        *ret = TAKE_FD(fd);
        return 0;
}

/* As a text of the protocol has to be. */
static bool is_printable(const char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        return false;
        return true;
}

static int greet(struct kvp_conn *conn, const char *tenant)
{
        struct wire_hello hello = { .version = WIRE_VERSION, .role = WIRE_ROLE_WORKER, .features = WIRE_FEATURES };
        size_t size;

        if (tenant) {
                if (strlen(tenant) >= sizeof(hello.tenant) || !is_printable(tenant))
                        return -ESRCH; /* no tenant has such a name */
                memcpy(hello.tenant, tenant, strlen(tenant));
        }
        size = wire_encode(conn->out, sizeof(conn->out), WIRE_HELLO, 1, 0, &hello, NULL, 0);
        while (send(conn->socket, conn->out, size, MSG_NOSIGNAL) < 0)
                switch (errno) {
                case EINTR:
                        continue;
                case EAGAIN: /* it reads nothing */
                        return -ETIMEDOUT;
                case EPIPE:
                case ECONNRESET:
                        return 0; /* why it hung up may still be there to be read */
                default:
                        return -ENOMEM;
                }
        return 0;
}

int conn_welcome(int socket, void *packet, uint64_t deadline, struct wire_welcome *ret, int *ret_events)
{
        struct pollfd readable = { .fd = socket, .events = POLLIN };
        _cleanup_(cleanup_close) int events = -1;
        const struct wire_welcome *fixed;
        struct wire_view view;
        unsigned n_fds;
        bool cut;
        int size;

        for (;;) {
                const uint64_t left = subtract_saturated(deadline, time_now_usec());
                const struct timespec pause = timespec_of(left);

                if (ppoll(&readable, 1, &pause, NULL) == 0)
                        return -ETIMEDOUT;
                size = conn_receive(socket, MSG_DONTWAIT, packet, WIRE_MAX_PACKET, &events, 1, &n_fds, &cut);
                if (size < 0)
                        return size == -ENOTCONN ? -EPIPE : -EPROTO;
                if (size > 0)
                        break;
                if (left == 0)
                        return -ETIMEDOUT;
        }
        if (cut)
                return -EMFILE;
        if (wire_decode(packet, (size_t)size, n_fds, WIRE_D2C, &view) != WIRE_E_NONE)
                return -EPROTO;
        if (view.info->opcode == WIRE_ERROR) {
                const struct wire_error *error = view.fixed;
                const int r = wire_error_errno((enum wire_error_code)error->error);

                if (error->error == WIRE_E_SHUTTING_DOWN)
                        return -EPIPE;
                return r == 0 || r == -EBADMSG ? -EPROTO : r;
        }
        if (view.info->opcode != WIRE_WELCOME)
                return -EPROTO;
        fixed = view.fixed;
        if (fixed->version != WIRE_VERSION)
                return -EPROTO;
        *ret = *fixed;
        *ret_events = TAKE_FD(events);
        return 0;
}

/* Connects and says who we are. -EPIPE: the daemon ended before it answered. */
static int introduce(struct kvp_conn *conn, const char *tenant)
{
        struct wire_welcome welcome;
        int r;

        cleanup_close(&conn->socket);
        conn->socket = -1;
        r = conn_open(conn, &conn->socket);
        if (r >= 0)
                r = greet(conn, tenant);
        if (r >= 0)
                r = conn_welcome(conn->socket, conn->out, deadline_in(CONN_PATIENCE_USEC), &welcome, &conn->events);
        if (r < 0)
                return r;
        memcpy(conn->tenant, welcome.tenant, sizeof(conn->tenant));
        conn->worker = welcome.worker;
        conn->token[0] = welcome.token_low;
        conn->token[1] = welcome.token_high;
        conn->resumable = (welcome.token_low | welcome.token_high) != 0;
        return 0;
}

static void cleanup_conn(struct kvp_conn **conn)
{
        conn_free(*conn);
}

KVP_PUBLIC int kvp_connect(const struct kvp_connect_options *options, struct kvp_conn **ret_conn)
{
        static const struct kvp_connect_options defaults = { .size = sizeof(defaults) };
        _cleanup_(cleanup_conn) struct kvp_conn *conn = NULL;
        int r;

        if (!options)
                options = &defaults;
        if (!ret_conn || options_check(options, options->size, sizeof(*options)) < 0)
                return -EINVAL;
        r = conn_new(&conn);
        if (r >= 0)
                r = find_socket(options->socket_path, &conn->address);
        if (r >= 0)
                r = introduce(conn, options->tenant);
        for (unsigned i = 0; i < CONNECT_AGAIN && r == -EPIPE; i++) { /* it is being restarted */
                (void)nanosleep(&(struct timespec){ .tv_nsec = CONNECT_AGAIN_NSEC }, NULL);
                r = introduce(conn, options->tenant);
        }
        if (r == -EPIPE)
                r = -EPROTO;
        if (r >= 0)
                r = mapper_start(conn);
        if (r < 0)
                return r;
        conn->fork = (struct fork_node){ .fds = { conn->socket, conn->events, conn->wake, conn->epoll } };
        r = fork_register(&conn->fork);
        if (r < 0) {
                mapper_stop(conn);
                return r;
        }
        *ret_conn = TAKE_PTR(conn);
        return 0;
}

KVP_PUBLIC void kvp_disconnect(struct kvp_conn *conn)
{
        if (!conn || conn_check(conn) < 0)
                return;
        mapper_stop(conn);
        atomic_store(&conn->resumable, false); /* nobody would bring it up again */
        cache_destroy_all(conn);
        conn_free(conn);
}

KVP_PUBLIC const char *kvp_tenant(const struct kvp_conn *conn)
{
        return conn->tenant;
}

KVP_PUBLIC int kvp_device_info(struct kvp_conn *conn, uint32_t device, struct kvp_device_info *ret_info)
{
        const struct wire_device_get fixed = { .device = device };
        const struct wire_device *answer;
        struct request request;
        int r = conn_check(conn);

        if (r < 0)
                return r;
        if (!ret_info || ret_info->size < sizeof(*ret_info))
                return -EINVAL;
        r = conn_call(conn, WIRE_DEVICE_GET, &fixed, NULL, 0, WIRE_DEVICE, UINT64_MAX, &request);
        if (r < 0)
                return r;
        answer = &request.answer.device;
        if (!is_power_of_two(answer->page_size) || answer->page_size < 4096 || answer->page_size > UINT64_C(1) << 40) {
                conn_fail(conn);
                return -ENOTCONN;
        }
        ret_info->page_size = answer->page_size;
        ret_info->capacity = answer->capacity_bytes;
        _Static_assert(sizeof(ret_info->name) == sizeof(answer->name) &&
                               sizeof(ret_info->backend) == sizeof(answer->backend) &&
                               sizeof(ret_info->uuid) == sizeof(answer->uuid),
                       "the protocol's texts are the API's");
        memcpy(ret_info->name, answer->name, sizeof(answer->name));
        memcpy(ret_info->backend, answer->backend, sizeof(answer->backend));
        memcpy(ret_info->uuid, answer->uuid, sizeof(answer->uuid));
        return 0;
}

KVP_PUBLIC int kvp_set_pressure_handler(struct kvp_conn *conn, kvp_pressure_fn *handler, void *userdata)
{
        int r = conn_check(conn);

        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&conn->mutex);
        conn->pressure = handler;
        conn->pressure_userdata = userdata;
        (void)pthread_mutex_unlock(&conn->mutex);
        return 0;
}
