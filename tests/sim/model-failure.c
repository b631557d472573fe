/* SPDX-License-Identifier: MIT
 *
 * model-failure.c -- a request failed: was that the right answer? Each reason has its condition; and where everybody
 * answers at once, a request that could have been served from what was free or idle must not fail at all.
 */
#include <inttypes.h>

#include "model.h"
#include "words.h"

/* Whether this worker would give the extent back if asked nicely: it lies in a row that nobody holds. */
static bool is_idle(struct model *model, const struct model_extent *extent)
{
        const struct model_cache *cache = extent->state == MODEL_MAPPED ? model_cache_by_serial(model, extent->cache)
                                                                        : NULL;

        return cache && !model_row_is_held(cache, extent->row);
}

/* Idle pages of the tenant on the device. */
static int64_t idle_pages(struct model *model, uint32_t tenant, uint32_t device)
{
        int64_t pages = 0;

        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].tenant == tenant && model->extents[i].device == device &&
                    is_idle(model, &model->extents[i]))
                        pages += model_extent_pages(&model->extents[i]);
        return pages;
}

/* Pages that are kept for others than the tenant, at most: what they were promised and not granted may have gone. */
static int64_t guarded(struct model *model, uint32_t device, uint32_t own)
{
        int64_t pages = 0;

        for (uint32_t t = 0; t < model->n_tenants; t++) {
                int64_t lacks = (int64_t)model_floor(model, device, t, false);

                for (uint32_t i = 0; i < model->n_extents; i++)
                        if (model->extents[i].tenant == t && model->extents[i].device == device)
                                lacks -= model_extent_pages(&model->extents[i]);
                pages += t != own && lacks > 0 ? lacks : 0;
        }
        return pages;
}

/* Pages that could have served the request, at the very least: free or virgin ones beyond all that others can have been
 * promised and are guaranteed, and idle ones that may be taken. */
static int64_t pages_at_hand(struct model *model, const struct model_request *request, uint32_t own, uint32_t device,
                             bool with_idle)
{
        int64_t pages = (int64_t)model->devices[device].pages - model->devices[device].missing -
                        guarded(model, device, own);

        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].device == device && model->extents[i].tenant != MODEL_NONE)
                        pages -= model_extent_pages(&model->extents[i]);
        for (uint32_t t = 0; with_idle && t < model->n_tenants; t++) {
                int64_t idle = idle_pages(model, t, device), above = -(int64_t)model_floor(model, device, t, true);

                for (uint32_t i = 0; i < model->n_extents; i++)
                        if (model->extents[i].tenant == t && model->extents[i].device == device)
                                above += model_extent_pages(&model->extents[i]);
                pages += t == own || idle < above ? idle : above > 0 ? above : 0;
        }
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_request *other = &model->requests[i];
                const struct model_cache *cache = model_cache_by_serial(model, other->cache);

                if (other != request && other->valid && cache && cache->device == device)
                        pages -= (int64_t)((uint64_t)other->grow.max * cache->classes[other->grow.plane_class].planes -
                                           other->granted_pages);
        }
        return pages;
}

/* Pages of the device that the tenant may still have, at the very least. */
static int64_t pages_to_max(struct model *model, const struct model_request *request, uint32_t tenant, uint32_t device)
{
        uint64_t max = model->tenants[tenant].max_bytes, used = 0;

        if (max == UINT64_MAX)
                return INT64_MAX;
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].tenant == tenant && model->extents[i].device == device)
                        used += model_extent_pages(&model->extents[i]);
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_request *other = &model->requests[i];
                const struct model_cache *cache = model_cache_by_serial(model, other->cache);
                const struct model_worker *worker = model_worker_by_serial(model, other->worker);

                if (other != request && other->valid && cache && worker && worker->tenant == tenant &&
                    cache->device == device)
                        used += (uint64_t)other->grow.max * cache->classes[other->grow.plane_class].planes -
                                other->granted_pages;
        }
        return (int64_t)(max >> model->devices[device].page_shift) - (int64_t)used;
}

/* The table of requests is full, or the tenant's part of it. */
static bool requests_may_lack(struct model *model, uint32_t tenant)
{
        uint32_t tenants = 0, requests = 0;

        for (uint32_t t = 0; t < model->n_tenants; t++)
                tenants += model->tenants[t].exists;
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_worker *worker = model_worker_by_serial(model, model->requests[i].worker);

                requests += worker && worker->tenant == tenant;
        }
        return model->n_requests > model->params.max_requests ||
               (requests > 1 && requests > model->params.max_requests / tenants);
}

bool model_is_impossible(const struct model *model, const struct model_worker *worker, const struct model_cache *cache,
                         const struct core_ev_grow *grow)
{
        const struct model_device *device = &model->devices[cache->device];
        uint64_t pages = (uint64_t)grow->need * cache->classes[grow->plane_class].planes;

        return pages > device->pages || pages << device->page_shift > model->tenants[worker->tenant].max_bytes;
}

static uint32_t rows_in_use(const struct model *model)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < model->n_caches; i++)
                for (uint32_t row = 0; row < model->caches[i].rows && row < MODEL_MAX_ROWS; row++)
                        n += model_row_is_known(model, &model->caches[i], row);
        return n;
}

bool model_slots_may_lack(struct model *model, int64_t need)
{
        int64_t extents = model->n_extents + need + (int64_t)model_slots_kept(model, MODEL_NONE);

        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_request *other = &model->requests[i];
                const struct model_cache *cache = model_cache_by_serial(model, other->cache);

                if (cache)
                        extents += (int64_t)other->grow.max * cache->classes[other->grow.plane_class].planes;
        }
        return extents > (int64_t)model->params.max_extents;
}

static bool owes_answer(const struct model *model, const struct model_worker *worker)
{
        for (uint32_t i = 0; i < model->n_revokes; i++)
                if (model->revokes[i].worker == worker->serial && model->revokes[i].deadline <= model->now)
                        return true;
        return false;
}

/* The memory of one who is being killed is waited for, but for a tenant that keeps others waiting itself. */
static void check_nobody_dies(struct model *model, uint32_t own)
{
        const struct model_worker *dies = NULL;

        for (uint32_t i = 0; i < model->n_workers; i++) {
                const struct model_worker *worker = &model->workers[i];

                if (worker->tenant == own && (worker->overdue || worker->overdue_revoke != 0))
                        return;
                if (worker->dying)
                        dies = worker;
        }
        if (dies)
                model_break(model, "device full, and worker %u is about to die", dies->id);
}

/* A well-formed request failed: was that the right answer? */
void model_check_failure(struct model *model, const struct model_worker *worker, const struct model_request *request,
                         uint32_t error)
{
        const struct model_cache *cache = model_cache_by_serial(model, request->cache);
        const struct core_ev_grow *grow = &request->grow;
        bool optional = grow->flags & CORE_GROW_OPTIONAL;
        int64_t need, at_hand, room;
        uint32_t own = worker->tenant;

        if (!cache)
                return;
        need = (int64_t)grow->need * cache->classes[grow->plane_class].planes;
        at_hand = pages_at_hand(model, request, own, cache->device, false);
        room = pages_to_max(model, request, own, cache->device);
        switch (error) {
        case CORE_E_TOO_MANY_REQUESTS:
                if (!requests_may_lack(model, own) && rows_in_use(model) < model->params.max_rows)
                        model_break(model, "too many requests, but only %u are open", model->n_requests);
                return;
        case CORE_E_ALREADY_MAPPED:
                if (!request->overlaps)
                        model_break(model, "already mapped, which it was not");
                return;
        case CORE_E_DENIED:
                if (!owes_answer(model, worker) && worker->suspect_devices == 0)
                        model_break(model, "denied, and the worker owes no answer");
                return;
        case CORE_E_BUSY:
                if (!optional)
                        model_break(model, "busy is an answer to look-ahead only");
                return;
        case CORE_E_TENANT_FULL:
                if (room >= need)
                        model_break(model, "memory.max, but %" PRId64 " pages are left below it", room);
                if (model->calm && grow->timeout_usec > 0 && !optional &&
                    !model_is_impossible(model, worker, cache, grow) &&
                    room + idle_pages(model, own, cache->device) >= need)
                        model_break(model, "memory.max, but enough of the tenant's own is idle");
                return;
        case CORE_E_DEVICE_FULL:
                if (model_slots_may_lack(model, need))
                        return;
                if (at_hand >= need)
                        model_break(model, "device full, but %" PRId64 " pages are free and %" PRId64 " needed",
                                    at_hand, need);
                if (!optional && grow->timeout_usec > 0 && !model_is_impossible(model, worker, cache, grow))
                        check_nobody_dies(model, own);
                break;
        case CORE_E_TIMED_OUT:
                if (model->now < request->until)
                        model_break(model, "timed out %" PRIu64 " usec early", request->until - model->now);
                if (at_hand >= need && room >= need && !request->device_trouble && model->calm)
                        model_break(model, "timed out, with %" PRId64 " pages free and %" PRId64 " needed", at_hand,
                                    need);
                break;
        case CORE_E_DEVICE_FAILED:
                if (!request->device_trouble && model->calm)
                        model_break(model, "device failed, which it did not");
                return;
        default:
                model_break(model, "a good request fails with '%s'", words_error(error));
                return;
        }
        if (model->calm && !optional && grow->timeout_usec > 0 && room >= need &&
            pages_at_hand(model, request, own, cache->device, true) >= need)
                model_break(model, "%s, but enough is idle with workers that answer", words_error(error));
}
