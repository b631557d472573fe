/* SPDX-License-Identifier: MIT
 *
 * workers.c -- processes that use the library: they read grants when they get to it, map them, acknowledge them in
 * cumulative counts, answer revokes with what they can spare. Some are slow, some never answer, some lie (lies.c).
 *
 * A worker knows only what it read from its socket: `read` grants. The rest is in flight.
 */
#include "list.h"
#include "world.h"

static struct fake_worker *find_worker(struct world *world, uint32_t id)
{
        for (uint32_t i = 0; i < world->n_workers; i++)
                if (world->workers[i].id == id)
                        return &world->workers[i];
        return NULL;
}

static enum patience any_patience(struct world *world)
{
        uint32_t dice = random_below(&world->random, 10);

        return world->calm || dice < (world->wide ? 3 : 6) ? WORKER_PROMPT : dice < 9 ? WORKER_LATE : WORKER_NEVER;
}

static void worker_welcome(struct world *world, const struct core_action *action)
{
        struct fake_worker *worker = LIST_PUSH(world, workers);
        const struct model_worker *shadow = model_worker(&world->model, action->worker);

        worker->serial = shadow ? shadow->serial : MODEL_NONE;
        worker->id = action->worker;
        worker->acknowledges = any_patience(world);
        worker->answers = any_patience(world);
        worker->partial = !world->calm && random_chance(&world->random, 20);
        worker->lies = world->liars && random_chance(&world->random, 40);
}

void workers_take(struct world *world, const struct core_action *action)
{
        struct fake_worker *worker;

        if (action->type == CORE_ACT_WELCOME)
                worker_welcome(world, action);
        if (action->type != CORE_ACT_SYNC)
                return;
        worker = find_worker(world, action->worker);
        if (worker)
                worker->must_sync = true;
}

void worker_connect(struct world *world, uint32_t tenant)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_WORKER_ADD);
        event.worker_add.cookie = world->next_cookie++;
        event.worker_add.pid = 1000 + world->next_cookie;
        event.worker_add.uid = 100 + tenant;
        event.worker_add.tenant = tenant;
        world_apply(world, &event);
}

void worker_die(struct world *world, uint32_t at)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_WORKER_GONE);
        event.worker_gone.worker = world->workers[at].id;
        LIST_REMOVE(world, workers, &world->workers[at]);
        world_apply(world, &event);
}

void worker_send_ack(struct world *world, struct fake_worker *worker, uint64_t granted)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_ACK);
        event.ack.worker = worker->id;
        event.ack.granted = granted;
        worker->must_sync = false;
        world_apply(world, &event);
}

void worker_send_return(struct world *world, struct fake_worker *worker, uint64_t extent, bool refused)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_RETURN);
        event.ret.worker = worker->id;
        event.ret.refused = refused;
        event.ret.extent = extent;
        world_apply(world, &event);
}

struct model_cache *worker_any_cache(struct world *world, const struct fake_worker *worker)
{
        struct model *model = &world->model;
        uint32_t n = 0, pick;

        for (uint32_t i = 0; i < model->n_caches; i++)
                n += model->caches[i].worker == worker->serial;
        pick = random_below(&world->random, n);
        for (uint32_t i = 0; i < model->n_caches; i++)
                if (model->caches[i].worker == worker->serial && pick-- == 0)
                        return &model->caches[i];
        return NULL;
}

/* The extent that a revoke of this level takes next; of those in held rows the one farthest out. */
static const struct model_extent *pick_for_revoke(struct world *world, const struct fake_worker *worker,
                                                  const struct model_revoke *revoke)
{
        const struct model_extent *best = NULL;

        for (uint32_t i = 0; i < world->model.n_extents; i++) {
                const struct model_extent *extent = &world->model.extents[i];
                const struct model_cache *cache;

                if (extent->worker != worker->serial || !model_extent_is_owned(extent) ||
                    extent->number > worker->read || extent->device != revoke->device)
                        continue;
                cache = model_cache_by_serial(&world->model, extent->cache);
                if (!cache)
                        continue;
                if (!model_row_is_held(cache, extent->row))
                        return extent;
                /* The head of a row is in use. */
                if (revoke->level >= 1 && extent->first > 0 && (!best || extent->first > best->first))
                        best = extent;
        }
        return best;
}

static struct model_revoke *open_revoke(struct world *world, const struct fake_worker *worker)
{
        for (uint32_t i = 0; i < world->model.n_revokes; i++)
                if (world->model.revokes[i].worker == worker->serial)
                        return &world->model.revokes[i];
        return NULL;
}

static void answer_revoke(struct world *world, struct fake_worker *worker, const struct model_revoke *revoke)
{
        const struct model_extent *extent = pick_for_revoke(world, worker, revoke);
        struct core_event event;

        if (worker->answering != revoke->revoke) {
                worker->answering = revoke->revoke;
                worker->answer_pages = 0;
        }
        if (extent && extent->state == MODEL_GRANTED) {
                worker_send_ack(world, worker, worker->read);
                return;
        }
        if (worker->partial && random_chance(&world->random, 30))
                extent = NULL;
        if (extent && worker->answer_pages < revoke->pages) {
                worker->answer_pages += model_extent_pages(extent);
                worker_send_return(world, worker, extent->id, false);
                return;
        }
        world_event(world, &event, CORE_EV_REVOKED);
        event.revoked.worker = worker->id;
        event.revoked.revoke = revoke->revoke;
        worker->answering = 0;
        world_apply(world, &event);
}

/* Takes grants from the socket; now and then one of them cannot be mapped. */
static void read_grants(struct world *world, struct fake_worker *worker, const struct model_worker *shadow)
{
        uint64_t refused;

        if (worker->acknowledges == WORKER_PROMPT && random_chance(&world->random, 80))
                worker->read = shadow->granted;
        else
                worker->read += 1 + random_below(&world->random, (uint32_t)(shadow->granted - worker->read));
        if (random_chance(&world->random, 96))
                return;
        refused = worker->read;
        for (uint32_t i = 0; i < world->model.n_extents; i++) {
                const struct model_extent *extent = &world->model.extents[i];

                if (extent->worker != worker->serial || extent->number != refused || !model_extent_is_owned(extent))
                        continue;
                worker_send_return(world, worker, extent->id, true);
                return;
        }
}

bool worker_owes(struct world *world, const struct fake_worker *worker)
{
        const struct model_worker *shadow = model_worker_by_serial(&world->model, worker->serial);

        return shadow && !shadow->dropped && !worker->detached &&
               (shadow->granted > shadow->acknowledged || open_revoke(world, worker));
}

void worker_answer(struct world *world, struct fake_worker *worker)
{
        const struct model_worker *shadow = model_worker_by_serial(&world->model, worker->serial);
        const struct model_revoke *revoke = open_revoke(world, worker);

        if (!shadow || shadow->dropped || worker->detached)
                return;
        if (worker->read < shadow->granted)
                read_grants(world, worker, shadow);
        shadow = model_worker_by_serial(&world->model, worker->serial);
        if (shadow && !shadow->dropped && worker->read > shadow->acknowledged)
                worker_send_ack(world, worker, worker->read);
        else if (revoke)
                answer_revoke(world, worker, revoke);
}

static bool feels_like(struct world *world, enum patience patience)
{
        return patience != WORKER_NEVER && random_chance(&world->random, patience == WORKER_PROMPT ? 70 : 4);
}

/* What the library would do next, for an application that does anything. */
void worker_step(struct world *world, struct fake_worker *worker)
{
        const struct model_worker *shadow = model_worker_by_serial(&world->model, worker->serial);
        const struct model_revoke *revoke = open_revoke(world, worker);
        uint32_t dice = random_below(&world->random, 100);

        if (shadow && worker->detached && random_chance(&world->random, 30))
                worker_resume(world, worker);
        if (!shadow || shadow->dropped || worker->detached)
                return;
        if (worker->lies && random_chance(&world->random, 8)) {
                worker_lie(world, worker);
                return;
        }
        if (revoke && feels_like(world, worker->answers)) {
                answer_revoke(world, worker, revoke);
                return;
        }
        if (worker->read < shadow->granted && feels_like(world, worker->acknowledges)) {
                read_grants(world, worker, shadow);
                return;
        }
        if (worker->read > shadow->acknowledged && (worker->must_sync || random_chance(&world->random, 60)) &&
            feels_like(world, worker->acknowledges)) {
                worker_send_ack(world, worker, worker->read);
                return;
        }
        if (!worker_any_cache(world, worker) || dice < 3)
                worker_create_cache(world, worker);
        else if (dice < 55)
                worker_grow(world, worker);
        else if (dice < 72)
                worker_hold(world, worker, true);
        else if (dice < 86)
                worker_hold(world, worker, false);
        else if (dice < 98)
                worker_trim(world, worker);
        else
                worker_destroy_cache(world, worker);
}

static void send_attach(struct world *world, struct fake_worker *worker, bool attached)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_WORKER_ATTACH);
        event.worker_attach.worker = worker->id;
        event.worker_attach.attached = attached;
        worker->detached = !attached;
        worker->must_sync = false;
        worker->answering = 0;
        world_apply(world, &event);
}

void workers_lose_connections(struct world *world)
{
        for (uint32_t i = 0; i < world->n_workers; i++)
                if (!world->workers[i].detached)
                        send_attach(world, &world->workers[i], false);
}

/* It says what it has: not what it had not read, nor what it gave back to a daemon that did not hear of it. */
void worker_resume(struct world *world, struct fake_worker *worker)
{
        const struct model_worker *shadow;

        for (uint32_t i = world->model.n_extents; i-- > 0;) {
                const struct model_extent *extent = &world->model.extents[i];
                const bool unread = extent->number > worker->read;

                if (extent->worker != worker->serial || !model_extent_is_owned(extent) ||
                    (!unread && random_chance(&world->random, 95)))
                        continue;
                worker_send_return(world, worker, extent->id, extent->state == MODEL_GRANTED);
                i = world->model.n_extents; /* the list may have changed */
                if (unread)
                        continue;
                break;
        }
        if (random_chance(&world->random, 5))
                worker_destroy_cache(world, worker);
        send_attach(world, worker, true);
        shadow = model_worker_by_serial(&world->model, worker->serial);
        if (shadow)
                worker->read = shadow->granted;
}

void workers_turn_honest(struct world *world)
{
        for (uint32_t i = 0; i < world->n_workers; i++)
                if (world->workers[i].detached)
                        worker_resume(world, &world->workers[i]);
        for (uint32_t i = 0; i < world->n_workers; i++) {
                world->workers[i].acknowledges = world->workers[i].answers = WORKER_PROMPT;
                world->workers[i].lies = world->workers[i].partial = false;
        }
}
