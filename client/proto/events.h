/* SPDX-License-Identifier: MIT
 *
 * events.h -- what the daemon tells of what happened: the names that EVENTS has, in the order of a daemon's life. A
 * client shows those that it does not know as they are.
 */
#ifndef KVP_PROTO_EVENTS_H
#define KVP_PROTO_EVENTS_H

/* X(name, documentation). Names are up to 31 characters. */
#define WIRE_EVENT_KINDS(X)                                                                                            \
        X(daemon_started, "the daemon serves")                                                                         \
        X(daemon_stopping, "the daemon ends")                                                                          \
        X(daemon_resumed, "the daemon goes on where another one ended; the text says with what")                       \
        X(tenant_set, "a tenant came or its limits were changed, by the configuration or by TENANT_SET")               \
        X(tenant_removed, "the configuration no longer names a tenant: it takes no new workers")                       \
        X(limits_applied, "the limits of a tenant that was set hold, on every device")                                 \
        X(limits_deferred, "they will hold once memory was reclaimed")                                                 \
        X(reloaded, "the configuration was read again and is in force")                                                \
        X(reload_failed, "the configuration was refused and stays as it was; the text is the first complaint")         \
        X(worker_connected, "a process became a worker of a tenant")                                                   \
        X(worker_resumed, "a worker came back after the daemon was restarted")                                         \
        X(worker_gone, "a worker's connection ended; the text says why, bytes what it was charged for")                \
        X(worker_killed, "a worker's process was killed, as on-overdue = kill says")                                   \
        X(worker_ended, "a worker's process ended, be it gone before; the text says how, by kvpager-observe")          \
        X(peer_refused, "a process was not welcomed; count: so many since the last that was told of")                  \
        X(revoke_overdue, "a worker did not answer a revoke by its deadline; bytes: what it still owes")               \
        X(revoke_answered_late, "it answered after all")                                                               \
        X(requests_failed, "a tenant's growth requests failed; count: so many since it was last told of")              \
        X(device_failing, "a device failed to create or destroy an extent")                                            \
        X(device_recovered, "it no longer does")                                                                       \
        X(memory_missing, "a part of a device's capacity cannot be had: others use it, or keep what was taken back")   \
        X(worker_suspect, "memory that a worker gave back did not come free: it is denied until that does")

#endif
