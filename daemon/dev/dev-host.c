/* SPDX-License-Identifier: MIT
 *
 * dev-host.c -- the host's own memory as a device: one memfd an extent.
 *
 * The seal F_SEAL_GROW makes truncation final: once an extent is returned its memory is free although a worker may
 * still have it mapped, a touch of it is SIGBUS in that worker, and it cannot be grown again. F_SEAL_SEAL keeps the
 * worker from adding F_SEAL_SHRINK, with which it could keep what it gave back. Nor may it be executed, for the kernel
 * lets nobody truncate by its path what a process runs. Nothing is mapped here, so nothing that a worker does to a file
 * can raise a signal in the daemon.
 *
 * A worker can keep its file locked, and whoever truncates it sleeps, beyond the reach of signals, until he lets go. So
 * that is done by threads that have next to nothing open: a daemon that ends while one of them sleeps lets go of its
 * sockets and its lock all the same, and the next one can start.
 *
 * With huge pages each extent is allocated when it is made: a worker that maps it must never find none left. Else
 * memory is used as it is touched, unless `populate` asks for all of it at once.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dev.h"
#include "memory-file.h"
#include "owner.h"

#define HOST_MIN_PAGE     (UINT64_C(64) << 10)
#define HOST_MAX_PAGE     (UINT64_C(1) << 30)
#define HOST_DEFAULT_PAGE (UINT64_C(2) << 20)
#define HOST_MAX_ORDER    10u
#define HOST_MAX_PAGES    (UINT64_C(1) << 30)

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

struct dev {
        uint64_t page_size, capacity;
        unsigned memfd_flags;
        bool allocate; /* at creation, all of it */
        bool by_path;  /* a file can be truncated by its path in /proc, without having it open */
        char warning[DEV_WARNING];
};

static FILE *host_open_file(const char *path)
{
        FILE *f;

        do
                f = fopen(path, "re");
        while (!f && errno == EINTR);
        return f;
}

/* A field of /proc/meminfo, in bytes; 0: not there. */
static uint64_t host_meminfo(const char *field)
{
        char line[128];
        uint64_t kib = 0;
        size_t length = strlen(field);
        FILE *f = host_open_file("/proc/meminfo");

        if (!f)
                return 0;
        while (kib == 0 && fgets(line, sizeof(line), f))
                if (strncmp(line, field, length) == 0 && line[length] == ':')
                        kib = strtoull(line + length + 1, NULL, 10);
        (void)fclose(f);
        return kib << 10;
}

/* Free huge pages of that size; -1: this kernel has none of the size. */
static int64_t host_free_hugepages(uint64_t page_size)
{
        char path[96], line[32];
        int64_t n = -1;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/free_hugepages",
                       page_size >> 10);
        f = host_open_file(path);
        if (!f)
                return -1;
        if (fgets(line, sizeof(line), f))
                n = strtoll(line, NULL, 10);
        (void)fclose(f);
        return n;
}

/* A size as the configuration may have it: 64K, 2M, 5000. */
static const char *host_size_text(uint64_t size, char text[static 32])
{
        static const char units[] = "\0KMGT";
        size_t i = 0;

        while (size > 0 && size % 1024 == 0 && i + 2 < sizeof(units)) {
                size /= 1024;
                i++;
        }
        (void)snprintf(text, 32, "%" PRIu64 "%.1s", size, &units[i]);
        return text;
}

static uint64_t host_page_size(const struct dev_options *options)
{
        return options->page_size ? options->page_size : HOST_DEFAULT_PAGE;
}

/* The sizes of huge pages that this kernel has, "2M, 1G"; empty: none. */
static void host_hugepage_sizes(char *text, size_t size)
{
        size_t n = 0;
        char unit[32];

        text[0] = '\0';
        for (uint64_t page = HOST_MIN_PAGE; page <= HOST_MAX_PAGE && n < size; page *= 2)
                if (host_free_hugepages(page) >= 0)
                        n += (size_t)snprintf(text + n, size - n, "%s%s", n ? ", " : "", host_size_text(page, unit));
}

/* Bytes that `options` ask for in figures or as a share of the machine's memory; 0: they leave it to us, or it depends
 * on what is free. */
static uint64_t host_capacity_asked(const struct dev_options *options, uint64_t total)
{
        if (options->capacity > 0 || options->capacity_percent == 0)
                return options->capacity;
        return (uint64_t)((double)total / 100.0 * options->capacity_percent);
}

static int host_check_capacity(uint64_t capacity, uint64_t page_size, dev_complain_fn *complain, void *userdata)
{
        char sentence[200], text[32], page[32];

        if (capacity < page_size)
                (void)snprintf(sentence, sizeof(sentence), "%s is less than one page of %s",
                               host_size_text(capacity, text), host_size_text(page_size, page));
        else if (capacity / page_size > HOST_MAX_PAGES)
                (void)snprintf(sentence, sizeof(sentence),
                               "%s in pages of %s is more than the %" PRIu64 " pages of a device: use larger pages",
                               host_size_text(capacity, text), host_size_text(page_size, page), HOST_MAX_PAGES);
        else
                return 0;
        complain(userdata, "capacity", sentence);
        return -EINVAL;
}

static int host_check(const struct dev_options *options, dev_complain_fn *complain, void *userdata)
{
        uint64_t page_size = host_page_size(options), capacity;
        char sentence[200], text[32], sizes[64];
        int r = 0;

        assert(options && complain);

        if (options->uuid && options->uuid[0]) {
                complain(userdata, "uuid", "the host backend has no uuid: take the key away");
                r = -EINVAL;
        }
        if (page_size < HOST_MIN_PAGE || page_size > HOST_MAX_PAGE || (page_size & (page_size - 1)) != 0) {
                (void)snprintf(sentence, sizeof(sentence), "a page of %s: it must be a power of two from 64K to 1G",
                               host_size_text(page_size, text));
                complain(userdata, "page-size", sentence);
                return -EINVAL; /* nothing can be said of what is counted in pages */
        }
        if (options->hugepages && host_free_hugepages(page_size) < 0) {
                host_hugepage_sizes(sizes, sizeof(sizes));
                (void)snprintf(sentence, sizeof(sentence), "this kernel has no huge pages of %s: %s%s",
                               host_size_text(page_size, text), sizes[0] ? "page-size must be one of " : "it has none",
                               sizes);
                complain(userdata, "hugepages", sentence);
                r = -EINVAL;
        }
        capacity = host_capacity_asked(options, options->hugepages ? 0 : host_meminfo("MemTotal"));
        if (capacity > 0 && host_check_capacity(capacity, page_size, complain, userdata) < 0)
                r = -EINVAL;
        return r;
}

/* Sets up for huge pages; `ret_free` says how many bytes of them there are. */
static int host_open_hugepages(struct dev *dev, bool goes_on, uint64_t *ret_free, char *error, size_t error_size)
{
        int64_t n = host_free_hugepages(dev->page_size);
        const uint64_t kib = dev->page_size >> 10;

        if (n <= 0 && !goes_on) {
                (void)snprintf(error, error_size,
                               "no huge page of %" PRIu64 " KiB is free: reserve some, e.g. echo 1024 > "
                               "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages, or set hugepages = no",
                               kib, kib);
                return -ENOMEM;
        }
        dev->memfd_flags |= MFD_HUGETLB | ((unsigned)__builtin_ctzll(dev->page_size) << MFD_HUGE_SHIFT);
        dev->allocate = true;
        *ret_free = n > 0 ? (uint64_t)n * dev->page_size : 0;
        return 0;
}

/* Writes to the struct host_error that it is given: the last complaint holds. */
struct host_error {
        char *text;
        size_t size;
};

static void host_complain(void *userdata, const char *key, const char *sentence)
{
        const struct host_error *error = userdata;

        (void)snprintf(error->text, error->size, "%s: %s", key, sentence);
}

/* How much memory the device has; the rest is arithmetic that cannot fail but for a device of no page at all. */
static int host_set_capacity(struct dev *dev, const struct dev_options *options, uint64_t huge_free, char *error,
                             size_t error_size)
{
        struct host_error complaint = { .text = error, .size = error_size };
        uint64_t total = options->hugepages ? huge_free : host_meminfo("MemTotal"), capacity;

        if (options->capacity_before) {
                dev->capacity = options->capacity_before;
                return 0;
        }
        capacity = host_capacity_asked(options, total);
        if (capacity == 0 && options->capacity_percent == 0)
                capacity = options->hugepages ? huge_free : host_meminfo("MemAvailable") / 2;
        if (capacity == 0) {
                host_complain(&complaint, "capacity", "/proc/meminfo does not say what there is: set it in bytes");
                return -EINVAL;
        }
        if (host_check_capacity(capacity, dev->page_size, host_complain, &complaint) < 0)
                return -EINVAL;
        capacity -= capacity % dev->page_size;
        if (total > 0 && capacity > total)
                (void)snprintf(dev->warning, sizeof(dev->warning),
                               "its capacity of %" PRIu64 " MiB is more than the %" PRIu64
                               " MiB of %s that this machine has: workers may be killed for lack of memory",
                               capacity >> 20, total >> 20, options->hugepages ? "free huge pages" : "RAM");
        dev->capacity = capacity;
        return 0;
}

static int host_truncate(int fd, off_t size)
{
        int r;

        do
                r = ftruncate(fd, size);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

#define HOST_PATH_SIZE 32

static const char *host_path(int fd, char path[static HOST_PATH_SIZE])
{
        (void)snprintf(path, HOST_PATH_SIZE, "/proc/self/fd/%d", fd);
        return path;
}

/* As the process has it open, whatever this thread has. Unlike ftruncate() this asks the file's mode, which whoever has
 * the same user as the daemon may have changed. */
static int host_truncate_path(int fd)
{
        char path[HOST_PATH_SIZE];
        int r;

        (void)host_path(fd, path);
        r = truncate(path, 0);
        if (r < 0 && errno == EACCES && chmod(path, S_IRUSR | S_IWUSR) == 0)
                r = truncate(path, 0);
        while (r < 0 && errno == EINTR)
                r = truncate(path, 0);
        return r < 0 ? -errno : 0;
}

static int host_set_up(struct dev *dev, const struct dev_options *options, char *error, size_t error_size)
{
        struct host_error complaint = { .text = error, .size = error_size };
        _cleanup_fd_ int probe = -1;
        uint64_t huge_free = 0;
        int r;

        dev->page_size = host_page_size(options);
        dev->memfd_flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        dev->allocate = options->populate;

        r = host_check(options, host_complain, &complaint);
        if (r == 0 && options->hugepages)
                r = host_open_hugepages(dev, options->capacity_before > 0, &huge_free, error, error_size);
        if (r == 0)
                r = host_set_capacity(dev, options, huge_free, error, error_size);
        if (r < 0)
                return r;
        probe = memfd_create("kvpager", dev->memfd_flags | MFD_NOEXEC_SEAL);
        if (probe >= 0)
                dev->memfd_flags |= MFD_NOEXEC_SEAL;
        else if (errno == EINVAL) /* before Linux 6.3 */
                probe = memfd_create("kvpager", dev->memfd_flags);
        if (probe < 0) {
                r = -errno;
                (void)snprintf(error, error_size, "memfd_create: %s", strerror(-r));
                return r;
        }
        dev->by_path = host_truncate_path(probe) == 0;
        return 0;
}

static int host_open(const struct dev_options *options, struct dev **ret, char *error, size_t error_size)
{
        struct dev *dev = calloc(1, sizeof(*dev));
        int r;

        assert(options && ret && error);

        if (!dev)
                return -ENOMEM;
        r = host_set_up(dev, options, error, error_size);
        if (r < 0) {
                free(dev);
                return r;
        }
        *ret = dev;
        return 0;
}

static void host_close(struct dev *dev)
{
        free(dev);
}

static void host_info(const struct dev *dev, struct dev_info *ret)
{
        assert(dev && ret);

        *ret = (struct dev_info){ .page_size = dev->page_size, .capacity = dev->capacity, .backend = "host" };
        memcpy(ret->warning, dev->warning, sizeof(ret->warning));
}

static int host_create(struct dev *dev, uint32_t order, struct dev_extent *ret)
{
        _cleanup_fd_ int fd = -1;
        off_t size;
        int r;

        assert(dev && ret);
        assert(order <= HOST_MAX_ORDER);

        size = (off_t)(dev->page_size << order);
        fd = memfd_create("kvpager", dev->memfd_flags);
        if (fd < 0)
                return -errno;
        if (!(dev->memfd_flags & MFD_NOEXEC_SEAL) && fchmod(fd, S_IRUSR | S_IWUSR) < 0) /* at least no other user */
                return -errno;
        r = host_truncate(fd, size);
        if (r < 0)
                return r;
        if (dev->allocate) {
                do
                        r = fallocate(fd, 0, 0, size);
                while (r < 0 && errno == EINTR);
                if (r < 0)
                        return errno == ENOSPC ? -ENOMEM : -errno;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        *ret = (struct dev_extent){ .fd = TAKE_FD(fd), .order = order };
        return 0;
}

static void host_set_apart(struct dev *dev, int fd)
{
        assert(dev && fd >= 0);

        /* In this order no more of the table is copied than is below `fd`. */
        if (dev->by_path && close_range((unsigned)fd + 1, UINT_MAX, CLOSE_RANGE_UNSHARE) == 0 && fd > 0)
                (void)close_range(0, (unsigned)fd - 1, 0);
}

static int host_end(struct dev *dev, const struct dev_extent *extent)
{
        _cleanup_fd_ int opened = -1;
        char path[HOST_PATH_SIZE];
        int r;

        assert(dev && extent);
        assert(extent->fd >= 0);

        r = dev->by_path ? host_truncate_path(extent->fd) : host_truncate(extent->fd, 0);
        if (r != -EPERM)
                return r;
        /* Sealed against shrinking all the same, before it came to be ours. A hole frees the memory for now; whoever
         * has it can touch it anew for as long as he lives, so he must be told on. */
        if (dev->by_path)
                opened = open(host_path(extent->fd, path), O_RDWR | O_CLOEXEC);
        (void)fallocate(dev->by_path ? opened : extent->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                        (off_t)(dev->page_size << extent->order));
        return DEV_TAMPERED;
}

static int host_destroy(struct dev *dev, struct dev_extent *extent)
{
        int r = host_end(dev, extent);

        if (r >= 0)
                extent->fd = fd_close(extent->fd);
        return r;
}

const struct dev_backend dev_backend_host = {
        .name = "host",
        .check = host_check,
        .open = host_open,
        .close = host_close,
        .info = host_info,
        .create = host_create,
        .destroy = host_destroy,
        .end = host_end,
        .set_apart = host_set_apart,
};
