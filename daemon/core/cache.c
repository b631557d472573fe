/* SPDX-License-Identifier: MIT
 *
 * cache.c -- caches and their rows: created, told which rows are held, destroyed at leisure.
 *
 *      free -> live -> dying -> free
 *
 * A dying cache, its worker's wish or its worker's death, is reaped extent by extent as the actions of an event have
 * room, so no single event does an unbounded amount of work.
 */
#include "internal.h"

static void trace(struct run *run, uint32_t cache, unsigned from, unsigned to)
{
        const struct cache *k = cache_get(run->core, cache);

        if (run->core->params.trace)
                run_transition(run, CORE_OBJ_CACHE, cache, from, to, k->worker, k->rows, 0);
}

uint32_t cache_find(const struct core *c, uint32_t worker, uint32_t id)
{
        const uint32_t slot = id & 0xffffu;
        const struct cache *k = slot < c->top_cache ? cache_get(c, slot) : NULL;

        return k && k->state == CACHE_LIVE && k->generation == id >> 16 && k->worker == worker ? slot : NIL;
}

static enum core_error geometry_check(const struct core *c, const struct core_ev_cache_create *event,
                                      uint64_t *ret_pages)
{
        uint64_t pages = 0;

        if (event->device >= c->n_devices)
                return CORE_E_NO_DEVICE;
        if (event->rows == 0 || event->rows > CORE_MAX_ROWS || event->n_classes == 0 ||
            event->n_classes > CORE_MAX_CLASSES)
                return CORE_E_BAD_GEOMETRY;
        for (uint32_t i = 0; i < event->n_classes; i++) {
                const struct core_plane_class *class = &event->classes[i];

                if (class->planes == 0 || class->planes > CORE_MAX_PLANES || class->row_pages == 0)
                        return CORE_E_BAD_GEOMETRY;
                pages += (uint64_t) class->planes * class->row_pages; /* at most 64 * 64 * 2^32 */
        }
        if (pages > (UINT64_MAX >> c->devices[event->device].page_shift) / event->rows)
                return CORE_E_BAD_GEOMETRY;
        *ret_pages = pages * event->rows;
        return CORE_E_NONE;
}

static uint32_t slot_take(struct core *c)
{
        uint32_t slot = c->free_cache;

        if (slot != NIL)
                c->free_cache = cache_get(c, slot)->next;
        else if (c->top_cache < c->params.max_caches)
                cache_get(c, slot = c->top_cache++)->generation = 1;
        return slot;
}

void cache_create(struct run *run, const struct core_ev_cache_create *event)
{
        struct core *c = run->core;
        const uint32_t worker = worker_find(c, event->worker);
        uint64_t pages = 0;
        enum core_error error;
        uint32_t slot, generation;
        struct worker *w;
        struct cache *k;
        struct core_action *action;

        if (worker == NIL)
                return;
        w = worker_get(c, worker);
        error = geometry_check(c, event, &pages);
        if (error == CORE_E_NONE && (w->n_caches >= WORKER_MAX_CACHES ||
                                     tenant_has_part(c, tenant_get(c, w->tenant)->n_caches, c->params.max_caches) ||
                                     (slot = slot_take(c)) == NIL))
                error = CORE_E_TOO_MANY_CACHES;
        if (error != CORE_E_NONE) {
                run_reply_error(run, worker, event->request, error);
                return;
        }
        k = cache_get(c, slot);
        generation = k->generation;
        memset(k, 0, sizeof *k);
        k->generation = generation;
        k->state = CACHE_LIVE;
        k->worker = worker;
        k->device = (uint8_t)event->device;
        k->rows = event->rows;
        k->first_row = k->reap_next = k->prev = NIL;
        k->virtual_pages = pages;
        k->n_classes = event->n_classes;
        memcpy(k->classes, event->classes, event->n_classes * sizeof k->classes[0]);
        for (uint32_t i = 0; i < event->n_classes; i++)
                k->planes += event->classes[i].planes;
        k->next = w->first_cache;
        if (k->next != NIL)
                cache_get(c, k->next)->prev = slot;
        w->first_cache = slot;
        w->n_caches++;
        tenant_get(c, w->tenant)->n_caches++;
        c->n_caches++;
        action = run_action(run, CORE_ACT_REPLY_CACHE, worker);
        action->reply.request = event->request;
        action->reply.cache = slot_id(slot, generation);
        trace(run, slot, CACHE_FREE, CACHE_LIVE);
}

/* From now on nobody finds it; its requests end in silence. */
void cache_kill(struct run *run, uint32_t slot)
{
        struct core *c = run->core;
        struct cache *k = cache_get(c, slot);
        struct worker *w = worker_get(c, k->worker);
        uint32_t next;

        assert(k->state == CACHE_LIVE);
        for (uint32_t i = w->first_request; i != NIL; i = next) {
                next = request_get(c, i)->of_worker_next;
                if (request_get(c, i)->cache == slot)
                        request_cancel(run, i);
        }
        if (k->prev != NIL)
                cache_get(c, k->prev)->next = k->next;
        else
                w->first_cache = k->next;
        if (k->next != NIL)
                cache_get(c, k->next)->prev = k->prev;
        trace(run, slot, CACHE_LIVE, CACHE_DYING);
        k->state = CACHE_DYING;
        k->reap_next = NIL;
        if (c->reap_tail != NIL)
                cache_get(c, c->reap_tail)->reap_next = slot;
        else
                c->reap_head = slot;
        c->reap_tail = slot;
}

void cache_destroy(struct run *run, const struct core_ev_cache_destroy *event)
{
        struct core *c = run->core;
        const uint32_t worker = worker_find(c, event->worker);
        const uint32_t slot = worker == NIL ? NIL : cache_find(c, worker, event->cache);

        if (worker == NIL)
                return;
        if (slot == NIL) {
                run_reply_error(run, worker, event->request, CORE_E_NO_CACHE);
                return;
        }
        cache_kill(run, slot);
        run_action(run, CORE_ACT_REPLY_OK, worker)->reply.request = event->request;
}

void cache_reap(struct run *run)
{
        struct core *c = run->core;

        while (c->reap_head != NIL && run_has_room(run)) {
                const uint32_t slot = c->reap_head;
                struct cache *k = cache_get(c, slot);
                uint32_t worker, generation;

                if (k->first_row != NIL) {
                        extent_return(run, row_get(c, k->first_row)->head); /* the row goes with its last extent */
                        continue;
                }
                assert(k->row_records == 0 && k->live_pages == 0 && k->idle_pages == 0);
                c->reap_head = k->reap_next;
                if (c->reap_head == NIL)
                        c->reap_tail = NIL;
                trace(run, slot, CACHE_DYING, CACHE_FREE);
                worker = k->worker;
                generation = (k->generation + 1) & 0xffffu;
                memset(k, 0, sizeof *k);
                k->generation = generation ? generation : 1;
                k->next = c->free_cache;
                c->free_cache = slot;
                c->n_caches--;
                worker_get(c, worker)->n_caches--;
                tenant_get(c, worker_get(c, worker)->tenant)->n_caches--;
                worker_put(c, worker);
        }
}

void cache_row(struct run *run, const struct core_ev_row *event)
{
        struct core *c = run->core;
        const uint32_t worker = worker_find(c, event->worker);
        const uint32_t slot = worker == NIL ? NIL : cache_find(c, worker, event->cache);
        struct worker *w;
        uint32_t row, device;

        if (worker == NIL)
                return;
        if (slot == NIL || event->row >= cache_get(c, slot)->rows) {
                run_reply_error(run, worker, 0, slot == NIL ? CORE_E_NO_CACHE : CORE_E_BAD_RANGE);
                return;
        }
        row = ptable_row_find(c, slot, event->row);
        if (row == NIL || row_get(c, row)->held == (event->held != 0))
                return; /* a row without pages is nobody's concern */
        ptable_row_hold(c, row, event->held != 0);
        if (c->params.trace)
                run_transition(run, CORE_OBJ_ROW, event->row, event->held == 0, event->held != 0, worker, slot,
                               row_get(c, row)->pages);
        w = worker_get(c, worker);
        memset(w->dry, 0, sizeof w->dry); /* it stirs: worth asking again */
        device = cache_get(c, slot)->device;
        if (!event->held && (c->n_waiting > 0 || device_lacks(device_get(c, device))))
                core_pump_later(c, device);
}
