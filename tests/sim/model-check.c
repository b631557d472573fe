/* SPDX-License-Identifier: MIT
 *
 * model-check.c -- after every event: what the core publishes must be what the shadow adds up, and nobody waits in
 * vain.
 */
#include <inttypes.h>

#include "model.h"

struct sums { /* of one worker, tenant or cache, in bytes */
        uint64_t current, live, idle, unacknowledged;
};

static void add_extent(struct model *model, const struct model_extent *extent, struct sums *sums)
{
        uint64_t bytes = (uint64_t)model_extent_pages(extent) << model->devices[extent->device].page_shift;
        const struct model_cache *cache;

        sums->current += bytes;
        if (extent->state == MODEL_GRANTED)
                sums->unacknowledged += bytes;
        if (extent->state != MODEL_MAPPED)
                return;
        cache = model_cache_by_serial(model, extent->cache);
        if (cache && model_row_is_held(cache, extent->row))
                sums->live += bytes;
        else
                sums->idle += bytes;
}

static void check_equal(struct model *model, const char *whose, uint32_t index, const char *what, uint64_t core,
                        uint64_t mine)
{
        if (core != mine)
                model_break(model, "%s %u: the core says %s %" PRIu64 ", it is %" PRIu64, whose, index, what, core,
                            mine);
}

static void check_devices(struct model *model, const struct core *core)
{
        check_equal(model, "all", 0, "devices", core_n_devices(core), model->n_devices);
        for (uint32_t d = 0; d < model->n_devices; d++) {
                uint64_t page = 1ull << model->devices[d].page_shift, charged = 0, made = 0;
                struct core_device_info info;

                for (uint32_t i = 0; i < model->n_extents; i++) {
                        const struct model_extent *extent = &model->extents[i];

                        if (extent->device != d)
                                continue;
                        *(extent->tenant == MODEL_NONE ? &made : &charged) += model_extent_pages(extent);
                }
                if (!core_device_info(core, d, &info)) {
                        model_break(model, "device %u is not there", d);
                        return;
                }
                check_equal(model, "device", d, "page_bytes", info.page_bytes, page);
                check_equal(model, "device", d, "capacity", info.capacity_bytes, model->devices[d].pages * page);
                /* What is promised to admitted requests counts as theirs; the rest of what is made, or being made, is
                 * virgin. */
                model->devices[d].promised = (info.allocated_bytes - info.virgin_bytes) / page - charged;
                check_equal(model, "device", d, "virgin", info.virgin_bytes,
                            made > model->devices[d].promised ? (made - model->devices[d].promised) * page : 0);
                if (info.allocated_bytes < info.virgin_bytes + charged * page ||
                    info.allocated_bytes > info.capacity_bytes)
                        model_break(model,
                                    "device %u: allocated %" PRIu64 " of %" PRIu64 ", but %" PRIu64 " is charged", d,
                                    info.allocated_bytes, info.capacity_bytes, charged * page);
        }
}

/* The promises of all devices are the promises to all tenants. */
static void check_promises(struct model *model, const struct core *core)
{
        uint64_t devices = 0, tenants = 0;

        for (uint32_t d = 0; d < model->n_devices; d++)
                devices += model->devices[d].promised << model->devices[d].page_shift;
        for (uint32_t t = 0; t < model->n_tenants; t++) {
                struct core_tenant_info info;

                if (core_tenant_info(core, t, &info))
                        tenants += info.current_bytes;
        }
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].tenant != MODEL_NONE)
                        tenants -= (uint64_t)model_extent_pages(&model->extents[i])
                                   << model->devices[model->extents[i].device].page_shift;
        check_equal(model, "all", 0, "promised", tenants, devices);
}

/* Pages that an open request may have been promised beyond what was granted to it. */
static uint64_t promised_bytes(struct model *model, const struct model_request *request)
{
        const struct model_cache *cache = model_cache_by_serial(model, request->cache);

        if (!request->valid || !cache)
                return 0;
        return ((uint64_t)request->grow.max * cache->classes[request->grow.plane_class].planes - request->granted_pages)
               << model->devices[cache->device].page_shift;
}

static void check_between(struct model *model, const char *whose, uint32_t index, uint64_t current, uint64_t known,
                          uint64_t promised)
{
        if (current < known || current > known + promised)
                model_break(model,
                            "%s %u: the core says current %" PRIu64 ", but %" PRIu64 " is charged and at most %" PRIu64
                            " promised",
                            whose, index, current, known, promised);
}

static void check_tenant(struct model *model, const struct core *core, uint32_t t)
{
        struct model_tenant *tenant = &model->tenants[t];
        struct sums sums = { 0 };
        struct core_tenant_info info;
        uint64_t promised = 0;

        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].tenant == t)
                        add_extent(model, &model->extents[i], &sums);
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_worker *worker = model_worker_by_serial(model, model->requests[i].worker);

                if (worker && worker->tenant == t)
                        promised += promised_bytes(model, &model->requests[i]);
        }
        if (!core_tenant_info(core, t, &info)) {
                if (!tenant->removed || tenant->workers > 0)
                        model_break(model, "tenant %u is not there", t);
                tenant->exists = false;
                return;
        }
        check_equal(model, "tenant", t, "live", info.live_bytes, sums.live);
        check_equal(model, "tenant", t, "idle", info.idle_bytes, sums.idle);
        check_equal(model, "tenant", t, "workers", info.workers, tenant->workers);
        check_equal(model, "tenant", t, "memory.max", info.max_bytes, tenant->max_bytes);
        check_between(model, "tenant", t, info.current_bytes, sums.current, promised);
}

static void check_worker(struct model *model, const struct core_worker_info *info)
{
        struct model_worker *worker = model_worker(model, info->worker);
        struct sums sums = { 0 };
        uint64_t promised = 0;
        uint32_t caches = 0;

        if (!worker) {
                model_break(model, "the core knows a worker %u, which is gone", info->worker);
                return;
        }
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].worker == worker->serial)
                        add_extent(model, &model->extents[i], &sums);
        for (uint32_t i = 0; i < model->n_requests; i++)
                if (model->requests[i].worker == worker->serial)
                        promised += promised_bytes(model, &model->requests[i]);
        for (uint32_t i = 0; i < model->n_caches; i++)
                caches += model->caches[i].worker == worker->serial;
        check_equal(model, "worker", info->worker, "pid", info->pid, worker->pid);
        check_equal(model, "worker", info->worker, "tenant", info->tenant, worker->tenant);
        check_equal(model, "worker", info->worker, "caches", info->caches, caches);
        check_equal(model, "worker", info->worker, "live", info->live_bytes, sums.live);
        check_equal(model, "worker", info->worker, "idle", info->idle_bytes, sums.idle);
        check_equal(model, "worker", info->worker, "unacknowledged", info->unacknowledged_bytes, sums.unacknowledged);
        check_between(model, "worker", info->worker, info->current_bytes, sums.current, promised);
}

static void check_cache(struct model *model, const struct core_cache_info *info)
{
        const struct model_worker *worker = model_worker(model, info->worker);
        const struct model_cache *cache = worker ? model_cache(model, worker->serial, info->cache) : NULL;
        struct sums sums = { 0 };
        uint64_t pages = 0;
        uint32_t planes = 0;

        if (!cache) {
                model_break(model, "the core knows a cache %u of worker %u, which is gone", info->cache, info->worker);
                return;
        }
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].cache == cache->serial)
                        add_extent(model, &model->extents[i], &sums);
        for (uint32_t i = 0; i < cache->n_classes; i++) {
                pages += (uint64_t)cache->classes[i].planes * cache->classes[i].row_pages;
                planes += cache->classes[i].planes;
        }
        check_equal(model, "cache", info->cache, "virtual", info->virtual_bytes,
                    pages * cache->rows << model->devices[cache->device].page_shift);
        check_equal(model, "cache", info->cache, "rows", info->rows, cache->rows);
        check_equal(model, "cache", info->cache, "planes", info->planes, planes);
        check_equal(model, "cache", info->cache, "held rows", info->held_rows,
                    (uint32_t)__builtin_popcountll(cache->held));
        check_equal(model, "cache", info->cache, "live", info->live_bytes, sums.live);
        check_equal(model, "cache", info->cache, "idle", info->idle_bytes, sums.idle);
}

static void check_counters(struct model *model, const struct core *core)
{
        static const struct {
                enum core_counter counter;
                const char *name;
        } known[] = {
                { CORE_COUNT_EXTENTS_CREATED, "extents created" },
                { CORE_COUNT_EXTENTS_GRANTED, "extents granted" },
                { CORE_COUNT_EXTENTS_DESTROYED, "extents destroyed" },
                { CORE_COUNT_PAGES_GRANTED, "pages granted" },
                { CORE_COUNT_WORKERS_CONNECTED, "workers connected" },
                { CORE_COUNT_WORKERS_GONE, "workers gone" },
                { CORE_COUNT_REVOKES, "revokes" },
                { CORE_COUNT_PAGES_REVOKED, "pages revoked" },
                { CORE_COUNT_EXTENTS_RETURNED, "extents returned" },
                { CORE_COUNT_PAGES_RETURNED, "pages returned" },
                { CORE_COUNT_EXTENTS_REFUSED, "extents refused" },
                { CORE_COUNT_DEVICE_FAILURES, "device failures" },
        };

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (core_counter(core, known[i].counter) != model->counters[known[i].counter])
                        model_break(model, "counter '%s': the core says %" PRIu64 ", it is %" PRIu64, known[i].name,
                                    core_counter(core, known[i].counter), model->counters[known[i].counter]);
}

/* Look-ahead is admitted or refused, never queued: the promises of the device cover all of it that is open. */
static void check_look_ahead(struct model *model, uint32_t device)
{
        uint64_t pages = 0;

        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_request *request = &model->requests[i];
                const struct model_cache *cache = model_cache_by_serial(model, request->cache);

                uint64_t need;

                if (!cache || cache->device != device || !(request->grow.flags & CORE_GROW_OPTIONAL))
                        continue;
                need = (uint64_t)request->grow.need * cache->classes[request->grow.plane_class].planes;
                pages += need > request->granted_pages ? need - request->granted_pages : 0;
        }
        if (pages > model->devices[device].promised)
                model_break(model, "look-ahead of %" PRIu64 " pages is open on device %u, which promised %" PRIu64,
                            pages, device, model->devices[device].promised);
}

/* Every wait is bounded. */
static void check_patience(struct model *model)
{
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_request *request = &model->requests[i];
                const struct model_worker *worker = model_worker_by_serial(model, request->worker);

                if (!worker)
                        continue;
                if (model->now >
                    (request->progress > request->until ? request->progress : request->until) + MODEL_GRACE_USEC)
                        model_break(model, "request %u.%u of worker %u still waits, %" PRIu64 " usec after its timeout",
                                    request->grow.request, request->grow.entry, worker->id,
                                    model->now - request->until);
                if (!request->valid)
                        model_break(model, "request %u.%u of worker %u is bad, and was not answered at once",
                                    request->grow.request, request->grow.entry, worker->id);
        }
}

/* Quiet is when nobody owes anything to anybody; a device that fails may owe for as long as it likes. */
static void check_quiet(struct model *model, const struct core *core)
{
        bool busy = false;

        for (uint32_t i = 0; i < model->n_extents; i++)
                busy |= !model_extent_is_owned(&model->extents[i]) && model->extents[i].state != MODEL_VIRGIN;
        if (core_is_quiet(core)) {
                if (model->n_requests > 0)
                        model_break(model, "the core says it is quiet, and %u requests are open", model->n_requests);
                if (busy && model->calm)
                        model_break(model, "the core says it is quiet, and the device is at work");
        } else if (!busy && model->n_requests == 0 && model->n_revokes == 0)
                model_break(model, "nothing is under way, and the core does not say so");
}

static void check_answered(struct model *model)
{
        if (model->n_calls > 0)
                model_break(model, "a cache request was not answered at once");
        if (model->must_drop != MODEL_NONE)
                model_break(model, "an acknowledgement ahead of what was granted, and the worker stays");
        if (model->cookie != 0)
                model_break(model, "a new peer was not answered at once");
}

static void forget_rows(struct model *model)
{
        for (uint32_t i = 0; i < model->n_caches; i++)
                for (uint64_t held = model->caches[i].held; held; held &= held - 1)
                        if (!model_row_is_known(model, &model->caches[i], (uint32_t)__builtin_ctzll(held)))
                                model->caches[i].held &= ~(held & -held);
}

void model_settle(struct model *model, const struct core *core)
{
        uint32_t workers = 0, caches = 0, slots = core_worker_slots(core);

        /* A dying cache is taken apart step by step; until that is done its sums lie between the old and the new. */
        if (core_pending(core))
                return;
        forget_rows(model);
        check_devices(model, core);
        check_promises(model, core);
        model_check_shares(model, core);
        for (uint32_t t = 0; t < model->n_tenants; t++)
                if (model->tenants[t].exists)
                        check_tenant(model, core, t);
        for (uint32_t i = 0; i < slots; i++) {
                struct core_worker_info info;

                if (!core_worker_info(core, i, &info))
                        continue;
                check_worker(model, &info);
                model_check_overdue(model, core, &info);
                workers++;
        }
        slots = core_cache_slots(core);
        for (uint32_t i = 0; i < slots; i++) {
                struct core_cache_info info;

                if (!core_cache_info(core, i, &info))
                        continue;
                check_cache(model, &info);
                caches++;
        }
        check_equal(model, "all", 0, "workers", workers, model->n_workers);
        check_equal(model, "all", 0, "caches", caches, model->n_caches);
        check_equal(model, "all", 0, "core_n_workers", core_n_workers(core), model->n_workers);
        check_equal(model, "all", 0, "core_n_caches", core_n_caches(core), model->n_caches);
        check_equal(model, "all", 0, "waiting requests", core_n_waiting(core), model->n_requests);
        for (uint32_t d = 0; d < model->n_devices; d++) {
                model_check_wakeups(model, d);
                model_check_hope(model, d);
                check_look_ahead(model, d);
        }
        check_counters(model, core);
        check_quiet(model, core);
        check_patience(model);
        check_answered(model);
}

void model_check_empty(struct model *model, const struct core *core)
{
        for (uint32_t t = 0; t < CORE_MAX_TENANTS; t++) {
                struct core_tenant_info info;

                if (core_tenant_info(core, t, &info) && info.current_bytes > 0)
                        model_break(model, "everybody is gone, and tenant %u is charged %" PRIu64 " bytes", t,
                                    info.current_bytes);
        }
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].state != MODEL_VIRGIN)
                        model_break(model,
                                    "everybody is gone, the device answered, and extent %" PRIu64
                                    " is left in state %d",
                                    model->extents[i].id, (int)model->extents[i].state);
        if (core_n_waiting(core) > 0 || core_n_workers(core) > 0 || core_n_caches(core) > 0)
                model_break(model, "everybody is gone, and %u requests, %u workers, %u caches are left",
                            core_n_waiting(core), core_n_workers(core), core_n_caches(core));
}

/* For people: who has what, when something broke. */
void model_print(struct model *model, FILE *out)
{
        for (uint32_t d = 0; d < model->n_devices; d++) {
                uint32_t charged = 0, made = 0;

                for (uint32_t i = 0; i < model->n_extents; i++)
                        if (model->extents[i].device == d)
                                *(model->extents[i].tenant == MODEL_NONE ? &made : &charged) += model_extent_pages(
                                        &model->extents[i]);
                fprintf(out, "device %u: %u pages, %u charged, %u made, %" PRIu64 " promised\n", d,
                        model->devices[d].pages, charged, made, model->devices[d].promised);
                for (uint32_t w = 0; w < model->n_workers; w++) {
                        uint32_t pages[MODEL_DESTROYING + 2] = { 0 };

                        for (uint32_t i = 0; i < model->n_extents; i++) {
                                const struct model_extent *extent = &model->extents[i];
                                const struct model_cache *cache = model_cache_by_serial(model, extent->cache);
                                bool idle = extent->state == MODEL_MAPPED && cache &&
                                            !model_row_is_held(cache, extent->row);

                                if (extent->device == d && extent->worker == model->workers[w].serial)
                                        pages[idle ? MODEL_DESTROYING + 1 : extent->state] += model_extent_pages(
                                                extent);
                        }
                        fprintf(out,
                                "  worker %u of tenant %u%s: pages granted %u, held %u, idle %u, leaving %u, being destroyed %u\n",
                                model->workers[w].id, model->workers[w].tenant,
                                model->workers[w].dropped ? " (dropped)" : "", pages[MODEL_GRANTED],
                                pages[MODEL_MAPPED], pages[MODEL_DESTROYING + 1], pages[MODEL_LEAVING],
                                pages[MODEL_DESTROYING]);
                }
        }
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_worker *worker = model_worker_by_serial(model, model->requests[i].worker);
                const struct model_cache *cache = model_cache_by_serial(model, model->requests[i].cache);

                fprintf(out,
                        "request %u.%u of worker %u: device %u, need %u max %u in %u planes, %" PRIu64
                        " pages granted\n",
                        model->requests[i].grow.request, model->requests[i].grow.entry, worker ? worker->id : 0,
                        cache ? cache->device : 0, model->requests[i].grow.need, model->requests[i].grow.max,
                        cache ? cache->classes[model->requests[i].grow.plane_class].planes : 0,
                        model->requests[i].granted_pages);
        }
        for (uint32_t i = 0; i < model->n_revokes; i++) {
                const struct model_worker *worker = model_worker_by_serial(model, model->revokes[i].worker);

                fprintf(out, "revoke %u of worker %u: device %u, level %u, %" PRIu64 " pages\n",
                        model->revokes[i].revoke, worker ? worker->id : 0, model->revokes[i].device,
                        model->revokes[i].level, model->revokes[i].pages);
        }
}
