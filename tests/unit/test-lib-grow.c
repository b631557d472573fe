/* SPDX-License-Identifier: MIT
 *
 * test-lib-grow.c -- how much a row asks for, in how many extents; and the lists of what it got.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "extents.h"
#include "grow.h"

/* Page by page: the largest size that is aligned and fits. */
static uint32_t naive_extents(uint32_t first, uint32_t end)
{
        static const uint32_t sizes[] = { 64, 16, 4, 1 };
        uint32_t n = 0;

        while (first < end)
                for (int i = 0; i < 4; i++)
                        if (first % sizes[i] == 0 && first + sizes[i] <= end) {
                                first += sizes[i];
                                n++;
                                break;
                        }
        return n;
}

Test(grow, extents_are_counted_as_they_are_made)
{
        for (uint32_t first = 0; first < 140; first++)
                for (uint32_t end = first; end < 300; end++)
                        cr_assert_eq(grow_extents(first, end), naive_extents(first, end), "[%u, %u)", first, end);
        cr_assert_eq(grow_extents(0, UINT32_MAX - 63), (UINT32_MAX - 63) / 64);
}

/* No end within the slack takes fewer extents; none with as few is smaller. */
Test(grow, ends_where_fewest_extents_are_needed)
{
        for (uint32_t row_pages = 1; row_pages < 420; row_pages += 7)
                for (uint32_t need = 0; need <= row_pages; need++)
                        for (uint32_t first = 0; first <= need; first += 1 + first / 3) {
                                const uint32_t end = grow_end(first, need, row_pages);
                                uint32_t best = need;

                                for (uint32_t e = need; e <= need + need * 3 / 100 && e <= row_pages; e++)
                                        if (naive_extents(first, e) < naive_extents(first, best))
                                                best = e;
                                cr_assert_eq(end, best, "first %u need %u row %u: %u, not %u", first, need, row_pages,
                                             end, best);
                        }
}

/* The bar: at most 6 extents a prompt over the trace, where it is at hand. */
Test(grow, prompts_of_a_real_trace_come_in_few_extents)
{
        const char *folder = getenv("KVPAGER_TRACES");
        uint64_t extents = 0, prompts = 0;
        char line[256], path[4096];
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/azure-llm-2023-code.csv", folder ? folder : "");
        file = fopen(path, "re");
        if (file) {
                while (fgets(line, sizeof(line), file)) {
                        const char *comma = strchr(line, ',');
                        const uint32_t tokens = comma ? (uint32_t)strtoul(comma + 1, NULL, 10) : 0;

                        if (tokens == 0)
                                continue;
                        extents += grow_extents(0, grow_end(0, (tokens + 8 + 15) / 16, 512));
                        prompts++;
                }
                (void)fclose(file);
        } else { /* lengths of the same kind */
                for (uint32_t tokens = 50; tokens < 7500; tokens += 3, prompts++)
                        extents += grow_extents(0, grow_end(0, (tokens + 8 + 15) / 16, 512));
        }
        cr_assert_gt(prompts, 1000);
        cr_assert_leq(extents, 6 * prompts, "%.2f", (double)extents / (double)prompts);
}

Test(extents, places_follow_each_other_in_all_planes)
{
        struct extents list = { 0 };
        struct extent_place *place;

        for (uint32_t plane = 0; plane < 3; plane++) {
                cr_assert_eq(extents_place(&list, 3, 0, 0, plane, 0, 2, &place), 0);
                place->present |= UINT64_C(1) << plane;
                cr_assert_eq(extents_place(&list, 3, 0, 0, plane, 4, 0, &place), 0);
                place->present |= UINT64_C(1) << plane;
                cr_assert_eq(extents_complete(&list, 3, 0), plane == 2 ? 2 : 0);
        }
        cr_assert_eq(list.n, 2);
        cr_assert_eq(extents_end(&list, 3, 2), 5);
        cr_assert_eq(extents_end(&list, 3, 1), 4);
        cr_assert_eq(extents_end(&list, 3, 0), 0);
        extents_free(&list);
}

Test(extents, what_does_not_fit_is_refused)
{
        struct extents list = { 0 };
        struct extent_place *place;

        cr_assert_eq(extents_place(&list, 2, 0, 8, 0, 4, 2, &place), -EBADMSG); /* not where the request begins */
        cr_assert_eq(extents_place(&list, 2, 0, 8, 0, 8, 2, &place), 0);
        place->present = 1;
        cr_assert_eq(extents_place(&list, 2, 0, 8, 0, 8, 2, &place), -EBADMSG);  /* again */
        cr_assert_eq(extents_place(&list, 2, 0, 8, 1, 8, 0, &place), -EBADMSG);  /* another size than its neighbour */
        cr_assert_eq(extents_place(&list, 2, 0, 8, 1, 10, 0, &place), -EBADMSG); /* within */
        cr_assert_eq(extents_place(&list, 2, 0, 8, 1, 16, 2, &place), -EBADMSG); /* a gap */
        cr_assert_eq(extents_place(&list, 2, 1, 12, 1, 8, 2, &place), -EBADMSG); /* of an earlier request */
        cr_assert_eq(extents_place(&list, 2, 0, 8, 1, 8, 2, &place), 0);
        extents_free(&list);
}

Test(extents, which_places_reach_a_page)
{
        struct extents list = { 0 };
        struct extent_place *place;
        static const uint32_t orders[] = { 6, 6, 4, 4, 2, 0, 0 };
        uint32_t page = 0;

        for (uint32_t i = 0; i < 7; i++) {
                cr_assert_eq(extents_place(&list, 64, 0, 0, 63, page, orders[i], &place), 0);
                page += 1u << orders[i];
        }
        for (uint32_t pages = 0; pages <= page; pages++) {
                uint32_t n = 0;

                while (n < 7 && extents_at(&list, 64, n)->first < pages)
                        n++;
                cr_assert_eq(extents_reaching(&list, 64, pages), n);
        }
        extents_free(&list);
}
