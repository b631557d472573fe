/* SPDX-License-Identifier: MIT
 *
 * peer.c -- see peer.h.
 *
 * Three bounds keep one peer from harming the others. A turn of the loop reads one of its packets, then the others have
 * theirs. While it does not take its replies it is not read at all, so it cannot ask for more of them. And it has a
 * deadline for taking them; what the core sends by itself meanwhile is bounded by the outbox.
 */
#include "peer.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon.h"
#include "identity.h"
#include "log.h"
#include "owner.h"

#define PEER_GREET_USEC          UINT64_C(5000000) /* to say HELLO; and as much after RESUME to say what it has */
#define PEER_REFS_RETRY_USEC     UINT64_C(10000)   /* when too many fds are in flight */
#define PEER_REFS_GRACE_USEC     UINT64_C(5000000) /* to acknowledge what then was sent after all */
#define PEER_REFS_FACTOR         6u                /* that is likely another's fault: so much more patience */
#define PEER_TIMER_ACCURACY_USEC UINT64_C(5000)

static int peer_extent_fd(void *userdata, uint64_t extent)
{
        const struct peer *peer = userdata;

        return store_fd(&peer->daemon->store, extent);
}

struct log_facts peer_facts(const struct peer *peer, struct log_facts facts)
{
        facts.pid = peer->pid;
        facts.uid = peer->uid;
        facts.cgroup = peer->cgroup;
        facts.worker = peer->worker;
        facts.tenant = peer->tenant[0] ? peer->tenant : NULL;
        return facts;
}

void peer_log_kind(struct peer *peer, enum log_kind kind, enum log_level level, const char *format, ...)
{
        const struct log_facts facts = peer_facts(peer, (struct log_facts){ .kind = kind });
        uint64_t now = daemon_now_usec();
        char text[512], more[48] = "";
        uint32_t mine = 0, all = 0;
        va_list list;

        if (level <= LOG_LEVEL_WARNING &&
            (!ratelimit_allow(&peer->complaints, now, &mine) || !ratelimit_allow(&peer->daemon->complaints, now, &all)))
                return;
        if (mine + all > 0)
                (void)snprintf(more, sizeof(more), " (and %u lines that were left out)", mine + all);
        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        log_about(level, &facts, "%s%s", text, more);
}

void peer_end(struct peer *peer)
{
        assert(peer);

        if (peer->ended)
                return;
        peer->ended = true;
        loop_forget(peer->daemon, peer->fd, peer);
        (void)sd_event_source_set_enabled(peer->timer, SD_EVENT_OFF);
        outbox_done(&peer->outbox);
        peer->next_ended = peer->daemon->ended;
        peer->daemon->ended = peer;
}

void peer_fail(struct peer *peer, uint32_t request, enum wire_error_code code, const char *detail)
{
        assert(peer && code != WIRE_E_NONE);

        if (peer->ended)
                return;
        if (code == WIRE_E_SLOW_READER)
                peer->daemon->counters[WIRE_COUNTER_slow_readers]++;
        (void)snprintf(peer->why, sizeof(peer->why), "%s%s%s", wire_error_sentence(code), detail ? ": " : "",
                       detail ? detail : "");
        if (peer->state == PEER_GREETING || peer->state == PEER_JOINING || peer->state == PEER_RESUMING) {
                peer->daemon->counters[WIRE_COUNTER_connections_refused]++;
                if (code != WIRE_E_SHUTTING_DOWN)
                        notice_refused(peer->daemon, peer, peer->why);
        }
        if (code != WIRE_E_SHUTTING_DOWN)
                peer_log_kind(peer, LOG_KIND_peer_disconnected, LOG_LEVEL_WARNING, "is disconnected: %s%s%s",
                              wire_error_sentence(code), detail ? ": " : "", detail ? detail : "");
        if (outbox_is_empty(&peer->outbox))
                peer_send_error(peer, request, code, detail);
        peer_end(peer);
}

void peer_kill(struct peer *peer)
{
        int r;

        assert(peer);

        if (peer->ended)
                return;
        r = identity_kill(peer->fd, peer->pid, peer->accepted);
        if (r < 0 && r != -ESRCH) {
                peer_log(peer, LOG_LEVEL_ERROR, "did not give memory back in time, and cannot be killed: %s",
                         strerror(-r));
                return;
        }
        (void)snprintf(peer->why, sizeof(peer->why), "it was killed, as on-overdue says");
        events_add(peer->daemon, WIRE_EVENT_worker_killed, &(struct events_facts){ .peer = peer },
                   "it did not give memory back in time");
        peer_end(peer);
}

/* ---- Sending ---- */

/* What the timer waits for while nothing is to be sent. */
static void peer_set_timer(struct peer *peer)
{
        if (peer->state != PEER_RESUMING) {
                (void)sd_event_source_set_enabled(peer->timer, SD_EVENT_OFF);
                return;
        }
        (void)sd_event_source_set_time(peer->timer, peer->resume_usec + PEER_GREET_USEC);
        (void)sd_event_source_set_enabled(peer->timer, SD_EVENT_ONESHOT);
        loop_changed(peer->daemon);
}

static int peer_unblock(struct peer *peer)
{
        if (!peer->blocked)
                return 0;
        peer->blocked = false;
        peer_set_timer(peer);
        return loop_watch_for(peer->daemon, peer->fd, peer, peer->paused ? 0 : EPOLLIN);
}

static int peer_block(struct peer *peer)
{
        const uint64_t patience = peer->daemon->config->daemon.slow_reader_deadline_usec;
        const bool short_of_refs = peer->outbox.short_of_refs;
        int r;

        if (!peer->blocked) {
                peer->blocked = true;
                peer->blocked_usec = daemon_now_usec();
        }
        if (short_of_refs)
                peer->refs_usec = daemon_now_usec();
        r = loop_watch_for(peer->daemon, peer->fd, peer, short_of_refs ? 0 : EPOLLOUT);
        if (r < 0)
                return r;
        (void)sd_event_source_set_time(peer->timer, short_of_refs ? daemon_now_usec() + PEER_REFS_RETRY_USEC
                                                                  : peer->blocked_usec + patience);
        loop_changed(peer->daemon);
        return sd_event_source_set_enabled(peer->timer, SD_EVENT_ONESHOT);
}

bool peer_was_short_of_refs(const struct peer *peer)
{
        return peer->refs_usec != 0 && daemon_now_usec() - peer->refs_usec < PEER_REFS_GRACE_USEC;
}

/* Says to the loop what is waited for, after something was sent or could not be. */
static void peer_update(struct peer *peer)
{
        int r;

        if (peer->ended)
                return;
        r = outbox_is_empty(&peer->outbox) ? peer_unblock(peer) : peer_block(peer);
        if (r < 0) { /* nothing would ever wake it */
                peer_log(peer, LOG_LEVEL_ERROR, "is disconnected: its socket cannot be waited for: %s", strerror(-r));
                peer_end(peer);
        }
}

static void peer_sent(struct peer *peer, int r)
{
        if (r == -EOVERFLOW)
                peer_fail(peer, 0, WIRE_E_SLOW_READER, NULL);
        else if (r == -ESTALE)
                peer_fail(peer, 0, WIRE_E_BAD_EXTENT, "it gave back an extent before it had received it");
        else if (r < 0)
                peer_end(peer); /* it hung up; or we have no memory to serve it */
        else
                peer_update(peer);
}

static void peer_flush(struct peer *peer)
{
        uint64_t before = peer->outbox.n_sent;
        int r = outbox_flush(&peer->outbox);

        if (peer->outbox.n_sent != before)
                peer->blocked_usec = daemon_now_usec();
        peer_sent(peer, r);
}

void peer_send(struct peer *peer, enum wire_opcode opcode, uint32_t request, const void *fixed, const void *items,
               uint32_t n_items, int fd)
{
        struct daemon *d = peer->daemon;
        size_t size;

        if (peer->ended) {
                fd_close(fd);
                return;
        }
        size = wire_encode(d->packet_out, sizeof(d->packet_out), opcode, request, 0, fixed, items, n_items);
        assert(size > 0);
        peer_sent(peer, outbox_send(&peer->outbox, d->packet_out, size, fd));
}

void peer_send_event(struct peer *peer, enum wire_opcode opcode, const void *fixed)
{
        struct daemon *d = peer->daemon;
        size_t size;
        int r;

        if (peer->ended || peer->event_fd < 0)
                return;
        size = wire_encode(d->packet_out, sizeof(d->packet_out), opcode, 0, 0, fixed, NULL, 0);
        assert(size > 0);
        r = outbox_send_now(peer->event_fd, d->packet_out, size, NULL, 0);
        if (r == 0)
                d->counters[WIRE_COUNTER_messages_sent]++;
        else if (r == -EAGAIN)
                peer_fail(peer, 0, WIRE_E_SLOW_READER, "its event channel is full");
        else
                peer_fail(peer, 0, WIRE_E_SLOW_READER, "it closed its event channel");
}

void peer_send_error(struct peer *peer, uint32_t request, enum wire_error_code code, const char *detail)
{
        struct wire_error error = { .error = code, .status = wire_error_errno(code) };

        (void)snprintf(error.text, sizeof(error.text), "%s%s%s", wire_error_sentence(code), detail ? ": " : "",
                       detail ? detail : "");
        wire_text_clean(error.text);
        peer_send(peer, WIRE_ERROR, request, &error, NULL, 0, -1);
}

void peer_gather_send(struct peer *peer)
{
        uint32_t n = peer->gather.n;

        if (n == 0)
                return;
        peer->gather.n = 0;
        if (peer->gather.opcode == WIRE_GRANT)
                peer_send(peer, WIRE_GRANT, 0, NULL, peer->gather.grants, n, -1);
        else
                peer_send(peer, WIRE_GROW_FAILED, 0, NULL, peer->gather.failed, n, -1);
}

/* Makes room for one more item of that message. */
static void peer_gather_begin(struct peer *peer, enum wire_opcode opcode, uint32_t max)
{
        if (peer->gather.n > 0 && (peer->gather.opcode != opcode || peer->gather.n == max))
                peer_gather_send(peer);
        peer->gather.opcode = opcode;
        if (!peer->gathering) {
                peer->gathering = true;
                peer->next_gathering = peer->daemon->gathering;
                peer->daemon->gathering = peer;
        }
}

void peer_gather_grant(struct peer *peer, const struct wire_item_grant *item)
{
        peer_gather_begin(peer, WIRE_GRANT, WIRE_MAX_FDS);
        peer->gather.grants[peer->gather.n++] = *item;
}

void peer_gather_failed(struct peer *peer, const struct wire_item_grow_failed *item)
{
        peer_gather_begin(peer, WIRE_GROW_FAILED, WIRE_MAX_GROW);
        peer->gather.failed[peer->gather.n++] = *item;
}

/* ---- Receiving ---- */

/* An empty packet reads like the end of the connection; only the latter is a hang-up. */
static bool peer_hung_up(const struct peer *peer)
{
        struct pollfd p = { .fd = peer->fd, .events = POLLRDHUP };

        return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* What a packet that cannot be decoded is about, as far as it can be told. */
static const char *peer_packet_name(const void *packet, size_t size)
{
        const struct wire_header *header = packet;
        const struct wire_message_info *info = size >= sizeof(*header) ? wire_message_info(header->opcode) : NULL;

        return info ? info->name : NULL;
}

static void peer_receive_bad(struct peer *peer, size_t size, enum wire_error_code error)
{
        struct daemon *d = peer->daemon;
        const struct wire_header *header = (const void *)d->packet_in;

        d->counters[WIRE_COUNTER_protocol_errors]++;
        peer_fail(peer, size >= sizeof(*header) ? header->request : 0, error, peer_packet_name(d->packet_in, size));
}

/* Reads one packet and does what it says. There is no room for descriptors: see remains.h. */
static void peer_receive(struct peer *peer)
{
        struct daemon *d = peer->daemon;
        struct iovec iov = { .iov_base = d->packet_in, .iov_len = sizeof(d->packet_in) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        const uint64_t began = daemon_now_nsec();
        enum wire_error_code error;
        struct wire_view view;
        ssize_t n;

        if (peer->may_carry && remains_carries(peer->fd)) {
                d->counters[WIRE_COUNTER_messages_received]++;
                peer_receive_bad(peer, 0, WIRE_E_BAD_FDS);
                return;
        }
        n = recvmsg(peer->fd, &message, MSG_DONTWAIT);
        if (n < 0) {
                if (errno != EAGAIN && errno != EINTR)
                        peer_end(peer);
                return;
        }
        if (n == 0 && peer_hung_up(peer)) {
                peer_end(peer);
                return;
        }
        d->counters[WIRE_COUNTER_messages_received]++;
        peer->active_usec = began / 1000;
        error = message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? WIRE_E_TRUNCATED
                                                             : wire_decode(d->packet_in, (size_t)n, 0, WIRE_C2D, &view);
        if (error != WIRE_E_NONE) {
                peer_receive_bad(peer, (size_t)n, error);
                return;
        }
        dispatch_message(peer, &view);
        apply_actions(d);
        throttle_served(peer, began, dispatch_is_answered(&view));
}

void peer_pause(struct peer *peer, bool pause)
{
        peer->paused = pause;
        if (peer->ended || peer->blocked)
                return; /* not read in any case */
        if (loop_watch_for(peer->daemon, peer->fd, peer, pause ? 0 : EPOLLIN) < 0)
                peer_end(peer); /* nothing would ever wake it */
}

void peer_serve(struct peer *peer, uint32_t events)
{
        if (peer->ended)
                return;
        if (peer->blocked && (events & (EPOLLHUP | EPOLLERR)))
                peer_end(peer); /* it will not take the rest */
        else if (peer->blocked && (events & EPOLLOUT))
                peer_flush(peer);
        if (!peer->ended && !peer->blocked)
                peer_receive(peer);
}

static int peer_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct peer *peer = userdata;
        struct daemon *d = peer->daemon;
        uint64_t patience = d->config->daemon.slow_reader_deadline_usec;

        (void)source;
        (void)usec;
        if (peer->blocked) {
                if (peer->outbox.short_of_refs)
                        patience *= PEER_REFS_FACTOR;
                if (daemon_now_usec() - peer->blocked_usec >= patience)
                        peer_fail(peer, 0, WIRE_E_SLOW_READER, NULL);
                else
                        peer_flush(peer);
        } else if (peer->state == PEER_GREETING) {
                peer_fail(peer, 0, WIRE_E_NOT_GREETED, "no HELLO came in time");
        } else if (peer->state == PEER_RESUMING) {
                peer_log(peer, LOG_LEVEL_WARNING, "is disconnected: it did not say in time what it has");
                peer_end(peer); /* without a word, so that it may try again */
        }
        daemon_settle(d);
        return 0;
}

/* ---- Coming and going ---- */

/* The socket last: it may be closed later than the peer is freed. */
static int peer_watch(struct peer *peer)
{
        int r = sd_event_add_time(peer->daemon->event, &peer->timer, CLOCK_MONOTONIC,
                                  daemon_now_usec() + PEER_GREET_USEC, PEER_TIMER_ACCURACY_USEC, peer_on_timer, peer);

        return r < 0 ? r : loop_watch(peer->daemon, peer->fd, peer);
}

static int peer_on_exit(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct peer *peer = userdata;
        struct daemon *d = peer->daemon;

        (void)source;
        (void)fd;
        (void)events;
        peer_end(peer);
        daemon_settle(d);
        return 0;
}

void peer_watch_process(struct peer *peer)
{
        _cleanup_fd_ int pidfd = identity_process(peer->fd, peer->pid, peer->accepted);
        int r = pidfd;

        assert(!peer->process);

        if (r >= 0)
                r = sd_event_add_io(peer->daemon->event, &peer->process, pidfd, EPOLLIN, peer_on_exit, peer);
        if (r >= 0)
                r = sd_event_source_set_io_fd_own(peer->process, 1);
        if (r >= 0)
                (void)TAKE_FD(pidfd);
        else if (r == -ESRCH && peer->pid > 0)
                peer_end(peer); /* it has ended already, and another has its socket */
        else
                peer_log(peer, LOG_LEVEL_DEBUG, "its process cannot be watched: %s", strerror(-r));
}

int peer_new(struct daemon *d, uint32_t index, int fd, struct peer **ret)
{
        const bool may_carry = remains_may_carry(fd);
        struct ucred credentials;
        socklen_t size = sizeof(credentials);
        struct peer *peer;
        int r, cgroup = 0;

        assert(d && ret && index < d->max_peers && !d->peers[index]);

        r = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0 ? -errno : 0;
        peer = r == 0 ? calloc(1, sizeof(*peer)) : NULL;
        if (!peer) {
                remains_take(d, fd, may_carry);
                return r < 0 ? r : -ENOMEM;
        }
        peer->daemon = d;
        peer->index = index;
        peer->cookie = d->next_serial++ << 16 | index;
        peer->state = PEER_GREETING;
        peer->fd = fd;
        peer->may_carry = may_carry;
        peer->event_fd = -1;
        peer->pid = credentials.pid;
        peer->uid = credentials.uid;
        peer->active_usec = daemon_now_usec();
        peer->accepted = identity_now();
        if (d->config->by_cgroup)
                cgroup = identity_cgroup(peer->fd, peer->pid, peer->accepted, &peer->cgroup);
        peer->complaints = (struct ratelimit){ .interval_usec = 10000000, .burst = 5 };
        outbox_init(&peer->outbox, peer->fd, peer_extent_fd, peer);
        d->peers[index] = peer;
        d->n_greeting++;
        r = identity_is_for_lack(cgroup) ? cgroup : peer_watch(peer); /* or it would be another tenant's */
        if (r < 0) {
                peer_free(peer);
                return r;
        }
        *ret = peer;
        return 0;
}

int peer_make_event_channel(struct peer *peer, int *ret_ours, int *ret_theirs)
{
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
                int r = -errno;
                peer_fail(peer, peer->hello_request, WIRE_E_TOO_MANY_WORKERS, strerror(-r));
                return r;
        }
        (void)shutdown(fds[0], SHUT_RD); /* nothing is to come from there, and no fds either */
        *ret_ours = fds[0];
        *ret_theirs = fds[1];
        return 0;
}

void peer_greeted(struct peer *peer, enum peer_state state)
{
        struct daemon *d = peer->daemon;

        assert(state == PEER_JOINING || state == PEER_RESUMING || state == PEER_ADMIN || state == PEER_WORKER);

        if (peer->state == PEER_GREETING)
                d->n_greeting--;
        if (state == PEER_ADMIN)
                d->n_admins++;
        if (state == PEER_RESUMING)
                peer->resume_usec = daemon_now_usec();
        peer->state = state;
        if (!peer->blocked)
                peer_set_timer(peer);
}

void peer_free(struct peer *peer)
{
        struct daemon *d;

        if (!peer)
                return;
        d = peer->daemon;
        assert(d->peers[peer->index] == peer);
        d->peers[peer->index] = NULL;
        if (peer->state == PEER_GREETING)
                d->n_greeting--;
        else if (peer->state == PEER_ADMIN && !peer->following)
                d->n_admins--;
        else if (peer->state == PEER_WORKER)
                d->peer_of_worker[peer->worker & 0xffffu] = NULL;
        d->counters[WIRE_COUNTER_messages_sent] += peer->outbox.n_sent;
        d->counters[WIRE_COUNTER_fds_sent] += peer->outbox.n_fds_sent;
        sd_event_source_disable_unref(peer->timer);
        sd_event_source_disable_unref(peer->process);
        outbox_done(&peer->outbox);
        events_forget(peer);
        observe_forget(peer);
        fd_close(peer->event_fd);
        remains_take_of(peer);
        free(peer->has);
        free(peer->cgroup);
        free(peer);
}
