/* SPDX-License-Identifier: MIT
 *
 * replay.c -- see replay.h: trace, daemon, yardstick, workers, in this order, and all taken down again whatever
 * happens.
 */
#include "replay.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "crew.h"
#include "foreign-daemon.h"
#include "number.h"
#include "plan.h"
#include "private-daemon.h"

#define DEFAULT_REQUESTS    UINT64_C(1000)
#define BURSTS_REQUESTS     UINT64_C(256) /* of each tenant */
#define HUNGRY_REQUESTS     UINT64_C(512)
#define DEFAULT_PAGE_SIZE   (UINT64_C(2) << 20)
#define MEMORY_TIMEOUT_USEC UINT64_C(30000000)
/* On the virtual clock no other engine gives anything up while one waits: this is for what its mapper gives back. */
#define TURN_TIMEOUT_USEC UINT64_C(20000)

/* What the engines know of each other. */
struct shared {
        struct bursts bursts;
        uint32_t n_ledgers; /* worker i has ledger i modulo this: one for all, or a tenant's own */
        struct ledger ledgers[];
};

struct replay {
        const struct options *options;
        struct trace trace;
        struct plan plan;
        struct private_daemon daemon;
        bool external, external_tenants; /* the daemon is not ours; it has tenants t0, t1, ... */
        char (*tenants)[16];
        struct shared *shared; /* with the workers */
        size_t shared_size;
        struct worker_setup *setups;
        struct crew crew;
        struct watch watch;
};

static void replay_clear(struct replay *replay)
{
        struct complaint ignored;

        if (replay->crew.daemon == 0) /* it died, and was waited for: its id may be someone else's by now */
                replay->daemon.pid = 0;
        crew_clear(&replay->crew);
        watch_close(&replay->watch);
        if (replay->crew.signal_fd >= 0)
                (void)close(replay->crew.signal_fd);
        (void)private_daemon_stop(&replay->daemon, &ignored);
        if (replay->shared)
                (void)munmap(replay->shared, replay->shared_size);
        free(replay->setups);
        free(replay->tenants);
        plan_clear(&replay->plan);
        trace_clear(&replay->trace);
}

/* From here on signals are read from a descriptor, and files are as many as we may have. */
static int replay_prepare_process(struct replay *replay, struct complaint *complaint)
{
        struct rlimit limit;
        sigset_t signals;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGCHLD);
        (void)sigaddset(&signals, SIGINT);
        (void)sigaddset(&signals, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return complain(complaint, -errno, "sigprocmask: %s", strerror(errno));
        replay->crew.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (replay->crew.signal_fd < 0)
                return complain(complaint, -errno, "signalfd: %s", strerror(errno));
        return 0;
}

static int replay_load(struct replay *replay, struct complaint *complaint)
{
        const struct options *options = replay->options;
        uint64_t n = options->requests;
        int r;

        if (options->trace)
                r = trace_read(options->trace, n, &replay->trace, complaint);
        else {
                if (options->scenario == SCENARIO_NONE)
                        r = trace_make_up(options->seed, n ? n : DEFAULT_REQUESTS, &replay->trace);
                else {
                        n = n ? n
                              : options->tenants *
                                            (options->scenario == SCENARIO_BURSTS ? BURSTS_REQUESTS : HUNGRY_REQUESTS);
                        r = trace_make_bursts(options->seed, n, plan_bursts(options, n) ? plan_bursts(options, n) : 1,
                                              &replay->trace);
                }
                if (r < 0)
                        (void)complain(complaint, r, "cannot make up a load: %s", strerror(-r));
        }
        if (r < 0)
                return r;

        /* It is the trace that is sped up, on either clock, and so for those that are compared with. */
        r = plan_deal(options, &replay->trace, options->speed > 0 ? options->speed : 1.0, &replay->plan);
        return r < 0 ? complain(complaint, r, "no memory for %zu requests", replay->trace.n) : 0;
}

/* Takes a running daemon as it is. */
static int replay_ask_daemon(struct replay *replay, struct complaint *complaint)
{
        const struct options *options = replay->options;
        uint64_t *limits = calloc(options->tenants, sizeof(*limits));
        struct foreign_daemon daemon;
        int r;

        if (!limits)
                return complain(complaint, -ENOMEM, "no memory for %u tenants", options->tenants);
        r = foreign_daemon_ask((const char(*)[16])replay->tenants, options->tenants, &daemon, limits, complaint);
        if (r >= 0 && options->page_size && options->page_size != daemon.page_size)
                r = complain(
                        complaint, -EINVAL,
                        "--page-size: the running kvpagerd has pages of %ju bytes; with --capacity a private one starts",
                        (uintmax_t)daemon.page_size);
        if (r < 0) {
                free(limits);
                return r;
        }
        replay->external = true;
        replay->external_tenants = daemon.named;
        replay->plan.page_size = daemon.page_size;
        plan_limit(&replay->plan, options, daemon.capacity, limits, !daemon.named);
        return 0;
}

/* What each tenant of the private daemon gets, and can ever hold: guarantees are of whole pages. */
static int replay_share_out(struct replay *replay, struct private_daemon_tenant *tenants)
{
        const struct options *options = replay->options;
        struct plan *plan = &replay->plan;
        uint64_t *limits, guaranteed = 0;

        for (uint32_t i = 0; i < options->tenants; i++) {
                tenants[i] = (struct private_daemon_tenant){ 0 };
                if (options->n_weights)
                        tenants[i].weight = options->weights[i];
                if (options->n_mins)
                        tenants[i].min = options->mins[i];
                if (options->fixed_split)
                        tenants[i].most = plan->capacity / options->tenants;
                guaranteed += size_round_up(tenants[i].min, plan->page_size);
        }
        if (guaranteed == 0 && !options->fixed_split)
                return 0;
        limits = calloc(options->tenants, sizeof(*limits));
        if (!limits)
                return -ENOMEM;
        for (uint32_t i = 0; i < options->tenants; i++) {
                const uint64_t others = guaranteed - size_round_up(tenants[i].min, plan->page_size);

                limits[i] = others < plan->capacity ? plan->capacity - others : 0;
                if (tenants[i].most)
                        limits[i] = tenants[i].most;
        }
        plan_limit(plan, options, plan->capacity, limits, false);
        return 0;
}

static int replay_start_daemon(struct replay *replay, struct complaint *complaint)
{
        const struct options *options = replay->options;
        _cleanup_(cleanup_free) struct private_daemon_tenant *tenants = calloc(options->tenants, sizeof(*tenants));
        struct plan *plan = &replay->plan;
        uint64_t whole, device;
        int r;

        if (!tenants)
                return complain(complaint, -ENOMEM, "no memory for %u tenants", options->tenants);
        plan->page_size = options->page_size ? options->page_size : DEFAULT_PAGE_SIZE;
        plan->capacity = options->capacity;
        if (!options->capacity) {
                r = plan_capacity(plan, options, memory_available());
                if (r < 0)
                        return complain(complaint, r, "cannot size the memory: %s", strerror(-r));
        }
        whole = plan->page_size * (options->fixed_split ? options->tenants : 1);
        plan->capacity = plan->capacity / whole * whole;
        if (plan->capacity == 0)
                return complain(complaint, -EINVAL, "%s: less than a page of %ju bytes%s",
                                options->capacity ? "--capacity" : "too little memory is free for a default --capacity",
                                (uintmax_t)plan->page_size, options->fixed_split ? " for each tenant" : "");
        device = plan->capacity; /* the daemon says what is wrong with guarantees that are more */
        r = replay_share_out(replay, tenants);
        if (r < 0)
                return complain(complaint, r, "no memory for %u tenants", options->tenants);
        r = private_daemon_start(&(struct private_daemon_options){ .capacity = device,
                                                                   .page_size = plan->page_size,
                                                                   .n_tenants = options->tenants,
                                                                   .tenants = tenants },
                                 &replay->daemon, complaint);
        replay->crew.daemon = replay->daemon.pid;
        return r;
}

static int replay_find_daemon(struct replay *replay, struct complaint *complaint)
{
        const char *socket_path = getenv("KVPAGER_SOCKET");

        replay->tenants = calloc(replay->options->tenants, sizeof(*replay->tenants));
        if (!replay->tenants)
                return complain(complaint, -ENOMEM, "no memory for %u tenants", replay->options->tenants);
        for (uint32_t i = 0; i < replay->options->tenants; i++)
                (void)snprintf(replay->tenants[i], sizeof(replay->tenants[i]), "t%u", i);
        if (socket_path && socket_path[0] && !replay->options->capacity) {
                if (replay->options->fixed_split || replay->options->n_weights || replay->options->n_mins)
                        return complain(
                                complaint, -EINVAL,
                                "--fixed-split, --weights and --mins are for a private kvpagerd; with --capacity "
                                "one starts, though $KVPAGER_SOCKET is set");
                return replay_ask_daemon(replay, complaint);
        }
        return replay_start_daemon(replay, complaint);
}

/* What admission keeps free, rounded up: of a few large pages the spare is one at least. */
static uint64_t spare_of(const struct replay *replay, uint64_t units)
{
        const uint64_t percent = replay->options->spare_percent;

        return replay->plan.unconstrained ? 0 : units / 100 * percent + (units % 100 * percent + 99) / 100;
}

/* In a scenario each tenant keeps books of its own, as if it had the memory, or its part, for itself: tenants know
 * nothing of each other, and the daemon has the last word. Else all workers share one account. */
static int replay_share_memory(struct replay *replay)
{
        const struct options *options = replay->options;
        const struct plan *plan = &replay->plan;
        const uint32_t n = options->scenario == SCENARIO_NONE && !options->fixed_split ? 1 : options->tenants;
        uint64_t pages = plan->capacity / plan->page_size;

        replay->shared_size = sizeof(*replay->shared) + n * sizeof(replay->shared->ledgers[0]);
        replay->shared = mmap(NULL, replay->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (replay->shared == MAP_FAILED) {
                replay->shared = NULL;
                return -ENOMEM;
        }
        replay->shared->n_ledgers = n;
        for (uint32_t i = 0; i < n; i++) {
                struct ledger *ledger = &replay->shared->ledgers[i];

                if (n > 1 && plan->limits)
                        pages = plan->limits[i] / plan->page_size;
                ledger->capacity = plan->unconstrained ? UINT64_MAX : pages;
                ledger->spare = spare_of(replay, pages);
        }
        return 0;
}

static int replay_simulate(struct replay *replay, struct outcome *outcome, struct complaint *complaint)
{
        const struct options *options = replay->options;
        struct plan *plan = &replay->plan;
        uint64_t blocks = plan_capacity_blocks(plan, options);
        const uint32_t n_bursts = plan_bursts(options, replay->trace.n);
        struct simulation_options simulation_options = {
                .n_engines = plan->n_workers,
                .max_seqs = options->max_seqs,
                .capacity_blocks = blocks,
                .spare_blocks = spare_of(replay, blocks),
                .n_parts = options->fixed_split ? options->tenants : 1,
        };
        int r;

        r = replay_share_memory(replay);
        if (r < 0)
                return complain(complaint, r, "no shared memory for the ledger");
        plan_mark_impossible(plan, options);
        if (n_bursts > 0) {
                plan_fill_bursts(plan, n_bursts, &replay->shared->bursts);
                simulation_options.bursts = &replay->shared->bursts;
        }
        r = simulate_paged16(&simulation_options, (const struct request *const *)plan->shares, plan->n_shares,
                             &outcome->simulation);
        if (r < 0)
                return complain(complaint, r, "cannot simulate 16-token blocks: %s", strerror(-r));
        if (n_bursts > 0)
                bursts_rewind(&replay->shared->bursts);
        return 0;
}

static int replay_start_crew(struct replay *replay, struct complaint *complaint)
{
        const struct options *options = replay->options;
        const struct plan *plan = &replay->plan;
        const bool named = !replay->external || replay->external_tenants,
                   virtual_clock = options_virtual_clock(options);
        struct bursts *bursts = plan_bursts(options, replay->trace.n) > 0 ? &replay->shared->bursts : NULL;

        replay->setups = calloc(plan->n_workers, sizeof(*replay->setups));
        if (!replay->setups)
                return complain(complaint, -ENOMEM, "no memory for %u workers", plan->n_workers);
        for (uint32_t i = 0; i < plan->n_workers; i++)
                replay->setups[i] = (struct worker_setup) {
                        .pager = {
                                .socket_path = replay->external ? NULL : replay->daemon.socket_path,
                                .tenant = named ? replay->tenants[i % options->tenants] : NULL,
                                .geometry = options->geometry,
                                .layout = options->layout,
                                .max_seqs = options->max_seqs,
                                .max_tokens = plan->max_tokens,
                                .compute = !options->no_compute,
                                .verify = options->verify,
                                .cold = options->cold,
                                .settle = virtual_clock,
                                .timeout_usec = virtual_clock ? TURN_TIMEOUT_USEC : MEMORY_TIMEOUT_USEC,
                        },
                        .requests = plan->shares[i],
                        .n_requests = plan->n_shares[i],
                        .ledger = &replay->shared->ledgers[i % replay->shared->n_ledgers],
                        .bursts = bursts,
                        .in_turns = virtual_clock,
                        .speed = options->speed,
                };
        replay->crew.n_requests = replay->trace.n;
        replay->crew.capacity = replay->plan.capacity;
        replay->crew.bursts = bursts;
        replay->crew.show_progress = isatty(STDERR_FILENO) == 1;
        return crew_start(&replay->crew, replay->setups, plan->n_workers, options->tenants, complaint);
}

/* In a hungry scenario the daemon's own account of its tenants is looked at. */
static int replay_watch(struct replay *replay, struct complaint *complaint)
{
        const struct options *options = replay->options;
        const char *path = replay->external ? getenv("KVPAGER_SOCKET") : replay->daemon.socket_path;
        int r;

        if (options->scenario != SCENARIO_HUNGRY || (replay->external && !replay->external_tenants))
                return 0;
        r = watch_open(&replay->watch, path, (const char(*)[16])replay->tenants, options->tenants,
                       replay->plan.capacity, complaint);
        replay->crew.watch = &replay->watch;
        return r;
}

/* Adds up what the workers reported last. */
static void replay_sum(const struct replay *replay, struct outcome *outcome)
{
        const struct crew *crew = &replay->crew;

        for (uint32_t i = 0; i < crew->n; i++) {
                const struct report *report = &crew->members[i].report;
                const struct kvp_cache_stats *stats = &report->stats;
                const uint64_t *from = (const uint64_t *)&report->pager;
                struct outcome_tenant *tenant = &outcome->tenants[i % crew->n_tenants];
                uint64_t *to = (uint64_t *)&outcome->pager;

                tenant->completed += report->completed;
                tenant->preemptions += report->preemptions;
                tenant->given_up += report->given_up;
                tenant->tokens += report->tokens;

                outcome->completed += report->completed;
                outcome->rejected += report->rejected;
                outcome->preemptions += report->preemptions;
                outcome->given_up += report->given_up;
                outcome->tokens += report->tokens;
                outcome->iterations += report->iterations;
                outcome->steps += stats->steps;
                outcome->steps_waited += stats->steps_waited;
                outcome->steps_with_syscalls += stats->steps_with_syscalls;
                outcome->messages += stats->messages;
                outcome->mapper_wakes += stats->mapper_wakes;
                outcome->grants += stats->grants;
                outcome->granted_bytes += stats->granted_bytes;
                outcome->round_trips += stats->requests;
                outcome->returns += stats->returns;
                outcome->refusals += stats->refusals;
                outcome->mismatches += report->contents.mismatches;
                outcome->checksum += report->contents.checksum;
                if (!outcome->first_mismatch[0] && report->contents.first[0])
                        (void)snprintf(outcome->first_mismatch, sizeof(outcome->first_mismatch), "%s",
                                       report->contents.first);
                for (size_t k = 0; k < sizeof(outcome->pager) / sizeof(*to); k++) /* it is counters and nothing else */
                        to[k] += from[k];
                histogram_merge(&outcome->wait_nsec, &report->wait_nsec);
        }
        outcome->grants_after_prefill = outcome->grants - outcome->pager.prompt_extents -
                                        outcome->pager.failed_admission_extents;
        outcome->peak_live_bytes = crew->peak_live_bytes;
        outcome->peak_idle_bytes = crew->peak_idle_bytes;
        outcome->live = crew->live;
        outcome->idle = crew->idle;
        outcome->trace_seconds = (double)crew->end_usec / 1e6;
        outcome->hungry_seconds = replay->watch.seconds;
        for (uint32_t t = 0; t < crew->n_tenants; t++) {
                struct outcome_tenant *tenant = &outcome->tenants[t];

                memcpy(tenant->name, replay->tenants[t], sizeof(tenant->name));
                tenant->peak_live_bytes = crew->tenants[t].peak_live_bytes;
                tenant->live = crew->tenants[t].live;
                tenant->idle = crew->tenants[t].idle;
                tenant->hungry_bytes = crew->watch ? watch_mean(crew->watch, t) : 0;
        }
}

static double seconds_now(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int replay_run(const struct options *options, struct outcome *ret_outcome, struct complaint *complaint)
{
        _cleanup_(replay_clear) struct replay replay = { .options = options,
                                                         .daemon = PRIVATE_DAEMON_NONE,
                                                         .crew.signal_fd = -1 };
        struct outcome *outcome = ret_outcome;
        double start;
        int r;

        assert(options);
        assert(outcome);

        memset(outcome, 0, sizeof(*outcome));
        outcome->options = options;
        outcome->tenants = calloc(options->tenants, sizeof(*outcome->tenants));
        if (!outcome->tenants)
                return complain(complaint, -ENOMEM, "no memory for %u tenants", options->tenants);
        if ((r = replay_prepare_process(&replay, complaint)) < 0 || (r = replay_load(&replay, complaint)) < 0 ||
            (r = replay_find_daemon(&replay, complaint)) < 0 || (r = replay_simulate(&replay, outcome, complaint)) < 0)
                return r;
        outcome->format = replay.trace.format;
        outcome->requests = replay.trace.n;
        outcome->trace_failed = replay.trace.failed;
        outcome->page_size = replay.plan.page_size;
        outcome->capacity = replay.plan.capacity;
        outcome->max_tokens = replay.plan.max_tokens;
        outcome->external = replay.external;

        start = seconds_now();
        r = replay_start_crew(&replay, complaint);
        if (r >= 0)
                r = replay_watch(&replay, complaint);
        if (r >= 0)
                r = options_virtual_clock(options) ? crew_run_virtual(&replay.crew, complaint)
                                                   : crew_run_wall(&replay.crew, complaint);
        if (r >= 0)
                r = crew_end(&replay.crew, complaint);
        if (r < 0)
                return r;
        outcome->wall_seconds = seconds_now() - start;
        replay_sum(&replay, outcome);
        return private_daemon_stop(&replay.daemon, complaint);
}
