/* SPDX-License-Identifier: MIT
 *
 * engine.c -- see engine.h.
 *
 * The waiting queue needs no list: preempted sequences stand before all others, and there are never more of them than
 * rows (new requests are admitted only once none is left, and one that is being admitted keeps its place until it is),
 * so they are a stack; the rest are a cursor over the requests.
 */
#include "engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The cost model: an iteration of a mid-sized model on a data-centre GPU. */
#define ITERATION_USEC          UINT64_C(8000)
#define USEC_PER_1000_KV_TOKENS UINT64_C(60)
#define USEC_PER_PREFILL_TOKEN  UINT64_C(80)

/* A lone sequence waits this many iterations for others before it steps back. Who steps back, or gave something up,
 * lets others pass for some. */
#define PATIENCE_ITERATIONS 8u
#define EMBARGO_ITERATIONS  4u

int engine_init(struct engine *engine, const struct memory_ops *ops, void *memory, struct ledger *ledger,
                const struct request *requests, size_t n_requests, size_t max_running)
{
        assert(engine && ops && ops->admit && ops->grow && ops->footprint && ops->release);
        assert(ledger && max_running > 0);

        *engine = (struct engine){
                .ops = ops,
                .memory = memory,
                .ledger = ledger,
                .requests = requests,
                .n_requests = n_requests,
                .max_running = max_running,
                .running = calloc(max_running, sizeof(struct sequence)),
                .preempted = calloc(max_running, sizeof(struct sequence)),
        };
        if (!engine->running || !engine->preempted) {
                engine_clear(engine);
                return -ENOMEM;
        }
        return 0;
}

void engine_clear(struct engine *engine)
{
        if (!engine)
                return;
        free(engine->running);
        free(engine->preempted);
        *engine = (struct engine){ 0 };
}

static uint64_t engine_arrival(const struct engine *engine)
{
        const struct request *request = &engine->requests[engine->n_arrived];

        if (engine->n_arrived == engine->n_requests)
                return UINT64_MAX;
        return engine->bursts ? bursts_arrival(engine->bursts, request) : request->arrival_usec;
}

uint64_t engine_next(const struct engine *engine, uint64_t now)
{
        uint64_t arrival;

        if (engine->n_running > 0 || engine_waiting(engine) > 0)
                return now;
        arrival = engine_arrival(engine);
        return arrival > now ? arrival : now;
}

/* The request needs nothing more. */
static void engine_end(struct engine *engine, const struct request *request)
{
        if (engine->bursts)
                bursts_done(engine->bursts, request, engine->clock_usec);
}

static bool sequence_is_done(const struct sequence *sequence)
{
        return sequence->generated >= sequence->request->generated_tokens;
}

/* Takes running[i] out and gives its row back. */
static int engine_remove(struct engine *engine, size_t i)
{
        struct sequence sequence;

        assert(i < engine->n_running);

        sequence = engine->running[i];
        engine->n_running--;
        memmove(&engine->running[i], &engine->running[i + 1], (engine->n_running - i) * sizeof(*engine->running));
        ledger_unbook(engine->ledger, sequence.booked);
        return engine->ops->release(engine->memory, &sequence);
}

static int engine_preempt_youngest(struct engine *engine)
{
        struct sequence *youngest;

        assert(engine->n_running > 0);
        assert(engine->n_running + engine->n_preempted <= engine->max_running);

        youngest = &engine->running[engine->n_running - 1];
        engine->preempted[engine->n_preempted++] = (struct sequence){ .request = youngest->request,
                                                                      .generated = youngest->generated };
        engine->preemptions++;
        return engine_remove(engine, engine->n_running - 1);
}

int engine_give_up(struct engine *engine)
{
        assert(engine);

        if (engine->n_running == 0)
                return -ENOENT;
        engine->given_up++;
        engine->n_embargo = EMBARGO_ITERATIONS; /* what others want is not taken back at once */
        return engine_preempt_youngest(engine);
}

static void sequence_book(struct engine *engine, struct sequence *sequence, uint64_t tokens)
{
        uint64_t units = engine->ops->footprint(engine->memory, tokens);

        if (units <= sequence->booked)
                return;
        ledger_book(engine->ledger, units - sequence->booked);
        sequence->booked = units;
}

/* Room for one token more in every running sequence, at the price of the youngest. 1: all have it; 0: a lone one has to
 * wait. */
static int engine_grow(struct engine *engine, bool *ret_preempted)
{
        int r;

        while (engine->n_running > 0) {
                r = engine->ops->grow(engine->memory, engine->running, &engine->n_running);
                if (r >= 0) {
                        for (size_t i = 0; i < engine->n_running; i++)
                                sequence_book(engine, &engine->running[i], engine->running[i].length + 1);
                        return 1;
                }
                if (!memory_is_short(r))
                        return r;
                if (engine->n_running == 0) /* given up, all of them */
                        break;
                if (engine->n_running == 1 && engine->n_stalled < PATIENCE_ITERATIONS)
                        return 0;
                if (engine->n_running == 1)
                        engine->n_embargo = EMBARGO_ITERATIONS;
                r = engine_preempt_youngest(engine);
                if (r < 0)
                        return r;
                *ret_preempted = true;
        }
        return 1;
}

/* What is larger than all of the memory that the books know of never fits: pages and 16-token blocks differ in that. */
static bool engine_can_never(const struct engine *engine, const struct request *request)
{
        const uint64_t tokens = (uint64_t)request->prompt_tokens + request->generated_tokens;

        return request->impossible || engine->ops->footprint(engine->memory, tokens) > engine->ledger->capacity;
}

/* The request at the front of the queue as a sequence; false if none waits. Impossible ones are turned away here. */
static bool engine_front(struct engine *engine, struct sequence *ret_sequence)
{
        if (engine->n_preempted > 0) {
                *ret_sequence = engine->preempted[engine->n_preempted - 1];
                return true;
        }
        while (engine->n_admitted < engine->n_arrived &&
               engine_can_never(engine, &engine->requests[engine->n_admitted])) {
                engine_end(engine, &engine->requests[engine->n_admitted++]);
                engine->rejected++;
        }
        if (engine->n_admitted == engine->n_arrived)
                return false;
        *ret_sequence = (struct sequence){ .request = &engine->requests[engine->n_admitted] };
        return true;
}

/* Takes the front out, of a queue that had `n_preempted` in its stack: others may have been put before it since. */
static void engine_pop(struct engine *engine, size_t n_preempted)
{
        struct sequence *front;

        assert(engine->n_preempted >= n_preempted);

        if (n_preempted == 0) {
                engine->n_admitted++;
                return;
        }
        front = &engine->preempted[n_preempted - 1];
        memmove(front, front + 1, (engine->n_preempted - n_preempted) * sizeof(*front));
        engine->n_preempted--;
}

static int engine_admit(struct engine *engine)
{
        struct sequence sequence;

        while (engine->n_running < engine->max_running && engine->n_embargo == 0 && engine_front(engine, &sequence)) {
                const size_t n_preempted = engine->n_preempted;
                uint64_t tokens;
                int r;

                sequence.length = (uint64_t)sequence.request->prompt_tokens + sequence.generated;
                tokens = sequence.length + !sequence_is_done(&sequence);
                if (!ledger_admits(engine->ledger, engine->ops->footprint(engine->memory, tokens),
                                   engine->n_running == 0))
                        return 0;
                r = engine->ops->admit(engine->memory, &sequence, tokens);
                if (r == -EAGAIN || memory_is_short(r))
                        return 0;
                if (r < 0)
                        return r;
                sequence_book(engine, &sequence, tokens);
                engine_pop(engine, n_preempted);
                engine->running[engine->n_running++] = sequence;
        }
        return 0;
}

/* Prefills the sequences that are new and decodes a token in the others. */
static int engine_compute(struct engine *engine, struct engine_iteration *iteration)
{
        for (size_t i = 0; i < engine->n_running; i++) {
                struct sequence *sequence = &engine->running[i];
                uint64_t from = 0;
                int r;

                if (sequence->prefilled) {
                        from = sequence->length++;
                        sequence->generated++;
                } else
                        iteration->prefill_tokens += sequence->length;
                sequence->prefilled = true;
                iteration->kv_tokens += sequence->length;
                if (!engine->ops->compute)
                        continue;
                r = engine->ops->compute(engine->memory, sequence, from);
                if (r < 0)
                        return r;
                ledger_count_computed(engine->ledger);
        }
        return 0;
}

int engine_complete(struct engine *engine)
{
        assert(engine);

        for (size_t i = engine->n_running; i-- > 0;) {
                const struct request *request;
                int r;

                if (i >= engine->n_running || !sequence_is_done(&engine->running[i]))
                        continue;
                request = engine->running[i].request;
                r = engine_remove(engine, i);
                if (r < 0)
                        return r;
                engine_end(engine, request);
                engine->completed++;
                engine->tokens += (uint64_t)request->prompt_tokens + request->generated_tokens;
        }
        return 0;
}

int engine_iterate(struct engine *engine, uint64_t now, struct engine_iteration *ret_iteration)
{
        struct engine_iteration iteration = { 0 };
        bool preempted = false;
        int grown, r;

        assert(engine);
        assert(ret_iteration);

        engine->clock_usec = now;
        while (engine_arrival(engine) <= now)
                engine->n_arrived++;

        grown = engine_grow(engine, &preempted);
        if (grown < 0)
                return grown;
        if (grown > 0) {
                if (engine->n_embargo > 0)
                        engine->n_embargo--;
                else if (!preempted) {
                        r = engine_admit(engine);
                        if (r < 0)
                                return r;
                }
                r = engine_compute(engine, &iteration);
                if (r < 0)
                        return r;
        }
        iteration.n_running = (uint32_t)engine->n_running;
        iteration.stalled = grown == 0 || (engine->n_running == 0 && engine_waiting(engine) > 0);
        iteration.duration_usec = ITERATION_USEC + iteration.kv_tokens * USEC_PER_1000_KV_TOKENS / 1000 +
                                  iteration.prefill_tokens * USEC_PER_PREFILL_TOKEN;
        engine->clock_usec = now + iteration.duration_usec;
        engine->n_stalled = iteration.stalled ? engine->n_stalled + 1 : 0;
        *ret_iteration = iteration;
        return 0;
}
