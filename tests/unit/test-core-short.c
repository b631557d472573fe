/* SPDX-License-Identifier: MIT
 *
 * test-core-short.c -- when memory counts as short, and who is told.
 */
#include <criterion/criterion.h>

#include "core-world.h"
#include "internal.h"

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 6, .max_caches = 8, .max_rows = 32, .max_requests = 30
};

static void start(void)
{
        start_with(&params);
}

TestSuite(core_short, .init = start, .fini = stop);

Test(core_short, memory_is_short_where_less_than_three_quarters_are_left)
{
        struct party p = party(0);

        take(&p, 0, 255);
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 1, .need = 1, .max = 1 });
        device_answer_all(&world);
        acknowledge(p.worker, ++p.granted);
        cr_expect_eq(current_of(0), 256 * PAGE);
        /* 63 of 3 more pages would be one extent of 64: but then less would be left. */
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 2, .need = 3, .max = 64 });
        cr_expect_eq(current_of(0), 259 * PAGE);
        device_answer_all(&world);
        acknowledge(p.worker, p.granted += 3);
        hold(p.worker, p.cache, 0, false); /* 255 idle pages count as what can be had */
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 3, .need = 3, .max = 64 });
        cr_expect_eq(current_of(0), 263 * PAGE, "one of 4 for 3");
}

static uint16_t flags_of_last_grant(void)
{
        for (uint32_t i = world.actions.n; i-- > world.actions_from;)
                if (world.actions.v[i].type == CORE_ACT_GRANT)
                        return world.actions.v[i].flags;
        return 0;
}

Test(core_short, a_grant_says_that_memory_is_short)
{
        struct party p = party(0);

        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .need = 256, .max = 256 });
        for (unsigned i = 0; i < 4; i++) {
                device_answer(&world, 0);
                cr_expect_eq(flags_of_last_grant(), i < 3 ? 0 : CORE_GRANT_LAST, "768 are left");
        }
        acknowledge(p.worker, 4);
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 1, .need = 1, .max = 1 });
        device_answer(&world, 0);
        cr_expect_eq(flags_of_last_grant(), CORE_GRANT_LAST | CORE_GRANT_SHORT, "767");
        acknowledge(p.worker, 5);
        hold(p.worker, p.cache, 1, false);
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 2, .need = 1, .max = 1 });
        device_answer(&world, 0);
        cr_expect_eq(flags_of_last_grant(), CORE_GRANT_LAST | CORE_GRANT_SHORT, "766 and one idle");
        acknowledge(p.worker, 6);
        hold(p.worker, p.cache, 2, false);
        hold(p.worker, p.cache, 0, false);
        grow((struct core_ev_grow){ .worker = p.worker, .cache = p.cache, .row = 3, .need = 1, .max = 1 });
        device_answer(&world, 0);
        cr_expect_eq(flags_of_last_grant(), CORE_GRANT_LAST, "765 and 258 idle");
}
