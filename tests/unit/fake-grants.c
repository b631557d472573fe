/* SPDX-License-Identifier: MIT
 *
 * fake-grants.c -- the fake daemon's memory: what it grants, takes back, and knows of a worker that comes back.
 */
#include "fake-parts.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- grants ---- */

static void *grown(void *array, uint64_t n, uint64_t *capacity, size_t size)
{
        if (n < *capacity)
                return array;
        *capacity = *capacity == 0 ? 64 : 2 * *capacity;
        array = realloc(array, *capacity * size);
        assert(array);
        return array;
}

static int extent_fd(struct fake *fake, uint16_t order)
{
        if (fake->spoil_every > 0 && ++fake->spoil_count % fake->spoil_every == 0)
                return eventfd(0, EFD_CLOEXEC);
        if (fake->stock_used < fake->n_stock)
                return fake->stock[fake->stock_used++]; /* closed in the end */
        return fake_memfd(fake->options.page_size << order);
}

static bool is_stock(const struct fake *fake, int fd)
{
        for (uint32_t i = 0; i < fake->n_stock; i++)
                if (fake->stock[i] == fd)
                        return true;
        return false;
}

void fake_flush(struct fake *fake)
{
        const uint32_t most = fake->options.max_per_message > 0 ? fake->options.max_per_message : WIRE_MAX_FDS;

        while (!fake->hold && fake->worker >= 0 && fake->queue_head < fake->queue_tail &&
               fake->granted - fake->acked < WIRE_MAX_UNACKED) {
                struct wire_item_grant *items = &fake->queue[fake->queue_head];
                uint64_t n = fake->queue_tail - fake->queue_head,
                         room = WIRE_MAX_UNACKED - (fake->granted - fake->acked);
                int fds[WIRE_MAX_FDS];

                n = n < most ? n : most;
                n = n < room ? n : room;
                for (uint64_t i = 0; i < n; i++)
                        fds[i] = extent_fd(fake, items[i].order);
                fake->granted += n;
                fake->queue_head += n;
                fake_say(fake, WIRE_GRANT, 0, NULL, items, (uint32_t)n, fds, (unsigned)n);
                for (uint64_t i = 0; i < n; i++)
                        if (!is_stock(fake, fds[i]))
                                (void)close(fds[i]);
        }
}

static bool is_granted(const struct fake *fake, const struct wire_item_grow *grow, uint32_t first, uint32_t pages)
{
        for (uint64_t i = 0; i < fake->n_extents; i++) {
                const struct fake_extent *e = &fake->extents[i];

                if (e->live && e->cache == grow->cache && e->row == grow->row && e->plane_class == grow->plane_class &&
                    e->first < first + pages && first < e->first + e->pages)
                        return true;
        }
        return false;
}

static void grant_plane(struct fake *fake, const struct wire_item_grow *grow, uint32_t request, uint16_t entry,
                        uint16_t plane, bool last)
{
        for (uint32_t page = grow->first, end = grow->first + grow->max; page < end;) {
                uint16_t order = 6;
                struct fake_extent *e;

                while (order > 0 && (page % (1u << order) != 0 || 1u << order > end - page))
                        order = (uint16_t)(order - 2);
                fake->extents = grown(fake->extents, fake->n_extents, &fake->extents_capacity, sizeof(*fake->extents));
                e = &fake->extents[fake->n_extents++];
                *e = (struct fake_extent){
                        .id = fake->n_extents | UINT64_C(7) << 40,
                        .cache = grow->cache,
                        .row = grow->row,
                        .first = page,
                        .pages = 1u << order,
                        .plane_class = grow->plane_class,
                        .plane = plane,
                        .live = true,
                };
                fake->pages += e->pages;
                fake->queue = grown(fake->queue, fake->queue_tail, &fake->queue_capacity, sizeof(*fake->queue));
                page += e->pages;
                fake->queue[fake->queue_tail++] = (struct wire_item_grant){
                        .extent = e->id,
                        .request = request,
                        .entry = entry,
                        .plane = plane,
                        .first = e->first,
                        .order = order,
                        .flags = last && page == end
                                         ? (uint16_t)(WIRE_GRANT_LAST | (fake->is_short ? WIRE_GRANT_SHORT : 0))
                                         : 0,
                };
        }
}

void fake_grow_one(struct fake *fake, struct wire_item_grow grow, uint32_t request, uint16_t entry)
{
        const bool optional = grow.flags & WIRE_GROW_OPTIONAL;
        enum wire_error_code error = optional ? fake->fail_optional : fake->fail;
        const struct wire_item_class *class;

        fake->optional += optional;
        if (grow.cache >= fake->n_caches || grow.row >= fake->caches[grow.cache].rows ||
            grow.plane_class >= fake->caches[grow.cache].n_classes) {
                fake_note_violation(fake, "GROW of no such row", grow.cache, grow.row);
                return;
        }
        class = &fake->caches[grow.cache].classes[grow.plane_class];
        if (grow.need == 0 || grow.need > grow.max || (uint64_t)grow.first + grow.max > class->row_pages)
                fake_note_violation(fake, "GROW out of range", grow.first, grow.max);
        else if (is_granted(fake, &grow, grow.first, grow.max))
                fake_note_violation(fake, "GROW of granted pages", grow.row, grow.first);
        if (fake->options.capacity > 0 && fake->pages + (uint64_t)grow.max * class->planes > fake->options.capacity)
                grow.max = grow.need;
        if (error == WIRE_E_NONE && fake->options.capacity > 0 &&
            fake->pages + (uint64_t)grow.need * class->planes > fake->options.capacity)
                error = optional ? WIRE_E_BUSY : WIRE_E_DEVICE_FULL;
        if (error != WIRE_E_NONE) {
                const struct wire_item_grow_failed failed = { .request = request, .entry = entry, .error = error };

                fake_say(fake, WIRE_GROW_FAILED, 0, NULL, &failed, 1, NULL, 0);
                return;
        }
        if (grow.cache == 0)
                fake->held[grow.row] = true;
        for (uint32_t plane = 0; plane < class->planes; plane++)
                grant_plane(fake, &grow, request, entry, (uint16_t)plane, plane == class->planes - 1);
        fake_flush(fake);
}

void fake_take_back(struct fake *fake, const struct wire_view *view)
{
        const struct wire_return *fixed = view->fixed;
        const struct wire_item_extent_id *items = view->items;

        for (uint32_t i = 0; i < view->n_items; i++) {
                const uint64_t index = (items[i].extent & UINT64_C(0xffffffffff)) - 1;

                if (fixed->reason == WIRE_RETURN_REFUSED)
                        fake->refused++;
                if (items[i].extent >> 40 != 7)
                        continue; /* made up by a test */
                if (index >= fake->n_extents || !fake->extents[index].live) {
                        fake_note_violation(fake, "RETURN of what is not granted", items[i].extent, fixed->reason);
                        continue;
                }
                fake->extents[index].live = false;
                fake->pages -= fake->extents[index].pages;
        }
}

/* ---- a worker that comes back ---- */

void fake_resume(struct fake *fake, const struct wire_view *view)
{
        const struct wire_resume *fixed = view->fixed;

        if (fixed->worker != 1 || fixed->token_low != TOKEN_LOW || fixed->token_high != TOKEN_HIGH)
                fake_note_violation(fake, "RESUME of another", fixed->worker, fixed->token_low);
        if (fake->forgotten) {
                fake_say_error(fake, view->header.request, WIRE_E_NOT_KNOWN);
                return;
        }
        for (uint64_t i = 0; i < fake->n_extents; i++)
                fake->extents[i].told = false;
        fake->resuming = true;
        fake_greet(fake, view);
}

void fake_holds(struct fake *fake, const struct wire_view *view)
{
        const struct wire_item_extent_id *items = view->items;

        if (!fake->resuming)
                fake_note_violation(fake, "HOLDS of one who does not resume", 0, 0);
        for (uint32_t i = 0; i < view->n_items; i++) {
                const uint64_t index = (items[i].extent & UINT64_C(0xffffffffff)) - 1;

                if (index >= fake->n_extents || !fake->extents[index].live || fake->extents[index].told)
                        fake_note_violation(fake, "HOLDS what is not granted, or twice", items[i].extent, 0);
                else
                        fake->extents[index].told = true;
        }
}

void fake_end_resume(struct fake *fake, const struct wire_view *view)
{
        const struct wire_item_cache_id *items = view->items;

        if (!fake->resuming)
                fake_note_violation(fake, "RESUMED of one who does not resume", 0, 0);
        for (uint64_t i = 0; i < fake->n_extents; i++) {
                struct fake_extent *e = &fake->extents[i];
                bool named = false;

                for (uint32_t k = 0; k < view->n_items; k++)
                        named |= items[k].cache == e->cache;
                if (!e->live || (e->told && named))
                        continue;
                e->live = false;
                fake->pages -= e->pages;
        }
        fake->resuming = false;
        fake->resumed++;
        fake_say(fake, WIRE_OK, view->header.request, NULL, NULL, 0, NULL, 0);
}
