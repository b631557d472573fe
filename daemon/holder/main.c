/* SPDX-License-Identifier: MIT
 *
 * main.c -- kvpager-holder: keeps descriptors for kvpagerd while that is not there. See held.h, and kvpager-holder(8).
 *
 * It serves one daemon at a time, and takes the next one only when everything that the one before had sent is read: so
 * who asks what is held hears of all that a daemon that was killed had put there. It is small so that it never has to
 * be restarted itself: should it end all the same, a daemon that runs gives its successor everything anew.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "held.h"
#include "owner.h"

#define SOCKET_PATH  "/run/kvpager-holder/holder.sock"
#define PATIENCE_SEC 10 /* for a daemon that asks and does not read */
#define EXIT_USAGE   2

static const char help[] =
        "Usage: kvpager-holder [--socket PATH]\n"
        "\n"
        "Keeps the memory of kvpagerd while that restarts. Started by systemd, or by hand before the daemon.\n"
        "\n"
        "  --socket PATH  where to listen (default: " SOCKET_PATH "); systemd's socket comes first\n"
        "  --help         this text\n"
        "  --version      the version\n"
        "\n"
        "See kvpager-holder(8).\n";

struct slot {
        struct held_item item;
        int fd; /* -1: empty */
};

struct holder {
        struct slot *slots; /* by the low half of their ids */
        uint32_t n_slots;
        struct slot state;
};

static struct slot *slot_find(struct holder *holder, uint64_t id)
{
        const uint32_t index = (uint32_t)id;
        uint32_t n = holder->n_slots > 0 ? holder->n_slots : 1024;
        struct slot *slots;

        if (id == HELD_STATE)
                return &holder->state;
        if (index < holder->n_slots)
                return &holder->slots[index];
        if (index >= HELD_SLOTS)
                return NULL;
        while (n <= index)
                n *= 2;
        slots = realloc(holder->slots, n * sizeof(*slots));
        if (!slots)
                return NULL;
        for (uint32_t i = holder->n_slots; i < n; i++)
                slots[i] = (struct slot){ .fd = -1 };
        holder->slots = slots;
        holder->n_slots = n;
        return &slots[index];
}

static void holder_clear(struct holder *holder)
{
        for (uint32_t i = 0; i < holder->n_slots; i++)
                holder->slots[i].fd = fd_close(holder->slots[i].fd);
        holder->state.fd = fd_close(holder->state.fd);
}

/* Says what is held. */
static int holder_list(const struct holder *holder, int socket)
{
        struct held_item items[HELD_MAX];
        int fds[HELD_MAX], r = 0;
        unsigned n = 0;

        if (holder->state.fd >= 0) {
                items[n] = holder->state.item;
                fds[n++] = holder->state.fd;
        }
        for (uint32_t i = 0; i < holder->n_slots && r == 0; i++) {
                if (holder->slots[i].fd < 0)
                        continue;
                items[n] = holder->slots[i].item;
                fds[n++] = holder->slots[i].fd;
                if (n == HELD_MAX) {
                        r = held_send(socket, HELD_ITEMS, items, n, fds);
                        n = 0;
                }
        }
        if (r == 0 && n > 0)
                r = held_send(socket, HELD_ITEMS, items, n, fds);
        return r == 0 ? held_send(socket, HELD_END, NULL, 0, NULL) : r;
}

static int holder_put(struct holder *holder, const struct held_packet *packet, const int *fds)
{
        int r = 0;

        for (unsigned i = 0; i < packet->n; i++) {
                struct slot *slot = slot_find(holder, packet->items[i].id);

                if (!slot) {
                        fd_close(fds[i]);
                        r = -ENOMEM;
                        continue;
                }
                fd_close(slot->fd);
                *slot = (struct slot){ packet->items[i], fds[i] };
        }
        return r;
}

static void holder_drop(struct holder *holder, const struct held_packet *packet)
{
        for (unsigned i = 0; i < packet->n; i++) {
                struct slot *slot = slot_find(holder, packet->items[i].id);

                if (slot && slot->fd >= 0 && slot->item.id == packet->items[i].id)
                        slot->fd = fd_close(slot->fd);
        }
}

/* Until it hangs up; a negative errno says why we do. */
static int holder_serve(struct holder *holder, int socket)
{
        struct held_packet packet;
        int fds[HELD_MAX], r;
        unsigned n;

        while ((r = held_receive(socket, 0, &packet, fds, &n)) > 0) {
                switch ((enum held_op)packet.op) {
                case HELD_PUT:
                        r = holder_put(holder, &packet, fds);
                        break;
                case HELD_DROP:
                        holder_drop(holder, &packet);
                        break;
                case HELD_RELEASE:
                        holder_drop(holder, &packet);
                        r = held_send(socket, HELD_RELEASED, packet.items, packet.n, NULL);
                        break;
                case HELD_CLEAR:
                        holder_clear(holder);
                        break;
                case HELD_LIST:
                        r = holder_list(holder, socket);
                        break;
                case HELD_ITEMS:
                case HELD_END:
                case HELD_RELEASED:
                        r = -EBADMSG;
                        break;
                }
                if (r < 0 && r != -EPIPE && r != -ECONNRESET) /* who is gone hears nothing, but what it sent counts */
                        return r;
        }
        return r;
}

/* Only our own user's daemon, or root's. */
static bool is_trusted(int socket)
{
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 &&
               (credentials.uid == geteuid() || credentials.uid == 0);
}

static int holder_run(struct holder *holder, int listener)
{
        /* While there is nobody to be answered there is no limit; only an answer is bounded. */
        const struct timeval patience = { .tv_sec = PATIENCE_SEC };

        for (;;) {
                int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC), r;

                if (socket < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
                        (void)sleep(1);
                else if (socket < 0 && errno != EINTR && errno != ECONNABORTED)
                        return -errno;
                if (socket < 0)
                        continue;
                if (!is_trusted(socket)) {
                        (void)fputs("kvpager-holder: a connection of another user was refused\n", stderr);
                        fd_close(socket);
                        continue;
                }
                (void)setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
                r = holder_serve(holder, socket);
                if (r < 0)
                        (void)fprintf(stderr, "kvpager-holder: the daemon is disconnected: %s\n", strerror(-r));
                fd_close(socket);
        }
}

/* Takes away a socket that nobody listens at any more; leaves anything else. */
static int remove_stale(const struct sockaddr_un *address)
{
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct stat st;

        if (fd < 0)
                return -errno;
        if (lstat(address->sun_path, &st) < 0) /* where there is something all the same, bind() finds it */
                return 0;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN ||
            errno == EPROTOTYPE)
                return -EADDRINUSE;
        if (errno != ECONNREFUSED && errno != ENOENT)
                return -errno;
        (void)unlink(address->sun_path);
        return 0;
}

/* The last folder of the path, as the daemon makes it. Where it cannot be made, bind() says why. */
static void make_folder(const char *path)
{
        char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
        char *slash;

        (void)snprintf(folder, sizeof(folder), "%s", path);
        slash = strrchr(folder, '/');
        if (slash && slash != folder) {
                *slash = '\0';
                (void)mkdir(folder, 0755);
        }
}

static int open_listener(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_fd_ int fd = -1;
        int r;

        if (sd_listen_fds(1) > 0)
                return SD_LISTEN_FDS_START;
        if (!*path)
                return -EINVAL;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));
        make_folder(path);
        r = remove_stale(&address);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        (void)umask(0177);
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static void raise_nofile(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

int main(int argc, char *argv[])
{
        static const struct option options[] = {
                { "socket", required_argument, NULL, 's' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { NULL, 0, NULL, 0 },
        };
        struct holder holder = { .state.fd = -1 };
        const char *path = SOCKET_PATH;
        int option, listener;

        while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (option) {
                case 's':
                        path = optarg;
                        break;
                case 'h':
                        (void)fputs(help, stdout);
                        return EXIT_SUCCESS;
                case 'v':
                        (void)puts("kvpager-holder " KVPAGER_VERSION);
                        return EXIT_SUCCESS;
                default:
                        (void)fputs("Try 'kvpager-holder --help'.\n", stderr);
                        return EXIT_USAGE;
                }
        if (optind < argc) {
                (void)fprintf(stderr, "kvpager-holder: unexpected argument '%s'\n", argv[optind]);
                return EXIT_USAGE;
        }
        raise_nofile();
        listener = open_listener(path);
        if (listener < 0) {
                (void)fprintf(stderr, "kvpager-holder: %s: %s\n", path, strerror(-listener));
                return EXIT_FAILURE;
        }
        (void)sd_notify(0, "READY=1\nSTATUS=Holds what kvpagerd gives it");
        (void)fprintf(stderr, "kvpager-holder: cannot listen any more: %s\n", strerror(-holder_run(&holder, listener)));
        return EXIT_FAILURE;
}
