/* SPDX-License-Identifier: MIT
 *
 * model.c -- the shadow's lists, and what an event does to them by itself. See model.h.
 */
#include "model.h"
#include "list.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void model_break(struct model *model, const char *format, ...)
{
        va_list arguments;

        if (model->broken[0])
                return;
        va_start(arguments, format);
        vsnprintf(model->broken, sizeof(model->broken), format, arguments);
        va_end(arguments);
}

void model_init(struct model *model, const struct core_params *params)
{
        struct model empty = { .params = *params,
                               .next_serial = 1,
                               .suspect = MODEL_NONE,
                               .must_drop = MODEL_NONE,
                               .arrived = MODEL_NONE };

        *model = empty;
}

void model_done(struct model *model)
{
        free(model->workers);
        free(model->caches);
        free(model->requests);
        free(model->revokes);
        free(model->calls);
        free(model->extents);
        free(model->ids);
        memset(model, 0, sizeof(*model));
}

struct model_worker *model_worker(struct model *model, uint32_t id)
{
        for (uint32_t i = 0; i < model->n_workers; i++)
                if (model->workers[i].id == id)
                        return &model->workers[i];
        return NULL;
}

struct model_worker *model_worker_by_serial(struct model *model, uint32_t serial)
{
        for (uint32_t i = 0; i < model->n_workers; i++)
                if (model->workers[i].serial == serial)
                        return &model->workers[i];
        return NULL;
}

struct model_cache *model_cache(struct model *model, uint32_t worker_serial, uint32_t id)
{
        for (uint32_t i = 0; i < model->n_caches; i++)
                if (model->caches[i].worker == worker_serial && model->caches[i].id == id)
                        return &model->caches[i];
        return NULL;
}

struct model_cache *model_cache_by_serial(struct model *model, uint32_t serial)
{
        for (uint32_t i = 0; i < model->n_caches; i++)
                if (model->caches[i].serial == serial)
                        return &model->caches[i];
        return NULL;
}

struct model_extent *model_extent(struct model *model, uint64_t id)
{
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].id == id)
                        return &model->extents[i];
        return NULL;
}

static bool extent_is_at(const struct model_extent *extent, const struct model_cache *cache, uint32_t row,
                         uint32_t plane_class)
{
        return extent->cache == cache->serial && extent->row == row && extent->plane_class == plane_class &&
               model_extent_is_owned(extent);
}

uint32_t model_room(struct model *model, const struct model_cache *cache, uint32_t row, uint32_t plane_class,
                    uint32_t first)
{
        uint32_t end = cache->classes[plane_class].row_pages;

        if (first >= end)
                return 0;
        for (uint32_t i = 0; i < model->n_extents; i++) {
                const struct model_extent *extent = &model->extents[i];

                if (!extent_is_at(extent, cache, row, plane_class) ||
                    extent->first + model_extent_pages(extent) <= first)
                        continue;
                if (extent->first <= first)
                        return 0;
                if (extent->first < end)
                        end = extent->first;
        }
        return end - first;
}

/* The end of the run of pages from 0 on in one plane: steps from extent to extent. */
static uint32_t plane_mapped_end(struct model *model, const struct model_cache *cache, uint32_t row,
                                 uint32_t plane_class, uint32_t plane)
{
        uint32_t end = 0;

        for (bool moved = true; moved;) {
                moved = false;
                for (uint32_t i = 0; i < model->n_extents; i++) {
                        const struct model_extent *extent = &model->extents[i];

                        if (extent->first == end && extent->plane == plane &&
                            extent_is_at(extent, cache, row, plane_class)) {
                                end += model_extent_pages(extent);
                                moved = true;
                        }
                }
        }
        return end;
}

uint32_t model_mapped_end(struct model *model, const struct model_cache *cache, uint32_t row, uint32_t plane_class)
{
        uint32_t least = cache->classes[plane_class].row_pages;

        for (uint32_t plane = 0; plane < cache->classes[plane_class].planes && least > 0; plane++) {
                uint32_t end = plane_mapped_end(model, cache, row, plane_class, plane);

                least = end < least ? end : least;
        }
        return least;
}

static void extent_leaves(struct model *model, struct model_extent *extent)
{
        extent->state = MODEL_LEAVING;
        model->counters[CORE_COUNT_EXTENTS_RETURNED]++;
        model->counters[CORE_COUNT_PAGES_RETURNED] += model_extent_pages(extent);
}

/* What is of that worker, and of that cache where one is given, can only be destroyed from now on. */
static void extents_leave(struct model *model, uint32_t worker, uint32_t cache)
{
        for (uint32_t i = 0; i < model->n_extents; i++) {
                struct model_extent *extent = &model->extents[i];

                if (extent->worker != worker || (cache != MODEL_NONE && extent->cache != cache) ||
                    !model_extent_is_owned(extent))
                        continue;
                extent_leaves(model, extent);
        }
}

static void requests_end(struct model *model, uint32_t worker, uint32_t cache)
{
        for (uint32_t i = model->n_requests; i-- > 0;)
                if (model->requests[i].worker == worker && (cache == MODEL_NONE || model->requests[i].cache == cache))
                        LIST_REMOVE(model, requests, &model->requests[i]);
}

static void event_device_add(struct model *model, const struct core_ev_device_add *add)
{
        if (add->device != model->n_devices || add->device >= CORE_MAX_DEVICES || add->pages == 0 ||
            add->pages > MODEL_MOST_PAGES || add->page_shift < 12 || add->page_shift > 40 ||
            add->pages > UINT64_MAX >> add->page_shift)
                return;
        model->devices[model->n_devices++] =
                (struct model_device){ add->page_shift, add->pages, add->virgin_pages, 0, 0, { 0 } };
}

static void event_tenant_set(struct model *model, const struct core_ev_tenant_set *set)
{
        struct model_tenant *tenant;

        if (set->tenant >= CORE_MAX_TENANTS)
                return;
        tenant = &model->tenants[set->tenant];
        if (set->tenant >= model->n_tenants)
                model->n_tenants = set->tenant + 1;
        tenant->exists = true;
        tenant->removed = false;
        tenant->on_overdue = set->on_overdue;
        tenant->weight = set->weight;
        tenant->min_bytes = set->min_bytes;
        tenant->low_bytes = set->low_bytes;
        tenant->max_bytes = set->max_bytes;
        tenant->reclaim_deadline_usec = set->reclaim_deadline_usec;
}

static void event_worker_add(struct model *model, const struct core_ev_worker_add *add)
{
        model->cookie = add->cookie;
        model->cookie_pid = add->pid;
        model->cookie_tenant = add->tenant;
        model->cookie_allowed = add->tenant < CORE_MAX_TENANTS && model->tenants[add->tenant].exists &&
                                !model->tenants[add->tenant].removed;
}

static void event_worker_gone(struct model *model, uint32_t id)
{
        struct model_worker *worker = model_worker(model, id);
        uint32_t serial;

        if (!worker)
                return;
        serial = worker->serial;
        extents_leave(model, serial, MODEL_NONE);
        requests_end(model, serial, MODEL_NONE);
        for (uint32_t i = model->n_caches; i-- > 0;)
                if (model->caches[i].worker == serial)
                        LIST_REMOVE(model, caches, &model->caches[i]);
        for (uint32_t i = model->n_revokes; i-- > 0;)
                if (model->revokes[i].worker == serial)
                        LIST_REMOVE(model, revokes, &model->revokes[i]);
        for (uint32_t i = model->n_calls; i-- > 0;)
                if (model->calls[i].worker == serial)
                        LIST_REMOVE(model, calls, &model->calls[i]);
        model->tenants[worker->tenant].workers--;
        model->counters[CORE_COUNT_WORKERS_GONE]++;
        LIST_REMOVE(model, workers, worker);
}

static void event_call(struct model *model, struct model_worker *worker, const struct core_event *event)
{
        struct model_call *call = LIST_PUSH(model, calls);

        call->worker = worker->serial;
        memcpy(&call->event, event, event->size);
}

static void event_cache_destroy(struct model *model, struct model_worker *worker, const struct core_event *event)
{
        struct model_cache *cache = model_cache(model, worker->serial, event->cache_destroy.cache);

        event_call(model, worker, event);
        if (!cache)
                return;
        model->calls[model->n_calls - 1].good = true;
        extents_leave(model, worker->serial, cache->serial);
        requests_end(model, worker->serial, cache->serial);
        LIST_REMOVE(model, caches, cache);
}

static bool grow_is_valid(const struct model_cache *cache, const struct core_ev_grow *grow)
{
        uint64_t end = (uint64_t)grow->first + grow->max;

        if (!cache || grow->row >= cache->rows || grow->plane_class >= cache->n_classes)
                return false;
        return grow->need > 0 && grow->need <= grow->max && end <= cache->classes[grow->plane_class].row_pages;
}

/* Two requests for the same pages: whoever comes later fails when it gets there. */
static void mark_overlaps(struct model *model, const struct model_cache *cache, struct model_request *request)
{
        const struct core_ev_grow *grow = &request->grow;

        request->overlaps = model_room(model, cache, grow->row, grow->plane_class, grow->first) < grow->max;
        for (uint32_t i = 0; i < model->n_requests; i++) {
                struct model_request *other = &model->requests[i];

                if (other == request || !other->valid || other->cache != cache->serial ||
                    other->grow.row != grow->row || other->grow.plane_class != grow->plane_class ||
                    other->grow.first >= grow->first + grow->max || grow->first >= other->grow.first + other->grow.max)
                        continue;
                request->overlaps = other->overlaps = true;
        }
}

static void event_grow(struct model *model, struct model_worker *worker, const struct core_ev_grow *grow)
{
        struct model_cache *cache = model_cache(model, worker->serial, grow->cache);
        struct model_request *request = LIST_PUSH(model, requests);

        request->serial = model->arrived = model->next_serial++;
        request->worker = worker->serial;
        request->cache = cache ? cache->serial : MODEL_NONE;
        request->grow = *grow;
        request->since = model->now;
        request->until = model->now +
                         (grow->timeout_usec < MODEL_MAX_TIMEOUT_USEC ? grow->timeout_usec : MODEL_MAX_TIMEOUT_USEC);
        request->valid = grow_is_valid(cache, grow);
        if (!request->valid) {
                model->suspect = worker->serial;
                return;
        }
        mark_overlaps(model, cache, request);
        /* Who asks for pages of a row holds it. */
        request->was_held = model_row_is_held(cache, grow->row);
        if (grow->row < MODEL_MAX_ROWS)
                cache->held |= 1ull << grow->row;
}

static void event_ack(struct model *model, struct model_worker *worker, uint64_t granted)
{
        if (granted > worker->granted) {
                model->suspect = model->must_drop = worker->serial;
                return;
        }
        if (granted <= worker->acknowledged)
                return;
        worker->acknowledged = granted;
        for (uint32_t i = 0; i < model->n_extents; i++) {
                struct model_extent *extent = &model->extents[i];

                if (extent->worker == worker->serial && extent->number <= granted && extent->state == MODEL_GRANTED)
                        extent->state = MODEL_MAPPED;
        }
}

static void event_return(struct model *model, struct model_worker *worker, const struct core_ev_return *ret)
{
        struct model_extent *extent = model_extent(model, ret->extent);

        if (!extent || extent->worker != worker->serial || !model_extent_is_owned(extent)) {
                model->suspect = worker->serial;
                return;
        }
        extent_leaves(model, extent);
        model->counters[CORE_COUNT_EXTENTS_REFUSED] += ret->refused;
}

static void event_row(struct model *model, struct model_worker *worker, const struct core_ev_row *row)
{
        struct model_cache *cache = model_cache(model, worker->serial, row->cache);

        if (!cache || row->row >= cache->rows) {
                model->suspect = worker->serial;
                return;
        }
        if (row->row >= MODEL_MAX_ROWS || !model_row_is_known(model, cache, row->row))
                return;
        cache->held &= ~(1ull << row->row);
        if (row->held)
                cache->held |= 1ull << row->row;
}

static void event_revoked(struct model *model, struct model_worker *worker, uint32_t revoke)
{
        for (uint32_t i = 0; i < model->n_revokes; i++) {
                if (model->revokes[i].worker != worker->serial || model->revokes[i].revoke != revoke)
                        continue;
                LIST_REMOVE(model, revokes, &model->revokes[i]);
                return;
        }
        model->suspect = worker->serial;
}

static void event_created(struct model *model, const struct core_ev_device_done *done)
{
        struct model_extent *extent = model_extent(model, done->extent);

        if (!extent || extent->state != MODEL_CREATING)
                return;
        if (done->status == 0) {
                extent->state = MODEL_VIRGIN;
                model->counters[CORE_COUNT_EXTENTS_CREATED]++;
                return;
        }
        model->counters[CORE_COUNT_DEVICE_FAILURES]++;
        for (uint32_t i = 0; i < model->n_requests; i++)
                model->requests[i].device_trouble = true;
        *extent = model->extents[--model->n_extents];
}

static void event_destroyed(struct model *model, const struct core_ev_device_done *done)
{
        struct model_extent *extent = model_extent(model, done->extent);

        if (!extent || extent->state != MODEL_DESTROYING)
                return;
        if (done->status == 0) {
                model->counters[CORE_COUNT_EXTENTS_DESTROYED]++;
                if (extent->tenant != MODEL_NONE)
                        model->devices[extent->device].back[extent->tenant] = model->now;
                *extent = model->extents[--model->n_extents];
                return;
        }
        model->counters[CORE_COUNT_DEVICE_FAILURES]++;
        for (uint32_t i = 0; i < model->n_requests; i++)
                model->requests[i].device_trouble = true;
        extent->state = MODEL_LEAVING;
}

static void event_missing(struct model *model, const struct core_ev_device_missing *missing)
{
        struct model_device *device = &model->devices[missing->device < model->n_devices ? missing->device : 0];

        if (missing->device >= model->n_devices)
                return;
        device->missing = missing->pages < device->pages ? missing->pages : device->pages;
        for (uint32_t i = 0; i < model->n_workers && device->missing == 0; i++)
                model->workers[i].suspect_devices &= ~(1u << missing->device);
}

static void event_suspect(struct model *model, const struct core_ev_suspect *suspect)
{
        struct model_worker *worker = model_worker(model, suspect->worker);

        if (!worker || suspect->device >= model->n_devices)
                return;
        worker->suspect_devices |= 1u << suspect->device;
        worker->suspect_until = model->now + 60000000;
}

/* What was under way ends with the connection, in silence; what was granted stays. With another one all that is left
 * was received. */
static void event_attach(struct model *model, const struct core_ev_worker_attach *attach)
{
        struct model_worker *worker = model_worker(model, attach->worker);

        if (!worker || worker->detached == !attach->attached)
                return;
        worker->detached = !attach->attached;
        worker->awaited_until = attach->attached ? 0 : model->now + 1000000;
        if (attach->attached) {
                event_ack(model, worker, worker->granted);
                return;
        }
        requests_end(model, worker->serial, MODEL_NONE);
        for (uint32_t i = model->n_revokes; i-- > 0;)
                if (model->revokes[i].worker == worker->serial)
                        LIST_REMOVE(model, revokes, &model->revokes[i]);
        worker->overdue_revoke = 0;
        worker->dropped = worker->dying = false;
}

static void event_of_worker(struct model *model, const struct core_event *event, uint32_t id)
{
        struct model_worker *worker = model_worker(model, id);

        if (worker && worker->dying && event->type == CORE_EV_REVOKED) /* the shell could not kill it */
                worker->dropped = worker->dying = false;
        if (!worker || worker->dropped)
                return;
        switch ((enum core_event_type)event->type) {
        case CORE_EV_CACHE_CREATE:
                event_call(model, worker, event);
                return;
        case CORE_EV_CACHE_DESTROY:
                event_cache_destroy(model, worker, event);
                return;
        case CORE_EV_GROW:
                event_grow(model, worker, &event->grow);
                return;
        case CORE_EV_ACK:
                event_ack(model, worker, event->ack.granted);
                return;
        case CORE_EV_RETURN:
                event_return(model, worker, &event->ret);
                return;
        case CORE_EV_ROW:
                event_row(model, worker, &event->row);
                return;
        case CORE_EV_REVOKED:
                event_revoked(model, worker, event->revoked.revoke);
                return;
        case CORE_EV_WORKER_ATTACH:
        case CORE_EV_TICK:
        case CORE_EV_DEVICE_ADD:
        case CORE_EV_DEVICE_MISSING:
        case CORE_EV_SUSPECT:
        case CORE_EV_TENANT_SET:
        case CORE_EV_TENANT_REMOVE:
        case CORE_EV_WORKER_ADD:
        case CORE_EV_WORKER_GONE:
        case CORE_EV_CREATED:
        case CORE_EV_DESTROYED:
        case CORE_EV_MAX_:
                return;
        }
}

bool model_row_is_known(const struct model *model, const struct model_cache *cache, uint32_t row)
{
        for (uint32_t i = 0; i < model->n_extents; i++)
                if (model->extents[i].cache == cache->serial && model->extents[i].row == row &&
                    model_extent_is_owned(&model->extents[i]))
                        return true;
        for (uint32_t i = 0; i < model->n_requests; i++)
                if (model->requests[i].cache == cache->serial && model->requests[i].grow.row == row &&
                    model->requests[i].valid)
                        return true;
        return false;
}

void model_event(struct model *model, const struct core_event *event)
{
        if (event->now_usec > model->now)
                model->now = event->now_usec;
        model->suspect = model->must_drop = model->arrived = MODEL_NONE;
        switch ((enum core_event_type)event->type) {
        case CORE_EV_DEVICE_ADD:
                event_device_add(model, &event->device_add);
                return;
        case CORE_EV_TENANT_SET:
                event_tenant_set(model, &event->tenant_set);
                return;
        case CORE_EV_TENANT_REMOVE:
                if (event->tenant_remove.tenant < CORE_MAX_TENANTS) {
                        struct model_tenant *tenant = &model->tenants[event->tenant_remove.tenant];

                        tenant->removed = true;
                        tenant->min_bytes = tenant->low_bytes = 0;
                }
                return;
        case CORE_EV_WORKER_ADD:
                event_worker_add(model, &event->worker_add);
                return;
        case CORE_EV_WORKER_GONE:
                event_worker_gone(model, event->worker_gone.worker);
                return;
        case CORE_EV_WORKER_ATTACH:
                event_attach(model, &event->worker_attach);
                return;
        case CORE_EV_CREATED:
                event_created(model, &event->created);
                return;
        case CORE_EV_DESTROYED:
                event_destroyed(model, &event->destroyed);
                return;
        case CORE_EV_DEVICE_MISSING:
                event_missing(model, &event->device_missing);
                return;
        case CORE_EV_SUSPECT:
                event_suspect(model, &event->suspect);
                return;
        case CORE_EV_CACHE_CREATE:
        case CORE_EV_CACHE_DESTROY:
        case CORE_EV_GROW:
        case CORE_EV_ACK:
        case CORE_EV_RETURN:
        case CORE_EV_ROW:
        case CORE_EV_REVOKED:
                /* All of these begin with the worker. */
                event_of_worker(model, event, event->grow.worker);
                return;
        case CORE_EV_TICK:
        case CORE_EV_MAX_:
                return;
        }
}
