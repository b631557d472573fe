/* SPDX-License-Identifier: MIT
 *
 * test-lib-resume.c -- a daemon that ends, and another one that knows the worker: what the worker says to it, and what
 * callers notice of that.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache.h"
#include "conn.h"
#include "lib-box.h"

static const struct fake_options keeps = { .keeps = true };
static struct box box;

static void settle_resumed(uint64_t times)
{
        for (unsigned i = 0; fake_resumed(box.fake) < times; i++) {
                cr_assert_lt(i, 10000u, "it does not come back");
                (void)usleep(1000);
        }
}

Test(resume, keeps_what_is_mapped_and_goes_on)
{
        uint32_t seq, idle;

        box_open(&box, &keeps, NULL);
        seq = box_acquire(&box, 100);
        cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
        box_visit(&box, &box_fused, seq, 0, 100, true);
        idle = box_acquire(&box, 50);
        cr_assert_eq(box_step(&box, idle, 50, NULL), 0);
        cr_assert_eq(kvp_seq_release(box.cache, idle), 0);
        box_settle(&box);
        for (unsigned i = 1; i <= 5; i++) {
                fake_hang_up(box.fake);
                cr_assert_eq(box_step(&box, seq, 100 + 200 * i, NULL), 0);
                settle_resumed(i);
        }
        cr_assert(fake_row_is_held(box.fake, seq));
        cr_assert_not(fake_row_is_held(box.fake, idle));
        box_visit(&box, &box_fused, seq, 0, 100, false);
        box_settle(&box);
        cr_assert_eq(fake_pages(box.fake) * PAGE, box_stats(&box).live_bytes + box_stats(&box).idle_bytes);
        box_close(&box);
}

/* The n-th message from here on is the daemon's last. */
static _Atomic int left;

static enum fake_verdict last_message(struct fake *fake, const struct wire_view *message, void *userdata)
{
        (void)fake;
        (void)message;
        (void)userdata;
        return atomic_fetch_sub(&left, 1) == 1 ? FAKE_HANG_UP : FAKE_HANDLE;
}

Test(resume, goes_on_whichever_message_was_the_last)
{
        box_open(&box, &keeps, NULL);
        fake_set_hook(box.fake, last_message, NULL);
        for (int n = 1; n <= 24; n++) {
                struct kvp_cache *second;
                uint32_t a, b;

                atomic_store(&left, n);
                a = box_acquire(&box, 100);
                b = box_acquire(&box, 900);
                cr_assert_eq(box_step(&box, a, 100, NULL), 0);
                cr_assert_eq(box_step(&box, b, 900, NULL), 0);
                box_visit(&box, &box_fused, b, 880, 900, true);
                cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &second), 0);
                cr_assert_eq(box_step(&box, a, 1500, NULL), 0);
                cr_assert_eq(kvp_seq_trim(box.cache, a, 10), 0);
                fake_revoke(box.fake, 1000u + (uint32_t)n, WIRE_REVOKE_SLACK, 20);
                cr_assert_eq(kvp_seq_release(box.cache, a), 0);
                box_visit(&box, &box_fused, b, 880, 900, false);
                kvp_cache_destroy(second);
                cr_assert_eq(kvp_seq_release(box.cache, b), 0);
                box_settle(&box);
                cr_assert_eq(fake_pages(box.fake) * PAGE, box_stats(&box).live_bytes + box_stats(&box).idle_bytes,
                             "after %d", n);
                cr_assert_null(fake_violation(box.fake), "after %d: %s", n, fake_violation(box.fake));
        }
        cr_assert_geq(fake_resumed(box.fake), 8u);
        fake_set_hook(box.fake, NULL, NULL);
        box_close(&box);
}

Test(resume, waits_no_longer_than_the_timeout_and_steps_within_marks_not_at_all)
{
        struct kvp_seq_step step;
        uint64_t ready;
        uint32_t seq;

        box_open(&box, &keeps, NULL);
        seq = box_acquire(&box, 100);
        cr_assert_eq(box_step(&box, seq, 100, &ready), 0);
        box_settle(&box);
        fake_pause(box.fake, true); /* whoever comes is not heard */
        fake_hang_up(box.fake);
        for (unsigned i = 0; i < 100; i++) {
                step = (struct kvp_seq_step){ .seq = seq, .tokens = 100 };
                cr_assert_eq(kvp_step(box.cache, &step, 1, 10 * SECOND), 0);
        }
        step = (struct kvp_seq_step){ .seq = seq, .tokens = 4000 };
        cr_assert_eq(kvp_step(box.cache, &step, 1, 30000), -ETIMEDOUT);
        cr_assert_geq(step.ret_ready, 100u);
        step = (struct kvp_seq_step){ .seq = seq, .tokens = 4000 };
        cr_assert_eq(kvp_step(box.cache, &step, 1, 0), -ETIMEDOUT);
        fake_pause(box.fake, false);
        cr_assert_eq(box_step(&box, seq, 4000, NULL), 0);
        box_close(&box);
}

/* It is away, not gone. */
Test(resume, is_not_settled_while_it_is_waited_for)
{
        box_open(&box, &keeps, NULL);
        fake_pause(box.fake, true);
        fake_hang_up(box.fake);
        for (uint64_t timeout = 0; timeout < 30000; timeout += 10000)
                cr_assert_eq(kvp_cache_settle(box.cache, timeout), -ETIMEDOUT);
        fake_pause(box.fake, false);
        box_settle(&box);
        box_close(&box);
}

Test(resume, is_gone_where_it_is_not_known)
{
        struct kvp_seq_step step;
        struct kvp_cache *cache;
        uint32_t seq;

        box_open(&box, &keeps, NULL);
        seq = box_acquire(&box, 100);
        cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
        box_settle(&box);
        fake_forget(box.fake);
        fake_hang_up(box.fake);
        step = (struct kvp_seq_step){ .seq = seq, .tokens = 4000 };
        cr_assert_eq(kvp_step(box.cache, &step, 1, 10 * SECOND), -ENOTCONN);
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &cache), -ENOTCONN);
        box_visit(&box, &box_fused, seq, 0, 100, true);
        kvp_cache_destroy(box.cache);
        kvp_disconnect(box.conn);
        fake_stop(box.fake);
}

static enum fake_verdict hang_up_at_the_end(struct fake *fake, const struct wire_view *message, void *userdata)
{
        (void)fake;
        (void)userdata;
        return message->header.opcode == WIRE_CACHE_DESTROY ? FAKE_HANG_UP : FAKE_HANDLE;
}

/* Who disconnects has ended the mapper, and so would wait for each of its caches in vain. */
Test(resume, is_not_waited_for_by_who_disconnects, .timeout = 60)
{
        struct kvp_cache *others[3];
        uint32_t seq;

        box_open(&box, &keeps, NULL);
        for (unsigned i = 0; i < 3; i++)
                cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &others[i]), 0);
        seq = box_acquire(&box, 100);
        cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
        box_settle(&box);
        box.conn->patience_usec = 3600 * SECOND;
        fake_set_hook(box.fake, hang_up_at_the_end, NULL);
        kvp_disconnect(box.conn);
        cr_assert_null(fake_violation(box.fake));
        fake_stop(box.fake);
}

/* A daemon may be away for longer than a call waits for it. */
Test(resume, is_tried_for_longer_than_a_call_waits, .timeout = 40)
{
        struct kvp_cache *cache;
        uint32_t seq;

        box_open(&box, &keeps, NULL);
        seq = box_acquire(&box, 100);
        cr_assert_eq(box_step(&box, seq, 100, NULL), 0);
        box_settle(&box);
        box.conn->patience_usec = 20000;
        fake_pause(box.fake, true);
        fake_hang_up(box.fake);
        for (unsigned i = 0; i < 10; i++)
                cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &cache), -ENOTCONN);
        box.conn->patience_usec = 10 * SECOND;
        fake_pause(box.fake, false);
        cr_assert_eq(box_step(&box, seq, 4000, NULL), 0);
        cr_assert_eq(fake_resumed(box.fake), 1);
        fake_pause(box.fake, true); /* nor does who disconnects wait for it */
        fake_hang_up(box.fake);
        kvp_disconnect(box.conn);
        cr_assert_null(fake_violation(box.fake));
        fake_stop(box.fake);
}

static _Atomic bool slow_shutdown;

/* A thread that is to shut the connection is not scheduled until the next one is up, or has had its time for that. */
int shutdown(int fd, int how)
{
        if (atomic_exchange(&slow_shutdown, false)) {
                fake_hang_up(box.fake);
                for (unsigned i = 0; i < 1000 && atomic_load(&box.conn->down); i++)
                        (void)usleep(1000);
        }
        return (int)syscall(SYS_shutdown, fd, how);
}

static enum fake_verdict no_answer(struct fake *fake, const struct wire_view *message, void *userdata)
{
        (void)fake;
        (void)userdata;
        return message->header.opcode == WIRE_DEVICE_GET ? FAKE_SWALLOW : FAKE_HANDLE;
}

/* A daemon that lives takes the memory of whoever hangs up. */
Test(resume, is_not_undone_by_who_gave_the_last_daemon_up)
{
        struct kvp_device_info info = { .size = sizeof(info) };

        box_open(&box, &keeps, NULL);
        fake_set_hook(box.fake, no_answer, NULL);
        box.conn->patience_usec = 50000;
        atomic_store(&slow_shutdown, true);
        cr_assert_eq(kvp_device_info(box.conn, 0, &info), -ENOTCONN);
        box.conn->patience_usec = CONN_PATIENCE_USEC;
        fake_set_hook(box.fake, NULL, NULL);
        cr_assert_eq(kvp_device_info(box.conn, 0, &info), 0);
        cr_assert_eq(fake_resumed(box.fake), 1);
        box_close(&box);
}

/* ---- many threads ---- */

static _Atomic bool done;

static void *steps(void *userdata)
{
        uint32_t row = (uint32_t)(uintptr_t)userdata;

        for (uint64_t tokens = 20; !atomic_load(&done); tokens = tokens >= 3000 ? 20 : tokens + 150) {
                struct kvp_seq_step step = { .tokens = tokens };
                int r;

                if (kvp_seq_acquire(box.cache, tokens, SECOND, &step.seq) < 0)
                        continue;
                r = kvp_step(box.cache, &step, 1, 10 * SECOND);
                if (r != 0)
                        return (void *)(intptr_t)r;
                (void)kvp_seq_trim(box.cache, step.seq, tokens / 2);
                if (kvp_seq_release(box.cache, step.seq) < 0)
                        return (void *)(intptr_t)-EIO;
        }
        return (void *)(intptr_t)(row - row);
}

Test(resume, is_nothing_that_threads_notice)
{
        pthread_t threads[4];

        box_open(&box, &keeps, NULL);
        for (uintptr_t i = 0; i < 4; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, steps, (void *)i), 0);
        for (uint64_t i = 1; i <= 40; i++) {
                fake_hang_up(box.fake);
                settle_resumed(i);
        }
        atomic_store(&done, true);
        for (unsigned i = 0; i < 4; i++) {
                void *status;

                (void)pthread_join(threads[i], &status);
                cr_assert_eq((intptr_t)status, 0, "%s", strerror((int)-(intptr_t)status));
        }
        box_settle(&box);
        cr_assert_eq(fake_pages(box.fake) * PAGE, box_stats(&box).live_bytes + box_stats(&box).idle_bytes);
        box_close(&box);
}

/* A process that was stopped for long finds the answer there, and its time over. */
Test(resume, an_answer_that_is_there_counts_however_late_it_is_read)
{
        static uint64_t out[WIRE_MAX_PACKET / sizeof(uint64_t)], in[WIRE_MAX_PACKET / sizeof(uint64_t)];
        const struct wire_welcome welcome = { .version = WIRE_VERSION, .worker = 7, .features = WIRE_FEATURES };
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { .align = {
                              .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) } };
        struct iovec vector = { .iov_base = out };
        const struct msghdr message = {
                .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        struct wire_welcome found;
        int fds[2], events = -1;

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        cr_assert_eq(conn_welcome(fds[0], in, 1, &found, &events), -ETIMEDOUT);
        memcpy(CMSG_DATA(&control.align), &fds[1], sizeof(int));
        vector.iov_len = wire_encode(out, sizeof(out), WIRE_WELCOME, 1, 0, &welcome, NULL, 0);
        cr_assert_gt(sendmsg(fds[1], &message, 0), 0);
        cr_assert_eq(conn_welcome(fds[0], in, 1, &found, &events), 0);
        cr_expect_eq(found.worker, 7);
        (void)close(events);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

static int refusing_fence(struct kvp_cache *cache, void *userdata)
{
        (void)cache;
        fake_hang_up(userdata); /* while somebody computes with it */
        return -EBUSY;
}

static int refusing_unmap(struct mem_device *device, void *address, size_t size)
{
        (void)device;
        (void)address;
        (void)size;
        fake_hang_up(box.fake);
        return -ENOMEM;
}

/* What a fence or the driver does not let go of stays the daemon's, and mapped, over any number of daemons. */
static void keeps_what_is_not_let_go(void)
{
        struct kvp_cache *other;
        uint64_t pages;

        cr_assert_eq(box_step(&box, box_acquire(&box, 0), 1000, NULL), 0);
        box_settle(&box);
        pages = fake_pages(box.fake);
        cr_assert_eq(kvp_cache_create(box.conn, &box_fused, &other), 0);
        kvp_cache_destroy(box.cache);
        for (int i = 0; i < 2; i++) {
                cr_assert_eq(kvp_cache_settle(other, 10 * SECOND), 0);
                cr_assert_eq(fake_pages(box.fake), pages);
                fake_hang_up(box.fake);
        }
        kvp_cache_destroy(other);
        kvp_disconnect(box.conn);
        cr_assert_null(fake_violation(box.fake), "%s", fake_violation(box.fake));
        fake_stop(box.fake);
}

Test(resume, tells_of_what_a_fence_kept_of_a_destroyed_cache)
{
        box_open(&box, &keeps, NULL);
        cr_assert_eq(kvp_cache_set_fence(box.cache, refusing_fence, box.fake), 0);
        keeps_what_is_not_let_go();
}

Test(resume, tells_of_what_the_driver_kept_of_a_destroyed_cache)
{
        struct mem_backend stubborn = mem_host;

        stubborn.whole = true;
        stubborn.unmap = refusing_unmap;
        box_open(&box, &keeps, NULL);
        box.cache->mem = &stubborn;
        keeps_what_is_not_let_go();
}
