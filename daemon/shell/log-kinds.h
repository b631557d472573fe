/* SPDX-License-Identifier: MIT
 *
 * log-kinds.h -- the kinds of messages that the journal tells apart, by MESSAGE_ID=: those of events.h with their
 * names, then what is no event. systemd/kvpager.catalog says of each what it means and what can be done, kvpagerd(8)
 * lists them. An id is never used for anything else: `systemd-id128 new` makes one.
 */
#ifndef SHELL_LOG_KINDS_H
#define SHELL_LOG_KINDS_H

/* X(name, level, id, how an event's sentence begins). Level and begin of what is no event stand where it is said. */
/* clang-format off */
#define LOG_KINDS(X) \
        X(daemon_started, INFO, 9ba5a310a98246028fcd1584b39518d7, "")                                                  \
        X(daemon_stopping, INFO, 0927c2c49f7546338eb49c76a6634ddc, "stops: ")                                          \
        X(daemon_resumed, INFO, 27b5a18c26ac4a9d94153d46127c69e4, "goes on: ")                                         \
        X(tenant_set, DEBUG, 564759c289ab4e56aa86b62fb43fc502, "its limits: ")                                         \
        X(tenant_removed, INFO, 3afbefcfe8654abe94a491793cb333f1, "is no longer configured: ")                         \
        X(limits_applied, DEBUG, 137a2375351b4f89a9e571a230adbcd5, "its limits were set: ")                            \
        X(limits_deferred, INFO, c61f4a44764746d08e25ccea70f4d9aa, "its limits were set: ")                            \
        X(reloaded, INFO, d8d39304361647d0a7d816247c62ae03, "the configuration is in force: ")                         \
        X(reload_failed, ERROR, 6fb96070e6ec4195aeeda182f2ab1efd, "the configuration stays as it was: ")               \
        X(worker_connected, INFO, 5c0e0f6a3dd24706960ddf9e04270dd7, "")                                                \
        X(worker_resumed, INFO, 718c6a2e785343c8b112a6e28b971fdf, "")                                                  \
        X(worker_gone, INFO, 73ee097b6e7f4d69b76a3e190385fd10, "is gone: ")                                            \
        X(worker_killed, WARNING, fabb4df2bffe49e4aed333f6aa1d24ba, "was killed, as on-overdue says: ")                \
        X(worker_ended, NOTICE, 69eab11644b847c8814226aa2ffec7ae, "")                                                  \
        X(peer_refused, DEBUG, 349e77ca8a864480981684658315e34e, "is not welcomed: ")                                  \
        X(revoke_overdue, WARNING, 594309a00f994a5db09d2aa3f4c7cd9f, "is overdue: ")                                   \
        X(revoke_answered_late, INFO, 417785a2ac9a4ebe807888bcecdadca8, "is no longer overdue: ")                      \
        X(requests_failed, WARNING, 1b3b123c011c4e1a94b54b88723f2402, "requests failed: ")                             \
        X(device_failing, WARNING, 84f682e862974b5f8514a7b93faa1aef, "fails: ")                                        \
        X(device_recovered, INFO, e067bd9ae29749fab3b4a9f97dac21c0, "works again: ")                                   \
        X(memory_missing, WARNING, fae5beee11d14b8485e8f1a5a8f8cde8, "")                                               \
        X(worker_suspect, WARNING, 1bff8a678f2a4812a3dadfd65bdb860f, "")                                               \
        X(peer_disconnected, WARNING, 2f9f8396d55c447a84dcf611e1942255, "")                                            \
        X(configuration_invalid, ERROR, d18cb9afe8e94c63890757319f2ba7f8, "")                                          \
        X(start_failed, ERROR, 4ef6771c30864c69bb807d67f734cf21, "")                                                   \
        X(start_delayed, WARNING, 1611e58ae9914dffa5463170cf7290db, "")                                                \
        X(lines_lost, WARNING, e7261fcb042141dea66a2c18cb36f5f0, "")                                                   \
        X(state_unusable, ERROR, 3fc9b849f7d34d2aaa8bba22e032e6ec, "")                                                 \
        X(holder_lost, ERROR, 76252af22b56480cb8ec8e46e470e04e, "")
/* clang-format on */

#endif
