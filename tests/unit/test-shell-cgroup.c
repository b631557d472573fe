/* SPDX-License-Identifier: MIT
 *
 * test-shell-cgroup.c -- which unit and slices a path of the cgroup tree is in, and what must not be taken for one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cgroup.h"

#define USER "/user.slice/user-1000.slice/user@1000.service"

Test(cgroup, units_of_the_system)
{
        static const struct {
                const char *path, *pattern;
                bool in;
        } cases[] = {
                { "/system.slice/chat.service", "chat.service", true },
                { "/system.slice/chat.service", "cha.service", false },
                { "/system.slice/chat.service", "chat.service.d", false },
                { "/system.slice/chat.service", "ch*.service", true },
                { "/system.slice/chat.service/worker/3", "chat.service", true },
                { "/init.scope", "init.scope", true },
                { "/a.slice/a-b.slice/chat.service", "chat.service", true },
                { "/system.slice/system-serve.slice/serve@gpu0.service", "serve@*.service", true },
                { "/system.slice/system-serve.slice/serve@gpu0.service", "serve@gpu1.service", false },
                { "/system.slice/system-serve.slice/serve@gpu0.service", "serve@?pu[0-3].service", true },
                /* Escaped, so that the kernel does not take it for a file of its own. */
                { "/system.slice/_cpu.service", "cpu.service", true },
                { "/system.slice/_cpu.service", "_cpu.service", false },
                { "/system.slice/a\\x2db.service", "a\\x2db.service", true },
                { "/system.slice/a\\x2db.service", "a*b.service", true },
                /* What a unit makes of its own is not systemd's. */
                { "/system.slice/evil.service/chat.service", "chat.service", false },
                { "/system.slice/evil.service/x.slice/chat.service", "chat.service", false },
                { "/docker/abc/system.slice/chat.service", "chat.service", false },
                { "/system.slice", "system.slice", false },
                { "/", "*", false },
                /* Nor are the units of a user's manager the system's. */
                { USER "/app.slice/chat.service", "chat.service", false },
                { USER "/app.slice/chat.service", "user@1000.service", true },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                cr_expect_eq(cgroup_in_unit(cases[i].path, CGROUP_SYSTEM, cases[i].pattern), cases[i].in, "%s in %s",
                             cases[i].path, cases[i].pattern);
}

Test(cgroup, units_of_a_user)
{
        cr_expect(cgroup_in_unit(USER "/app.slice/chat.service", 1000, "chat.service"));
        cr_expect(cgroup_in_unit(USER "/app.slice/app-x.slice/chat@1.service/sub", 1000, "chat@*.service"));
        cr_expect(cgroup_in_unit(USER "/init.scope", 1000, "init.scope"));
        cr_expect_not(cgroup_in_unit(USER "/app.slice/chat.service", 1001, "chat.service"));
        cr_expect_not(cgroup_in_unit("/system.slice/chat.service", 1000, "chat.service"));
        cr_expect_not(cgroup_in_unit(USER, 1000, "user@1000.service"));
        /* Whoever names his unit like a manager of another's. */
        cr_expect_not(cgroup_in_unit("/system.slice/user@1000x.service/chat.service", 1000, "chat.service"));
        cr_expect_not(cgroup_in_unit("/system.slice/user@01000.service/chat.service", 1000, "chat.service"));
        cr_expect_not(cgroup_in_unit("/system.slice/user@-1.service/chat.service", CGROUP_SYSTEM, "chat.service"));
        cr_expect_not(cgroup_in_unit(USER "/app.slice/evil.service/user@7.service/chat.service", 7, "chat.service"));
}

Test(cgroup, slices_at_any_depth)
{
        static const char path[] = "/serve.slice/serve-chat.slice/chat.service/x.slice";

        cr_expect(cgroup_in_slice(path, CGROUP_SYSTEM, "serve.slice"));
        cr_expect(cgroup_in_slice(path, CGROUP_SYSTEM, "serve-chat.slice"));
        cr_expect(cgroup_in_slice(path, CGROUP_SYSTEM, "serve-*.slice"));
        cr_expect_not(cgroup_in_slice(path, CGROUP_SYSTEM, "chat.slice"));
        cr_expect_not(cgroup_in_slice(path, CGROUP_SYSTEM, "x.slice"), "made by the unit");
        cr_expect_not(cgroup_in_slice(path, CGROUP_SYSTEM, "chat.service"));
        cr_expect(cgroup_in_slice(USER "/app.slice/chat.service", CGROUP_SYSTEM, "user-1000.slice"));
        cr_expect_not(cgroup_in_slice(USER "/app.slice/chat.service", CGROUP_SYSTEM, "app.slice"));
        cr_expect(cgroup_in_slice(USER "/app.slice/chat.service", 1000, "app.slice"));
        cr_expect_not(cgroup_in_slice(USER "/app.slice/chat.service", 1000, "user.slice"));
        cr_expect_not(cgroup_in_slice("/", CGROUP_SYSTEM, "*"));
}

Test(cgroup, groups_and_what_is_below)
{
        cr_expect(cgroup_in_group("/a/b", "/a/b"));
        cr_expect(cgroup_in_group("/a/b/c", "/a/b"));
        cr_expect(cgroup_in_group("/a/b", "/"));
        cr_expect(cgroup_in_group("/", "/"));
        cr_expect_not(cgroup_in_group("/a/bc", "/a/b"));
        cr_expect_not(cgroup_in_group("/a", "/a/b"));
        cr_expect_not(cgroup_in_group("/", "/a"));
}

static void path_is(const char *text, const char *expected)
{
        char path[64];

        cr_expect_eq(cgroup_path_from_text(text, path, sizeof(path)), 0, "%s", text);
        cr_expect_str_eq(path, expected);
}

Test(cgroup, the_file_that_the_path_is_read_from)
{
        char path[16] = "kept";

        path_is("0::/system.slice/chat.service\n", "/system.slice/chat.service");
        path_is("9:name=systemd:/old\n8:pids:/x\n0::/new\n", "/new");
        path_is("9:cpu,cpuacct:/x\n1:name=systemd:/old\n", "/old");
        path_is("0::/", "/");
        path_is("0::/a:b::c\n", "/a:b::c");
        cr_expect_eq(cgroup_path_from_text("", path, sizeof(path)), -ENOENT);
        cr_expect_eq(cgroup_path_from_text("3:memory:/x\n", path, sizeof(path)), -ENOENT);
        cr_expect_eq(cgroup_path_from_text("0::/../other\n", path, sizeof(path)), -ENOENT, "outside of what we see");
        cr_expect_eq(cgroup_path_from_text("0::\n", path, sizeof(path)), -ENOENT);
        cr_expect_eq(cgroup_path_from_text("0::/0123456789abcdef\n", path, sizeof(path)), -ENAMETOOLONG);
        cr_expect_str_eq(path, "kept");
}

Test(cgroup, said_as_a_match_would_have_it)
{
        char text[64];

        cr_expect_str_eq(cgroup_describe("/system.slice/chat.service/x", text, sizeof(text)), "unit:chat.service");
        cr_expect_str_eq(cgroup_describe(USER "/app.slice/chat.service", text, sizeof(text)), "unit:1000/chat.service");
        cr_expect_str_eq(cgroup_describe(USER, text, sizeof(text)), "unit:user@1000.service");
        cr_expect_str_eq(cgroup_describe("/some/where", text, sizeof(text)), "cgroup:/some/where");
        cr_expect_str_eq(cgroup_describe("/a.slice", text, sizeof(text)), "cgroup:/a.slice");
}
