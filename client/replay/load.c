/* SPDX-License-Identifier: MIT
 *
 * load.c -- requests made up from a seed, for when there is no trace at hand.
 *
 * The shape is that of a code-completion service: a few requests a second that come in bursts; prompts around 2,000
 * tokens, from a few dozen to 8,000; answers of some tens of tokens with a long, thin tail. Integer arithmetic only, so
 * that a seed gives the same load on every machine.
 *
 * A load of bursts is a chat's: what an answer of some hundred tokens takes is memory, and time that is shared by all
 * that run at once, so how fast it is served depends on how many fit.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "hash.h"
#include "trace.h"

#define MEAN_GAP_USEC  UINT64_C(400000)
#define BURST_GAP_USEC UINT64_C(4000)

static uint64_t draw(uint64_t *state)
{
        *state += UINT64_C(0x9e3779b97f4a7c15);
        return hash_mix(*state);
}

/* Uniform in [0, bound). */
static uint64_t draw_below(uint64_t *state, uint64_t bound)
{
        assert(bound > 0);
        return draw(state) % bound;
}

static uint32_t draw_prompt(uint64_t *state)
{
        switch (draw_below(state, 10)) {
        case 0:
        case 1:
                return (uint32_t)(30 + draw_below(state, 300));
        case 2:
        case 3:
                return (uint32_t)(4000 + draw_below(state, 3500));
        default:
                return (uint32_t)(300 + draw_below(state, 2700));
        }
}

static uint32_t draw_generated(uint64_t *state)
{
        if (draw_below(state, 50) == 0)
                return (uint32_t)(100 + draw_below(state, 700));
        return (uint32_t)(5 + draw_below(state, 20) + draw_below(state, 20));
}

int trace_make_up(uint64_t seed, uint64_t n_requests, struct trace *ret_trace)
{
        uint64_t state = hash_mix(seed), clock = 0;
        struct request *requests;

        assert(ret_trace);

        if (n_requests == 0 || n_requests > UINT32_MAX)
                return -EINVAL;
        requests = calloc(n_requests, sizeof(*requests));
        if (!requests)
                return -ENOMEM;
        for (uint64_t i = 0; i < n_requests; i++) {
                /* Four requests of five come close behind the one before, the fifth after a pause. */
                if (i > 0)
                        clock += draw_below(&state, 5) > 0 ? draw_below(&state, MEAN_GAP_USEC / 4)
                                                           : MEAN_GAP_USEC + draw_below(&state, 6 * MEAN_GAP_USEC);
                requests[i] = (struct request){
                        .arrival_usec = clock,
                        .id = (uint32_t)i,
                        .prompt_tokens = draw_prompt(&state),
                        .generated_tokens = draw_generated(&state),
                };
        }
        *ret_trace = (struct trace){ .requests = requests, .n = n_requests, .format = "synthetic" };
        return 0;
}

int trace_make_bursts(uint64_t seed, uint64_t n_requests, uint32_t n_bursts, struct trace *ret_trace)
{
        uint64_t state = hash_mix(seed), clock = 0;
        struct request *requests;

        assert(ret_trace);

        if (n_requests == 0 || n_requests > UINT32_MAX || n_bursts == 0 || n_bursts > n_requests)
                return -EINVAL;
        requests = calloc(n_requests, sizeof(*requests));
        if (!requests)
                return -ENOMEM;
        for (uint64_t i = 0; i < n_requests; i++) {
                uint32_t burst = (uint32_t)(i * n_bursts / n_requests);

                clock = i > 0 && burst == requests[i - 1].burst ? clock + draw_below(&state, BURST_GAP_USEC) : 0;
                requests[i] = (struct request){
                        .arrival_usec = clock,
                        .id = (uint32_t)i,
                        .prompt_tokens = (uint32_t)(50 + draw_below(&state, 200)),
                        .generated_tokens = (uint32_t)(200 + draw_below(&state, 200)),
                        .burst = burst,
                };
        }
        *ret_trace = (struct trace){ .requests = requests, .n = n_requests, .format = "synthetic" };
        return 0;
}
