/* SPDX-License-Identifier: MIT
 *
 * test-shell-outbox.c -- sending without waiting: order, bounds, fds looked up late, and nothing leaked.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "outbox.h"
#include "owner.h"
#include "wire.h"

static int sockets[2], extent_fds[8];
static struct outbox outbox;
static _Alignas(8) unsigned char packet[WIRE_MAX_PACKET], received[WIRE_MAX_PACKET];

static int find_fd(void *userdata, uint64_t extent)
{
        cr_assert_eq(userdata, &outbox);
        return extent < 8 ? extent_fds[extent] : -1;
}

static void setup(void)
{
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
        for (int i = 0; i < 8; i++)
                cr_assert((extent_fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0);
        outbox_init(&outbox, sockets[0], find_fd, &outbox);
}

TestSuite(outbox, .init = setup);

static unsigned count_fds(void)
{
        unsigned n = 0;
        DIR *dir = opendir("/proc/self/fd");

        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static size_t make(uint32_t number)
{
        struct wire_cache cache = { .cache = number };

        return wire_encode(packet, sizeof(packet), WIRE_CACHE, number, 0, &cache, NULL, 0);
}

static size_t make_grant(const uint64_t *extents, uint32_t n)
{
        struct wire_item_grant items[WIRE_MAX_FDS] = { 0 };

        for (uint32_t i = 0; i < n; i++)
                items[i].extent = extents[i];
        return wire_encode(packet, sizeof(packet), WIRE_GRANT, 0, 0, NULL, items, n);
}

/* Reads one packet and closes its fds; returns its request number, or -1: nothing there. */
static int64_t receive(unsigned *ret_fds)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
        } control;
        struct iovec iov = { .iov_base = received, .iov_len = sizeof(received) };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        struct wire_view view;
        unsigned n = 0;
        ssize_t size = recvmsg(sockets[1], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (size <= 0)
                return -1;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
                for (; n < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); n++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c) + n * sizeof(int), sizeof(fd));
                        close(fd);
                }
        cr_assert_eq(wire_decode(received, (size_t)size, n, WIRE_D2C, &view), WIRE_E_NONE);
        if (ret_fds)
                *ret_fds = n;
        return view.header.request;
}

/* Sends until a packet has to wait; returns how many were sent before it. */
static uint32_t fill(void)
{
        uint32_t n = 0;

        while (outbox_is_empty(&outbox)) {
                size_t size = make(n + 1);

                cr_assert_eq(outbox_send(&outbox, packet, size, -1), 0);
                n++;
        }
        return n;
}

Test(outbox, sends_at_once_where_it_can)
{
        size_t size = make(7);

        cr_assert_eq(outbox_send(&outbox, packet, size, -1), 0);
        cr_assert(outbox_is_empty(&outbox));
        cr_assert_eq(receive(NULL), 7);
        cr_assert_eq(outbox.n_sent, 1);
}

Test(outbox, keeps_the_order_over_a_full_socket)
{
        uint32_t n = fill(), next = 1;

        for (uint32_t i = 0; i < 10; i++) {
                size_t size = make(n + 1 + i);
                cr_assert_eq(outbox_send(&outbox, packet, size, -1), 0);
        }
        cr_assert_eq(receive(NULL), next++);
        while (!outbox_is_empty(&outbox)) {
                int64_t got = receive(NULL);

                if (got >= 0)
                        cr_assert_eq(got, next++);
                cr_assert_eq(outbox_flush(&outbox), 0);
        }
        for (int64_t got; (got = receive(NULL)) >= 0;)
                cr_assert_eq(got, next++);
        cr_assert_eq(next, n + 11);
        cr_assert_eq(outbox.bytes, 0);
        cr_assert_eq(outbox.n_sent, n + 10);
}

Test(outbox, is_bounded)
{
        uint32_t n = fill();
        size_t size = make(n), queued = outbox.bytes;
        int r;

        while ((r = outbox_send(&outbox, packet, size, -1)) == 0)
                queued += size;
        cr_assert_eq(r, -EOVERFLOW);
        cr_assert_eq(outbox.bytes, queued);
        cr_assert(queued <= OUTBOX_MAX_BYTES && queued + size > OUTBOX_MAX_BYTES);
        outbox_done(&outbox);
        cr_assert_eq(outbox.bytes, 0);
        outbox_done(&outbox);
}

Test(outbox, grants_carry_the_fds_of_their_extents)
{
        static const uint64_t extents[] = { 3, 1, 4 };
        unsigned fds = 0, before = count_fds();
        size_t size = make_grant(extents, 3);

        cr_assert_eq(outbox_send(&outbox, packet, size, -1), 0);
        cr_assert_eq(receive(&fds), 0);
        cr_assert_eq(fds, 3);
        cr_assert_eq(outbox.n_fds_sent, 3);
        cr_assert_eq(count_fds(), before, "the table's own fds are still open, and no other");
}

Test(outbox, an_extent_that_went_while_it_waited)
{
        static const uint64_t extents[] = { 2, 5 }, gone[] = { 2, 99 };
        size_t size = make_grant(gone, 2);

        cr_assert_eq(outbox_send(&outbox, packet, size, -1), -ESTALE);
        (void)fill();
        size = make_grant(extents, 2);
        cr_assert_eq(outbox_send(&outbox, packet, size, -1), 0);
        extent_fds[5] = fd_close(extent_fds[5]);
        while (receive(NULL) >= 0)
                ;
        cr_assert_eq(outbox_flush(&outbox), -ESTALE);
        outbox_done(&outbox);
}

Test(outbox, a_carried_fd_is_closed_whatever_happens)
{
        unsigned before = count_fds(), fds = 0;
        struct wire_welcome welcome = { .version = 1 };
        size_t size = wire_encode(packet, sizeof(packet), WIRE_WELCOME, 5, 0, &welcome, NULL, 0);

        cr_assert_eq(outbox_send(&outbox, packet, size, open("/dev/null", O_RDWR | O_CLOEXEC)), 0);
        cr_assert_eq(receive(&fds), 5);
        cr_assert_eq(fds, 1);
        cr_assert_eq(count_fds(), before, "sent");
        (void)fill();
        size = wire_encode(packet, sizeof(packet), WIRE_WELCOME, 5, 0, &welcome, NULL, 0);
        cr_assert_eq(outbox_send(&outbox, packet, size, open("/dev/null", O_RDWR | O_CLOEXEC)), 0);
        outbox_done(&outbox);
        cr_assert_eq(count_fds(), before, "dropped from the queue");
        close(sockets[1]);
        cr_assert_lt(outbox_send(&outbox, packet, size, open("/dev/null", O_RDWR | O_CLOEXEC)), 0);
        cr_assert_eq(count_fds(), before - 1, "failed");
}

Test(outbox, a_peer_that_hung_up_is_an_error_and_no_signal)
{
        size_t size = make(1);

        close(sockets[1]);
        cr_assert_eq(outbox_send(&outbox, packet, size, -1), -EPIPE);
        cr_assert(outbox_is_empty(&outbox));
}
