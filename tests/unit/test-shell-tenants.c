/* SPDX-License-Identifier: MIT
 *
 * test-shell-tenants.c -- who belongs to which tenant, and which of the core's tenants that is over reloads.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "core.h"
#include "identity.h"
#include "ratelimit.h"
#include "tenants.h"

static struct config *make(const char *names)
{
        struct config *config = config_default();
        char *copy = strdup(names), *save = NULL;

        config->n_tenants = 0;
        for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
                struct config_tenant *t = &config->tenants[config->n_tenants++];

                *t = (struct config_tenant){ .max = { .percent = 50 },
                                             .high = { .bytes = CONFIG_NO_LIMIT },
                                             .weight = 7 };
                snprintf(t->name, sizeof(t->name), "%s", name);
        }
        free(copy);
        return config;
}

static struct core *core;
static struct core_action buffer[2 * CORE_ACTIONS_MAX];
static struct core_actions actions = { .v = buffer, .capacity = 2 * CORE_ACTIONS_MAX };

static void setup(void)
{
        struct core_params params = {
                .max_extents = 64, .max_workers = 8, .max_caches = 8, .max_rows = 64, .max_requests = 64
        };
        size_t size = core_size(&params);
        void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

        memset(memory, 0, size);
        core = core_init(memory, &params);
}

static void teardown(void)
{
        free(core);
}

TestSuite(tenants, .init = setup, .fini = teardown);

/* What the daemon does at a reload. */
static int take(struct tenants *tenants, struct config *config)
{
        struct core_event event;
        struct tenants plan = { 0 };
        int r = tenants_plan(tenants, config, core, &plan);

        if (r < 0)
                return r;
        for (uint32_t i = 0; i < tenants->n_config; i++) {
                bool stays = false;
                for (uint32_t k = 0; k < plan.n_config; k++)
                        stays |= plan.of_config[k] == tenants->of_config[i];
                if (stays)
                        continue;
                core_event_init(&event, CORE_EV_TENANT_REMOVE, 0);
                event.tenant_remove.tenant = tenants->of_config[i];
                core_apply(core, &event, &actions);
                actions.n = 0;
        }
        *tenants = plan;
        for (uint32_t i = 0; i < config->n_tenants; i++) {
                tenants_event(tenants, config, i, 1000, 0, &event);
                core_apply(core, &event, &actions);
                actions.n = 0;
        }
        free(config);
        return 0;
}

static uint32_t join(uint32_t tenant)
{
        struct core_event event;
        uint32_t worker;

        core_event_init(&event, CORE_EV_WORKER_ADD, 0);
        event.worker_add.tenant = tenant;
        core_apply(core, &event, &actions);
        cr_assert_eq(actions.n, 1);
        cr_assert_eq(buffer[0].type, CORE_ACT_WELCOME);
        worker = buffer[0].worker;
        actions.n = 0;
        return worker;
}

static bool has(uint32_t index, const char *name)
{
        struct core_tenant_info info;

        return core_tenant_info(core, index, &info) && strcmp(info.name, name) == 0;
}

Test(tenants, keep_their_index_over_reloads)
{
        struct tenants *t = calloc(1, sizeof(*t));
        struct core_tenant_info info;

        cr_assert_eq(take(t, make("a b c")), 0);
        cr_assert(has(0, "a") && has(1, "b") && has(2, "c"));
        cr_assert(core_tenant_info(core, 0, &info));
        cr_expect_eq(info.max_bytes, 500);
        cr_expect_eq(info.high_bytes, UINT64_MAX);
        cr_expect_eq(info.weight, 7);

        join(1);
        cr_assert_eq(take(t, make("c a d")), 0);
        cr_expect(has(0, "a") && has(2, "c"), "those that stay");
        cr_expect(has(1, "b"), "one with a worker lingers");
        cr_expect(has(3, "d"));
        cr_expect(t->of_config[0] == 2 && t->of_config[1] == 0 && t->of_config[2] == 3);

        cr_assert_eq(take(t, make("b e")), 0);
        cr_expect(t->of_config[0] == 1, "named again, it is the same one");
        cr_expect(has(t->of_config[1], "e") && t->of_config[1] != 1, "a free place is used again");
        cr_expect_eq(core_n_tenants(core), 2);
        free(t);
}

Test(tenants, too_many_with_those_that_linger)
{
        struct tenants *t = calloc(1, sizeof(*t)), before;
        char names[CONFIG_MAX_TENANTS * 8] = "";
        struct config *config;

        cr_assert_eq(take(t, make("old")), 0);
        join(0);
        for (unsigned i = 0; i < CONFIG_MAX_TENANTS; i++)
                snprintf(names + strlen(names), sizeof(names) - strlen(names), "t%u ", i);
        memcpy(&before, t, sizeof(before));
        config = make(names);
        cr_expect_eq(tenants_plan(t, config, core, t), -ENOSPC);
        cr_expect_eq(memcmp(&before, t, sizeof(before)), 0, "nothing changed");
        free(config);
        free(t);
}

Test(identity, of_ourselves)
{
        int fds[2], pipes[2];
        struct identity identity;

        cr_assert_eq(pipe(pipes), 0);
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
        cr_assert_eq(identity_of_socket(fds[0], &identity), 0);
        cr_expect_eq(identity.pid, getpid());
        cr_expect_eq(identity.uid, geteuid());
        cr_expect_eq(identity.gid, getegid());
        cr_expect_eq((int)identity.n_groups, getgroups(0, NULL));
        cr_expect_eq(identity_of_socket(pipes[0], &identity), -ENOTSOCK);
}

/* A child that waits for a byte on its pipe, and one that has ended and was not waited for. */
static pid_t start_child(int *ret_end)
{
        int ends[2];
        char byte;
        pid_t pid;

        cr_assert_eq(pipe(ends), 0);
        pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
                close(ends[1]);
                (void)!read(ends[0], &byte, 1);
                _exit(0);
        }
        close(ends[0]);
        *ret_end = ends[1];
        return pid;
}

static void own_cgroup(char path[static CGROUP_PATH_MAX])
{
        char text[8192] = "";
        FILE *file = fopen("/proc/self/cgroup", "re");

        cr_assert(file && fread(text, 1, sizeof(text) - 1, file) > 0);
        fclose(file);
        cr_assert_eq(cgroup_path_from_text(text, path, CGROUP_PATH_MAX), 0);
}

Test(identity, where_we_are)
{
        char expected[CGROUP_PATH_MAX], *path = NULL;
        int fds[2];

        own_cgroup(expected);
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
        cr_assert_eq(identity_cgroup(fds[0], getpid(), identity_now(), &path), 0);
        cr_expect_str_eq(path, expected);
        free(path);
        path = NULL;
        cr_assert_eq(identity_cgroup_by_number(getpid(), identity_now(), &path), 0, "as before Linux 6.5");
        cr_expect_str_eq(path, expected);
        free(path);
}

Test(identity, of_whoever_is_gone)
{
        char *path = NULL;
        siginfo_t info;
        int end;
        pid_t child = start_child(&end);

        cr_expect_eq(identity_cgroup_by_number(child, identity_now(), &path), 0);
        free(path);
        path = NULL;
        cr_expect_eq(identity_cgroup_by_number(child, 0, &path), -ESRCH,
                     "started after it was accepted: another's number");
        close(end);
        cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
        cr_expect_eq(identity_cgroup_by_number(child, identity_now(), &path), -ESRCH, "it has ended");
        cr_assert_eq(waitpid(child, NULL, 0), child);
        cr_expect_eq(identity_cgroup_by_number(child, identity_now(), &path), -ESRCH, "there is none of that number");
        cr_expect_eq(identity_cgroup_by_number(0, identity_now(), &path), -ESRCH, "of another pid namespace");
        cr_expect_null(path);
}

/* The process that connected has ended, its socket lives on in another. */
Test(identity, of_a_socket_that_was_handed_on)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "\0kvp-identity" };
        int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), fd, go[2], status;
        struct identity identity;
        char *path = NULL;
        pid_t child;

        snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "kvp-identity-%d", (int)getpid());
        cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(listener, 1), 0);
        cr_assert_eq(pipe(go), 0);
        child = fork();
        if (child == 0) {
                char byte;

                fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
                if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                        _exit(1);
                if (fork() > 0)
                        _exit(0); /* the grandchild keeps the socket */
                close(go[1]);
                (void)!read(go[0], &byte, 1);
                _exit(0);
        }
        close(go[0]);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0);
        fd = accept(listener, NULL, NULL);
        cr_assert_geq(fd, 0);
        cr_assert_eq(identity_of_socket(fd, &identity), 0);
        cr_expect_eq(identity.pid, child);
        cr_expect_eq(identity_cgroup(fd, identity.pid, identity_now(), &path), -ESRCH);
        cr_expect_null(path);
        cr_expect_eq(identity_kill(fd, identity.pid, identity_now()), -ESRCH,
                     "the one that holds it now did not connect");
        close(go[1]);
}

static void match(struct config_tenant *t, enum config_match_kind kind, uint32_t id)
{
        t->matches[t->n_matches++] = (struct config_match){ .kind = kind, .id = id };
}

static void match_text(struct config_tenant *t, enum config_match_kind kind, uint32_t id, const char *text)
{
        match(t, kind, id);
        snprintf(t->matches[t->n_matches - 1].text, CONFIG_MATCH_TEXT, "%s", text);
}

Test(identity, the_first_tenant_that_matches)
{
        struct config *c = make("one two three");
        struct identity who = { .uid = 1000, .gid = 100, .n_groups = 2, .groups = { 50, 60 } };

        match(&c->tenants[0], CONFIG_MATCH_UID, 999);
        match(&c->tenants[1], CONFIG_MATCH_UID, 1);
        match(&c->tenants[1], CONFIG_MATCH_GID, 60);
        match(&c->tenants[2], CONFIG_MATCH_ANY, 0);
        cr_expect_eq(identity_find_tenant(&who, c, ""), 1, "by a supplementary group");
        cr_expect_eq(identity_find_tenant(&who, c, "three"), 2, "by name");
        cr_expect_eq(identity_find_tenant(&who, c, "one"), -ESRCH, "of a name that does not match");
        cr_expect_eq(identity_find_tenant(&who, c, "four"), -ESRCH);
        who.n_groups = 1;
        cr_expect_eq(identity_find_tenant(&who, c, ""), 2);
        who.gid = 60;
        cr_expect_eq(identity_find_tenant(&who, c, ""), 1, "by the primary group");
        c->n_tenants = 1;
        cr_expect_eq(identity_find_tenant(&who, c, ""), -EACCES);
        free(c);
}

Test(identity, by_unit_slice_and_cgroup)
{
        struct config *c = make("unit slice group user rest");
        struct identity who = { .uid = 1000, .gid = 100 };
        static const struct {
                const char *cgroup;
                int tenant;
        } cases[] = { { "/system.slice/chat.service", 0 },
                      { "/serve.slice/serve-a.slice/x.service", 1 },
                      { "/pods/7/x", 2 },
                      { "/pods/77", -EACCES },
                      { "/user.slice/user-5.slice/user@5.service/app.slice/chat.service", 3 },
                      { "/user.slice/user-6.slice/user@6.service/app.slice/chat.service", -EACCES },
                      { NULL, -EACCES } };

        match_text(&c->tenants[0], CONFIG_MATCH_UNIT, CGROUP_SYSTEM, "chat.service");
        match_text(&c->tenants[1], CONFIG_MATCH_SLICE, CGROUP_SYSTEM, "serve.slice");
        match_text(&c->tenants[2], CONFIG_MATCH_CGROUP, 0, "/pods/7");
        match_text(&c->tenants[3], CONFIG_MATCH_UNIT, 5, "chat.service");
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                who.cgroup = cases[i].cgroup;
                cr_expect_eq(identity_find_tenant(&who, c, ""), cases[i].tenant, "%s", cases[i].cgroup);
        }
        free(c);
}

Test(ratelimit, a_burst_an_interval)
{
        struct ratelimit limit = { .interval_usec = 100, .burst = 2 };
        uint32_t suppressed;

        cr_expect(ratelimit_allow(&limit, 1000, &suppressed) && suppressed == 0);
        cr_expect(ratelimit_allow(&limit, 1050, &suppressed) && suppressed == 0);
        cr_expect_not(ratelimit_allow(&limit, 1060, &suppressed));
        cr_expect_not(ratelimit_allow(&limit, 1099, &suppressed));
        cr_expect(ratelimit_allow(&limit, 1100, &suppressed) && suppressed == 2);
        cr_expect(ratelimit_allow(&limit, 1101, &suppressed) && suppressed == 0);
        cr_expect_not(ratelimit_allow(&limit, 1102, &suppressed));
}
