/* SPDX-License-Identifier: MIT
 *
 * test-dev-host.c -- the host backend: what it takes and refuses, what an extent is, and that a liar cannot keep its
 * memory.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dev.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

#define KIB 1024ull
#define MIB (1024ull * KIB)

static const struct dev_backend *const host = &dev_backend_host;
static char error[256];

static struct dev *open_host(const struct dev_options *options)
{
        struct dev *dev = NULL;

        error[0] = 0;
        cr_assert_eq(host->open(options, &dev, error, sizeof(error)), 0, "%s", error);
        return dev;
}

static unsigned count_fds(void)
{
        unsigned n = 0;
        DIR *dir = opendir("/proc/self/fd");

        cr_assert_not_null(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static uint64_t allocated(int fd)
{
        struct stat st;

        cr_assert_eq(fstat(fd, &st), 0);
        return (uint64_t)st.st_blocks * 512;
}

/* Runs `touch` on a mapping of `size` bytes in a child; returns the signal that ended it, or 0. */
static int child_touches(unsigned char *mapping, size_t offset)
{
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                signal(SIGBUS, SIG_DFL);
                signal(SIGSEGV, SIG_DFL);
                ((volatile unsigned char *)mapping)[offset] = 1;
                _exit(0);
        }
        cr_assert(pid > 0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) ? SIGBUS : 0;
}

Test(dev_host, defaults)
{
        struct dev_options options = { .name = "host" };
        struct dev *dev = open_host(&options);
        struct dev_info info;

        host->info(dev, &info);
        cr_expect_eq(info.page_size, 2 * MIB);
        cr_expect(info.capacity > 0 && info.capacity % info.page_size == 0);
        cr_expect_str_eq(info.backend, "host");
        cr_expect_str_eq(info.uuid, "");
        cr_expect_str_eq(info.warning, "");
        host->close(dev);
        host->close(NULL);
}

Test(dev_host, capacity_and_page_size)
{
        struct dev_options options = { .name = "host", .page_size = 64 * KIB, .capacity = 10 * MIB + 1 };
        struct dev *dev = open_host(&options);
        struct dev_info info;

        host->info(dev, &info);
        cr_expect_eq(info.capacity, 10 * MIB, "rounded down to whole pages");
        host->close(dev);

        options = (struct dev_options){ .name = "host", .capacity = 1ull << 50 };
        dev = open_host(&options);
        host->info(dev, &info);
        cr_expect_eq(info.capacity, 1ull << 50, "more than there is, is taken");
        cr_expect_not_null(strstr(info.warning, "more than the"), "with a warning: '%s'", info.warning);
        host->close(dev);

        options = (struct dev_options){ .name = "host", .capacity_percent = 50 };
        dev = open_host(&options);
        host->info(dev, &info);
        cr_expect(info.capacity <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2);
        cr_expect(info.capacity > (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 3);
        host->close(dev);
}

Test(dev_host, options_that_are_refused_with_a_sentence)
{
        static const struct {
                struct dev_options options;
                const char *says;
        } bad[] = {
                { { .page_size = 32 * KIB }, "power of two from 64K to 1G" },
                { { .page_size = 96 * KIB }, "power of two from 64K to 1G" },
                { { .page_size = 2048 * MIB }, "power of two from 64K to 1G" },
                { { .page_size = 2048 * MIB }, "page-size: a page of 2G:" },
                { { .capacity = MIB }, "capacity: 1M is less than one page of 2M" },
                { { .page_size = 64 * KIB, .capacity = 1ull << 60 },
                  "capacity: 1048576T in pages of 64K is more than" },
                { { .uuid = "GPU-1" }, "no uuid" },
                { { .page_size = 4 * MIB, .hugepages = true }, "hugepages: this kernel has no huge pages of 4M" },
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct dev *dev = NULL;

                cr_expect_lt(host->open(&bad[i].options, &dev, error, sizeof(error)), 0);
                cr_expect_null(dev);
                cr_expect_not_null(strstr(error, bad[i].says), "'%s' should say '%s'", error, bad[i].says);
        }
}

static void collect(void *userdata, const char *key, const char *sentence)
{
        cr_expect_neq(sentence[0], 0);
        strcat(strcat(userdata, key), " ");
}

/* What open() refuses for ever is known before, all of it at once, and what it takes is not complained of. */
Test(dev_host, options_are_checked_without_opening)
{
        static const struct {
                struct dev_options options;
                const char *keys;
        } cases[] = {
                { { .page_size = 0 }, "" },
                { { .page_size = 64 * KIB, .capacity = 64 * KIB }, "" },
                { { .page_size = 1024 * MIB, .capacity = 1ull << 50, .populate = true }, "" },
                { { .capacity_percent = 50 }, "" },
                { { .page_size = 5 * KIB, .capacity = 1 }, "page-size " },
                { { .page_size = 4 * MIB, .hugepages = true, .capacity = 64 * KIB, .uuid = "u" },
                  "uuid hugepages capacity " },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char found[256] = "";

                cr_expect_eq(host->check(&cases[i].options, collect, found), *cases[i].keys ? -EINVAL : 0);
                cr_expect_str_eq(found, cases[i].keys);
        }
        cr_expect_eq(dev_backend_find("host"), host);
        cr_expect_null(dev_backend_find("hos"));
        cr_expect_null(dev_backend_find(""));
}

/* Where huge pages are free they must work; where none are, the error must say what to do. */
Test(dev_host, hugepages)
{
        struct dev_options options = { .name = "host", .hugepages = true };
        struct dev_extent extent = { .fd = -1 };
        struct dev *dev = NULL;
        int r = host->open(&options, &dev, error, sizeof(error));

        if (r < 0) {
                cr_expect(strstr(error, "is free: reserve some") || strstr(error, "this kernel has no huge pages of"),
                          "%s", error);
                return;
        }
        cr_assert_eq(host->create(dev, 0, &extent), 0);
        cr_expect_eq(allocated(extent.fd), 2 * MIB, "allocated when it is made");
        cr_expect_eq(host->destroy(dev, &extent), 0);
        host->close(dev);
}

/* All huge pages are with the workers, and the memory may be somebody else's by now: that is no reason not to go on. */
Test(dev_host, goes_on_whatever_is_free)
{
        struct dev_options options = {
                .name = "host", .hugepages = true, .capacity = 8 * MIB, .capacity_before = 64 * MIB
        };
        struct dev_info info;
        struct dev *dev = NULL;

        cr_assert_eq(host->open(&options, &dev, error, sizeof(error)), 0, "%s", error);
        host->info(dev, &info);
        cr_expect_eq(info.capacity, 64 * MIB);
        cr_expect_eq(info.page_size, 2 * MIB);
        host->close(dev);
}

Test(dev_host, an_extent)
{
        struct dev_options options = { .name = "host", .page_size = 64 * KIB, .capacity = 64 * MIB };
        struct dev *dev = open_host(&options);
        unsigned before = count_fds();
        struct stat st;

        for (uint32_t order = 0; order <= 6; order += 2) {
                struct dev_extent extent = { .fd = -1 };
                unsigned char *mapping;
                size_t size = (64 * KIB) << order;

                cr_assert_eq(host->create(dev, order, &extent), 0);
                cr_expect_eq(extent.order, order);
                cr_assert_eq(fstat(extent.fd, &st), 0);
                cr_expect_eq((size_t)st.st_size, size);
                cr_expect_eq(allocated(extent.fd), 0, "nothing is used before it is touched");
                cr_expect_eq(fcntl(extent.fd, F_GET_SEALS) & ~F_SEAL_EXEC, F_SEAL_GROW | F_SEAL_SEAL);
                cr_expect(fcntl(extent.fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 && errno == EPERM);
                cr_expect_eq(fcntl(extent.fd, F_GETFD), FD_CLOEXEC);
                cr_expect(ftruncate(extent.fd, (off_t)size + 1) < 0 && errno == EPERM);
                mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, extent.fd, 0);
                cr_assert_neq(mapping, MAP_FAILED);
                for (size_t i = 0; i < size; i += 4096)
                        cr_assert_eq(mapping[i], 0);
                munmap(mapping, size);
                cr_expect_eq(host->destroy(dev, &extent), 0);
                cr_expect_eq(extent.fd, -1);
        }
        host->close(dev);
        cr_expect_eq(count_fds(), before, "no fd is left");
}

Test(dev_host, populate)
{
        struct dev_options options = { .name = "host", .page_size = 64 * KIB, .capacity = MIB, .populate = true };
        struct dev *dev = open_host(&options);
        struct dev_extent extent = { .fd = -1 };

        cr_assert_eq(host->create(dev, 2, &extent), 0);
        cr_expect_eq(allocated(extent.fd), 256 * KIB);
        cr_expect_eq(host->destroy(dev, &extent), 0);
        host->close(dev);
}

Test(dev_host, a_liar_loses_the_memory)
{
        struct dev_options options = { .name = "host", .page_size = 64 * KIB, .capacity = MIB };
        struct dev *dev = open_host(&options);
        struct dev_extent extent = { .fd = -1 };
        unsigned char *mapping;
        int kept;

        cr_assert_eq(host->create(dev, 2, &extent), 0);
        kept = dup(extent.fd);
        mapping = mmap(NULL, 256 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, kept, 0);
        cr_assert_neq(mapping, MAP_FAILED);
        memset(mapping, 0xa5, 256 * KIB);
        cr_assert_eq(allocated(kept), 256 * KIB);
        cr_assert_eq(child_touches(mapping, 4096), 0);

        cr_assert_eq(host->destroy(dev, &extent), 0);
        cr_expect_eq(allocated(kept), 0, "free although it is still mapped");
        cr_expect_eq(child_touches(mapping, 4096), SIGBUS);
        cr_expect(ftruncate(kept, 256 * KIB) < 0 && errno == EPERM, "and it cannot be grown again");
        close(kept);
        host->close(dev);
}

Test(dev_host, who_has_what_was_sealed_before_is_told_on)
{
        struct dev_options options = { .name = "host", .page_size = 64 * KIB, .capacity = MIB };
        struct dev *dev = open_host(&options);

        for (int write = 0; write < 2; write++) {
                struct dev_extent extent = { .fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING) };
                int kept;

                cr_assert_eq(ftruncate(extent.fd, 64 * KIB), 0);
                kept = dup(extent.fd);
                cr_assert_eq(pwrite(kept, "x", 1, 0), 1);
                cr_assert_eq(fcntl(kept, F_ADD_SEALS, F_SEAL_SHRINK | (write ? F_SEAL_WRITE : 0)), 0);
                cr_expect_eq(host->destroy(dev, &extent), DEV_TAMPERED);
                cr_expect_eq(extent.fd, -1);
                if (!write)
                        cr_expect_eq(allocated(kept), 0);
                close(kept);
        }
        host->close(dev);
}

struct end {
        struct dev *dev;
        struct dev_extent extents[3];
        int event_fd, r[3];
        unsigned n_open;
};

static void *end_apart(void *userdata)
{
        struct end *end = userdata;

        host->set_apart(end->dev, end->event_fd);
        for (int fd = 0; fd < 64; fd++)
                end->n_open += fcntl(fd, F_GETFD) >= 0;
        for (unsigned i = 0; i < 3; i++)
                end->r[i] = host->end(end->dev, &end->extents[i]);
        return NULL;
}

Test(dev_host, a_thread_that_ends_extents_keeps_nothing_open)
{
        struct dev_options options = { .name = "host", .page_size = 64 * KIB, .capacity = MIB };
        struct dev *dev = open_host(&options);
        struct end end = { .dev = dev, .event_fd = open("/dev/null", O_RDONLY | O_CLOEXEC) };
        pthread_t thread;
        unsigned before;

        if (geteuid() == 0)
                cr_assert_eq(setresuid(65534, 65534, 65534), 0); /* for whom a file's mode means something */
        for (unsigned i = 0; i < 3; i++) {
                if (i < 2)
                        cr_assert_eq(host->create(dev, 0, &end.extents[i]), 0);
                else
                        end.extents[i].fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
                cr_assert_eq(ftruncate(end.extents[i].fd, 64 * KIB), 0);
                cr_assert_eq(pwrite(end.extents[i].fd, "x", 1, 0), 1);
        }
        cr_assert_eq(fchmod(end.extents[1].fd, 0), 0);
        cr_assert_eq(fcntl(end.extents[2].fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        before = count_fds();
        cr_assert_eq(pthread_create(&thread, NULL, end_apart, &end), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_expect_eq(end.n_open, 1, "%u", end.n_open);
        cr_expect_eq(count_fds(), before);
        for (unsigned i = 0; i < 3; i++) {
                cr_expect_eq(end.r[i], i == 2 ? DEV_TAMPERED : 0, "%u: %d", i, end.r[i]);
                cr_expect_eq(allocated(end.extents[i].fd), 0);
                close(end.extents[i].fd);
        }
        close(end.event_fd);
        host->close(dev);
}

Test(dev_host, at_the_fd_limit_creation_fails_and_nothing_leaks)
{
        struct dev_options options = { .name = "host", .page_size = 64 * KIB, .capacity = 64 * MIB };
        struct dev *dev = open_host(&options);
        struct dev_extent extents[64];
        struct rlimit limit, low;
        unsigned n = 0, before = count_fds();
        int r = 0;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        low = limit;
        low.rlim_cur = before + 16;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        while (n < 64 && (r = host->create(dev, 0, &extents[n])) == 0)
                n++;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        cr_expect_eq(r, -EMFILE);
        cr_expect(n > 0 && n < 64);
        while (n > 0)
                cr_expect_eq(host->destroy(dev, &extents[--n]), 0);
        cr_expect_eq(count_fds(), before);
        host->close(dev);
}
