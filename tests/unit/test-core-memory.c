/* SPDX-License-Identifier: MIT
 *
 * test-core-memory.c -- a page in the page table costs the core at most 64 bytes, at a million of them, in whatever
 * shape they lie; and an empty reservation costs nothing, however large.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "core-driver.h"

#define PAGES (1u << 20)

static const struct core_params params = {
        .max_extents = PAGES, .max_workers = 1024, .max_caches = 1024, .max_rows = PAGES, .max_requests = 4096
};

/* `rows` x `planes` x `row_pages` is a million pages, asked for `step` at a time in each plane. */
static void check_shape(uint32_t rows, uint32_t planes, uint32_t row_pages, uint32_t step)
{
        struct core_driver driver;
        struct core_tenant_info info;
        uint64_t bytes;
        char why[200];

        core_driver_start(&driver, &params, PAGES);
        core_driver_cache(&driver, rows, planes, row_pages);
        for (uint32_t row = 0; row < rows; row++)
                for (uint32_t first = 0; first < row_pages; first += step) {
                        core_driver_grow(&driver, row, first, step, step);
                        cr_assert(driver.failures == 0, "row %u page %u", row, first);
                        core_driver_forget(&driver);
                }
        cr_assert(core_tenant_info(driver.core, 0, &info));
        cr_assert_eq(info.live_bytes, (uint64_t)PAGES << 21);
        bytes = core_used_bytes(driver.core);
        cr_expect(bytes <= 64ull * PAGES, "%u rows, %u planes, steps of %u: %.1f bytes a page", rows, planes, step,
                  (double)bytes / PAGES);
        cr_expect(core_check(driver.core, why, sizeof(why)) == 0, "%s", why);
        core_driver_stop(&driver);
}

Test(core_memory, one_long_row_page_by_page)
{
        check_shape(1, 1, PAGES, 1);
}

Test(core_memory, one_long_row_in_large_extents)
{
        check_shape(1, 1, PAGES, 4096);
}

Test(core_memory, many_rows)
{
        check_shape(65536, 1, 16, 1);
}

Test(core_memory, many_planes)
{
        check_shape(1024, 64, 16, 1);
}

Test(core_memory, one_page_in_each_plane_of_many_rows)
{
        check_shape(16384, 64, 1, 1);
}

Test(core_memory, a_reservation_costs_nothing_until_pages_are_in_it)
{
        struct core_driver driver;
        uint64_t before;

        core_driver_start(&driver, &params, PAGES);
        before = core_used_bytes(driver.core);
        core_driver_cache(&driver, 1u << 20, 64, 1u << 16); /* 2^42 pages of virtual memory */
        cr_expect(core_used_bytes(driver.core) - before < 4096, "%" PRIu64 " bytes",
                  core_used_bytes(driver.core) - before);
        core_driver_grow(&driver, 1000000, 60000, 1, 1);
        cr_expect_eq(driver.failures, 0);
        cr_expect(core_used_bytes(driver.core) - before < 8192, "%" PRIu64 " bytes",
                  core_used_bytes(driver.core) - before);
        core_driver_stop(&driver);
}
