/* SPDX-License-Identifier: MIT
 *
 * model-action.c -- which actions the core may answer with, and what they do to the shadow.
 */
#include <inttypes.h>

#include "list.h"
#include "model.h"
#include "words.h"

#define ID         "%" PRIu32 ".%" PRIu32
#define ID_ARG(id) (uint32_t)(id), (uint32_t)((id) >> 32)

static const char *const state_names[] = {
        [MODEL_CREATING] = "being created", [MODEL_VIRGIN] = "virgin",   [MODEL_GRANTED] = "granted",
        [MODEL_MAPPED] = "mapped",          [MODEL_LEAVING] = "leaving", [MODEL_DESTROYING] = "being destroyed",
};

/* Remembers an extent id for good; false where it was seen before. */
static bool id_is_new(struct model *model, uint64_t id)
{
        uint64_t hash = id;
        uint32_t mask, i;

        if (model->n_ids * 2 >= model->ids_space) {
                uint64_t *old = model->ids;
                uint32_t old_space = model->ids_space;

                model->ids_space = old_space ? old_space * 2 : 4096;
                model->ids = calloc(model->ids_space, sizeof(*model->ids));
                if (!model->ids)
                        abort();
                model->n_ids = 0;
                for (i = 0; i < old_space; i++)
                        if (old[i])
                                id_is_new(model, old[i] - 1);
                free(old);
        }
        mask = model->ids_space - 1;
        hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15ull;
        for (i = (uint32_t)(hash >> 32) & mask; model->ids[i]; i = (i + 1) & mask)
                if (model->ids[i] == id + 1)
                        return false;
        model->ids[i] = id + 1;
        model->n_ids++;
        return true;
}

static void action_create(struct model *model, const struct core_action *action)
{
        struct model_extent *extent;
        uint64_t pages = 0;

        if (action->device.device >= model->n_devices) {
                model_break(model, "create on device %u, which there is not", action->device.device);
                return;
        }
        if (action->device.order != 0 && action->device.order != 2 && action->device.order != 4 &&
            action->device.order != 6)
                model_break(model, "create of order %u, which is no size class", action->device.order);
        if (!id_is_new(model, action->device.extent))
                model_break(model, "extent id " ID " used twice", ID_ARG(action->device.extent));
        extent = LIST_PUSH(model, extents);
        *extent = (struct model_extent){ .id = action->device.extent,
                                         .device = action->device.device,
                                         .order = action->device.order,
                                         .state = MODEL_CREATING,
                                         .tenant = MODEL_NONE,
                                         .worker = MODEL_NONE,
                                         .cache = MODEL_NONE,
                                         .request = MODEL_NONE };
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].device == action->device.device)
                        pages += model_extent_pages(&model->extents[i]);
        if (pages > model->devices[action->device.device].pages)
                model_break(model, "device %u has %u pages, and %" PRIu64 " are asked of it", action->device.device,
                            model->devices[action->device.device].pages, pages);
}

static void action_destroy(struct model *model, const struct core_action *action)
{
        struct model_extent *extent = model_extent(model, action->device.extent);

        if (!extent) {
                model_break(model, "destroy of extent " ID ", which does not exist", ID_ARG(action->device.extent));
                return;
        }
        if (extent->state != MODEL_VIRGIN && extent->state != MODEL_LEAVING)
                model_break(model, "destroy of extent " ID ", which is %s", ID_ARG(extent->id),
                            state_names[extent->state]);
        if (extent->device != action->device.device || extent->order != action->device.order)
                model_break(model, "destroy of extent " ID " names device %u order %u, it is of device %u order %u",
                            ID_ARG(extent->id), action->device.device, action->device.order, extent->device,
                            extent->order);
        extent->state = MODEL_DESTROYING;
}

static struct model_request *find_request(struct model *model, uint32_t worker, uint32_t request, uint16_t entry)
{
        for (uint32_t i = 0; i < model->n_requests; i++)
                if (model->requests[i].worker == worker && model->requests[i].grow.request == request &&
                    model->requests[i].grow.entry == entry)
                        return &model->requests[i];
        return NULL;
}

/* The extent must lie in the request's range, at a natural place, over nothing. */
static void check_place(struct model *model, const struct model_request *request, const struct core_action *action)
{
        const struct model_cache *cache = model_cache_by_serial(model, request->cache);
        const struct core_ev_grow *grow = &request->grow;
        uint32_t pages = 1u << action->grant.order, first = action->grant.first;

        if (!cache) {
                model_break(model, "grant to a cache that is gone");
                return;
        }
        if (cache->device != action->grant.device)
                model_break(model, "grant on device %u to a cache of device %u", action->grant.device, cache->device);
        if (action->grant.plane >= cache->classes[grow->plane_class].planes)
                model_break(model, "grant in plane %u of %u", action->grant.plane,
                            cache->classes[grow->plane_class].planes);
        if (first % pages != 0)
                model_break(model, "grant of %u pages at page %u: not a natural place", pages, first);
        if (first < grow->first || (uint64_t)first + pages > (uint64_t)grow->first + grow->max)
                model_break(model, "grant of pages %u..%u outside the request's %u..%u", first, first + pages,
                            grow->first, grow->first + grow->max);
        for (uint32_t i = 0; i < model->n_extents; i++) {
                const struct model_extent *other = &model->extents[i];

                if (other->cache == cache->serial && other->row == grow->row &&
                    other->plane_class == grow->plane_class && other->plane == action->grant.plane &&
                    model_extent_is_owned(other) && other->first < first + pages &&
                    first < other->first + model_extent_pages(other))
                        model_break(model, "grant of pages %u..%u over extent " ID " at %u", first, first + pages,
                                    ID_ARG(other->id), other->first);
        }
}

/* At the last grant of a request: the same pages first..first+n in every plane, need <= n <= max. */
static void check_complete(struct model *model, const struct model_request *request)
{
        const struct model_cache *cache = model_cache_by_serial(model, request->cache);
        uint32_t n = request->plane_pages[0];

        if (!cache)
                return;
        if (n < request->grow.need || n > request->grow.max)
                model_break(model, "request %u.%u got %u pages, wanted %u to %u", request->grow.request,
                            request->grow.entry, n, request->grow.need, request->grow.max);
        for (uint32_t plane = 0; plane < cache->classes[request->grow.plane_class].planes; plane++)
                if (request->plane_pages[plane] != n || request->plane_end[plane] != request->grow.first + n)
                        model_break(model,
                                    "request %u.%u is done, but plane %u has %u pages up to page %u, plane 0 has %u",
                                    request->grow.request, request->grow.entry, plane, request->plane_pages[plane],
                                    request->plane_end[plane], n);
}

static void action_grant(struct model *model, struct model_worker *worker, const struct core_action *action)
{
        struct model_extent *extent = model_extent(model, action->grant.extent);
        struct model_request *request = find_request(model, worker->serial, action->grant.request, action->grant.entry);
        uint32_t pages = 1u << action->grant.order, plane = action->grant.plane;

        if (!extent || !request || !request->valid || plane >= CORE_MAX_PLANES) {
                model_break(model, "grant of extent " ID " (%s) to request %u.%u (%s)", ID_ARG(action->grant.extent),
                            extent ? "exists" : "does not exist", action->grant.request, action->grant.entry,
                            !request         ? "not open"
                            : request->valid ? "open"
                                             : "not valid");
                return;
        }
        if (extent->state != MODEL_VIRGIN)
                model_break(model, "grant of extent " ID ", which is %s", ID_ARG(extent->id),
                            state_names[extent->state]);
        if (extent->order != action->grant.order || extent->device != action->grant.device)
                model_break(model, "grant of extent " ID " says order %u device %u, it is order %u device %u",
                            ID_ARG(extent->id), action->grant.order, action->grant.device, extent->order,
                            extent->device);
        check_place(model, request, action);
        if (model_is_overdue(model, worker))
                model_break(model, "grant to worker %u, which has not answered a revoke", worker->id);
        extent->state = MODEL_GRANTED;
        extent->tenant = worker->tenant;
        extent->worker = worker->serial;
        extent->cache = request->cache;
        extent->request = request->serial;
        extent->row = request->grow.row;
        extent->plane_class = request->grow.plane_class;
        extent->plane = plane;
        extent->first = action->grant.first;
        extent->number = ++worker->granted;
        if (worker->granted - worker->acknowledged > CORE_MAX_UNACKED)
                model_break(model, "worker %u has %" PRIu64 " extents in flight", worker->id,
                            worker->granted - worker->acknowledged);
        model->counters[CORE_COUNT_EXTENTS_GRANTED]++;
        model->counters[CORE_COUNT_PAGES_GRANTED] += pages;
        request->granted_pages += pages;
        request->progress = model->now;
        request->plane_pages[plane] += pages;
        if (extent->first + pages > request->plane_end[plane])
                request->plane_end[plane] = extent->first + pages;
        if (action->flags & CORE_GRANT_LAST) {
                check_complete(model, request);
                LIST_REMOVE(model, requests, request);
        }
}

static void action_grow_failed(struct model *model, struct model_worker *worker, const struct core_action *action)
{
        struct model_request *request = find_request(model, worker->serial, action->failed.request,
                                                     action->failed.entry);
        struct model_cache *cache;

        if (!request) {
                model_break(model, "failure of request %u.%u, which is not open", action->failed.request,
                            action->failed.entry);
                return;
        }
        if (action->failed.error == CORE_E_NONE || action->failed.error >= CORE_E_MAX_)
                model_break(model, "failure without an error");
        if (request->valid)
                model_check_failure(model, worker, request, action->failed.error);
        /* One that found no room in the tables, or that could never be granted, left no trace. */
        cache = model_cache_by_serial(model, request->cache);
        if (cache && request->valid && request->serial == model->arrived && !request->was_held &&
            (action->failed.error == CORE_E_TOO_MANY_REQUESTS || action->failed.error == CORE_E_DENIED ||
             model_is_impossible(model, worker, cache, &request->grow)))
                cache->held &= ~(1ull << request->grow.row);
        LIST_REMOVE(model, requests, request);
}

static void action_revoke(struct model *model, struct model_worker *worker, const struct core_action *action)
{
        struct model_revoke *revoke;

        model_check_revoke(model, worker, action);
        for (uint32_t i = 0; i < model->n_revokes; i++)
                if (model->revokes[i].worker == worker->serial && model->revokes[i].revoke == action->revoke.revoke)
                        model_break(model, "revoke %u of worker %u sent twice", action->revoke.revoke, worker->id);
        if (action->revoke.level > 2 || action->revoke.pages == 0 || action->revoke.deadline_usec < model->now)
                model_break(model, "revoke of level %u, %" PRIu64 " pages, deadline %" PRId64 " usec ahead",
                            action->revoke.level, action->revoke.pages,
                            (int64_t)(action->revoke.deadline_usec - model->now));
        if (action->revoke.device >= model->n_devices)
                model_break(model, "revoke for device %u, which there is not", action->revoke.device);
        revoke = LIST_PUSH(model, revokes);
        *revoke = (struct model_revoke){ worker->serial,        action->revoke.revoke, action->revoke.level,
                                         action->revoke.device, action->revoke.pages,  action->revoke.deadline_usec };
        model->counters[CORE_COUNT_REVOKES]++;
        model->counters[CORE_COUNT_PAGES_REVOKED] += action->revoke.pages;
}

static void action_drop(struct model *model, struct model_worker *worker, uint32_t error)
{
        /* The shell cuts it off when it gets to it; until then it may be complained about again. */
        if (error == CORE_E_OVERDUE) {
                if (worker->granted == worker->acknowledged)
                        model_break(model, "worker %u dropped as overdue, and it owes nothing", worker->id);
                if (model->calm)
                        model_break(model, "worker %u dropped as overdue, and it answers at once", worker->id);
        } else if (model->suspect != worker->serial) {
                model_break(model, "worker %u dropped for nothing: %s", worker->id, words_error(error));
        }
        if (model->must_drop == worker->serial)
                model->must_drop = MODEL_NONE;
        worker->dropped = true;
}

static void action_overdue(struct model *model, struct model_worker *worker, const struct core_action *action)
{
        for (uint32_t i = 0; i < model->n_revokes; i++) {
                const struct model_revoke *revoke = &model->revokes[i];

                if (revoke->worker != worker->serial || revoke->revoke != action->revoke.revoke)
                        continue;
                if (revoke->deadline > model->now || worker->overdue_revoke != 0)
                        model_break(model, "worker %u is told to be overdue too early, or twice", worker->id);
                if (revoke->device != action->revoke.device || revoke->level != action->revoke.level ||
                    revoke->pages < action->revoke.pages || revoke->deadline != action->revoke.deadline_usec)
                        model_break(model, "worker %u owes something else than it was asked for", worker->id);
                worker->overdue_revoke = revoke->revoke;
                return;
        }
        model_break(model, "worker %u is overdue with revoke %u, which is not open", worker->id, action->revoke.revoke);
}

static void action_late(struct model *model, struct model_worker *worker, uint32_t revoke)
{
        if (worker->overdue_revoke != revoke || revoke == 0)
                model_break(model, "worker %u answered revoke %u late, and was not overdue with it", worker->id,
                            revoke);
        worker->overdue_revoke = 0;
}

static void action_kill(struct model *model, struct model_worker *worker)
{
        bool late = false;

        for (uint32_t i = 0; i < model->n_revokes; i++)
                late |= model->revokes[i].worker == worker->serial && model->revokes[i].deadline <= model->now;
        if (!late || model->tenants[worker->tenant].on_overdue != CORE_OVERDUE_KILL)
                model_break(model, "worker %u is killed for nothing", worker->id);
        worker->dropped = true; /* the shell cuts it off when it gets to it */
        worker->dying = true;
}

/* All tenants have equal parts of a table, and one record at least. */
static uint32_t part_of(const struct model *model, uint32_t table)
{
        uint32_t tenants = 0;

        for (uint32_t t = 0; t < model->n_tenants; t++)
                tenants += model->tenants[t].exists;
        return table / tenants > 1 ? table / tenants : 1;
}

static uint32_t workers_of(const struct model *model, uint32_t tenant)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < model->n_workers; i++)
                n += model->workers[i].tenant == tenant;
        return n;
}

static uint32_t caches_of(struct model *model, uint32_t tenant)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < model->n_caches; i++) {
                const struct model_worker *worker = model_worker_by_serial(model, model->caches[i].worker);

                n += worker && worker->tenant == tenant;
        }
        return n;
}

/* A worker that went keeps its slot until its extents are destroyed. MODEL_NONE: of all tenants. */
static uint32_t slots_in_use(const struct model *model, uint32_t tenant)
{
        uint32_t n = tenant == MODEL_NONE ? model->n_workers : workers_of(model, tenant);

        for (uint32_t i = 0; i < model->n_extents; i++) {
                uint32_t serial = model->extents[i].worker;
                bool counted = serial == MODEL_NONE || (tenant != MODEL_NONE && model->extents[i].tenant != tenant);

                for (uint32_t k = 0; k < model->n_workers; k++)
                        counted |= model->workers[k].serial == serial;
                for (uint32_t k = 0; k < i; k++)
                        counted |= model->extents[k].worker == serial;
                n += !counted;
        }
        return n;
}

static void action_peer(struct model *model, const struct core_action *action)
{
        struct model_worker *worker;

        if (model->cookie != action->peer.cookie || model->cookie == 0) {
                model_break(model, "answer to peer %" PRIu64 ", which did not ask", action->peer.cookie);
                return;
        }
        model->cookie = 0;
        if (action->type == CORE_ACT_REFUSE) {
                if (model->cookie_allowed && slots_in_use(model, MODEL_NONE) < model->params.max_workers &&
                    slots_in_use(model, model->cookie_tenant) < part_of(model, model->params.max_workers))
                        model_break(model, "refused for no reason: %s", words_error(action->peer.error));
                return;
        }
        if (!model->cookie_allowed || action->peer.tenant != model->cookie_tenant)
                model_break(model, "welcome to tenant %u, asked for %u", action->peer.tenant, model->cookie_tenant);
        if (model_worker(model, action->worker) || model->n_workers >= model->params.max_workers)
                model_break(model, "worker id %u in use, or too many workers", action->worker);
        if (workers_of(model, model->cookie_tenant) >= part_of(model, model->params.max_workers))
                model_break(model, "tenant %u has more than its part of the workers", model->cookie_tenant);
        worker = LIST_PUSH(model, workers);
        worker->serial = model->next_serial++;
        worker->id = action->worker;
        worker->tenant = model->cookie_tenant;
        worker->pid = model->cookie_pid;
        model->tenants[worker->tenant].workers++;
        model->counters[CORE_COUNT_WORKERS_CONNECTED]++;
}

/* There is something in it, and its size in bytes is a number of 64 bits. */
static bool is_good_geometry(const struct model *model, const struct core_ev_cache_create *create)
{
        uint64_t pages = 0;

        if (create->rows == 0 || create->rows > MODEL_MOST_ROWS || create->n_classes == 0 ||
            create->n_classes > CORE_MAX_CLASSES || create->device >= model->n_devices)
                return false;
        for (uint32_t i = 0; i < create->n_classes; i++) {
                if (create->classes[i].planes == 0 || create->classes[i].planes > CORE_MAX_PLANES ||
                    create->classes[i].row_pages == 0)
                        return false;
                pages += (uint64_t)create->classes[i].planes * create->classes[i].row_pages;
        }
        return pages <= (UINT64_MAX >> model->devices[create->device].page_shift) / create->rows;
}

static void reply_create(struct model *model, struct model_worker *worker, const struct core_ev_cache_create *create,
                         const struct core_action *action)
{
        bool good = is_good_geometry(model, create);
        struct model_cache *cache;

        if (action->type == CORE_ACT_REPLY_ERROR) {
                if (good && action->reply.error == CORE_E_TOO_MANY_CACHES) {
                        /* A dying cache keeps its slot until it is reaped; that is over when nothing is pending. */
                        if (model->n_caches < model->params.max_caches / 2 &&
                            caches_of(model, worker->tenant) < part_of(model, model->params.max_caches) / 2)
                                model_break(model, "too many caches, but there are %u", model->n_caches);
                } else if (good)
                        model_break(model, "a good cache is refused: %s", words_error(action->reply.error));
                return;
        }
        if (action->type != CORE_ACT_REPLY_CACHE || !good) {
                model_break(model, "a bad cache is accepted, or answered as what it is not");
                return;
        }
        if (caches_of(model, worker->tenant) >= part_of(model, model->params.max_caches))
                model_break(model, "tenant %u has more than its part of the caches", worker->tenant);
        for (uint32_t i = 0; i < model->n_caches; i++)
                if (model->caches[i].id == action->reply.cache)
                        model_break(model, "cache id %u in use", action->reply.cache);
        cache = LIST_PUSH(model, caches);
        cache->serial = model->next_serial++;
        cache->id = action->reply.cache;
        cache->worker = worker->serial;
        cache->device = create->device;
        cache->rows = create->rows;
        cache->n_classes = create->n_classes;
        memcpy(cache->classes, create->classes, create->n_classes * sizeof(create->classes[0]));
}

static void action_reply(struct model *model, struct model_worker *worker, const struct core_action *action)
{
        for (uint32_t i = 0; i < model->n_calls; i++) {
                struct model_call *call = &model->calls[i];
                bool creates = call->event.type == CORE_EV_CACHE_CREATE;
                uint32_t request = creates ? call->event.cache_create.request : call->event.cache_destroy.request;

                if (call->worker != worker->serial || request != action->reply.request)
                        continue;
                if (creates)
                        reply_create(model, worker, &call->event.cache_create, action);
                else if (action->type != (call->good ? CORE_ACT_REPLY_OK : CORE_ACT_REPLY_ERROR))
                        model_break(model, "destroying a cache that %s",
                                    call->good ? "exists failed" : "does not exist worked");
                LIST_REMOVE(model, calls, call);
                return;
        }
        /* Messages without a reply are complained about under number 0. */
        if (action->type != CORE_ACT_REPLY_ERROR || action->reply.request != 0 || model->suspect != worker->serial)
                model_break(model, "reply to worker %u request %u, which is not open", worker->id,
                            action->reply.request);
}

static void action_to_worker(struct model *model, const struct core_action *action)
{
        struct model_worker *worker = model_worker(model, action->worker);

        if (!worker) {
                char line[200];

                words_action(action, line, sizeof(line));
                model_break(model, "sent to a worker that is gone: %s", line);
                return;
        }
        if (worker->detached && action->type != CORE_ACT_REPLY_OK && action->type != CORE_ACT_REPLY_ERROR) {
                model_break(model, "an action of type %u to worker %u, which has no connection", action->type,
                            worker->id);
                return;
        }
        switch ((enum core_action_type)action->type) {
        case CORE_ACT_REPLY_OK:
        case CORE_ACT_REPLY_ERROR:
        case CORE_ACT_REPLY_CACHE:
                action_reply(model, worker, action);
                return;
        case CORE_ACT_GRANT:
                action_grant(model, worker, action);
                return;
        case CORE_ACT_GROW_FAILED:
                action_grow_failed(model, worker, action);
                return;
        case CORE_ACT_REVOKE:
                action_revoke(model, worker, action);
                return;
        case CORE_ACT_SYNC:
                if (worker->granted == worker->acknowledged)
                        model_break(model, "sync of worker %u, which acknowledged everything", worker->id);
                return;
        case CORE_ACT_DROP:
                action_drop(model, worker, action->reply.error);
                return;
        case CORE_ACT_OVERDUE:
                action_overdue(model, worker, action);
                return;
        case CORE_ACT_LATE:
                action_late(model, worker, action->revoke.revoke);
                return;
        case CORE_ACT_KILL:
                action_kill(model, worker);
                return;
        case CORE_ACT_CREATE:
        case CORE_ACT_DESTROY:
        case CORE_ACT_WELCOME:
        case CORE_ACT_REFUSE:
        case CORE_ACT_TRANSITION:
        case CORE_ACT_MAX_:
                return;
        }
}

void model_action(struct model *model, const struct core_action *action)
{
        switch ((enum core_action_type)action->type) {
        case CORE_ACT_CREATE:
                action_create(model, action);
                return;
        case CORE_ACT_DESTROY:
                action_destroy(model, action);
                return;
        case CORE_ACT_WELCOME:
        case CORE_ACT_REFUSE:
                action_peer(model, action);
                return;
        case CORE_ACT_TRANSITION:
                if (!model->params.trace)
                        model_break(model, "a transition, and nobody traces");
                return;
        case CORE_ACT_REPLY_OK:
        case CORE_ACT_REPLY_ERROR:
        case CORE_ACT_REPLY_CACHE:
        case CORE_ACT_GRANT:
        case CORE_ACT_GROW_FAILED:
        case CORE_ACT_REVOKE:
        case CORE_ACT_SYNC:
        case CORE_ACT_DROP:
        case CORE_ACT_OVERDUE:
        case CORE_ACT_LATE:
        case CORE_ACT_KILL:
                action_to_worker(model, action);
                return;
        case CORE_ACT_MAX_:
                break;
        }
        model_break(model, "an action of type %u", action->type);
}
