/* SPDX-License-Identifier: MIT
 *
 * test-shell-store.c -- extents as the shell has them, over the host backend and its thread.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"

#define ID(generation, slot) ((uint64_t)(generation) << 32 | (slot))

static struct store store;
static char error[512];

static void setup(void)
{
        struct config *config = config_default();

        config->devices[0].page_size = 65536;
        config->devices[0].capacity.bytes = 64 * 65536;
        cr_assert_eq(store_open(&store, config, error, sizeof(error)), 0, "%s", error);
        cr_assert_eq(store_reserve(&store, 16), 0);
        cr_assert_eq(store_start(&store, error, sizeof(error)), 0, "%s", error);
        free(config);
}

static void teardown(void)
{
        store_close(&store, 5000000);
}

TestSuite(store, .init = setup, .fini = teardown);

static struct store_result next_result(void)
{
        struct pollfd p = { .fd = dev_thread_fd(store.devices[0].thread), .events = POLLIN };
        struct store_result result;

        cr_assert_eq(poll(&p, 1, 10000), 1);
        cr_assert_eq(store_collect(&store, 0, &result, 1), 1);
        return result;
}

Test(store, what_it_opens)
{
        struct config_size sizes[CONFIG_MAX_DEVICES];

        cr_assert_eq(store_sizes(&store, sizes), 1);
        cr_expect_eq(sizes[0].capacity, 64 * 65536);
        cr_expect_eq(sizes[0].page_size, 65536);
        cr_expect_str_eq(sizes[0].name, "host");
        cr_expect_eq(store_capacity_pages(&store), 64);
        cr_expect_eq(store.devices[0].virgin_pages, 4, "a sixteenth");
        cr_expect_str_eq(store.devices[0].name, "host");
}

Test(store, an_extent_from_creation_to_destruction)
{
        struct store_result result;
        struct stat st;

        store_create(&store, 0, ID(1, 5), 2);
        cr_expect_eq(store_fd(&store, ID(1, 5)), -1, "not there yet");
        result = next_result();
        cr_expect_eq(result.extent, ID(1, 5));
        cr_expect(result.kind == DEV_JOB_CREATE && result.status == 0 && !result.tampered);
        cr_assert_eq(fstat(store_fd(&store, ID(1, 5)), &st), 0);
        cr_expect_eq(st.st_size, 4 * 65536);
        cr_expect_eq(store_fd(&store, ID(2, 5)), -1, "another generation");
        cr_expect_eq(store_fd(&store, ID(1, 6)), -1);

        store_granted(&store, ID(1, 5), 77, 3);
        store_destroy(&store, 0, ID(1, 5));
        cr_expect_eq(store_fd(&store, ID(1, 5)), -1, "gone from here on");
        result = next_result();
        cr_expect(result.kind == DEV_JOB_DESTROY && result.status == 0 && result.worker == 77);

        store_create(&store, 0, ID(2, 5), 0);
        result = next_result();
        cr_expect_eq(result.worker, 0, "nobody's again");
        cr_expect_eq(store_fd(&store, ID(1, 5)), -1);
        cr_expect_geq(store_fd(&store, ID(2, 5)), 0);
}

Test(store, closing_does_not_truncate)
{
        struct stat st;
        int kept;

        store_create(&store, 0, ID(1, 0), 0);
        (void)next_result();
        kept = dup(store_fd(&store, ID(1, 0)));
        store_create(&store, 0, ID(1, 1), 0); /* still under way, or not begun, at the end */
        store_close(&store, 5000000);
        cr_assert_eq(fstat(kept, &st), 0);
        cr_expect_eq(st.st_size, 65536, "what a worker has mapped is his");
        close(kept);
}

Test(store, who_sealed_an_extent_is_named)
{
        const int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        struct store_result result;

        cr_assert_eq(ftruncate(fd, 65536), 0);
        cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        store_adopt(&store, ID(1, 0), 0, 9, 3, fd);
        store_destroy(&store, 0, ID(1, 0));
        result = next_result();
        cr_expect(result.tampered && result.status == 0 && result.worker == 9);
}

Test(store, a_device_that_cannot_be_opened_is_named)
{
        struct config *config = config_default();
        struct store other = { 0 };

        config->devices[0].page_size = 1000;
        cr_expect_lt(store_open(&other, config, error, sizeof(error)), 0);
        cr_expect_not_null(strstr(error, "[device host]: page-size: a page of 1000:"), "%s", error);
        store_close(&other, 1000000);
        free(config);
}
