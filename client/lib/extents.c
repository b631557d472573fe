/* SPDX-License-Identifier: MIT
 *
 * extents.c -- the list of extents of one row in one plane class, one block of memory that grows by doubling.
 */
#include "extents.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PLACES_MIN 4u

static size_t place_size(uint32_t planes)
{
        return sizeof(struct extent_place) + planes * sizeof(uint64_t);
}

struct extent_place *extents_at(const struct extents *list, uint32_t planes, uint32_t index)
{
        assert(index < list->n);
        return (struct extent_place *)(void *)((char *)list->places + index * place_size(planes));
}

uint32_t extents_end(const struct extents *list, uint32_t planes, uint32_t n)
{
        const struct extent_place *last;

        if (n == 0)
                return 0;
        last = extents_at(list, planes, n - 1);
        return last->first + (1u << last->order);
}

uint64_t extents_pages(const struct extents *list, uint32_t planes, uint32_t from)
{
        uint64_t pages = 0;

        for (uint32_t i = from; i < list->n; i++)
                pages += extent_place_pages(extents_at(list, planes, i));
        return pages;
}

uint32_t extents_reaching(const struct extents *list, uint32_t planes, uint32_t pages)
{
        uint32_t low = 0, high = list->n; /* places below `low` start below `pages`, from `high` on they do not */

        while (low < high) {
                const uint32_t middle = low + (high - low) / 2;

                if (extents_at(list, planes, middle)->first < pages)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int append(struct extents *list, uint32_t planes, uint32_t first, uint32_t order, struct extent_place **ret)
{
        struct extent_place *place;

        if (list->n == list->capacity) {
                const uint32_t capacity = list->capacity == 0 ? PLACES_MIN : 2 * list->capacity;
                void *places = realloc(list->places, capacity * place_size(planes));

                if (!places)
                        return -ENOMEM;
                list->places = places;
                list->capacity = capacity;
        }
        list->n++;
        place = extents_at(list, planes, list->n - 1);
        place->present = 0;
        place->first = first;
        place->order = order;
        *ret = place;
        return 0;
}

int extents_place(struct extents *list, uint32_t planes, uint32_t from, uint32_t from_page, uint32_t plane,
                  uint32_t first, uint32_t order, struct extent_place **ret)
{
        const uint32_t end = list->n > from ? extents_end(list, planes, list->n) : from_page;
        struct extent_place *place;
        uint32_t index;

        assert(plane < planes && from <= list->n);
        if (first == end)
                return append(list, planes, first, order, ret);
        index = extents_reaching(list, planes, first);
        if (first > end || index >= list->n || index < from)
                return -EBADMSG;
        place = extents_at(list, planes, index);
        if (place->first != first || place->order != order || place->present >> plane & 1)
                return -EBADMSG;
        *ret = place;
        return 0;
}

uint32_t extents_complete(const struct extents *list, uint32_t planes, uint32_t from)
{
        const uint64_t all = UINT64_MAX >> (64 - planes);
        uint32_t index = from;

        assert(planes >= 1 && planes <= 64 && from <= list->n);
        while (index < list->n && extents_at(list, planes, index)->present == all)
                index++;
        return index - from;
}

void extents_free(struct extents *list)
{
        free(list->places);
        *list = (struct extents){ 0 };
}
