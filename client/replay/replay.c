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
#include "plan.h"
#include "private-daemon.h"

#define DEFAULT_REQUESTS    UINT64_C(1000)
#define DEFAULT_PAGE_SIZE   (UINT64_C(2) << 20)
#define MEMORY_TIMEOUT_USEC UINT64_C(30000000)
/* On the virtual clock no other engine gives anything up while one waits: this is for what its mapper gives back. */
#define TURN_TIMEOUT_USEC UINT64_C(20000)

struct replay {
        const struct options *options;
        struct trace trace;
        struct plan plan;
        struct private_daemon daemon;
        bool external, external_tenants; /* the daemon is not ours; it has tenants t0, t1, ... */
        char (*tenants)[16];
        struct ledger *ledger; /* shared with the workers */
        struct worker_setup *setups;
        struct crew crew;
        double speed;
};

static void replay_clear(struct replay *replay)
{
        struct complaint ignored;

        if (replay->crew.daemon == 0) /* it died, and was waited for: its id may be someone else's by now */
                replay->daemon.pid = 0;
        crew_clear(&replay->crew);
        if (replay->crew.signal_fd >= 0)
                (void)close(replay->crew.signal_fd);
        (void)private_daemon_stop(&replay->daemon, &ignored);
        if (replay->ledger)
                (void)munmap(replay->ledger, sizeof(*replay->ledger));
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
        int r;

        if (options->trace)
                r = trace_read(options->trace, options->requests, &replay->trace, complaint);
        else {
                r = trace_make_up(options->seed, options->requests ? options->requests : DEFAULT_REQUESTS,
                                  &replay->trace);
                if (r < 0)
                        (void)complain(complaint, r, "cannot make up a load: %s", strerror(-r));
        }
        if (r < 0)
                return r;

        /* On the virtual clock the trace is sped up; on the wall clock the clock is. */
        replay->speed = options->speed > 0 ? options->speed : 1.0;
        r = plan_deal(options, &replay->trace, options->no_compute ? replay->speed : 1.0, &replay->plan);
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

static int replay_start_daemon(struct replay *replay, struct complaint *complaint)
{
        const struct options *options = replay->options;
        struct plan *plan = &replay->plan;
        int r;

        plan->page_size = options->page_size ? options->page_size : DEFAULT_PAGE_SIZE;
        if (options->capacity)
                plan->capacity = options->capacity / plan->page_size * plan->page_size;
        else {
                r = plan_capacity(plan, options, memory_available());
                if (r < 0)
                        return complain(complaint, r, "cannot size the memory: %s", strerror(-r));
        }
        if (plan->capacity == 0)
                return complain(complaint, -EINVAL, "--capacity: less than a page of %ju bytes",
                                (uintmax_t)plan->page_size);
        r = private_daemon_start(&(struct private_daemon_options){ .capacity = plan->capacity,
                                                                   .page_size = plan->page_size,
                                                                   .n_tenants = options->tenants },
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
        if (socket_path && socket_path[0] && !replay->options->capacity)
                return replay_ask_daemon(replay, complaint);
        return replay_start_daemon(replay, complaint);
}

/* What admission keeps free, rounded up: of a few large pages the spare is one at least. */
static uint64_t spare_of(const struct replay *replay, uint64_t units)
{
        const uint64_t percent = replay->options->spare_percent;

        return replay->plan.unconstrained ? 0 : units / 100 * percent + (units % 100 * percent + 99) / 100;
}

static int replay_simulate(struct replay *replay, struct outcome *outcome, struct complaint *complaint)
{
        const struct options *options = replay->options;
        struct plan *plan = &replay->plan;
        uint64_t blocks = plan_capacity_blocks(plan, options), pages = plan->capacity / plan->page_size;
        const struct simulation_options simulation_options = {
                .n_engines = plan->n_workers,
                .max_seqs = options->max_seqs,
                .capacity_blocks = blocks,
                .spare_blocks = spare_of(replay, blocks),
        };
        int r;

        plan_mark_impossible(plan, options);
        r = simulate_paged16(&simulation_options, (const struct request *const *)plan->shares, plan->n_shares,
                             &outcome->simulation);
        if (r < 0)
                return complain(complaint, r, "cannot simulate 16-token blocks: %s", strerror(-r));

        replay->ledger = mmap(NULL, sizeof(*replay->ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (replay->ledger == MAP_FAILED) {
                replay->ledger = NULL;
                return complain(complaint, -ENOMEM, "no shared memory for the ledger");
        }
        replay->ledger->capacity = plan->unconstrained ? UINT64_MAX : pages;
        replay->ledger->spare = spare_of(replay, pages);
        return 0;
}

static int replay_start_crew(struct replay *replay, struct complaint *complaint)
{
        const struct options *options = replay->options;
        const struct plan *plan = &replay->plan;
        bool named = !replay->external || replay->external_tenants;

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
                                .worker = i,
                                .max_seqs = options->max_seqs,
                                .max_tokens = plan->max_tokens,
                                .compute = !options->no_compute,
                                .verify = options->verify,
                                .cold = options->cold,
                                .settle = options->no_compute,
                                .timeout_usec = options->no_compute ? TURN_TIMEOUT_USEC : MEMORY_TIMEOUT_USEC,
                        },
                        .requests = plan->shares[i],
                        .n_requests = plan->n_shares[i],
                        .ledger = replay->ledger,
                        .in_turns = options->no_compute,
                        .speed = options->speed,
                };
        replay->crew.n_requests = replay->trace.n;
        replay->crew.capacity = replay->plan.capacity;
        replay->crew.show_progress = isatty(STDERR_FILENO) == 1;
        return crew_start(&replay->crew, replay->setups, plan->n_workers, complaint);
}

/* Adds up what the workers reported last. */
static void replay_sum(const struct replay *replay, struct outcome *outcome)
{
        const struct crew *crew = &replay->crew;

        for (uint32_t i = 0; i < crew->n; i++) {
                const struct report *report = &crew->members[i].report;
                const struct kvp_cache_stats *stats = &report->stats;
                const uint64_t *from = (const uint64_t *)&report->pager;
                uint64_t *to = (uint64_t *)&outcome->pager;

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
                r = options->no_compute ? crew_run_virtual(&replay.crew, complaint)
                                        : crew_run_wall(&replay.crew, complaint);
        if (r >= 0)
                r = crew_end(&replay.crew, complaint);
        if (r < 0)
                return r;
        outcome->wall_seconds = seconds_now() - start;
        replay_sum(&replay, outcome);
        return private_daemon_stop(&replay.daemon, complaint);
}
