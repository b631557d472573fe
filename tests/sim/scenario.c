/* SPDX-License-Identifier: MIT
 *
 * scenario.c -- short stories that a person can follow, for the golden traces in tests/golden: each event in words, and
 * under it what the core did. The device and the workers do here what the story says, and nothing by themselves.
 */
#include <string.h>

#include "world.h"

static void say(struct world *world, const char *sentence)
{
        fprintf(world->out, "\n# %s\n", sentence);
}

static void device(struct world *world, uint32_t pages, uint32_t virgin_pages)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_DEVICE_ADD);
        event.device_add.page_shift = 21;
        event.device_add.pages = pages;
        event.device_add.virgin_pages = virgin_pages;
        world_apply(world, &event);
        device_answer_all(world);
}

static void tenant(struct world *world, uint32_t index, const char *name, uint64_t max_pages)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_TENANT_SET);
        event.tenant_set.tenant = index;
        event.tenant_set.high_bytes = UINT64_MAX;
        event.tenant_set.max_bytes = max_pages ? max_pages << 21 : UINT64_MAX;
        event.tenant_set.weight = 100;
        strncpy(event.tenant_set.name, name, sizeof(event.tenant_set.name) - 1);
        world_apply(world, &event);
}

/* The worker's place among world->workers. Its first cache has 4 rows of 256 pages in so many planes. */
static uint32_t worker(struct world *world, uint32_t index, uint32_t planes)
{
        uint32_t at = world->n_workers;
        struct core_event event;

        worker_connect(world, index);
        world_event(world, &event, CORE_EV_CACHE_CREATE);
        event.cache_create.worker = world->workers[at].id;
        event.cache_create.request = world->next_request++;
        event.cache_create.rows = 4;
        event.cache_create.n_classes = 1;
        event.cache_create.classes[0] = (struct core_plane_class){ .planes = planes, .row_pages = 256 };
        event.size = (uint16_t)core_event_size(&event);
        world_apply(world, &event);
        return at;
}

static uint32_t cache_of(struct world *world, uint32_t at)
{
        const struct model_cache *cache = worker_any_cache(world, &world->workers[at]);

        return cache ? cache->id : 0;
}

struct range {
        uint32_t row, first, need, max;
};

static void grow(struct world *world, uint32_t at, struct range range, uint64_t timeout_usec, uint16_t flags)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_GROW);
        event.grow.worker = world->workers[at].id;
        event.grow.request = world->next_request++;
        event.grow.flags = flags;
        event.grow.cache = cache_of(world, at);
        event.grow.row = range.row;
        event.grow.first = range.first;
        event.grow.need = range.need;
        event.grow.max = range.max;
        event.grow.timeout_usec = timeout_usec;
        world_apply(world, &event);
}

static void acknowledge(struct world *world, uint32_t at)
{
        struct fake_worker *who = &world->workers[at];
        const struct model_worker *shadow = model_worker(&world->model, who->id);

        who->read = shadow ? shadow->granted : 0;
        worker_send_ack(world, who, who->read);
}

static void release(struct world *world, uint32_t at, uint32_t row)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_ROW);
        event.row.worker = world->workers[at].id;
        event.row.cache = cache_of(world, at);
        event.row.row = row;
        world_apply(world, &event);
}

/* Its `number`-th grant. */
static void give_back(struct world *world, uint32_t at, uint64_t number, bool refused)
{
        for (uint32_t i = 0; i < world->model.n_extents; i++) {
                const struct model_extent *extent = &world->model.extents[i];

                if (extent->worker == world->workers[at].serial && extent->number == number)
                        worker_send_return(world, &world->workers[at], extent->id, refused);
        }
}

static void answer_revoke(struct world *world, uint32_t at, uint32_t revoke)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_REVOKED);
        event.revoked.worker = world->workers[at].id;
        event.revoked.revoke = revoke;
        world_apply(world, &event);
}

static void fail_device(struct world *world, uint32_t times)
{
        world->device.fail_for = times;
        while (times-- > 0)
                device_answer(world, 0);
}

static void grant_and_return(struct world *world)
{
        device(world, 64, 16);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 2);
        say(world, "two pages in each of two planes: there are small extents ready");
        grow(world, 0, (struct range){ 0, 0, 2, 2 }, 0, 0);
        device_answer_all(world);
        acknowledge(world, 0);
        say(world, "the second page of the second plane goes back, is destroyed, and is never granted again");
        give_back(world, 0, 4, false);
        device_answer_all(world);
        grow(world, 0, (struct range){ 1, 0, 1, 1 }, 0, 0);
        device_answer_all(world);
}

static void prompt_in_few_extents(struct world *world)
{
        device(world, 1024, 0);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 1);
        say(world, "85 pages from the row's start: 64 + 16 + 4 + 1");
        grow(world, 0, (struct range){ 0, 0, 85, 85 }, 0, 0);
        device_answer_all(world);
        acknowledge(world, 0);
        say(world, "the next 3 fill up to a place where larger ones fit");
        grow(world, 0, (struct range){ 0, 85, 3, 3 }, 0, 0);
        device_answer_all(world);
        acknowledge(world, 0);
        say(world, "63 pages would take 9 extents; where more is allowed, one of 64 does");
        grow(world, 0, (struct range){ 1, 0, 63, 80 }, 0, 0);
        device_answer_all(world);
}

static void memory_max(struct world *world)
{
        device(world, 64, 16);
        tenant(world, 0, "blue", 4);
        (void)worker(world, 0, 1);
        grow(world, 0, (struct range){ 0, 0, 4, 4 }, 0, 0);
        device_answer_all(world);
        acknowledge(world, 0);
        say(world, "at its limit: not without giving something back");
        grow(world, 0, (struct range){ 1, 0, 1, 1 }, 0, 0);
        say(world, "what can never fit is not waited for");
        grow(world, 0, (struct range){ 1, 0, 5, 5 }, 1000000, 0);
        say(world, "its own idle row makes room");
        release(world, 0, 0);
        grow(world, 0, (struct range){ 1, 0, 1, 1 }, 1000000, 0);
        give_back(world, 0, 1, false);
        answer_revoke(world, 0, 1);
        device_answer_all(world);
        say(world, "a lower limit takes nothing away, a higher one lets more in");
        acknowledge(world, 0);
        tenant(world, 0, "blue", 0);
        grow(world, 0, (struct range){ 2, 0, 8, 8 }, 0, 0);
        device_answer_all(world);
        tenant(world, 0, "blue", 2);
        grow(world, 0, (struct range){ 2, 8, 1, 1 }, 0, 0);
}

static void revoke_idle_then_grant(struct world *world)
{
        device(world, 16, 0);
        tenant(world, 0, "blue", 0);
        tenant(world, 1, "green", 0);
        (void)worker(world, 0, 1);
        (void)worker(world, 1, 1);
        grow(world, 0, (struct range){ 0, 0, 16, 16 }, 0, 0);
        device_answer_all(world);
        acknowledge(world, 0);
        release(world, 0, 0);
        say(world, "green wants 4 pages of a full device: blue is asked for what lies idle");
        grow(world, 1, (struct range){ 0, 0, 4, 4 }, 1000000, 0);
        say(world, "blue has one extent of 16 to give");
        give_back(world, 0, 1, false);
        answer_revoke(world, 0, 1);
        device_answer_all(world);
        acknowledge(world, 1);
}

static void revoke_overdue(struct world *world)
{
        device(world, 16, 0);
        tenant(world, 0, "blue", 0);
        tenant(world, 1, "green", 0);
        (void)worker(world, 0, 1);
        (void)worker(world, 1, 1);
        grow(world, 0, (struct range){ 0, 0, 16, 16 }, 0, 0);
        device_answer_all(world);
        acknowledge(world, 0);
        release(world, 0, 0);
        grow(world, 1, (struct range){ 0, 0, 4, 4 }, 60000000, 0);
        say(world, "blue does not answer: green gets an error, not eternity");
        world_advance(world, 5000000);
}

static void worker_dies_midway(struct world *world)
{
        device(world, 16, 0);
        tenant(world, 0, "blue", 0);
        tenant(world, 1, "green", 0);
        (void)worker(world, 0, 1);
        (void)worker(world, 1, 1);
        say(world, "blue has some of what it asked for, and green waits for what blue could spare");
        grow(world, 0, (struct range){ 0, 0, 13, 13 }, 1000000, 0);
        device_answer(world, 0);
        acknowledge(world, 0);
        device_answer(world, 0);
        grow(world, 1, (struct range){ 0, 0, 16, 16 }, 1000000, 0);
        say(world, "blue dies with a grant in flight and extents on order");
        worker_die(world, 0);
        device_answer_all(world);
}

static void device_fails_and_recovers(struct world *world)
{
        device(world, 16, 0);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 1);
        grow(world, 0, (struct range){ 0, 0, 4, 4 }, 1000000, 0);
        say(world, "the device cannot: one failure fails one request");
        fail_device(world, 1);
        say(world, "it is left alone for a while");
        grow(world, 0, (struct range){ 0, 0, 4, 4 }, 1000000, 0);
        world_advance(world, 200000);
        device_answer_all(world);
        acknowledge(world, 0);
        say(world, "destroying fails twice, and is tried until it works: until then the memory is charged");
        give_back(world, 0, 1, false);
        fail_device(world, 1);
        world_advance(world, 150000);
        fail_device(world, 1);
        world_advance(world, 150000);
        device_answer_all(world);
}

static void refusal(struct world *world)
{
        device(world, 16, 0);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 1);
        grow(world, 0, (struct range){ 0, 0, 2, 2 }, 0, 0);
        device_answer_all(world);
        say(world, "the second one cannot be mapped: it is undone");
        give_back(world, 0, 2, true);
        acknowledge(world, 0);
        device_answer_all(world);
        say(world, "and may be asked for again");
        grow(world, 0, (struct range){ 0, 1, 1, 1 }, 0, 0);
        device_answer_all(world);
}

static void reclass_virgin(struct world *world)
{
        device(world, 16, 16);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 1);
        say(world, "16 pages, some of them made ahead as smaller extents: those are destroyed to make the right one");
        grow(world, 0, (struct range){ 0, 0, 16, 16 }, 0, 0);
        device_answer_all(world);
}

static void late_device_events(struct world *world)
{
        struct core_event event;

        device(world, 16, 0);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 1);
        grow(world, 0, (struct range){ 0, 0, 4, 4 }, 1000000, 0);
        say(world, "the device takes longer than the request waits");
        world_advance(world, 3000000);
        say(world, "what it makes too late is nobody's, and serves the next one");
        device_answer_all(world);
        grow(world, 0, (struct range){ 0, 0, 4, 4 }, 1000000, 0);
        say(world, "an answer to nothing changes nothing");
        world_event(world, &event, CORE_EV_DESTROYED);
        event.destroyed.extent = UINT64_C(1) << 32;
        world_apply(world, &event);
        world_event(world, &event, CORE_EV_CREATED);
        event.created.extent = UINT64_C(9) << 32;
        world_apply(world, &event);
}

static void optional_refused(struct world *world)
{
        device(world, 64, 0);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 1);
        say(world, "look-ahead while memory is plenty");
        grow(world, 0, (struct range){ 0, 0, 4, 4 }, 1000000, CORE_GROW_OPTIONAL);
        device_answer_all(world);
        grow(world, 0, (struct range){ 1, 0, 56, 56 }, 0, 0);
        device_answer_all(world);
        acknowledge(world, 0);
        say(world, "look-ahead when it is short: no, and at once, and nobody is asked to give way");
        grow(world, 0, (struct range){ 0, 4, 4, 4 }, 1000000, CORE_GROW_OPTIONAL);
        say(world, "need is served still");
        grow(world, 0, (struct range){ 0, 4, 4, 4 }, 0, 0);
        device_answer_all(world);
}

static void unacknowledged(struct world *world)
{
        device(world, 16, 0);
        tenant(world, 0, "blue", 0);
        (void)worker(world, 0, 1);
        grow(world, 0, (struct range){ 0, 0, 1, 1 }, 0, 0);
        device_answer_all(world);
        say(world, "an acknowledgement is asked for, and waited for, and then no longer");
        world_advance(world, 6000000);
        worker_die(world, 0);
        device_answer_all(world);
}

static const struct {
        const char *name;
        void (*run)(struct world *world);
} scenarios[] = {
        { "grant-and-return", grant_and_return },
        { "prompt-in-few-extents", prompt_in_few_extents },
        { "memory-max", memory_max },
        { "revoke-idle-then-grant", revoke_idle_then_grant },
        { "revoke-overdue", revoke_overdue },
        { "worker-dies-midway", worker_dies_midway },
        { "device-fails-and-recovers", device_fails_and_recovers },
        { "refusal", refusal },
        { "reclass-virgin", reclass_virgin },
        { "late-device-events", late_device_events },
        { "optional-refused", optional_refused },
        { "unacknowledged", unacknowledged },
};

const char *scenario_name(unsigned index)
{
        return index < sizeof(scenarios) / sizeof(scenarios[0]) ? scenarios[index].name : NULL;
}

bool scenario_run(const char *name, FILE *out)
{
        const struct core_params params = {
                .max_extents = 1024, .max_workers = 4, .max_caches = 4, .max_rows = 16, .max_requests = 16, .trace = 1
        };

        for (unsigned i = 0; scenario_name(i); i++) {
                struct world world;

                if (strcmp(scenario_name(i), name) != 0)
                        continue;
                world_init(&world, 0, &params);
                world.calm = true;
                world.golden = true;
                world.out = out;
                fprintf(out, "# %s\n", name);
                scenarios[i].run(&world);
                world_done(&world);
                return true;
        }
        return false;
}
