/* SPDX-License-Identifier: MIT
 *
 * core.c -- the one door: an event is applied, what follows from it is pumped until nothing moves, actions come out.
 */
#include "internal.h"

#include "arena.h"

/* ---- the arena ---- */

static bool params_are_sound(const struct core_params *p)
{
        return p->max_extents > 0 && p->max_extents <= 1u << 30 && p->max_workers > 0 && p->max_workers <= 0xffffu &&
               p->max_caches > 0 && p->max_caches <= 0xffffu && p->max_rows > 0 && p->max_rows <= 1u << 30 &&
               p->max_requests > 0 && p->max_requests <= 1u << 30;
}

static void lay_out(struct core *c, const struct core_params *p)
{
        struct arena arena = { 0 };
        const uint32_t granules = bits_round_up_pow2(2 * p->max_extents), rows = bits_round_up_pow2(2 * p->max_rows);

        (void)arena_take(&arena, 1, sizeof *c);
        c->params = *p;
        c->granule_mask = granules - 1;
        c->row_mask = rows - 1;
        c->tenants_at = arena_take(&arena, CORE_MAX_TENANTS, sizeof(struct tenant));
        c->workers_at = arena_take(&arena, p->max_workers, sizeof(struct worker));
        c->caches_at = arena_take(&arena, p->max_caches, sizeof(struct cache));
        c->requests_at = arena_take(&arena, p->max_requests, sizeof(struct request));
        c->timers_at = arena_take(&arena, p->max_requests, sizeof(struct timer));
        c->rows_at = arena_take(&arena, p->max_rows, sizeof(struct row));
        c->extents_at = arena_take(&arena, p->max_extents, sizeof(struct extent));
        c->granules_at = arena_take(&arena, granules, sizeof(uint32_t));
        c->row_slots_at = arena_take(&arena, rows, sizeof(uint32_t));
        c->size = arena.used;
}

size_t core_size(const struct core_params *params)
{
        struct core c;

        if (!params_are_sound(params))
                return 0;
        lay_out(&c, params);
        return (size_t)c.size;
}

struct core *core_init(void *memory, const struct core_params *params)
{
        struct core *c = memory;

        assert(params_are_sound(params) && ((uintptr_t)memory & 63) == 0);
        memset(c, 0, sizeof *c);
        lay_out(c, params);
        c->next_deadline_usec = UINT64_MAX;
        c->free_extent = c->free_row = c->free_cache = c->free_worker = c->free_request = NIL;
        c->reap_head = c->reap_tail = c->ready_head = c->ready_tail = NIL;
        return c;
}

/* ---- actions ---- */

struct core_action *run_action(struct run *run, enum core_action_type type, uint32_t worker_slot)
{
        struct core_actions *actions = run->actions;
        struct core_action *action = &actions->v[actions->n];

        assert(actions->n < actions->capacity);
        actions->n++;
        memset(action, 0, sizeof *action);
        action->type = (uint16_t)type;
        if (type != CORE_ACT_CREATE && type != CORE_ACT_DESTROY && type != CORE_ACT_REFUSE)
                action->worker = slot_id(worker_slot, worker_get(run->core, worker_slot)->generation);
        return action;
}

void run_transition(struct run *run, enum core_object object, uint64_t id, unsigned from, unsigned to, uint32_t a,
                    uint32_t b, uint32_t c)
{
        struct core_action *action = run_action(run, CORE_ACT_TRANSITION, 0);

        action->worker = 0;
        action->transition.object = (uint16_t)object;
        action->transition.id = id;
        action->transition.from = (uint8_t)from;
        action->transition.to = (uint8_t)to;
        action->transition.a = a;
        action->transition.b = b;
        action->transition.c = c;
}

void run_reply_error(struct run *run, uint32_t worker_slot, uint32_t request, enum core_error error)
{
        struct core_action *action = run_action(run, CORE_ACT_REPLY_ERROR, worker_slot);

        action->reply.request = request;
        action->reply.error = (uint32_t)error;
}

void run_drop(struct run *run, uint32_t worker_slot, enum core_error error)
{
        run_action(run, CORE_ACT_DROP, worker_slot)->reply.error = (uint32_t)error;
}

/* ---- what follows from an event ---- */

void core_pump_later(struct core *core, uint32_t device)
{
        core->busy_devices |= 1u << device;
}

/* Something changed on the device; and a slot in the table, which all devices share, may have become free or surplus:
 * who waits for one, or is owed an extent, may be on any of them. */
void core_pump_for_slot(struct core *c, uint32_t device)
{
        core_pump_later(c, device);
        for (uint32_t i = 0; i < c->n_devices; i++)
                if (c->devices[i].n_waiting > 0 || c->devices[i].reserved_pages > 0)
                        core_pump_later(c, i);
}

static void pump(struct run *run)
{
        struct core *c = run->core;

        do {
                const uint32_t busy = c->busy_devices;
                uint32_t make;

                c->busy_devices = 0;
                cache_reap(run);
                for (uint32_t i = 0; i < c->n_devices; i++)
                        if (busy & 1u << i && c->devices[i].n_waiting > 0)
                                request_admit_waiting(run, i);
                deliver_ready(run);
                make = busy | c->busy_devices;
                if (c->n_waiting == 0)
                        c->busy_devices = 0; /* what deliveries left to do is done here: nobody waits for more */
                for (uint32_t i = 0; i < c->n_devices; i++)
                        if (make & 1u << i) {
                                device_make(run, i);
                                reclaim_background(run, i);
                        }
                if (!run_has_room(run))
                        c->busy_devices |= make;
        } while (c->busy_devices != 0 && run_has_room(run));
}

static void pass_deadlines(struct run *run)
{
        struct core *c = run->core;

        c->next_deadline_usec = UINT64_MAX;
        request_tick(run);
        for (uint32_t i = 0; i < c->top_worker; i++) {
                if (worker_get(c, i)->state != WORKER_LIVE)
                        continue;
                if (!run_has_room(run)) {
                        core_deadline_at(c, c->now_usec + 1);
                        break;
                }
                worker_tick(run, i);
                reclaim_tick(run, i);
        }
        for (uint32_t i = 0; i < c->n_devices; i++) {
                device_tick(run, i);
                reclaim_tick_device(c, i);
        }
}

static void dispatch(struct run *run, const struct core_event *event)
{
        switch ((enum core_event_type)event->type) {
        case CORE_EV_DEVICE_ADD:
                device_add(run, &event->device_add);
                break;
        case CORE_EV_TENANT_SET:
                tenant_set(run, &event->tenant_set);
                break;
        case CORE_EV_TENANT_REMOVE:
                tenant_remove(run, &event->tenant_remove);
                break;
        case CORE_EV_WORKER_ADD:
                worker_add(run, &event->worker_add);
                break;
        case CORE_EV_WORKER_GONE:
                worker_gone(run, &event->worker_gone);
                break;
        case CORE_EV_CACHE_CREATE:
                cache_create(run, &event->cache_create);
                break;
        case CORE_EV_CACHE_DESTROY:
                cache_destroy(run, &event->cache_destroy);
                break;
        case CORE_EV_GROW:
                request_grow(run, &event->grow);
                break;
        case CORE_EV_ACK:
                worker_ack(run, &event->ack);
                break;
        case CORE_EV_RETURN:
                worker_return(run, &event->ret);
                break;
        case CORE_EV_ROW:
                cache_row(run, &event->row);
                break;
        case CORE_EV_REVOKED:
                reclaim_revoked(run, &event->revoked);
                break;
        case CORE_EV_CREATED:
                device_created(run, &event->created);
                break;
        case CORE_EV_DESTROYED:
                device_destroyed(run, &event->destroyed);
                break;
        case CORE_EV_DEVICE_MISSING:
                device_missing(run, &event->device_missing);
                break;
        case CORE_EV_SUSPECT:
                worker_suspect(run, &event->suspect);
                break;
        case CORE_EV_WORKER_ATTACH:
                worker_attach(run, &event->worker_attach);
                break;
        case CORE_EV_TICK:
        case CORE_EV_MAX_:
                break;
        }
}

void core_apply(struct core *core, const struct core_event *event, struct core_actions *actions)
{
        struct run run = { .core = core, .actions = actions };

        assert(actions->capacity - actions->n >= CORE_ACTIONS_MAX);
        run.limit = actions->n + CORE_ACTIONS_MAX / 4; /* the rest is for what one step of work emits beyond it */
        core->now_usec = bits_max_u64(core->now_usec, event->now_usec);
        dispatch(&run, event);
        if (core->now_usec >= core->next_deadline_usec)
                pass_deadlines(&run);
        pump(&run);
}

bool core_pending(const struct core *core)
{
        return core->busy_devices != 0 || core->reap_head != NIL || core->ready_head != NIL;
}

bool core_is_quiet(const struct core *core)
{
        bool quiet = !core_pending(core) && core->n_requests == 0;

        for (uint32_t i = 0; quiet && i < core->n_devices; i++) {
                const struct device *d = &core->devices[i];

                quiet = d->n_revokes == 0 &&
                        (d->failing || (d->creating == 0 && d->reclassing == 0 && d->returning == 0));
        }
        return quiet;
}

uint64_t core_next_deadline(const struct core *core)
{
        return core->next_deadline_usec;
}
