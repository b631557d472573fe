/* SPDX-License-Identifier: MIT
 *
 * model-share.c -- the rules between tenants: what is guaranteed stays free, nobody passes memory.max, who has least
 * for its weight is served first, and who does not answer gets nothing.
 */
#include <inttypes.h>

#include "model.h"

static uint64_t pages_up(const struct model_device *device, uint64_t bytes)
{
        uint64_t page = UINT64_C(1) << device->page_shift;

        return bytes / page + (bytes % page != 0);
}

uint64_t model_floor(const struct model *model, uint32_t device, uint32_t tenant, bool with_low)
{
        const struct model_tenant *t = &model->tenants[tenant];
        uint64_t bytes = with_low && t->low_bytes > t->min_bytes ? t->low_bytes : t->min_bytes;

        return pages_up(&model->devices[device], bytes);
}

static uint64_t unmet(const struct model *model, uint32_t device, uint32_t tenant)
{
        uint64_t min = model_floor(model, device, tenant, false);
        uint32_t has = model->tenants[tenant].pages[device];

        return model->tenants[tenant].exists && min > has ? min - has : 0;
}

uint64_t model_guarded(const struct model *model, uint32_t device, uint32_t tenant)
{
        uint64_t pages = 0;

        for (uint32_t t = 0; t < model->n_tenants; t++)
                if (t != tenant)
                        pages += unmet(model, device, t);
        return pages;
}

uint64_t model_slots_kept(const struct model *model, uint32_t tenant)
{
        const uint64_t largest = 1u << core_order_shift(CORE_ORDERS - 1);
        uint64_t slots = 0;

        for (uint32_t t = 0; t < model->n_tenants; t++)
                for (uint32_t d = 0; d < model->n_devices && t != tenant; d++)
                        slots += (unmet(model, d, t) + largest - 1) / largest;
        return slots;
}

/* Rule 1, and memory.max: whoever has more than before has it by right. */
static void check_grown(struct model *model, uint32_t device, uint32_t tenant, uint64_t available)
{
        const struct model_device *d = &model->devices[device];
        const struct model_tenant *t = &model->tenants[tenant];
        uint64_t extents = 0;

        for (uint32_t i = 0; i < model->n_extents; i++)
                extents += model->extents[i].tenant != MODEL_NONE;
        if (extents + model_slots_kept(model, tenant) > model->params.max_extents)
                model_break(model, "tenant %u grew to %" PRIu64 " extents in all, and %" PRIu64 " are kept for others",
                            tenant, extents, model_slots_kept(model, tenant));
        if (t->max_bytes != UINT64_MAX && t->pages[device] > t->max_bytes >> d->page_shift)
                model_break(model, "tenant %u: grew to %u pages of device %u, over memory.max of %" PRIu64 " bytes",
                            tenant, t->pages[device], device, t->max_bytes);
        if (model_guarded(model, device, tenant) > available)
                model_break(model,
                            "tenant %u grew on device %u, and %" PRIu64 " pages are left of %" PRIu64
                            " guaranteed to others",
                            tenant, device, available, model_guarded(model, device, tenant));
}

void model_check_shares(struct model *model, const struct core *core)
{
        for (uint32_t d = 0; d < model->n_devices; d++) {
                uint64_t available = model->devices[d].pages - model->devices[d].missing;
                bool grew[CORE_MAX_TENANTS] = { false };

                for (uint32_t t = 0; t < model->n_tenants; t++) {
                        uint32_t pages = core_tenant_pages(core, t, d);

                        grew[t] = pages > model->tenants[t].pages[d];
                        model->tenants[t].pages[d] = pages;
                        available -= pages < available ? pages : available;
                }
                for (uint32_t t = 0; t < model->n_tenants; t++)
                        if (grew[t])
                                check_grown(model, d, t, available);
        }
}

/* ---- who is next ---- */

bool model_keeps_waiting(const struct model *model, uint32_t tenant)
{
        for (uint32_t i = 0; i < model->n_workers; i++)
                if (model->workers[i].tenant == tenant && model->workers[i].overdue)
                        return true;
        return false;
}

static uint64_t need_of(const struct model_cache *cache, const struct model_request *request)
{
        return (uint64_t)request->grow.need * cache->classes[request->grow.plane_class].planes;
}

/* The share of request i's tenant once it is served, as a fraction. */
static void share_of(struct model *model, uint32_t device, uint32_t tenant, uint64_t need, uint64_t *ret_pages,
                     uint64_t *ret_weight)
{
        uint64_t min = model_floor(model, device, tenant, false), pages = model->tenants[tenant].pages[device] + need;

        *ret_pages = pages > min ? pages - min : 0;
        *ret_weight = model->tenants[tenant].weight;
}

/* Whether the tenant has open requests on the device after number i. */
static bool has_more(struct model *model, uint32_t device, uint32_t tenant, uint32_t i)
{
        while (++i < model->n_requests) {
                const struct model_cache *cache = model_cache_by_serial(model, model->requests[i].cache);
                const struct model_worker *worker = model_worker_by_serial(model, model->requests[i].worker);

                if (cache && worker && cache->device == device && worker->tenant == tenant)
                        return true;
        }
        return false;
}

/* Where nothing is promised, nobody was admitted: all open requests of the device wait, the oldest of each tenant in
 * front. Of those, tenants at their memory.max aside, the first in order must not wait for memory that is there. */
void model_check_wakeups(struct model *model, uint32_t device)
{
        bool seen[CORE_MAX_TENANTS] = { false };
        uint64_t left = model->devices[device].pages, best_pages = 0, best_weight = 1, best_need = 0;
        const struct model_request *best = NULL;
        const struct model_worker *best_worker = NULL;

        if (model->devices[device].promised > 0)
                return;
        for (uint32_t t = 0; t < model->n_tenants; t++)
                left -= model->tenants[t].pages[device];
        left -= left < model->devices[device].missing ? left : model->devices[device].missing;
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_request *request = &model->requests[i];
                const struct model_cache *cache = model_cache_by_serial(model, request->cache);
                const struct model_worker *worker = model_worker_by_serial(model, request->worker);
                const struct model_tenant *tenant = worker ? &model->tenants[worker->tenant] : NULL;
                uint64_t need, pages, weight;

                if (!cache || !tenant || cache->device != device || seen[worker->tenant])
                        continue;
                seen[worker->tenant] = true;
                need = need_of(cache, request);
                if (tenant->max_bytes != UINT64_MAX &&
                    tenant->pages[device] + need > tenant->max_bytes >> model->devices[device].page_shift) {
                        if (has_more(model, device, worker->tenant, i))
                                return; /* once this one has waited in vain for long, the next counts */
                        continue;
                }
                share_of(model, device, worker->tenant, need, &pages, &weight);
                if (best &&
                    model_keeps_waiting(model, worker->tenant) != model_keeps_waiting(model, best_worker->tenant)) {
                        if (model_keeps_waiting(model, worker->tenant))
                                continue;
                } else if (best && pages * best_weight >= best_pages * weight) {
                        continue; /* they come in the order of age, which decides where shares are equal */
                }
                best = request;
                best_worker = worker;
                best_pages = pages;
                best_weight = weight;
                best_need = need;
        }
        if (best && best_need + model_guarded(model, device, best_worker->tenant) <= left &&
            !model_slots_may_lack(model, 0))
                model_break(model, "request %u.%u of worker %u waits for %" PRIu64 " pages, and %" PRIu64 " are free",
                            best->grow.request, best->grow.entry, best_worker->id, best_need, left);
}

static bool is_stale(const struct model *model, const struct model_request *request, const struct model_worker *worker,
                     uint32_t device)
{
        const uint64_t deadline = model->tenants[worker->tenant].reclaim_deadline_usec,
                       patience = deadline ? deadline : 1000000;
        uint64_t from = request->since;

        for (uint32_t t = 0; t < model->n_tenants; t++)
                if (t != worker->tenant && model->devices[device].back[t] > from)
                        from = model->devices[device].back[t];
        return model->now >= from + patience || model->now >= request->since + 2 * patience;
}

/* Where nobody is asked for memory and none is on its way back, nobody waits for it longer than a reclaim deadline. */
void model_check_hope(struct model *model, uint32_t device)
{
        const struct model_request *waits = NULL;

        if (model->devices[device].promised > 0)
                return;
        for (uint32_t i = 0; i < model->n_revokes; i++)
                if (model->revokes[i].deadline > model->now)
                        return;
        for (uint32_t i = 0; i < model->n_workers; i++)
                if (model->workers[i].dying || model->workers[i].awaited_until > model->now)
                        return;
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].device == device && model->extents[i].state >= MODEL_LEAVING)
                        return;
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_request *request = &model->requests[i];
                const struct model_cache *cache = model_cache_by_serial(model, request->cache);
                const struct model_worker *worker = model_worker_by_serial(model, request->worker);

                if (!cache || !worker || cache->device != device)
                        continue;
                if (!is_stale(model, request, worker, device))
                        return;
                waits = request;
        }
        if (waits)
                model_break(model, "request %u.%u waits on, and nothing is to come", waits->grow.request,
                            waits->grow.entry);
}

/* ---- who does not answer ---- */

static const struct model_revoke *late_revoke(const struct model *model, const struct model_worker *worker)
{
        for (uint32_t i = 0; i < model->n_revokes; i++)
                if (model->revokes[i].worker == worker->serial && model->revokes[i].deadline <= model->now)
                        return &model->revokes[i];
        return NULL;
}

bool model_is_overdue(const struct model *model, const struct model_worker *worker)
{
        if (worker->suspect_devices != 0 && worker->suspect_until > model->now)
                return true;
        return worker->overdue && late_revoke(model, worker);
}

void model_check_overdue(struct model *model, const struct core *core, const struct core_worker_info *info)
{
        struct model_worker *worker = model_worker(model, info->worker);

        if (!worker)
                return;
        if (info->overdue && !late_revoke(model, worker))
                model_break(model, "worker %u counts as overdue, and owes no answer", worker->id);
        if (!info->overdue && late_revoke(model, worker) && core_next_deadline(core) > model->now + 1)
                model_break(model, "worker %u is overdue, and nobody minds", worker->id);
        if (info->overdue != (worker->overdue_revoke != 0))
                model_break(model, "worker %u counts as %s, and the shell was not told", worker->id,
                            info->overdue ? "overdue" : "one that answers");
        worker->overdue = info->overdue;
        if (worker->suspect_until <= model->now)
                worker->suspect_devices = 0;
        if (info->suspect != (worker->suspect_devices != 0) && core_next_deadline(core) > model->now + 1)
                model_break(model, "worker %u %s", worker->id,
                            info->suspect ? "counts as suspect for nothing" : "is suspect, and nobody minds");
}

/* Applications are pressed for others, or for limits, never for themselves. */
static void check_pressed(struct model *model, const struct model_worker *worker, uint32_t device)
{
        const struct model_tenant *tenant = &model->tenants[worker->tenant];
        uint64_t left = model->devices[device].pages;

        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_cache *cache = model_cache_by_serial(model, model->requests[i].cache);

                if (cache && cache->device == device && model->requests[i].worker != worker->serial)
                        return;
        }
        if (model->devices[device].missing > 0 ||
            (tenant->max_bytes != UINT64_MAX &&
             tenant->pages[device] > tenant->max_bytes >> model->devices[device].page_shift))
                return;
        for (uint32_t t = 0; t < model->n_tenants; t++)
                left -= model->tenants[t].pages[device] < left ? model->tenants[t].pages[device] : left;
        if (model_guarded(model, device, MODEL_NONE) <= left)
                model_break(model, "worker %u is pressed, and nobody else wants memory", worker->id);
}

/* What is asked back for others must help them: nobody is asked for what is guaranteed to himself. */
void model_check_revoke(struct model *model, const struct model_worker *worker, const struct core_action *action)
{
        const struct model_tenant *tenant = &model->tenants[worker->tenant];
        uint32_t device = action->revoke.device;
        uint64_t min = model_floor(model, device, worker->tenant, false), has = 0;

        if (worker->overdue && late_revoke(model, worker))
                model_break(model, "revoke of worker %u, which has not answered an earlier one", worker->id);
        if (action->revoke.level == 2)
                check_pressed(model, worker, device);
        for (uint32_t i = 0; i < model->n_requests; i++) {
                const struct model_worker *other = model_worker_by_serial(model, model->requests[i].worker);

                if (other && other->tenant == worker->tenant)
                        return; /* it may be on its own behalf */
        }
        if (tenant->max_bytes != UINT64_MAX &&
            tenant->pages[device] > tenant->max_bytes >> model->devices[device].page_shift)
                return;
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].tenant == worker->tenant && model->extents[i].device == device &&
                    model->extents[i].state < MODEL_LEAVING)
                        has += model_extent_pages(&model->extents[i]);
        if (action->revoke.pages + min > has)
                model_break(model,
                            "revoke of %" PRIu64 " pages of tenant %u, which keeps %" PRIu64
                            " and is guaranteed %" PRIu64,
                            action->revoke.pages, worker->tenant, has, min);
}
