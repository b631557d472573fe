/* SPDX-License-Identifier: MIT
 *
 * requests.c -- what a worker asks for of its own accord: caches, rows, pages for a prompt, for the next token, for
 * look-ahead; and what it gives back without being asked.
 */
#include "world.h"

void worker_create_cache(struct world *world, struct fake_worker *worker)
{
        struct random *random = &world->random;
        struct core_ev_cache_create *create;
        struct core_event event;

        if (worker_any_cache(world, worker) && random_chance(random, 60))
                return;
        world_event(world, &event, CORE_EV_CACHE_CREATE);
        create = &event.cache_create;
        create->worker = worker->id;
        create->request = world->next_request++;
        create->device = random_below(random, world->model.n_devices);
        create->rows = random_between(random, 1, 6);
        create->n_classes = random_chance(random, 60) ? 1 : random_between(random, 2, 4);
        for (uint32_t i = 0; i < create->n_classes; i++) {
                create->classes[i] = (struct core_plane_class){ .group = i };
                create->classes[i].planes = random_chance(random, world->wide ? 50 : 5) ? CORE_MAX_PLANES
                                            : random_chance(random, 50)                 ? 1
                                                                                        : random_between(random, 2, 6);
                create->classes[i].row_pages = random_chance(random, 40) ? random_between(random, 65, 300)
                                                                         : random_between(random, 1, 40);
        }
        event.size = (uint16_t)core_event_size(&event);
        world_apply(world, &event);
}

void worker_destroy_cache(struct world *world, struct fake_worker *worker)
{
        const struct model_cache *cache = worker_any_cache(world, worker);
        struct core_event event;

        if (!cache)
                return;
        world_event(world, &event, CORE_EV_CACHE_DESTROY);
        event.cache_destroy.worker = worker->id;
        event.cache_destroy.request = world->next_request++;
        event.cache_destroy.cache = cache->id;
        world_apply(world, &event);
}

/* One of the first, where a liar got itself a cache of very many. */
static uint32_t any_row(struct world *world, const struct model_cache *cache)
{
        return random_below(&world->random, cache->rows < 8 ? cache->rows : 8);
}

void worker_hold(struct world *world, struct fake_worker *worker, bool held)
{
        const struct model_cache *cache = worker_any_cache(world, worker);
        struct core_event event;
        uint32_t row;

        if (!cache)
                return;
        row = any_row(world, cache);
        if (model_row_is_held(cache, row) == held && random_chance(&world->random, 90))
                return;
        world_event(world, &event, CORE_EV_ROW);
        event.row.worker = worker->id;
        event.row.cache = cache->id;
        event.row.row = row;
        event.row.held = held;
        world_apply(world, &event);
}

/* A failed request may have left a plane ahead of the others: the library gives that back before it asks again. */
static bool return_stray(struct world *world, struct fake_worker *worker, const struct model_cache *cache, uint32_t row,
                         uint32_t plane_class, uint32_t end)
{
        for (uint32_t i = 0; i < world->model.n_extents; i++) {
                const struct model_extent *extent = &world->model.extents[i];

                if (extent->cache != cache->serial || extent->row != row || extent->plane_class != plane_class ||
                    extent->first + model_extent_pages(extent) <= end || extent->first > end ||
                    !model_extent_is_owned(extent) || extent->number > worker->read)
                        continue;
                worker_send_return(world, worker, extent->id, false);
                return true;
        }
        return false;
}

static bool is_growing(struct world *world, const struct model_cache *cache, uint32_t row, uint32_t plane_class)
{
        for (uint32_t i = 0; i < world->model.n_requests; i++) {
                const struct model_request *request = &world->model.requests[i];

                if (request->cache == cache->serial && request->grow.row == row &&
                    request->grow.plane_class == plane_class)
                        return true;
        }
        return false;
}

static uint64_t any_timeout(struct world *world)
{
        if (world->calm)
                return random_chance(&world->random, 20) ? 0 : 3000000;
        switch (random_below(&world->random, 4)) {
        case 0:
                return 0;
        case 1:
                return random_between(&world->random, 1, 20000);
        case 2:
                return random_between(&world->random, 100000, 3000000);
        default:
                return UINT64_C(90000000); /* more than the core waits for anybody */
        }
}

void worker_grow(struct world *world, struct fake_worker *worker)
{
        const struct model_cache *cache = worker_any_cache(world, worker);
        struct random *random = &world->random;
        uint32_t row, plane_class, first, room;
        struct core_event event;

        if (!cache)
                return;
        row = any_row(world, cache);
        if (!model_row_is_held(cache, row) && random_chance(random, 70))
                return;
        plane_class = random_below(random, cache->n_classes);
        if (is_growing(world, cache, row, plane_class))
                return;
        first = model_mapped_end(&world->model, cache, row, plane_class);
        room = model_room(&world->model, cache, row, plane_class, first);
        if (room == 0) {
                return_stray(world, worker, cache, row, plane_class, first);
                return;
        }
        world_event(world, &event, CORE_EV_GROW);
        event.grow.worker = worker->id;
        event.grow.request = world->next_request;
        /* Entries of one message share its number; the next one gets a new one. */
        event.grow.entry = (uint16_t)(world->n_events & 0xff);
        world->next_request++;
        event.grow.flags = random_chance(random, 20) ? CORE_GROW_OPTIONAL : 0;
        event.grow.cache = cache->id;
        event.grow.row = row;
        event.grow.plane_class = plane_class;
        event.grow.first = first;
        event.grow.need = random_chance(random, world->wide ? 10 : 50)
                                  ? 1
                                  : random_between(random, 1, world->wide && room > 30 ? 30 : room);
        event.grow.max = random_chance(random, 40) ? event.grow.need : random_between(random, event.grow.need, room);
        event.grow.timeout_usec = any_timeout(world);
        if (world->n_events % 8 == 0) /* other entries for the row, which may or may not come */
                event.grow.beside = (uint32_t)(world->n_events / 8 % 64);
        world_apply(world, &event);
}

/* Gives back something that it read of: mostly the last extent of a plane, sometimes one in the middle. */
void worker_trim(struct world *world, struct fake_worker *worker)
{
        const struct model_extent *best = NULL;
        struct model *model = &world->model;
        uint32_t seen = 0;

        for (uint32_t i = 0; i < model->n_extents; i++) {
                const struct model_extent *extent = &model->extents[i];

                if (extent->worker != worker->serial || !model_extent_is_owned(extent) || extent->number > worker->read)
                        continue;
                if (random_below(&world->random, ++seen) == 0)
                        best = extent;
        }
        for (uint32_t i = 0; best && i < model->n_extents && random_chance(&world->random, 99); i++) {
                const struct model_extent *extent = &model->extents[i];

                if (extent->cache == best->cache && extent->row == best->row &&
                    extent->plane_class == best->plane_class && extent->plane == best->plane &&
                    extent->first > best->first && model_extent_is_owned(extent) && extent->number <= worker->read)
                        best = extent;
        }
        if (best)
                worker_send_return(world, worker, best->id, false);
}
