/* SPDX-License-Identifier: MIT
 *
 * worker.c -- connected processes: their coming, what they acknowledge and give back, and their death.
 *
 *      free -> live -> gone -> free
 *
 * A worker that is gone keeps its slot until the last of its extents is destroyed, for they are charged to its tenant
 * until then.
 */
#include "internal.h"

static void trace(struct run *run, uint32_t worker, unsigned from, unsigned to)
{
        if (run->core->params.trace)
                run_transition(run, CORE_OBJ_WORKER, worker, from, to, worker_get(run->core, worker)->tenant, 0, 0);
}

uint32_t worker_find(const struct core *c, uint32_t id)
{
        const uint32_t slot = id & 0xffffu;

        if (slot >= c->top_worker || worker_get(c, slot)->state != WORKER_LIVE ||
            worker_get(c, slot)->generation != id >> 16)
                return NIL;
        return slot;
}

static uint32_t slot_take(struct core *c)
{
        uint32_t slot = c->free_worker;

        if (slot != NIL)
                c->free_worker = worker_get(c, slot)->next;
        else if (c->top_worker < c->params.max_workers)
                worker_get(c, slot = c->top_worker++)->generation = 1;
        return slot;
}

void worker_add(struct run *run, const struct core_ev_worker_add *event)
{
        struct core *c = run->core;
        const bool known = event->tenant < CORE_MAX_TENANTS && tenant_get(c, event->tenant)->used &&
                           !tenant_get(c, event->tenant)->removed;
        const bool full = known && tenant_has_part(c, tenant_get(c, event->tenant)->n_slots, c->params.max_workers);
        const uint32_t slot = known && !full ? slot_take(c) : NIL;
        struct core_action *action;
        struct worker *w;
        uint32_t generation;

        if (slot == NIL) {
                action = run_action(run, CORE_ACT_REFUSE, 0);
                action->peer.cookie = event->cookie;
                action->peer.error = known ? CORE_E_TOO_MANY_WORKERS : CORE_E_NO_TENANT;
                return;
        }
        w = worker_get(c, slot);
        generation = w->generation;
        memset(w, 0, sizeof *w);
        w->generation = generation;
        w->state = WORKER_LIVE;
        w->tenant = event->tenant;
        w->pid = event->pid;
        w->uid = event->uid;
        w->next = w->wait_next = w->first_cache = w->first_request = w->admitted_head = w->admitted_tail = NIL;
        w->ack_at_usec = UINT64_MAX;
        tenant_get(c, event->tenant)->workers++;
        tenant_get(c, event->tenant)->n_slots++;
        c->n_workers++;
        core_count(c, CORE_COUNT_WORKERS_CONNECTED, 1);
        action = run_action(run, CORE_ACT_WELCOME, slot);
        action->peer.cookie = event->cookie;
        action->peer.tenant = event->tenant;
        trace(run, slot, WORKER_FREE, WORKER_LIVE);
}

/* Frees the slot of a worker that is gone once nothing is charged to it. */
void worker_put(struct core *c, uint32_t slot)
{
        struct worker *w = worker_get(c, slot);
        const uint32_t tenant = w->tenant, generation = (w->generation + 1) & 0xffffu;

        if (w->state != WORKER_GONE || w->n_caches > 0 || w->current_bytes > 0) {
                tenant_put(c, tenant);
                return;
        }
        memset(w, 0, sizeof *w);
        w->generation = generation ? generation : 1;
        w->next = c->free_worker;
        c->free_worker = slot;
        tenant_get(c, tenant)->n_slots--;
        tenant_put(c, tenant);
}

static void unready(struct core *c, uint32_t slot)
{
        uint32_t before = NIL;
        struct worker *w = worker_get(c, slot);

        if (!w->ready)
                return;
        for (uint32_t i = c->ready_head; i != slot; i = worker_get(c, i)->next)
                before = i;
        if (before != NIL)
                worker_get(c, before)->next = w->next;
        else
                c->ready_head = w->next;
        if (c->ready_tail == slot)
                c->ready_tail = before;
        w->ready = 0;
        w->next = NIL;
}

void worker_gone(struct run *run, const struct core_ev_worker *event)
{
        struct core *c = run->core;
        const uint32_t slot = worker_find(c, event->worker);
        struct worker *w;

        if (slot == NIL)
                return;
        w = worker_get(c, slot);
        while (w->first_cache != NIL)
                cache_kill(run, w->first_cache); /* cancels its requests */
        deliver_stop_waiting(c, slot);
        unready(c, slot);
        w->state = WORKER_GONE;
        w->detached = 0;
        w->awaited_until_usec = 0;
        w->ack_at_usec = UINT64_MAX;
        reclaim_forget(c, slot);
        tenant_get(c, w->tenant)->workers--;
        c->n_workers--;
        core_count(c, CORE_COUNT_WORKERS_GONE, 1);
        trace(run, slot, WORKER_LIVE, WORKER_GONE);
        for (uint32_t i = 0; i < c->n_devices; i++)
                core_pump_later(c, i); /* who waited for its revoke waits no more */
        worker_put(c, slot);
}

void worker_ready(struct core *c, uint32_t slot)
{
        struct worker *w = worker_get(c, slot);

        if (w->ready || w->state != WORKER_LIVE)
                return;
        w->ready = 1;
        w->next = NIL;
        if (c->ready_tail != NIL)
                worker_get(c, c->ready_tail)->next = slot;
        else
                c->ready_head = slot;
        c->ready_tail = slot;
}

/* ---- grants and their acknowledgement ---- */

void worker_granted(struct core *c, uint32_t slot, uint32_t extent)
{
        struct worker *w = worker_get(c, slot);
        struct extent *e = extent_get(c, extent);

        assert(w->granted - w->acked < CORE_MAX_UNACKED);
        e->ring = (uint8_t)(w->granted % CORE_MAX_UNACKED);
        w->ring[e->ring] = extent;
        w->granted++;
        w->unacked_bytes += (uint64_t)extent_pages(e) << c->devices[extent_device(e)].page_shift;
        if (w->ack_at_usec == UINT64_MAX) {
                w->ack_at_usec = c->now_usec + ACK_SYNC_USEC;
                core_deadline_at(c, w->ack_at_usec);
        }
}

void worker_ack(struct run *run, const struct core_ev_ack *event)
{
        struct core *c = run->core;
        const uint32_t slot = worker_find(c, event->worker);
        struct worker *w;

        if (slot == NIL || worker_get(c, slot)->detached)
                return;
        w = worker_get(c, slot);
        if (event->granted > w->granted) {
                run_drop(run, slot, CORE_E_BAD_ACK);
                return;
        }
        if (event->granted <= w->acked)
                return; /* of an older message of another thread */
        for (; w->acked < event->granted; w->acked++) {
                const uint32_t extent = w->ring[w->acked % CORE_MAX_UNACKED];

                if (extent != NIL) /* else it went in the meantime */
                        extent_mapped(run, extent);
        }
        w->synced = 0;
        w->ack_at_usec = w->acked == w->granted ? UINT64_MAX : c->now_usec + ACK_SYNC_USEC;
        core_deadline_at(c, w->ack_at_usec);
        if (w->admitted_head != NIL)
                worker_ready(c, slot); /* the window is open again */
}

void worker_return(struct run *run, const struct core_ev_return *event)
{
        struct core *c = run->core;
        const uint32_t slot = worker_find(c, event->worker);
        const uint32_t extent = extent_find(c, event->extent);
        const struct extent *e = extent == NIL ? NULL : extent_get(c, extent);

        if (slot == NIL)
                return;
        if (!e || (e->state != EXTENT_GRANTED && e->state != EXTENT_MAPPED) || e->worker != slot) {
                run_reply_error(run, slot, 0, CORE_E_BAD_EXTENT);
                return;
        }
        if (event->refused)
                core_count(c, CORE_COUNT_EXTENTS_REFUSED, 1);
        extent_return(run, extent);
}

void worker_suspect(struct run *run, const struct core_ev_suspect *event)
{
        struct core *c = run->core;
        const uint32_t slot = worker_find(c, event->worker);
        struct worker *w;

        if (slot == NIL || event->device >= c->n_devices)
                return;
        w = worker_get(c, slot);
        w->suspect |= (uint16_t)(1u << event->device);
        w->suspect_until_usec = c->now_usec + SUSPECT_USEC;
        core_deadline_at(c, c->now_usec); /* what it asked for fails now */
}

/* What was under way ended with the connection, on either side: requests are cancelled, and a revoke is forgotten. What
 * was granted and not acknowledged stays granted, until the worker has said what arrived. */
static void detach(struct run *run, uint32_t slot)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, slot);

        while (w->first_request != NIL)
                request_cancel(run, w->first_request);
        deliver_stop_waiting(c, slot);
        unready(c, slot);
        reclaim_forget(c, slot);
        w->detached = 1;
        w->awaited_until_usec = c->now_usec + RECLAIM_DEADLINE_USEC;
        core_deadline_at(c, w->awaited_until_usec);
        w->dying = 0; /* whoever was to be killed and lives will be found overdue again */
        w->synced = 0;
        w->ack_at_usec = UINT64_MAX;
}

/* What did not arrive was returned before. */
static void attach(struct run *run, uint32_t slot)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, slot);

        for (; w->acked < w->granted; w->acked++) {
                const uint32_t extent = w->ring[w->acked % CORE_MAX_UNACKED];

                if (extent != NIL)
                        extent_mapped(run, extent);
        }
        memset(w->dry, 0, sizeof w->dry);
        w->detached = 0;
        w->awaited_until_usec = 0;
}

void worker_attach(struct run *run, const struct core_ev_worker_attach *event)
{
        struct core *c = run->core;
        const uint32_t slot = worker_find(c, event->worker);

        if (slot == NIL || worker_get(c, slot)->detached == (event->attached == 0))
                return;
        if (event->attached)
                attach(run, slot);
        else
                detach(run, slot);
        for (uint32_t i = 0; i < c->n_devices; i++)
                core_pump_later(c, i);
}

void worker_tick(struct run *run, uint32_t slot)
{
        struct core *c = run->core;
        struct worker *w = worker_get(c, slot);

        if (w->suspect != 0 && w->suspect_until_usec <= c->now_usec)
                w->suspect = 0;
        if (w->suspect != 0)
                core_deadline_at(c, w->suspect_until_usec);

        if (w->awaited_until_usec != 0 && w->awaited_until_usec <= c->now_usec) {
                w->awaited_until_usec = 0;
                for (uint32_t i = 0; i < c->n_devices; i++)
                        core_pump_later(c, i); /* who hoped for it hopes no more */
        }
        if (w->awaited_until_usec != 0)
                core_deadline_at(c, w->awaited_until_usec);
        if (w->ack_at_usec > c->now_usec) {
                core_deadline_at(c, w->ack_at_usec);
                return;
        }
        if (!w->synced) {
                w->synced = 1;
                w->ack_at_usec = c->now_usec + ACK_DEADLINE_USEC;
                core_deadline_at(c, w->ack_at_usec);
                run_action(run, CORE_ACT_SYNC, slot);
        } else {
                w->ack_at_usec = c->now_usec + ACK_DEADLINE_USEC; /* see CORE_ACT_DROP */
                core_deadline_at(c, w->ack_at_usec);
                run_drop(run, slot, CORE_E_OVERDUE);
        }
}
