/* SPDX-License-Identifier: MIT
 *
 * test-shell-throttle.c -- the arithmetic of a budget of time: what is saved, and what is owed.
 */
#include <criterion/criterion.h>

#include "throttle.h"

#define START UINT64_C(1000000000000)

static const struct budget_rule rule = { .share = 10, .most_nsec = 1000 };

Test(throttle, is_full_at_first)
{
        struct budget budget = { 0 };

        cr_assert_eq(budget_spend(&budget, &rule, START, 400), 600);
        cr_assert_eq(budget_spend(&budget, &rule, START, 600), 0, "all of it is not too much");
        cr_assert_eq(budget_spend(&budget, &rule, START, 1), -1);
}

Test(throttle, fills_by_its_share_and_no_further)
{
        struct budget budget = { 0 };

        (void)budget_spend(&budget, &rule, START, 1000);
        cr_assert_eq(budget_spend(&budget, &rule, START + 5000, 0), 500);
        cr_assert_eq(budget_spend(&budget, &rule, START + 9000, 0), 900);
        cr_assert_eq(budget_spend(&budget, &rule, START + 11000, 0), 1000);
        cr_assert_eq(budget_spend(&budget, &rule, START + 100000000000, 0), 1000, "long ago is not much more");
}

Test(throttle, owes_no_more_than_it_can_save)
{
        struct budget budget = { 0 };

        cr_assert_eq(budget_spend(&budget, &rule, START, UINT64_MAX / 2), -1000);
        cr_assert_eq(budget_spend(&budget, &rule, START + 10000, 0), 0);
        cr_assert_eq(budget_spend(&budget, &rule, START + 20000, 0), 1000);
}

Test(throttle, the_cpus_time_is_what_counts)
{
        const struct cpu_time cpu = { .asked_nsec = 5000000, .others_nsec = 300000 };

        /* 4 ms by the clock, of which another had the CPU for all but a fifth of a millisecond; or for none. */
        cr_assert_eq(cpu_share(&cpu, 4000000, 5500000), 200000);
        cr_assert_eq(cpu_share(&cpu, 4000000, 9300000), 4000000, "none of it is left out");
        cr_assert_eq(cpu_share(&cpu, 4000000, 9900000), 4000000, "nor is it more than it took");
        cr_assert_eq(cpu_share(&cpu, 4000000, 5100000), 0);
}
