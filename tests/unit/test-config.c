/* SPDX-License-Identifier: MIT
 *
 * test-config.c -- kvpagerd.conf: what it may say, and the exact complaint, with file and line, about what it may not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config-value.h"
#include "config.h"
#include "log.h"

#define HAS_DAEMON                                                                                                     \
        ": there are socket-mode, socket-group, max-workers, log-level, slow-reader-deadline, absent-timeout, holder"
#define HAS_DEVICE ": there are backend, uuid, capacity, page-size, virgin-pages, hugepages, populate"
#define HAS_TENANT                                                                                                     \
        ": there are match, memory.min, memory.low, memory.high, memory.max, weight, reclaim-deadline, on-overdue"

#define A_MATCH "expected unit:NAME, slice:NAME, cgroup:/PATH, uid:USER, gid:GROUP or any, several separated by blanks"

static char complaints[16384];

static void complain(void *userdata, const char *sentence)
{
        (void)userdata;
        snprintf(complaints + strlen(complaints), sizeof(complaints) - strlen(complaints), "%s\n", sentence);
}

static int parse(const char *text, size_t size, struct config **ret)
{
        FILE *file = fmemopen((void *)(uintptr_t)text, size, "r");
        int r;

        cr_assert_not_null(file);
        complaints[0] = 0;
        r = config_parse(file, "a.conf", complain, NULL, ret);
        fclose(file);
        return r;
}

static struct config *good(const char *text)
{
        struct config *config = NULL;

        cr_assert_eq(parse(text, strlen(text), &config), 0, "%s", complaints);
        cr_assert_str_eq(complaints, "");
        return config;
}

static void bad(const char *text, const char *expected)
{
        struct config *config = NULL;

        cr_expect_eq(parse(text, strlen(text), &config), -EINVAL, "%s", text);
        cr_expect_null(config);
        cr_expect_str_eq(complaints, expected);
}

Test(config, everything_there_is)
{
        struct config *c = good("\xef\xbb\xbf# a comment\n"
                                "[daemon]\n"
                                "socket-mode = 0660\n"
                                "socket-group = root\n"
                                "max-workers = 12\n"
                                "log-level = debug\n"
                                "slow-reader-deadline = 500ms\n"
                                "\n"
                                "  [device gpu0]   ; the only one\n"
                                "    backend = host\n"
                                "    capacity = 2G\n"
                                "page-size=64K\n"
                                "virgin-pages = 32 ; ahead\n"
                                "hugepages = no\n"
                                "populate = yes\n"
                                "[device gpu1]\r\n"
                                "capacity = 50%\r\n"
                                "[tenant a.b-c_1]\n"
                                "match = uid:0, gid:root\n"
                                "memory.min = 512M\n"
                                "memory.low = 1GiB\n"
                                "memory.high = 90%\n"
                                "memory.max = max\n"
                                "weight = 10000\n"
                                "reclaim-deadline = 2 s\n"
                                "on-overdue = kill\n"
                                "[tenant rest]\n"
                                "match = any");

        cr_expect_eq(c->daemon.socket_mode, 0660);
        cr_expect_eq(c->daemon.socket_group, 0);
        cr_expect_eq(c->daemon.max_workers, 12);
        cr_expect_eq(c->daemon.log_level, LOG_LEVEL_DEBUG);
        cr_expect_eq(c->daemon.slow_reader_deadline_usec, 500000);
        cr_assert_eq(c->n_devices, 2);
        cr_expect_str_eq(c->devices[0].name, "gpu0");
        cr_expect_eq(c->devices[0].line, 9);
        cr_expect_eq(c->devices[0].capacity.bytes, 2ull << 30);
        cr_expect_eq(c->devices[0].page_size, 65536);
        cr_expect_eq(c->devices[0].virgin_pages, 32);
        cr_expect(!c->devices[0].hugepages && c->devices[0].populate);
        cr_expect_eq(c->devices[1].capacity.percent, 50);
        cr_expect_eq(c->devices[1].page_size, 0);
        cr_expect_eq(c->devices[1].virgin_pages, UINT32_MAX);
        cr_assert_eq(c->n_tenants, 2);
        cr_expect_str_eq(c->tenants[0].name, "a.b-c_1");
        cr_assert_eq(c->tenants[0].n_matches, 2);
        cr_expect_eq(c->tenants[0].matches[0].kind, CONFIG_MATCH_UID);
        cr_expect_eq(c->tenants[0].matches[1].kind, CONFIG_MATCH_GID);
        cr_expect_eq(c->tenants[0].min.bytes, 512ull << 20);
        cr_expect_eq(c->tenants[0].low.bytes, 1ull << 30);
        cr_expect_eq(c->tenants[0].high.percent, 90);
        cr_expect_eq(c->tenants[0].max.bytes, CONFIG_NO_LIMIT);
        cr_expect_eq(c->tenants[0].weight, 10000);
        cr_expect_eq(c->tenants[0].reclaim_deadline_usec, 2000000);
        cr_expect(c->tenants[0].kill_overdue);
        cr_expect_eq(c->tenants[1].matches[0].kind, CONFIG_MATCH_ANY);
        cr_expect_eq(c->tenants[1].weight, 100);
        cr_expect_not(c->tenants[1].kill_overdue);
        free(c);
}

Test(config, what_is_left_out)
{
        struct config *empty = good("\n"), *none = config_default(), *tenant = good("[tenant t]\nmatch=any\n");

        for (int i = 0; i < 2; i++) {
                struct config *c = i ? empty : none;

                cr_assert_eq(c->n_devices, 1);
                cr_expect_str_eq(c->devices[0].name, "host");
                cr_expect_str_eq(c->devices[0].backend, CONFIG_BACKEND_ANY);
                cr_assert_eq(c->n_tenants, 1);
                cr_expect_str_eq(c->tenants[0].name, "default");
                cr_assert_eq(c->tenants[0].n_matches, 1);
                cr_expect_eq(c->tenants[0].matches[0].kind, CONFIG_MATCH_ANY);
                cr_expect_eq(c->tenants[0].max.bytes, CONFIG_NO_LIMIT);
                cr_expect_eq(c->daemon.socket_mode, 0666);
                cr_expect_eq(c->daemon.socket_group, (gid_t)-1);
        }
        cr_expect_eq(tenant->n_tenants, 1);
        cr_expect_eq(tenant->n_devices, 1);
        cr_expect(config_same_devices(empty, tenant));
        free(empty);
        free(none);
        free(tenant);
}

Test(config, sections)
{
        bad("x = 1\n", "a.conf:1: key x stands before the first section\n");
        bad("[deamon]\nlog-level = info\n",
            "a.conf:1: unknown section [deamon]: there are [daemon], [device NAME] and [tenant NAME]\n");
        bad("[daemon x]\n",
            "a.conf:1: unknown section [daemon x]: there are [daemon], [device NAME] and [tenant NAME]\n");
        bad("[daemon]\n[daemon]\n", "a.conf:2: [daemon] stands a second time\n");
        bad("[device d]\n\n[device d]\n", "a.conf:3: [device d] stands a second time; the first is in line 1\n");
        bad("[tenant t]\nmatch = any\n[tenant  t]\nmatch = any\n",
            "a.conf:3: [tenant t] stands a second time; the first is in line 1\n");
        bad("[tenant a b]\n", "a.conf:1: [tenant a b]: the name must be 1 to 63 letters, digits, or any of . _ - @\n");
        bad("[device]\n", "a.conf:1: [device ]: the name must be 1 to 63 letters, digits, or any of . _ - @\n");
        bad("[daemon\n", "a.conf:1: a section without ]\n");
        bad("[daemon] log-level = info\n", "a.conf:1: something follows the section's ]\n");
}

Test(config, keys)
{
        bad("[daemon]\nloglevel = info\n", "a.conf:2: unknown key loglevel in [daemon]" HAS_DAEMON "\n");
        bad("[daemon]\nlog-level = info\nlog-level = info\n",
            "a.conf:3: [daemon] log-level stands a second time; the first is in line 2\n");
        bad("[device d]\nmatch = any\n", "a.conf:2: unknown key match in [device d]" HAS_DEVICE "\n");
        bad("[tenant t]\nmatch = any\nmemory.maximum = 1G\n",
            "a.conf:3: unknown key memory.maximum in [tenant t]" HAS_TENANT "\n");
        bad("[daemon]\nlog-level\n", "a.conf:2: neither KEY = VALUE nor [SECTION]\n");
        bad("[daemon]\nnonsense", "a.conf:2: neither KEY = VALUE nor [SECTION]\n");
        bad("[tenant t]\nmatch = uid:0\n  gid:0\n", "a.conf:3: unknown key gid in [tenant t]" HAS_TENANT "\n");
        bad("[tenant t]\n", "a.conf:1: [tenant t] has no match: nobody would ever belong to it\n");
}

Test(config, values)
{
        static const char *const amount = "expected a size (bytes, 512M, 2G), a share (50%) or max";
        static const char *const values[] = { "",    "1X",     "-1",    "1.5G", "0x10", "1 M", "maximum",
                                              "1MB", "99999E", "512M ", "5 0%", "%",    "G" };
        char text[256], expected[512];

        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
                if (strcmp(values[i], "512M ") == 0)
                        continue; /* blanks at the end are none */
                snprintf(text, sizeof(text), "[tenant t]\nmatch = any\nmemory.max = %s\n", values[i]);
                snprintf(expected, sizeof(expected), "a.conf:3: [tenant t] memory.max = %s: not valid; %s\n", values[i],
                         amount);
                bad(text, expected);
        }
        bad("[tenant t]\nmatch=any\nmemory.max = 99999999999999999999\n",
            "a.conf:3: [tenant t] memory.max = 99999999999999999999: out of range; expected a size (bytes, 512M, 2G), a share "
            "(50%) or max\n");
        bad("[device d]\ncapacity = 0\n",
            "a.conf:2: [device d] capacity = 0: out of range; expected a size (bytes, 512M, 2G) or "
            "a share (50%), not 0\n");
        free(good("[device d]\nbackend = cuda\n"));
        bad("[device d]\nbackend = gpu\n", "a.conf:2: [device d] backend = gpu: not valid; expected host or cuda\n");
        bad("[device d]\npopulate = maybe\n", "a.conf:2: [device d] populate = maybe: not valid; expected yes or no\n");
        bad("[daemon]\nsocket-mode = 1777\n",
            "a.conf:2: [daemon] socket-mode = 1777: out of range; expected an octal mode such as 0660\n");
        bad("[daemon]\nsocket-group = no-such-group\n",
            "a.conf:2: [daemon] socket-group = no-such-group: unknown to this machine; expected a group's name or number\n");
        bad("[daemon]\nmax-workers = 0\n",
            "a.conf:2: [daemon] max-workers = 0: out of range; expected a number from 1 to 60000\n");
        bad("[tenant t]\nmatch = any\nweight = 0\n",
            "a.conf:3: [tenant t] weight = 0: out of range; expected a number from 1 to 10000\n");
        bad("[tenant t]\nmatch = any\nmemory.low = 4GG\n",
            "a.conf:3: [tenant t] memory.low = 4GG: not valid; expected a size (bytes, 512M, 2G), a share (50%) or max\n");
}

Test(config, limits_that_do_not_go_together)
{
        bad("[tenant t]\nmatch = any\nmemory.min = 2G\nmemory.max = 1G\n",
            "a.conf:3: [tenant t] memory.min: it is more than memory.max\n");
        bad("[tenant t]\nmemory.min = max\nmatch = any\n",
            "a.conf:2: [tenant t] memory.min: it cannot be max: it is set aside\n");
        bad("[tenant t]\nmatch = any\nmemory.low = 2G\nmemory.max = 1G\n",
            "a.conf:3: [tenant t] memory.low: it is more than memory.max\n");
        bad("[tenant t]\nmatch = any\nmemory.high = 20%\nmemory.max = 10%\n",
            "a.conf:3: [tenant t] memory.high: it is more than memory.max\n");
        bad("[tenant t]\nmatch = any\nmemory.min = 3G\n\nmemory.high = 2G\n",
            "a.conf:5: [tenant t] memory.high: it is less than memory.min\n");
        /* Shares and sizes compare once it is known what they are shares of. */
        free(good("[tenant t]\nmatch = any\nmemory.min = 50%\nmemory.max = 1G\n"));
        free(good("[tenant t]\nmatch = any\nmemory.min = 1G\nmemory.low = max\nmemory.high = 1G\nmemory.max = 1G\n"));
}

static char keys_complained[512];

static void complain_key(void *userdata, const char *key, const char *sentence)
{
        (void)userdata;
        snprintf(keys_complained + strlen(keys_complained), sizeof(keys_complained) - strlen(keys_complained),
                 "%s: %s\n", key, sentence);
}

Test(config, limits_once_the_devices_are_there)
{
        struct config *c = good("[tenant t]\nmatch = any\nmemory.min = 50%\nmemory.low = 1G\nmemory.max = 1G\n");

        cr_expect_eq(config_check_limits(&c->tenants[0], 2ull << 30, complain_key, NULL), 0);
        cr_expect_eq(config_check_limits(&c->tenants[0], (2ull << 30) + 100, complain_key, NULL), -EINVAL);
        cr_expect_str_eq(keys_complained, "memory.min: it is more than memory.max\n");
        free(c);
}

Test(config, guarantees_of_all_together)
{
        static const uint64_t mib = 1 << 20;
        struct config_size devices[] = { { "big", 64 * mib, 2 * mib }, { "small", 16 * mib, 2 * mib } };
        struct config *c = good("[tenant a]\nmatch = any\nmemory.min = 8M\n[tenant b]\nmatch = any\nmemory.min = 50%\n"
                                "[tenant c]\nmatch = any\n");
        char why[256] = "";
        unsigned line = 0;

        cr_expect_eq(config_smallest(devices, 2), 16 * mib);
        cr_expect_eq(config_check_guarantees(c, devices, 2, &line, why, sizeof(why)), 0, "%s", why);
        c->tenants[2].min.bytes = 1;
        cr_expect_eq(config_check_guarantees(c, devices, 2, &line, why, sizeof(why)), -EINVAL);
        cr_expect_str_eq(
                why, "memory.min of all tenants together is 16777217 (a 8M, b 8M, c 1), and [device small] has 16M");
        /* Pages count: a byte takes one, of each tenant. */
        c->tenants[0].min.bytes = 7 * mib;
        cr_expect_eq(config_check_guarantees(c, devices, 2, &line, why, sizeof(why)), -EINVAL);
        cr_expect_str_eq(why, "memory.min of all tenants together is 18M in whole pages of 2M (a 7M, b 8M, c 1), and "
                              "[device small] has 16M");
        c->tenants[0].min.bytes = 6 * mib;
        cr_expect_eq(config_check_guarantees(c, devices, 2, &line, why, sizeof(why)), 0);
        cr_expect_eq(line, 7, "the third tenant's");
        c->tenants[0].min.bytes = c->tenants[2].min.bytes = 1ull << 60;
        cr_expect_eq(config_check_guarantees(c, devices, 1, &line, why, sizeof(why)), -EINVAL);
        free(c);
}

Test(config, guarantees_that_the_file_alone_shows_to_be_too_much)
{
        const char *two = "[tenant a]\nmatch = uid:1\nmemory.min = 8M\n[tenant b]\nmemory.min = 8M\nmatch = uid:9\n"
                          "[tenant c]\nmatch = uid:2\nmemory.min = 0\n";
        char text[512];

        snprintf(text, sizeof(text), "%s[device d]\ncapacity = 16M\n[device e]\ncapacity = 50%%\n", two);
        free(good(text));
        snprintf(text, sizeof(text), "%s[device d]\ncapacity = 16M\n[device e]\ncapacity = 15M\npage-size = 64K\n",
                 two);
        bad(text, "a.conf:5: memory.min of all tenants together is 16M (a 8M, b 8M), and [device e] has 15M\n");
        /* Pages count where their size is written. */
        snprintf(text, sizeof(text), "%s[device d]\ncapacity = 16M\npage-size = 4M\n", two);
        free(good(text));
        snprintf(text, sizeof(text),
                 "%s[device d]\ncapacity = 18M\npage-size = 4M\n[tenant x]\nmatch = uid:3\nmemory.min = 1\n", two);
        bad(text,
            "a.conf:15: memory.min of all tenants together is 16777217 (a 8M, b 8M, x 1), and [device d] has 16M\n");
        /* Shares count where every device's capacity is written. */
        snprintf(text, sizeof(text),
                 "[tenant a]\nmatch = uid:1\nmemory.min = 60%%\n[tenant b]\nmatch = any\nmemory.min = 9M\n"
                 "[device d]\ncapacity = 20M\n");
        bad(text, "a.conf:6: memory.min of all tenants together is 21M (a 12M, b 9M), and [device d] has 20M\n");
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "[device e]\n");
        free(good(text));
}

Test(config, keys_that_are_set_later)
{
        struct config *c = good("[tenant t]\nmatch = any\nmemory.max = 1G\n");
        struct config_tenant *t = &c->tenants[0];
        char why[240];

        cr_expect_eq(config_set(t, "memory.max", "2G", why, sizeof(why)), 0);
        cr_expect_eq(config_set(t, "memory.min", "25%", why, sizeof(why)), 0);
        cr_expect_eq(config_set(t, "weight", "7", why, sizeof(why)), 0);
        cr_expect_eq(config_set(t, "on-overdue", "kill", why, sizeof(why)), 0);
        cr_expect_eq(config_set(t, "reclaim-deadline", "20ms", why, sizeof(why)), 0);
        cr_expect(t->max.bytes == 2ull << 30 && t->min.percent == 25 && t->weight == 7 && t->kill_overdue &&
                  t->reclaim_deadline_usec == 20000);
        cr_expect_eq(config_set(t, "memory.max", "4GG", why, sizeof(why)), -EINVAL);
        cr_expect_str_eq(why, "memory.max = 4GG: not valid; expected a size (bytes, 512M, 2G), a share (50%) or max");
        cr_expect_eq(t->max.bytes, 2ull << 30, "untouched");
        for (int i = 0; i < 3; i++) {
                static const char *const unknown[] = { "memory.maximum", "match", "capacity" };

                cr_expect_eq(config_set(t, unknown[i], "1", why, sizeof(why)), -EINVAL);
                cr_expect_eq(strncmp(why, "unknown key ", 12), 0, "%s", why);
                cr_expect_not_null(strstr(why, ": there are memory.min, memory.low, memory.high, memory.max, weight, "
                                               "reclaim-deadline, on-overdue"),
                                   "%s", why);
        }
        free(c);
}

/* ---- whom a tenant takes ---- */

static void matches_are(const char *value, const char *expected)
{
        char file[512], text[2 * CONFIG_MATCH_TEXT], all[1024] = "";
        struct config *c;

        snprintf(file, sizeof(file), "[tenant t]\nmatch = %s\n", value);
        c = good(file);
        for (uint32_t i = 0; i < c->tenants[0].n_matches; i++)
                snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? " " : "",
                         config_match_text(&c->tenants[0].matches[i], text));
        cr_expect_str_eq(all, expected);
        free(c);
}

Test(config, matches)
{
        struct config *plain = good("[tenant t]\nmatch = any\n"), *unit = good("[tenant t]\nmatch = unit:a\n");

        cr_expect(!plain->by_cgroup && unit->by_cgroup);
        free(plain);
        free(unit);
        matches_are("any", "any");
        matches_are("uid:root, gid:root", "uid:0 gid:0");
        matches_are("unit:chat.service unit:chat unit:x.scope", "unit:chat.service unit:chat.service unit:x.scope");
        matches_are("unit:serve@*.service unit:serve* unit:a\\x2db",
                    "unit:serve@*.service unit:serve* unit:a\\x2db.service");
        matches_are("unit:root/chat unit:1000/app-*.scope", "unit:0/chat.service unit:1000/app-*.scope");
        matches_are("slice:serve slice:serve-chat.slice slice:7/app",
                    "slice:serve.slice slice:serve-chat.slice slice:7/app.slice");
        matches_are("cgroup:/a/b/ cgroup:/ cgroup:/a/..b/.c.", "cgroup:/a/b cgroup:/ cgroup:/a/..b/.c.");
}

Test(config, matches_that_are_none)
{
        static const char *const words[] = { "unit:",          "unit:a:b c",   "unit:a,b$",     "unit:no-such-user/a",
                                             "unit:1000/",     "slice:",       "slice:-.slice", "cgroup:",
                                             "cgroup:a/b",     "cgroup:/a//b", "cgroup:/..",    "cgroup:/a/.",
                                             "cgroup:/a/../b", "tenant:x",     "user:0" };
        char file[512];

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                struct config *config = NULL;

                snprintf(file, sizeof(file), "[tenant t]\nmatch = %s\n", words[i]);
                cr_expect_eq(parse(file, strlen(file), &config), -EINVAL, "%s", words[i]);
                cr_expect_eq(strncmp(complaints, "a.conf:2: [tenant t] match = ", 29), 0, "%s", complaints);
                cr_expect_not_null(strstr(complaints, A_MATCH), "%s", complaints);
        }
}

static void reaches(const char *earlier, const char *later, bool reached)
{
        char file[512], expected[512];

        snprintf(file, sizeof(file), "[tenant a]\n\nmatch = uid:77 %s\n[tenant b]\n\nmatch = %s uid:78\n", earlier,
                 later);
        snprintf(expected, sizeof(expected),
                 "a.conf:6: [tenant b] match = %s is never reached: [tenant a] in line 1 takes it before\n", later);
        if (reached)
                free(good(file));
        else
                bad(file, expected);
}

Test(config, matches_that_are_never_reached)
{
        bad("[tenant a]\nmatch = any\n[tenant b]\nmatch = uid:5\n",
            "a.conf:4: [tenant b] match = uid:5 is never reached: [tenant a] in line 1 takes it before\n");
        free(good("[tenant a]\nmatch = any\n[tenant b]\nmatch = any\n")); /* told apart by their names */
        free(good("[tenant a]\nmatch = uid:5 uid:5\n[tenant b]\nmatch = any\n"));
        reaches("uid:5", "uid:5", false);
        reaches("uid:5", "gid:5", true);
        reaches("uid:5", "uid:6", true);
        reaches("gid:5", "gid:5", false);
        reaches("unit:chat.service", "unit:chat.service", false);
        reaches("unit:serve@*.service", "unit:serve@gpu0.service", false);
        reaches("unit:serve@gpu0.service", "unit:serve@*.service", true);
        reaches("unit:serve@*.service", "unit:serve@*.service", false);
        reaches("unit:serve*.service", "unit:serve@*.service",
                true); /* it is, but of two patterns only what is plain counts */
        reaches("unit:chat.service", "unit:1000/chat.service", true);
        reaches("slice:serve.slice", "slice:serve-chat.slice", false);
        reaches("slice:serve.slice", "slice:server.slice", true);
        reaches("slice:serve-chat.slice", "slice:serve.slice", true);
        reaches("cgroup:/a", "cgroup:/a/b", false);
        reaches("cgroup:/a/b", "cgroup:/a", true);
}

Test(config, devices_that_no_backend_could_open)
{
        static const char huge[] = "[device a]\nhugepages = yes\npage-size = 4M\n";

        bad("[device a]\npage-size = 2G\n[device b]\n\npage-size = 5K\n",
            "a.conf:2: [device a] page-size: a page of 2G: it must be a power of two from 64K to 1G\n"
            "a.conf:5: [device b] page-size: a page of 5K: it must be a power of two from 64K to 1G\n");
        bad("[device a]\npage-size = 0\n",
            "a.conf:2: [device a] page-size = 0: out of range; expected a size (64K, 2M)\n");
        bad("[device a]\ncapacity = 1M\n", "a.conf:2: [device a] capacity: 1M is less than one page of 2M\n");
        bad("[device a]\npage-size = 64K\ncapacity = 1000T\n",
            "a.conf:3: [device a] capacity: 1000T in pages of 64K is more than the 1073741824 pages of a device: use larger "
            "pages\n");
        bad("[device a]\nuuid = GPU-1\ncapacity = 1000\n",
            "a.conf:2: [device a] uuid: the host backend has no uuid: take the key away\n"
            "a.conf:3: [device a] capacity: 1000 is less than one page of 2M\n");
        /* A value that was not understood is complained of once. */
        bad("[device a]\npage-size = x\ncapacity = 1M\n",
            "a.conf:2: [device a] page-size = x: not valid; expected a size (64K, 2M)\n");

        cr_expect_eq(parse(huge, strlen(huge), &(struct config *){ NULL }), -EINVAL);
        cr_expect_eq(strncmp(complaints, "a.conf:2: [device a] hugepages: this kernel has no huge pages of 4M: ", 69),
                     0, "%s", complaints);
}

Test(config, every_complaint_is_made)
{
        bad("[daemon]\nx = 1\ny = 2\nlog-level = loud\n[bogus]\nz = 1\n[tenant t]\nmatch = uid:no-such-user\n",
            "a.conf:2: unknown key x in [daemon]" HAS_DAEMON "\n"
            "a.conf:3: unknown key y in [daemon]" HAS_DAEMON "\n"
            "a.conf:4: [daemon] log-level = loud: not valid; expected error, warning, notice, info or debug\n"
            "a.conf:5: unknown section [bogus]: there are [daemon], [device NAME] and [tenant NAME]\n"
            "a.conf:8: [tenant t] match = uid:no-such-user: unknown to this machine; " A_MATCH "\n"
            "a.conf:7: [tenant t] has no match: nobody would ever belong to it\n");
}

/* A match may have 32 words, and the path of a container's cgroup alone more than inih's 198 characters. */
Test(config, a_line_may_be_longer_than_inih_takes)
{
        char text[8192] = "[tenant t]\n  match\t= ";
        struct config *config;

        for (int i = 0; i < 32; i++)
                snprintf(text + strlen(text), sizeof(text) - strlen(text),
                         "cgroup:/kubepods.slice/pod%02d.slice/%0100d ", i, i);
        strcat(text, "; uid:1\r\nweight = 7\n");
        config = good(text);
        cr_expect_eq(config->tenants[0].n_matches, 32);
        cr_expect_eq(config->tenants[0].weight, 7);
        cr_expect_eq(strlen(config->tenants[0].matches[31].text), 28 + 100);
        free(config);

        snprintf(text, sizeof(text), "[tenant t]\nmatch = any%*s; as before\nweight:%*s7\nweigth = %0300d\n", 300, "",
                 300, "", 7);
        bad(text, "a.conf:4: unknown key weigth in [tenant t]" HAS_TENANT "\n");
        snprintf(text, sizeof(text), "[tenant t]\nmatch = any\nweight = 7%*s;comment\nweight = 8%*s\n", 300, "", 300,
                 "");
        bad(text, "a.conf:4: [tenant t] weight stands a second time; the first is in line 3\n");
}

Test(config, lines_that_are_too_long_or_hold_a_nul)
{
        static const char nul[] = "[daemon]\nlog-level = info\0x\n";
        char text[32768];
        struct config *config = NULL;

        snprintf(text, sizeof(text), "[daemon]\n# %09000d\nlog-level = %08179d\n", 0, 0);
        bad(text, "a.conf:3: a line of more than 8190 characters\n");
        snprintf(text, sizeof(text), "[daemon]\n%08190d\n", 0);
        bad(text, "a.conf:2: neither KEY = VALUE nor [SECTION]\n");
        snprintf(text, sizeof(text), "[tenant %040d%*s]\nmatch = any\n", 7, 8190 - 9 - 40, "");
        config = good(text); /* as long as a line may be */
        cr_expect_eq(strlen(config->tenants[0].name), 40);
        free(config);
        config = NULL;
        cr_expect_eq(parse(nul, sizeof(nul) - 1, &config), -EINVAL);
        cr_expect_str_eq(complaints, "a.conf:2: a NUL byte\n");
}

Test(config, too_many_of_a_kind)
{
        static char text[CONFIG_MAX_TENANTS * 64];
        size_t n = 0;

        for (unsigned i = 0; i <= CONFIG_MAX_TENANTS; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "[tenant t%u]\nmatch = any\n", i);
        bad(text, "a.conf:513: more than 256 tenants\n");
        n = 0;
        for (unsigned i = 0; i <= CONFIG_MAX_DEVICES; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "[device t%u]\n", i);
        bad(text, "a.conf:17: more than 16 devices\n");
}

Test(config, a_file_that_is_not_there)
{
        struct config *config = NULL;

        complaints[0] = 0;
        cr_expect_eq(config_load("/no/such/file", complain, NULL, &config), -ENOENT);
        cr_expect_str_eq(complaints, "/no/such/file: cannot be opened: No such file or directory\n");
        complaints[0] = 0;
        cr_expect_lt(config_load("/", complain, NULL, &config), 0);
        cr_expect_neq(complaints[0], 0);
        cr_expect_null(config);
}

Test(config, devices_are_compared)
{
        struct config *a = good("[device d]\ncapacity = 1G\n"), *b = good("[device d]\ncapacity = 1024M\n"),
                      *c = good("[device d]\ncapacity = 2G\n"), *d = good("[device e]\ncapacity = 1G\n");

        cr_expect(config_same_devices(a, b));
        cr_expect_not(config_same_devices(a, c));
        cr_expect_not(config_same_devices(a, d));
        free(a);
        free(b);
        free(c);
        free(d);
}

Test(config, amounts)
{
        struct config_amount half = { .percent = 50 }, fixed = { .bytes = 7 }, none = { .bytes = CONFIG_NO_LIMIT };
        uint64_t size = 0;

        cr_expect_eq(config_amount_bytes(&half, 1001), 500);
        cr_expect_eq(config_amount_bytes(&half, UINT64_MAX), UINT64_MAX / 100 * 50 + UINT64_MAX % 100 / 2);
        cr_expect_eq(config_amount_bytes(&fixed, 1001), 7);
        cr_expect_eq(config_amount_bytes(&none, 1001), CONFIG_NO_LIMIT);
        cr_expect_eq(config_value_size("3T", &size), 0);
        cr_expect_eq(size, 3ull << 40);
        cr_expect_eq(config_value_size("4k", &size), 0);
        cr_expect_eq(size, 4096);
        cr_expect_eq(config_value_size("17592186044417G", &size), -ERANGE);
        cr_expect_eq(size, 4096, "untouched on failure");
}
