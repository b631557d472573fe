/* SPDX-License-Identifier: MIT
 *
 * giveback.c -- unmapping and returning.
 */
#include "giveback.h"

void giveback_init(struct giveback *giveback, struct kvp_conn *conn, enum wire_return_reason reason)
{
        giveback->conn = conn;
        giveback->reason = reason;
        giveback->n = 0;
}

void giveback_send(struct giveback *giveback)
{
        const struct wire_return fixed = { .reason = giveback->reason };
        const uint32_t n = giveback->n;

        giveback->n = 0;
        if (n == 0 || conn_is_down(giveback->conn))
                return;
        if (conn_send(giveback->conn, WIRE_RETURN, NULL, REQUEST_FREE, &fixed, giveback->ids, n,
                      deadline_in(giveback->conn->patience_usec)) == -ETIMEDOUT)
                conn_fail(giveback->conn);
}

void giveback_add(struct giveback *giveback, uint64_t id)
{
        giveback->ids[giveback->n++] = id;
        if (giveback->n == WIRE_MAX_RETURN)
                giveback_send(giveback);
}

/* Takes an extent off the list; it is unmapped. */
static void forget(struct giveback *giveback, struct extent_place *place, uint32_t plane)
{
        place->present &= ~(UINT64_C(1) << plane);
        if (giveback)
                giveback_add(giveback, place->ids[plane]);
}

/* Adjacent extents in one call a plane. Returns the number of extents. */
static uint64_t give_run(struct giveback *giveback, struct kvp_cache *cache, uint32_t row, uint32_t class,
                         uint32_t from)
{
        struct extents *list = cache_extents(cache, row, class);
        const uint32_t planes = cache->layout.classes[class].planes, first = extents_end(list, planes, from);
        const uint64_t bytes = (uint64_t)(extents_end(list, planes, list->n) - first) << cache->layout.page_shift;
        uint64_t count = 0;
        int r = 0;

        for (uint32_t plane = 0; plane < planes && bytes > 0 && r == 0; plane++)
                r = cache->mem->unmap(cache->mem_device, cache_address(cache, class, plane, row, first), bytes);
        for (uint32_t i = from; i < list->n && r == 0; i++) {
                struct extent_place *place = extents_at(list, planes, i);

                for (uint32_t plane = 0; plane < planes; plane++)
                        if (place->present >> plane & 1) {
                                forget(giveback, place, plane);
                                count++;
                        }
        }
        if (r == 0)
                list->n = from;
        return count;
}

/* Each by itself, from the end up to the first that stays. */
static uint64_t give_one_by_one(struct giveback *giveback, struct kvp_cache *cache, uint32_t row, uint32_t class,
                                uint32_t from)
{
        struct extents *list = cache_extents(cache, row, class);
        const uint32_t planes = cache->layout.classes[class].planes;
        uint64_t count = 0;

        for (; list->n > from; list->n--) {
                struct extent_place *place = extents_at(list, planes, list->n - 1);

                for (uint32_t plane = 0; plane < planes; plane++) {
                        if (!(place->present >> plane & 1))
                                continue;
                        if (cache->mem->unmap(cache->mem_device, cache_address(cache, class, plane, row, place->first),
                                              UINT64_C(1) << place->order << cache->layout.page_shift) < 0)
                                return count;
                        forget(giveback, place, plane);
                        count++;
                }
        }
        return count;
}

uint64_t giveback_places(struct giveback *giveback, struct kvp_cache *cache, uint32_t row, uint32_t class,
                         uint32_t from)
{
        struct extents *list = cache_extents(cache, row, class);
        const uint64_t count = cache->mem->whole ? give_one_by_one(giveback, cache, row, class, from)
                                                 : give_run(giveback, cache, row, class, from);

        list->stuck = list->n - from;
        return count;
}
