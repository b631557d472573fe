/* SPDX-License-Identifier: MIT
 *
 * contents-marks.c -- a mark at the start of each page: who wrote it, for which request, and where it is.
 *
 * Before a mark is written the page must be zero (fresh) or carry this worker's own mark for the very same place, left
 * by an earlier holder of the row; when the sequence ends, and before it is preempted, every mark must still be there.
 * So a page of someone else, a page that was not cleaned, and one page mapped at two places are all seen.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "contents.h"
#include "hash.h"

struct mark {
        uint64_t magic; /* of everything below */
        uint32_t worker, request, row, plane;
        uint64_t page;
};

/* A plane: where row 0 begins, how far rows are apart, and how much of it a token takes. */
struct plane {
        char *base;
        uint64_t row_stride, token_bytes;
};

struct marks {
        const struct places *places;
        struct plane *planes;
        uint32_t n_planes;
        struct contents_report report;
};

static void marks_free(void *data)
{
        struct marks *marks = data;

        free(marks->planes);
        free(marks);
}

static uint64_t mark_magic(const struct mark *mark)
{
        uint64_t magic = hash_fold(mark->page, (uint64_t)mark->worker << 32 | mark->request);

        return hash_fold(magic, (uint64_t)mark->row << 32 | mark->plane);
}

static struct mark mark_make(const struct marks *marks, const struct sequence *sequence, uint32_t plane, uint64_t page)
{
        struct mark mark = {
                .worker = marks->places->worker,
                .request = sequence->request->id,
                .row = sequence->row,
                .plane = plane,
                .page = page,
        };

        mark.magic = mark_magic(&mark);
        return mark;
}

static char *mark_place(const struct marks *marks, const struct sequence *sequence, uint32_t plane, uint64_t page)
{
        const struct plane *p = &marks->planes[plane];

        return p->base + sequence->row * p->row_stride + page * marks->places->page_size;
}

static uint64_t plane_pages(const struct marks *marks, uint32_t plane, uint64_t tokens)
{
        uint64_t bytes = tokens * marks->planes[plane].token_bytes, size = marks->places->page_size;

        return bytes / size + (bytes % size > 0);
}

/* Zero, or this worker's mark of this place from an earlier request. */
static bool mark_may_be_overwritten(const struct mark *old, const struct mark *new)
{
        static const struct mark zero;
        struct mark before = *new;

        if (memcmp(old, &zero, sizeof(zero)) == 0)
                return true;
        before.request = old->request;
        before.magic = mark_magic(&before);
        return memcmp(old, &before, sizeof(before)) == 0;
}

static int marks_begin(void *data, const struct sequence *sequence, uint64_t most_tokens)
{
        (void)data;
        (void)sequence;
        (void)most_tokens;
        return 0;
}

static int marks_write(void *data, const struct sequence *sequence, uint64_t from)
{
        struct marks *marks = data;

        assert(from < sequence->length);

        for (uint32_t plane = 0; plane < marks->n_planes; plane++) {
                uint64_t end = plane_pages(marks, plane, sequence->length);

                for (uint64_t page = plane_pages(marks, plane, from); page < end; page++) {
                        struct mark new = mark_make(marks, sequence, plane, page);
                        char *place = mark_place(marks, sequence, plane, page);
                        struct mark old;
                        int r = place_read(marks->places, place, &old, sizeof(old));

                        if (r < 0)
                                return r;
                        if (!mark_may_be_overwritten(&old, &new))
                                contents_mismatch(&marks->report,
                                                  "stale page or missed zero: row %" PRIu32 ", plane %" PRIu32
                                                  ", page %" PRIu64 " is neither zero nor this worker's",
                                                  sequence->row, plane, page);
                        r = place_write(marks->places, place, &new, sizeof(new));
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int marks_end(void *data, const struct sequence *sequence)
{
        struct marks *marks = data;

        for (uint32_t plane = 0; plane < marks->n_planes; plane++) {
                uint64_t end = plane_pages(marks, plane, sequence->length);

                for (uint64_t page = 0; page < end; page++) {
                        struct mark mark = mark_make(marks, sequence, plane, page), found;
                        int r = place_read(marks->places, mark_place(marks, sequence, plane, page), &found,
                                           sizeof(found));

                        if (r < 0)
                                return r;
                        if (memcmp(&found, &mark, sizeof(mark)) != 0)
                                contents_mismatch(&marks->report,
                                                  "wrong page: row %" PRIu32 ", plane %" PRIu32 ", page %" PRIu64
                                                  " lost its mark",
                                                  sequence->row, plane, page);
                }
        }
        return 0;
}

static const struct contents_ops marks_ops = {
        .begin = marks_begin,
        .write = marks_write,
        .end = marks_end,
        .free = marks_free,
};

int marks_new(const struct places *places, struct contents *ret_contents)
{
        const struct geometry *geometry = &places->geometry;
        uint32_t n_planes = geometry_planes(geometry, places->layout);
        struct marks *marks;

        assert(places->page_size >= sizeof(struct mark));
        assert(places->n_parts == 2 * geometry->layers);

        marks = calloc(1, sizeof(*marks));
        if (!marks)
                return -ENOMEM;
        *marks = (struct marks){ .places = places, .n_planes = n_planes };
        marks->planes = calloc(n_planes, sizeof(*marks->planes));
        if (!marks->planes) {
                free(marks);
                return -ENOMEM;
        }

        /* Plane i begins where part i does: each part is a plane, or layer 0's K and V begin two, or its K the only
         * one. */
        for (uint32_t i = 0; i < n_planes; i++)
                marks->planes[i] = (struct plane){
                        .base = places->parts[i].base,
                        .row_stride = places->parts[i].row_stride,
                        .token_bytes = geometry_token_bytes(geometry) / n_planes,
                };
        *ret_contents = (struct contents){ .ops = &marks_ops, .data = marks, .report = &marks->report };
        return 0;
}
