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
        if (n == 0 || conn_is_dead(giveback->conn))
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

void giveback_unmap(struct kvp_cache *cache, uint32_t row, uint32_t class, uint32_t from)
{
        const struct extents *list = cache_extents(cache, row, class);
        const uint32_t planes = cache->layout.classes[class].planes, first = extents_end(list, planes, from);
        const uint64_t bytes = (uint64_t)(extents_end(list, planes, list->n) - first) << cache->layout.page_shift;

        for (uint32_t plane = 0; plane < planes && !cache->mem->whole && bytes > 0; plane++)
                cache->mem->unmap(cache->mem_device, cache_address(cache, class, plane, row, first), bytes);
        for (uint32_t i = from; i < list->n && cache->mem->whole; i++) {
                const struct extent_place *place = extents_at(list, planes, i);

                for (uint32_t plane = 0; plane < planes; plane++)
                        if (place->present >> plane & 1)
                                cache->mem->unmap(cache->mem_device,
                                                  cache_address(cache, class, plane, row, place->first),
                                                  UINT64_C(1) << place->order << cache->layout.page_shift);
        }
}

uint64_t giveback_places(struct giveback *giveback, struct kvp_cache *cache, uint32_t row, uint32_t class,
                         uint32_t from)
{
        const struct extents *list = cache_extents(cache, row, class);
        const uint32_t planes = cache->layout.classes[class].planes;
        uint64_t count = 0;

        giveback_unmap(cache, row, class, from);
        for (uint32_t i = from; i < list->n; i++) {
                const struct extent_place *place = extents_at(list, planes, i);

                for (uint32_t plane = 0; plane < planes; plane++)
                        if (place->present >> plane & 1) {
                                giveback_add(giveback, place->ids[plane]);
                                count++;
                        }
        }
        return count;
}
