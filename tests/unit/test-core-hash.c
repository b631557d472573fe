/* SPDX-License-Identifier: MIT
 *
 * test-core-hash.c -- rows and pages that somebody chose because they fall together in the page table: with a key that
 * he does not know they do not.
 */
#include <criterion/criterion.h>

#include "core-driver.h"
#include "internal.h"

#define CHOSEN 4000u
#define WINDOW 700u /* slots that they fall into, of 2^17 */

static const struct core_params params = {
        .max_extents = 1u << 16, .max_workers = 1, .max_caches = 1, .max_rows = 1u << 16, .max_requests = 1024
};

/* The longest run of slots in use: so many are looked at to find one of them. */
static uint32_t longest_run(const struct core *core, uint64_t slots_at, uint32_t mask)
{
        const uint32_t *slots = core_at(core, slots_at);
        uint32_t longest = 0, run = 0;

        for (uint32_t i = 0; i <= mask; i++) {
                run = slots[i] != 0 ? run + 1 : 0;
                longest = bits_max_u32(longest, run);
        }
        return longest;
}

/* Extents of a page in rows (or in granules of the first row) that fall together where there is no key. */
static uint32_t run_of_chosen(bool granules, uint64_t key)
{
        struct core_params keyed = params;
        struct core_driver driver;
        uint32_t mask, run;

        keyed.hash_key = key;
        core_driver_start(&driver, &keyed, 8192);
        core_driver_cache(&driver, granules ? 1 : 1u << 20, 1, granules ? 1u << 26 : 1);
        mask = granules ? driver.core->granule_mask : driver.core->row_mask;
        cr_assert_eq(mask, (1u << 17) - 1);
        for (uint32_t i = 0; driver.granted < CHOSEN; i++) {
                cr_assert_lt(i, 1u << 20);
                if ((bits_mix(i) & mask) >= WINDOW)
                        continue;
                core_driver_grow(&driver, granules ? 0 : i, granules ? i << 6 : 0, 1, 1);
                cr_assert_eq(driver.failures, 0);
        }
        run = granules ? longest_run(driver.core, driver.core->granules_at, mask)
                       : longest_run(driver.core, driver.core->row_slots_at, mask);
        core_driver_return_all(&driver);
        cr_expect_eq(driver.core->n_rows, 0);
        core_driver_stop(&driver);
        return run;
}

Test(core_hash, who_does_not_know_the_key_cannot_choose_rows)
{
        cr_expect_geq(run_of_chosen(false, 0), CHOSEN - WINDOW, "these are badly chosen");
        for (uint64_t key = 1; key < 1000000; key *= 10)
                cr_expect_leq(run_of_chosen(false, key * UINT64_C(0x9e3779b97f4a7c15)), 16);
}

Test(core_hash, nor_pages_of_a_row)
{
        cr_expect_geq(run_of_chosen(true, 0), CHOSEN - WINDOW, "these are badly chosen");
        for (uint64_t key = 1; key < 1000000; key *= 10)
                cr_expect_leq(run_of_chosen(true, key * UINT64_C(0x9e3779b97f4a7c15)), 16);
}
