/* SPDX-License-Identifier: MIT
 *
 * world.c -- the core, its shadow and the log. See world.h.
 */
#include "world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "list.h"
#include "words.h"

#define CANARY       0x5au
#define CANARY_BYTES 64u

static void *arena_new(size_t size)
{
        uint8_t *memory = aligned_alloc(64, (size + CANARY_BYTES + 63) & ~(size_t)63);

        if (!memory)
                abort();
        memset(memory, 0, size);
        memset(memory + size, CANARY, CANARY_BYTES);
        return memory;
}

void world_init(struct world *world, uint64_t seed, const struct core_params *params)
{
        memset(world, 0, sizeof(*world));
        world->seed = seed;
        random_seed(&world->random, seed);
        world->params = *params;
        world->size = core_size(params);
        if (world->size == 0)
                world_fail(world, "core_size() refuses the parameters");
        world->memory = arena_new(world->size);
        world->core = core_init(world->memory, params);
        model_init(&world->model, params);
        world->actions.capacity = CORE_ACTIONS_MAX + 8;
        world->actions.v = malloc(world->actions.capacity * sizeof(*world->actions.v));
        if (!world->actions.v)
                abort();
        world->now = 1000000;
        world->next_request = 1;
        world->next_cookie = 1;
        world->device.in_order = true;
        world->digest = 14695981039346656037ull;
}

void world_done(struct world *world)
{
        model_done(&world->model);
        free(world->memory);
        free(world->snapshot.memory);
        free(world->actions.v);
        free(world->log);
        free(world->device.operations);
        free(world->workers);
        memset(world, 0, sizeof(*world));
}

_Noreturn void world_fail(struct world *world, const char *why)
{
        if (world->out) {
                model_print(&world->model, world->out);
                fflush(world->out);
        }
        fprintf(stderr, "sim: seed %" PRIu64 ", event %u: %s\n", world->seed, world->n_events, why);
        fflush(stderr);
        if (world->aborts)
                abort();
        _exit(1);
}

void world_event(struct world *world, struct core_event *event, enum core_event_type type)
{
        core_event_init(event, type, world->now);
}

static void log_event(struct world *world, const struct core_event *event)
{
        struct core_event back;
        size_t size, space;

        while (world->log_space - world->n_log < sizeof(*event)) {
                space = world->log_space ? world->log_space * 2u : 1u << 16;
                world->log = realloc(world->log, space);
                if (!world->log)
                        abort();
                world->log_space = (uint32_t)space;
        }
        size = core_event_encode(event, world->log + world->n_log, world->log_space - world->n_log);
        if (size != core_event_size(event) || size != event->size)
                world_fail(world, "core_event_encode() does not write what core_event_size() says");
        if (core_event_decode(world->log + world->n_log, size, &back) != size || memcmp(&back, event, size) != 0)
                world_fail(world, "core_event_decode() does not give the event back");
        world->n_log += (uint32_t)size;
}

/* Every byte of every action counts: an action that is not filled in whole would differ from run to run. */
static uint64_t digest_actions(uint64_t digest, const struct core_actions *actions, uint32_t from)
{
        const uint64_t *words;

        _Static_assert(sizeof(struct core_action) % sizeof(uint64_t) == 0, "actions are whole words");
        for (uint32_t i = from; i < actions->n; i++) {
                words = (const uint64_t *)(const void *)&actions->v[i];
                for (size_t k = 0; k < sizeof(struct core_action) / sizeof(uint64_t); k++)
                        digest = (digest ^ words[k]) * 1099511628211ull;
        }
        return digest;
}

static void print_event(struct world *world, const struct core_event *event, uint32_t from)
{
        char line[600];

        words_event(event, line, sizeof(line));
        if (world->golden)
                fprintf(world->out, "%s\n", line);
        else
                fprintf(world->out, "%6u  %s\n", world->n_events, line);
        for (uint32_t i = from; i < world->actions.n; i++) {
                words_action(&world->actions.v[i], line, sizeof(line));
                fprintf(world->out, "%s%s\n", world->golden ? "    " : "            ", line);
        }
}

static void check_after(struct world *world, const struct core_event *event, uint32_t from)
{
        const uint8_t *canary = (const uint8_t *)world->memory + world->size;
        char why[300] = "core_check() says nothing";

        for (uint32_t i = from; i < world->actions.n; i++)
                model_action(&world->model, &world->actions.v[i]);
        if (core_check(world->core, why, sizeof(why)) != 0) {
                char text[400];

                snprintf(text, sizeof(text), "core_check: %s", why);
                world_fail(world, text);
        }
        for (unsigned i = 0; i < CANARY_BYTES; i++)
                if (canary[i] != CANARY)
                        world_fail(world, "the core wrote beyond its arena");
        model_settle(&world->model, world->core);
        if (world->model.broken[0])
                world_fail(world, world->model.broken);
        (void)event;
}

void world_apply(struct world *world, struct core_event *event)
{
        uint32_t from = (uint32_t)(world->n_events % 3);

        if (world->progress) {
                world->progress->seed = world->seed;
                world->progress->event = world->n_events;
        }
        log_event(world, event);
        model_event(&world->model, event);
        /* What lies in the actions' memory, and before their first, is none of the core's business. */
        memset(world->actions.v, 0xa5, world->actions.capacity * sizeof(*world->actions.v) / 64);
        world->actions.n = world->actions_from = from;
        core_apply(world->core, event, &world->actions);
        if (world->actions.n < from || world->actions.n > from + CORE_ACTIONS_MAX)
                world_fail(world, "more actions than CORE_ACTIONS_MAX");
        world->digest = digest_actions(world->digest, &world->actions, from);
        if (world->out && world->n_events >= world->out_from)
                print_event(world, event, from);
        check_after(world, event, from);
        world->n_events++;
        for (uint32_t i = from; i < world->actions.n; i++) {
                device_take(world, &world->actions.v[i]);
                workers_take(world, &world->actions.v[i]);
        }
}

void world_move(struct world *world)
{
        uint8_t *memory = arena_new(world->size);
        struct core_part parts[CORE_PARTS];

        core_parts(world->core, parts);
        for (uint32_t i = 0; i < CORE_PARTS; i++)
                memcpy(memory + parts[i].offset, (const uint8_t *)world->memory + parts[i].offset, parts[i].size);
        if (memcmp(memory, world->memory, world->size) != 0)
                world_fail(world, "core_parts() leaves something out");
        free(world->memory);
        world->memory = memory;
        world->core = core_adopt(memory, &world->params);
        if (!world->core)
                world_fail(world, "core_adopt() does not take a core");
}

void world_tick(struct world *world)
{
        struct core_event event;

        world_event(world, &event, CORE_EV_TICK);
        world_apply(world, &event);
}

void world_flush(struct world *world)
{
        for (unsigned i = 0; core_pending(world->core); i++) {
                if (i > 10000)
                        world_fail(world, "pending for ever");
                world_tick(world);
        }
}

void world_advance(struct world *world, uint64_t usec)
{
        uint64_t until = world->now + usec;

        for (unsigned i = 0; core_next_deadline(world->core) <= until; i++) {
                if (i > 10000)
                        world_fail(world, "ticks do not move the next deadline");
                if (core_next_deadline(world->core) > world->now)
                        world->now = core_next_deadline(world->core);
                world_tick(world);
                world_flush(world);
        }
        world->now = until;
}

void world_take_snapshot(struct world *world)
{
        free(world->snapshot.memory);
        world->snapshot.memory = arena_new(world->size);
        memcpy(world->snapshot.memory, world->memory, world->size);
        world->snapshot.n_log = world->n_log;
        world->snapshot.digest = world->digest;
}

static void replay(struct world *world, void *memory, struct core *core, uint32_t n_log, uint64_t digest,
                   const char *what)
{
        char text[200];

        while (n_log < world->n_log) {
                struct core_event event;
                size_t size = core_event_decode(world->log + n_log, world->n_log - n_log, &event);

                if (size == 0)
                        world_fail(world, "the log of events cannot be read back");
                n_log += (uint32_t)size;
                memset(world->actions.v, 0xc3, world->actions.capacity * sizeof(*world->actions.v) / 64);
                world->actions.n = 0;
                core_apply(core, &event, &world->actions);
                digest = digest_actions(digest, &world->actions, 0);
        }
        if (digest != world->digest)
                snprintf(text, sizeof(text), "replayed from %s, the core gives other actions", what);
        else if (memcmp(memory, world->memory, world->size) != 0)
                snprintf(text, sizeof(text), "replayed from %s, the core's bytes differ", what);
        else
                return;
        world_fail(world, text);
}

void world_check_replay(struct world *world)
{
        void *memory = arena_new(world->size);
        struct core *core;

        replay(world, memory, core_init(memory, &world->params), 0, 14695981039346656037ull, "the log");
        free(memory);
        if (!world->snapshot.memory)
                return;
        /* The copy lies elsewhere: nothing in it may be a pointer. The core is where core_init() put it, at the start.
         */
        memory = arena_new(world->size);
        memcpy(memory, world->snapshot.memory, world->size);
        core = (void *)((uint8_t *)memory + ((uint8_t *)world->core - (uint8_t *)world->memory));
        replay(world, memory, core, world->snapshot.n_log, world->snapshot.digest, "a copy of the arena");
        free(memory);
}
