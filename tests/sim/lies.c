/* SPDX-License-Identifier: MIT
 *
 * lies.c -- what the library never sends: ids that are stale, foreign or invented, counts ahead of the truth, ranges
 * that overflow.
 */
#include "world.h"

static uint32_t wild(struct world *world)
{
        static const uint32_t numbers[] = {
                0, 1, 2, 63, 64, 65, 255, 256, 65535, 65536, 1u << 30, 1u << 31, UINT32_MAX - 1, UINT32_MAX
        };
        uint32_t dice = random_below(&world->random, 3);

        return dice == 0   ? (uint32_t)random_next(&world->random)
               : dice == 1 ? random_below(&world->random, 8)
                           : numbers[random_below(&world->random, sizeof(numbers) / sizeof(numbers[0]))];
}

static uint64_t wild_extent(struct world *world)
{
        const struct model *model = &world->model;
        uint64_t id = ((uint64_t)wild(world) << 32) | wild(world);

        if (model->n_extents == 0 || random_chance(&world->random, 10))
                return id;
        id = model->extents[random_below(&world->random, model->n_extents)].id;
        if (random_chance(&world->random, 20))
                id -= UINT64_C(1) << 32;
        return id;
}

static uint32_t any_cache_id(struct world *world)
{
        const struct model *model = &world->model;

        return model->n_caches == 0 || random_chance(&world->random, 20)
                       ? wild(world)
                       : model->caches[random_below(&world->random, model->n_caches)].id;
}

static void lie_grow(struct world *world, struct fake_worker *worker)
{
        const struct model_cache *cache = worker_any_cache(world, worker);
        struct core_event event;

        world_event(world, &event, CORE_EV_GROW);
        event.grow.worker = worker->id;
        event.grow.request = world->next_request++;
        event.grow.entry = (uint16_t)wild(world);
        event.grow.flags = random_chance(&world->random, 30) ? CORE_GROW_OPTIONAL : 0;
        event.grow.cache = cache && random_chance(&world->random, 80) ? cache->id : any_cache_id(world);
        event.grow.row = cache && random_chance(&world->random, 70) ? random_below(&world->random, cache->rows)
                                                                    : wild(world);
        /* The shadow follows the first rows of a cache only: beyond them, lie beyond every cache's end. */
        if (event.grow.row >= MODEL_MAX_ROWS)
                event.grow.row |= MODEL_MOST_ROWS;
        event.grow.plane_class = cache && random_chance(&world->random, 70)
                                         ? random_below(&world->random, cache->n_classes)
                                         : wild(world);
        event.grow.first = random_chance(&world->random, 60) ? random_below(&world->random, 64) : wild(world);
        event.grow.need = random_chance(&world->random, 60) ? random_below(&world->random, 64) : wild(world);
        event.grow.max = random_chance(&world->random, 60) ? event.grow.need + random_below(&world->random, 64)
                                                           : wild(world);
        if (cache &&
            random_chance(&world->random, 40)) { /* a good range, but of pages that are taken, as likely as not */
                const struct core_plane_class *class;

                event.grow.row = random_below(&world->random, cache->rows < 8 ? cache->rows : 8);
                event.grow.plane_class = random_below(&world->random, cache->n_classes);
                class = &cache->classes[event.grow.plane_class];
                event.grow.first = random_below(&world->random, class->row_pages < 20 ? class->row_pages : 20);
                event.grow.need = random_between(&world->random, 1, class->row_pages - event.grow.first);
                event.grow.max = event.grow.need;
        }
        event.grow.timeout_usec = random_chance(&world->random, 70) ? wild(world) : random_next(&world->random);
        world_apply(world, &event);
}

static void lie_cache(struct world *world, struct fake_worker *worker)
{
        struct core_event event;

        if (random_chance(&world->random, 50)) {
                world_event(world, &event, CORE_EV_CACHE_DESTROY);
                event.cache_destroy.worker = worker->id;
                event.cache_destroy.request = world->next_request++;
                event.cache_destroy.cache = any_cache_id(world);
                world_apply(world, &event);
                return;
        }
        world_event(world, &event, CORE_EV_CACHE_CREATE);
        event.cache_create.worker = worker->id;
        event.cache_create.request = world->next_request++;
        event.cache_create.device = random_chance(&world->random, 80) ? 0 : wild(world);
        event.cache_create.rows = wild(world);
        event.cache_create.n_classes = random_below(&world->random, 4);
        for (uint32_t i = 0; i < event.cache_create.n_classes; i++) {
                event.cache_create.classes[i] = (struct core_plane_class){ .group = wild(world) };
                event.cache_create.classes[i].planes = random_chance(&world->random, 60) ? 1 : wild(world);
                event.cache_create.classes[i].row_pages = wild(world);
        }
        event.size = (uint16_t)core_event_size(&event);
        world_apply(world, &event);
}

static void lie_row(struct world *world, struct fake_worker *worker)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_ROW);
        event.row.worker = worker->id;
        event.row.cache = any_cache_id(world);
        event.row.row = random_chance(&world->random, 50) ? random_below(&world->random, 8) : MODEL_MAX_ROWS - 1;
        event.row.held = random_below(&world->random, 2);
        world_apply(world, &event);
}

/* A message of somebody who is gone, or never was. */
static void lie_stranger(struct world *world)
{
        static const enum core_event_type types[] = { CORE_EV_WORKER_GONE, CORE_EV_CACHE_DESTROY, CORE_EV_GROW,
                                                      CORE_EV_ACK,         CORE_EV_RETURN,        CORE_EV_ROW,
                                                      CORE_EV_REVOKED };
        uint32_t id = wild(world);
        struct core_event event;

        for (uint32_t i = 0; i < world->n_workers; i++)
                if (random_chance(&world->random, 50))
                        id = world->workers[i].id + (1u << 16);
        if (model_worker(&world->model, id))
                return;
        world_event(world, &event, types[random_below(&world->random, sizeof(types) / sizeof(types[0]))]);
        event.grow.worker = id; /* the first field of all of them */
        if (event.type == CORE_EV_RETURN)
                event.ret.extent = wild_extent(world);
        world_apply(world, &event);
}

void worker_lie(struct world *world, struct fake_worker *worker)
{
        const struct model_worker *shadow = model_worker_by_serial(&world->model, worker->serial);
        struct core_event event;

        switch (random_below(&world->random, 10)) {
        case 0: /* this one ends it, so it is rare */
                if (random_chance(&world->random, 20))
                        worker_send_ack(world, worker, shadow->granted + 1 + random_below(&world->random, 3));
                return;
        case 1:
                worker_send_ack(world, worker, random_below(&world->random, (uint32_t)shadow->acknowledged + 1));
                return;
        case 2:
        case 3:
        case 4:
                worker_send_return(world, worker, wild_extent(world), random_chance(&world->random, 50));
                return;
        case 5:
                world_event(world, &event, CORE_EV_REVOKED);
                event.revoked.worker = worker->id;
                event.revoked.revoke = wild(world);
                world_apply(world, &event);
                return;
        case 6:
                lie_row(world, worker);
                return;
        case 7:
                lie_cache(world, worker);
                return;
        case 8:
                lie_stranger(world);
                return;
        default:
                lie_grow(world, worker);
                return;
        }
}
