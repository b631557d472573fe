/* SPDX-License-Identifier: MIT
 *
 * attach.h -- a program is attached to places in a file, each with a cookie of its own, whoever maps it.
 *
 * From Linux 6.6 on all places are one link, for which CAP_BPF and CAP_PERFMON do, and which takes and gives up all of
 * them at once. Before, each is an event of perf, for which kernels since 2025 want CAP_SYS_ADMIN. Which of the two a
 * program is meant for has to be said when it is loaded.
 */
#ifndef BPF_ATTACH_H
#define BPF_ATTACH_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdint.h>

#define ATTACH_MAX 64u /* places of one call */

struct attachments {
        bool many;               /* one link for many places */
        struct bpf_link **links; /* of perf, owned */
        int *fds;                /* links of many places, owned */
        uint32_t n_links, n_fds;
};

/* Says that all uprobes of the object are for links of many places; before it is loaded. */
void attach_prepare(struct bpf_object *object, bool many);

/* 0, or a negative errno and nothing is attached. */
int attach_places(struct attachments *a, const struct bpf_program *program, const char *path, const uint64_t *offsets,
                  const uint64_t *cookies, uint32_t n, bool returns);

void attach_done(struct attachments *a);

#endif
