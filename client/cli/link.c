/* SPDX-License-Identifier: MIT
 *
 * link.c -- a connection to the daemon for one command.
 *
 * The daemon is not trusted to be there, to answer in time, to answer at all, or to answer in the protocol: every wait
 * ends at one deadline for the whole command, every packet goes through the codec, a list has to get on with every
 * page. File descriptors that arrive (the event channel in WELCOME, or whatever else) are closed: this client maps
 * nothing.
 */
#include "link.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "format.h"

#define LINK_SYSTEM_PATH "/run/kvpager/kvpager.sock"
#define LINK_HINT        "Is kvpagerd.service running? See `systemctl status kvpagerd`."

#define AGAIN      3u
#define AGAIN_NSEC 50000000

static uint64_t link_left_usec(const struct ctl_link *link)
{
        uint64_t now = ctl_now_usec();

        return now < link->deadline_usec ? link->deadline_usec - now : 0;
}

int ctl_link_fail(struct ctl_link *link, int error, const char *format, ...)
{
        va_list arguments;

        assert(error < 0);
        va_start(arguments, format);
        (void)vsnprintf(link->why, sizeof(link->why), format, arguments);
        va_end(arguments);
        return error;
}

const char *ctl_link_why(const struct ctl_link *link)
{
        return link->why;
}

const char *ctl_link_default_path(char *buffer, size_t size)
{
        const char *path = getenv("KVPAGER_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");

        if (path && *path)
                (void)snprintf(buffer, size, "%s", path);
        else if (access(LINK_SYSTEM_PATH, F_OK) == 0 || errno != ENOENT || !runtime || !*runtime)
                (void)snprintf(buffer, size, "%s", LINK_SYSTEM_PATH);
        else
                (void)snprintf(buffer, size, "%s/kvpager/kvpager.sock", runtime);
        return buffer;
}

static int link_fail_connect(struct ctl_link *link, int error)
{
        switch (error) {
        case ENOENT:
                return ctl_link_fail(link, -error, "no kvpagerd at %s: there is no such socket.\n" LINK_HINT,
                                     link->path);
        case ECONNREFUSED:
                return ctl_link_fail(link, -error, "no kvpagerd at %s: nobody listens there.\n" LINK_HINT, link->path);
        case EACCES:
        case EPERM:
                return ctl_link_fail(link, -error,
                                     "may not connect to kvpagerd at %s: permission denied.\n"
                                     "See `namei -l %s` for whom it lets in: a group can be joined, or is set by\n"
                                     "SocketGroup= of kvpagerd.socket, or socket-group in kvpagerd.conf.",
                                     link->path, link->path);
        case EAGAIN:
        case EINPROGRESS:
                return ctl_link_fail(link, -ETIMEDOUT,
                                     "kvpagerd at %s takes no connections: its queue is full and stayed so.\n"
                                     "It may be hung: see `systemctl status kvpagerd`. --timeout waits for longer.",
                                     link->path);
        case EPROTOTYPE:
                return ctl_link_fail(link, -error, "no kvpagerd at %s: this is a socket of another kind.", link->path);
        default:
                return ctl_link_fail(link, -error, "cannot connect to %s: %s.", link->path, strerror(error));
        }
}

static int link_fail_timeout(struct ctl_link *link)
{
        return ctl_link_fail(link, -ETIMEDOUT,
                             "kvpagerd at %s did not answer in time.\n"
                             "It may be hung: see `systemctl status kvpagerd`. --timeout waits for longer.",
                             link->path);
}

static int link_fail_gone(struct ctl_link *link)
{
        return ctl_link_fail(link, -ECONNRESET,
                             "kvpagerd at %s ended the connection before it answered.\n"
                             "See `systemctl status kvpagerd` and `journalctl -u kvpagerd`.",
                             link->path);
}

static int link_fail_garbage(struct ctl_link *link, const char *what)
{
        return ctl_link_fail(link, -EPROTO,
                             "what listens at %s does not speak protocol version %u: %s.\n"
                             "Is it kvpagerd, and of this version? See `kvpagerctl version`.",
                             link->path, WIRE_VERSION, what);
}

/* Waits for `events`; 0 or -ETIMEDOUT. */
static int link_wait(struct ctl_link *link, short events)
{
        for (;;) {
                struct pollfd pollfd = { .fd = link->fd, .events = events };
                uint64_t left = link_left_usec(link);
                struct timespec timeout = { .tv_sec = (time_t)(left / 1000000),
                                            .tv_nsec = (long)(left % 1000000) * 1000 };
                int n = ppoll(&pollfd, 1, &timeout, NULL);

                if (n > 0)
                        return 0;
                if (n == 0)
                        return link_fail_timeout(link);
                if (errno != EINTR)
                        return ctl_link_fail(link, -errno, "cannot wait for kvpagerd: %s.", strerror(errno));
        }
}

/* A connect() to a full queue of connections waits as long as a send would; there is no event for it. */
static int link_connect(struct ctl_link *link, const struct sockaddr_un *address)
{
        uint64_t left;

        while ((left = link_left_usec(link)) > 0) {
                struct timeval timeout = { .tv_sec = (time_t)(left / 1000000),
                                           .tv_usec = (suseconds_t)(left % 1000000) };

                if (setsockopt(link->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
                        return ctl_link_fail(link, -errno, "cannot set up a socket: %s.", strerror(errno));
                if (connect(link->fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
                        return 0;
                if (errno != EINTR)
                        return link_fail_connect(link, errno);
        }
        return link_fail_connect(link, EAGAIN);
}

static int link_send(struct ctl_link *link, enum wire_opcode opcode, const void *fixed, const void *items,
                     uint32_t n_items)
{
        size_t size = wire_encode(link->buffer, sizeof(link->buffer), opcode, ++link->request, 0, fixed, items,
                                  n_items);

        assert(size > 0);
        for (;;) {
                int r = link_wait(link, POLLOUT);

                if (r < 0)
                        return r;
                if (send(link->fd, link->buffer, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                        return 0;
                if (errno == EPIPE || errno == ECONNRESET)
                        return 0; /* it may have said why before it left: the reader finds out */
                if (errno != EINTR && errno != EAGAIN)
                        return ctl_link_fail(link, -errno, "cannot send to kvpagerd at %s: %s.", link->path,
                                             strerror(errno));
        }
}

/* Closes what came along; returns how many there were. */
static unsigned link_close_fds(struct msghdr *message)
{
        unsigned n_fds = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++, n_fds++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        (void)close(fd);
                }
        }
        return n_fds;
}

static int link_receive(struct ctl_link *link, struct wire_view *ret)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
        } control;
        bool reset = false;

        for (;;) {
                struct iovec iovec = { .iov_base = link->buffer, .iov_len = sizeof(link->buffer) };
                struct msghdr message = {
                        .msg_iov = &iovec, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
                };
                int r = link_wait(link, POLLIN);

                if (r < 0)
                        return r;
                ssize_t n = recvmsg(link->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0 && errno == ECONNRESET && !reset) {
                        reset = true; /* reported once, ahead of the packets that are still queued */
                        continue;
                }
                if (n < 0 && errno != ECONNRESET)
                        return ctl_link_fail(link, -errno, "cannot read from kvpagerd at %s: %s.", link->path,
                                             strerror(errno));
                if (n <= 0)
                        return link_fail_gone(link);

                unsigned n_fds = link_close_fds(&message);
                if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
                        return link_fail_garbage(link, wire_error_sentence(WIRE_E_TRUNCATED));
                enum wire_error_code error = wire_decode(link->buffer, (size_t)n, n_fds, WIRE_D2C, ret);
                return error == WIRE_E_NONE ? 0 : link_fail_garbage(link, wire_error_sentence(error));
        }
}

static int link_fail_refused(struct ctl_link *link, const struct wire_error *error)
{
        int status = error->status < 0 && error->status > -4096 ? error->status : -EPROTO;

        return ctl_link_fail(link, status, "kvpagerd at %s refused: %s.", link->path,
                             error->text[0] ? error->text : strerror(-status));
}

int ctl_link_next(struct ctl_link *link, enum wire_opcode reply, struct wire_view *ret_reply)
{
        struct wire_view view = { 0 };
        int r = link_receive(link, &view);

        if (r < 0)
                return r;
        if (view.header.opcode == WIRE_ERROR)
                return link_fail_refused(link, view.fixed);
        if (view.header.request != link->request || view.header.opcode != reply)
                return link_fail_garbage(link, "it answered something that was not asked");
        *ret_reply = view;
        return 0;
}

int ctl_link_call_items(struct ctl_link *link, enum wire_opcode opcode, const void *fixed, const void *items,
                        uint32_t n_items, enum wire_opcode reply, struct wire_view *ret_reply)
{
        int r;

        assert(link->fd >= 0);
        r = link_send(link, opcode, fixed, items, n_items);
        return r < 0 ? r : ctl_link_next(link, reply, ret_reply);
}

int ctl_link_call(struct ctl_link *link, enum wire_opcode opcode, const void *fixed, enum wire_opcode reply,
                  struct wire_view *ret_reply)
{
        return ctl_link_call_items(link, opcode, fixed, NULL, 0, reply, ret_reply);
}

int ctl_link_list(struct ctl_link *link, enum wire_opcode opcode, enum wire_opcode reply, struct ctl_list *ret_list)
{
        _cleanup_(ctl_list_done) struct ctl_list list = { 0 };
        struct wire_list ask = { 0 };
        struct wire_view view = { 0 };
        size_t capacity = 0;

        do {
                int r = ctl_link_call(link, opcode, &ask, reply, &view);
                if (r < 0)
                        return r;
                const struct wire_page_of_list *page = view.fixed;
                size_t size = view.info->item_size;

                if (page->next_cursor != 0 && page->next_cursor <= ask.cursor)
                        return link_fail_garbage(link, "a list of its does not get on");
                if (list.n + view.n_items > CTL_LIST_MAX)
                        return link_fail_garbage(link, "a list of its does not end");
                while (list.n + view.n_items > capacity) {
                        void *items = reallocarray(list.items, capacity ? capacity * 2 : 64, size);
                        if (!items)
                                return ctl_link_fail(link, -ENOMEM, "no memory for a list of %zu items.", list.n);
                        list.items = items;
                        capacity = capacity ? capacity * 2 : 64;
                }
                if (view.n_items > 0)
                        memcpy((char *)list.items + list.n * size, view.items, view.n_items * size);
                list.n += view.n_items;
                ask.cursor = page->next_cursor;
        } while (ask.cursor != 0);

        *ret_list = list;
        list = (struct ctl_list){ 0 };
        return 0;
}

static int link_greet(struct ctl_link *link, const struct sockaddr_un *address)
{
        const struct wire_hello hello = { .version = WIRE_VERSION, .role = WIRE_ROLE_ADMIN, .features = WIRE_FEATURES };
        struct wire_view view = { 0 };
        int r;

        link->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (link->fd < 0)
                return ctl_link_fail(link, -errno, "cannot make a socket: %s.", strerror(errno));
        r = link_connect(link, address);
        if (r < 0)
                return r;
        r = ctl_link_call(link, WIRE_HELLO, &hello, WIRE_WELCOME, &view);
        if (r < 0)
                return r;
        const struct wire_welcome *welcome = view.fixed;
        assert(welcome);
        if (welcome->version != WIRE_VERSION)
                return link_fail_garbage(link, "it welcomes in another version");
        return 0;
}

int ctl_link_open(struct ctl_link *link, const char *path, uint64_t timeout_usec)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int r;

        assert(link->fd < 0 && path);
        link->path = path;
        link->deadline_usec = ctl_now_usec() + timeout_usec;
        if (strlen(path) == 0)
                return ctl_link_fail(link, -EINVAL, "the path of the socket is empty.");
        if (strlen(path) >= sizeof(address.sun_path))
                return ctl_link_fail(link, -ENAMETOOLONG, "the path of the socket is longer than %zu bytes: %s.",
                                     sizeof(address.sun_path) - 1, path);
        memcpy(address.sun_path, path, strlen(path));

        r = link_greet(link, &address);
        /* A daemon that is being restarted takes leave of those whom it does not know yet, and the next one welcomes
         * them. */
        for (unsigned i = 0; i < AGAIN && (r == -ECONNRESET || r == -ENOTCONN); i++) {
                (void)nanosleep(&(struct timespec){ .tv_nsec = AGAIN_NSEC }, NULL);
                ctl_link_close(link);
                r = link_greet(link, &address);
        }
        return r;
}

void ctl_link_extend(struct ctl_link *link, uint64_t timeout_usec)
{
        link->deadline_usec = ctl_now_usec() + timeout_usec;
}

void ctl_link_close(struct ctl_link *link)
{
        if (link->fd >= 0)
                (void)close(link->fd);
        link->fd = -1;
}
