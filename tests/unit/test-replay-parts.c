/* SPDX-License-Identifier: MIT
 *
 * The replay's small parts: sizes and numbers, geometries, the command line, histogram, timeline, and the plan.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "foreign-daemon.h"
#include "hash.h"
#include "histogram.h"
#include "number.h"
#include "options.h"
#include "plan.h"
#include "timeline.h"
#include "utf8.h"

Test(replay_parts, parses_sizes)
{
        static const struct {
                const char *text;
                uint64_t bytes;
        } good[] = {
                { "1", 1 },
                { "65536", 65536 },
                { "64K", 65536 },
                { "64KiB", 65536 },
                { "64kB", 65536 },
                { "2M", 2097152 },
                { "1.5G", 1610612736 },
                { "8T", UINT64_C(8) << 40 },
                { "9007199254740993", UINT64_C(9007199254740993) }, /* more than a double holds */
        };
        static const char *const bad[] = { "",          "0",   "-1",   "+1",   " 1",  "1 M", "M",
                                           "1X",        "1MM", "0x10", "1e3",  "nan", "inf", "9223372036854775808",
                                           "99999999P", "0.1", ".5G",  "1.2.3" };
        uint64_t bytes = 4711;
        char text[32];

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                cr_expect_eq(size_parse(good[i].text, &bytes), 0, "%s", good[i].text);
                cr_expect_eq(bytes, good[i].bytes, "%s", good[i].text);
        }
        bytes = 4711;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                cr_expect_lt(size_parse(bad[i], &bytes), 0, "%s", bad[i]);
                cr_expect_eq(bytes, 4711);
        }
        cr_assert_str_eq(size_format(1023, text, sizeof(text)), "1023 B");
        cr_assert_str_eq(size_format(1536, text, sizeof(text)), "1.5 KiB");
        cr_assert_str_eq(size_format(UINT64_MAX, text, sizeof(text)), "16.0 EiB");
}

Test(replay_parts, parses_numbers)
{
        uint64_t number = 7;

        cr_assert_eq(number_parse("12", 1, 12, &number), 0);
        cr_assert_eq(number, 12);
        cr_assert_eq(number_parse("13", 1, 12, &number), -ERANGE);
        cr_assert_eq(number_parse("0", 1, 12, &number), -ERANGE);
        cr_assert_eq(number_parse("99999999999999999999", 1, UINT64_MAX, &number), -ERANGE);
        cr_assert_eq(number_parse("-1", 0, 12, &number), -EINVAL);
        cr_assert_eq(number_parse("1x", 0, 12, &number), -EINVAL);
        cr_assert_eq(number_parse("", 0, 12, &number), -EINVAL);
        cr_assert_eq(number, 12);
}

Test(replay_parts, knows_geometries)
{
        struct complaint complaint;
        struct geometry g;

        cr_assert_eq(geometry_parse("tiny", &g, &complaint), 0);
        cr_assert_eq(geometry_token_bytes(&g), 2 * 4 * 2 * 64 * 2);
        cr_assert_eq(geometry_parse("llama3-8b", &g, &complaint), 0);
        cr_assert_eq(geometry_token_bytes(&g), 131072);
        cr_assert_eq(geometry_pages(&g, KVP_LAYOUT_TOKEN_MAJOR_FUSED, 2097152, 16), 1, "a 2 MiB page is 16 tokens");
        cr_assert_eq(geometry_pages(&g, KVP_LAYOUT_TOKEN_MAJOR_FUSED, 2097152, 17), 2);
        cr_assert_eq(geometry_pages(&g, KVP_LAYOUT_TOKEN_MAJOR, 2097152, 33), 4);
        cr_assert_eq(geometry_pages(&g, KVP_LAYOUT_PER_LAYER, 2097152, 1), 64);
        cr_assert_eq(geometry_parse("layers=3,kv_heads=2,head_dim=5,type=fp32", &g, &complaint), 0);
        cr_assert_eq(geometry_token_bytes(&g), 2 * 3 * 2 * 5 * 4);
        cr_assert_eq(g.query_heads, 2);
}

Test(replay_parts, refuses_bad_geometries)
{
        static const struct {
                const char *text, *complaint;
        } bad[] = {
                { "", "all needed" },
                { "huge", "neither a known name" },
                { "layers=4", "all needed" },
                { "layers=0,kv_heads=2,head_dim=64", "'layers' must be from 1" },
                { "layers=4,kv_heads=-2,head_dim=64", "'kv_heads' must be" },
                { "layers=4,kv_heads=2,head_dim=64x", "'head_dim' must be" },
                { "layers=99999999999,kv_heads=2,head_dim=64", "'layers' must be" },
                { "layers=4,layers=4,kv_heads=2,head_dim=64", "given twice" },
                { "layers=4,kv_heads=2,head_dim=64,colour=3", "unknown key 'colour'" },
                { "layers=4,kv_heads=2,head_dim=64,query_heads=3", "times kv_heads" },
                { "layers=4,kv_heads=2,head_dim=64,type=int4", "'type' is one of" },
        };
        struct geometry g = { .layers = 4711 };
        struct complaint complaint;
        char longer[400];

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                cr_expect_eq(geometry_parse(bad[i].text, &g, &complaint), -EINVAL, "%s", bad[i].text);
                cr_expect(strstr(complaint.text, bad[i].complaint), "%s: %s", bad[i].text, complaint.text);
        }
        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        cr_assert_eq(geometry_parse(longer, &g, &complaint), -EINVAL);
        cr_assert_eq(g.layers, 4711);
}

static int parse(struct options *options, struct complaint *complaint, const char *line)
{
        char copy[512], *argv[32], *rest = NULL;
        int argc = 0;

        complaint->text[0] = '\0';
        (void)snprintf(copy, sizeof(copy), "kvpager-replay %s", line);
        for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
                argv[argc++] = word;
        argv[argc] = NULL;
        return options_parse(argc, argv, options, complaint);
}

Test(replay_parts, takes_its_options)
{
        struct complaint complaint;
        struct options options;

        cr_assert_eq(parse(&options, &complaint, ""), 0);
        cr_assert(options.tenants == 1 && options.workers == 1 && !options.trace && options.capacity == 0);
        cr_assert_str_eq(options.geometry.name, "tiny");
        cr_assert_eq(parse(&options, &complaint,
                           "--tenants 2 --workers=3 --requests 500 --seed 7 --speed 2.5 --geometry llama3-8b --layout "
                           "token-major-fused --max-seqs 9 --max-tokens 4096 --capacity 2G --page-size 64K --spare 0 "
                           "--no-compute --cold --json"),
                     0, "%s", complaint.text);
        cr_assert(options.tenants == 2 && options.workers == 3 && options.requests == 500 && options.seed == 7);
        cr_assert(options.speed == 2.5 && options.max_seqs == 9 && options.max_tokens == 4096);
        cr_assert(options.capacity == UINT64_C(2) << 30 && options.page_size == 65536 && options.spare_percent == 0);
        cr_assert(options.no_compute && options.cold && options.json && !options.verify);
        cr_assert_eq(options.layout, KVP_LAYOUT_TOKEN_MAJOR_FUSED);
        cr_assert_not(options_virtual_clock(&(struct options){ 0 }));
        cr_assert(options_virtual_clock(&options));

        cr_assert_eq(parse(&options, &complaint, "--scenario bursts --fixed-split"), 0, "%s", complaint.text);
        cr_assert(options.scenario == SCENARIO_BURSTS && options.fixed_split && options.tenants == 2);
        cr_assert(options_virtual_clock(&options));
        cr_assert_eq(parse(&options, &complaint, "--scenario hungry --weights 1,2,10000 --mins 0,64M,1.5G"), 0, "%s",
                     complaint.text);
        cr_assert(options.scenario == SCENARIO_HUNGRY && options.tenants == 3 && options.n_weights == 3);
        cr_assert(options.weights[0] == 1 && options.weights[2] == 10000 && options.n_mins == 3);
        cr_assert(options.mins[0] == 0 && options.mins[1] == UINT64_C(64) << 20 &&
                  options.mins[2] == UINT64_C(3) << 29);
        cr_assert_eq(parse(&options, &complaint, "--scenario bursts --tenants 5 --weights 3,3,3,3,3"), 0);
        cr_assert_eq(options.tenants, 5);
}

Test(replay_parts, names_the_option_that_is_wrong)
{
        static const char *const bad[] = {
                "--tenants 0",
                "--tenants x",
                "--workers -1",
                "--workers 99999",
                "--requests 0",
                "--speed 0",
                "--speed nan",
                "--speed fast",
                "--geometry huge",
                "--layout flat",
                "--max-seqs 0",
                "--max-tokens 0",
                "--capacity 0",
                "--capacity lots",
                "--page-size 63K",
                "--page-size 32768",
                "--page-size 2G",
                "--page-size 4096P",
                "--spare 91",
                "--verify --no-compute",
                "--unknown",
                "--trace",
                "--json=yes",
                "surplus",
                "--seed 0x",
                "-v",
                "--scenario quiet",
                "--weights 0",
                "--weights 1,,2",
                "--weights 1,",
                "--weights 10001",
                "--weights 1,2 --tenants 3",
                "--mins -1",
                "--mins 1M,some",
                "--mins 1M --tenants 2",
                "--fixed-split --mins 1M",
                "--scenario bursts --trace x",
                "--scenario hungry --speed 2",
        };
        struct options options = { .tenants = 4711 };
        struct complaint complaint;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                char word[32];

                cr_expect_eq(parse(&options, &complaint, bad[i]), -EINVAL, "%s", bad[i]);
                (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(bad[i] + strspn(bad[i], "-"), " ="),
                               bad[i] + strspn(bad[i], "-"));
                cr_expect(strstr(complaint.text, word), "%s: %s", bad[i], complaint.text);
        }
        cr_assert_eq(parse(&options, &complaint, "--tenants 100 --workers 100"), -EINVAL);
        cr_assert_eq(options.tenants, 4711);
}

static int compare_numbers(const void *left, const void *right)
{
        const uint64_t *a = left, *b = right;

        return (*a > *b) - (*a < *b);
}

Test(replay_parts, repairs_what_is_no_utf8)
{
#define BAD "\xef\xbf\xbd"
        static const struct {
                const char *text, *repaired;
        } cases[] = {
                { "", "" },
                { "trace.csv", "trace.csv" },
                { "\x01\x7f", "\x01\x7f" },
                { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
                { "\xf4\x8f\xbf\xbd", "\xf4\x8f\xbf\xbd" },
                { "a\xff\xfe.csv", "a" BAD BAD ".csv" },
                { "\xe4.csv", BAD ".csv" },                      /* Latin-1 */
                { "\xe2\x82", BAD BAD },                         /* cut */
                { "\xf0\x9f\x98", BAD BAD BAD },                 /* cut */
                { "\x80", BAD },                                 /* continues nothing */
                { "\xc0\xaf", BAD BAD },                         /* overlong */
                { "\xe0\x9f\xbf", BAD BAD BAD },                 /* overlong */
                { "\xf0\x8f\xbf\xbd", BAD BAD BAD BAD },         /* overlong */
                { "\xed\xa0\x80", BAD BAD BAD },                 /* a surrogate */
                { "\xef\xbf\xbe", BAD BAD BAD },                 /* no character */
                { "\xf4\x90\x80\x80", BAD BAD BAD BAD },         /* beyond the last */
                { "\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD }, /* of five bytes */
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char *repaired = utf8_repair(cases[i].text);

                cr_expect_str_eq(repaired, cases[i].repaired, "%zu", i);
                free(repaired);
        }
#undef BAD
}

Test(replay_parts, histogram_is_true_to_its_steps)
{
        static struct histogram histogram, half, other;
        static uint64_t values[5000];
        const double shares[] = { 0, 0.1, 0.5, 0.9, 0.99, 0.999 };

        cr_assert_eq(histogram_quantile(&histogram, 0.5), 0);
        for (size_t i = 0; i < 5000; i++) {
                values[i] = hash_mix(i) >> (hash_mix(i + 77) % 40 + 20);
                histogram_add(&histogram, values[i]);
                histogram_add(i % 2 ? &half : &other, values[i]);
        }
        histogram_merge(&half, &other);
        cr_assert_eq(memcmp(&half, &histogram, sizeof(half)), 0);
        qsort(values, 5000, sizeof(values[0]), compare_numbers);
        for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
                uint64_t exact = values[(size_t)(shares[i] * 5000)], found = histogram_quantile(&histogram, shares[i]);

                cr_assert(found >= exact && found - exact <= exact / 16 + 1, "%g: %ju for %ju", shares[i],
                          (uintmax_t)found, (uintmax_t)exact);
        }
        cr_assert_eq(histogram_quantile(&histogram, 1), values[4999]);
        histogram_add(&histogram, UINT64_MAX);
        cr_assert_eq(histogram.max, UINT64_MAX);
}

/* Against every value at every moment, kept in full. */
Test(replay_parts, timeline_keeps_the_peak_of_each_bucket)
{
        static struct timeline timeline;
        static uint64_t truth[3000];
        uint64_t usec = 0, value = 0, from = 0, state = 5;

        for (size_t i = 0; i < 400; i++) {
                uint64_t next = usec + hash_mix(++state) % 9000;

                for (uint64_t t = from; t <= next / 1000 && t < 3000; t++)
                        truth[t] = truth[t] > value ? truth[t] : value;
                usec = next;
                value = hash_mix(++state) % 1000;
                from = usec / 1000;
                truth[from] = truth[from] > value ? truth[from] : value;
                timeline_record(&timeline, usec, value);
        }
        cr_assert_gt(timeline.bucket_usec, 1000, "it must have been stretched");
        for (uint64_t i = 0; i <= timeline.end_usec / timeline.bucket_usec; i++) {
                uint64_t most = 0, n = timeline.bucket_usec / 1000;

                for (uint64_t t = i * n; t < (i + 1) * n && t < 3000; t++)
                        most = most > truth[t] ? most : truth[t];
                cr_assert_eq(timeline.values[i], most, "bucket %ju", (uintmax_t)i);
        }
}

Test(replay_parts, plan_deals_and_sizes)
{
        struct request requests[10];
        const struct trace trace = { .requests = requests, .n = 10 };
        struct complaint complaint;
        struct options options;
        struct plan plan;

        for (uint32_t i = 0; i < 10; i++)
                requests[i] = (struct request){ .arrival_usec = i * UINT64_C(1000),
                                                .id = i,
                                                .prompt_tokens = 100 * (i + 1),
                                                .generated_tokens = 5 };
        cr_assert_eq(parse(&options, &complaint, "--tenants 3 --max-seqs 2 --layout token-major-fused"), 0);
        cr_assert_eq(plan_deal(&options, &trace, 2.0, &plan), 0);
        cr_assert_eq(plan.max_tokens, 1005);
        cr_assert(plan.n_shares[0] == 4 && plan.n_shares[1] == 3 && plan.n_shares[2] == 3);
        cr_assert_eq(plan.shares[1][2].id, 7);
        cr_assert_eq(plan.shares[1][2].arrival_usec, 3500);

        /* On the virtual clock more than the yardstick's peak; where memory is filled enough for the largest request,
         * 32 pages of 32 tokens, and look-ahead, but no more than half of what is free, or a quarter. */
        plan.page_size = 65536;
        options.no_compute = true;
        cr_assert_eq(plan_capacity(&plan, &options, 0), 0);
        cr_assert(plan.unconstrained);
        cr_assert_geq(plan.capacity / 65536, 32 + 29 + 26);
        cr_assert_eq(plan_capacity_blocks(&plan, &options), UINT64_MAX);
        options.no_compute = false;
        cr_assert_eq(plan_capacity(&plan, &options, 200 * 65536), 0);
        cr_assert_not(plan.unconstrained);
        cr_assert(plan.capacity >= 32 * 65536 && plan.capacity < 40 * 65536);
        cr_assert_eq(plan_capacity(&plan, &options, 0), 0, "not known");
        cr_assert_geq(plan.capacity, 32 * 65536);
        cr_assert_eq(plan_capacity(&plan, &options, 40 * 65536 + 5), 0);
        cr_assert_eq(plan.capacity, 20 * 65536);
        options.verify = true;
        cr_assert_eq(plan_capacity(&plan, &options, 40 * 65536 + 5), 0);
        cr_assert_eq(plan.capacity, 10 * 65536);
        options.scenario = SCENARIO_HUNGRY;
        cr_assert_eq(plan_capacity(&plan, &options, 40 * 65536 + 5), 0);
        cr_assert_eq(plan.capacity, 10 * 65536);
        options.scenario = SCENARIO_NONE;
        plan_clear(&plan);
        options.max_tokens = 640; /* what is longer is rejected, and needs nothing */
        for (int no_compute = 0; no_compute < 2; no_compute++) {
                uint64_t capacity[2];

                options.no_compute = no_compute;
                options.verify = false;
                for (size_t longer = 0; longer < 2; longer++) {
                        const struct trace part = { .requests = requests, .n = longer ? 10 : 6 };

                        cr_assert_eq(plan_deal(&options, &part, 2.0, &plan), 0);
                        plan.page_size = 65536;
                        cr_assert_eq(plan_capacity(&plan, &options, 400 * 65536), 0);
                        capacity[longer] = plan.capacity;
                        plan_clear(&plan);
                }
                cr_assert_eq(capacity[0], capacity[1]);
        }
        options.max_tokens = 0;
        options.no_compute = false;
        cr_assert_eq(plan_deal(&options, &trace, 2.0, &plan), 0);
        plan.page_size = 65536;

        plan.capacity = 20 * 65536;
        cr_assert_eq(plan_capacity_blocks(&plan, &options), 40);
        options.geometry.head_dim = 56; /* a page is no whole number of blocks */
        for (uint32_t split = 0; split < 2; split++) {
                options.fixed_split = split;
                for (uint64_t tokens = 1; tokens < 2000; tokens += 13) {
                        const uint64_t parts = split ? options.tenants : 1;

                        plan.capacity = parts * geometry_pages(&options.geometry, options.layout, 65536, tokens) *
                                        65536;
                        cr_assert_leq(tokens, plan_capacity_blocks(&plan, &options) / parts * 16);
                }
        }
        options.fixed_split = false;
        options.geometry.head_dim = 64;
        plan.capacity = 20 * 65536;
        plan_mark_impossible(&plan, &options);
        for (uint32_t i = 0; i < 10; i++)
                cr_assert_eq(plan.shares[i % 3][i / 3].impossible, 100 * (i + 1) + 5 > 640, "%u", i);
        cr_assert_eq(plan.max_tokens, 605, "of what can fit");
        plan.capacity = 65536;
        plan_mark_impossible(&plan, &options);
        cr_assert_eq(plan.max_tokens, 1, "nothing does");
        plan_clear(&plan);
}

/* What does not fit into 64 bits is as good as the largest that does. */
Test(replay_parts, plan_does_not_wrap_around)
{
        static struct request requests[100];
        const struct trace trace = { .requests = requests, .n = 100 };
        struct complaint complaint;
        struct options options;
        struct plan plan;

        for (uint32_t i = 0; i < 100; i++)
                requests[i] = (struct request){ .id = i, .prompt_tokens = TRACE_TOKENS_MAX };
        requests[99].arrival_usec = UINT64_C(1000000000000000000);
        cr_assert_eq(
                parse(&options, &complaint, "--no-compute --geometry layers=1024,kv_heads=1024,head_dim=256,type=fp32"),
                0, "%s", complaint.text);
        cr_assert_eq(plan_deal(&options, &trace, 0.001, &plan), 0);
        cr_assert_gt(plan.shares[0][99].arrival_usec, UINT64_C(1000000000000000000));
        cr_assert_lt(plan.shares[0][99].arrival_usec, UINT64_MAX / 2);
        plan.page_size = 1 << 30;
        for (int i = 0; i < 2; i++) {
                options.scenario = i == 0 ? SCENARIO_NONE : SCENARIO_HUNGRY;
                cr_assert_eq(plan_capacity(&plan, &options, 0), 0);
                cr_assert_gt(plan.capacity, UINT64_MAX / 8, "%ju", (uintmax_t)plan.capacity);
                plan_mark_impossible(&plan, &options);
                cr_assert_not(plan.shares[0][99].impossible);
        }
        plan_clear(&plan);
}

/* Eight bursts by turns, each dealt to the workers of its tenant alone. */
Test(replay_parts, plan_deals_bursts_by_tenant)
{
        static struct bursts bursts;
        struct complaint complaint;
        struct options options;
        struct trace trace;
        struct plan plan;

        cr_assert_eq(parse(&options, &complaint, "--scenario bursts --workers 3 --layout token-major-fused"), 0);
        cr_assert_eq(plan_bursts(&options, 100), 8);
        cr_assert_eq(plan_bursts(&options, 5), 5, "none is empty");
        cr_assert_eq(trace_make_bursts(1, 100, 8, &trace), 0);
        cr_assert_eq(plan_deal(&options, &trace, 1.0, &plan), 0);
        plan_fill_bursts(&plan, 8, &bursts);
        cr_assert(bursts.n == 8 && bursts.begun == 1);
        for (uint32_t b = 0; b < 8; b++)
                cr_assert(bursts.burst[b].requests == 12 || bursts.burst[b].requests == 13);
        for (uint32_t i = 0; i < 6; i++) {
                cr_assert(plan.n_shares[i] >= 16 && plan.n_shares[i] <= 18, "%zu", plan.n_shares[i]);
                for (size_t k = 0; k < plan.n_shares[i]; k++) {
                        cr_assert_eq(plan.shares[i][k].burst % 2, i % 2);
                        cr_assert(k == 0 || plan.shares[i][k - 1].burst <= plan.shares[i][k].burst);
                }
        }
        plan.page_size = 65536;
        cr_assert_eq(plan_capacity(&plan, &options, 0), 0);
        cr_assert_not(plan.unconstrained);
        cr_assert(plan.capacity / 65536 > 16 * 10 && plan.capacity / 65536 < 16 * 18,
                  "sixteen of 250 to 650 tokens, 32 a page");
        plan_clear(&plan);
        trace_clear(&trace);
}

Test(replay_parts, a_burst_begins_when_most_of_the_last_one_is_done)
{
        static struct bursts bursts = { .n = 2, .burst = { { .requests = 16 }, { .requests = 1 } } };
        const struct request first = { .burst = 0 }, second = { .arrival_usec = 30, .burst = 1 };

        for (int round = 0; round < 2; round++) {
                bursts_rewind(&bursts);
                cr_assert_eq(bursts_arrival(&bursts, &first), 0);
                for (uint64_t i = 1; i <= 16; i++) {
                        cr_assert_eq(bursts_arrival(&bursts, &second), i <= 14 ? UINT64_MAX : 1400 + 30);
                        bursts_done(&bursts, &first, 100 * i);
                }
                cr_assert_eq(bursts.begun, 2);
                bursts_done(&bursts, &second, 5000);
        }
}

Test(replay_parts, plan_knows_what_a_tenant_can_never_hold)
{
        struct request requests[6];
        const struct trace trace = { .requests = requests, .n = 6 };
        struct complaint complaint;
        struct options options;

        for (uint32_t i = 0; i < 6; i++) /* 32 tokens a page: 2, 4, 6, ... pages */
                requests[i] = (struct request){ .id = i, .prompt_tokens = 64 * (i + 1) };
        cr_assert_eq(parse(&options, &complaint, "--tenants 2 --layout token-major-fused"), 0);
        for (int shared = 0; shared < 2; shared++) {
                uint64_t *limits = calloc(2, sizeof(*limits));
                struct plan plan;

                limits[0] = 5 * 65536;
                limits[1] = shared ? limits[0] : 9 * 65536 + 4096;
                cr_assert_eq(plan_deal(&options, &trace, 1.0, &plan), 0);
                plan.page_size = 65536;
                plan_limit(&plan, &options, 20 * 65536, limits, shared);
                cr_assert_eq(plan.capacity, (uint64_t)(shared ? 5 : 14) * 65536, "the yardstick gets what they get");
                plan_mark_impossible(&plan, &options);
                for (uint32_t i = 0; i < 6; i++)
                        cr_expect_eq(plan.shares[i % 2][i / 2].impossible, 2 * (i + 1) > limits[i % 2] / 65536, "%u",
                                     i);
                plan_limit(&plan, &options, 7 * 65536, limits, shared);
                cr_assert_eq(plan.capacity, (uint64_t)(shared ? 5 : 7) * 65536, "no more than the device has");
                plan_clear(&plan);
        }
}

Test(replay_parts, limits_of_a_foreign_daemon)
{
        const struct wire_item_tenant tenants[] = {
                { .name = "a", .max_bytes = 100 },
                { .name = "b", .max_bytes = UINT64_MAX, .min_bytes = 300 },
                { .name = "c", .max_bytes = UINT64_MAX, .min_bytes = 600 },
        };

        cr_expect_eq(foreign_daemon_limit(tenants, 3, "a", 1000, 1), 100, "memory.max");
        cr_expect_eq(foreign_daemon_limit(tenants, 3, "a", 950, 1), 50, "what the guarantees of others leave");
        cr_expect_eq(foreign_daemon_limit(tenants, 3, "a", 800, 1), 0);
        cr_expect_eq(foreign_daemon_limit(tenants, 3, "b", 1000, 1), 400, "its own guarantee is no limit");
        cr_expect_eq(foreign_daemon_limit(tenants, 2, "b", 1000, 1), 1000);
        cr_expect_eq(foreign_daemon_limit(tenants, 3, "z", 1000, 1), 100, "one that is not listed");
        cr_expect_eq(foreign_daemon_limit(NULL, 0, "a", 1000, 1), 1000);
        cr_expect_eq(foreign_daemon_limit(tenants, 3, "b", 2000, 400), 1200, "guarantees are of whole pages");
}
