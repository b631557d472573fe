/* SPDX-License-Identifier: MIT
 *
 * attach.c -- see attach.h. The link of many places is younger than the headers that we build with, so its numbers
 * stand here.
 */
#include "attach.h"

#include <assert.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRACE_UPROBE_MULTI  48 /* BPF_TRACE_UPROBE_MULTI */
#define UPROBE_MULTI_RETURN 1u /* BPF_F_UPROBE_MULTI_RETURN */

/* union bpf_attr of BPF_LINK_CREATE, as Linux 6.6 has it. */
struct create_link {
        uint32_t program, target, type, flags;
        uint64_t path, offsets, references, cookies;
        uint32_t n, multi_flags, pid, reserved;
};

void attach_prepare(struct bpf_object *object, bool many)
{
        struct bpf_program *program;

        bpf_object__for_each_program(program, object) if (many && bpf_program__type(program) == BPF_PROG_TYPE_KPROBE)(
                void) bpf_program__set_expected_attach_type(program, (enum bpf_attach_type)TRACE_UPROBE_MULTI);
}

static int attach_many(struct attachments *a, const struct bpf_program *program, const char *path,
                       const uint64_t *offsets, const uint64_t *cookies, uint32_t n, bool returns)
{
        struct create_link create = { .program = (uint32_t)bpf_program__fd(program),
                                      .type = TRACE_UPROBE_MULTI,
                                      .path = (uintptr_t)path,
                                      .offsets = (uintptr_t)offsets,
                                      .cookies = (uintptr_t)cookies,
                                      .n = n,
                                      .multi_flags = returns ? UPROBE_MULTI_RETURN : 0 };
        int *fds = realloc(a->fds, (a->n_fds + 1) * sizeof(*fds));
        int fd;

        if (!fds)
                return -ENOMEM;
        a->fds = fds;
        fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &create, sizeof(create));
        if (fd < 0)
                return -errno;
        fds[a->n_fds++] = fd;
        return 0;
}

static int attach_one(struct attachments *a, const struct bpf_program *program, const char *path, uint64_t offset,
                      uint64_t cookie, bool returns)
{
        const struct bpf_uprobe_opts options = { .sz = sizeof(options), .retprobe = returns, .bpf_cookie = cookie };
        struct bpf_link **links = realloc(a->links, (a->n_links + 1) * sizeof(struct bpf_link *));
        struct bpf_link *link;

        if (!links)
                return -ENOMEM;
        a->links = links;
        link = bpf_program__attach_uprobe_opts(program, -1, path, offset, &options);
        if (!link)
                return -errno;
        links[a->n_links++] = link;
        return 0;
}

int attach_places(struct attachments *a, const struct bpf_program *program, const char *path, const uint64_t *offsets,
                  const uint64_t *cookies, uint32_t n, bool returns)
{
        const uint32_t before = a->n_links;
        int r = 0;

        assert(n <= ATTACH_MAX);

        if (n == 0)
                return 0;
        if (a->many)
                return attach_many(a, program, path, offsets, cookies, n, returns);
        for (uint32_t i = 0; i < n && r == 0; i++)
                r = attach_one(a, program, path, offsets[i], cookies[i], returns);
        while (r < 0 && a->n_links > before)
                (void)bpf_link__destroy(a->links[--a->n_links]);
        return r;
}

void attach_done(struct attachments *a)
{
        for (uint32_t i = 0; i < a->n_links; i++)
                (void)bpf_link__destroy(a->links[i]);
        for (uint32_t i = 0; i < a->n_fds; i++)
                (void)close(a->fds[i]);
        free(a->links);
        free(a->fds);
        *a = (struct attachments){ 0 };
}
