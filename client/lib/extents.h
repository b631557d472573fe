/* SPDX-License-Identifier: MIT
 *
 * extents.h -- what backs one row in one plane class: a contiguous run of pages from the row's start.
 *
 * The planes of a class grow alike, so an extent has a *place* (first page, order) that all of them share, and an id in
 * each plane. Places follow each other without a gap. While a grant is under way its last places lack extents in some
 * planes; they count only once all planes have theirs. The same is so of places at the end that are *stuck*: to be
 * given back, but the driver did not let go of all of them. They are the daemon's until it does.
 */
#ifndef LIB_EXTENTS_H
#define LIB_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

struct extent_place {
        uint64_t present; /* bit mask of planes */
        uint32_t first;   /* page of the row */
        uint32_t order;   /* 1 << order pages */
        uint64_t ids[];   /* one a plane */
};

/* Of all its extents. */
static inline uint64_t extent_place_pages(const struct extent_place *place)
{
        return (uint64_t)__builtin_popcountll(place->present) << place->order;
}

struct extents {
        uint32_t mapped; /* pages, in every plane */
        uint32_t n;      /* places */
        uint32_t stuck;  /* of these, at the end */
        uint32_t keep;   /* while the row shrinks: places that stay */
        uint32_t capacity;
        void *places;
};

struct extent_place *extents_at(const struct extents *list, uint32_t planes, uint32_t index);

/* The place at `first` among those from index `from` on, appended where it follows the last one. `from_page` is where
 * the first of them has to start. -EBADMSG: neither, or of another order, or that plane has its extent already;
 * -ENOMEM. */
int extents_place(struct extents *list, uint32_t planes, uint32_t from, uint32_t from_page, uint32_t plane,
                  uint32_t first, uint32_t order, struct extent_place **ret);

/* How many of the places from index `from` on have an extent in every plane, counted up to the first that has not. */
uint32_t extents_complete(const struct extents *list, uint32_t planes, uint32_t from);

/* How many places there are of which at least one page lies below `pages`. */
uint32_t extents_reaching(const struct extents *list, uint32_t planes, uint32_t pages);

/* The page after the first `n` places. */
uint32_t extents_end(const struct extents *list, uint32_t planes, uint32_t n);

/* Pages of all extents of the places from index `from` on. */
uint64_t extents_pages(const struct extents *list, uint32_t planes, uint32_t from);

void extents_free(struct extents *list);

#endif
