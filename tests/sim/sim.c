/* SPDX-License-Identifier: MIT
 *
 * sim.c -- one run: everything that happens on a host, in an order that the seed decides, then its orderly end.
 */
#include "world.h"

/* A share of the smallest device, on which the limits hold as well. */
static uint64_t some_bytes(struct world *world, uint32_t from_percent, uint32_t to_percent)
{
        uint64_t least = UINT64_MAX;

        for (uint32_t d = 0; d < world->model.n_devices; d++) {
                uint64_t bytes = (uint64_t)world->model.devices[d].pages << world->model.devices[d].page_shift;

                least = bytes < least ? bytes : least;
        }
        return least / 100 * random_between(&world->random, from_percent, to_percent);
}

static void set_tenant(struct world *world, uint32_t tenant)
{
        struct random *random = &world->random;
        struct core_event event;

        world_event(world, &event, CORE_EV_TENANT_SET);
        event.tenant_set.tenant = tenant;
        event.tenant_set.on_overdue = !world->calm && random_chance(random, 20) ? CORE_OVERDUE_KILL : CORE_OVERDUE_DENY;
        if (random_chance(random, 40)) /* all together no more than there is, the administrator's changes aside */
                event.tenant_set.min_bytes = some_bytes(world, 0, world->calm ? 33 : 45);
        if (random_chance(random, 30))
                event.tenant_set.low_bytes = some_bytes(world, 0, 100);
        event.tenant_set.high_bytes = random_chance(random, 70) ? UINT64_MAX : some_bytes(world, 5, 100);
        event.tenant_set.max_bytes = random_chance(random, 40) ? UINT64_MAX : some_bytes(world, 5, 130);
        event.tenant_set.reclaim_deadline_usec = world->calm || random_chance(random, 20)
                                                         ? 0
                                                         : random_between(random, 1, 400) * 1000;
        event.tenant_set.weight = random_chance(random, 50) ? 100 : random_between(random, 1, 1000);
        event.tenant_set.name[0] = 't';
        event.tenant_set.name[1] = (char)('0' + tenant % 10);
        world_apply(world, &event);
}

static void add_device(struct world *world)
{
        struct random *random = &world->random;
        struct core_event event;

        world_event(world, &event, CORE_EV_DEVICE_ADD);
        event.device_add.device = world->model.n_devices;
        event.device_add.page_shift = world->model.n_devices == 0 ? 21 : 16;
        event.device_add.pages = random_chance(random, 15)   ? random_between(random, 300, 600)
                                 : random_chance(random, 20) ? random_between(random, 1, 20)
                                                             : random_between(random, 20, 160);
        if (world->small)
                event.device_add.pages = random_between(random, 1, 40);
        if (world->wide)
                event.device_add.pages = random_between(random, 1000, 3000);
        event.device_add.virgin_pages = random_chance(random, 20) ? 0
                                        : world->wide             ? event.device_add.pages
                                                                  : random_below(random, event.device_add.pages);
        world_apply(world, &event);
}

static void device_mischief(struct world *world)
{
        struct fake_device *device = &world->device;
        struct random *random = &world->random;
        uint32_t d = random_below(random, world->model.n_devices);
        struct core_event event;

        switch (random_below(random, 7)) {
        case 5: /* what others take, or a liar keeps; mostly it comes back */
                world_event(world, &event, CORE_EV_DEVICE_MISSING);
                event.device_missing.device = d;
                event.device_missing.pages = random_chance(random, 60)
                                                     ? 0
                                                     : random_below(random, world->model.devices[d].pages * 5 / 4);
                world_apply(world, &event);
                return;
        case 6:
                if (world->n_workers == 0)
                        return;
                world_event(world, &event, CORE_EV_SUSPECT);
                event.suspect.worker = world->workers[random_below(random, world->n_workers)].id;
                event.suspect.device = d;
                world_apply(world, &event);
                return;
        case 0: /* a while of failures */
                device->fail_after = random_below(random, 4);
                device->fail_for = random_between(random, 1, 6);
                return;
        case 1: /* for good, until somebody heals it */
                device->fail_for = random_chance(random, 20) ? UINT32_MAX : 0;
                return;
        case 2: /* somebody else uses the device */
                device->stolen[d] = random_below(random, world->model.devices[d].pages);
                return;
        case 3: /* an answer that comes twice, or to nothing */
                if (world->model.n_extents == 0)
                        return;
                world_event(world, &event, random_chance(random, 50) ? CORE_EV_CREATED : CORE_EV_DESTROYED);
                event.created.extent = world->model.extents[random_below(random, world->model.n_extents)].id;
                for (uint32_t i = 0; i < device->n_operations; i++)
                        if (device->operations[i].extent == event.created.extent)
                                return;
                event.created.status = random_chance(random, 50) ? 0 : -5;
                world_apply(world, &event);
                return;
        default:
                device_heal(world);
                return;
        }
}

/* What the administrator, the kernel and the hardware do. */
static void outside_step(struct world *world)
{
        struct random *random = &world->random;
        uint32_t dice = random_below(random, 100), tenant = random_below(random, world->tenants);
        struct core_event event;

        if (world->restarts && random_chance(random, 8)) {
                world_move(world);
                workers_lose_connections(world);
                return;
        }
        if (dice < 45)
                worker_connect(world, random_chance(random, 95) ? tenant : random_below(random, CORE_MAX_TENANTS + 2));
        else if (dice < 60)
                set_tenant(world, tenant);
        else if (dice < 75 && world->n_workers > 0)
                worker_die(world, random_below(random, world->n_workers));
        else if (dice < 77 && world->model.n_devices < 2 && random_chance(random, 10))
                add_device(world);
        else if (dice < 79 && !world->calm) {
                world_event(world, &event, CORE_EV_TENANT_REMOVE);
                event.tenant_remove.tenant = tenant;
                world_apply(world, &event);
        } else if (world->device_faults)
                device_mischief(world);
}

/* Whoever was dropped is cut off by the shell, sooner or later. */
static bool bury_dropped(struct world *world, uint32_t percent)
{
        for (uint32_t i = 0; i < world->n_workers; i++) {
                const struct model_worker *shadow = model_worker_by_serial(&world->model, world->workers[i].serial);

                if (shadow && shadow->dropped && random_chance(&world->random, percent)) {
                        worker_die(world, i);
                        return true;
                }
        }
        return false;
}

/* Everybody does what is asked of him until nothing is asked of anybody. */
static void settle(struct world *world)
{
        for (unsigned i = 0; i < 20000; i++) {
                bool busy = core_pending(world->core) || bury_dropped(world, 100);

                world_flush(world);
                if (world->device.n_operations > 0) {
                        device_answer(world, 0);
                        busy = true;
                }
                for (uint32_t k = 0; k < world->n_workers; k++)
                        if (world->workers[k].detached) {
                                worker_resume(world, &world->workers[k]);
                                busy = true;
                        } else if (worker_owes(world, &world->workers[k])) {
                                worker_answer(world, &world->workers[k]);
                                busy = true;
                        }
                if (!busy)
                        return;
        }
        world_fail(world, "everybody answers, and there is no end to it");
}

static void pass_time(struct world *world)
{
        uint64_t deadline = core_next_deadline(world->core);

        if (world->calm) {
                settle(world);
                deadline = core_next_deadline(world->core);
        }
        if (deadline == UINT64_MAX)
                return;
        if (deadline > world->now)
                world->now = deadline;
        /* A loop is never quite in time. */
        if (!world->calm && random_chance(&world->random, 30))
                world->now += random_below(&world->random, 2000);
        world_tick(world);
}

static void sim_step(struct world *world)
{
        struct random *random = &world->random;
        uint32_t dice = random_below(random, 1000);

        world->now += random_below(random, 200);
        if (core_next_deadline(world->core) <= world->now) {
                world_tick(world);
                return;
        }
        if (core_pending(world->core) && random_chance(random, 80)) {
                world_tick(world);
                return;
        }
        if (bury_dropped(world, 20))
                return;
        if (dice < 12)
                pass_time(world);
        else if (dice < 52)
                outside_step(world);
        else if (dice < 450) {
                device_answer_any(world);
                /* A device that makes many at a time, so that its memory is ready before it is asked for. */
                for (uint32_t n = world->wide ? 20 : 0; n > 0 && world->device.n_operations > 0; n--)
                        device_answer_any(world);
        } else if (world->n_workers > 0)
                worker_step(world, &world->workers[random_below(random, world->n_workers)]);
        else
                worker_connect(world, random_below(random, world->tenants));
}

/* With everybody honest and the device in order every request must come to its end. */
static void finish_requests(struct world *world)
{
        device_heal(world);
        workers_turn_honest(world);
        for (unsigned i = 0; i < 1000; i++) {
                settle(world);
                if (world->model.n_requests == 0 || core_next_deadline(world->core) == UINT64_MAX)
                        break;
                world_advance(world, core_next_deadline(world->core) > world->now
                                             ? core_next_deadline(world->core) - world->now
                                             : 0);
        }
        if (world->model.n_requests > 0)
                world_fail(world, "everybody answers, and a request never ends");
}

static bool something_left(const struct world *world)
{
        for (uint32_t i = 0; i < world->model.n_extents; i++)
                if (world->model.extents[i].state != MODEL_VIRGIN)
                        return true;
        return false;
}

static void finish(struct world *world)
{
        if (world->seed % 2)
                finish_requests(world);
        while (world->n_workers > 0) {
                worker_die(world, random_below(&world->random, world->n_workers));
                for (uint32_t n = random_below(&world->random, 4); n > 0; n--)
                        device_answer_any(world);
        }
        device_heal(world);
        for (unsigned i = 0; i < 1000; i++) {
                settle(world);
                if (!something_left(world) || core_next_deadline(world->core) == UINT64_MAX)
                        break;
                world_advance(world, core_next_deadline(world->core) > world->now
                                             ? core_next_deadline(world->core) - world->now
                                             : 0);
        }
        model_check_empty(&world->model, world->core);
        if (world->model.broken[0])
                world_fail(world, world->model.broken);
}

void sim_params(uint64_t seed, bool trace, struct core_params *ret_params)
{
        *ret_params = (struct core_params){ .max_extents = 1200,
                                            .max_workers = 12,
                                            .max_caches = 24,
                                            .max_rows = 64,
                                            .max_requests = 24,
                                            .trace = trace || seed % 8 == 6,
                                            .hash_key = seed * UINT64_C(0x9e3779b97f4a7c15) };
        switch (seed % 32) { /* now and then a table is too small */
        case 5:
                ret_params->max_rows = 4;
                break;
        case 13:
                ret_params->max_requests = 3;
                break;
        case 21:
                ret_params->max_extents = 50;
                break;
        case 6:
        case 7:
        case 24:
                ret_params->max_extents = 6000;
                ret_params->max_workers = 2;
                break;
        default:
                break;
        }
}

/* What sort of host it is: the seed says. */
static void set_up(struct world *world)
{
        world->calm = world->seed % 4 == 0;
        world->device_faults = world->seed % 4 == 1 || world->seed % 4 == 3;
        world->restarts = world->seed % 8 == 7 || world->seed % 8 == 0;
        world->liars = world->seed % 4 == 2 || world->seed % 4 == 3;
        world->wide = world->params.max_extents > 2000 && !world->small;
        world->model.calm = world->calm;
        world->device.in_order = random_chance(&world->random, 50);
        world->tenants = random_between(&world->random, 1, 3);
        add_device(world);
        if (random_chance(&world->random, 20))
                add_device(world);
        for (uint32_t t = 0; t < world->tenants; t++)
                set_tenant(world, t);
}

void sim_run(struct world *world, uint32_t events)
{
        uint32_t half = random_between(&world->random, 1, events);

        set_up(world);
        for (uint32_t idle = 0; world->n_events < events && idle < 100 * events; idle++) {
                sim_step(world);
                if (world->n_events >= half && !world->snapshot.memory)
                        world_take_snapshot(world);
        }
        finish(world);
        if (world->seed % 8 < 2)
                world_check_replay(world);
}

void sim_run_script(const uint8_t *script, size_t size)
{
        struct core_params params;
        struct world world;

        if (size == 0)
                return;
        sim_params(script[0], false, &params);
        world_init(&world, script[0], &params);
        world.aborts = world.small = true;
        world.random.script = script + 1;
        world.random.script_size = size - 1;
        set_up(&world);
        while (world.random.script_size > 0 && world.n_events < 5000)
                sim_step(&world);
        finish(&world);
        world_done(&world);
}
