/* SPDX-License-Identifier: MIT
 *
 * test-shell-remains.c -- the sockets of connections that ended: what closing them would wait for, nobody waits for.
 *
 * What cannot be closed is a TCP socket that lingers over data that nobody reads.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "closer.h"
#include "daemon.h"
#include "listen.h"
#include "owner.h"

#define LINGER_SECONDS 3600
#define STOP_USEC      UINT64_C(20000)

static struct daemon *d;

static void setup(void)
{
        d = calloc(1, sizeof(*d));
        cr_assert_not_null(d);
        d->max_peers = 4;
        cr_assert_geq(sd_event_new(&d->event), 0);
        cr_assert_eq(remains_open(d, 32), 0);
        cr_assert_eq(d->remains.max, 3);
}

static void teardown(void)
{
        remains_close(d);
        sd_event_unref(d->event);
        free(d);
}

TestSuite(remains, .init = setup, .fini = teardown, .timeout = 60);

/* close() of the last descriptor sleeps until the other end, which comes back in `ret_other`, is closed. */
static int make_sticky(int *ret_other)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        const struct linger linger = { .l_onoff = 1, .l_linger = LINGER_SECONDS };
        int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), flags;
        static char data[65536];
        socklen_t size = sizeof(address);

        cr_assert_eq(bind(listening, (struct sockaddr *)&address, size), 0);
        cr_assert_eq(listen(listening, 1), 0);
        cr_assert_eq(getsockname(listening, (struct sockaddr *)&address, &size), 0);
        cr_assert_eq(connect(fd, (struct sockaddr *)&address, size), 0);
        cr_assert((*ret_other = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0);
        close(listening);
        cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
                ;
        flags = fcntl(fd, F_GETFL);
        cr_assert_eq(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
        return fd;
}

static void make_pair(int ret[2])
{
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret), 0);
}

/* A packet of `size` bytes with `fd`, unless that is -1. */
static int send_packet(int socket, size_t size, int fd)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        char bytes[8] = { 0 };
        struct iovec iov = { .iov_base = bytes, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fd >= 0) {
                message.msg_control = &control;
                message.msg_controllen = sizeof(control);
                control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                                  .cmsg_type = SCM_RIGHTS,
                                                  .cmsg_len = CMSG_LEN(sizeof(int)) };
                memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
        }
        return sendmsg(socket, &message, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void wait_for(struct closer *closer, uint32_t n)
{
        while (closer_waiting(closer) != n)
                usleep(1000);
}

Test(remains, the_closer_is_waited_for_by_nobody)
{
        struct closer *closer;
        int others[2], first, second;

        cr_assert_eq(closer_new(2, &closer), 0);
        cr_expect_eq(closer_waiting(closer), 0);
        first = make_sticky(&others[0]);
        second = make_sticky(&others[1]);
        cr_expect(closer_take(closer, first));
        cr_expect(closer_take(closer, second));
        cr_expect_not(closer_take(closer, others[0]), "there are as many as there may be");
        cr_expect_eq(closer_waiting(closer), 2);
        close(others[0]);
        wait_for(closer, 1);
        close(others[1]);
        wait_for(closer, 0);
        cr_expect(closer_take(closer, dup(2)), "and there is place again");
        closer_free(closer, UINT64_C(10000000));
        closer_free(NULL, 0);
}

Test(remains, the_end_does_not_wait_for_it_either)
{
        struct closer *closer;
        int other, fd;

        cr_assert_eq(closer_new(1, &closer), 0);
        fd = make_sticky(&other);
        cr_expect(closer_take(closer, fd));
        closer_free(closer, STOP_USEC);
        close(other);
}

Test(remains, what_carries_nothing_is_closed_at_once)
{
        int pair[2];

        for (unsigned packets = 0; packets < 4; packets++) {
                make_pair(pair);
                cr_expect(remains_may_carry(pair[0]));
                for (unsigned i = 0; i < packets; i++)
                        cr_assert_eq(send_packet(pair[1], i == 1 ? 0 : 8, -1), 0);
                cr_expect_not(remains_carries(pair[0]));
                if (packets == 3)
                        close(pair[1]);
                remains_take(d, pair[0], true);
                cr_expect_not(is_open(pair[0]));
                cr_expect_not(d->remains.any_closing);
                if (packets < 3)
                        close(pair[1]);
        }
}

Test(remains, what_carries_descriptors_is_closed_by_the_closer)
{
        /* Where the packet with a descriptor stands, among empty ones or others. */
        static const struct {
                unsigned before;
                size_t size;
        } cases[] = { { 0, 8 }, { 0, 0 }, { 1, 8 }, { 1, 0 }, { 5, 0 }, { 40, 8 } };

        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int pair[2], other, fd = make_sticky(&other);
                char byte;

                make_pair(pair);
                for (unsigned k = 0; k < cases[i].before; k++)
                        cr_assert_eq(send_packet(pair[1], cases[i].size, -1), 0);
                cr_assert_eq(send_packet(pair[1], cases[i].size, fd), 0);
                close(fd);
                cr_expect_eq(remains_carries(pair[0]), cases[i].before == 0);
                remains_take(d, pair[0], true); /* would wait here */
                cr_expect(d->remains.any_closing && closer_waiting(d->remains.closer) == 1, "case %u", i);
                cr_expect_leq(recv(pair[1], &byte, 1, 0), 0, "its peer knows of the end at once");
                cr_expect_eq(send_packet(pair[1], 1, -1), -EPIPE, "and sends nothing more");
                cr_expect_not(remains_are_many(d));
                close(other);
                wait_for(d->remains.closer, 0);
                cr_expect_not(remains_are_many(d));
                cr_expect_not(d->remains.any_closing);
                close(pair[1]);
        }
}

Test(remains, there_is_a_bound)
{
        int pairs[7][2], others[7];

        for (unsigned i = 0; i < 7; i++) { /* all peers as well, beyond the bound */
                int fd = make_sticky(&others[i]);

                make_pair(pairs[i]);
                cr_assert_eq(send_packet(pairs[i][1], 1, fd), 0);
                close(fd);
        }
        for (unsigned i = 0; i < 7; i++) {
                cr_expect_eq(remains_are_many(d), i >= 3, "%u", i);
                remains_take(d, pairs[i][0], true);
        }
        for (unsigned i = 0; i < 7; i++)
                close(others[i]);
        wait_for(d->remains.closer, 0);
        cr_expect_not(remains_are_many(d));
}

Test(remains, a_listener_lets_none_in)
{
        char path[64], error[256];
        struct listener listener;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), served;

        snprintf(path, sizeof(path), "/tmp/kvp-remains-%d", (int)getpid());
        setenv("KVPAGER_SOCKET", path, 1);
        cr_assert_eq(listen_open(&listener, 0600, (gid_t)-1, error, sizeof(error)), 0, "%s", error);
        strcpy(address.sun_path, path);
        cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
        served = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
        cr_assert(served >= 0);
        /* Before Linux 6.16 it cannot say so, and looks at each packet. */
        cr_expect_eq(send_packet(client, 1, 2), remains_may_carry(served) ? 0 : -EPERM);
        cr_expect_eq(send_packet(client, 1, -1), 0, "which is all that is kept out");
        listen_close(&listener);
        close(client);
        close(served);
}

/* A peer that is about to be buried; its other end in `ret_theirs`. */
static struct peer make_peer(uid_t uid, uint32_t tenant, bool may_carry, int *ret_theirs)
{
        struct peer peer = { .daemon = d, .state = PEER_WORKER, .uid = uid, .tenant_index = tenant };
        int pair[2];

        make_pair(pair);
        peer.fd = pair[0];
        peer.may_carry = may_carry;
        *ret_theirs = pair[1];
        return peer;
}

Test(remains, who_sent_some_is_told_why_it_ends)
{
        int theirs, other;
        char bytes[8];

        for (unsigned reads = 0; reads < 2; reads++) {
                struct peer peer = make_peer(1, 1, true, &theirs);
                int fd = make_sticky(&other);

                cr_assert_eq(send_packet(theirs, 1, fd), 0);
                close(fd);
                cr_assert_eq(send_packet(peer.fd, 8, -1), 0);
                remains_take_of(&peer);
                remains_look(d);
                cr_expect_eq(closer_waiting(d->remains.closer), 0, "it has not read that");
                cr_expect_eq(d->remains.n_carrying, 1);
                if (reads)
                        cr_expect_eq(recv(theirs, bytes, 8, 0), 8);
                else /* nor is it waited for longer than that takes */
                        d->remains.v[0].since_usec -= UINT64_C(1000000);
                remains_look(d);
                cr_expect_eq(closer_waiting(d->remains.closer), 1);
                cr_expect(d->remains.n == 0 && d->remains.n_carrying == 0);
                close(other);
                wait_for(d->remains.closer, 0);
                close(theirs);
        }
}

/* A peer ends that was sent `n` descriptors in as many packets, and has not read them. */
static int end_unread(uid_t uid, uint32_t tenant, unsigned n)
{
        int theirs;
        struct peer peer = make_peer(uid, tenant, false, &theirs);

        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(send_packet(peer.fd, 8, 2), 0);
        peer.outbox.n_fds_sent = n;
        remains_take_of(&peer);
        return theirs;
}

static int no_extents(void *userdata, uint64_t extent)
{
        (void)userdata;
        (void)extent;
        return -1;
}

static bool is_refused(uid_t uid, uint32_t tenant)
{
        int theirs;
        struct peer peer = make_peer(uid, tenant, false, &theirs);
        bool refused;

        d->epoll = -1;
        peer.state = PEER_GREETING;
        outbox_init(&peer.outbox, peer.fd, no_extents, NULL);
        refused = remains_refuse(&peer, tenant);
        cr_expect_eq(refused, peer.ended);
        d->ended = NULL;
        if (refused)
                cr_expect_not_null(strstr(peer.why, "have not read"), "%s", peer.why);
        close(peer.fd);
        close(theirs);
        return refused;
}

Test(remains, descriptors_that_are_not_read_are_charged)
{
        int theirs[3];
        char bytes[8];

        cr_assert_eq(d->remains.max_fds, 8);
        cr_expect_not(is_refused(1, 1));
        theirs[0] = end_unread(1, 1, 7);
        cr_expect_eq(d->remains.n, 1);
        cr_expect_not(is_refused(1, 1));
        theirs[1] = end_unread(1, 2, 1);
        cr_expect(is_refused(1, 3), "eight of its user, of whatever tenant");
        cr_expect_not(is_refused(2, 1), "and another's are its own");

        /* Twice as many of a tenant, whoever had them. */
        theirs[2] = end_unread(2, 1, 9);
        cr_expect(is_refused(3, 1));
        cr_expect_not(is_refused(3, REMAINS_NO_TENANT));
        cr_expect_not(is_refused(3, 2));
        close(theirs[2]);
        cr_expect_not(is_refused(3, 1), "what was closed does not count");

        cr_expect_eq(recv(theirs[1], bytes, 8, MSG_DONTWAIT), 8);
        cr_expect_not(is_refused(1, 3), "nor what was read");
        cr_expect_eq(d->remains.n, 1);
        close(theirs[0]);
        remains_look(d);
        cr_expect_eq(d->remains.n, 0);
        close(theirs[1]);
}

Test(remains, what_was_read_is_closed_at_once)
{
        int theirs;
        struct peer peer = make_peer(1, 1, false, &theirs);
        char bytes[8];

        peer.outbox.n_fds_sent = 100;
        cr_assert_eq(send_packet(peer.fd, 8, 2), 0);
        cr_assert_eq(recv(theirs, bytes, 8, MSG_DONTWAIT), 8);
        remains_take_of(&peer);
        cr_expect_not(is_open(peer.fd));
        cr_expect_eq(d->remains.n, 0);
        close(theirs);

        peer = make_peer(1, 1, false, &theirs); /* an error, unread, of who was sent none */
        cr_assert_eq(send_packet(peer.fd, 8, -1), 0);
        remains_take_of(&peer);
        cr_expect_not(is_open(peer.fd));
        cr_expect_eq(d->remains.n, 0);
        close(theirs);
}

Test(remains, the_oldest_makes_room)
{
        int theirs[4];

        for (unsigned i = 0; i < 4; i++) {
                theirs[i] = end_unread(10 + i, i, 8);
                cr_assert_leq(d->remains.n, d->remains.max);
                for (uint32_t k = 0; k < d->remains.n; k++)
                        d->remains.v[k].since_usec -= 1000;
        }
        cr_expect_eq(d->remains.n, 3);
        for (unsigned i = 0; i < 4; i++)
                cr_expect_eq(is_refused(10 + i, REMAINS_NO_TENANT), i > 0, "%u", i);
        for (unsigned i = 0; i < 4; i++)
                close(theirs[i]);
}

/* Its timer could not be made, and its socket stays open for longer than it: the loop hears of it no more. */
Test(remains, who_could_not_be_taken_is_not_waited_for)
{
        struct config config = { .by_cgroup = false };
        struct peer *peer = NULL, *peers[1] = { NULL };
        struct epoll_event event;
        int pair[2], stays;

        make_pair(pair);
        cr_assert((stays = fcntl(pair[0], F_DUPFD_CLOEXEC, 0)) >= 0);
        d->config = &config;
        d->peers = peers;
        cr_assert((d->epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0);
        cr_assert_geq(sd_event_exit(d->event, 0), 0);
        cr_assert_geq(sd_event_loop(d->event), 0); /* over: it takes no more timers */
        cr_assert_lt(peer_new(d, 0, pair[0], &peer), 0);
        cr_expect_null(peers[0]);
        close(pair[1]);
        cr_expect_eq(epoll_wait(d->epoll, &event, 1, 0), 0);
        close(d->epoll);
        close(stays);
}
