/* SPDX-License-Identifier: MIT
 *
 * test-cli-table.c -- columns are as wide as their widest cell, figures to the right, and no line ends in blanks.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "client/cli/table.h"

static const struct ctl_column columns[] = { { "NAME", false }, { "SIZE", true }, { "WHAT", false } };

static struct ctl_table *table_of_two(void)
{
        struct ctl_table *table = ctl_table_new(columns, 3);

        cr_assert(table);
        cr_expect_eq(ctl_table_cell(table, "%s", "a"), 0);
        cr_expect_eq(ctl_table_cell(table, "%d", 7), 0);
        cr_expect_eq(ctl_table_cell(table, "%s", "first"), 0);
        cr_expect_eq(ctl_table_cell(table, "%s", "longer"), 0);
        cr_expect_eq(ctl_table_cell(table, "%d", 123456), 0);
        cr_expect_eq(ctl_table_cell(table, "%s", ""), 0);
        cr_expect_eq(ctl_table_rows(table), 2);
        return table;
}

static void expect_table(struct ctl_options options, const char *expected)
{
        _cleanup_(ctl_table_freep) struct ctl_table *table = table_of_two();
        _cleanup_(ctl_free) char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        cr_assert(stream);
        cr_expect_eq(ctl_table_print(table, stream, &options), 0);
        cr_assert_eq(fclose(stream), 0);
        cr_expect_str_eq(text, expected);
}

Test(cli_table, aligned)
{
        expect_table((struct ctl_options){ .legend = true }, "NAME      SIZE  WHAT\n"
                                                             "a            7  first\n"
                                                             "longer  123456  \n");
}

Test(cli_table, without_titles_only_cells_count)
{
        expect_table((struct ctl_options){ 0 }, "a            7  first\n"
                                                "longer  123456  \n");
}

Test(cli_table, colour_does_not_shift)
{
        expect_table((struct ctl_options){ .legend = true, .colour = true }, "\x1b[1mNAME      SIZE  WHAT\x1b[0m\n"
                                                                             "a            7  first\n"
                                                                             "longer  123456  \n");
}

Test(cli_table, many_rows)
{
        static const struct ctl_column one[] = { { "N", true } };
        _cleanup_(ctl_table_freep) struct ctl_table *table = ctl_table_new(one, 1);

        cr_assert(table);
        for (int i = 0; i < 10000; i++)
                cr_assert_eq(ctl_table_cell(table, "%d", i), 0);
        cr_expect_eq(ctl_table_rows(table), 10000);
}

Test(cli_table, free_of_nothing)
{
        cr_expect_null(ctl_table_free(NULL));
}
