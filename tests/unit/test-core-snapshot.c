/* SPDX-License-Identifier: MIT
 *
 * test-core-snapshot.c -- the arena as something that is kept: its parts hold all that counts, and a copy is taken up
 * again only where it is of the same shape.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "core-world.h"
#include "internal.h"

static const struct core_params params = {
        .max_extents = 2048, .max_workers = 6, .max_caches = 8, .max_rows = 32, .max_requests = 30
};

static void *copy;

static void start(void)
{
        struct party p;

        start_with(&params);
        set_tenant(3, UINT64_MAX);
        p = party(3);
        take(&p, 2, 85);
        cr_assert_eq(want(&p, 3, 1000), CORE_E_NONE);
        copy = aligned_alloc(64, core_size(&params));
        cr_assert_not_null(copy);
}

static void end(void)
{
        free(copy);
        stop();
}

TestSuite(core_snapshot, .init = start, .fini = end);

/* Puts the parts, and they alone, where there was nothing. */
static void copy_parts(void)
{
        struct core_part parts[CORE_PARTS];

        memset(copy, 0, core_size(&params));
        core_parts(world.core, parts);
        for (unsigned i = 0; i < CORE_PARTS; i++)
                memcpy((char *)copy + parts[i].offset, (const char *)world.core + parts[i].offset, parts[i].size);
}

Test(core_snapshot, its_parts_are_all_that_counts)
{
        char why[200];

        copy_parts();
        cr_assert_eq(core_adopt(copy, &params), copy);
        cr_expect_eq(core_check(copy, why, sizeof(why)), 0, "%s", why);
        cr_expect_arr_eq(copy, world.core, core_size(&params));
}

Test(core_snapshot, one_of_another_shape_is_not_taken)
{
        struct core *c = copy;
        struct core_params other = params, impossible = params;
        const struct {
                uint32_t *field, value;
        } wrong[] = {
                { &c->top_extent, params.max_extents + 1 },   { &c->top_row, params.max_rows + 1 },
                { &c->top_cache, params.max_caches + 1 },     { &c->top_worker, params.max_workers + 1 },
                { &c->top_request, params.max_requests + 1 }, { &c->top_tenant, CORE_MAX_TENANTS + 1 },
                { &c->n_devices, CORE_MAX_DEVICES + 1 },
        };

        copy_parts();
        other.max_rows++;
        impossible.max_workers = 0;
        cr_expect_null(core_adopt(copy, &other));
        c->params = other;
        cr_expect_null(core_adopt(copy, &params));
        c->params = impossible;
        cr_expect_null(core_adopt(copy, &impossible));
        c->params = params;
        c->size--;
        cr_expect_null(core_adopt(copy, &params));
        c->size++;
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                const uint32_t was = *wrong[i].field;

                *wrong[i].field = wrong[i].value;
                cr_expect_null(core_adopt(copy, &params), "wrong field %zu", i);
                *wrong[i].field = wrong[i].value - 1;
                cr_expect_eq(core_adopt(copy, &params), c, "field %zu at its most", i);
                *wrong[i].field = was;
        }
        cr_expect_eq(core_adopt(copy, &params), c);
}
