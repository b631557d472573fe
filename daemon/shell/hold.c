/* SPDX-License-Identifier: MIT
 *
 * hold.c -- see hold.h.
 */
#include "hold.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "owner.h"

static int set_patience(int fd, int option, unsigned msec)
{
        const struct timeval patience = { .tv_sec = msec / 1000, .tv_usec = (suseconds_t)(msec % 1000) * 1000 };

        return setsockopt(fd, SOL_SOCKET, option, &patience, sizeof(patience)) < 0 ? -errno : 0;
}

/* What it hands over is taken for our own: only our own user's holder, or root's, is asked; anybody could listen there.
 */
static bool is_trusted(int fd)
{
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 &&
               (credentials.uid == geteuid() || credentials.uid == 0);
}

int hold_connect(struct hold *hold, const char *path, unsigned patience_msec)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_fd_ int fd = -1;
        int r;

        assert(hold && hold->fd < 0 && path);

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        r = set_patience(fd, SO_SNDTIMEO, patience_msec);
        if (r == 0)
                r = set_patience(fd, SO_RCVTIMEO, HOLD_LIST_MSEC);
        if (r < 0)
                return r;
        while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                if (errno != EINTR)
                        return -errno;
        if (!is_trusted(fd))
                return -EPERM;
        r = set_patience(fd, SO_SNDTIMEO, HOLD_PATIENCE_MSEC);
        if (r < 0)
                return r;
        *hold = (struct hold){ .fd = TAKE_FD(fd) };
        return 0;
}

void hold_close(struct hold *hold)
{
        hold->fd = fd_close(hold->fd);
        hold->failed = hold->silent = false;
        hold->n_puts = hold->n_drops = hold->n_releases = 0;
}

int hold_list(struct hold *hold, hold_found_fn *found, void *userdata)
{
        struct held_packet packet;
        int fds[HELD_MAX], r, result = 0;
        unsigned n;

        assert(hold->fd >= 0 && found);

        r = held_send(hold->fd, HELD_LIST, NULL, 0, NULL);
        while (r == 0) {
                r = held_receive(hold->fd, 0, &packet, fds, &n);
                if (r == 0)
                        return -ECONNRESET;
                if (r < 0)
                        return r == -EAGAIN ? -ETIMEDOUT : r;
                if (packet.op == HELD_END)
                        return result;
                r = packet.op == HELD_ITEMS ? 0 : -EBADMSG;
                for (unsigned i = 0; i < n; i++) {
                        int failed = found(userdata, &packet.items[i], fds[i]);

                        if (failed < 0)
                                result = failed;
                }
        }
        return r;
}

static void hold_send(struct hold *hold, enum held_op op, const struct held_item *items, unsigned n, const int *fds)
{
        int r;

        if (!hold_is_up(hold))
                return;
        r = held_send(hold->fd, op, items, n, fds);
        if (r == 0)
                return;
        log_error_of(holder_lost,
                     "the holder is given up: %s; until another one is found, a restart would lose the workers' memory",
                     strerror(-r));
        hold->failed = true;
}

void hold_flush(struct hold *hold)
{
        if (hold->n_puts > 0)
                hold_send(hold, HELD_PUT, hold->puts, hold->n_puts, hold->fds);
        if (hold->n_drops > 0)
                hold_send(hold, HELD_DROP, hold->drops, hold->n_drops, NULL);
        if (hold->n_releases > 0)
                hold_send(hold, HELD_RELEASE, hold->releases, hold->n_releases, NULL);
        hold->n_puts = hold->n_drops = hold->n_releases = 0;
}

void hold_put(struct hold *hold, const struct held_item *item, int fd)
{
        if (!hold_is_up(hold))
                return;
        hold->puts[hold->n_puts] = *item;
        hold->fds[hold->n_puts++] = fd;
        if (hold->n_puts == HELD_MAX)
                hold_flush(hold);
}

void hold_drop(struct hold *hold, uint64_t id)
{
        if (!hold_is_up(hold))
                return;
        hold->drops[hold->n_drops++] = (struct held_item){ .id = id };
        if (hold->n_drops == HELD_MAX)
                hold_flush(hold);
}

void hold_clear(struct hold *hold)
{
        hold->n_puts = hold->n_drops = hold->n_releases = 0;
        hold_send(hold, HELD_CLEAR, NULL, 0, NULL);
}

void hold_release(struct hold *hold, uint64_t id, uint32_t device)
{
        if (!hold_is_up(hold))
                return;
        hold->releases[hold->n_releases++] = (struct held_item){ .id = id, .device = device };
        if (hold->n_releases == HELD_MAX)
                hold_flush(hold);
}

int hold_released(struct hold *hold, struct held_item ret[static HELD_MAX])
{
        struct held_packet packet;
        int fds[HELD_MAX], r;
        unsigned n;

        r = held_receive(hold->fd, MSG_DONTWAIT, &packet, fds, &n);
        if (r <= 0)
                return r == 0 ? -ECONNRESET : r == -EAGAIN ? 0 : r;
        for (unsigned i = 0; i < n; i++)
                fd_close(fds[i]);
        if (packet.op != HELD_RELEASED)
                return -EBADMSG;
        memcpy(ret, packet.items, packet.n * sizeof(packet.items[0]));
        return packet.n;
}
