/* SPDX-License-Identifier: MIT
 *
 * counters.h -- what the daemon counts, since its start. CORE counters live in the core's arena, SHELL ones beside the
 * sockets.
 */
#ifndef KVP_PROTO_COUNTERS_H
#define KVP_PROTO_COUNTERS_H

/* X(name, owner, documentation) */
#define WIRE_COUNTERS(X)                                                                                               \
        X(extents_created, CORE, "extents that the device created")                                                    \
        X(extents_granted, CORE, "extents granted to workers")                                                         \
        X(extents_refused, CORE, "extents that a worker could not map")                                                \
        X(extents_returned, CORE, "extents that workers gave back")                                                    \
        X(extents_destroyed, CORE, "extents that the device destroyed")                                                \
        X(extents_reclassed, CORE, "virgin extents destroyed to make other sizes")                                     \
        X(pages_granted, CORE, "pages granted to workers")                                                             \
        X(pages_returned, CORE, "pages that workers gave back")                                                        \
        X(requests, CORE, "growth requests, an entry each")                                                            \
        X(requests_granted, CORE, "growth requests granted in full")                                                   \
        X(requests_waited, CORE, "growth requests that could not be admitted at once")                                 \
        X(requests_failed_device, CORE, "growth requests that failed because the device was full")                     \
        X(requests_failed_tenant, CORE, "growth requests that failed at memory.max")                                   \
        X(requests_timed_out, CORE, "growth requests that failed at their timeout")                                    \
        X(requests_optional_refused, CORE, "look-ahead requests refused because nothing was free")                     \
        X(revokes, CORE, "revokes sent")                                                                               \
        X(revokes_overdue, CORE, "revokes not answered by their deadline")                                             \
        X(pages_revoked, CORE, "pages that revokes asked for")                                                         \
        X(device_failures, CORE, "create and destroy calls that the device failed")                                    \
        X(workers_connected, CORE, "workers welcomed")                                                                 \
        X(workers_gone, CORE, "workers that left or died")                                                             \
        X(connections_accepted, SHELL, "connections accepted")                                                         \
        X(connections_refused, SHELL, "connections closed before they were welcomed")                                  \
        X(messages_received, SHELL, "packets read from workers")                                                       \
        X(messages_sent, SHELL, "packets sent to workers")                                                             \
        X(fds_sent, SHELL, "file descriptors sent to workers")                                                         \
        X(protocol_errors, SHELL, "packets refused as malformed")                                                      \
        X(slow_readers, SHELL, "workers dropped because they did not read")                                            \
        X(reloads, SHELL, "configuration reloads that took effect")                                                    \
        X(reloads_failed, SHELL, "configuration reloads that were refused")                                            \
        X(pauses, SHELL, "times that a worker was not read for a moment, as it left the daemon no rest")

#endif
