/* SPDX-License-Identifier: MIT
 *
 * test-core-grants.c -- which extents make up n pages from page p on: they cover exactly those, each begins at a
 * multiple of its size, and no other choice of sizes needs fewer.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "core-driver.h"

#define SPAN 200u

static const struct core_params params = {
        .max_extents = 1u << 16, .max_workers = 4, .max_caches = 4, .max_rows = 64, .max_requests = 64
};

/* The fewest naturally placed extents for pages first..end, by trying every size at every page. */
static uint32_t fewest(uint32_t first, uint32_t end)
{
        uint32_t least[2 * SPAN + 1];

        least[end] = 0;
        for (uint32_t page = end; page-- > first;) {
                least[page] = UINT32_MAX;
                for (uint32_t order = 0; order <= 6; order += 2)
                        if (page % (1u << order) == 0 && page + (1u << order) <= end &&
                            least[page + (1u << order)] + 1 < least[page])
                                least[page] = least[page + (1u << order)] + 1;
        }
        return least[first];
}

/* Pages that the grants since the last forget cover in one plane, from `first` on, without a hole; checks them on the
 * way. */
static uint32_t covered(const struct core_driver *driver, uint32_t plane, uint32_t first)
{
        uint8_t map[2 * SPAN + 64] = { 0 };
        uint32_t n = 0, total = 0;

        for (uint32_t i = 0; i < driver->n_grants; i++) {
                const struct core_action *action = &driver->grants[i];

                if (action->grant.plane != plane)
                        continue;
                cr_assert_eq(action->grant.first % (1u << action->grant.order), 0);
                for (uint32_t page = 0; page < 1u << action->grant.order; page++) {
                        cr_assert(action->grant.first + page < sizeof(map));
                        cr_assert_eq(map[action->grant.first + page]++, 0);
                        total++;
                }
        }
        while (map[first + n])
                n++;
        cr_assert_eq(n, total);
        return n;
}

static void check_last(const struct core_driver *driver)
{
        for (uint32_t i = 0; i < driver->n_grants; i++)
                cr_assert_eq(!!(driver->grants[i].flags & CORE_GRANT_LAST), i == driver->n_grants - 1);
}

Test(core_grants, cover_exactly_and_are_as_few_as_can_be)
{
        struct core_driver driver;

        core_driver_start(&driver, &params, 1u << 16);
        core_driver_cache(&driver, 4, 1, 2 * SPAN);
        for (uint32_t first = 0; first < SPAN; first++)
                for (uint32_t need = 1; need < SPAN; need += need < 70 ? 1 : 7) {
                        core_driver_grow(&driver, 1, first, need, need);
                        cr_assert_eq(driver.failures, 0);
                        cr_assert_eq(covered(&driver, 0, first), need);
                        cr_assert(driver.n_grants == fewest(first, first + need),
                                  "%u pages from %u: %u extents, %u would do", need, first, driver.n_grants,
                                  fewest(first, first + need));
                        check_last(&driver);
                        core_driver_return_all(&driver);
                }
        core_driver_stop(&driver);
}

Test(core_grants, with_room_to_choose_stay_within_it_and_are_never_more)
{
        struct core_driver driver;
        uint32_t n;

        core_driver_start(&driver, &params, 1u << 16);
        core_driver_cache(&driver, 4, 1, 2 * SPAN);
        for (uint32_t first = 0; first < 80; first += 3)
                for (uint32_t need = 1; need < 100; need += 2)
                        for (uint32_t max = need; max < need + 80; max += 13) {
                                core_driver_grow(&driver, 2, first, need, max);
                                cr_assert_eq(driver.failures, 0);
                                n = covered(&driver, 0, first);
                                cr_assert(n >= need && n <= max, "asked for %u to %u, got %u", need, max, n);
                                cr_assert(driver.n_grants <= fewest(first, first + need));
                                core_driver_return_all(&driver);
                        }
        core_driver_stop(&driver);
}

Test(core_grants, are_alike_in_every_plane)
{
        struct core_driver driver;

        core_driver_start(&driver, &params, 1u << 16);
        core_driver_cache(&driver, 4, 64, 2 * SPAN);
        for (uint32_t need = 1; need < SPAN; need += 31) {
                core_driver_grow(&driver, 0, 5, need, need);
                cr_assert_eq(driver.failures, 0);
                for (uint32_t plane = 0; plane < 64; plane++)
                        cr_assert_eq(covered(&driver, plane, 5), need);
                check_last(&driver);
                core_driver_return_all(&driver);
        }
        core_driver_stop(&driver);
}
