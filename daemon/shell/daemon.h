/* SPDX-License-Identifier: MIT
 *
 * daemon.h -- the daemon as a whole: one loop, one core, the peers and the devices around it.
 *
 * The flow is always the same. Something happens (a packet, a finished device call, a deadline): it becomes core events
 * by daemon_event(); the actions that come out are collected; daemon_settle() carries them out, buries the peers that
 * ended on the way, and sets the timer for the core's next deadline. Everything here runs on the loop's thread.
 */
#ifndef SHELL_DAEMON_H
#define SHELL_DAEMON_H

#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "config.h"
#include "core.h"
#include "events.h"
#include "listen.h"
#include "notice.h"
#include "notify.h"
#include "observe.h"
#include "peer.h"
#include "ratelimit.h"
#include "recover.h"
#include "remains.h"
#include "store.h"
#include "tenants.h"
#include "throttle.h"
#include "wire.h"

#define DAEMON_MAX_GREETING 64u       /* connections that have not said HELLO */
#define DAEMON_MAX_ADMINS   64u       /* connections of kvpagerctl and its like */
#define DAEMON_GROUP        "kvpager" /* whose members are operators */
#define DAEMON_ACTIONS      (4u * CORE_ACTIONS_MAX)

#define LOOP_EVENTS 64u

/* Peers that are ready: those from `next` on have not been served. */
struct loop_turn {
        struct epoll_event events[LOOP_EVENTS];
        uint32_t next, n;
};

struct daemon {
        sd_event *event;
        int epoll;    /* of the peers, and of event */
        bool changed; /* loop_changed() */
        struct loop_turn turn;
        sd_event_source *listen_source, *listen_again, *deadline_source, *pending_source;
        struct config *config;
        char config_path[256]; /* empty: none was found, the defaults hold */
        int log_level;         /* from the command line; -1: the configuration's */
        struct listener listener;
        struct store store;
        struct tenants tenants;
        gid_t operators; /* DAEMON_GROUP; (gid_t)-1: there is none */
        struct events events;
        struct notice notice;
        struct notify notify;
        struct throttle throttle;
        sd_event_source *doubt_timer; /* returners.c */
        struct observe observe;
        struct recover recover;
        struct core *core;
        size_t core_bytes;
        struct core_actions actions;
        uint64_t late_until_usec, lost_usec; /* daemon_core_usec() */
        uint64_t start_usec, armed_usec;     /* armed_usec: when deadline_source fires; UINT64_MAX: it is off */

        struct peer **peers; /* by index; NULL: free */
        uint32_t max_peers, n_greeting, n_admins;
        uint64_t nofile; /* open files that are allowed */
        struct remains remains;
        struct peer **peer_of_worker; /* by the low half of the core's worker id */
        uint64_t next_serial;
        struct peer *ended;     /* to be buried */
        struct peer *gathering; /* with a GRANT or GROW_FAILED begun */

        uint64_t counters[WIRE_COUNTER_MAX_]; /* those of the shell */
        struct ratelimit complaints;          /* lines about peers that misbehave, all together */
        _Alignas(8) unsigned char packet_in[WIRE_MAX_PACKET];
        _Alignas(8) unsigned char packet_out[WIRE_MAX_PACKET];
};

uint64_t daemon_now_usec(void);
uint64_t daemon_now_nsec(void);

/* Sets up everything up to the socket; what goes wrong is logged. Takes `config` in either case. `config_path` empty:
 * none. */
int daemon_new(struct config *config, const char *config_path, int log_level, struct daemon **ret);
void daemon_free(struct daemon *daemon);

/* Serves until SIGTERM or SIGINT; 0 or a negative errno. */
int daemon_run(struct daemon *daemon);

/* The core's time: ours, without what was lost while we did not run. Until late_until_usec it stands still. */
static inline uint64_t daemon_core_usec(const struct daemon *daemon, uint64_t now)
{
        return (now > daemon->late_until_usec ? now : daemon->late_until_usec) - daemon->lost_usec;
}

/* Applies an event, carrying out earlier actions first where there is no room for its own. Frees nobody. */
void daemon_event(struct daemon *daemon, const struct core_event *event);

/* Carries out what is to be done. Peers that ended are freed: no peer may be used afterwards. */
void daemon_settle(struct daemon *daemon);

/* loop.c: what the loop waits for. A peer's socket is watched for packets, or for other epoll events, or no more. */
int loop_open(struct daemon *daemon);
void loop_close(struct daemon *daemon);
int loop_watch(struct daemon *daemon, int fd, struct peer *peer);
int loop_watch_for(struct daemon *daemon, int fd, struct peer *peer, uint32_t events);
void loop_forget(struct daemon *daemon, int fd, const struct peer *peer);

/* To be called after a timer or another source of sd-event was set, where that may be while a peer is served. */
void loop_changed(struct daemon *daemon);

/* Serves until sd_event_exit(). */
int loop_run(struct daemon *daemon);

/* apply.c: carries out the actions that have come out so far. */
void apply_actions(struct daemon *daemon);

/* accept.c: peers come and go. */
int accept_start(struct daemon *daemon);
struct peer *peers_find_cookie(const struct daemon *daemon, uint64_t cookie);
struct peer *peers_find_worker(const struct daemon *daemon, uint32_t worker);

/* dispatch.c: what a decoded message of a peer means. */
void dispatch_message(struct peer *peer, const struct wire_view *view);

/* Whether the peer is to be told what came of it. */
bool dispatch_is_answered(const struct wire_view *view);

/* resume.c: messages of a worker that was there before. */
void resume_message(struct peer *peer, const struct wire_view *view);

/* Ends whoever is about to be this worker again. */
void resume_forget(struct daemon *daemon, uint32_t worker, const char *why);

/* answer.c: messages that only ask. */
void answer_query(struct peer *peer, const struct wire_view *view);

/* Says to the core what of a device cannot be had, where that changed: by what the device says, or by what others are
 * known to have taken. */
void daemon_look_at_missing(struct daemon *daemon, uint32_t device);

/* operate.c: messages of operators. */
void operate_message(struct peer *peer, const struct wire_view *view);

/* reload.c. Whether what `config` says of tenants can be so, with our capabilities, and with these devices as well: 0,
 * or a negative errno after complaints, which name lines of `path`; NULL: it is not as a file has it. */
int reload_check_rights(const struct config *config, const char *path, config_complain_fn *complain, void *userdata);
int reload_check(struct daemon *daemon, const struct config *config, const char *path, config_complain_fn *complain,
                 void *userdata);

/* The core's tenants become those of `config`, which was checked. -ENOSPC: there are too many with those that linger.
 */
int reload_tenants(struct daemon *daemon, const struct config *config);

/* One [tenant] of the configuration, which was changed, takes effect. Returns whether its limits hold. `by`: the
 * operator. */
bool reload_tenant(struct daemon *daemon, uint32_t index, const struct peer *by);

/* The whole configuration is read anew, or none of it: 0, or a negative errno and the first complaint in `why`. `by`:
 * the operator; NULL: a signal. */
int reload_config(struct daemon *daemon, const struct peer *by, char *why, size_t size);

/* Finds the group of operators, which may have come or gone. */
void reload_operators(struct daemon *daemon);

#endif
