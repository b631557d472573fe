/* SPDX-License-Identifier: MIT
 *
 * test-cli-format.c -- sizes and spans of time as kvpagerctl writes and reads them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "client/cli/format.h"

static void expect_bytes(uint64_t bytes, const char *expected)
{
        char text[CTL_FORMAT_MAX];

        cr_expect_str_eq(ctl_format_bytes(text, bytes, false), expected, "%llu: %s is not %s",
                         (unsigned long long)bytes, text, expected);
}

Test(cli_format, bytes)
{
        expect_bytes(0, "0");
        expect_bytes(1, "1B");
        expect_bytes(1023, "1023B");
        expect_bytes(1024, "1K");
        expect_bytes(65536, "64K");
        expect_bytes(UINT64_C(512) << 20, "512M");
        expect_bytes(UINT64_C(2) << 30, "2G");
        expect_bytes(UINT64_C(3) << 29, "1.5G");
        expect_bytes(UINT64_C(1) << 40, "1T");
        expect_bytes(UINT64_C(1) << 60, "1E");
        expect_bytes((UINT64_C(1) << 30) - 1, "1.0G");       /* and not 1024.0M */
        expect_bytes((UINT64_C(1) << 30) + 1, "1.0G");       /* not exact, and it shows */
        expect_bytes((UINT64_C(1) << 30) / 16 * 17, "1.1G"); /* 1.0625 */
        expect_bytes(UINT64_MAX - 1, "16.0E");
        expect_bytes(UINT64_MAX, "max");
}

Test(cli_format, bytes_exact)
{
        char text[CTL_FORMAT_MAX];

        cr_expect_str_eq(ctl_format_bytes(text, UINT64_C(3) << 29, true), "1610612736");
        cr_expect_str_eq(ctl_format_bytes(text, UINT64_MAX - 1, true), "18446744073709551614");
        cr_expect_str_eq(ctl_format_bytes(text, UINT64_MAX, true), "max");
}

Test(cli_format, span)
{
        static const struct {
                uint64_t seconds;
                const char *expected;
        } cases[] = { { 0, "0s" },
                      { 59, "59s" },
                      { 60, "1min" },
                      { 61, "1min 1s" },
                      { 3600, "1h" },
                      { 3659, "1h" },
                      { 3723, "1h 2min" },
                      { 86400 * 3 + 4 * 3600 + 59, "3d 4h" },
                      { 86400 * 400, "400d" } };
        char text[CTL_FORMAT_MAX];

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
                cr_expect_str_eq(ctl_format_span(text, cases[i].seconds * 1000000), cases[i].expected, "%s is not %s",
                                 text, cases[i].expected);
        cr_expect(strlen(ctl_format_span(text, UINT64_MAX)) < CTL_FORMAT_MAX);
}

Test(cli_format, parse_span)
{
        static const struct {
                const char *text;
                uint64_t usec;
        } cases[] = { { "5", 5000000 },
                      { "5s", 5000000 },
                      { "0.5", 500000 },
                      { "0.25s", 250000 },
                      { "500ms", 500000 },
                      { "1.5ms", 1500 },
                      { "2min", 120000000 },
                      { "0.5min", 30000000 },
                      { "3600", 3600000000 },
                      { "60min", 3600000000 },
                      { "0.001", 1000 },
                      { "3600000ms", 3600000000 },
                      { "1.2345678901234567", 1234567 } };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                uint64_t usec = 0;
                cr_expect_eq(ctl_parse_span(cases[i].text, &usec), 0, "%s", cases[i].text);
                cr_expect_eq(usec, cases[i].usec, "%s: %llu", cases[i].text, (unsigned long long)usec);
        }
}

Test(cli_format, parse_span_refuses)
{
        static const struct {
                const char *text;
                int error;
        } cases[] = {
                { "", -EINVAL },      { "s", -EINVAL },      { "-1", -EINVAL },
                { "+1", -EINVAL },    { " 1", -EINVAL },     { "1 s", -EINVAL },
                { "1h", -EINVAL },    { "1.", -EINVAL },     { ".5", -EINVAL },
                { "1e3", -EINVAL },   { "0x1", -EINVAL },    { "1s1", -EINVAL },
                { "0", -ERANGE },     { "0.0001", -ERANGE }, { "3601", -ERANGE },
                { "61min", -ERANGE }, { "0.9ms", -ERANGE },  { "99999999999999999999999999999", -ERANGE },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                uint64_t usec = 77;
                int r = ctl_parse_span(cases[i].text, &usec);
                cr_expect_eq(r, cases[i].error, "%s: %d", cases[i].text, r);
                cr_expect_eq(usec, 77, "%s", cases[i].text);
        }
}
